"""The models that we ship score what their cards say, on a few small images and with one view.

python tests/engine/test_shipped_models.py        prints what they score, for configs/models/metafile.yml and the cards
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
import tifffile
import yaml  # mmengine's

import mmcell.compat
from mmcell.coco.truth import load_truth
from mmcell.config import load_config
from mmcell.converters import convert
from mmcell.converters.class_tiff import ClassTiff
from mmcell.engine.predictor import load_model
from mmcell.evaluation import evaluate_cells, evaluate_coco
from mmcell.io.shipped import find_config, read_sums

ROOT = Path(__file__).resolve().parents[2]
ONE_VIEW = {'model.detector.mirror': (False,), 'model.detector.turns': (0,)}
#: The left upper corners of three images of CoNSeP's val split, 333 x 333 pixels.
CORNERS = ('tile10_crop0', 'tile13_crop0', 'tile17_crop0')
CONSEP, SAMPLES = 'three corners of CoNSeP images, one view', 'data/samples, one view'
SAMPLE_PATHS = ROOT / 'data/samples/truth.json', ROOT / 'data/samples'
CASES = [('consep', CONSEP), ('consep', SAMPLES), ('nuclei', SAMPLES)]


def cut_corners(consep: Path, out: Path) -> tuple[Path, Path]:
    """Annotation file and image folder of the corners."""
    for name in CORNERS:
        (out / 'source/train' / name).mkdir(parents=True)
        for path in (consep / 'train' / name).glob('*.tif'):
            tifffile.imwrite(out / 'source/train' / name / path.name, tifffile.imread(path)[:333, :333])
    classes = ('other', 'inflammatory', 'epithelial', 'spindle')
    convert(ClassTiff(out / 'source', classes), out / 'data', workers=1)
    return out / 'data/annotations/trainval.json', out / 'data/images'


def score(name: str, truth_path: Path, images: Path) -> dict[str, float]:
    """PQ of cells of any class at the model's threshold, and AP50 at 1000 detections."""
    truth = load_truth(truth_path)
    model = load_model(load_config(find_config(name), ONE_VIEW), name, 'cpu')
    results = []
    for image in truth.images:
        results += model.predict_results(images / image['file_name'], image['id'])[1]
    if model.classes != truth.classes:  # one class for all
        left = ('image_id', 'bbox', 'score', 'segmentation')
        results = [{'category_id': 1, **{key: result[key] for key in left}} for result in results]
    cells = evaluate_cells(truth, results, model.score_thr).as_dict()
    return {'PQ': cells['PQ_pooled'], 'mask AP50': evaluate_coco(truth, results).mean(1000, iou=0.5)}


def expected(name: str, dataset: str) -> dict[str, float] | None:
    content = yaml.safe_load((ROOT / 'configs/models/metafile.yml').read_text())
    model = next(model for model in content['Models'] if model['Name'] == f'models/{name}')
    return next((each['Metrics'] for each in model.get('Results', []) if each['Dataset'] == dataset), None)


@pytest.mark.parametrize(('name', 'dataset'), CASES)
def test_scores_are_those_of_the_card(name, dataset, tmp_path, request):
    if name not in read_sums():
        pytest.skip(f'no weights of {name}')
    metrics = expected(name, dataset)
    if dataset == CONSEP:
        paths = cut_corners(request.getfixturevalue('shared_data') / 'consep', tmp_path)
    else:
        paths = SAMPLE_PATHS
    assert score(name, *paths) == pytest.approx(metrics, abs=0.005)
    card = (ROOT / f'docs/models/{name}.md').read_text()
    assert all(f'{value:.3f}' in card for value in metrics.values()) and 'FILL' not in card


if __name__ == '__main__':
    mmcell.compat.install()
    shared = Path(os.environ.get('MMCELL_SHARED_DATA', ROOT.parent / 'shared' / 'data'))
    with tempfile.TemporaryDirectory() as folder:
        places = {CONSEP: cut_corners(shared / 'consep', Path(folder)), SAMPLES: SAMPLE_PATHS}
        for model_name, data in CASES:
            if model_name in read_sums():
                found = score(model_name, *places[data])
                print(f'{model_name}: {data}:', {key: round(value, 4) for key, value in found.items()})
