"""What is written down of a run: its base, its fold, and the name that they make."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmcell.config import base_of, check_fold, fold_of, load_config, read_record, run_name, title
from mmcell.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
EMA = 'cell/mask_rcnn_aug_ema.py'
LITE = 'small/mask_rcnn_aug_lite.py'


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.chdir(CONFIGS)


def test_names():
    assert run_name(load_config(EMA)) == 'mask_rcnn_aug_ema'
    assert run_name(load_config(EMA, fold=0)) == 'mask_rcnn_aug_ema-fold0'
    both = load_config(EMA, base=LITE, fold=2)
    assert run_name(both) == 'mask_rcnn_aug_ema-over-small_mask_rcnn_aug_lite-fold2'
    assert title(both) == f'{EMA} over {LITE}' and title(load_config(EMA)) == EMA


def test_no_two_bases_share_a_name(tmp_path):
    """Folders and stems alike, one base after the other."""
    names = set()
    for folder in ('small', 'a/small', 'b/small'):
        path = tmp_path / folder / 'mask_rcnn_aug_lite.py'
        path.parent.mkdir(parents=True)
        path.write_text(f"_base_ = '{CONFIGS / LITE}'\n")
        names.add(run_name(load_config(EMA, base=path)))
    names.add(run_name(load_config(EMA, base=LITE)))
    assert len(names) == 4
    # However it is written.
    assert run_name(load_config(EMA, base=f'../configs/{LITE}')) == run_name(load_config(EMA, base=LITE))


def test_what_is_dumped_says_it(tmp_path):
    config = load_config(EMA, {'train_cfg.max_epochs': 3}, f'./{LITE}', 2)
    path = tmp_path / 'mask_rcnn_aug_ema.py'
    config.dump(path)
    assert read_record(path.read_text()) == {'base': LITE, 'fold': 2}
    again = load_config(path)
    assert (base_of(again), fold_of(again), run_name(again)) == (LITE, 2, run_name(config))
    assert again.to_dict() == config.to_dict()
    assert load_config(path, fold=1).val_dataloader.dataset.ann_file == 'annotations/fold1_val.json'
    load_config(EMA).dump(path)
    assert read_record(path.read_text()) == {'base': None, 'fold': None}


NASTY = [
    '-' * 10**5 + '1',
    'a' + '.b' * 10**5 + ' = 1',
    '_run = dict(base=' + '[' * 150 + ']' * 150 + ')',
    '# ' * 10**6,
    '\0',
]


@pytest.mark.parametrize(
    'text',
    [
        *NASTY,
        '_run = dict(fold="1")',
        '_run = dict',
        '',
        'model = dict()',
        '_run = 3',
        "_run = dict(base=open('x'))",
        'model = ',
    ],
)
def test_no_record(text):
    assert read_record(text) is None


def test_fold_of_wrapped_datasets_and_any_metric():
    config = load_config('cell/mask_rcnn_aug_copy_paste.py', fold=4)
    assert config.train_dataloader.dataset.dataset.ann_file == 'annotations/fold4_train.json'
    assert [metric.ann_file.rpartition('/')[2] for metric in config.val_evaluator] == ['fold4_val.json'] * 2
    assert config.test_dataloader == load_config('cell/mask_rcnn_aug_copy_paste.py').test_dataloader


def test_fold_of_what_is_trained_on_all_images():
    config = load_config('models/consep.py')
    assert config.train_dataloader.dataset.ann_file == 'annotations/trainval.json'
    config = load_config('models/consep.py', fold=1)
    assert config.train_dataloader.dataset.ann_file == 'annotations/fold1_train.json'
    assert config.val_dataloader.dataset.ann_file == 'annotations/fold1_val.json'


def test_nothing_to_put_on_a_fold(tmp_path):
    path = tmp_path / 'plain.py'
    path.write_text(f"_base_ = '{CONFIGS / EMA}'\nval_evaluator = [dict(type='VOCMetric')]\n")
    with pytest.raises(InputError, match=f'val_evaluator of {path}: names no annotation file; leave out --fold'):
        load_config(path, fold=0)


def test_a_fold_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path))
    check_fold(load_config(EMA))
    with pytest.raises(
        InputError, match=f'{tmp_path}/annotations/fold7_val.json: does not exist; convert the data with'
    ):
        check_fold(load_config(EMA, fold=7))
    for name in ('fold0_val.json', 'fold10_val.json', 'fold2_train.json', 'val.json'):
        path = tmp_path / 'annotations' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({}))
    check_fold(load_config(EMA, fold=10))
    with pytest.raises(InputError, match='does not exist; choose --fold from 0, 10, or convert'):
        check_fold(load_config(EMA, fold=7))


def test_anybody_reads_the_files_as_we_do():
    """MMEngine alone: nothing is hidden in how our tools load a config."""
    ours = load_config(EMA).to_dict()
    assert ours.pop('_run') == {'base': None, 'fold': None}
    assert Config.fromfile(EMA).to_dict() == ours
