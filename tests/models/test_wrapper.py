import copy

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from mmengine.structures import InstanceData

from mmcell.models.wrapper import DetectorWrapper, resize


class Wrapped(DetectorWrapper):
    def predict(self, batch_inputs, batch_data_samples):
        return self.detector.predict(batch_inputs, batch_data_samples)


@pytest.fixture
def models(tiny_mask_rcnn, build):
    """The plain model, one in a wrapper and one in two."""
    plain, wrapped = build(tiny_mask_rcnn), Wrapped(copy.deepcopy(tiny_mask_rcnn))
    twice = Wrapped(copy.deepcopy(tiny_mask_rcnn))
    twice.detector = Wrapped(copy.deepcopy(tiny_mask_rcnn))
    return plain, wrapped, twice


@pytest.mark.parametrize('save', [lambda model: model.state_dict(), get_state_dict], ids=['torch', 'mmengine'])
@pytest.mark.parametrize(
    'load',
    [
        lambda model, state: model.load_state_dict(state),
        lambda model, state: load_state_dict(model, state, strict=True),
    ],
    ids=['torch', 'mmengine'],
)
def test_checkpoints_go_both_ways(models, save, load):
    plain, *wrappers = models
    expected = {name: value.clone() for name, value in plain.state_dict().items()}
    for wrapper in wrappers:
        load(wrapper, save(plain))
        state = save(wrapper)
        assert state.keys() == expected.keys()
        for value in plain.parameters():
            value.data.zero_()
        load(plain, state)
        for name, value in plain.state_dict().items():
            assert torch.equal(value, expected[name]), name


def test_missing_and_unexpected_weights_are_noticed(models):
    plain, wrapper, _ = models
    state = plain.state_dict()
    state['neck.extra'] = state.pop('neck.fpn_convs.0.conv.weight')
    with pytest.raises(RuntimeError, match=r'(?s)Missing.*neck\.fpn_convs\.0\.conv\.weight.*Unexpected.*neck\.extra'):
        wrapper.load_state_dict(state)


def test_a_copy_has_weights_of_its_own(models):
    # As the moving average of mmengine's EMAHook copies a model.
    plain, wrapper, _ = models
    before = {name: value.clone() for name, value in wrapper.state_dict().items()}
    other = copy.deepcopy(wrapper)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(other.state_dict()['backbone.conv1.weight'], plain.backbone.conv1.weight)
    assert all(torch.equal(value, before[name]) for name, value in wrapper.state_dict().items())


def test_training_is_that_of_the_detector(models):
    plain, wrapper, _ = models
    wrapper.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 64, 64)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), batch_input_shape=(64, 64), pad_shape=(64, 64)))
    mask = np.zeros((1, 64, 64), dtype=np.uint8)
    mask[0, 5:40, 5:30] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 30, 40]]), labels=torch.tensor([1]), masks=BitmapMasks(mask, 64, 64)
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    losses = []
    for model in (plain, wrapper):
        torch.manual_seed(1)
        losses.append(model.train()(images, [copy.deepcopy(sample)], mode='loss'))
    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=0)
    assert 'loss_mask' in losses[0]


def test_resized_images():
    images = torch.rand(2, 3, 10, 7)
    assert resize(images, 1.0) is images
    assert resize(images, 2.0).shape == (2, 3, 20, 14)
    assert resize(images, 1.33).shape == (2, 3, 13, 9)
    ones = torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(resize(ones, 0.5), torch.ones(1, 1, 4, 4))
    # Shrinking averages: a checkerboard becomes gray.
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    assert resize(board[None, None].float(), 0.5)[..., 2:-2, 2:-2].sub(0.5).abs().max() < 0.01
