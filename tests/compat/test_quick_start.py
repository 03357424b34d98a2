"""Tools that need no torch do not wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
except SystemExit as stop:
    print('status', stop.code, 'torch' in sys.modules, flush=True)
"""
CONFIGS = (ROOT / 'configs/cell/mask_rcnn.py', ROOT / 'configs/cell/mask_rcnn_cbam.py')


@pytest.mark.parametrize(
    'arguments',
    [
        ('convert', 'class_tiff', 'source', '--out', 'data', '--workers', 1),
        ('diff', *CONFIGS),
        ('doctor', '--help'),
        ('synthesize', '--out', 'cells', '--images', 1, '--size', 64, 64, '--cells', 2),
        ('export', '--help'),
        ('train', '--help'),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_torch(arguments, class_tiff, tmp_path):
    tool, *arguments = arguments
    command = [sys.executable, '-c', RUN, ROOT / 'tools' / f'{tool}.py', *arguments]
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'MMCELL_DATA': 'data/'}
    outcome = subprocess.run(
        [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert outcome.stdout.splitlines()[-1] == 'status 0 False', outcome.stderr
