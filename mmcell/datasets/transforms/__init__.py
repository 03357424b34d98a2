"""Transforms that the reference or dense images need and MMDetection has not. Each is a file, listed nowhere."""
