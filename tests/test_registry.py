"""Names in MMDetection's registries: ours never take the place of another package's."""

from __future__ import annotations

import mmdet.registry
import pytest
from mmengine.registry import Registry

import mmcell  # noqa: F401  registers

REGISTRIES = {
    name: registry
    for name, registry in vars(mmdet.registry).items()
    if isinstance(registry, Registry) and registry.scope == 'mmdet'
}


@pytest.mark.parametrize('name', REGISTRIES)
def test_no_name_is_that_of_another_package(name):
    registry, parent = REGISTRIES[name], REGISTRIES[name].parent
    registry.import_from_location()
    parent.import_from_location()
    ours = {key for key, each in registry.module_dict.items() if each.__module__.startswith('mmcell.')}
    # Of one and the same registry a second one is refused; a name of the parent would be shadowed.
    assert not ours & parent.module_dict.keys()


def test_there_is_something_to_hold():
    assert {'CBAMResNet', 'CellDataset', 'RandomBrightness', 'CellMetric'} <= {
        key for registry in REGISTRIES.values() for key in registry.module_dict
    }
