"""What runners built without `mmcell.engine.launch` need."""

import contextlib

import pytest

from mmcell.errors import InputError
from mmcell.torchvision_import import import_torchvision


@pytest.fixture(scope='session', autouse=True)
def torchvision() -> None:
    """Import torchvision as `launch.build_runner` does: mmengine's runner asks for its version."""
    with contextlib.suppress(InputError):
        import_torchvision()
