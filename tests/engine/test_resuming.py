"""What a resumed training takes from its checkpoint instead of its config is refused or said."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim.scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, ReduceOnPlateauLR
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

import mmcell  # noqa: F401  registers
from mmcell.engine.hooks.resume_notes import ResumeNotesHook
from mmcell.engine.resuming import check_optimizer, check_schedules, check_state, check_tensors, compare_schedules
from mmcell.engine.schedule import WarmupCosineLR, warmup_cosine
from mmcell.errors import InputError

ADAMW = dict(type='AdamW', lr=1e-3, weight_decay=0.1)


def complete() -> dict:
    hub = {'log_scalars': OrderedDict(loss=HistoryBuffer([1.0], [1])), 'runtime_info': {}, 'resumed_keys': {}}
    return {'meta': {'epoch': 1, 'iter': 5}, 'message_hub': hub, 'state_dict': {}}


@pytest.mark.parametrize(
    ('key', 'value', 'lacks'),
    [
        ('meta', None, 'how far it was trained'),
        ('meta', [], 'how far it was trained'),
        ('meta', {'epoch': 1}, 'how far it was trained'),
        ('meta', {'epoch': 1, 'iter': '5'}, 'how far it was trained'),
        ('meta', {'epoch': -1, 'iter': 5}, 'how far it was trained'),
        ('message_hub', None, 'logs'),
        ('message_hub', {'log_scalars': {}}, 'logs'),
        ('message_hub', {'log_scalars': {'a': 1}, 'runtime_info': {}, 'resumed_keys': {}}, 'logs'),
        (
            'message_hub',
            {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
            | {'runtime_info': {'a': 1}, 'resumed_keys': {'a': 0}},
            'logs',
        ),
        ('state_dict', None, 'state_dict'),
        ('exact_resume', [], 'exact_resume is []'),
        ('exact_resume', {'batches_done': -1}, 'batches_done is -1'),
        ('ema_state_dict', 3, 'ema_state_dict is 3'),
        ('meta', {'epoch': 1, 'iter': 5, 'seed': 'x'}, "seed is 'x'"),
    ],
)
def test_weights_alone_are_no_training(key, value, lacks):
    assert check_state('a.pth', complete()) == []
    (error,) = check_state('a.pth', complete() | {key: value})
    assert lacks in str(error) and 'load_from=a.pth' in str(error)
    assert check_state('a.pth', {}) and check_state('a.pth', {'weight': torch.zeros(1)})


def trained(optimizer: dict, **wrapper) -> dict:
    """A checkpoint of one step of a line with an optimizer."""
    model = torch.nn.Linear(2, 1)
    built = getattr(torch.optim, optimizer['type'])(
        model.parameters(), **{key: value for key, value in optimizer.items() if key != 'type'}
    )
    model(torch.ones(1, 2)).sum().backward()
    built.step()
    return {'optimizer': built.state_dict()}


def compare(optimizer: dict, content: dict, **config):
    config = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer), **config))
    with torch.device('meta'):
        model = torch.nn.Linear(2, 1)
    return check_optimizer(config, 'a.pth', content, model)


def test_the_optimizer_of_the_checkpoint():
    assert compare(ADAMW, trained(ADAMW)) == ([], [])
    errors, (line,) = compare(ADAMW, {})
    assert not errors and line.startswith('a.pth: has no optimizer state')
    for other in (dict(type='SGD', lr=0.1, momentum=0.9), dict(type='RMSprop', lr=0.1)):
        for mine, theirs in ((ADAMW, other), (other, ADAMW)):
            (error,), lines = compare(mine, trained(theirs))
            assert not lines and f'another optimizer than {mine["type"]}' in str(error) and 'load_from' in str(error)
    # Adam and AdamW have the same state; since torch 2.7 they differ in a setting that the state brings along.
    adam = trained(dict(ADAMW, type='Adam'))
    tells = 'decoupled_weight_decay' in adam['optimizer']['param_groups'][0]
    assert ['decoupled_weight_decay' in line for line in compare(ADAMW, adam)[1]] == [True] * tells
    content = trained(ADAMW)
    content['optimizer']['param_groups'][0]['params'].pop()
    assert 'state of 1 weights in 1 groups, not of 2 in 1' in str(compare(ADAMW, content)[0][0])
    for broken in (None, [], {}, {'param_groups': 1}, {'param_groups': [1]}):
        assert 'broken state' in str(compare(ADAMW, {'optimizer': broken})[0][0])


@pytest.mark.parametrize(
    'kind', ['AdamW', 'Adam', 'SGD', 'RMSprop', 'Adagrad', 'Adadelta', 'NAdam', 'RAdam', 'Adamax', 'ASGD']
)
def test_the_state_of_any_optimizer_goes_on(kind):
    settings = dict(type=kind, lr=0.1)
    assert compare(settings, trained(settings)) == ([], [])
    assert compare(settings, trained(dict(settings, foreach=True))) == ([], [])


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (lambda state: state.pop('step'), 'no step follows from it'),
        (lambda state: state.pop('exp_avg_sq'), 'no step follows from it'),
        (lambda state: state.update(exp_avg=torch.zeros(2, 1)), 'no step follows from it'),
        (lambda state: state.update(exp_avg=torch.full((1, 2), torch.nan)), "'exp_avg' of weight 0 is not finite"),
        (lambda state: state.update(step=torch.ones(2)), 'step of weight 0 is '),
        (lambda state: state.update(step=-(10**6)), 'step of weight 0 is -1000000'),
        (lambda state: state.update(step=float('inf')), "'step' of weight 0 is not finite"),
    ],
)
def test_a_state_from_which_no_step_follows(change, problem):
    content = trained(ADAMW)
    change(content['optimizer']['state'][0])
    assert problem in str(compare(ADAMW, content)[0][0])


def test_a_way_to_work_that_a_cpu_does_not_have():
    content = trained(ADAMW)
    content['optimizer']['param_groups'][0]['capturable'] = True
    assert 'capturable is True, which the config does not say' in str(compare(ADAMW, content)[0][0])


def test_settings_that_the_state_overrules():
    content = trained(ADAMW)
    assert 'weight_decay 0.1 of the checkpoint, not 0.5' in compare(dict(ADAMW, weight_decay=0.5), content)[1][0]
    content['optimizer']['param_groups'][0]['initial_lr'] = 1e-3
    assert compare(ADAMW, content) == ([], [])
    assert 'lr 0.001 of the checkpoint, not 0.01' in compare(dict(ADAMW, lr=0.01), content)[1][0]
    assert compare(dict(ADAMW, lr=0.01), content, auto_scale_lr=dict(enable=True)) == ([], [])


def schedule(kind: type, steps: int = 0, **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    made = kind(optimizer, **{'by_epoch': kind is ReduceOnPlateauLR, **settings})
    for _ in range(steps):
        optimizer.step()
        made.step()
    return made


@pytest.mark.parametrize(('before', 'after'), [(8, 8), (8, 16), (16, 8), (8, 9)])
def test_a_longer_training_goes_on_along_its_own_curve(before, after):
    state = schedule(WarmupCosineLR, 6, end=before).state_dict()
    longer = schedule(WarmupCosineLR, end=after)
    longer.load_state_dict(state)
    whole = schedule(WarmupCosineLR, 6, end=after)
    for step in range(6, after):
        for each in (longer, whole):
            assert each.optimizer.param_groups[0]['lr'] == each.get_last_value()[0] == 0.5 * warmup_cosine(step, after)
            each.optimizer.step()
            each.step()
    lines = compare_schedules('a.pth', [whole], [state])
    expected = f'steps {before} -> {after}'
    assert lines == ([], []) if before == after else expected in lines[1][0]


@pytest.mark.parametrize(
    ('kind', 'old', 'new'),
    [
        (CosineAnnealingLR, dict(T_max=8), dict(T_max=16)),
        (CosineAnnealingLR, dict(eta_min=0.1, T_max=8), dict(T_max=8)),
        (MultiStepLR, dict(milestones=[2]), dict(milestones=[4])),
        (LinearLR, dict(end=4), dict(end=8)),
        (LinearLR, dict(start_factor=0.1), dict(start_factor=0.2)),
    ],
)
def test_a_schedule_that_stays_as_the_checkpoint_has_it(kind, old, new):
    state = schedule(kind, 3, **old).state_dict()
    assert compare_schedules('a.pth', [schedule(kind, **old)], [state]) == ([], [])
    errors, (line,) = compare_schedules('a.pth', [schedule(kind, **new)], [state])
    assert not errors and f'{next(iter(old))} ' in line and 'goes on as a.pth has it' in line and 'load_from' in line


@pytest.mark.parametrize('saved', [[], [{}], [1], 'x', {}, [schedule(LinearLR).state_dict()] * 2])
def test_other_schedulers_are_refused(saved):
    (error,), _ = compare_schedules('a.pth', [schedule(CosineAnnealingLR, T_max=8)], saved)
    assert str(error).startswith('a.pth: has the state of ') and 'load_from=a.pth' in str(error)
    assert 'no schedule state' in compare_schedules('a.pth', [], None)[1][0]


def try_schedule(kind: type, saved: list) -> list[InputError]:
    """What the checks say of it; they know neither the length of the training nor that of an epoch."""
    own = dict(type=kind.__name__)
    if kind is not ReduceOnPlateauLR:
        own |= dict(by_epoch=True, convert_to_iter_based=True)
    config = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5)), param_scheduler=[own]))
    with torch.device('meta'):
        model = torch.nn.Linear(2, 1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return check_schedules(config, 'a.pth', {'param_schedulers': saved}, model)


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        ({'base_values': 'x'}, "base_values is 'x'"),
        ({'_last_value': [0.1, 0.2]}, '_last_value is [0.1, 0.2]'),
        ({'_global_step': -6}, 'its next lr is -'),
        ({'by_epoch': torch.zeros(2)}, 'by_epoch is tensor'),
        ({'end': None}, 'end is None'),
    ],
)
def test_a_schedule_is_tried_before_a_run(change, problem):
    state = schedule(WarmupCosineLR, 3, end=8).state_dict()
    assert try_schedule(WarmupCosineLR, [state]) == []
    (error,) = try_schedule(WarmupCosineLR, [state | change])
    assert f'a broken state of WarmupCosineLR: {problem}' in str(error) and 'load_from=a.pth' in str(error)


@pytest.mark.parametrize('kind', [LinearLR, CosineAnnealingLR, ReduceOnPlateauLR])
def test_any_schedule_is_tried_before_a_run(kind):
    assert try_schedule(kind, [schedule(kind, 3).state_dict()]) == []
    (error,) = try_schedule(kind, [schedule(MultiStepLR, milestones=[2]).state_dict()])
    assert f'another scheduler than {kind.__name__}' in str(error)


@pytest.mark.parametrize('part', ['ema_state_dict', 'gradients'])
def test_averages_and_gradients_are_of_the_model(part):
    with torch.device('meta'):
        model = torch.nn.Linear(2, 1)
    start = {'ema_state_dict': 'module.', 'gradients': ''}[part]
    sound = {f'{start}weight': torch.zeros(1, 2), f'{start}bias': torch.zeros(1)}
    if part == 'ema_state_dict':
        sound['steps'] = torch.tensor(3)
    assert check_tensors('a.pth', {part: sound}, model) == check_tensors('a.pth', {}, model) == []
    for wrong in (torch.zeros(2, 1), 'x', None):
        (error,) = check_tensors('a.pth', {part: sound | {f'{start}weight': wrong}}, model)
        assert f"'{start}weight' does not fit" in str(error) and 'load_from=a.pth' in str(error)


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode='loss'):
        return {'loss': (self.weight * inputs).sum()}


class Rates(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(runner.optim_wrapper.get_lr()['lr'][0])


@pytest.fixture
def train(tmp_path):
    def train(name: str, epochs: int, resume=None, batches: int = 2, scheduler: str = 'WarmupCosineLR', **settings):
        rates = Rates()
        runner = Runner(
            Line(),
            work_dir=str(tmp_path),
            train_dataloader=DataLoader([dict(inputs=torch.ones(1))] * batches, collate_fn=lambda batch: batch[0]),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
            param_scheduler=dict(type=scheduler, by_epoch=True, convert_to_iter_based=True, **settings),
            default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook', interval=1)),
            default_scope='mmdet',
            load_from=resume and str(tmp_path / resume),
            resume=resume is not None,
            experiment_name=f'{tmp_path.name}-{name}',
        )
        runner.register_hook(rates)
        runner.register_hook(ResumeNotesHook())
        runner.train()
        return rates.seen

    return train


def notes(capfd) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith('note: ')]


def test_a_run_that_goes_on_longer(train, capfd):
    whole = train('whole', 4)
    assert notes(capfd) == []
    train('short', 2)
    assert train('longer', 4, 'epoch_2.pth') == whole[4:]
    (note,) = notes(capfd)
    assert note.startswith('note: from here on the schedule follows the config (WarmupCosineLR: ')
    assert train('again', 4, 'epoch_4.pth') == []
    assert notes(capfd) == ['note: epoch 4 of 4 is reached, nothing is left to train: raise train_cfg.max_epochs']
    train('more data', 5, 'epoch_4.pth', batches=3)
    assert 'an epoch has 3 batches, and had 2 before' in notes(capfd)[1]


def test_a_run_whose_schedule_does_not_follow(train, capfd):
    train('short', 2, scheduler='CosineAnnealingLR')
    train('longer', 4, 'epoch_2.pth', scheduler='CosineAnnealingLR')
    (note,) = notes(capfd)
    assert 'T_max 4 -> 8' in note and 'behind its end the rate stays' in note
    with pytest.raises(InputError, match='another scheduler than LinearLR'):
        train('other', 4, 'epoch_2.pth', scheduler='LinearLR')
