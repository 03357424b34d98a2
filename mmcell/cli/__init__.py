"""What the command-line tools share.

Importing it makes a process one of our tools: :func:`mmcell.compat.install` is called, and the terminal is kept to what
a user reads. Python imports the tool's file anew in each process that a run spawns, such as those that load data, and
so the same is done there; forked ones inherit it.
"""

from mmcell.compat import install
from mmcell.compat.messages import shorten_terminal

install()
shorten_terminal()
