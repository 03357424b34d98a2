"""mmcell: instance segmentation of dense cells in microscopy images, as a plugin of MMDetection.

Importing it adds our classes to MMDetection's registries, so `custom_imports = dict(imports=['mmcell'])` is all that a
config needs. The classes themselves are imported when a registry first looks a name up: the converter, the
synthesizer and the doctor then start in half a second instead of six, and work where torch or mmcv is broken.
"""

from importlib import import_module

__version__ = '0.1.0'

#: Which of our packages each of mmdet's registries is to look into.
_PACKAGES = {
    'MODELS': 'mmcell.models',
    'DATASETS': 'mmcell.datasets',
    'TRANSFORMS': 'mmcell.datasets',
    'METRICS': 'mmcell.evaluation',
    'HOOKS': 'mmcell.engine',
    'PARAM_SCHEDULERS': 'mmcell.engine',
    'VISUALIZERS': 'mmcell.visualization.visualizer',
}


def _register() -> None:
    try:
        import mmdet.registry
        from mmengine.config.utils import MODULE2PACKAGE

        from mmcell.compat.messages import silence
        from mmcell.compat.torchvision import mend_torchvision
    except Exception:  # A broken torch or numpy raises what it likes.
        return  # Whoever needs a registry fails by itself; `tools/doctor.py` names the cure.
    for name, package in _PACKAGES.items():
        registry = getattr(mmdet.registry, name)
        if registry._imported:  # It has looked its names up already and will not do so again.
            import_module(package)
        elif package not in registry._locations:
            registry._locations.append(package)
    # MMEngine inherits `mmcell::…` configs only from packages that this table of its names knows.
    MODULE2PACKAGE['mmcell'] = 'mmcell'
    silence()
    mend_torchvision()


_register()
