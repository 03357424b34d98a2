"""What the classes of a model are called when nobody, or somebody else, said so."""

from __future__ import annotations

import warnings

import pytest
from mmengine.config import Config

from mmcell.engine.classes import find_num_classes, name_classes, recorded_classes
from mmcell.errors import InputError


def config(*counts: int, **dataset: object) -> Config:
    heads = [dict(num_classes=count) for count in counts]
    model = dict(rpn_head=dict(num_classes=1), roi_head=dict(bbox_head=heads, mask_head=dict(num_convs=1)))
    return Config(dict(model=model, test_dataloader=dict(dataset=dataset)), filename=__file__)


@pytest.mark.parametrize(
    ('content', 'names'),
    [
        ({'meta': {'dataset_meta': {'classes': ('a', 'b')}}}, ('a', 'b')),
        ({'meta': {'dataset_meta': {'CLASSES': ['a', 'b']}}}, ('a', 'b')),
        ({'meta': {'CLASSES': ('a', 'b')}}, ('a', 'b')),
        ({'meta': {'dataset_meta': {'classes': 'cell'}}}, ('cell',)),
        ({'meta': {'dataset_meta': {'classes': [['a'], 'b']}}}, None),
        ({'meta': {'dataset_meta': {'classes': 3}}}, None),
        ({'meta': {'dataset_meta': {'classes': []}}}, None),
        ({'meta': {'dataset_meta': 'x'}}, None),
        ({'meta': []}, None),
        ({}, None),
    ],
)
def test_what_a_checkpoint_records(content, names):
    assert recorded_classes(content) == names


def test_names(recwarn):
    recorded = {'meta': {'dataset_meta': {'classes': ('a', 'b')}}}
    assert name_classes(config(2, 2), 'a.pth', recorded) == ('a', 'b')
    assert name_classes(config(2, metainfo=dict(classes=['c', 'd'])), 'a.pth', {}) == ('c', 'd')
    assert name_classes(config(2, metainfo=dict(classes=['c', 'd'])), 'a.pth', recorded) == ('a', 'b')
    assert not recwarn.list
    assert list(find_num_classes(config(2, 3).model)) == [
        ('model.roi_head.bbox_head.0.num_classes', 2),
        ('model.roi_head.bbox_head.1.num_classes', 3),
    ]


@pytest.mark.parametrize(('count', 'names'), [(1, ('class 1',)), (7, tuple(f'class {n}' for n in range(1, 8)))])
def test_classes_without_names_are_numbered(count, names):
    """Never called as those of another data set."""
    with pytest.warns(UserWarning, match=r'a\.pth: names no classes: they are class 1'):
        assert name_classes(config(count), 'a.pth', {}) == names


def test_names_that_do_not_fit():
    with warnings.catch_warnings(action='error'):
        for counts, dataset, content in (
            ((3,), {}, {'meta': {'dataset_meta': {'classes': ('a', 'b')}}}),
            ((1,), {'metainfo': {'classes': ('a', 'b')}}, {}),
        ):
            with pytest.raises(InputError, match=r'names 2 classes \(a, b\), the model tells'):
                name_classes(config(*counts, **dataset), 'a.pth', content)
        for counts in ((), (2, 3)):
            with pytest.raises(InputError, match='names no classes, and the config tells'):
                name_classes(config(*counts), 'a.pth', {})
