"""The doctor on data: everything is read, once."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tifffile


@pytest.fixture
def blue(class_tiff):
    """Nuclei as hematoxylin stains them, in a source that is not converted yet."""
    for path in class_tiff.glob('train/*/image.tif'):
        pixels = tifffile.imread(path)
        pixels[..., 2] = 255
        tifffile.imwrite(path, pixels)


def test_healthy(blue, data, tool):
    outcome = tool('doctor', data)
    assert outcome.status == 0 and outcome.err == ''
    test, train, train_cells, train_sizes, *_, last = outcome.out.splitlines()
    assert test == 'test: 2 images, 0 cells' and last == 'healthy'
    assert re.fullmatch(
        r'train: 5 images, \d+ cells \(epithelial 10, lymphocyte 0, neutrophil \d, macrophage 0\)', train
    )
    assert re.fullmatch(r'train: 2 to 4 cells per image, median \d', train_cells)
    # 2 x 2 x 4 + 2 x 1 = 10 and 3 x 6 = 18 pixels.
    assert re.fullmatch(
        r'train: smallest cell 10 px \(annotation \d+ of train/slide.*\), largest 18 px \(.*\), 0 under 10 px',
        train_sizes,
    )
    assert 'trainval: 6 images' in outcome.out and 'warning' not in outcome.out


def test_swapped_and_shared(blue, data, tool, edit):
    paths = sorted(data.glob('images/train/*/image.tif'))
    for path in paths:
        tifffile.imwrite(path, tifffile.imread(path)[..., ::-1])
    content = {}
    edit(data / 'annotations/val.json', content.update)
    (val,) = content['images']
    other = next(path for path in paths if path.parent.name not in val['file_name'])
    pixels = tifffile.imread(data / 'images' / val['file_name'])
    # Another file of the same pixels, whatever the compression.
    tifffile.imwrite(other, pixels, compression='zlib')
    outcome = tool('doctor', data)
    assert outcome.status == 2
    swapped, shared = (line for line in outcome.out.splitlines() if line.startswith('warning: '))
    assert swapped.startswith('warning: red and blue look swapped: nuclei are ')
    name = other.relative_to(data / 'images').as_posix()
    assert shared == (
        f'warning: train.json and val.json share 1 images, first {name} and {val["file_name"]}: the same pixels, so '
        'scores are too good'
    )
    # It has another size now, which both files that list it say.
    said = [line.split(': ')[2].partition(', first ') for line in outcome.err.splitlines()]
    assert [problem for problem, _, _ in said] == [f'has the wrong size for 1 of {count} images' for count in (5, 6)]
    # A long path is cut in the middle.
    assert all(path[-25:] == str(other)[-25:] for _, _, path in said)


def test_broken_pixels_behind_a_good_header(blue, data, tool, edit):
    """What the checks before a run cannot see."""
    path = sorted(data.glob('images/train/*/image.tif'))[0]
    tifffile.imwrite(path, np.zeros(tifffile.imread(path).shape, np.uint8), compression='zlib')
    with tifffile.TiffFile(path) as file:
        offset, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b'x' * length
    path.write_bytes(content)
    edit(data / 'annotations/val.json', lambda content: content['annotations'][0]['segmentation'].update(counts='~'))
    outcome = tool('doctor', data)
    assert outcome.status == 2
    mask, broken = outcome.err.splitlines()  # the image once, though trainval.json lists it as well
    assert broken.startswith(f'error: {path}: cannot be read as TIFF')
    assert mask.startswith(f'error: {data}/annotations/val.json: annotation 1 has a broken mask of image ')


def test_no_data(tmp_path, tool):
    outcome = tool('doctor', tmp_path)
    assert outcome.status == 2 and outcome.out == ''
    assert outcome.err == (
        f'error: {tmp_path}: holds no annotations/*.json; python tools/convert.py class_tiff SRC --out {tmp_path}\n'
    )


def test_crowds_are_no_cells(blue, data, tool, edit):
    def mark(content):
        for annotation in content['annotations'][:3]:
            annotation['iscrowd'] = 1

    for name in ('train', 'trainval'):
        edit(data / f'annotations/{name}.json', mark)
    outcome = tool('doctor', data)
    assert outcome.status == 0
    (line,) = (line for line in outcome.out.splitlines() if line.startswith('train: 5 images'))
    cells = int(re.match(r'train: 5 images, (\d+) cells', line)[1])
    assert line.endswith(', 3 crowd regions')
    assert sum(map(int, re.findall(r' (\d+)[,)]', line.partition('(')[2]))) == cells
    edit(data / 'annotations/train.json', lambda content: [one.update(iscrowd=1) for one in content['annotations']])
    outcome = tool('doctor', data)
    assert outcome.status == 2 and f'train: 5 images, 0 cells, {cells + 3} crowd regions' in outcome.out
    assert f'train.json: has {cells + 3} crowd regions (iscrowd 1) and no cells' in outcome.err
