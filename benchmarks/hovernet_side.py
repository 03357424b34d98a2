"""MONAI's HoVer-Net (Graham et al. 2019), in an environment of its own: it needs nothing else of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.measure import Other, Task

_NAME = 'HoVer-Net'
#: Sides of what its fast mode sees and of what it gives, pixels.
_SEEN, _GIVEN = 256, 164
_BATCH = 4
_CLASSES = 5  # with the background


def find_hovernet(python: Path | None) -> Other:
    """HoVer-Net as another side.

    Args:
        python: Interpreter of an environment with MONAI and tifffile; None skips it.
    """
    if python is None:
        return Other(_NAME, absent='no --torchvision')
    code = 'import monai, tifffile; print("MONAI", monai.__version__)'
    outcome = subprocess.run([str(python), '-c', code], capture_output=True, text=True)
    if outcome.returncode:
        return Other(_NAME, absent='no MONAI beside torchvision')
    return Other(_NAME, HoVerNetNetwork, python, about=outcome.stdout.strip())


class HoVerNetNetwork(Task):
    """The maps of an image, patch by patch: of nuclei, their distances and their types."""

    limit_s: ClassVar[float] = 600.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        import torch
        from monai.networks.nets import HoVerNet

        torch.manual_seed(0)
        self.network = HoVerNet(mode='FAST', in_channels=3, out_classes=_CLASSES).eval()

    def run(self) -> int:
        """Predict; the number of patches."""
        import tifffile
        import torch

        image = tifffile.imread(self.inputs['image'])[..., :3]
        border, counts = (_SEEN - _GIVEN) // 2, [-(-side // _GIVEN) for side in image.shape[:2]]
        ends = [count * _GIVEN - side + border for count, side in zip(counts, image.shape)]
        image = np.pad(image, [(border, ends[0]), (border, ends[1]), (0, 0)], mode='reflect')
        corners = [(row * _GIVEN, column * _GIVEN) for row in range(counts[0]) for column in range(counts[1])]
        patches = [image[y : y + _SEEN, x : x + _SEEN].transpose(2, 0, 1) for y, x in corners]
        with torch.no_grad():
            for start in range(0, len(patches), _BATCH):
                self.network(torch.from_numpy(np.stack(patches[start : start + _BATCH])).float())
        return len(patches)

    def digest(self, result: int) -> None:
        """It gives no cells."""
