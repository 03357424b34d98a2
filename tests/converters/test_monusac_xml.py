from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import skimage.draw
import tifffile
from PIL import Image

from mmcell.converters.split import split_names

SIZE = (40, 50)
RNG = np.random.default_rng(0)
SQUARE = [(4, 3), (10, 3), (10, 9), (4, 9)]
SQUARE_BESIDE = [(8, 5), (14.5, 5), (14.5, 12.25), (8, 12.25)]  # overlaps the first


def region(vertices, **attributes: str) -> str:
    given = ''.join(f' {key}={quoteattr(value)}' for key, value in attributes.items())
    inner = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in vertices)
    return f'<Region Id="1" Type="0" Zoom="1" NegativeROA="0"{given}><Attributes/><Vertices>{inner}</Vertices></Region>'


def annotations(**classes: list) -> str:
    """What ImageScope writes, as the organizers' script reads it: Attributes first, then Regions."""
    parts = [
        f'<Annotation Id="{number}" Name="" ReadOnly="0" Type="4">'
        f'<Attributes><Attribute Name="{name}" Id="0" Value=""/></Attributes>'
        f'<Regions><RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/></RegionAttributeHeaders>'
        f'{"".join(map(region, outlines))}</Regions><Plots/></Annotation>'
        for number, (name, outlines) in enumerate(classes.items(), start=1)
    ]
    return f'<?xml version="1.0" encoding="UTF-8"?><Annotations MicronsPerPixel="0.25">{"".join(parts)}</Annotations>'


def by_skimage(outline) -> np.ndarray:
    """What `n-ary_mask_generation.ipynb` of the organizers does with one region."""
    x, y = np.array(outline, dtype=float).T
    mask = np.zeros(SIZE, dtype=bool)
    mask[skimage.draw.polygon(y, x, SIZE)] = True
    return mask


