"""Transforms that MMDetection lacks, for the experiments and for dense images. Each is a file, listed nowhere."""
