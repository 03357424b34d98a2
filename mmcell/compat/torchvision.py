"""Import torchvision where its compiled part does not load, too."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from mmcell.errors import InputError

_KEPT = []  # torch forgets operators when their library is deleted


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing, but is asked first when torchvision is imported, by whomever.

    PyPI's torchvision is compiled for PyPI's torch, which is the CUDA one. Beside another build of the same version,
    such as the CPU's, its operators do not load, and the import breaks off where they are described for the compiler
    although the rest is Python: transforms, layers, models. mmengine's runner imports it to log its version. So the
    operators that are described are declared first; they exist then without an implementation, and calling one says so.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == 'torchvision':
            sys.meta_path.remove(self)
            _declare_missing_operators()


def mend_torchvision() -> None:
    """From now on torchvision can be imported whatever torch it is compiled for; costs nothing until it is."""
    if 'torchvision' not in sys.modules and not any(isinstance(each, _BeforeTorchvision) for each in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


def import_torchvision() -> ModuleType:
    """torchvision; the plain import where that works.

    Raises:
        InputError: If torchvision is not installed or does not fit the installed torch.
    """
    cure = 'install the release that belongs to your torch, or, without its operators: tools/setup.sh --force'
    try:
        import torchvision
    except ModuleNotFoundError:
        raise InputError('torchvision', 'is not installed', cure) from None
    except RuntimeError as error:
        raise InputError('torchvision', f'does not fit the installed torch ({error})', cure) from None
    return torchvision


def _declare_missing_operators() -> None:
    spec = find_spec('torchvision')
    if spec is None:
        return
    import torch

    compiled = [path for folder in spec.submodule_search_locations for path in Path(folder).glob('_C*')]
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
