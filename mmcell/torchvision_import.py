"""Import torchvision where its compiled part does not load, too."""

from __future__ import annotations

from types import ModuleType

from mmcell.errors import InputError

_KEPT = []  # torch forgets operators when their library is deleted


def import_torchvision() -> ModuleType:
    """torchvision; the plain import where that works.

    PyPI's torchvision is compiled for PyPI's torch, which is the CUDA one. Beside another build of the same version,
    such as the CPU's, its operators do not load, and the import breaks off where they are described for the compiler
    although the rest is Python: transforms, layers, models. There the operators that are described are declared first;
    they exist then without an implementation, and calling one says so.

    Raises:
        InputError: If torchvision is not installed or is broken in another way.
    """
    cure = 'install the release that belongs to your torch, or, without its operators: tools/setup.sh --force'
    try:
        import torchvision
    except ModuleNotFoundError:
        raise InputError('torchvision', 'is not installed', cure) from None
    except RuntimeError as error:
        if 'operator torchvision::' not in str(error):
            raise InputError('torchvision', f'cannot be imported ({error})', cure) from None
        _declare_operators()
        try:
            import torchvision
        except RuntimeError as again:
            raise InputError('torchvision', f'does not fit the installed torch ({again})', cure) from None
    return torchvision


def _declare_operators() -> None:
    from torch.library import Library

    library = Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _KEPT.append(library)
