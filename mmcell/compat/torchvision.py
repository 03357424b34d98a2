"""Import torchvision where its compiled part does not load, too."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from mmcell.compat.imports import before_import
from mmcell.errors import InputError, set_up_again

_KEPT: list[object] = []  # torch forgets operators when their library is deleted


def fix_torchvision() -> None:
    """From now on torchvision can be imported whatever torch it is compiled for; costs nothing until it is.

    PyPI's torchvision is compiled for PyPI's torch, which is the CUDA one. Beside another build of the same version,
    such as the CPU's, its operators do not load, and the import breaks off where they are described for the compiler
    although the rest is Python: transforms, layers, models. So the operators that are described are declared first;
    they exist then without an implementation, and calling one says so.
    """
    before_import('torchvision', _declare_missing_operators)


def import_torchvision() -> ModuleType:
    """torchvision, without its operators where they do not load.

    Also where nobody called :func:`mmcell.compat.install`: models that come with mmcell need it, and who loads one in a
    line of Python has no use for a torchvision that cannot be imported.

    Raises:
        InputError: If torchvision is not installed or does not fit the installed torch.
    """
    if 'torchvision' not in sys.modules:
        _declare_missing_operators()
    try:
        import torchvision
    except ModuleNotFoundError:
        raise InputError('torchvision', 'is not installed', set_up_again()) from None
    except Exception as error:  # a RuntimeError, and what follows from half an import the next time
        problem = f'does not fit the installed torch ({error})'
        raise InputError('torchvision', problem, 'install the release that belongs to your torch') from None
    return torchvision


def _declare_missing_operators() -> None:
    spec = find_spec('torchvision')
    if spec is None or _KEPT:
        return
    import torch

    compiled = [path for folder in spec.submodule_search_locations or () for path in Path(folder).glob('_C*')]
    try:
        for path in compiled:
            torch.ops.load_library(path)  # torchvision does so once more, to no effect
    except OSError:
        compiled = []
    if not compiled:
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for name in ('nms', 'qnms'):
            library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        _KEPT.append(library)
