"""GPTQ against its definition without a factorization, exhaustive search and plain rounding."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from t0qat.quantization import gptq
from t0qat.quantization.quantizers import Grid, encode, quantize
from t0qat.quantization.rounding import ROUNDINGS, Network, rounded
from t0qat.training import models
from t0qat.training.streams import stream
from t0qat.training.tasks import digits


def problem(seed: int, channels: int = 6, d: int = 12, n: int = 40):
    """Weights (channels, d) and inputs (n, d) with correlated columns."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator)
    inputs = torch.randn(n, d, generator=generator) @ mixing + 0.5
    return torch.randn(channels, d, generator=generator), inputs


def error(weights, codes, scale, inputs) -> torch.Tensor:
    """Squared output error of each channel."""
    return (inputs.double() @ (weights - codes * scale).double().T).square().sum(0)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("rule", ["absmax", "mse"])
def test_codes_stay_on_the_grid_and_output_errors_fall_on_average(bits, rule):
    grid = Grid(bits, scale=rule)
    mine, plain = [], []
    for seed in range(30):
        weights, inputs = problem(seed)
        codes, scale = gptq.round_layer(weights, inputs.T @ inputs, grid)
        nearest, its_scale = quantize(weights, grid)
        assert torch.equal(scale, its_scale)
        assert torch.equal(codes, codes.round()) and codes.dtype == weights.dtype
        assert grid.codes[0] <= codes.min() and codes.max() <= grid.codes[1]
        mine.append(error(weights, codes, scale, inputs).sum().item())
        plain.append(error(weights, nearest, scale, inputs).sum().item())
    assert np.mean(mine) < 0.9 * np.mean(plain)
    assert np.mean(np.array(mine) < plain) > 0.8


@pytest.mark.parametrize("factor", [1e-3, 1.0, 50.0])
def test_without_correlation_it_is_plain_rounding(factor):
    for seed, bits in itertools.product(range(5), (2, 4, 8)):
        weights, _ = problem(seed)
        codes, _ = gptq.round_layer(weights, factor * torch.eye(12), Grid(bits))
        assert torch.equal(codes, quantize(weights, Grid(bits))[0])
    codes, _ = gptq.round_layer(weights, torch.zeros(12, 12), Grid(3))  # inputs that are never active
    assert torch.equal(codes, quantize(weights, Grid(3))[0])


def test_each_error_is_made_up_by_least_squares_over_the_weights_still_to_be_rounded():
    """The definition: after a weight is rounded, the rest moves to the best that is left."""
    for seed in range(10):
        weights, inputs = problem(seed, channels=1, n=8)  # fewer than weights: damping matters
        moments = (inputs.T @ inputs).double()
        codes, scale = gptq.round_layer(weights, moments, Grid(4))
        h = (moments + 0.01 * moments.diagonal().mean() * torch.eye(12)).numpy()
        w = weights[0].double().numpy().copy()
        for i in range(12):
            code = encode(torch.tensor([[w[i]]]).float(), scale, Grid(4)).item()
            assert code == codes[0, i]
            wrong = w[i] - code * scale.item()
            if i < 11:  # minimize (d, wrong) h (d, wrong)' over the change d of the rest
                w[i + 1 :] += np.linalg.solve(h[i + 1 :, i + 1 :], h[i + 1 :, i]) * wrong


