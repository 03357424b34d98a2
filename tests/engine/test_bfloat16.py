"""Training in bfloat16 and in `channels_last`: what is computed in which, and that nothing is lost in a resume."""

from __future__ import annotations

import pytest
import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

import mmcell  # noqa: F401  registers
from mmcell.engine import launch
from mmcell.errors import InputError
from mmcell.io.checkpoints import load_checkpoint
from mmcell.models.dense_roi_extractor import DenseRoIExtractor, takes_any_layout

BATCHES, EPOCHS, COUNTS = 5, 3, 2
LAYER = dict(type='RoIAlign', output_size=7, sampling_ratio=0)


class Convolutions(BaseModel):
    """Two convolutions around batch norm, whose outputs' dtype and layout are kept."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 2, 3)
        self.seen = set()

    def forward(self, inputs, mode='loss'):
        out = self.last(self.norm(self.first(inputs)).relu())
        self.seen.add((out.dtype, out.is_contiguous(memory_format=torch.channels_last)))
        return {'loss': out.float().square().mean()}


@pytest.fixture
def train(tmp_path):
    inputs = torch.rand(BATCHES, 2, 3, 9, 9, generator=torch.Generator().manual_seed(0))

    def run(wrapper: str = 'BFloat16OptimWrapper', resume: str | None = None):
        torch.manual_seed(0)
        runner = Runner(
            Convolutions(),
            work_dir=str(tmp_path),
            train_dataloader=DataLoader([dict(inputs=value) for value in inputs], collate_fn=lambda batch: batch[0]),
            train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
            optim_wrapper=dict(
                type=wrapper, optimizer=dict(type='SGD', lr=0.1, momentum=0.9), accumulative_counts=COUNTS
            ),
            custom_hooks=[
                dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.1, gamma=3, update_buffers=True),
                dict(type='ExactResumeHook'),
                dict(type='KeepGradients'),
                dict(type='ChannelsLastHook'),
            ],
            default_scope='mmdet',
            load_from=resume and str(tmp_path / resume),
            resume=resume is not None,
            experiment_name=f'{tmp_path.name}-{wrapper}-{resume}',
        )
        model = runner.train()
        return load_checkpoint(tmp_path / f'epoch_{EPOCHS}.pth'), model

    return run


def test_a_resumed_run_in_bfloat16_takes_the_same_steps(train, tmp_path):
    whole, model = train()
    assert model.seen == {(torch.bfloat16, True)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert 'gradients' in load_checkpoint(tmp_path / 'epoch_1.pth')
    resumed, _ = train(resume='epoch_1.pth')
    for part in ('state_dict', 'ema_state_dict'):
        assert resumed[part].keys() == whole[part].keys()
        for name, value in whole[part].items():
            assert torch.equal(resumed[part][name], value), name
    precise, model = train('OptimWrapper')
    assert model.seen == {(torch.float32, True)}
    for name, value in precise['state_dict'].items():
        torch.testing.assert_close(whole['state_dict'][name], value, rtol=0.1, atol=0.02)
    assert not torch.equal(precise['state_dict']['first.weight'], whole['state_dict']['first.weight'])


@pytest.mark.skipif(torch.cuda.is_available(), reason='asks what a CPU does')
def test_the_precision_that_this_processor_has(monkeypatch):
    def choose(wrapper, amp):
        config = Config(dict(optim_wrapper=dict(wrapper)))
        return launch.choose_precision(config, amp), config.optim_wrapper.to_dict()

    mixed = dict(type='AmpOptimWrapper', loss_scale='dynamic', accumulative_counts=2)
    note, wrapper = choose(mixed, amp=False)
    assert 'full precision' in note and wrapper == dict(type='OptimWrapper', accumulative_counts=2)
    assert choose(dict(type='OptimWrapper'), amp=False) == ('', dict(type='OptimWrapper'))
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: True)
    note, wrapper = choose(mixed, amp=True)
    assert 'bfloat16' in note and wrapper == dict(type='BFloat16OptimWrapper', accumulative_counts=2)
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: False)
    with pytest.raises(InputError, match='--amp: needs an accelerator or a CPU with AVX512-BF16'):
        choose(mixed, amp=True)


def test_a_model_with_an_operator_that_expects_one_layout_keeps_it():
    ours, mmdets = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), kind(LAYER, out_channels=8, featmap_strides=[4]))
        for kind in (DenseRoIExtractor, SingleRoIExtractor)
    )
    assert takes_any_layout(ours) and takes_any_layout(ours[0])
    assert not takes_any_layout(mmdets)
    assert not takes_any_layout(torch.nn.Sequential(ours, RoIAlign(7)))
