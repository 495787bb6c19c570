"""Products by numpy's BLAS are torch's own but for rounding, values and gradients."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from t0qat.training.products import Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (2, 1, 3, 7)])
def test_a_linear_layer_is_that_of_torch(shape, bias):
    drawn = torch.Generator().manual_seed(3)
    layer = Linear(7, 4, bias=bias, dtype=torch.float64)
    inputs = torch.randn(*shape, generator=drawn, dtype=torch.float64, requires_grad=True)
    parts = [inputs, *layer.parameters()]
    slope = torch.randn(*shape[:-1], 4, generator=drawn, dtype=torch.float64)
    mine, theirs = layer(inputs), linear(inputs, layer.weight, layer.bias)
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(output, parts, slope) for output in (mine, theirs))
    torch.testing.assert_close(*map(list, gradients), rtol=1e-12, atol=1e-12)


def test_inputs_that_are_turned_or_spread_over_memory_are_read_right():
    layer = Linear(7, 4)
    turned = torch.arange(35.0).view(7, 5).T
    spread = torch.arange(7.0).expand(5, 7)
    every_other = torch.arange(70.0).view(5, 14)[:, ::2]
    for inputs in (turned, spread, every_other):
        torch.testing.assert_close(layer(inputs), nn.Linear.forward(layer, inputs))


def test_a_second_derivative_is_refused_rather_than_wrong():
    layer, inputs = Linear(3, 2), torch.ones(4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(inputs).square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
