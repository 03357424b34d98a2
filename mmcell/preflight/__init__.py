"""Checks before a run: whether config, data, checkpoint and disk fit together, before an hour is gone.

Each file has one subject; each check returns what it found, so that a user mends all of it in one go. Nothing is
sampled: every annotation, every mask and the header of every image are read. Pixels are not: `tools/doctor.py DATA`
does that.
"""

from mmcell.preflight.run import check_testing, check_training

__all__ = ['check_testing', 'check_training']
