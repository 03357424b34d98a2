"""Runs: the schedule, from arguments to a runner, testing, inference; what lets a run be killed and resumed."""
