"""Checkpoints given to everything that takes one: broken files, other files, weights and notes that no training writes.

Each is refused by lines of at most 300 characters, with status 2 and nothing written, or used as it should be.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save as save_safetensors
from torch import Tensor

from benchmarks.infer import file_cases
from benchmarks.measure import Options
from mmcell.cli.command import run
from mmcell.config import load_config
from mmcell.engine import publish as publishing
from mmcell.engine.predictor import load_model
from mmcell.errors import InputError
from mmcell.io import shipped
from mmcell.io.checkpoints import load_checkpoint
from mmcell.synthetic import write_class_tiff
from tests.conftest import forget_run
from tests.fuzz.test_documents import NASTY, places
from tests.tools.test_nasty_arguments import ROOT, TINY, main_of

State = dict[str, Any]


class Trap:
    def __reduce__(self) -> tuple:
        return os.mkdir, ('sprung',)


# ---- what is no checkpoint ------------------------------------------------


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        for name, data in members.items():
            file.writestr(name.replace('__', '/'), data)
    return buffer.getvalue()


def header(text: bytes, size: int | None = None, data: bytes = b'') -> bytes:
    """A safetensors file with a header that says what it likes."""
    return struct.pack('<Q', len(text) if size is None else size) + text + data


def one_tensor(dtype: str, shape: list, offsets: list) -> bytes:
    return json.dumps({'a': {'dtype': dtype, 'shape': shape, 'data_offsets': offsets}}).encode()


NESTED = b'[' * 100_000
#: Bytes of files that are no checkpoint, by name.
FILES: dict[str, bytes] = {
    'empty.pth': b'',
    'zeros.pth': bytes(5000),
    'ones.pth': b'\xff' * 5000,
    'text.pth': b'neither this nor that\n',
    'page.pth': b'<!DOCTYPE html><html><body>404</body></html>',
    'json.pth': b'{"state_dict": {}, "meta": {}}',
    'nested.pth': NESTED,
    'pickle with code.pth': pickle.dumps({'state_dict': {}, 'meta': Trap()}),
    'pickle of a list.pth': pickle.dumps([1, 2], 2),
    'pickle of a text.pth': pickle.dumps('weights', 2),
    'pickle without end.pth': pickle.dumps({'state_dict': {}}, 2)[:-1],
    'zip.pth': archive(a=b'x'),
    'zip of nothing.pth': archive(),
    'zip with a text for a pickle.pth': archive(archive__data__pkl=b'x'),
    'zip with a pickle alone.pth': archive(**{'archive__data.pkl': pickle.dumps({'state_dict': {}}, 2)}),
    'zip with code.pth': archive(**{'archive__data.pkl': pickle.dumps({'a': Trap()}, 2), 'archive__version': b'3'}),
    'zip that says it is TorchScript.pth': archive(**{'a__constants.pkl': b'', 'a__data.pkl': b'', 'a__version': b'3'}),
    'empty.safetensors': b'',
    'text.safetensors': b'neither this nor that\n',
    'header of 2**63 bytes.safetensors': header(b'{}', 2**63),
    'header longer than the file.safetensors': header(b'{}', 1000),
    'header of no bytes.safetensors': header(b''),
    'header that is no JSON.safetensors': header(b'{"a": '),
    'header that is a list.safetensors': header(b'[]'),
    'header nested.safetensors': header(NESTED),
    'header that is no text.safetensors': header(b'\xff\xfe{}'),
    'facts nested.safetensors': header(json.dumps({'__metadata__': {'mmcell': NESTED.decode()}}).encode()),
    'facts that are no JSON.safetensors': header(json.dumps({'__metadata__': {'mmcell': '{'}}).encode()),
    'offsets behind the end.safetensors': header(one_tensor('F32', [4], [0, 16])),
    'offsets backwards.safetensors': header(one_tensor('F32', [4], [16, 0]), data=bytes(16)),
    'offsets below nothing.safetensors': header(one_tensor('F32', [4], [-16, 0]), data=bytes(16)),
    'shape of too many.safetensors': header(one_tensor('F32', [2**40, 2**40], [0, 16]), data=bytes(16)),
    'shape below nothing.safetensors': header(one_tensor('F32', [-4], [0, 16]), data=bytes(16)),
    'kind that is none.safetensors': header(one_tensor('X9', [4], [0, 16]), data=bytes(16)),
    'kind of four bits.safetensors': header(one_tensor('F4', [32], [0, 16]), data=bytes(16)),
    'no tensors.safetensors': header(b'{}'),
    'torch in disguise.safetensors': b'PK\x03\x04' + bytes(100),
}


def place_oddities(folder: Path) -> list[str]:
    """What is no file at all."""
    (folder / 'folder.pth').mkdir()
    (folder / 'dangling.pth').symlink_to(folder / 'gone/there')
    os.mkfifo(folder / 'pipe.pth')
    (folder / 'device.pth').symlink_to('/dev/zero')
    return ['folder.pth', 'dangling.pth', 'pipe.pth', 'device.pth', 'missing.pth']


# ---- what no training writes ------------------------------------------------


def first(content: State) -> str:
    """The name of a weight that matters."""
    return next(name for name, value in content['state_dict'].items() if value.ndim == 4)


def each_weight(change: Callable[[Tensor], Any]) -> Callable[[State], None]:
    def apply(content: State) -> None:
        state = content['state_dict']
        for name, value in state.items():
            state[name] = change(value) if value.is_floating_point() else value

    return apply


def one_weight(change: Callable[[Tensor], Any]) -> Callable[[State], None]:
    def apply(content: State) -> None:
        content['state_dict'][first(content)] = change(content['state_dict'][first(content)])

    return apply


def put(*keys: str) -> Callable[[Any], Callable[[State], None]]:
    """Puts a value at a place."""

    def at(value: Any) -> Callable[[State], None]:
        def apply(content: State) -> None:
            for key in keys[:-1]:
                content = content[key]
            content[keys[-1]] = value

        return apply

    return at


def keep_some(content: State) -> None:
    content['state_dict'] = dict(list(content['state_dict'].items())[:3])


def rename(start: str, end: str = '') -> Callable[[State], None]:
    def apply(content: State) -> None:
        content['state_dict'] = {f'{start}{name}{end}': value for name, value in content['state_dict'].items()}

    return apply


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    def apply(weight: Tensor) -> Tensor:
        weight = weight.clone()
        weight[(0,) * weight.ndim] = value
        return weight

    return apply


def quantize(weight: Tensor) -> Tensor:
    return torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)


def number_names(content: State) -> None:
    content['state_dict'] = dict(enumerate(content['state_dict'].values()))


#: Weights that no model can have, by name.
WEIGHTS: dict[str, Callable[[State], None]] = {
    'another model': rename('student.'),
    'of other sizes': each_weight(lambda weight: weight[:1]),
    'all single numbers': each_weight(lambda weight: weight.flatten()[0].clone()),
    'some missing': lambda content: content['state_dict'].pop(first(content)),
    'most missing': keep_some,
    'none': put('state_dict')({}),
    'a list': put('state_dict')([1, 2]),
    'a number': put('state_dict')(3),
    'names are numbers': number_names,
    'one NaN': one_weight(with_value(np.nan)),
    'one infinite': one_weight(with_value(np.inf)),
    'complex': each_weight(lambda weight: weight.to(torch.complex64)),
    'whole numbers': each_weight(lambda weight: (weight * 100).to(torch.int8)),
    'yes and no': each_weight(lambda weight: weight > 0),
    'sparse': one_weight(lambda weight: weight.to_sparse()),
    'quantized': one_weight(quantize),
    'on no device': one_weight(lambda weight: weight.to('meta')),
    'a few bytes for all': one_weight(lambda weight: torch.zeros(1).expand(weight.shape)),
    'a few bytes for a terabyte': one_weight(lambda weight: torch.zeros(1).expand(2**20, 2**20)),
    'arrays': each_weight(lambda weight: weight.numpy()),
    'lists': each_weight(lambda weight: weight.flatten()[:3].tolist()),
}
#: What a model can have, but a training cannot go on from, or only by chance.
STATES: dict[str, Callable[[State], None]] = {
    'no optimizer': lambda content: content.pop('optimizer'),
    'optimizer a list': put('optimizer')([1]),
    'optimizer without groups': put('optimizer', 'param_groups')([]),
    'optimizer of texts': put('optimizer', 'state')({0: 'x', 1: {'exp_avg': 'x'}}),
    'optimizer of a terabyte': put('optimizer', 'state')({0: {'exp_avg': torch.zeros(1).expand(2**40)}}),
    'optimizer of other sizes': put('optimizer', 'state')({0: {'exp_avg': torch.zeros(100_000)}}),
    'rate a text': lambda content: content['optimizer']['param_groups'][0].update(lr='x'),
    'rate endless': lambda content: content['optimizer']['param_groups'][0].update(lr=10**400),
    'rates a text': put('param_schedulers')('x'),
    'rates of numbers': put('param_schedulers')([1, 2]),
    'hub a list': put('message_hub')([]),
    'logs texts': put('message_hub', 'log_scalars')({'loss': 'x'}),
    'logs without numbers': put('message_hub', 'log_scalars')({'train/loss': HistoryBuffer()}),
    'best score a text': lambda content: content['message_hub']['runtime_info'].update(best_score='x'),
    'kept a text': lambda content: content['message_hub']['runtime_info'].update(keep_ckpt_ids='../..'),
    'last a list': lambda content: content['message_hub']['runtime_info'].update(last_ckpt=[1]),
    'exact a list': put('exact_resume')([1]),
    'batches a text': put('exact_resume')({'batches_done': 'x'}),
    'batches below nothing': put('exact_resume')({'batches_done': -1}),
    'seed a text': put('meta', 'seed')('x'),
    'seed endless': put('meta', 'seed')(10**400),
    'epoch a text': put('meta', 'epoch')('x'),
    'epoch endless': put('meta', 'epoch')(10**400),
    'steps below nothing': put('meta', 'iter')(-1),
    'average a list': put('ema_state_dict')([1]),
    'gradients a list': put('gradients')([1]),
}
#: Notes of a training that are none.
NOTES: dict[str, Callable[[State], None]] = {
    'no notes': lambda content: content.pop('meta'),
    'notes a list': put('meta')([1]),
    'notes a tensor': put('meta')(torch.zeros(3)),
    'notes of the data a list': put('meta', 'dataset_meta')([1]),
    'classes a number': put('meta', 'dataset_meta')({'classes': 4}),
    'classes numbers': put('meta', 'dataset_meta')({'classes': [1, 2, 3, 4]}),
    'classes twice': put('meta', 'dataset_meta')({'classes': ['a', 'a', 'b', 'c']}),
    'classes empty': put('meta', 'dataset_meta')({'classes': ['', ' ', 'a', 'b']}),
    'classes that a terminal obeys': put('meta', 'dataset_meta')({'classes': ['\x1b[2J', 'a\nb', '\0', '\ud800']}),
    'classes long': put('meta', 'dataset_meta')({'classes': [f'{letter}' * 10_000 for letter in 'abcd']}),
    'classes too many': put('meta', 'dataset_meta')({'classes': [str(number) for number in range(5000)]}),
    'threshold a text': put('meta', 'score_thr')('x'),
    'threshold endless': put('meta', 'score_thr')(10**400),
    'threshold a tensor': put('meta', 'score_thr')(torch.zeros(5)),
    'microns a text': put('meta', 'dataset_meta', 'mpp')('x'),
    'microns NaN': put('meta', 'dataset_meta', 'mpp')(np.nan),
    'microns endless': put('meta', 'dataset_meta', 'mpp')(10**400),
    'microns below nothing': put('meta', 'dataset_meta', 'mpp')(-0.25),
    'config a number': put('meta', 'cfg')(5),
    'config nested': put('meta', 'cfg')(NESTED.decode()),
    'config with odd places': put('meta', 'cfg')("_run = dict(base='a\\0b', fold=10**5)\n"),
    'config with a long base': put('meta', 'cfg')(f"_run = dict(base='{'n' * 5000}', fold=None)\n"),
}
#: Other ways of writing the same weights, which give the same results.
SAME: dict[str, Callable[[State], None]] = {
    'sound': lambda content: None,
    'old format': lambda content: None,
    'double precision': each_weight(lambda weight: weight.double()),
    'names of several processes': rename('module.'),
    'not contiguous': each_weight(lambda weight: weight.transpose(0, -1).contiguous().transpose(0, -1)),
}
OTHERS: dict[str, Callable[[State], None]] = {
    'half precision': each_weight(lambda weight: weight.half()),
    'bfloat16': each_weight(lambda weight: weight.bfloat16()),
}


def copy_of(content: State) -> State:
    """Down to the weights, which are never changed in place."""
    if isinstance(content, dict):
        return {key: copy_of(value) for key, value in content.items()}
    return [copy_of(value) for value in content] if isinstance(content, list) else content


TINY_TEST = 'model.update(test_cfg=dict(rcnn=dict(max_per_img=20)))\n'
#: Behind the path of a config: another member of it, with weights of its own.
ENSEMBLE = """
_base_ = {config!r}
model = dict(_delete_=True, type='EnsembleDetector', detectors=[_base_.model] * 2, checkpoints=[None, {checkpoint!r}])
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    """Data, a config, and a checkpoint as training writes it: `sound.pth`."""
    folder = tmp_path_factory.mktemp('place')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMCELL_DATA', str(folder / 'data'))
        write_class_tiff(folder / 'source', num_images=4, size=(64, 64), num_cells=4, num_test_images=1)
        call('convert', 'class_tiff', folder / 'source', '--out', folder / 'data', '--val-ratio', 0.5, '--workers', 1)
        (folder / 'tiny.py').write_text(TINY.format(ROOT=ROOT) + TINY_TEST)
        call('train', folder / 'tiny.py', '--work-dir', folder / 'run')
        (folder / 'run/epoch_1.pth').rename(folder / 'sound.pth')
        yield folder


