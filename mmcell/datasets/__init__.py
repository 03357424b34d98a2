"""Data: the cells of an image, and loading them. Each class is found by its file, listed nowhere."""
