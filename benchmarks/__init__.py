"""Ours beside MMDetection: time and memory of each, in one run."""