@pytest.fixture
def source(tmp_path) -> Path:
    """Three patients with two images each; no cells but in the first image, where a test puts them."""
    root = tmp_path / 'source'
    for patient in ('TCGA-A', 'TCGA-B', 'TCGA-C'):
        (root / patient).mkdir(parents=True)
        for number in (1, 2):
            stem = root / patient / f'{patient}_{number}'
            tifffile.imwrite(stem.with_suffix('.tif'), RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
            stem.with_suffix('.svs').write_bytes(b'the same, not read')
            stem.with_suffix('.xml').write_text(annotations(Epithelial=[], Lymphocyte=[]))
    return root


FIRST = 'TCGA-A/TCGA-A_1'


def test_cells_as_the_organisers_draw_them(source, converted, same_cells):
    bow_tie = [(20, 20), (30, 30), (30, 20), (20, 30)]
    leaves = [(-5.5, 30), (6, 25), (3, 60.5)]
    outlines = {'Epithelial': [SQUARE, SQUARE_BESIDE], 'Lymphocyte': [bow_tie], 'Macrophage': [leaves]}
    (source / f'{FIRST}.xml').write_text(annotations(**outlines))
    result = converted('monusac_xml', source)
    numbers = {name.capitalize(): number for number, name in enumerate(result.classes, start=1)}
    expected = [(numbers[name], 0, by_skimage(outline)) for name in outlines for outline in outlines[name]]
    assert (expected[0][2] & expected[1][2]).any()
    assert same_cells(result.cells()[f'{FIRST}.tif'], expected)
    assert expected[0][2].sum() == 7 * 7  # the outline itself belongs to the cell


@pytest.mark.parametrize('grid', [1, 2, 1000])
def test_random_outlines(source, converted, same_cells, grid):
    """Vertices on pixels, halfway between them, and anywhere; most outlines cross themselves."""
    rng = np.random.default_rng(grid)
    outlines = [
        (rng.integers(-5 * grid, 60 * grid, (rng.integers(3, 12), 2)) / grid).round(3).tolist() for _ in range(60)
    ]
    (source / f'{FIRST}.xml').write_text(annotations(Neutrophil=outlines))
    expected = [(3, 0, mask) for mask in map(by_skimage, outlines) if mask.any()]
    assert same_cells(converted('monusac_xml', source).cells()[f'{FIRST}.tif'], expected)


def test_ambiguous_regions_are_crowds(source, converted, same_cells):
    (source / f'{FIRST}.xml').write_text(annotations(Epithelial=[SQUARE], Ambiguous=[SQUARE_BESIDE]))
    result = converted('monusac_xml', source)
    expected = [(1, 0, by_skimage(SQUARE))] + [(number, 1, by_skimage(SQUARE_BESIDE)) for number in (1, 2, 3, 4)]
    assert same_cells(result.cells()[f'{FIRST}.tif'], expected)
    assert 'epithelial 1, lymphocyte 0' in result.printed and 'crowd regions     4' in result.printed


def test_crowds_alone_are_refused(source, refused):
    (source / f'{FIRST}.xml').write_text(annotations(Ambiguous=[SQUARE_BESIDE]))
    line = refused('monusac_xml', source)
    assert 'source: holds 4 crowd regions and no cells: there is nothing to train on; annotate single cells' in line


def test_regions_without_pixels_are_counted(source, converted):
    regions = [SQUARE, [(1.2, 1.2), (1.8, 1.2), (1.5, 1.8)], [(3, 3), (4, 4)], [(90, 90), (95, 90), (95, 95)], []]
    (source / f'{FIRST}.xml').write_text(annotations(Epithelial=regions))
    result = converted('monusac_xml', source)
    assert len(result.cells()[f'{FIRST}.tif']) == 1 and 'warning: 4 annotations hold no pixel' in result.printed


def test_patients_stay_on_one_side(source, converted):
    for seed in range(6):
        result = converted('monusac_xml', source, '--val-ratio', 0.4, '--seed', seed, out=f'out{seed}')
        patients = [{Path(file).parent.name for file in result.files(part)} for part in ('train', 'val')]
        assert len(patients[0]) == 2 and len(patients[1]) == 1 and not patients[0] & patients[1]
    result = converted('monusac_xml', source, '--val-ratio', 0.4, '--group-by', '.*', '--seed', 1, out='apart')
    names = [file.removesuffix('.tif') for file in result.files()]
    assert result.files('val') == [f'{name}.tif' for name in split_names(names, 0.4, 1)[1]]


def test_class_from_the_layer_and_other_classes(source, converted):
    text = annotations(tumour=[SQUARE]).replace('<Attribute Name="tumour" Id="0" Value=""/>', '')
    (source / f'{FIRST}.xml').write_text(text.replace('Name=""', 'Name="Tumour"'))
    result = converted('monusac_xml', source, '--classes', 'stroma', 'tumour')
    assert [cell.category for cell in result.cells()[f'{FIRST}.tif']] == [2]


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (annotations(Epithelial=[SQUARE])[:-20], 'not valid XML'),
        (annotations().replace('<Annotations', f'{BOMB}<Annotations'), 'DOCTYPE'),
        (annotations().replace('<Annotations', '<!DOCTYPE x SYSTEM "/etc/passwd"><Annotations'), 'DOCTYPE'),
        (annotations().replace('UTF-8', 'no-such'), 'not valid XML'),
        ('', 'not valid XML'),
        (annotations(Fibroblast=[SQUARE]), "'fibroblast'"),
        (annotations(Epithelial=[[('1', 'x'), (3, 4), (5, 1)]]), 'without numbers in region'),
        (annotations(Epithelial=[[('nan', 1), (3, 4), (5, 1)]]), 'without numbers in region'),
        (annotations(Epithelial=[[('1e999', 1), (3, 4), (5, 1)]]), 'without numbers in region'),
        (annotations(Epithelial=[SQUARE]).replace('X="4" ', ''), 'without numbers in region'),
        (annotations(Epithelial=[SQUARE]).replace('ROA="0"', 'ROA="1"'), 'hole'),
    ],
)
def test_bad_xml(source, refused, text, words):
    (source / f'{FIRST}.xml').write_text(text)
    line = refused('monusac_xml', source)
    assert f'{FIRST}.xml' in line and words in line


