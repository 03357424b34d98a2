"""Every argument of every tool gets values that make no sense: status 2, one line, nothing written.

The tables say what kind of value each argument takes. A test holds that none is missing, so that a new argument needs a
kind, and with it gets all values of that kind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmcell.cli.command import Parser, run
from mmcell.config import load_config
from mmcell.synthetic import write_class_tiff
from tests.conftest import forget_run

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py'))
LONG = 'n' * 300
#: Longest that a refusal may take, on a busy machine.
SECONDS = 100

#: What no path can be.
PATHS = ['', ' ', LONG, 'd/' * 2100, 'a\0b']
#: `{name}` is a file or folder that :func:`place` makes.
FILES = [*PATHS, '{none}', '{folder}', '{empty}', '{nul}', '{text}', '{fifo}', '{latin}', '{dangling}', '{loop}']
FILES += ['{text}/x', '/dev/null', '/dev/zero']
FOLDERS = [*PATHS, '{none}', '{folder}', '{text}', '{text}/x', '{fifo}', '{dangling}', '{loop}', '{latin}']
OUT = [*PATHS, '{text}', '{text}/x', '{fifo}', '{dangling}', '{loop}', '/proc/nothing', '/dev/null', '/dev/null/x']
NO_NUMBERS = ['', 'x', 'nan', 'inf', '-inf', '1e400', '9' * 5000, '1,5', '0x10', '--', '½']
OPTIONS = ['', 'abc', '=1', '.=1', 'a..b=1', 'x=(1,', f'x={"(" * 3000}', f'{LONG * 20}', f'nothing.{LONG}=1']

#: Values by kind of argument; each has to be refused.
KINDS = {
    'config': FILES,
    'file': FILES,
    'json': [*FILES, '{nested}', '{digits}'],
    'folder': FOLDERS,
    'images': FILES,
    'out': OUT,
    'out file': [*PATHS, '{folder}', '{text}/x', '{loop}/x', '/proc/nothing/x', '/dev/null/x'],
    'whole': [*NO_NUMBERS, '1.5', '-1', '9' * 20],
    'positive': [*NO_NUMBERS, '1.5', '-1', '0', '9' * 20],
    'positive number': [*NO_NUMBERS, '-0.1', '-1e400', '0', '-1'],
    'number': [*NO_NUMBERS, '-0.1', '-1e400'],
    'score': [*NO_NUMBERS, '-0.1', '1.1'],
    'choice': ['', 'x', 'none of these', LONG * 20, 'a\nb'],
    'pattern': ['(', '*', '(?P<', '[z-a]', 'a{99999999999}', f'{"(" * 3000}{")" * 3000}'],
    'device': ['', 'x', 'cuda:99', 'cpu:x', LONG],
    'options': OPTIONS,
    'settings': [
        *OPTIONS,
        'nothing.there=1',
        'model=1',
        'model=None',
        'model.type=Nothing',
        'model.backbone.depth=x',
        'model.backbone.nothing=1',
    ],
}
TEST_SETTINGS = [
    'test_dataloader=1',
    'test_dataloader.dataset=1',
    'test_dataloader.dataset.pipeline=1',
    'test_dataloader.dataset.pipeline.2.type=Nothing',
]
TRAIN_SETTINGS = [
    'train_dataloader=1',
    'train_dataloader.batch_size=0',
    'train_dataloader.batch_size=x',
    'train_dataloader.num_workers=-1',
    'train_cfg=1',
    'train_cfg.max_epochs=-1',
    'train_cfg.val_interval=0',
    'randomness.seed=-1',
    'randomness.seed=1e400',
    'optim_wrapper=1',
    'optim_wrapper.optimizer.lr=nan',
    'optim_wrapper.optimizer.lr=-1',
    'default_hooks.checkpoint.save_best=segm/AP50',
    'default_hooks.checkpoint.interval=0',
    'val_evaluator=1',
]

#: An argument that takes any text, or no value.
FREE = 'free'
RUN = {
    'config': 'config',
    'base': 'config',
    'fold': 'whole',
    'cfg_options': 'settings',
    'launcher': 'choice',
    'skip_checks': FREE,
    'verbose': FREE,
    'local_rank': 'whole',
}
#: A call of each tool that is in order, and the kind of each argument, by its name in the parser.
CALLS = {
    'ablate': ['{config}', '--work-dir', '{new}', '--dry-run'],
    'benchmark': ['load'],
    'convert': ['class_tiff', '{source}', '--out', '{new}'],
    'diff': ['{config}', '{config}'],
    'doctor': ['{data}'],
    'export': ['{results}', '--to', 'csv', '--images', '{json}', '--out', '{new}'],
    'fetch_weights': ['tf_efficientnet_lite0', '--out', '{new}'],
    'fuse': ['{results}', '--images', '{json}', '--out', '{new}'],
    'infer': ['{config}', '{weights}', '{image}', '--out', '{new}'],
    'mosaic': ['{source}', '--out', '{new}', '--size', '64'],
    'publish_model': ['{weights}', 'nothing', '{json}'],
    'report': ['{results}', '--truth', '{json}', '--out', '{new}'],
    'synthesize': ['--out', '{new}', '--images', '1', '--cells', '2'],
    'test': ['{config}', '{weights}', '--out', '{new}'],
    'train': ['{config}', '--work-dir', '{new}'],
}
ARGUMENTS: dict[str, dict[str, str]] = {
    'ablate': {
        'configs': 'config',
        'base': 'config',
        'work_dir': 'out',
        'seeds': 'whole',
        'fold': 'whole',
        'folds': FREE,
        'cfg_options': 'options',
        'dry_run': FREE,
        'verbose': FREE,
    },
    'benchmark': {
        'subject': 'choice',
        'cells': 'positive',
        'sides': 'positive',
        'repeats': 'positive',
        'threads': 'positive',
        'limit_s': 'number',
        'limit_gb': 'number',
        'source': 'folder',
        'images': 'positive',
        'torchvision': 'file',
        'config': 'config',
        'base': 'config',
        'cfg_options': 'options',
        'checkpoint': 'file',
        'model': 'choice',
        'steps': 'positive',
        'amp': FREE,
        'write': 'out file',
    },
    'convert': {
        'layout': 'choice',
        'source': 'folder',
        'out': 'out',
        'val_ratio': 'score',
        'seed': 'whole',
        'group_by': 'pattern',
        'folds': 'positive',
        'classes': 'names',
        'channel_order': 'choice',
        'mpp': 'positive number',
        'workers': 'positive',
        'overwrite': FREE,
    },
    'diff': {'old': 'config', 'new': 'config', 'base': 'config', 'fold': 'whole'},
    'doctor': {'data': 'folder'},
    'export': {
        'results': 'json',
        'to': 'choice',
        'images': 'json',
        'slide': 'file',
        'out': 'out',
        'score_thr': 'score',
    },
    'fetch_weights': {'name': 'choice', 'out': 'out file'},
    'fuse': {
        'results': 'json',
        'out': 'out',
        'images': 'json',
        'format_only': FREE,
        'method': 'choice',
        'iou_thr': 'score',
        'weights': 'number',
        'score_thr': 'score',
        'max_per_img': 'positive',
    },
    'infer': {
        'images': 'images',
        'model': 'choice',
        'base': 'config',
        'out': 'out',
        'score_thr': 'score',
        'channel_order': 'choice',
        'mpp': 'positive number',
        'trained_mpp': 'positive number',
        'level': 'whole',
        'roi': 'json',
        'everywhere': FREE,
        'device': 'device',
        'cfg_options': 'settings',
        'launcher': 'choice',
        'local_rank': 'whole',
    },
    'mosaic': {
        'source': 'folder',
        'out': 'out',
        'size': 'positive',
        'images': 'positive',
        'seed': 'whole',
        'match': 'pattern',
    },
    'publish_model': {
        'checkpoint': 'file',
        'name': 'choice',
        'annotations': 'json',
        'score_thr': 'score',
        'mpp': 'positive number',
        'facts': 'options',
    },
    'report': {
        'results': 'json',
        'truth': 'json',
        'images': 'json',
        'image_root': 'folder',
        'runs': 'folder',
        'score_thr': 'score',
        'max_images': 'whole',
        'title': FREE,
        'out': 'out file',
    },
    'synthesize': {
        'out': 'out',
        'images': 'positive',
        'test_images': 'whole',
        'size': 'positive',
        'cells': 'positive',
        'seed': 'whole',
        'overwrite': FREE,
    },
    'test': {
        **RUN,
        'checkpoint': 'file',
        'out': 'out',
        'format_only': FREE,
        'split': 'choice',
        'show_dir': 'out',
        'score_thr': 'score',
    },
    'train': {**RUN, 'work_dir': 'out', 'resume': 'file', 'amp': FREE, 'auto_scale_lr': FREE},
}
KINDS['names'] = ['', ' ', 'a\nb', '\x1b[2J']
MORE = {('infer', 'cfg_options'): TEST_SETTINGS, ('train', 'cfg_options'): TRAIN_SETTINGS}
MORE['test', 'cfg_options'] = ['val_dataloader=1', 'val_dataloader.batch_size=0', 'val_evaluator=1']


class Stop(BaseException):
    """Carries a parser out of a tool."""


def main_of(tool: str):
    spec = importlib.util.spec_from_file_location(f'tools_{tool}', ROOT / 'tools' / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope='module')
def actions() -> dict[str, dict]:
    """The arguments of each tool by name, but for --help."""
    found = {}

    def stop(parser: Parser, *_: object) -> None:
        raise Stop(parser)

    with pytest.MonkeyPatch.context() as patch:
        for name in ('parse_args', 'parse_intermixed_args'):
            patch.setattr(Parser, name, stop)
        for tool in TOOLS:
            with pytest.raises(Stop) as stopped:
                main_of(tool)([])
            parser = stopped.value.args[0]
            found[tool] = {action.dest: action for action in parser._actions if action.dest != 'help'}
    return found


def test_every_argument_of_every_tool_has_a_kind(actions):
    assert {tool: set(arguments) for tool, arguments in ARGUMENTS.items()} == {
        tool: set(arguments) for tool, arguments in actions.items()
    }


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> dict[str, str]:
    """What a call in order needs, and what none should be given."""
    from mmdet.registry import MODELS

    folder = tmp_path_factory.mktemp('place')
    write_class_tiff(folder / 'source', num_images=4, size=(64, 64), num_cells=4, num_test_images=1)
    with pytest.raises(SystemExit) as stop:
        options = ['--out', str(folder / 'data'), '--val-ratio', '0.5', '--workers', '1']
        run(main_of('convert'), ['class_tiff', str(folder / 'source'), *options])
    assert stop.value.code == 0
    truth = json.loads((folder / 'data/annotations/val.json').read_text())
    fields = ('image_id', 'category_id', 'bbox', 'segmentation')
    results = [{**{key: one[key] for key in fields}, 'score': 0.9} for one in truth['annotations']]
    (folder / 'results.json').write_text(json.dumps(results))
    (folder / 'config.py').write_text(TINY.format(ROOT=ROOT))
    torch.manual_seed(0)
    model = MODELS.build(load_config(folder / 'config.py').model)
    classes = [category['name'] for category in truth['categories']]
    content = {'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': classes}}}
    torch.save(content, folder / 'weights.pth')
    (folder / 'folder').mkdir()
    (folder / 'empty').touch()
    (folder / 'nul').write_bytes(bytes(5000))
    (folder / 'text').write_text('neither this nor that\n')
    (folder / 'nested').write_text('[' * 100_000)
    (folder / 'digits').write_text(f'[{"9" * 1_000_000}]')
    os.mkfifo(folder / 'fifo')
    (folder / 'dangling').symlink_to(folder / 'gone/there')
    (folder / 'loop').symlink_to(folder / 'loop')
    names = ('folder', 'empty', 'nul', 'text', 'nested', 'digits', 'fifo', 'dangling', 'loop', 'source', 'data')
    return {
        **{name: str(folder / name) for name in names},
        'none': str(folder / 'none'),
        'new': str(folder / 'new'),
        'latin': str(folder / os.fsdecode(b'caf\xe9')),
        'config': str(folder / 'config.py'),
        'weights': str(folder / 'weights.pth'),
        'results': str(folder / 'results.json'),
        'json': str(folder / 'data/annotations/val.json'),
        'image': str(next((folder / 'source/test_release').glob('*.tif'))),
    }


TINY = """
_base_ = '{ROOT}/configs/demo/mask_rcnn_synthetic.py'
_loader = dict(num_workers=0, persistent_workers=False)
model = dict(backbone=dict(base_channels=8), neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=16), bbox_head=dict(in_channels=16, fc_out_channels=32),
    mask_roi_extractor=dict(out_channels=16), mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16)))