def test_on_tiny_problems_it_lies_between_the_best_codes_and_plain_rounding():
    totals = np.zeros(3)
    for seed in range(60):
        weights, inputs = problem(seed, channels=3, d=4, n=20)
        grid = Grid(2)
        codes, scale = gptq.round_layer(weights, inputs.T @ inputs, grid)
        every = torch.tensor(list(itertools.product(range(-2, 2), repeat=4)), dtype=torch.float32)
        best = torch.stack(
            [error(w, every, s, inputs).min() for w, s in zip(weights, scale, strict=True)]
        )
        mine = error(weights, codes, scale, inputs)
        plain = error(weights, quantize(weights, grid)[0], scale, inputs)
        assert (mine >= best * (1 - 1e-5)).all() and (plain >= best * (1 - 1e-5)).all()
        totals += [best.sum().item(), mine.sum().item(), plain.sum().item()]
    assert totals[0] < totals[1] < totals[2]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolutions_moments_are_those_of_its_patches(stride):
    layer = nn.Conv2d(3, 5, (3, 2), stride, padding=1, dilation=(1, 2))
    x = torch.randn(300, 3, 6, 7, generator=torch.Generator().manual_seed(1))
    # A convolution with one output channel for each input weight copies out the patches.
    d = layer.weight[0].numel()
    copies = torch.eye(d).view(d, *layer.weight.shape[1:])
    patches = conv2d(x, copies, stride=stride, padding=1, dilation=(1, 2))
    rows = patches.transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(gptq.input_moments(layer, x), rows @ rows.T)
    dense = nn.Linear(4, 2)
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(gptq.input_moments(dense, x), (x.T @ x).double(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["small_cnn", "residual_cnn"])
def test_a_rounded_network_has_codes_for_each_weight_and_errs_less_than_plain_rounding(name):
    net = models.MODELS[name](stream("initialization", 2))
    inputs = torch.from_numpy(digits(0).inputs[:300])
    with torch.no_grad():
        net(inputs)  # batch normalization has seen data
        before = {key: value.clone() for key, value in net.state_dict().items()}
        net.eval()
        exact = net(inputs)
        errors = {}
        for rule in ("gptq", "nearest"):
            codes = ROUNDINGS[rule](Network(net, inputs=inputs), Grid(3))
            assert set(codes) == {key for key, p in net.named_parameters() if p.ndim > 1}
            for code, *_ in codes.values():
                assert code.min() >= -4 and code.max() <= 3 and torch.equal(code, code.round())
                assert len(code.unique()) == 8
            errors[rule] = (rounded(net, codes)(inputs) - exact).square().mean().item()
    assert errors["gptq"] < 0.8 * errors["nearest"]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_later_layer_makes_up_for_the_rounding_of_an_earlier_one():
    """Its moments are taken behind the rounded layers, as they will be used."""
    net = models.mlp(stream("initialization", 4))
    inputs = torch.from_numpy(digits(1).inputs[:200])
    codes = gptq.round_network(net, inputs, Grid(2))
    first, scale = codes["0.weight"]
    with torch.no_grad():
        hidden = (inputs @ (first * scale).T + net[0].bias).relu()
        expected, _ = gptq.round_layer(net[2].weight.detach(), hidden.T @ hidden, Grid(2))
    assert torch.equal(codes["2.weight"][0], expected)


@pytest.mark.parametrize("rule", ["absmax", "mse"])
def test_in_groups_each_group_has_its_own_step_and_errors_move_over_the_whole_channel(rule):
    grid = Grid(3, scale=rule)
    for seed in range(5):
        weights, inputs = problem(seed)
        moments = (inputs.T @ inputs).double()
        codes, scale = gptq.round_layer(weights, moments, grid, group=4)
        assert torch.equal(scale, quantize(weights.reshape(-1, 4), grid)[1]) and codes.shape == (18, 4)
        h = (moments + 0.01 * moments.diagonal().mean() * torch.eye(12)).numpy()
        for w, mine, steps in zip(
            weights.double().numpy().copy(), codes.view(6, 12), scale.view(6, 3), strict=True
        ):
            for i in range(12):
                step = steps[i // 4].item()
                code = encode(torch.tensor([w[i]]).float(), torch.tensor([step]), grid).item()
                assert code == mine[i]
                if i < 11:
                    rest = np.linalg.solve(h[i + 1 :, i + 1 :], h[i + 1 :, i])
                    w[i + 1 :] += rest * (w[i] - code * step)
        whole = gptq.round_layer(weights, moments, grid, group=12)
        assert all(map(torch.equal, whole, gptq.round_layer(weights, moments, grid)))
