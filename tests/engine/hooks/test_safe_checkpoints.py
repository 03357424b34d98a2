"""Whatever moment a training is killed at, a whole checkpoint is there, found again, and nothing else stays."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

import mmcell  # noqa: F401  registers
from mmcell.coco.threshold import threshold_of
from mmcell.engine.hooks.interruption import _without_resume, interruptible
from mmcell.engine.hooks.safe_checkpoints import find_checkpoint, remove_leftovers
from mmcell.engine.launch import choose_checkpoint
from mmcell.errors import Interrupted
from mmcell.io.checkpoints import check_checkpoint, load_checkpoint


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode='loss'):
        return {'loss': (self.weight * inputs).sum()} if mode == 'loss' else [{}]


class Watch(Hook):
    """Looks at the folder whenever a checkpoint is about to be written."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def before_save_checkpoint(self, runner, checkpoint):
        self.seen.append(names(self.folder))


class Signal(Hook):
    def __init__(self, number, epoch):
        self.number, self.epoch = number, epoch

    def after_train_iter(self, runner, **kwargs):
        if runner.epoch + 1 == self.epoch:
            os.kill(os.getpid(), self.number)


def names(folder):
    for path in folder.glob('*.pth'):
        check_checkpoint(path)
    return sorted(path.name for path in folder.glob('*.pth'))


@pytest.fixture
def build(tmp_path):
    starts = []

    def build_runner(*hooks, epochs=4, resume=None, keep=1, checkpoint=None, **settings):
        starts.append(resume)
        runner = Runner(
            Line(),
            work_dir=str(tmp_path),
            train_dataloader=DataLoader([dict(inputs=torch.ones(1))], collate_fn=lambda batch: batch[0]),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
            default_hooks=dict(
                checkpoint=dict(dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=keep), **(checkpoint or {}))
            ),
            default_scope='mmdet',
            load_from=resume and str(resume),
            resume=resume is not None,
            experiment_name=f'{tmp_path.name}-{len(starts)}',
            **settings,
        )
        for hook in hooks:
            runner.register_hook(hook)
        return runner

    return build_runner


def test_the_old_checkpoint_goes_once_the_new_one_is_there(build, tmp_path):
    watch = Watch(tmp_path)
    build(watch).train()
    assert watch.seen == [[], ['epoch_1.pth'], ['epoch_2.pth'], ['epoch_3.pth']]
    assert names(tmp_path) == ['epoch_4.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_4.pth')


def test_a_resumed_run_removes_what_a_killed_one_could_not(build, tmp_path):
    build(epochs=2).train()
    # As if killed after the second checkpoint was written: the first is still there, and half of a third.
    (tmp_path / 'epoch_1.pth').write_bytes((tmp_path / 'epoch_2.pth').read_bytes())
    (tmp_path / '.epoch_3.abcd_123.pth').write_bytes(b'PK')
    (tmp_path / 'best_of_another_run.pth').write_bytes((tmp_path / 'epoch_2.pth').read_bytes())
    build(epochs=2, resume=tmp_path / 'epoch_2.pth').train()
    assert names(tmp_path) == ['best_of_another_run.pth', 'epoch_2.pth'] and not list(tmp_path.glob('.*'))


@pytest.mark.parametrize('before', [b'old', None])
def test_a_kill_while_writing_leaves_the_old_file(build, tmp_path, monkeypatch, before):
    path = tmp_path / 'epoch_1.pth'
    if before:
        path.write_bytes(before)
    if not (child := os.fork()):
        monkeypatch.setattr(os, 'fsync', lambda handle: os.kill(os.getpid(), signal.SIGKILL))
        build(epochs=1).train()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (path.read_bytes() if path.exists() else None) == before
    assert len(list(tmp_path.glob('.epoch_1.*.pth'))) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.glob('*.pth')) == ([path] if before else [])


def test_the_last_whole_checkpoint_is_found(tmp_path):
    assert find_checkpoint(tmp_path / 'nowhere') == (None, [])
    for epoch in (9, 10, 11):
        torch.save({}, tmp_path / f'epoch_{epoch}.pth')
        os.utime(tmp_path / f'epoch_{epoch}.pth', (epoch, epoch))
    torch.save({}, tmp_path / 'best_x_epoch_12.pth')
    paths = {epoch: tmp_path / f'epoch_{epoch}.pth' for epoch in (9, 10, 11)}
    assert find_checkpoint(tmp_path) == (paths[11], [])
    # The folder was moved: what `last_checkpoint` names counts, wherever that was.
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_10.pth')
    assert find_checkpoint(tmp_path) == (paths[10], [])
    for content in (b'', paths[10].read_bytes()[:-40]):
        paths[10].write_bytes(content)
        os.utime(paths[10], (10, 10))
        assert find_checkpoint(tmp_path) == (paths[11], [paths[10]])
    (tmp_path / 'last_checkpoint').write_text('')
    for path in paths.values():
        path.write_bytes(b'cut')
    assert find_checkpoint(tmp_path)[0] is None