train_dataloader = val_dataloader = test_dataloader = _loader
train_cfg = dict(max_epochs=1)
"""


def arguments_with(tool: str, action, value: str, place: dict[str, str]) -> list[str]:
    """The call in order with one argument replaced or added; for one that takes several, added after a good one."""
    call = [part.format(**place) for part in CALLS[tool]]
    value = value.format(**place) if value.startswith('{') else value
    if action.option_strings:
        name = action.option_strings[-1]
        if name in call:
            del call[call.index(name) : call.index(name) + 2]
        # As one word: a value may begin with a dash.
        values = [value, value] if action.nargs == 2 else [value]
        return [*call, f'{name}={value}'] if action.nargs is None else [*call, name, *values]
    place_of = {'config': 0, 'checkpoint': 1 if tool == 'test' else 0, 'source': 1 if tool == 'convert' else 0}
    index = {'new': 1, 'name': 1, 'annotations': 2, 'images': 2}.get(action.dest, place_of.get(action.dest, 0))
    call[index if tool != 'fetch_weights' else 0] = value
    return call


def cases(tool: str, actions: dict) -> Iterator[tuple[str, str]]:
    for dest, kind in ARGUMENTS[tool].items():
        if kind != FREE:
            for value in [*KINDS[kind], *MORE.get((tool, dest), ())]:
                yield dest, value


def give_up(*_: object) -> None:
    raise TimeoutError(f'takes more than {SECONDS} s')


def snapshot(folder: Path) -> set[tuple]:
    return {(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob('*')}


#: Those that would measure for hours, ask the network, or write into the package.
NEVER = {'benchmark', 'fetch_weights', 'publish_model'}
LONG_CALLS = {'train', 'test', 'infer'}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG_CALLS)) for name in TOOLS if name not in NEVER]
)
def test_calls_in_order(name, place, tool, tmp_path, monkeypatch):
    """Without a nasty value nothing is refused: else the tests below could not fail."""
    monkeypatch.setenv('MMCELL_DATA', place['data'])
    outcome = tool(name, *(part.format(**{**place, 'new': str(tmp_path / 'new')}) for part in CALLS[name]))
    assert outcome.status == 0, outcome


@pytest.mark.parametrize('tool', TOOLS)
@pytest.mark.parametrize('every', [29, pytest.param(1, marks=pytest.mark.slow)])
def test_nasty_values(tool, every, actions, place, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMCELL_DATA', place['data'])
    monkeypatch.setenv('PIP_INDEX_URL', 'http://127.0.0.1:9/')  # nothing may get as far
    signal.signal(signal.SIGALRM, give_up)
    folder, main, wrong = Path(place['new']).parent, main_of(tool), []
    chosen = list(cases(tool, actions))[::every]
    before = snapshot(folder)
    for dest, value in chosen:
        capfd.readouterr()
        signal.alarm(SECONDS)
        try:
            run(main, arguments_with(tool, actions[tool][dest], value, place))
        except SystemExit as stop:
            status = stop.code
        except Exception as error:
            status = f'{type(error).__name__}: {error}'
        finally:
            signal.alarm(0)
        forget_run()
        err = capfd.readouterr().err
        fine = status == 2 and err.startswith('error: ') and err.count('\n') == 1 and len(err) <= 301
        if not fine:
            wrong.append(f'{dest}={value[:60]!r}: status {str(status)[:200]}, {len(err)} characters: {err[-300:]}')
        if (after := snapshot(folder) | snapshot(tmp_path)) != before:
            wrong.append(f'{dest}={value[:60]!r}: wrote {sorted(after ^ before)[:3]}')
            before = after
    with capfd.disabled():
        print(f'\n{tool}: {len(chosen)} calls, {len(wrong)} not refused in order')
    assert not wrong, '\n'.join(wrong)
