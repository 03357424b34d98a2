"""Loading configs, with one-line errors."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcell.config import bases, runs
from mmcell.errors import InputError, raise_all, show

#: What mmengine's runner and mmdet's tools read; mmengine ignores everything else without a word.
SETTINGS = frozenset(
    'model work_dir train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg auto_scale_lr '
    'optim_wrapper param_scheduler val_evaluator test_evaluator default_hooks custom_hooks data_preprocessor load_from '
    'resume launcher env_cfg log_processor log_level visualizer default_scope randomness experiment_name '
    'custom_imports runner_type strategy compile tta_model tta_pipeline sync_bn find_unused_parameters '
    'model_wrapper_cfg activation_checkpointing'.split()
)
#: Variables that base configs define and other settings are made of; changing one alone has no effect.
VARIABLES = frozenset('data_root dataset_type train_pipeline test_pipeline vis_backends backend_args'.split())


def load_config(
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    base: str | Path | None = None,
    fold: int | None = None,
) -> Config:
    """Load a config, override settings and check that every top-level key means something.

    Args:
        path: The config file.
        options: Settings by dotted key, as `--cfg-options` gives them.
        base: Another base for an ablation: see :func:`mmcell.config.bases.load_over`.
        fold: A fold to train and validate on, instead of the split that the config names.

    Returns:
        The config. Base and fold stand in its variable `_run`, and so in what a run dumps.

    Raises:
        InputError: If the file cannot be loaded or put over the base, an option does not fit, or a top-level key is
            unknown. Keys that start with an underscore are a config's own variables and always fine.
        InputErrors: If several keys are unknown.
    """
    root = os.environ.get('MMCELL_DATA', '')
    if not root.isprintable() or '{{' in root:  # mmengine fills in what stands in braces when it reads a dumped config
        raise InputError('MMCELL_DATA', f'{show(root)} cannot be written into a config', 'rename that folder')
    for file in (path, base):
        if file is not None and not Path(file).exists():
            raise InputError(file, 'does not exist', 'check the path')
        if file is not None and not Path(file).is_file():  # to open a named pipe can block for ever
            raise InputError(file, 'is no file', 'name a config file')
    try:
        config = Config.fromfile(path) if base is None else bases.load_over(path, base)
    except InputError:
        raise
    except Exception as error:  # A config is code: anything can go wrong in it.
        what, cure = (path, 'fix the config') if base is None else (f'{path} over {base}', 'choose another base')
        raise InputError(what, f'cannot be loaded ({type(error).__name__}: {error})', cure) from None
    runs.record(config, base, fold)
    if fold is not None:
        runs.choose_fold(config, fold)
    try:
        config.merge_from_dict(dict(options or {}))
    except Exception as error:
        raise InputError(
            '--cfg-options', f'{type(error).__name__}: {error}', 'check the keys against the config'
        ) from None
    known = SETTINGS | VARIABLES
    unknown = [key for key in config if key not in known and not key.startswith('_')]
    raise_all([InputError(path, f'has the unknown setting {key!r}', _advice(key)) for key in unknown])
    return config


def _advice(key: str) -> str:
    near = difflib.get_close_matches(key, sorted(SETTINGS | VARIABLES), n=1)
    variable = f'call it _{key} if it is a variable of the config'
    return f'did you mean {near[0]!r}? Else {variable}' if near else f'remove it, or {variable}'
