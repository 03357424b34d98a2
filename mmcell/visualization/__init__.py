"""Colours, and the visualizer that draws cells."""
