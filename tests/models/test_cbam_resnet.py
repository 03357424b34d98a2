from __future__ import annotations

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.runner import load_state_dict

import mmcell  # noqa: F401  registers


def build(**options):
    return MODELS.build({'type': 'CBAMResNet', 'depth': 18, 'base_channels': 8, 'reduction': 4, **options})


def features_by_formula(model: torch.nn.Module, x: torch.Tensor, position: str) -> list[torch.Tensor]:
    x = model.maxpool(torch.relu(model.bn1(model.conv1(x))))
    outs = []
    for stage in (1, 2, 3, 4):
        blocks = list(getattr(model, f'layer{stage}'))
        for number, block in enumerate(blocks):
            x = block(x)
            if stage > 1 and position == 'block':
                x = model.cbam[f'layer{stage}'][number](x)
        if stage > 1 and position == 'stage':
            x = model.cbam[f'layer{stage}'][0](x)
        outs.append(x)
    return outs


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('position', ['block', 'stage'])
def test_position(position, depth):
    torch.manual_seed(0)
    model = build(position=position, depth=depth)
    model.eval()  # ResNet's returns None
    x = torch.randn(1, 3, 64, 96)
    blocks = {18: (2, 2, 2), 50: (4, 6, 3)}[depth]
    assert tuple(len(modules) for modules in model.cbam.values()) == (blocks if position == 'block' else (1, 1, 1))
    with torch.no_grad():
        outs = model(x)
        for out, expected in zip(outs, features_by_formula(model, x, position), strict=True):
            assert torch.equal(out, expected)
    assert [out.shape[1] for out in outs] == [8 * 2**stage * (4 if depth == 50 else 1) for stage in range(4)]


@pytest.mark.parametrize('position', ['block', 'stage'])
def test_torchvision_checkpoint_lacks_only_cbam(tmp_path, position, resnet50_checkpoint):
    model = MODELS.build(
        {
            'type': 'CBAMResNet',
            'depth': 50,
            'position': position,
            'init_cfg': {'type': 'Pretrained', 'checkpoint': str(resnet50_checkpoint)},
        }
    )
    model.init_weights()
    stored = torch.load(resnet50_checkpoint)
    own = model.state_dict()
    assert all(key.startswith('cbam.') for key in set(own) - set(stored))
    assert set(stored) - set(own) == {'fc.weight', 'fc.bias'}
    assert all(torch.equal(own[key], stored[key]) for key in set(own) & set(stored))


@pytest.mark.parametrize('position', ['block', 'stage'])
def test_identity_init_keeps_the_features_of_a_checkpoint(tmp_path, position):
    torch.manual_seed(0)
    plain = ResNet(18, base_channels=8)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    pretrained = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'plain.pth')}
    everywhere = {'type': 'Kaiming', 'layer': 'Conv2d'}
    plain.eval()
    with torch.no_grad():
        expected = plain(torch.ones(1, 3, 64, 64))
        for init_cfg in (pretrained, [everywhere, pretrained]):
            model = build(position=position, identity_init=True, init_cfg=init_cfg)
            model.init_weights()
            model.eval()
            assert all(map(torch.equal, model(torch.ones(1, 3, 64, 64)), expected))


def test_identity_init_starts_anew_only_without_a_checkpoint(tmp_path):
    """MMDetection's rule for all convolutions leaves the identity alone; trained attention is loaded."""
    torch.manual_seed(0)
    model = build(identity_init=True)
    model.init_weights()
    decisive = [name for name in model.cbam.state_dict() if name.endswith(('mlp.2.weight', 'conv.weight'))]
    assert len(decisive) == 12 and not any(model.cbam.state_dict()[name].any() for name in decisive)
    for parameter in model.cbam.parameters():
        torch.nn.init.normal_(parameter)
    torch.save(model.state_dict(), tmp_path / 'trained.pth')
    again = build(identity_init=True, init_cfg={'type': 'Pretrained', 'checkpoint': str(tmp_path / 'trained.pth')})
    again.init_weights()
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))


def test_attention_reaches_only_its_stages():
    torch.manual_seed(0)
    model, plain = build(cbam_stages=(3,)), ResNet(18, base_channels=8)
    load_state_dict(plain, model.state_dict())
    model.eval()
    plain.eval()
    with torch.no_grad():
        outs, expected = model(torch.ones(1, 3, 64, 64)), plain(torch.ones(1, 3, 64, 64))
    assert [torch.equal(a, b) for a, b in zip(outs, expected)] == [True, True, False, False]


def test_frozen_stages_freeze_their_attention():
    model = build(frozen_stages=2)
    model.train()
    frozen = {name for name, parameter in model.cbam.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in model.cbam.named_parameters() if name.startswith('layer2')}


@pytest.mark.parametrize('arguments', [{'position': 'before'}, {'cbam_stages': (0,)}, {'cbam_stages': (5,)}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        build(**arguments)
