"""Training and testing an ablation over another base, on a fold: where it goes, and what does not fit together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmcell.config import load_config, read_record
from mmcell.io.checkpoints import load_checkpoint
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
EMA, SMALL, LITE = (
    f'configs/{name}.py' for name in ('cell/mask_rcnn_aug_ema', 'small/mask_rcnn_aug', 'small/mask_rcnn_aug_lite')
)
RUN = Path('work_dirs/mask_rcnn_aug_ema-over-small_mask_rcnn_aug-fold1')
OPTIONS = (
    '--cfg-options',
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.indices=2',
    *(
        f'{loader}.{setting}'
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ),
    'default_hooks.checkpoint.save_optimizer=False',
    'model.test_cfg.rpn.max_per_img=50',
    'model.test_cfg.rcnn.max_per_img=10',
)


@pytest.fixture
def here(tmp_path, monkeypatch, tool) -> None:
    """A working folder with the configs and a data set of two folds."""
    write_class_tiff(tmp_path / 'source', num_images=5, size=(64, 64), num_cells=6, num_test_images=1)
    data = tmp_path / 'data'
    assert tool('convert', 'class_tiff', tmp_path / 'source', '--out', data, '--folds', '2').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(data))
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    monkeypatch.chdir(tmp_path)


def test_where_a_run_goes(here, tool):
    outcome = tool('train', EMA, '--base', SMALL, '--fold', '1', *OPTIONS)
    assert outcome.status == 0, outcome.err
    assert [path.name for path in Path('work_dirs').iterdir()] == [RUN.name]
    assert read_record((RUN / 'mask_rcnn_aug_ema.py').read_text()) == {'base': SMALL, 'fold': 1}
    meta = load_checkpoint(RUN / 'epoch_1.pth')['meta']
    assert read_record(meta['cfg']) == {'base': SMALL, 'fold': 1}

    outcome = tool('test', EMA, RUN / 'epoch_1.pth', '--base', SMALL, '--fold', '1', *OPTIONS)
    assert outcome.status == 0, outcome.err
    written = json.loads((RUN / 'test/metrics.json').read_text())
    assert (written['config'], written['base'], written['fold']) == (EMA, SMALL, 1)
    truth = json.loads(Path('data/annotations/fold1_val.json').read_text())
    ids = {image['id'] for image in truth['images']}
    assert {result['image_id'] for result in json.loads((RUN / 'test/val-results.json').read_text())} <= ids


@pytest.fixture
def checkpoint() -> Path:
    """Untrained weights, as a training over a base and on a fold would save them."""
    config = load_config(ROOT / EMA, base=ROOT / SMALL, fold=1)
    config._run.base = SMALL
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    path = Path('trained.pth')
    torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': config.pretty_text}}, path)
    config.dump('dumped.py')
    return path


def test_what_a_checkpoint_was_trained_over(here, checkpoint, tool):
    """It is asked for again, in one line."""

    def refused(*arguments: str) -> str:
        outcome = tool('test', EMA, checkpoint, *arguments, *OPTIONS)
        assert outcome.status == 2 and outcome.err.count('\n') == 1
        return outcome.err

    trained = f'error: {checkpoint}: was trained over {SMALL}, not by {EMA}'
    assert refused('--fold', '1') == f'{trained}; add --base {SMALL}\n'
    assert refused('--fold', '1', '--base', LITE) == f'{trained} over {LITE}; use --base {SMALL}\n'
    told = 'was trained on fold 1, not on fold 0, whose val images it may have seen; use --fold 1'
    assert told in refused('--fold', '0', '--base', SMALL)
    assert "not on the config's own split" in refused('--base', SMALL)
    told = 'fold2_val.json: does not exist; choose --fold from 0, 1, or convert'
    assert told in refused('--fold', '2', '--base', SMALL)
    image = next(Path('data/images').rglob('*.tif'))
    outcome = tool('infer', EMA, checkpoint, image, '--out', 'out')
    assert outcome == (2, '', f'{trained}; add --base {SMALL}\n')


def test_what_suits_a_checkpoint(here, checkpoint, tool):
    """A dumped config needs neither base nor fold, and test images are of no fold."""
    assert tool('test', 'dumped.py', checkpoint, *OPTIONS).status == 0
    assert tool('test', EMA, checkpoint, '--base', SMALL, '--format-only', *OPTIONS).status == 0
    image = next(Path('data/images').rglob('*.tif'))
    assert (
        tool('infer', EMA, checkpoint, image, '--base', SMALL, '--out', 'out', *OPTIONS[:1], *OPTIONS[-2:]).status == 0
    )


@pytest.mark.parametrize('tool_name', ['train', 'test'])
def test_what_cannot_be(tool_name, here, tool):
    """One line that names both configs, before anything is written."""
    checkpoint = [] if tool_name == 'train' else ['nowhere.pth']
    for config, base, said in (
        ('configs/cell/mask_rcnn_aug_convnextv2.py', LITE, 'ConvNeXt-V2 replaces a ResNet'),
        ('configs/cell/mask_rcnn_aug_cbam_identity.py', LITE, "model.backbone has the unknown argument 'name'"),
        ('configs/cell/mask_rcnn.py', SMALL, 'is a base of configs/small/mask_rcnn_aug.py'),
        (SMALL, SMALL, 'is the base itself'),
        (EMA, 'configs/small/nowhere.py', 'does not exist'),
    ):
        outcome = tool(tool_name, config, *checkpoint, '--base', base)
        assert outcome.status == 2
        assert any(
            said in line and base in line and (config in line or 'nowhere' in base) for line in outcome.err.splitlines()
        )
    assert not Path('work_dirs').exists()


def test_ablation_over_another_base(here, tool):
    outcome = tool('ablate', SMALL, EMA, '--base', SMALL, '--fold', '1', '--dry-run', *OPTIONS)
    assert outcome.status == 0, outcome.err
    names = ['mask_rcnn_aug_fold1', 'mask_rcnn_aug_ema_fold1']
    assert outcome.out.splitlines() == [f'{name}: train 1 epochs, then test' for name in names]
    outcome = tool('ablate', SMALL, '--fold', '1', '--folds')
    assert outcome.status == 2 and 'not allowed with argument --fold' in outcome.err
