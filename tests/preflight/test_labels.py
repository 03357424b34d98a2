"""Labels that transforms are given, compared with the data."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmcell.preflight.labels import check_labels
from mmcell.preflight.splits import Split

CONSEP = {'other': 386, 'inflammatory': 4005, 'epithelial': 5744, 'spindle-shaped': 5835}
MONUSAC = {'epithelial': 14537, 'lymphocyte': 15653, 'neutrophil': 630, 'macrophage': 587}


def train_on(cells: dict[str, int], picked: tuple[str, ...] | None = None) -> Split:
    numbers = {name: number for number, name in enumerate(cells, start=1)}
    annotations = [{'category_id': numbers[name]} for name, count in cells.items() for _ in range(count)]
    annotations += [{'category_id': 1, 'iscrowd': 1}] * 99_999  # not learned
    categories = [{'id': number, 'name': name} for name, number in numbers.items()]
    content = {'categories': categories, 'annotations': annotations}
    return Split('train', Path('train.json'), Path('images'), picked, content)


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('config.py').touch()


def check(step: dict, split: Split) -> tuple[list[str], list[str]]:
    """The step in a pipeline of its own, and in that of the set that it wraps."""
    found = []
    for dataset in ({'pipeline': [step]}, {'dataset': {'pipeline': [{'type': 'X'}, step]}, 'pipeline': []}):
        config = Config({'train_dataloader': {'dataset': dataset}}, filename='config.py')
        errors, warnings = check_labels(config, [split])
        found.append(([str(error) for error in errors], warnings))
    assert [len(part) for part in found[0]] == [len(part) for part in found[1]]
    return found[0]


def paste(*labels: int) -> dict:
    return {'type': 'CopyPasteCells', 'classes': list(labels)}


def test_rare_classes_are_pasted_in_silence():
    assert check(paste(2, 3), train_on(MONUSAC)) == ([], [])
    assert check(paste(0), train_on(CONSEP)) == ([], [])
    assert check(paste(1), train_on(CONSEP, picked=('epithelial', 'other'))) == ([], [])


@pytest.mark.parametrize('labels', [(2, 3), (1,), (-1,), (0, 1)])
def test_labels_that_the_data_do_not_have(labels):
    errors, warnings = check(paste(*labels), train_on({'cell': 9}))
    assert warnings == [] and len(errors) == 1
    key = 'config.py: train_dataloader.dataset.pipeline.0.classes'
    assert errors[0].startswith(f'{key} = {list(labels)}, but the data have the labels 0 to 0: cell; no class of')


def test_the_cure_names_the_rare_classes():
    (error,), _ = check(paste(4), train_on(CONSEP))
    assert error.endswith('rare here: other, --cfg-options "train_dataloader.dataset.pipeline.0.classes=[0]"')


def test_frequent_classes_are_named():
    """What is rare in MoNuSAC is most of CoNSeP."""
    errors, (warning,) = check(paste(2, 3), train_on(CONSEP))
    assert errors == []
    assert warning == (
        'train_dataloader.dataset.pipeline.0.classes = [2, 3] pastes epithelial (36% of the cells), spindle-shaped '
        '(37% of the cells); rare here: other, --cfg-options "train_dataloader.dataset.pipeline.0.classes=[0]"'
    )
    _, (warning,) = check(paste(1), train_on({'a': 9, 'b': 0, 'c': 1}))
    assert 'pastes b (0% of the cells); rare here: c' in warning


def test_a_weight_for_each_class():
    step = {'type': 'RandomZoomCrop', 'size': 8, 'class_weights': [1, 2, 3, 4]}
    assert check(step, train_on(CONSEP)) == ([], [])
    (error,), _ = check(step, train_on({'a': 1, 'b': 2}))
    assert 'class_weights has 4 entries for 2 classes: a, b; give one weight per class' in error
