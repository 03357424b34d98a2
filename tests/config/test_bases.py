"""An ablation over another base is what its file would be with another `_base_`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from mmcell.config import load_config
from mmcell.config.bases import list_bases
from mmcell.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LITE = CONFIGS / 'small/mask_rcnn_aug_lite.py'


def settings(config: Config) -> dict:
    return {key: value for key, value in config.to_dict().items() if key != '_run'}


@pytest.mark.parametrize('name', ['ema', 'zoom', 'copy_paste', 'proposals', 'cascade', 'stain_norm'])
def test_as_if_the_file_said_so(name, tmp_path):
    """Against MMEngine alone, which reads a copy of the configs in which the file does."""
    copy = shutil.copytree(CONFIGS, tmp_path / 'configs') / f'cell/mask_rcnn_aug_{name}.py'
    copy.write_text(copy.read_text().replace("'./mask_rcnn_aug.py'", "'../small/mask_rcnn_aug_lite.py'"))
    ours = load_config(CONFIGS / f'cell/mask_rcnn_aug_{name}.py', base=LITE)
    assert settings(ours) == settings(Config.fromfile(copy))
    assert ours.filename == str(CONFIGS / f'cell/mask_rcnn_aug_{name}.py')


def test_deep_in_the_chain():
    """`strong` is over `proposals`, which is over the config that both have."""
    config = load_config(CONFIGS / 'cell/mask_rcnn_strong.py', base=LITE)
    detector = config.model.detector.detector
    assert detector.backbone.type == 'TimmBackbone' and detector.train_cfg.rcnn.sampler.pos_fraction == 0.5
    assert list_bases(CONFIGS / 'cell/mask_rcnn_strong.py') == [
        CONFIGS / f'cell/{name}.py'
        for name in ('mask_rcnn_strong', 'mask_rcnn_aug_proposals', 'mask_rcnn_aug', 'mask_rcnn')
    ]


def test_its_own_base_changes_nothing():
    path = CONFIGS / 'cell/mask_rcnn_aug_ema.py'
    assert settings(load_config(path, base=CONFIGS / 'cell/mask_rcnn_aug.py')) == settings(load_config(path))


def test_of_another_repository(tmp_path):
    """Names with `::`, a list of one, letters of several bytes before and after."""
    theirs = tmp_path / 'theirs.py'
    theirs.write_text("""_é = 'ü'; _base_ = [  # é
    'mmcell::cell/mask_rcnn_aug.py'
]; _è = 'ö'
model = dict(backbone=dict(init_cfg=None))
""")
    config = load_config(theirs, base=LITE)
    assert config.model.backbone.name == 'tf_efficientnet_lite0' and config.model.backbone.init_cfg is None
    assert (config['_é'], config['_è']) == ('ü', 'ö')
    assert load_config(theirs).model.backbone.type == 'ResNet'


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('model = dict()', 'they have no base in common'),
        ("_base_ = ['../a.py', '../b.py']", 'they have no base in common'),
        ("_base_ = './missing.py'", 'they have no base in common'),
        ('model = ', 'cannot be loaded (SyntaxError'),
        (
            "_base_ = 'mmcell::cell/mask_rcnn_aug.py'\nmodel = dict(a=_base_.model.nothing)",
            'cannot be loaded (AttributeError',
        ),
    ],
)
def test_what_cannot_be(text, said, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_config(path, base=LITE)
    message = str(error.value)
    assert said in message and '\n' not in message and str(path) in message and str(LITE) in message


def test_a_base_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r'nowhere\.py: does not exist'):
        load_config(CONFIGS / 'cell/mask_rcnn_aug_ema.py', base=tmp_path / 'nowhere.py')
