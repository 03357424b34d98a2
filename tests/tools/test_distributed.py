"""Several processes, through the scripts that MMDetection's users know: the results of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mmcell.cli.command import LOST
from mmcell.cli.torchrun import describe_failure
from mmcell.config import load_config
from mmcell.converters import LAYOUTS
from mmcell.converters.convert import convert
from mmcell.io.checkpoints import load_checkpoint
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which processes that wait for each other are given up. However crowded a machine is, they take less.
HANGS = 3600
#: Losses are means over what a process samples, so that they equal those of one process only where all sample as much:
#: here all anchors and all proposals, of images of one size with as many cells each, and only true boxes are positive.
#: Batch norm does not see the batch, and nothing is random but the order of the images.
EXACT = f"""
_base_ = '{ROOT}/configs/demo/mask_rcnn_synthetic_plain.py'
custom_imports = dict(imports=['mmcell', 'hooks_of_test_distributed'])
model = dict(
    backbone=dict(base_channels=8, norm_eval=True),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16, norm_cfg=None),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(pos_iou_thr=0.5, neg_iou_thr=0.5), sampler=dict(num=10_000)),
        rpn_proposal=dict(nms_pre=10_000, max_per_img=10_000, nms=dict(iou_threshold=1.0), min_bbox_size=-1),
        rcnn=dict(
            assigner=dict(pos_iou_thr=0.99, neg_iou_thr=0.99, match_low_quality=False), sampler=dict(num=10_000)
        ),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.01, max_per_img=20)),
)
_workers = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=1, **_workers)
val_dataloader = _workers
test_dataloader = _workers
train_cfg = dict(max_epochs=1, val_begin=2)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01))
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1.0)
auto_scale_lr = dict(base_batch_size=1)
default_hooks = dict(checkpoint=dict(save_best=None), logger=dict(interval=1))
custom_hooks = [dict(type='WriteLosses'), dict(type='Die')]
"""
#: The same weights, predicted tile by tile.
TILED = """
_base_ = './exact.py'
model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=48, overlap=24)
"""
#: The same, of images as they are, which are read window by window.
WINDOWS = """
_base_ = './tiled.py'
test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadCellImage'), dict(type='PackDetInputs')]))
"""
HOOKS = """
import json
import os
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class WriteLosses(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with Path(runner.work_dir, f'losses{get_rank()}.jsonl').open('a') as file:
            file.write(json.dumps({key: value.item() for key, value in outputs.items()}) + '\\n')


@HOOKS.register_module(force=True)
class Die(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if os.environ.get('DYING_RANK') == str(get_rank()) and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get('BROKEN_RANK') == str(get_rank()) and batch_idx == 1:
            raise ZeroDivisionError('a bug')
"""
#: Stands in for Slurm's srun: starts the tasks on this machine, with the variables that mmengine's launcher reads.
SRUN = """#!/usr/bin/env bash
echo "$@" > "$(dirname "$0")/arguments"
while [[ $1 == -* ]]; do [[ $1 == --*=* ]] && shift || shift 2; done
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NTASKS=2 SLURM_NODELIST=localhost "$@" &
done
wait -n && wait -n
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Six images to train on, three to validate and to test on, which two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp('distributed')
    write_class_tiff(folder / 'source', num_images=9, size=(64, 64), num_cells=4, num_test_images=3)
    convert(LAYOUTS.get('class_tiff')(folder / 'source', ()), folder / 'data', val_ratio=1 / 3)
    (folder / 'exact.py').write_text(EXACT)
    (folder / 'tiled.py').write_text(TILED)
    (folder / 'windows.py').write_text(WINDOWS)
    (folder / 'hooks_of_test_distributed.py').write_text(HOOKS)
    return folder


@pytest.fixture(autouse=True)
def environment(folder, monkeypatch):
    monkeypatch.setenv('MMCELL_DATA', str(folder / 'data'))
    monkeypatch.setenv('PYTHONPATH', str(folder), prepend=os.pathsep)
    monkeypatch.setenv('PATH', str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.syspath_prepend(folder)


def script(name: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess:
    command = [str(argument) for argument in (ROOT / 'tools' / f'{name}.sh', *arguments)]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=HANGS)


def errors(outcome: subprocess.CompletedProcess) -> list[str]:
    return [line for line in outcome.stderr.splitlines() if line.startswith('error: ')]


def losses_of(work: Path, processes: int) -> list[dict[str, float]]:
    """Losses of each step, their mean over the processes."""
    written = [(work / f'losses{rank}.jsonl').read_text().splitlines() for rank in range(processes)]
    steps = zip(*([json.loads(line) for line in lines] for lines in written))
    return [{key: sum(part[key] for part in step) / processes for key in step[0]} for step in steps]


@pytest.fixture
def one_process(folder, tmp_path, tool) -> Path:
    """The work folder of a training in one process, on batches of two images."""
    options = ('--work-dir', tmp_path / 'one', '--auto-scale-lr', '--cfg-options', 'train_dataloader.batch_size=2')
    assert tool('train', folder / 'exact.py', *options).status == 0
    return tmp_path / 'one'


def check_same_losses(one: Path, two: Path) -> None:
    expected, found = losses_of(one, 1), losses_of(two, 2)
    assert len(found) == 3 and found[0]['loss_mask'] > 0
    for step in range(3):
        # 'acc' is that of the last image of a batch alone.
        assert {**found[step], 'acc': 0} == pytest.approx({**expected[step], 'acc': 0}, rel=1e-4)


def check_same_training(one: Path, two: Path) -> None:
    check_same_losses(one, two)
    states = [load_checkpoint(work / 'epoch_1.pth')['state_dict'] for work in (one, two)]
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-6)
    # Two processes with one image each are a batch of two: the rate of a batch of one, doubled.
    rates = [json.loads(line)['lr'] for line in next(two.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    assert rates == [0.02] * 3


def test_training(folder, one_process, tmp_path):
    outcome = script('dist_train', folder / 'exact.py', 2, '--work-dir', tmp_path / 'two', '--auto-scale-lr')
    assert outcome.returncode == 0, outcome.stderr
    check_same_training(one_process, tmp_path / 'two')


@pytest.mark.slow
def test_sharded_training(folder, one_process, tmp_path):
    """The strategy of our FSDP config. torch 2.13 crashes when it gathers a sharded model on a CPU: no checkpoint."""
    config = load_config(ROOT / 'configs/cell/mask_rcnn_aug_fsdp.py')
    settings = f'runner_type = {config.runner_type!r}\nstrategy = {config.strategy.to_dict()!r}\n'
    (folder / 'fsdp.py').write_text(f"_base_ = './exact.py'\n{settings}default_hooks = dict(checkpoint=None)\n")
    outcome = script('dist_train', folder / 'fsdp.py', 2, '--work-dir', tmp_path / 'two', '--auto-scale-lr')
    assert outcome.returncode == 0, outcome.stderr
    check_same_losses(one_process, tmp_path / 'two')


def test_sharding_needs_a_launcher(tmp_path, tool):
    outcome = tool(
        'train', ROOT / 'configs/cell/mask_rcnn_aug_fsdp.py', '--cfg-options', 'model.backbone.init_cfg=None'
    )
    assert outcome.status == 2 and 'start it with tools/dist_train.sh' in outcome.err


@pytest.fixture
def weights(folder, tmp_path) -> Path:
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        torch.save(
            {'state_dict': MODELS.build(load_config(folder / 'exact.py').model).state_dict()}, tmp_path / 'w.pth'
        )
    return tmp_path / 'w.pth'


def test_scoring(folder, weights, tmp_path, tool):
    """No image counts twice and none is lost: one of the processes gets two of the three images, the other one."""
    assert tool('test', folder / 'exact.py', weights, '--out', tmp_path / 'one').status == 0
    outcome = script('dist_test', folder / 'exact.py', weights, 2, '--out', tmp_path / 'two')
    assert outcome.returncode == 0, outcome.stderr
    for name in ('metrics.json', 'val-results.json'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert len({entry['image_id'] for entry in json.loads((tmp_path / 'two/val-results.json').read_text())}) == 3


@pytest.mark.slow
def test_tiles_under_slurm(folder, weights, tmp_path, tool):
    assert tool('test', folder / 'tiled.py', weights, '--format-only', '--out', tmp_path / 'one').status == 0
    srun = tmp_path / 'bin/srun'
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    outcome = script(
        *('slurm_test', 'short', 'cells', folder / 'tiled.py', weights, '--format-only', '--out', tmp_path / 'two'),
        PATH=f'{srun.parent}{os.pathsep}{os.environ["PATH"]}',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(free_port()),
        GPUS='2',
        GPUS_PER_NODE='2',
        SRUN_ARGS='--mem=4G --qos=low',
    )
    assert outcome.returncode == 0, outcome.stderr
    asked = (srun.parent / 'arguments').read_text().split(' python ')[0]
    assert asked == (
        '-p short --job-name=cells --gres=gpu:2 --ntasks=2 --ntasks-per-node=2 --cpus-per-task=5 '
        '--kill-on-bad-exit=1 --mem=4G --qos=low'
    )
    name = 'test-results.json'
    assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()


@pytest.mark.slow
def test_slides(folder, weights, tmp_path, tool):
    """Regions of two slides, and of a third one for which two processes are left: the files of one process."""
    rng = np.random.default_rng(0)
    (tmp_path / 'slides').mkdir()
    for name, size in (('a', (90, 500)), ('b', (90, 260)), ('c', (90, 420))):
        picture = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        with tifffile.TiffWriter(tmp_path / 'slides' / f'{name}.tif') as file:
            options = dict(tile=(64, 64), photometric='rgb', compression='zlib')
            file.write(picture, subifds=1, **options)
            file.write(picture[::2, ::2], subfiletype=1, **options)
    arguments = [folder / 'windows.py', weights, tmp_path / 'slides', '--score-thr', '0.05', '--mpp', '0.5']
    assert tool('infer', *arguments, '--out', tmp_path / 'one').status == 0
    command = [sys.executable, '-m', 'mmcell.cli.torchrun', '--nproc-per-node=2', ROOT / 'tools/infer.py', *arguments]
    command += ['--out', tmp_path / 'two', '--launcher', 'pytorch']
    outcome = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=HANGS)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count('wrote cells.parquet, cells.geojson') == 3
    assert outcome.stderr.count('names no classes') == 1
    one, two = (
        {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob('*.*')) if path.is_file()}
        for out in (tmp_path / 'one', tmp_path / 'two')
    )
    assert len(one) == 23 and one.keys() == two.keys()
    for name in one:
        if name.endswith('summary.json'):
            mine, other = (json.loads(files[name]) | {'seconds': None} for files in (one, two))
            assert mine == other and mine['total'] > 10
        elif not name.endswith('.lock'):
            assert one[name] == two[name], name


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def test_a_dying_process_ends_the_job(folder, tmp_path):
    outcome = script('dist_train', folder / 'exact.py', 2, '--work-dir', tmp_path / 'work', DYING_RANK='1')
    assert outcome.returncode == 128 + 9 and 'Traceback' not in outcome.stderr
    (line,) = errors(outcome)
    assert 'rank 1 (local rank 1' in line and 'killed by SIGKILL (exitcode -9)' in line


@pytest.mark.slow
def test_a_bug_in_one_process_is_shown_once(folder, tmp_path):
    outcome = script('dist_train', folder / 'exact.py', 2, '--work-dir', tmp_path / 'work', BROKEN_RANK='1')
    assert outcome.returncode == 1 and outcome.stderr.count('Traceback') == 1
    assert 'ZeroDivisionError: a bug' in outcome.stderr
    (line,) = errors(outcome)
    assert line.startswith('error: rank 1 (local rank 1') and 'failed with exit status 1, see above' in line


@pytest.mark.slow
def test_an_error_of_all_processes_is_one_line(folder, weights):
    outcome = script('dist_test', folder / 'exact.py', weights, 2, MMCELL_DATA='nowhere')
    assert outcome.returncode == 2 and outcome.stderr.count('\n') == 1
    assert outcome.stderr.startswith('error: nowhere/') and 'cannot be read' in outcome.stderr


@pytest.mark.parametrize('name', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_missing_arguments(name):
    outcome = script(name, 'config.py')
    assert outcome.returncode == 2 and outcome.stderr.startswith('usage: ') and outcome.stderr.count('\n') == 1


def failure(exitcode: int, path: Path, message: str | None = None, timestamp: int = 10**10) -> ProcessFailure:
    if message is not None:
        path.write_text(json.dumps({'message': message, 'timestamp': timestamp}))
    return ProcessFailure(local_rank=exitcode % 2, pid=1, exitcode=exitcode, error_file=str(path))


def test_the_cause_is_told_from_what_follows(tmp_path):
    lost = failure(1, tmp_path / 'lost', LOST, timestamp=1)
    stopped = failure(-15, tmp_path / 'none')
    killed = failure(-9, tmp_path / 'none')
    first = failure(2, tmp_path / 'first', 'a.tif: is broken; restore it\nb.tif: is broken; restore it', timestamp=1)
    second = failure(2, tmp_path / 'second', 'c.tif: is broken; restore it', timestamp=2)
    bug = failure(1, tmp_path / 'none')

    def described(*failures: ProcessFailure) -> tuple[str, int]:
        lines, status = describe_failure(ChildFailedError('train.py', dict(enumerate(failures))))
        return '|'.join(lines), status

    text, status = described(lost, stopped, killed)
    assert text.startswith('rank 2 ') and 'SIGKILL (exitcode -9)' in text and status == 137
    assert described(lost, second, first) == ('a.tif: is broken; restore it|b.tif: is broken; restore it', 2)
    text, status = described(lost, bug)
    assert text.startswith('rank 1 ') and 'failed with exit status 1, see above' in text and status == 1
    assert described(failure(2, tmp_path / 'none'), first) == described(
        first
    )  # a process that leaves the word to another
    text, status = described(lost)
    assert text.startswith('rank 0 ') and 'other machines' in text and status == 1


def test_of_tracebacks_the_first_is_shown(tmp_path, capsys):
    """gloo's errors are of no kind of their own: a process that lost another one is told by its time alone."""

    def broken(name: str, time: float) -> ProcessFailure:
        details = {'py_callstack': f'Traceback of {name}\n', 'timestamp': str(int(time))}
        content = {'message': {'message': name, 'extraInfo': details}, 'timestamp': int(time), 'time': time}
        (tmp_path / name).write_text(json.dumps(content))
        return ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file=str(tmp_path / name))

    lost, bug, killed = broken('lost', 10.75), broken('bug', 10.25), failure(-9, tmp_path / 'none')
    (line,), status = describe_failure(ChildFailedError('train.py', {0: lost, 1: bug}))
    assert line.startswith('rank 1 ') and 'exit status 1, see above' in line and status == 1
    assert capsys.readouterr().err == 'Traceback of bug\n'
    (line,), status = describe_failure(ChildFailedError('train.py', {0: lost, 1: killed}))
    assert line.startswith('rank 1 ') and 'SIGKILL' in line and status == 137
    assert capsys.readouterr().err == ''
    named = failure(2, tmp_path / 'named', 'a.tif: is broken; restore it', timestamp=11)
    assert describe_failure(ChildFailedError('train.py', {0: bug, 1: killed, 2: named}))[0] == [
        'a.tif: is broken; restore it'
    ]
