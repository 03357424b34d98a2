"""Check the installation: versions, mmcv's compiled operators, device, memory, data; one cure per problem."""

import sys
from pathlib import Path

# A missing installation of mmcell is one of the things that the doctor has to report: it needs the checkout to start,
# but must not take the checkout's metadata for those of an installation.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmcell.cli.command import run
from mmcell.preflight.doctor import main

del sys.path[0]

if __name__ == '__main__':
    run(main)
