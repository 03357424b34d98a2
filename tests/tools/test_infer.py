"""tools/infer.py on real files: the same cells as tools/test.py, bad images, what the other tools make of it."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow.parquet
import pytest
import tifffile
import torch

from mmcell.coco.cells import cells_of
from mmcell.coco.schema import read_coco
from mmcell.coco.submission import validate_submission
from mmcell.coco.threshold import recorded_threshold
from mmcell.config import load_config
from mmcell.io.images import read_image
from mmcell.report.overlay import draw_overlay
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/mask_rcnn_synthetic.py'
CLASSES = ('one', 'two', 'three', 'four')
#: An untrained model finds something everywhere.
FEW = ('--cfg-options', 'model.test_cfg.rcnn.max_per_img=50')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """Untrained weights."""
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(load_config(CONFIG).model)
    model.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': CLASSES}}}, path)
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    write_class_tiff(tmp_path / 'source', num_images=2, size=(64, 80), num_cells=6, num_test_images=3)
    return tmp_path / 'source'


def by_image(results: list, names: dict[int, str]) -> dict[str, list]:
    found = {name: [] for name in names.values()}
    for result in results:
        fields = {key: value for key, value in result.items() if key != 'probabilities'}  # no submission has them
        found[names[result['image_id']]].append({**fields, 'image_id': None})
    return found


def test_same_cells_as_test(source, checkpoint, tmp_path, monkeypatch, tool):
    assert tool('convert', 'class_tiff', source, '--out', tmp_path / 'data').status == 0
    monkeypatch.setenv('MMCELL_DATA', str(tmp_path / 'data'))
    options = (*FEW, 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
    outcome = tool('test', CONFIG, checkpoint, '--format-only', '--out', tmp_path / 'test', *options)
    assert outcome.status == 0
    out = tmp_path / 'out'
    assert tool('infer', CONFIG, checkpoint, source / 'test_release', '--out', out, '--device', 'cpu', *FEW).status == 0

    listing = json.loads((tmp_path / 'data/annotations/test.json').read_text())['images']
    expected = json.loads((tmp_path / 'test/test-results.json').read_text())
    written = json.loads((out / 'images.json').read_text())
    results = json.loads((out / 'results.json').read_text())
    assert len(results) > 10 and validate_submission(out / 'results.json', out / 'images.json') == len(results)
    assert [image['id'] for image in written['images']] == [1, 2, 3]
    names = [image['file_name'] for image in written['images']]
    assert names == sorted(Path(image['file_name']).name for image in listing)
    assert [category['name'] for category in written['categories']] == list(CLASSES)
    # File names are relative to other folders.
    assert by_image(results, {image['id']: image['file_name'] for image in written['images']}) == by_image(
        expected, {image['id']: Path(image['file_name']).name for image in listing}
    )


def read_counts(out: Path) -> tuple[list[str], list[list[str]]]:
    with (out / 'counts.csv').open(newline='', encoding='utf-8') as file:
        heading, *rows = csv.reader(file)
    return heading, rows


def test_each_cell_is_counted_and_drawn_once(source, checkpoint, tmp_path, tool):
    out, threshold = tmp_path / 'out', 0.22
    paths = sorted((source / 'train').glob('*/image.tif'))
    outcome = tool('infer', CONFIG, checkpoint, *paths, '--out', out, '--score-thr', threshold, *FEW)
    assert outcome.status == 0 and outcome.out.startswith('score threshold 0.22, as given\n')
    written, results = (json.loads((out / name).read_text()) for name in ('images.json', 'results.json'))
    found = dict(cells_of(results, written['images'], written['categories'], threshold))
    heading, rows = read_counts(out)
    assert heading == ['image', *CLASSES, 'total']  # no areas: nothing says how large a pixel is
    table = pyarrow.parquet.read_table(out / 'cells.parquet').to_pydict()
    for path, image, row in zip(paths, written['images'], rows, strict=True):
        cells = found[image['id']]
        name = path.relative_to(source / 'train').as_posix()
        assert row[:6] == [name, *map(str, cells.counts().values()), str(len(cells))]
        assert len(cells) < sum(each['score'] >= threshold for each in results if each['image_id'] == image['id'])
        mine = [index for index, other in enumerate(table['image']) if other == name]
        assert [table['score'][index] for index in mine] == cells.scores.tolist()
        title = f'{name}   score ≥ {threshold:g}'
        picture = draw_overlay(read_image(path), cells, title=title)
        assert (read_image(out / 'overlays' / f'{image["output_name"]}.png') == picture).all()


def test_the_threshold_of_the_checkpoint_counts(source, checkpoint, tmp_path, tool):
    content = torch.load(checkpoint)
    content['meta']['score_thr'] = 0.99
    torch.save(content, tmp_path / 'validated.pth')
    counts = []
    for weights, line in (
        (checkpoint, 'score threshold 0.5, since none is recorded with the model; set another with --score-thr'),
        (tmp_path / 'validated.pth', 'score threshold 0.99, recorded with the model'),
    ):
        out = tmp_path / weights.stem
        outcome = tool('infer', CONFIG, weights, source / 'test_release', '--out', out, *FEW)
        assert outcome.status == 0 and outcome.out.splitlines()[0] == line
        counts.append(sum(int(row[5]) for row in read_counts(out)[1]))
    assert counts[1] == 0 < counts[0]
    assert recorded_threshold(tmp_path / 'weights/results.json') is None
    assert recorded_threshold(tmp_path / 'validated/results.json') == 0.99


def test_names_that_clash_or_are_odd(source, checkpoint, tmp_path, tool):
    image = sorted((source / 'test_release').glob('*.tif'))[0]
    names = (b'a/b.tif', b'a/b_3.tif', b'a_b.tif', b'caf\xe9.tif', b'b**c.tif', b'n' * 246 + b'.tif')
    for name in names:
        path = tmp_path / 'images' / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(image, path)
    out = tmp_path / 'out'
    outcome = tool('infer', CONFIG, checkpoint, tmp_path / 'images', '--out', out, *FEW)
    assert outcome.status == 0, outcome.err
    written = json.loads((out / 'images.json').read_text())['images']
    renamed = {b'caf\xe9.tif': 'caf%E9.tif'}
    assert {each['file_name'] for each in written} == {renamed.get(name) or name.decode() for name in names}
    assert r'names that JSON cannot hold are written with %: caf\xe9.tif as caf%E9.tif' in outcome.out.splitlines()
    assert len(read_coco(out / 'images.json')['images']) == len(names)
    expected = {f'{each["output_name"]}.png' for each in written}
    assert {path.name for path in (out / 'overlays').iterdir()} == expected and len(expected) == len(names)
    assert 'caf%E9.tif' in {row[0] for row in read_counts(out)[1]}


def test_broken_images_do_not_stop_the_others_and_are_made_up_for(source, checkpoint, tmp_path, tool):
    folder = source / 'test_release'
    grey = np.ascontiguousarray(tifffile.imread(sorted(folder.glob('*.tif'))[0])[..., 0])
    whole = imagecodecs.png_encode(grey)
    (folder / 'grey.png').write_bytes(whole)
    (folder / 'aaa.png').write_bytes(whole[: len(whole) // 2])
    outcome = tool('infer', CONFIG, checkpoint, folder, '--out', tmp_path / 'out', *FEW)
    assert outcome.status == 2 and outcome.err.count('\n') == 1 and 'aaa.png: cannot be read' in outcome.err, outcome
    images = json.loads((tmp_path / 'out/images.json').read_text())['images']
    assert [image['id'] for image in images] == [2, 3, 4, 5] and images[0]['file_name'] == 'grey.png'
    pictures = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out/overlays').glob('*.png')}
    assert len(pictures) == 4
    assert outcome.out.splitlines()[-1] == 'run the same command again to retry only what could not be read'
    first = json.loads((tmp_path / 'out/results.json').read_text())

    # The image is there now, and the same command does it alone.
    (folder / 'aaa.png').write_bytes(whole)
    outcome = tool('infer', CONFIG, checkpoint, folder, '--out', tmp_path / 'out', *FEW)
    assert outcome.status == 0 and f'{tmp_path / "out"}: continuing with the results of an earlier call' in outcome.out
    assert pictures.items() < {path: path.stat().st_mtime_ns for path in (tmp_path / 'out/overlays').glob('*')}.items()
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert [result for result in results if result['image_id'] != 1] == first
    other = tool('infer', CONFIG, checkpoint, folder, '--out', tmp_path / 'other', *FEW)
    assert other.status == 0 and not (tmp_path / 'out/unfinished.jsonl').exists()
    for name in ('results.json', 'images.json', 'counts.csv', 'cells.parquet'):
        assert (tmp_path / 'out' / name).read_bytes() == (tmp_path / 'other' / name).read_bytes()

    # Done, until something is another.
    outcome = tool('infer', CONFIG, checkpoint, folder, '--out', tmp_path / 'out', *FEW)
    assert outcome.status == 0 and outcome.out.endswith('already holds all results of this call: nothing to do\n')
    outcome = tool('infer', CONFIG, checkpoint, folder, '--out', tmp_path / 'out', *FEW, '--score-thr', 0.3)
    assert outcome.status == 0
    assert 'starting over and removing earlier results (other score threshold)' in outcome.out


def test_only_broken_images(checkpoint, tmp_path, tool):
    (tmp_path / 'a.tif').write_bytes(b'nothing')
    outcome = tool('infer', CONFIG, checkpoint, tmp_path / 'a.tif', '--out', tmp_path / 'out')
    assert outcome.status == 2 and 'a.tif: is not a TIFF' in outcome.err and not (tmp_path / 'out').exists()


def test_channel_order(source, checkpoint, tmp_path, tool):
    """A file that stores blue first gives the same cells as its swapped copy."""
    image = sorted((source / 'test_release').glob('*.tif'))[0]
    swapped = tmp_path / 'swapped/image.tif'
    swapped.parent.mkdir()
    tifffile.imwrite(swapped, read_image(image)[..., ::-1].copy(), photometric='rgb')
    shutil.copy(image, tmp_path / 'image.tif')
    for path, order in ((tmp_path / 'image.tif', 'rgb'), (swapped, 'bgr')):
        outcome = tool('infer', CONFIG, checkpoint, path, '--out', tmp_path / order, '--channel-order', order, *FEW)
        assert outcome.status == 0
    rgb, bgr = tmp_path / 'rgb', tmp_path / 'bgr'
    assert (rgb / 'results.json').read_bytes() == (bgr / 'results.json').read_bytes()
    assert (rgb / 'overlays/image.png').read_bytes() == (bgr / 'overlays/image.png').read_bytes()


def test_other_tools_read_it(source, checkpoint, tmp_path, tool):
    out = tmp_path / 'out'
    assert tool('infer', CONFIG, checkpoint, source / 'test_release', '--out', out, *FEW).status == 0
    files = (out / 'results.json', '--images', out / 'images.json')
    outcome = tool('report', *files, '--image-root', source / 'test_release', '--out', out / 'report.html')
    assert outcome.status == 0, outcome.err
    outcome = tool('export', *files, '--to', 'csv', '--out', out / 'export', '--score-thr', 0)
    assert outcome.status == 0, outcome.err


def test_bad_arguments(checkpoint, tmp_path, tool):
    outcome = tool('infer', CONFIG, checkpoint, tmp_path / 'nowhere', '--out', tmp_path / 'out')
    assert outcome.status == 2 and outcome.err.count('\n') == 1 and 'nowhere: does not exist' in outcome.err
    outcome = tool('infer', CONFIG, checkpoint, '--out', tmp_path / 'out')
    assert outcome.status == 2 and 'IMAGE' in outcome.err


def test_model_by_name(source, tmp_path, tool, monkeypatch):
    """Arguments alone; that named models predict is tested with those that we ship."""
    monkeypatch.setattr('mmcell.io.shipped.read_sums', lambda: {'consep': '0' * 64})
    image = next((source / 'test_release').glob('*.tif'))
    outcome = tool('infer', '--model', 'conseb', image, '--out', tmp_path / 'out')
    line = 'error: conseb: is not a model that comes with mmcell; choose from consep\n'
    assert (outcome.status, outcome.err) == (2, line)
    for arguments in ((image,), (CONFIG, image), ('--model', 'consep')):
        outcome = tool('infer', *arguments, '--out', tmp_path / 'out')
        assert outcome.status == 2 and 'the following arguments are required: ' in outcome.err, outcome
        assert outcome.err.count('\n') == 1
    assert not (tmp_path / 'out').exists()
