"""The plan of an ablation, from the files that runs leave."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from mmcell.ablation.runs import _run, describe, find_progress, find_truth, list_experiments
from mmcell.ablation.table import count_parameters, tell_apart
from mmcell.config import load_config
from mmcell.errors import InputError, InputErrors, Interrupted
from mmcell.io.checkpoints import fingerprint

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / 'configs/demo/mask_rcnn_synthetic.py')
THREE = ('train_cfg.max_epochs=3',)


def save(path: Path, value: float = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'state_dict': {'weight': torch.full((100,), value)}}, path)
    return path


def write_truth(path: Path, image_id: int) -> None:
    image = {'id': image_id, 'file_name': f'{image_id}.png', 'width': 8, 'height': 8}
    content = {'images': [image], 'categories': [{'id': 1, 'name': 'cell'}], 'annotations': []}
    path.write_text(json.dumps(content))


def write_metrics(folder: Path, checkpoint: Path) -> None:
    path = folder / 'test/metrics.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({'fingerprint': fingerprint(checkpoint), 'metrics': {}}))


def test_stages(tmp_path):
    (experiment,) = list_experiments([DEMO], tmp_path, options=THREE)
    folder = tmp_path / 'mask_rcnn_synthetic'
    assert experiment.folder == folder

    def stage() -> tuple:
        return tuple(vars(find_progress(experiment)).values())

    assert stage() == ('train', 0, None)
    first = save(folder / 'epoch_1.pth')
    assert stage() == ('resume', 1, first)
    assert describe(experiment, find_progress(experiment)) == (
        'mask_rcnn_synthetic: resume after epoch 1 of 3, then test'
    )
    # A process that was killed while it saved.
    half = save(folder / 'epoch_2.pth')
    half.write_bytes(half.read_bytes()[:-100])
    assert stage() == ('resume', 1, first)
    # Checkpoints of other kinds say nothing on how far training is.
    save(folder / 'best_segm_mAP_1000_epoch_3.pth')
    assert stage() == ('resume', 1, first)

    # What a signal ended in the midst of the second epoch.
    interrupted = save(folder / 'interrupted.pth')
    (folder / 'last_checkpoint').write_text(str(interrupted))
    assert stage() == ('resume', 1, interrupted)
    first.unlink()
    assert stage() == ('resume', 0, interrupted)

    last = save(folder / 'epoch_3.pth')
    assert stage() == ('test', 3, last)
    write_metrics(folder, last)
    # Clocks are set back, and a copy has new times.
    for time in (1, 2**32):
        os.utime(last, (time, time))
        assert stage() == ('done', 3, last)
    # Trained anew.
    save(folder / 'epoch_3.pth', value=1)
    assert stage() == ('test', 3, last)

    best = save(folder / 'best_segm_AP50_1000_epoch_2.pth', value=2)
    save(folder / 'best_segm_AP50_1000_lymphocyte_epoch_3.pth')
    assert stage() == ('test', 3, best)
    write_metrics(folder, best)
    assert stage() == ('done', 3, best)
    for content in ('[]', '{}'):
        (folder / 'test/metrics.json').write_text(content)
        assert stage() == ('test', 3, best)


def test_training_by_iterations(tmp_path):
    config = tmp_path / 'by_iter.py'
    loop = "dict(_delete_=True, type='IterBasedTrainLoop', max_iters=500, val_interval=100)"
    config.write_text(f"_base_ = '{DEMO}'\ntrain_cfg = {loop}\n")
    (experiment,) = list_experiments([str(config)], tmp_path)
    assert describe(experiment, find_progress(experiment)) == 'by_iter: train 500 iters, then test'
    checkpoint = save(tmp_path / 'by_iter/iter_400.pth')
    assert find_progress(experiment).reached == 400 and find_progress(experiment).checkpoint == checkpoint


def test_other_settings_are_refused(tmp_path):
    (experiment,) = list_experiments([DEMO], tmp_path, options=THREE)
    save(experiment.folder / 'epoch_3.pth')
    # What tools/train.py adds and changes on a CPU.
    started = load_config(DEMO, {'train_cfg.max_epochs': 3, 'optim_wrapper.type': 'OptimWrapper'})
    started.update(work_dir=str(experiment.folder), launcher='none', resume=True, load_from='epoch_1.pth')
    started.dump(experiment.folder / 'mask_rcnn_synthetic.py')
    assert find_progress(experiment).stage == 'test'

    (other,) = list_experiments([DEMO], tmp_path, options=(*THREE, 'optim_wrapper.optimizer.lr=0.5'))
    with pytest.raises(InputError, match=r'other settings \(optim_wrapper.optimizer.lr: 0.001 -> 0.5\)'):
        find_progress(other)


def test_seeds_and_what_differs(tmp_path):
    cbam = tmp_path / 'cbam.py'
    cbam.write_text(f"_base_ = '{DEMO}'\nmodel = dict(backbone=dict(type='CBAMResNet'))\n")
    experiments = list_experiments([DEMO, str(cbam)], tmp_path, seeds=(3, 4), options=THREE)
    names = ['mask_rcnn_synthetic_seed3', 'mask_rcnn_synthetic_seed4', 'cbam_seed3', 'cbam_seed4']
    assert [experiment.name for experiment in experiments] == names
    assert [experiment.config.randomness.seed for experiment in experiments] == [3, 4, 3, 4]
    assert experiments[3].options == (*THREE, 'randomness.seed=4') and experiments[3].config.train_cfg.max_epochs == 3
    line = "model.backbone.type: 'ResNet' -> 'CBAMResNet'"
    assert list(tell_apart(experiments).values()) == [[], [], [line], [line]]


def test_folds(tmp_path, monkeypatch):
    """Every fold that there is, each with the annotation files of its own, or the one that is asked for."""
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    annotations = tmp_path / 'data/annotations'
    annotations.mkdir(parents=True)
    with pytest.raises(InputError, match=r'fold0_val.json: does not exist; convert the data with --folds K'):
        list_experiments([DEMO], tmp_path, folds=True)
    for fold in range(3):
        write_truth(annotations / f'fold{fold}_val.json', image_id=fold)

    cbam = tmp_path / 'cbam.py'
    cbam.write_text(f"_base_ = '{DEMO}'\nmodel = dict(backbone=dict(type='CBAMResNet'))\n")
    experiments = list_experiments([DEMO, str(cbam)], tmp_path, seeds=(4,), folds=True)
    runs = ['mask_rcnn_synthetic_seed4', 'cbam_seed4']
    assert [experiment.name for experiment in experiments] == [f'{run}_fold{fold}' for run in runs for fold in range(3)]
    for experiment in experiments:
        assert find_truth(experiment.config) == annotations / f'fold{experiment.fold}_val.json'
        assert experiment.config.train_dataloader.dataset.ann_file == f'annotations/fold{experiment.fold}_train.json'
    # The annotation files do not tell them apart.
    line = "model.backbone.type: 'ResNet' -> 'CBAMResNet'"
    assert list(tell_apart(experiments).values()) == [[]] * 3 + [[line]] * 3

    (one,) = list_experiments([DEMO], tmp_path, folds=(2,))
    assert (one.name, one.fold) == ('mask_rcnn_synthetic_fold2', 2)
    with pytest.raises(InputError, match=r'fold7_val.json: does not exist; choose --fold from 0, 1, 2, or convert'):
        list_experiments([DEMO], tmp_path, folds=(7,))
    fixed = (f'val_evaluator.0.ann_file={annotations}/fold1_val.json',)
    with pytest.raises(InputError, match='the same val images in each fold'):
        list_experiments([DEMO], tmp_path, options=fixed, folds=True)
    # Made one by one, so that each counts its images from the same number: found before anything is trained.
    write_truth(annotations / 'fold2_val.json', image_id=0)
    with pytest.raises(InputError, match=f'{annotations}/fold2_val.json: has the image id 0'):
        list_experiments([DEMO], tmp_path, folds=True)


def test_another_base(tmp_path):
    """Every config is put over it but the one that it is, and a folder is of one base."""
    small, lite, ema = (
        str(ROOT / 'configs' / name)
        for name in ('small/mask_rcnn_aug.py', 'small/mask_rcnn_aug_lite.py', 'cell/mask_rcnn_aug_ema.py')
    )
    plain, change = list_experiments([lite, ema], tmp_path, base=lite)
    assert (plain.base, change.base) == (None, lite)
    assert plain.config.model == change.config.model
    assert tell_apart([plain, change])['mask_rcnn_aug_ema'][0].startswith('+ custom_hooks: ')
    assert len(tell_apart([plain, change])['mask_rcnn_aug_ema']) == 1

    change.folder.mkdir()
    change.config.dump(change.folder / 'mask_rcnn_aug_ema.py')
    assert find_progress(change).stage == 'train'
    (other,) = list_experiments([ema], tmp_path, base=small)
    said = r"holds a run with other settings \(base: '.*small/mask_rcnn_aug_lite.py' -> '.*small/mask_rcnn_aug.py', …\)"
    with pytest.raises(InputError, match=said):
        find_progress(other)


def test_nothing_to_score_against(tmp_path):
    plain, second = tmp_path / 'plain.py', tmp_path / 'second.py'
    plain.write_text(f"_base_ = '{DEMO}'\nval_evaluator = [dict(type='VOCMetric')]\n")
    with pytest.raises(InputError, match=f'val_evaluator of {plain}: names no annotation file'):
        list_experiments([str(plain)], tmp_path)
    second.write_text(
        f"_base_ = '{DEMO}'\nval_evaluator = [dict(type='VOCMetric'), dict(type='CellMetric', ann_file='a.json')]\n"
    )
    (experiment,) = list_experiments([str(second)], tmp_path)
    assert find_truth(experiment.config) == Path('a.json')


def test_weights_to_start_from_and_precision_differ_too(tmp_path):
    """Training sets both itself, so they do not tell runs apart; but an ablation may be about them."""
    tuned = tmp_path / 'tuned.py'
    tuned.write_text(f"_base_ = '{DEMO}'\nload_from = 'a.pth'\noptim_wrapper = dict(type='OptimWrapper')\n")
    differs = tell_apart(list_experiments([DEMO, str(tuned)], tmp_path))['tuned']
    assert sorted(differs) == ["load_from: None -> 'a.pth'", "optim_wrapper.type: 'AmpOptimWrapper' -> 'OptimWrapper'"]


def test_unfit_arguments(tmp_path):
    with pytest.raises(InputError, match="second run with the name 'mask_rcnn_synthetic'"):
        list_experiments([DEMO, DEMO], tmp_path)
    with pytest.raises(InputErrors, match=r"'a' is not a setting(.|\n)*'b' is not a setting"):
        list_experiments([DEMO], tmp_path, options=('a', 'b'))
    with pytest.raises(InputError, match='unknown setting'):
        list_experiments([DEMO], tmp_path, options=('modle.x=1',))


def test_parameters():
    from mmdet.registry import MODELS

    config = load_config(DEMO)
    model = MODELS.build(load_config(DEMO).model)
    assert count_parameters(config) == sum(value.numel() for value in dict(model.named_parameters()).values())
    # ResNet-18 of half the width, the FPN and the heads of the demo.
    assert 3e6 < count_parameters(config) < 5e6
    # To count is not to change, though mmdet's detectors write into the config that they are built from.
    assert config.to_dict() == load_config(DEMO).to_dict()


def test_a_signal_is_passed_on_and_the_end_waited_for(tmp_path):
    """So that a training that is told to stop saves its step."""
    code = f"""
import os, signal, sys, time
def save(*_):
    time.sleep(0.5)
    open({str(tmp_path / 'saved')!r}, 'w').close()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(60)
"""

    def stop(number: int, _) -> None:
        raise Interrupted(signal.SIGTERM, '')

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with (tmp_path / 'lock').open('w') as lock, pytest.raises(Interrupted):
            _run([sys.executable, '-c', code], lock.fileno())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (tmp_path / 'saved').exists()
