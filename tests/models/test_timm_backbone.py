"""Backbones of timm: features, frozen stages, and where their weights come from."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import load_state_dict

from mmcell.errors import InputError
from mmcell.models.timm_backbone import TimmBackbone
from mmcell.models.timm_weights import import_timm

#: Four stages of one block each.
TINY = dict(type='TimmBackbone', name='convnextv2_atto', depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))


@pytest.fixture(scope='module', autouse=True)
def timm():
    try:
        return import_timm()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture
def whole(timm):
    """The classifier that the backbone is a part of."""
    torch.manual_seed(0)
    return timm.create_model(TINY['name'], depths=TINY['depths'], dims=TINY['dims'], num_classes=5).eval()


def pretrained(path) -> dict:
    return dict(type='Pretrained', checkpoint=str(path))


def save(state, path):
    torch.save(state, path)
    return path


def test_features_are_those_of_the_whole_model(whole, tmp_path):
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = whole.forward_intermediates(x, intermediates_only=True)
        for number, content in enumerate((whole.state_dict(), {'state_dict': whole.state_dict()})):
            path = save(content, tmp_path / f'{number}.pth')
            model = MODELS.build(dict(TINY, init_cfg=pretrained(path), out_indices=(1, 3)))
            model.init_weights()
            outs = model.eval()(x)
            assert len(outs) == 2 and torch.equal(outs[0], expected[1]) and torch.equal(outs[1], expected[3])
    assert (model.channels, model.strides) == ([16, 32], [8, 32])
    assert [out.shape[2:] for out in outs] == [(8, 12), (2, 3)]


def test_weights_by_the_names_of_features_and_from_safetensors(whole, tmp_path):
    from safetensors.torch import save_file

    source = MODELS.build(TINY)
    save_file(source.net.state_dict(), tmp_path / 'features.safetensors')
    detector = {f'backbone.{name}': value for name, value in source.state_dict().items()}
    save(detector, tmp_path / 'detector.pth')
    for init_cfg in (
        pretrained(tmp_path / 'features.safetensors'),
        dict(pretrained(tmp_path / 'detector.pth'), prefix='backbone.'),
    ):
        model = MODELS.build(dict(TINY, init_cfg=init_cfg))
        assert not torch.equal(model.net.stem_0.weight, source.net.stem_0.weight)
        model.init_weights()
        assert all(map(torch.equal, model.state_dict().values(), source.state_dict().values()))


def test_without_weights_timms_initialisation_stays():
    model = MODELS.build(TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ('stages', 'frozen'), [(-1, ()), (0, ('stem',)), (2, ('stem', 'stages_0', 'stages_1')), (4, ('stem', 'stages'))]
)
def test_frozen_stages(stages, frozen):
    model = MODELS.build(dict(TINY, frozen_stages=stages, drop_path_rate=0.2)).train()
    still = {name for name, parameter in model.net.named_parameters() if not parameter.requires_grad}
    assert still == {name for name, _ in model.net.named_parameters() if name.startswith(frozen)}
    for name, module in model.net.named_modules():
        if name:
            assert module.training != name.startswith(frozen), name
    load_state_dict(model, model.state_dict(), strict=True)


def test_drop_path_falls_towards_the_first_block():
    model = MODELS.build(dict(TINY, drop_path_rate=0.3))
    rates = [getattr(model.net[f'stages_{stage}'].blocks[0].drop_path, 'drop_prob', 0) for stage in range(4)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_resnet_has_its_stem_as_first_stage(timm):
    model = TimmBackbone('resnet18', out_indices=(1, 2, 3, 4), frozen_stages=2)
    assert model.channels == [64, 128, 256, 512] and model.strides == [4, 8, 16, 32]
    frozen = {name.split('.')[0] for name, value in model.net.named_parameters() if not value.requires_grad}
    assert frozen == {'conv1', 'bn1', 'layer1'}


def test_what_cannot_be_had_is_refused_in_one_line(whole, tmp_path):
    def message(neck=None, **settings) -> str:
        with pytest.raises(InputError) as error:
            TimmBackbone.check_pretrained(dict(TINY, **settings), neck)
        assert '\n' not in str(error.value)
        return str(error.value)

    assert 'did you mean one of' in message(name='convnextv2_ato')
    assert 'has fcmae, fcmae_ft_in1k' in message(name='convnextv2_atto.fcmea')
    assert 'does not exist' in message(init_cfg=pretrained(tmp_path / 'nowhere.pth'))
    (tmp_path / 'text.pth').write_text('no weights')
    assert 'is not a checkpoint' in message(init_cfg=pretrained(tmp_path / 'text.pth'))
    (tmp_path / 'text.safetensors').write_text('no weights')
    assert 'cannot be read as safetensors' in message(init_cfg=pretrained(tmp_path / 'text.safetensors'))
    path = save(whole.state_dict(), tmp_path / 'whole.pth')
    assert 'such as stages.3.downsample.1.weight' in message(init_cfg=pretrained(path), dims=(8, 16, 24, 40))
    assert 'set [8, 16, 24, 32]' in message(neck=dict(in_channels=[256, 512, 1024, 2048]))
    TimmBackbone.check_pretrained(dict(TINY, init_cfg=pretrained(path)), dict(in_channels=[8, 16, 24, 32]))


def test_published_weights_without_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', 'http://localhost:9')
    with pytest.raises(
        InputError, match=r'cannot be fetched .*model.safetensors of timm/convnextv2_atto.fcmae_ft_in1k'
    ):
        TimmBackbone.check_pretrained(dict(type='TimmBackbone', name='convnextv2_atto', pretrained=True))


def test_models_without_such_stages():
    with pytest.raises(ValueError, match='frozen_stages must be at most 4'):
        MODELS.build(dict(TINY, frozen_stages=5))
    with pytest.raises(ValueError, match='no stages that follow each other'):
        TimmBackbone('vit_tiny_patch16_224')
