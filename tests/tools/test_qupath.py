"""The round trip with QuPath: its GeoJSON -> a training -> the cells of new images -> GeoJSON that is read again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import shapely
import tifffile

from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/mask_rcnn_synthetic.py'
CLASSES = ('Tumor', 'Stroma', 'Immune cells', 'Other')
OPTIONS = (
    '--cfg-options',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'train_dataloader.batch_size=2',
    *(
        f'{loader}_dataloader.{setting}'
        for loader in ('train', 'val', 'test')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ),
    'model.test_cfg.rcnn.max_per_img=50',
)


def drawn_in_qupath(folder: Path) -> dict:
    """The cells of a folder of class_tiff, as somebody draws them in QuPath, in a region of interest."""
    features = []
    for number, name in enumerate(CLASSES, start=1):
        path = folder / f'class{number}.tif'
        plane = tifffile.imread(path) if path.exists() else np.zeros((1, 1))
        for cell in np.unique(plane[plane > 0]):
            pixels = shapely.points(np.argwhere(plane == cell)[:, ::-1] + 0.5)
            hull = shapely.union_all(pixels).buffer(0.4, quad_segs=3).convex_hull
            properties = {
                'objectType': 'annotation' if number % 2 else 'detection',
                'classification': {'name': name, 'color': [200, 0, 0]},
                'isLocked': True,
                'measurements': {'Nucleus: Area': float('nan')},
            }
            geometry = json.loads(shapely.to_geojson(shapely.set_precision(hull, 0.01)))
            features.append({'type': 'Feature', 'id': f'{name} {cell}', 'geometry': geometry, 'properties': properties})
    region = json.loads(shapely.to_geojson(shapely.box(0, 0, 64, 64)))
    features.append({'type': 'Feature', 'geometry': region, 'properties': {'objectType': 'annotation'}})
    return {'type': 'FeatureCollection', 'features': features}


def areas(features: list[dict]) -> list[tuple[str, float]]:
    return sorted(
        (one['properties']['classification']['name'], shapely.from_geojson(json.dumps(one['geometry'])).area)
        for one in features
    )


def test_round_trip(tmp_path, monkeypatch, tool):
    write_class_tiff(tmp_path / 'tissue', num_images=3, size=(64, 64), num_cells=6, num_test_images=2)
    project = tmp_path / 'project'
    project.mkdir()
    drawn = 0
    for folder in sorted((tmp_path / 'tissue/train').iterdir()):
        shutil.copy(folder / 'image.tif', project / f'{folder.name}.tif')
        document = drawn_in_qupath(folder)
        drawn += len(document['features']) - 1
        (project / f'{folder.name}.geojson').write_text(json.dumps(document))

    outcome = tool(
        'convert', 'geojson', project, '--out', tmp_path / 'data', '--classes', *CLASSES, '--val-ratio', '0.4'
    )
    assert outcome.status == 0 and '3 annotations contain other objects' in outcome.out
    truth = json.loads((tmp_path / 'data/annotations/trainval.json').read_text())
    assert len(truth['annotations']) == drawn > 10

    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    assert tool('train', CONFIG, '--work-dir', tmp_path / 'work', *OPTIONS).status == 0
    (checkpoint,) = (tmp_path / 'work').glob('epoch_1.pth')
    found, options = tmp_path / 'found', ('--device', 'cpu', *OPTIONS)
    assert tool('infer', CONFIG, checkpoint, tmp_path / 'tissue/test_release', '--out', found, *options).status == 0

    again = tmp_path / 'again'
    shutil.copytree(tmp_path / 'tissue/test_release', again)
    arguments = ('--to', 'geojson', '--images', found / 'images.json', '--out', again, '--score-thr', '0.01')
    assert tool('export', found / 'results.json', *arguments).status == 0
    exported = [feature for path in again.glob('*.geojson') for feature in json.loads(path.read_text())['features']]
    assert len(exported) > 10

    assert tool('convert', 'geojson', again, '--out', tmp_path / 'next', '--classes', *CLASSES).status == 0
    cells = json.loads((tmp_path / 'next/annotations/trainval.json').read_text())
    assert [category['name'] for category in cells['categories']] == list(CLASSES)
    back = sorted((CLASSES[cell['category_id'] - 1], cell['area']) for cell in cells['annotations'])
    assert back == areas(exported)
