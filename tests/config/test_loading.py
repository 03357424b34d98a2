from __future__ import annotations

import pytest

from mmcell.config import load_config
from mmcell.errors import InputError, InputErrors


@pytest.fixture
def config(tmp_path):
    def write(text: str):
        path = tmp_path / 'config.py'
        path.write_text(text)
        return path

    return write


def test_unknown_keys_are_named_with_the_nearest_known(config):
    with pytest.raises(InputError, match="unknown setting 'optim_wraper'; did you mean 'optim_wrapper'"):
        load_config(config('optim_wraper = dict()'))
    with pytest.raises(InputErrors, match=r'modle(.|\n)*zzz'):
        load_config(config('modle = 1\nzzz = 2'))
    with pytest.raises(InputError, match="'trian_cfg'"):
        load_config(config('model = dict()'), {'trian_cfg.max_epochs': 2})
    assert load_config(config('_width = 3\nmodel = dict(a=_width)'), {'model.b': 4}).model == {'a': 3, 'b': 4}


@pytest.mark.parametrize('text', ['model = ', 'model = nothing', "_base_ = './missing.py'", 'raise ValueError(1)'])
def test_broken_config(config, text):
    path = config(text)
    with pytest.raises(InputError, match=str(path)) as error:
        load_config(path)
    assert '\n' not in str(error.value)


def test_missing_config(tmp_path):
    with pytest.raises(InputError, match=r'nowhere\.py: does not exist; check the path'):
        load_config(tmp_path / 'nowhere.py')


def test_option_that_does_not_fit(config):
    with pytest.raises(InputError, match='--cfg-options'):
        load_config(config('train_pipeline = [1, 2]'), {'train_pipeline.9': 3})