def test_missing_files(source, refused, tmp_path):
    for suffix in ('.tif', '.svs'):
        (source / FIRST).with_suffix(suffix).unlink()
    assert f'{FIRST}.xml: has no image beside it' in refused('monusac_xml', source)
    (tmp_path / 'empty').mkdir()
    assert 'no XML file' in refused('monusac_xml', tmp_path / 'empty')


def test_absurd_outlines_are_refused_before_they_are_filled(source, refused):
    stem = source / FIRST
    stem.with_suffix('.tif').unlink()
    Image.new('1', (20_000, 20_000)).save(stem.with_suffix('.png'))
    everything = [(0, 0), (19_999, 0), (19_999, 19_999)] * 20
    stem.with_suffix('.xml').write_text(annotations(Epithelial=[everything]))
    assert f'{FIRST}.xml: holds outlines too large' in refused('monusac_xml', source)


def monuseg(name: str = '', value: str = '') -> str:
    """What MoNuSeg has: a layer without a name, and the empty `Description` that ImageScope gives every layer."""
    text = annotations(Description=[SQUARE, SQUARE_BESIDE])
    return text.replace('Value=""', f'Value="{value}"').replace('Name=""', f'Name="{name}"')


@pytest.mark.parametrize('folder', ['', 'MoNuSeg 2018 Training Data/'])
def test_monuseg(tmp_path, converted, same_cells, folder):
    source = tmp_path / 'source'
    for image in ('TCGA-18-5592', 'TCGA-38-6178', 'TCGA-49-4488'):
        for part in ('Tissue Images', 'Annotations'):
            (source / folder / part).mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        tifffile.imwrite(source / folder / 'Tissue Images' / f'{image}.tif', pixels)
        (source / folder / 'Annotations' / f'{image}.xml').write_text(monuseg())
    result = converted('monusac_xml', source, '--classes', 'nucleus', '--val-ratio', 0.4)
    assert len(result.files('val')) == 1 and result.classes == ['nucleus']  # each image is a patient
    expected = [(1, 0, by_skimage(SQUARE)), (1, 0, by_skimage(SQUARE_BESIDE))]
    assert result.files()[0] == f'{folder}Tissue Images/TCGA-18-5592.tif'
    assert all(same_cells(found, expected) for found in result.cells().values())


def test_description_says_the_class(source, converted, refused):
    for name in ('TCGA-A/TCGA-A_1', 'TCGA-A/TCGA-A_2'):
        (source / f'{name}.xml').write_text(monuseg(value='Lymphocyte'))
    assert 'lymphocyte 4' in converted('monusac_xml', source, out='by_value').printed
    (source / f'{FIRST}.xml').write_text(monuseg(name='Macrophage'))
    assert 'lymphocyte 2, neutrophil 0, macrophage 2' in converted('monusac_xml', source, out='by_layer').printed
    (source / f'{FIRST}.xml').write_text(monuseg())
    line = refused('monusac_xml', source)
    assert f'{FIRST}.xml: holds regions without a class; name them in ImageScope, or give the one name' in line


def test_folders_deeper_down(source, converted, tmp_path):
    (tmp_path / 'all').mkdir()
    source.rename(tmp_path / 'all' / 'MoNuSAC_images_and_annotations')
    result = converted('monusac_xml', tmp_path / 'all', '--val-ratio', 0.4)
    assert len(result.files('val')) == 2 and len({Path(file).parent for file in result.files('val')}) == 1


def test_which_image_is_meant(source, refused):
    for folder in ('TCGA-A', 'TCGA-B'):
        tifffile.imwrite(source / folder / 'x.tif', np.zeros((*SIZE, 3), np.uint8))
    (source / 'TCGA-C' / 'x.xml').write_text(annotations())
    assert 'x.xml: may belong to TCGA-A/x.tif, TCGA-B/x.tif' in refused('monusac_xml', source)


def test_classes_that_differ_in_case_alone(source, refused):
    assert '--classes: names a class twice' in refused('monusac_xml', source, '--classes', 'Tumour', 'tumour')
