"""Everything that changes how other packages behave, applied by :func:`install` and by nothing else.

But for one thing: who builds a backbone of timm gets a torchvision that can be imported, see :mod:`.torchvision`.

Our command-line tools call it, see :mod:`mmcell.cli`. Another repository that uses mmcell as a plugin may: then
mmengine reads checkpoints without running code in them, torchvision can be imported beside another build of torch, and
messages that nobody can act on stay off the terminal. One module of this package says each of these, and why.
"""


def install() -> None:
    """Change mmengine, torchvision and the loggers of this process, for as long as it lives.

    Packages that are not imported yet are changed when they are; none is imported for it. To call it again changes
    nothing more. Processes of their own need a call of their own.
    """
    # Imported here: what only reports a torchvision that does not load needs no mmengine.
    from mmcell.compat.checkpoints import load_safely
    from mmcell.compat.devices import allow_no_device
    from mmcell.compat.messages import silence
    from mmcell.compat.quick_start import log_without_torch
    from mmcell.compat.torchvision import fix_torchvision

    silence()
    log_without_torch()
    fix_torchvision()
    load_safely()
    allow_no_device()
