"""What the command-line tools share.

Importing it makes a process one of our tools: :func:`mmcell.compat.install` is called. Python imports the tool's file
anew in each process that a run spawns, such as those that load data, and so the same is done there; forked ones inherit
it.
"""

from mmcell.compat import install

install()
