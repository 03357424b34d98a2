"""Checks before a run: whether config, data, checkpoint and disk fit together, before an hour is gone.

Each file has one subject; each check returns what it found, so that a user fixes all of it in one go. `run` puts them
together. Nothing is sampled: every annotation, every mask and the header of every image are read. Pixels are not; that
is `examine`'s job, which `tools/doctor.py DATA` does.
"""
