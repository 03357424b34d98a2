"""Ablations: the runs, their table, the page of results."""
