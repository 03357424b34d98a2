"""torchvision's Mask R-CNN, the reference's model, in an environment of its own: it needs nothing else of ours."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Other, Task, clock

_NAME = 'torchvision'
_VERSIONS = """
import imagecodecs, numpy, pycocotools.mask, tifffile, torch, torchvision
print(f'torchvision {torchvision.__version__}, torch {torch.__version__}')
"""


def find_torchvision(python: Path | None, task: type[Task]) -> Other:
    """torchvision as another side.

    Args:
        python: Interpreter of an environment with torchvision, pycocotools, tifffile and imagecodecs; None skips it.
        task: What it runs.

    Raises:
        InputError: If it cannot be run, or has not what it needs.
    """
    if python is None:
        return Other(_NAME, absent='no --torchvision')
    from mmcell.errors import InputError  # which the other environment need not have

    try:
        outcome = subprocess.run([str(python), '-c', _VERSIONS], capture_output=True, text=True)
    except OSError as error:
        raise InputError(python, f'cannot be run ({error.strerror})', 'name a Python interpreter') from None
    if outcome.returncode:
        problem = f'cannot import what it needs: {outcome.stderr.strip().splitlines()[-1][:120]}'
        raise InputError(python, problem, 'pip install torch torchvision pycocotools tifffile imagecodecs there')
    return Other(_NAME, task, python, about=outcome.stdout.strip())


class _Torchvision(Task):
    """What training and prediction share.

    Seconds of the parts are kept by run.
    """

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        import torch
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
        from torchvision.models.resnet import Bottleneck

        torch.manual_seed(0)
        backbone = resnet_fpn_backbone(backbone_name='resnet50', weights=None, trainable_layers=3)
        for block in backbone.modules():
            if isinstance(block, Bottleneck):  # else features of random weights grow without bound
                torch.nn.init.zeros_(block.bn3.weight)
        self.model = MaskRCNN(backbone, num_classes=5, **self.options())
        self.seconds: list[dict[str, float]] = []

    def options(self) -> dict[str, Any]:
        """Arguments of the model."""
        return {}

    def digest(self, result: Any) -> NDArray[np.float64] | None:
        """Its weights are others."""
        return None

    def parts(self, result: Any) -> dict[str, float]:
        """Where the time went."""
        return {part: median(run[part] for run in self.seconds) for part in self.seconds[0]}

    def read_image(self) -> Any:
        """The image, (3, H, W) float from 0 to 1."""
        import tifffile
        import torch

        image = tifffile.imread(self.inputs['image'])
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        start = clock()
        yield
        self.seconds[-1][part] += clock() - start


class TorchvisionTrain(_Torchvision):
    """A step of training, with the masks of all cells as full frames: what its targets are."""

    limit_s: ClassVar[float] = 300.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        self.annotations = json.loads(Path(inputs['annotations']).read_text())['annotations']
        self.weights = {name: value.clone() for name, value in self.model.state_dict().items()}

    def run(self) -> float:
        """Train; the loss."""
        import torch

        self.seconds.append(defaultdict(float))
        self.model.load_state_dict(self.weights)
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=5e-4)
        self.model.train()
        with self._clock('data'):
            image, target = self._load()
        with self._clock('forward'):
            loss = sum(self.model([image], [target]).values())
        with self._clock('backward and update'):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    def _load(self) -> tuple[Any, dict[str, Any]]:
        import torch
        from pycocotools import mask as coco_mask

        image = self.read_image()
        masks = np.empty((len(self.annotations), *image.shape[1:]), dtype=np.uint8)
        for mask, cell in zip(masks, self.annotations):
            mask[...] = coco_mask.decode(cell['segmentation'])
        boxes = torch.tensor([cell['bbox'] for cell in self.annotations])
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([cell['category_id'] for cell in self.annotations])
        return image, {'boxes': boxes, 'labels': labels, 'masks': torch.from_numpy(masks)}


class TorchvisionInfer(_Torchvision):
    """Prediction of up to as many detections as there are cells; RLE of them, which nobody checks here."""

    limit_s: ClassVar[float] = 300.0

    def __init__(self, inputs: dict[str, Any], side: str) -> None:
        super().__init__(inputs, side)
        import torch

        logits = self.model.roi_heads.mask_predictor.mask_fcn_logits
        torch.nn.init.zeros_(logits.weight)
        torch.nn.init.ones_(logits.bias)
        self.model.eval()
        # From the first features for masks until they are pasted.
        self.model.roi_heads.mask_roi_pool.register_forward_pre_hook(self._begin_masks)
        paste = self.model.transform.postprocess

        def paste_and_stop(*args: Any) -> Any:
            result = paste(*args)
            self.seconds[-1]['masks'] += clock() - self._began
            return result

        self.model.transform.postprocess = paste_and_stop

    def options(self) -> dict[str, Any]:
        """Up to as many detections as cells, of any score."""
        count, proposals = self.inputs['detections'], self.inputs['proposals']
        return {
            'rpn_pre_nms_top_n_test': 2 * proposals,
            'rpn_post_nms_top_n_test': proposals,
            'box_score_thresh': 0.0,
            'box_detections_per_img': count,
        }

    def run(self) -> list[dict[str, Any]]:
        """Predict; the RLE."""
        import torch
        from pycocotools import mask as coco_mask

        self.seconds.append(defaultdict(float))
        with self._clock('load'):
            image = self.read_image()
        with self._clock('network'), torch.no_grad():
            [found] = self.model([image])
        self.seconds[-1]['network'] -= self.seconds[-1]['masks']
        with self._clock('encode and check'):
            bitmaps = (found['masks'][:, 0] >= 0.5).numpy()
            rles = [coco_mask.encode(np.asfortranarray(bitmap, dtype=np.uint8)) for bitmap in bitmaps]
        return rles

    def amount(self, result: list[dict[str, Any]]) -> int:
        """Detections."""
        return len(result)

    def _begin_masks(self, *_: Any) -> None:
        self._began = clock()
