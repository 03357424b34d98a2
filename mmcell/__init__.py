"""mmcell: instance segmentation of dense cells in microscopy images, as a plugin of MMDetection.

Importing it only registers classes and changes nothing else: MMDetection's registries learn where the classes of mmcell
are, so `custom_imports = dict(imports=['mmcell'])` is all that a config needs. The classes themselves are imported when
a registry first looks up a name: the converter, the synthesizer and the doctor then start in half a second instead of
six, and work even if torch or mmcv is broken. A new class is a new file in one of these packages, listed nowhere.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

__version__ = '0.1.0'

#: Where each of mmdet's registries is to look: in every module of a package, or in one module.
_PLACES = {
    'MODELS': ('models',),
    'TASK_UTILS': ('models',),
    'DATASETS': ('datasets',),
    'DATA_SAMPLERS': ('datasets',),
    'TRANSFORMS': ('datasets', 'datasets.transforms'),
    'METRICS': ('evaluation',),
    'HOOKS': ('engine.hooks',),
    'PARAM_SCHEDULERS': ('engine.schedule',),
    'OPTIM_WRAPPERS': ('engine.bfloat16',),
    'VISUALIZERS': ('visualization',),
}


#: What the package offers by itself, and where that is.
_LAZY = {'load_model': 'mmcell.engine.predictor'}


def list_modules(place: str) -> list[str]:
    """Full names of the modules of a package of ours, without importing it; of a module, that of itself.

    Args:
        place: Its name below `mmcell`.
    """
    folder = Path(__file__).parent.joinpath(*place.split('.'))
    if not folder.is_dir():
        return [f'mmcell.{place}']
    return [f'mmcell.{place}.{module.name}' for module in iter_modules([str(folder)]) if not module.ispkg]


def __getattr__(name: str) -> Any:
    """`mmcell.load_model`, imported when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_LAZY[name]), name)


def _register() -> None:
    try:
        import mmdet.registry
        from mmengine.config.utils import MODULE2PACKAGE
    except Exception:  # A broken torch or numpy raises what it likes.
        return  # Whoever needs a registry fails by itself; `tools/doctor.py` names the cure.
    for name, places in _PLACES.items():
        registry = getattr(mmdet.registry, name)
        for module in (module for place in places for module in list_modules(place)):
            if registry._imported:  # It has looked its names up already and will not do so again.
                import_module(module)
            elif module not in registry._locations:
                registry._locations.append(module)
    # MMEngine inherits `mmcell::…` configs only from packages that this table of its names knows.
    MODULE2PACKAGE['mmcell'] = 'mmcell'


_register()
