"""One broken data set per check: one line each, and several of them together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tifffile

from mmcell.errors import InputError, InputErrors
from mmcell.preflight.run import check_testing, check_training

CONFIG = Path(__file__).resolve().parents[2] / 'configs/demo/mask_rcnn_synthetic.py'


def problems(config) -> list[str]:
    with pytest.raises((InputError, InputErrors)) as caught:
        check_training(config)
    return str(caught.value).splitlines()


def test_healthy(config, capfd):
    check_training(config)
    out, err = capfd.readouterr()
    assert out.startswith('checked 5 + 1 images in ') and out.count('\n') == 1 and err == ''


def test_scored_images_that_are_trained_on(config, data, capfd):
    config.train_dataloader.dataset.ann_file = 'annotations/trainval.json'
    check_training(config)
    warning = (
        f'warning: {data}/annotations/val.json: 1 of its 1 images are among those that the config trains on '
        f'({data}/annotations/trainval.json): scores on them are too high\n'
    )
    assert capfd.readouterr().err == warning
    config.train_cfg.val_begin = config.train_cfg.max_epochs + 1  # no scores, no warning
    check_training(config)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (
            lambda c: c['annotations'][1].update(category_id=9),
            'annotation {ids[1]} has the unknown category_id 9',
        ),
        (
            lambda c: [one.update(image_id=77) for one in c['annotations'][:2]],
            'annotation {ids[0]} has the unknown image_id 77 (and 1 more like this)',
        ),
        (
            lambda c: c['annotations'][0].update(bbox=[25, 2, 9, 3]),
            'annotation {ids[0]} has the bbox [25, 2, 9, 3], which leaves its image of {size[1]} x {size[0]}',
        ),
        (
            lambda c: [one['segmentation'].update(size=[5, 7]) for one in c['annotations'][:3]],
            'annotation {ids[0]} has a broken mask of image {image} (the size is [5, 7], not {size}) (and 2 more like',
        ),
        (
            lambda c: c['annotations'][0].pop('segmentation'),
            'annotation {ids[0]} has no segmentation',
        ),
        (
            lambda c: c['images'][0].pop('width'),
            'image 1 has the height 20 and the width None',
        ),
        (
            lambda c: c.update(annotations=[]),
            'has no annotations to train on; choose another train_dataloader.dataset.ann_file, convert again with',
        ),
        (
            lambda c: [one.update(iscrowd=1) for one in c['annotations']],
            'has {count} crowd regions (iscrowd 1) and no cells to train on; choose another',
        ),
    ],
)
def test_annotations(config, data, change, problem, edit):
    path = data / 'annotations/train.json'
    before = {}
    edit(path, lambda content: before.update(content))
    first = next(one for one in before['images'] if one['id'] == before['annotations'][0]['image_id'])
    values = {
        'ids': [one['id'] for one in before['annotations']],
        'size': [first['height'], first['width']],
        'image': first['id'],
        'count': len(before['annotations']),
    }
    edit(path, change)
    (line,) = problems(config)
    assert line.startswith(f'{path}: {problem.format(**values)}')


def test_images(config, data, edit):
    """Missing, lying and broken images, in two splits."""
    paths = sorted(data.glob('images/train/*/image.tif'))
    content = {}
    edit(data / 'annotations/val.json', content.update)
    (val,) = content['images']
    paths.remove(data / 'images' / val['file_name'])
    paths[0].unlink()
    tifffile.imwrite(paths[1], tifffile.imread(paths[1])[:-2])
    paths[2].write_bytes(b'II*\0')
    (data / 'images' / val['file_name']).unlink()
    missing, lie, broken, in_val = problems(config)
    train = data / 'annotations/train.json'
    assert missing == (
        f'{train}: lists 5 images, of which 1 do not exist, first {paths[0]}; restore them, or convert the data again'
    )
    height, width = tifffile.imread(paths[1]).shape[:2]
    assert lie == (
        f'{train}: has the wrong size for 1 of 5 images, first {paths[1]}: {width} x {height} pixels, not {width} x '
        f'{height + 2}; restore the images, or convert the data again'
    )
    assert broken.startswith(f'{paths[2]}: cannot be read as TIFF')
    assert in_val.startswith(f'{data / "annotations/val.json"}: lists 1 images, of which 1 do not exist')


def test_classes_that_differ(config, data, edit):
    edit(data / 'annotations/val.json', lambda content: content['categories'][0].update(name='tumour'))
    (line,) = problems(config)
    assert line == (
        f'{data}/annotations/val.json: has the classes tumour, lymphocyte, neutrophil, macrophage, but '
        f'{data}/annotations/train.json epithelial, lymphocyte, neutrophil, macrophage; convert both with the same '
        '--classes'
    )


def test_categories_of_one_name(config, data, edit):
    edit(data / 'annotations/train.json', lambda content: content['categories'][1].update(name='epithelial'))
    (line,) = problems(config)
    assert line == (
        f"{data}/annotations/train.json: category 2 has the name 'epithelial' of another; give each its own name"
    )


def test_empty_val(config, data, edit):
    edit(data / 'annotations/val.json', lambda content: content.update(images=[], annotations=[]))
    (line,) = problems(config)
    assert line.startswith(f'{data}/annotations/val.json: has no images or no categories; ')
    assert line.endswith('where val is empty, tools/convert.py says how to fill it')


def test_scored_against_another_file(config, data):
    shutil.copy(data / 'annotations/val.json', data / 'annotations/other.json')
    config.val_evaluator[0].ann_file = str(data / 'annotations/other.json')
    (line,) = problems(config)
    assert line == (
        f'{CONFIG}: scores val against {data}/annotations/other.json (DenseCocoMetric), but predicts '
        f'{data}/annotations/val.json; give val_evaluator and val_dataloader.dataset the same ann_file'
    )


def test_picked_classes(config, data):
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.metainfo = dict(classes=('macrophage', 'epithelial'))
    scores, heads = problems(config)
    assert 'picks the classes macrophage, epithelial for val, but val_evaluator counts by the categories of' in scores
    assert 'model.roi_head.bbox_head.num_classes' in heads and 'but the data have 2 classes' in heads
    config.train_dataloader.dataset.metainfo = dict(classes=('nerve',))
    assert any("has no class 'nerve', which train_dataloader picks; choose from epi" in one for one in problems(config))


def test_joined_datasets(config, data):
    """What wraps or joins data sets does not hide them."""
    dataset = config.train_dataloader.dataset
    broken = {**dataset, 'ann_file': 'annotations/none.json'}
    config.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset, broken])
    )
    (line,) = problems(config)
    assert line.startswith(f'{data}/annotations/none.json: cannot be read')


def test_everything_at_once(data, tmp_path, tool, edit):
    """Data, config and checkpoint in one go; nothing is built or written."""
    edit(data / 'annotations/train.json', lambda content: content['annotations'][0].update(category_id=9))
    shutil.rmtree(data.parent / 'source/test_release')  # not read by training
    (data / 'annotations/val.json').write_text('{')
    outcome = tool(
        *('train', CONFIG, '--work-dir', tmp_path / 'work', '--resume', tmp_path / 'none.pth', '--cfg-options'),
        *('model.roi_head.mask_head.num_classes=3', 'train_dataloader.batch_sise=2'),
    )
    assert outcome.status == 2 and outcome.out == ''
    lines = outcome.err.splitlines()
    assert lines[0] == (
        f"error: {CONFIG}: train_dataloader has the unknown argument 'batch_sise'; did you mean 'batch_size'?"
    )
    assert lines[1].startswith(f'error: {data}/annotations/val.json: is not valid JSON')
    assert lines[2].startswith(f'error: {data}/annotations/train.json: annotation 1 has the unknown category_id 9; ')
    assert lines[3] == (
        f'error: {CONFIG}: model.roi_head.mask_head.num_classes = 3, but the data have 4 classes (epithelial, '
        'lymphocyte, neutrophil, macrophage); --cfg-options model.roi_head.mask_head.num_classes=4'
    )
    assert lines[4].startswith(f'error: {tmp_path}/none.pth: is not a checkpoint file') and len(lines) == 5
    assert not (tmp_path / 'work').exists()


def test_images_to_predict_need_no_truth(config, data):
    config.load_from = str(data / 'none.pth')
    with pytest.raises(InputError, match=r'none\.pth: is not a checkpoint file'):
        check_testing(config, 'test', scored=False)