def test_what_is_resumed(tmp_path):
    from mmengine.config import Config

    config = Config(dict(work_dir=str(tmp_path), resume=False, load_from='start.pth'))
    assert choose_checkpoint(config, None) == [] and (config.resume, config.load_from) == (False, 'start.pth')
    # Nothing to go on from: the beginning, which may be other weights.
    (line,) = choose_checkpoint(config, 'auto')
    assert line == f'no checkpoint in {tmp_path}: starting from the beginning'
    assert (config.resume, config.load_from) == (False, 'start.pth')
    torch.save({}, tmp_path / 'epoch_1.pth')
    (tmp_path / 'epoch_2.pth').write_bytes(b'PK')
    (line,) = choose_checkpoint(config, 'auto')
    assert line == f'{tmp_path / "epoch_2.pth"} is broken or cut off: skipping it'
    assert (config.resume, config.load_from) == (True, str(tmp_path / 'epoch_1.pth'))
    assert choose_checkpoint(config, 'mine.pth') == [] and config.load_from == 'mine.pth'


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_training_with_a_word(build, tmp_path, handlers, number, status):
    arguments = ['c.py', '--work-dir', str(tmp_path), '--resume', 'x.pth', '--amp']
    command = f'python tools/train.py c.py --work-dir {tmp_path} --amp'
    runner = build(Signal(number, epoch=3), keep=2)
    with pytest.raises(Interrupted) as stop, interruptible(runner, arguments):
        runner.train()
    assert stop.value.status == status
    assert stop.value.message == f'interrupted in epoch 3 of 4; continue from epoch_2.pth with: {command} --resume'
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    # A second signal would end the process at once.
    assert all(signal.getsignal(each) == signal.SIG_DFL for each in handlers)


def test_a_signal_before_the_first_checkpoint(build, tmp_path, handlers):
    runner = build(Signal(signal.SIGINT, epoch=1))
    with (
        pytest.raises(Interrupted, match='epoch 1 of 4, with no checkpoint yet; start again'),
        interruptible(runner, ['c.py']),
    ):
        runner.train()


class SignalWhileSaving(Hook):
    """Sends a signal while the checkpoint of this number is written, or just before that."""

    priority = 'NORMAL'  # before checkpoints are saved

    def __init__(self, number, before=False):
        self.number, self.before, self.saved = number, before, 0

    def after_train_epoch(self, runner):
        if self.before and runner.epoch + 1 == self.number:
            os.kill(os.getpid(), signal.SIGTERM)

    def before_save_checkpoint(self, runner, checkpoint):
        self.saved += 1
        if not self.before and self.saved == self.number:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ('number', 'written', 'epoch'),
    # Without a validation each epoch saves one checkpoint, with one the first saves the best one after it, too.
    [(1, 'epoch_1.pth', 1), (2, 'epoch_2.pth', 2), (2, 'best_cell_PQ_epoch_1.pth', 1), (3, 'epoch_3.pth', 3)],
)
def test_a_checkpoint_that_is_being_written_is_written(build, tmp_path, handlers, number, written, epoch):
    validated = dict(
        val_dataloader=DataLoader([dict(inputs=torch.ones(1))], collate_fn=lambda batch: batch[0]),
        val_cfg=dict(),
        val_evaluator=Evaluator([Finds()]),
        checkpoint=dict(save_best='cell/PQ', rule='greater'),
    )
    settings = validated if written.startswith('best') else {}
    runner = build(SignalWhileSaving(number), epochs=3, keep=3, **settings)
    with pytest.raises(Interrupted) as stop, interruptible(runner, ['c.py']):
        runner.train()
    assert stop.value.status == 143 and (tmp_path / written).exists() and written in names(tmp_path)
    assert f' of 3; continue from epoch_{epoch}.pth with' in stop.value.message


def test_what_is_there_when_the_run_ends_is_what_one_goes_on_from(build, tmp_path, handlers):
    """The first checkpoint is saved between the signal and the end."""
    runner = build(SignalWhileSaving(1, before=True), custom_hooks=[dict(type='ExactResumeHook')], epochs=3)
    with pytest.raises(Interrupted, match=r'in epoch 1 of 3; continue from epoch_1\.pth with'):
        with interruptible(runner, ['c.py']):
            runner.train()
    assert names(tmp_path) == ['epoch_1.pth']


def test_handlers_are_put_back(build, handlers):
    runner = build()
    with interruptible(runner, []):
        runner.train()
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_resume_and_its_value_are_left_out():
    assert _without_resume(['c.py', '--resume']) == ['c.py']
    assert _without_resume(['c.py', '--resume', '--amp']) == ['c.py', '--amp']
    assert _without_resume(['--resume=x.pth', 'c.py', '--cfg-options', 'a=1']) == ['c.py', '--cfg-options', 'a=1']


class Finds(BaseMetric):
    """A validation that finds another threshold each time, and is never the best after the first."""

    def __init__(self):
        super().__init__(prefix='cell')
        self.thresholds = iter((0.1, 0.2, 0.3))

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        threshold = next(self.thresholds)
        return {'score_thr': threshold, 'PQ': 1 - threshold}


@pytest.mark.parametrize('save_best', [None, 'cell/PQ'])
def test_the_threshold_that_val_found_is_in_the_checkpoints(build, tmp_path, save_best):
    """Those of an epoch are written before its validation; the best, after it."""
    build(
        epochs=3,
        keep=2,
        checkpoint=dict(save_best=save_best, rule='greater' if save_best else None),
        val_dataloader=DataLoader([dict(inputs=torch.ones(1))], collate_fn=lambda batch: batch[0]),
        val_cfg=dict(),
        val_evaluator=Evaluator([Finds()]),
    ).train()
    found = {path.stem: threshold_of(load_checkpoint(path)['meta']) for path in tmp_path.glob('*.pth')}
    # The checkpoints of the second and third epoch were not the best.
    assert found == {'epoch_2': 0.2, 'epoch_3': 0.3} | ({'best_cell_PQ_epoch_1': 0.1} if save_best else {})
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
