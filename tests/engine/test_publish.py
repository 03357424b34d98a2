"""From a checkpoint to a model of that name, and what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

import mmcell
from mmcell.config import load_config
from mmcell.engine import publish as publishing
from mmcell.engine.publish import publish
from mmcell.errors import InputError
from mmcell.io import shipped
from mmcell.io.checkpoints import load_checkpoint

CONFIG = Path(__file__).resolve().parents[2] / 'configs/models/nuclei.py'


@pytest.fixture(scope='module')
def network():
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return MODELS.build(load_config(CONFIG).model)


@pytest.fixture
def checkpoint(network, tmp_path):
    path = tmp_path / 'epoch_9.pth'
    meta = {'dataset_meta': {'classes': ('nucleus',)}, 'epoch': 9, 'iter': 270, 'score_thr': 0.4}
    # What stands beside it is left out: an optimizer, and the weights that were not averaged.
    torch.save({'state_dict': network.state_dict(), 'ema_state_dict': {}, 'optimizer': {}, 'meta': meta}, path)
    return path


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / 'trainval.json'
    images = [{'id': number, 'file_name': f'{number}.png', 'height': 8, 'width': 8} for number in (1, 2)]
    cell = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [0, 0, 2, 2], 'area': 4, 'iscrowd': 0}
    cell['segmentation'] = {'size': [8, 8], 'counts': '0260`1'}
    categories = [{'id': 1, 'name': 'nucleus'}]
    path.write_text(json.dumps({'images': images, 'annotations': [cell], 'categories': categories}))
    return path


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    for module in (shipped, publishing):
        monkeypatch.setattr(module, 'WEIGHTS', tmp_path / 'weights')
    return tmp_path / 'weights'


def test_a_model_by_name(network, checkpoint, annotations, weights, tool):
    arguments = (checkpoint, 'nuclei', annotations, '--score-thr', 0.55, '--mpp', 0.5, '--facts', 'note=H&E')
    outcome = tool('publish_model', *arguments)
    assert outcome.status == 0 and outcome.out.startswith(f'wrote {weights}/nuclei.safetensors: '), outcome
    assert sorted(path.name for path in weights.iterdir()) == ['SHA256SUMS', 'nuclei.safetensors']
    assert load_checkpoint('nuclei')['meta'] == {
        'note': 'H&E',
        'dataset_meta': {'classes': ['nucleus'], 'mpp': 0.5},
        'score_thr': 0.55,
        'config': 'configs/models/nuclei.py',
        'epoch': 9,
        'steps': 270,
        'images': 2,
        'cells': 1,
        'annotations_sha256': load_checkpoint('nuclei')['meta']['annotations_sha256'],
        'mmcell_version': mmcell.__version__,
    }
    model = mmcell.load_model('nuclei', device='cpu')
    assert (model.classes, model.score_thr, model.mpp) == (('nucleus',), 0.55, 0.5)
    loaded = model.network.state_dict()
    for name, value in network.state_dict().items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].equal(value.half().float() if value.is_floating_point() else value), name
    # Again, by the same name: nothing else changes, and the threshold is that of the training.
    publish(checkpoint, 'nuclei', annotations)
    assert shipped.read_sums().keys() == {'nuclei'} and load_checkpoint('nuclei')['meta']['score_thr'] == 0.4


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (lambda content: content['meta'].pop('score_thr'), 'holds no score threshold'),
        (lambda content: content['meta'].pop('dataset_meta'), 'names no classes'),
        (
            lambda content: content['meta'].update(dataset_meta={'classes': ['cell']}),
            'has the classes nucleus, not cell',
        ),
        (lambda content: content['state_dict'].popitem(), 'does not fit the model'),
        (lambda content: next(iter(content['state_dict'].values())).fill_(7e4), 'not finite in half precision'),
    ],
)
def test_what_is_refused(checkpoint, annotations, weights, change, problem):
    content = torch.load(checkpoint)
    change(content)
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match=problem):
        publish(checkpoint, 'nuclei', annotations)
    assert not weights.exists()


def test_a_name_without_a_config(checkpoint, annotations):
    with pytest.raises(InputError, match=r'models/tumour\.py: does not exist; .* a name from consep, nuclei'):
        publish(checkpoint, 'tumour', annotations)
