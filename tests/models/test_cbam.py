from __future__ import annotations

import numpy as np
import pytest
import torch

from mmcell.models.cbam import CBAM


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def cbam_by_formula(x, hidden, out, kernel):
    """Equations 1 to 3 of the paper, one position at a time."""
    count, _, height, width = x.shape
    result = np.empty_like(x)
    for n in range(count):
        pooled = [x[n].mean((1, 2)), x[n].max((1, 2))]
        weights = sigmoid(sum(out @ np.maximum(hidden @ vector, 0) for vector in pooled))
        features = x[n] * weights[:, None, None]
        maps = np.stack([features.mean(0), features.max(0)])
        reach = kernel.shape[-1] // 2
        padded = np.pad(maps, ((0, 0), (reach, reach), (reach, reach)))
        for row in range(height):
            for column in range(width):
                window = padded[:, row : row + 2 * reach + 1, column : column + 2 * reach + 1]
                result[n, :, row, column] = features[:, row, column] * sigmoid((window * kernel).sum())
    return result


@pytest.mark.parametrize(('reduction', 'kernel_size'), [(16, 7), (4, 3), (32, 1)])
def test_formula(reduction, kernel_size):
    torch.manual_seed(0)
    module = CBAM(32, reduction, kernel_size).double()
    x = torch.randn(2, 32, 6, 9, dtype=torch.double)
    weights = [parameter.detach().numpy() for parameter in module.parameters()]
    expected = cbam_by_formula(x.numpy(), weights[0][..., 0, 0], weights[1][..., 0, 0], weights[2][0])
    assert weights[0].shape[0] == 32 // reduction
    np.testing.assert_allclose(module(x).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize('arguments', [{'reduction': 64}, {'reduction': 0}, {'kernel_size': 4}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        CBAM(32, **arguments)


def test_identity_init():
    torch.manual_seed(0)
    module = CBAM(32, 4, identity_init=True)
    x = torch.randn(2, 32, 9, 11)
    assert torch.equal(module(x), x)
    # The layers that decide have a gradient at once, all others once those have moved.
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        (module(x) - 2 * x).square().mean().backward()
        moved = {name for name, parameter in module.named_parameters() if parameter.grad.any()}
        assert moved == {'channel.mlp.2.weight', 'spatial.conv.weight'} | ({'channel.mlp.0.weight'} if step else set())
        optimizer.step()
    # Weights up to two: with the paper's, an answer above the input could not be learned.
    with torch.no_grad():
        assert (module.channel(x) * module.spatial(module.channel(x) * x)).max() > 1


def test_identity_init_has_the_parameters_of_the_default():
    plain, gated = CBAM(32), CBAM(32, identity_init=True)
    shapes = [{name: value.shape for name, value in module.state_dict().items()} for module in (plain, gated)]
    assert shapes[0] == shapes[1]
