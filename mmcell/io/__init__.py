"""Bytes from outside, read and written safely: files, images, TIFF, windows, checkpoints."""
