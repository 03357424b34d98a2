"""Does a checkpoint belong to the model of the config, and to the classes of the data?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmcell.config import base_of, fold_of, list_bases, read_record, title
from mmcell.engine.classes import recorded_classes
from mmcell.errors import InputError
from mmcell.io.checkpoints import unlike, weights_of

#: Names of torchvision's ResNet.
_RESNET = ('conv1.weight', 'layer1.0.conv1.weight')
_SHOWN = 3

Shapes = Mapping[str, tuple[int, ...]]


def check_weights(
    config: Config, path: str | Path, content: Mapping[str, Any], model: nn.Module, strict: bool = True
) -> tuple[list[InputError], list[str]]:
    """Compare names and shapes of a checkpoint's weights with those of the model.

    Args:
        config: The config, for errors.
        path: The checkpoint, for errors.
        content: Its content.
        model: The model.
        strict: Whether all must fit, and the base that training recorded be the config's. Otherwise half of the
            model's weights must, and what does not is a warning.

    Returns:
        Errors and warnings.
    """
    if strict and (error := _check_base(config, path, content)):
        return [error], []
    weights, own = weights_of(content), model.state_dict()
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wanted = {name: tuple(value.shape) for name, value in own.items() if torch.is_tensor(value)}
    if not found:
        return [InputError(path, 'holds no weights', 'take a checkpoint that training wrote')], []
    if wrong := unlike(weights, own):
        problem = f'holds {_some(wrong)} in whole numbers, as a quantized model does'
        return [InputError(path, problem, 'give weights in floating point')], []
    # Counters of batches, which old checkpoints lack and nothing reads.
    missing = [name for name in wanted if name not in found and not name.endswith('num_batches_tracked')]
    unexpected = [name for name in found if name not in wanted]
    other = [name for name in found if name in wanted and found[name] != wanted[name]]
    if not (missing or unexpected or other):
        return [], []
    parts = []
    if other:
        one = other[0]
        parts.append(f'{_some(other)} of another shape ({one} {list(found[one])} instead of {list(wanted[one])})')
    if missing:
        parts.append(f'without {_some(missing)}')
    if unexpected:
        parts.append(f'with {_some(unexpected)} that the model lacks')
    text = '; '.join(parts)
    guess = guess_origin(found, wanted)
    fitting = len(wanted) - len(missing) - len(other)
    if not strict and fitting >= len(wanted) / 2:
        return [], [f'{path}: {len(missing) + len(other)} of {len(wanted)} weights start from scratch: {text}']
    problem = f'does not fit the model of {title(config)}: {guess}{text}'
    cure = 'give a checkpoint of this config'
    if all(name in found for name in _RESNET):
        cure = 'give it as model.backbone.init_cfg.checkpoint'
    elif not strict:
        cure = 'give one that shares most of its weights'
    return [InputError(path, problem, cure)], []


def skip_pretrained(model: nn.Module, content: Mapping[str, Any]) -> None:
    """Let a backbone all of whose weights a checkpoint holds start from no others, which then need not be there.

    Args:
        model: The detector, or one around it, before its weights are initialized.
        content: Content of the checkpoint that will be loaded after that.
    """
    while isinstance(inner := getattr(model, 'detector', None), nn.Module):
        model = inner  # Tiles and views have the names of the detector that they wrap.
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        return
    found = {name: tuple(value.shape) for name, value in weights_of(content).items()}
    if {
        f'backbone.{name}': tuple(value.shape) for name, value in backbone.state_dict().items()
    }.items() <= found.items():
        backbone.init_cfg = None
        if getattr(backbone, 'pretrained', False):  # of TimmBackbone
            backbone.pretrained = False


def check_part(
    path: str | Path, content: Mapping[str, Any], part: nn.Module, key: str, prefix: str | None = None
) -> list[InputError]:
    """Refuse weights that are not those of the part of a model that starts from them.

    What else is among them does not matter; mmengine warns of what is not.

    Args:
        path: The checkpoint, for errors.
        content: Its content.
        part: The part.
        key: Its `init_cfg` in the config, for errors.
        prefix: What the names of its weights begin with in the checkpoint.

    Returns:
        An error if less than half of the part's weights are there.
    """
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    everything, own = weights_of(content), part.state_dict()
    weights = {name.removeprefix(start): value for name, value in everything.items() if name.startswith(start)}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wanted = {
        name: tuple(value.shape)
        for name, value in own.items()
        if torch.is_tensor(value) and not name.endswith('num_batches_tracked')
    }
    if wrong := unlike(weights, own):
        problem = f'holds {_some(wrong)} in whole numbers, as a quantized model does'
        return [InputError(path, problem, f'set {key}.checkpoint to weights in floating point, or {key}=None')]
    missing = [name for name in wanted if name not in found]
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    if len(missing) + len(other) <= len(wanted) / 2:
        return []
    lacks = f'{_some(missing, 1)} missing' if missing else f'{_some(other, 1)} of another shape'
    count = f'{len(missing) + len(other)} of {len(wanted)}'
    problem = f'is not of {type(part).__name__}: {count} weights start from scratch, {lacks}'
    return [InputError(path, problem, f'set {key}.checkpoint to weights of it, or {key}=None')]


def _check_base(config: Config, path: str | Path, content: Mapping[str, Any]) -> InputError | None:
    """An error if a run over another base than the config's wrote the checkpoint."""
    base, own = (_recorded(content) or {}).get('base'), base_of(config)
    # A config may also name the base in its own file.
    if base is None or Path(base).resolve() in (list_bases(config.filename) if own is None else [Path(own).resolve()]):
        return None
    problem = f'was trained over {base}, not by {title(config)}'
    return InputError(path, problem, f'add --base {base}' if own is None else f'use --base {base}')


