from __future__ import annotations

import json

import pytest

from mmcell.converters import LAYOUTS, convert
from mmcell.datasets.cell_dataset import CellDataset
from mmcell.errors import InputError


@pytest.fixture
def root(class_tiff, tmp_path):
    convert(LAYOUTS.get('class_tiff')(class_tiff), tmp_path / 'out', workers=1)
    return tmp_path / 'out'


def dataset(root, name='trainval', **options):
    return CellDataset(
        data_root=str(root), ann_file=f'annotations/{name}.json', data_prefix={'img': 'images/'}, **options
    )


def test_instances_are_those_of_the_json(root):
    content = json.loads((root / 'annotations/trainval.json').read_text())
    images = dataset(root)
    assert len(images) == 6 and images.metainfo['classes'] == ('epithelial', 'lymphocyte', 'neutrophil', 'macrophage')
    for info in images:
        expected = [a for a in content['annotations'] if a['image_id'] == info['img_id']]
        assert [i['mask'] for i in info['instances']] == [a['segmentation'] for a in expected]
        assert [i['bbox_label'] for i in info['instances']] == [a['category_id'] - 1 for a in expected]
        assert [i['bbox'] for i in info['instances']] == [
            [x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in expected)
        ]


def test_names_come_from_the_json_and_can_be_picked(root):
    path = root / 'annotations/trainval.json'
    path.write_text(path.read_text().replace('neutrophil', 'stroma cell'))
    assert dataset(root).metainfo['classes'][2] == 'stroma cell'
    picked = dataset(root, metainfo={'classes': ('stroma cell',)})
    assert {i['bbox_label'] for info in picked for i in info['instances']} == {0}
    assert sum(len(info['instances']) for info in picked) == 6
    with pytest.raises(InputError, match="no class 'mitosis'"):
        dataset(root, metainfo={'classes': ('mitosis',)})


def test_without_annotations(root):
    images = dataset(root, 'test', test_mode=True)
    assert [info['img_id'] for info in images] == [1, 2] and all(info['instances'] == [] for info in images)
    path = root / 'annotations/test.json'
    content = json.loads(path.read_text())
    del content['annotations'], content['info']
    path.write_text(json.dumps(content))
    assert len(dataset(root, 'test', test_mode=True)) == 2


def test_microns_per_pixel_are_part_of_the_meta_data(root, class_tiff, tmp_path):
    """MMEngine writes them into checkpoints, from which infer learns them."""
    assert 'mpp' not in dataset(root).metainfo
    convert(LAYOUTS.get('class_tiff')(class_tiff), tmp_path / 'known', workers=1, mpp=0.25)
    for name in ('train', 'val', 'trainval', 'test'):
        assert dataset(tmp_path / 'known', name).metainfo['mpp'] == 0.25
    assert 'mpp' not in dataset(root).metainfo


def test_channel_order(root):
    path = root / 'annotations/trainval.json'
    assert dataset(root)[0]['channel_order'] == 'rgb'
    path.write_text(path.read_text().replace('"channel_order":"rgb"', '"channel_order":"bgr"'))
    assert dataset(root)[0]['channel_order'] == 'bgr'
    assert dataset(root, channel_order='rgb')[0]['channel_order'] == 'rgb'
    with pytest.raises(InputError, match='channel_order'):
        dataset(root, channel_order='gbr')


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"images": 3, "categories": []}', '{"categories": [{"id": 1}]}'])
def test_broken_json(root, content):
    (root / 'annotations/trainval.json').write_text(content)
    with pytest.raises(InputError, match=r'trainval\.json'):
        dataset(root)
