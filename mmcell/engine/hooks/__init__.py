"""Hooks of a run: resume, checkpoints, interruption, accumulation. Each is a file, listed nowhere."""