def _recorded(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Base and fold that training recorded in a checkpoint; None if it did not."""
    meta = content.get('meta')
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    return read_record(text) if isinstance(text, str) else None


def check_recorded_fold(config: Config, path: str | Path, content: Mapping[str, Any]) -> list[InputError]:
    """Refuse to score or to go on with a checkpoint on another fold: its val images may have been trained on.

    Args:
        config: The config.
        path: The checkpoint, for errors.
        content: Its content.
    """
    recorded = _recorded(content)
    if recorded is None or recorded.get('fold') == fold_of(config):
        return []
    fold, own = recorded.get('fold'), fold_of(config)
    problem = f'was trained {_on(fold)}, not {_on(own)}, whose val images it may have seen'
    return [InputError(path, problem, 'leave out --fold' if fold is None else f'use --fold {fold}')]


def _on(fold: int | None) -> str:
    return "on the config's own split" if fold is None else f'on fold {fold}'


def guess_origin(found: Shapes, wanted: Shapes) -> str:
    """What the checkpoint is of, ending in a colon; empty if nothing is to be told.

    Args:
        found: Shapes by name in the checkpoint.
        wanted: Shapes by name in the model.
    """
    if all(name in found for name in _RESNET):
        return 'it is of a plain ResNet: '
    guesses = []
    for mark, name in ((r'\.cbam\.', 'CBAM'), (r'bbox_head\.\d+\.', 'a cascade')):
        has, needs = (any(re.search(mark, one) for one in names) for names in (found, wanted))
        if has != needs:
            guesses.append(f'it is of a model {"with" if has else "without"} {name}')
    ends = re.compile(r'bbox_head\.(?:\d+\.)?fc_cls\.weight$')
    ours, theirs = (
        {shape[0] - 1 for name, shape in shapes.items() if shape and ends.search(name)} for shapes in (wanted, found)
    )
    if len(ours) == len(theirs) == 1 and ours != theirs:
        guesses.append(f'it is of a model of {theirs.pop()} classes, not {ours.pop()}')
    depths = [
        sum(1 for name in names if re.search(r'backbone\.layer\d+\.\d+\.conv1\.weight$', name))
        for names in (found, wanted)
    ]
    bottleneck = [
        any(re.search(r'backbone\.layer1\.0\.conv3\.weight$', name) for name in names) for names in (found, wanted)
    ]
    if all(depths) and (depths[0] != depths[1] or bottleneck[0] != bottleneck[1]):
        names = [_resnet(blocks, deep) for blocks, deep in zip(depths, bottleneck)]
        guesses.append(f'its backbone is {names[0]}, not {names[1]}')
    return ', '.join(guesses) + ': ' if guesses else ''


def _resnet(blocks: int, bottleneck: bool) -> str:
    depth = {8: 18, 16: 50 if bottleneck else 34, 33: 101, 50: 152}.get(blocks)
    return f'a ResNet-{depth}' if depth else f'one of {blocks} blocks'


def _some(names: Sequence[str], shown: int = _SHOWN) -> str:
    more = f' and {len(names) - shown} more' if len(names) > shown else ''
    return f'{", ".join(names[:shown])}{more}'


def check_recorded_classes(
    path: str | Path, content: Mapping[str, Any], classes: Sequence[str]
) -> tuple[list[InputError], list[str]]:
    """Compare the classes that training recorded in a checkpoint with those of the data.

    Args:
        path: The checkpoint, for errors.
        content: Its content.
        classes: Names of the classes of the data.

    Returns:
        An error if the classes come in another order, a warning if they have other names or none.
    """
    recorded = recorded_classes(content)
    if recorded is None:
        return [], [f'{path}: names no classes, which are taken for those of the data: {", ".join(classes)}']
    if recorded == tuple(classes):
        return [], []
    problem = f'learned the classes {", ".join(recorded)}, but the data have {", ".join(classes)}'
    if set(recorded) == set(classes):
        return [InputError(path, problem, 'convert the data with --classes in that order')], []
    return [], [f'{path}: {problem}']
