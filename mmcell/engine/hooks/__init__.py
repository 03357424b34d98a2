"""Hooks of a run: resume, checkpoints, interruption, accumulation."""
