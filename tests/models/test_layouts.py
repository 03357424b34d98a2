"""The features that every config's heads see are right in both memory layouts, forwards and backwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from mmcell.config import load_config
from tests.models.roi_reference import align, align_backward

ROOT = Path(__file__).resolve().parents[2] / 'configs'
FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
_PARTS = ('backbone', 'neck', 'bbox_roi_extractor', 'mask_roi_extractor')


def detector_of(path: Path) -> ConfigDict:
    """The two-stage detector of a config, without what is around it."""
    model = load_config(path).model
    while 'roi_head' not in model:
        model = model.get('detector') or model.detectors[0]
    return model


@cache
def distinct_features() -> dict[str, Path]:
    """One config for each way to make features."""
    found = {}
    for path in sorted(ROOT.glob('[!_]*/*.py')):
        model = detector_of(path)
        settings = {name: {**model, **model.roi_head}[name] for name in _PARTS}
        found.setdefault(json.dumps(settings, sort_keys=True, default=str), path)
    return {path.stem: path for path in found.values()}


def nested(settings: object) -> Iterator[Mapping]:
    """All dicts within settings."""
    if isinstance(settings, Mapping):
        yield settings
    if isinstance(settings, Mapping | list | tuple):
        for value in settings.values() if isinstance(settings, Mapping) else settings:
            yield from nested(value)


def test_no_other_compiled_operator_is_in_a_model():
    """mmcv's operators take their input for contiguous, deformable convolutions too: a new one needs a test."""
    for path in distinct_features().values():
        parts = list(nested(detector_of(path)))
        assert not [part for part in parts if part.get('dcn') or 'DCN' in str(part.get('type'))]
        assert {part.type for part in parts if 'roi_layer' in part} == {'DenseRoIExtractor'}


@pytest.mark.parametrize('layout', FORMATS)
@pytest.mark.parametrize('name', distinct_features())
def test_roi_features_are_those_of_the_feature_maps(name, layout):
    init_default_scope('mmdet')
    model = detector_of(distinct_features()[name])
    torch.manual_seed(0)
    backbone, neck = MODELS.build(model.backbone), MODELS.build(model.neck)
    for module in (backbone, neck):
        module.eval()
        module.to(memory_format=FORMATS[layout])
    rng = np.random.default_rng(0)
    images = torch.tensor(rng.normal(size=(2, 3, 64, 96)), dtype=torch.float32)
    with torch.no_grad():
        maps = neck(backbone(images.contiguous(memory_format=FORMATS[layout])))
    if layout == 'channels_last':
        assert not any(each.is_contiguous() for each in maps if min(each.shape[2:]) > 1)
    corner = rng.uniform(-5, [90, 60], (12, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 60, (12, 2))], axis=1)
    rois = np.concatenate([rng.integers(0, 2, (12, 1)), boxes], axis=1).astype(np.float32)
    for kind in ('bbox', 'mask'):
        extractor = MODELS.build(model.roi_head[f'{kind}_roi_extractor'])
        levels = [each.detach().requires_grad_() for each in maps[: extractor.num_inputs]]
        ours = extractor(levels, torch.tensor(rois))
        gradient = rng.normal(size=ours.shape).astype(np.float32)
        ours.backward(torch.tensor(gradient))
        level_of = extractor.map_roi_levels(torch.tensor(rois), len(levels)).numpy()
        layer = extractor.roi_layers[0]
        scales = [1 / stride for stride in extractor.featmap_strides]
        arguments = (rois, level_of, scales, layer.output_size, layer.sampling_ratio, layer.aligned)
        arrays = [level.detach().numpy() for level in levels]
        largest = max(np.abs(each).max() for each in arrays)
        np.testing.assert_allclose(ours.detach().numpy(), align(arrays, *arguments), rtol=0, atol=1e-5 * largest)
        for level, expected in zip(levels, align_backward(arrays, gradient, *arguments)):
            np.testing.assert_allclose(level.grad.numpy(), expected, rtol=0, atol=2e-5)