@pytest.fixture(scope='module')
def sound(place) -> State:
    content = load_checkpoint(place / 'sound.pth')
    # As a training does that averages, and one that waits with its gradients.
    weights = content['state_dict']
    content['ema_state_dict'] = {
        'steps': torch.tensor(3),
        **{f'module.{name}': value for name, value in weights.items()},
    }
    content['meta']['score_thr'] = 0.1
    return content


def call(name: str, *arguments: object) -> None:
    """Run a tool in this process.

    Raises:
        InputError: If it refused, as it should.
    """
    err, status = io.StringIO(), None
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            run(main_of(name), [str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    finally:
        forget_run()
    if status:
        lines = err.getvalue().splitlines()
        assert status == 2 and lines, (status, err.getvalue())
        assert all(line.startswith('error: ') and len(line) <= 300 for line in lines), err.getvalue()
        raise InputError(name, ' '.join(lines)[:1000], 'as it says')


# ---- who takes one ------------------------------------------------


def infer(place: Path, checkpoint: Path, out: Path, config: str = 'tiny.py') -> Any:
    (image,) = (place / 'source/test_release').glob('*.tif')
    call('infer', place / config, checkpoint, image, '--out', out)
    return json.loads((out / 'results.json').read_text())


def ensemble(place: Path, checkpoint: Path, out: Path) -> Any:
    config = out.with_name('ensemble.py')
    config.write_text(ENSEMBLE.format(config=str(place / 'tiny.py'), checkpoint=str(checkpoint)))
    try:
        return infer(place, place / 'sound.pth', out, config)
    finally:
        config.unlink()


def score(place: Path, checkpoint: Path, out: Path) -> Any:
    call('test', place / 'tiny.py', checkpoint, '--out', out)
    return json.loads((out / 'val-results.json').read_text())


def submit(place: Path, checkpoint: Path, out: Path) -> Any:
    call('test', place / 'tiny.py', checkpoint, '--out', out, '--format-only')
    return json.loads((out / 'test-results.json').read_text())


def train(place: Path, out: Path, epochs: int, *arguments: object) -> Any:
    options = [f'train_cfg.max_epochs={epochs}', *(each for each in arguments if '=' in str(each))]
    rest = [each for each in arguments if '=' not in str(each)]
    call('train', place / 'tiny.py', '--work-dir', out, *rest, '--cfg-options', *options)
    state = load_checkpoint(out / f'epoch_{epochs}.pth')['state_dict']
    assert all(value.isfinite().all() for value in state.values())
    return {name: value.tolist() for name, value in state.items()}


def resume(place: Path, checkpoint: Path, out: Path) -> Any:
    return train(place, out, 2, '--resume', checkpoint)


def start_from(place: Path, checkpoint: Path, out: Path) -> Any:
    return train(place, out, 1, f'load_from={checkpoint}')


def start_backbone(place: Path, checkpoint: Path, out: Path) -> Any:
    init = 'model.backbone.init_cfg'
    settings = (f'{init}._delete_=True', f'{init}.type=Pretrained', f'{init}.prefix=backbone.')
    return train(place, out, 1, *settings, f'{init}.checkpoint={checkpoint}')


def measure(place: Path, checkpoint: Path, out: Path) -> Any:
    """As far as a benchmark looks at a checkpoint before it measures."""
    options = Options([], [], out, source=place / 'source/test_release', images=1, config=place / 'tiny.py')
    return len([*file_cases(replace(options, checkpoint=checkpoint))])


def publish(place: Path, checkpoint: Path, out: Path) -> Any:
    annotations = place / 'data/annotations/train.json'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, 'CONFIGS', place)
        for module in (shipped, publishing):
            patch.setattr(module, 'WEIGHTS', out)
        call('publish_model', checkpoint, 'tiny', annotations, '--score-thr', 0.5)
    return (out / 'tiny.safetensors').stat().st_size


USES = {
    use.__name__: use for use in (infer, ensemble, score, submit, resume, start_from, start_backbone, publish, measure)
}


@pytest.fixture(autouse=True)
def data(place, monkeypatch):
    monkeypatch.setenv('MMCELL_DATA', str(place / 'data'))


@pytest.fixture
def hostile(place, sound, tmp_path) -> dict[str, Path]:
    """Checkpoints by name."""
    folder = tmp_path / 'hostile'
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    whole = (place / 'sound.pth').read_bytes()
    for name, length in (('cut.pth', len(whole) // 2), ('cut at its end.pth', len(whole) - 1), ('head.pth', 64)):
        (folder / name).write_bytes(whole[:length])
    plain = {name: value.contiguous() for name, value in sound['state_dict'].items()}
    safe = save_safetensors(plain)
    (folder / 'cut.safetensors').write_bytes(safe[: len(safe) // 2])
    (folder / 'torch.safetensors').write_bytes(whole)
    (folder / 'safetensors.pth').write_bytes(safe)
    names = [
        *FILES,
        'cut.pth',
        'cut at its end.pth',
        'head.pth',
        'cut.safetensors',
        'torch.safetensors',
        'safetensors.pth',
    ]
    names += place_oddities(folder)
    return {name: folder / name for name in names}


@pytest.mark.slow
@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_no_checkpoints(fuzz, place, hostile, use):
    def case(name: str, work: Path) -> None:
        refused(use, place, hostile[name], work)

    tally = fuzz.each(f'no checkpoints, to {use.__name__}', list(hostile), case)
    assert tally['refused'] == len(hostile)


def refused(use: Callable, place: Path, checkpoint: Path, work: Path) -> Any:
    """What it makes of a checkpoint; if it refuses it, nothing is written."""
    os.chdir(work)
    try:
        return use(place, checkpoint, work / 'out')
    except InputError:
        assert not list(work.iterdir()), sorted(work.rglob('*'))[:5]
        raise


@pytest.mark.slow
@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_weights_that_no_model_has(fuzz, place, sound, use, tmp_path):
    tally = fuzz.each(f'weights of no model, to {use.__name__}', list(WEIGHTS), changed(use, place, sound, tmp_path))
    # A training may start from less than all of them, and says so.
    assert tally['correct'] <= (use in (start_from, start_backbone))


def changed(use: Callable, place: Path, sound: State, folder: Path) -> Callable[[str, Path], None]:
    """A case that is given the name of a change."""

    def case(name: str, work: Path) -> None:
        content = copy_of(sound)
        CHANGES[name](content)
        torch.save(content, folder / 'a.pth')
        refused(use, place, folder / 'a.pth', work)

    return case


@pytest.mark.slow
def test_states_that_no_training_has(fuzz, place, sound, tmp_path):
    tally = fuzz.each('states of no training, resumed', list(STATES), changed(resume, place, sound, tmp_path))
    assert tally['correct'] == 1  # without the state of the optimizer, with a warning


@pytest.mark.slow
@pytest.mark.parametrize('use', (infer, score, submit, resume, publish), ids=lambda use: use.__name__)
def test_notes_that_no_training_makes(fuzz, place, sound, use, tmp_path):
    fuzz.each(f'odd notes, to {use.__name__}', list(NOTES), changed(use, place, sound, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_the_same_weights(fuzz, place, sound, use, tmp_path):
    """However they are written: else the tests above could not fail."""
    expected = []

    def case(name: str, work: Path) -> None:
        content = copy_of(sound)
        CHANGES[name](content)
        torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=name != 'old format')
        found = use(place, tmp_path / 'a.pth', work / 'out')
        expected.append(found)
        assert name in OTHERS or found == expected[0]

    names = [*SAME, *OTHERS]
    assert fuzz.each(f'weights written otherwise, to {use.__name__}', names, case)['correct'] == len(names)


@pytest.mark.slow
def test_flipped_bytes(fuzz, mutate, place, tmp_path):
    """Checksums tell what the format itself does not."""
    whole = (place / 'sound.pth').read_bytes()
    names, config = sorted({'.pth', '.safetensors'}), load_config(place / 'tiny.py')
    weights = {name: value.contiguous() for name, value in load_checkpoint(place / 'sound.pth')['state_dict'].items()}
    files = {'.pth': whole, '.safetensors': save_safetensors(weights)}

    def case(rng: np.random.Generator, work: Path) -> None:
        suffix = str(rng.choice(names))
        path = work / f'a{suffix}'
        path.write_bytes(mutate(files[suffix], rng))
        network = load_model(config, path, 'cpu').network
        if suffix == '.pth':
            assert all(value.equal(weights[name]) for name, value in network.state_dict().items())

    fuzz('checkpoints with flipped bytes', 400, case)


@pytest.mark.slow
@pytest.mark.parametrize('use', (infer, resume), ids=lambda use: use.__name__)
def test_damaged_content(fuzz, place, sound, use):
    def case(rng: np.random.Generator, work: Path) -> None:
        content = copy_of(sound)
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            spots = places(content)
            # Most of them are weights: notes and states as often.
            head = str(rng.choice(list(content))) if content else ''
            inner = [(content, head), *places(content.get(head))] if rng.random() < 0.7 else spots
            container, key = inner[int(rng.integers(len(inner)))]
            if rng.random() < 0.2:
                del container[key]
            else:
                container[key] = copy_of(ODD[int(rng.integers(len(ODD)))])
        path = work.with_name('damaged.pth')
        torch.save(content, path)
        refused(use, place, path, work)

    fuzz(f'damaged content, to {use.__name__}', 150, case)


#: What may stand in a pickle anywhere.
ODD: list[Any] = [value for value in NASTY if isinstance(value, (type(None), bool, int, float, str, list, dict))]
ODD += [torch.zeros(0), torch.zeros(3, dtype=torch.int64), torch.tensor(np.nan), torch.zeros(2, 2), np.zeros(3), b'x']
ODD += [(), (1, 2), HistoryBuffer([1.0], [1]), {1: 2}, {'a': torch.zeros(2)}, torch.zeros(1).expand(2**40)]
CHANGES = {**WEIGHTS, **STATES, **NOTES, **SAME, **OTHERS}
