"""Methods that round while they train, against torch's, torchao's and counted levels."""

from contextlib import closing

import numpy as np
import pytest
import torch
from formulas import BITS, HIGH, QUANTIZED, Problem, of_lsq, of_ste, step
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy

from t0qat.pipeline.quiet import quietly
from t0qat.quantization.quantizers import NORMAL_RANGE, Grid, fake_quantize
from t0qat.training import loop, models, rounders
from t0qat.training.methods import REGISTRY
from t0qat.training.prepared import Prepared
from t0qat.training.streams import stream


@pytest.mark.parametrize("factor", [0.2, 0.5, -0.5])
def test_learned_steps_that_clip_many_weights_have_the_papers_gradient_too(factor):
    """Also where a weight lies beyond the last level by less than half a step: its gradient is 0."""
    problem, objective = Problem(), rounders.lsq(BITS)
    stored = {key: p.detach().clone() for key, p in problem.weights.items()}
    extra = {
        key: (factor * p.detach()).requires_grad_()
        for key, p in objective.extra(problem.weights).items()
    }
    ratio = stored["3.weight"] / extra["3.weight.step"].detach()[:, None]
    assert (ratio > HIGH).any() and ((ratio > HIGH) & (ratio < HIGH + 0.5)).any()
    found = problem.gradient(objective, None, extra)
    for key, value in of_lsq(problem.slope, stored, None, factor).items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_straight_through_and_learned_rounding_agree_with_torch_where_no_weight_is_on_a_tie(bits):
    """Forward and gradient of torch's own operators, on steps that put no weight halfway."""
    grid = Grid(bits)
    generator = torch.Generator().manual_seed(bits)
    w = torch.randn(7, 40, generator=generator)
    g = torch.randn(7, 40, generator=generator)
    largest = w.abs() == w.abs().amax(1, keepdim=True)  # by construction halfway between two codes

    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    scale, zero = step(w)[:, 0] * 7 / (2**bits - 1), torch.zeros(7, dtype=torch.int32)
    ours = rounders.straight_rounding(mine, grid)
    theirs = torch.fake_quantize_per_channel_affine(other, scale, zero, 0, *grid.codes)
    ours.backward(g), theirs.backward(g)
    assert largest.sum() == 7
    torch.testing.assert_close(ours[~largest], theirs[~largest], rtol=1e-6, atol=0)
    torch.testing.assert_close(mine.grad[~largest], other.grad[~largest], rtol=1e-6, atol=0)
    positive = largest & (w > 0)
    if bits == 2:  # where 2 max|w| / 3 puts it on the tie to the last bit: rounded up, then clipped
        assert positive.any() and not mine.grad[positive].any()

    s = 2 * w.abs().mean(1) / grid.codes[1] ** 0.5
    low, high = grid.codes
    ratio = w / s[:, None]
    between = ((ratio < low) & (ratio > low - 0.5)) | ((ratio > high) & (ratio < high + 0.5))
    g = g * ~between  # clipped by the paper's mask, before rounding, and not by torch's, after it
    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    own, their = s.clone().requires_grad_(), s.clone().requires_grad_()
    factor = 1 / (40 * grid.codes[1]) ** 0.5
    ours = rounders.learned_rounding(mine, own, grid)
    theirs = torch._fake_quantize_learnable_per_channel_affine(
        other, their, torch.zeros(7), 0, *grid.codes, factor
    )
    ours.backward(g), theirs.backward(g)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(own.grad, their.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_straight_through_agrees_with_torchao_but_for_the_tie_of_each_channels_largest_weight(bits):
    with quietly():
        from torchao.quantization.granularity import PerAxis
        from torchao.quantization.qat import IntxFakeQuantizeConfig, IntxFakeQuantizer

    config = IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), PerAxis(0))
    generator = torch.Generator().manual_seed(bits)
    w = torch.randn(50, 27, generator=generator)
    g = torch.randn(50, 27, generator=generator)
    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    ours = rounders.straight_rounding(mine, Grid(bits))
    theirs = IntxFakeQuantizer(config)(other)
    ours.backward(g), theirs.backward(g)
    free = w.abs() < w.abs().amax(1, keepdim=True)
    torch.testing.assert_close(ours[free], theirs[free], rtol=1e-6, atol=0)
    torch.testing.assert_close(mine.grad[free], other.grad[free], rtol=1e-6, atol=0)
    apart = (ours - theirs).abs() / (step(w) * 7 / (2**bits - 1))
    assert (apart < 1 + 1e-4).all()


HALVED = ("quest", "seq")  # their levels lie on both sides of zero alike


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize(
    "name",
    ["ste", "lsq", "random_bits", "parq", "lotion", "stable_qat", "cage", "quest", "seq", "matryoshka"],
)
def test_a_network_trained_for_a_bit_width_shows_that_many_levels_in_every_layer(name, bits):
    """Levels counted in units of the channel's smallest gap, on big enough layers."""
    net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Flatten(), nn.Linear(2048, 4))
    models.start(net, stream("initialization", bits))
    weights = dict(net.named_parameters())
    if name == "parq":
        shown = dict(hardened(net, bits, steps=11))
    else:
        method = REGISTRY[name]
        settings = {"bits": bits} if method.for_bits else {"widths": (bits,)}
        objective = method.objective(**settings)
        shown = {}
        objective.value(
            lambda seen: shown.update(seen) or sum(p.sum() for p in seen.values()),
            weights | objective.extra(weights),
            np.random.default_rng(0),
        )
    assert {key for key in shown if weights[key].ndim > 1} == {"0.weight", "2.weight"}
    for key in ("0.weight", "2.weight"):
        rows = shown[key].detach().flatten(1).numpy()
        counts = [len(np.unique(row)) for row in rows]
        assert max(counts) <= 2**bits
        for row in rows:
            levels = np.unique(row)
            codes = levels / np.diff(levels).min() - 0.5 * (name in HALVED)
            np.testing.assert_allclose(codes, np.rint(codes), atol=0.05)
            assert -(2 ** (bits - 1)) <= np.rint(codes).min() <= np.rint(codes).max() < 2 ** (bits - 1)
        if key == "2.weight":  # 2048 weights a channel: a level stays empty only at the ends
            # Uniform weights reach 2 mean|w|, that is sqrt(Qp) of the steps that LSQ starts from.
            of_lsq = 2 * round((2 ** (bits - 1) - 1) ** 0.5) + 1
            least = 2**bits - (2 if bits < 8 else 20)
            # They reach root 3 of their root mean square, which may be less than the range.
            of_quest = 2**bits * min(1, 3**0.5 / NORMAL_RANGE[bits]) - 2
            least = {"lsq": of_lsq, "quest": of_quest}.get(name, least)
            assert min(counts) >= least


def hardened(net, bits, steps):
    """The weights that torchao's optimizer shows after its last step."""
    prepared = Prepared(net, REGISTRY["parq"].objective(bits=bits), stream("training_noise", 0))
    with closing(prepared):
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        stepping = prepared.optimizer(optimizer, steps)
        for _ in range(steps):
            sum((p - 0.01).square().sum() for p in net.parameters()).backward()
            stepping.step()
            optimizer.zero_grad()
        shown = {name: p.detach().clone() for name, p in net.named_parameters()}
    for name, p in net.named_parameters():  # what is left are the latent weights of these levels
        if p.ndim > 1:
            rows, seen = p.detach().flatten(1), shown[name].flatten(1)
            assert not torch.equal(rows, seen)
            free = rows.abs() < rows.abs().amax(1, keepdim=True)
            again = fake_quantize(rows, Grid(bits))
            torch.testing.assert_close(again[free], seen[free], rtol=1e-5, atol=1e-7)
    return shown


def test_parq_is_torchaos_optimizer_on_the_networks_own_loss():
    """Against a plain loop around torchao's classes: annealed values and gradients at them."""
    with quietly():
        from torchao.prototype import parq as tools
    mine, other = Problem(torch.float32), Problem(torch.float32)
    steps = 30
    loop.train(
        mine.model,
        mine.inputs,
        mine.classes,
        REGISTRY["parq"].objective(bits=2, steepness=7.0),
        np.random.default_rng(0),
        epochs=steps,
        loss=cross_entropy,
    )
    groups = [
        {"params": [other.model[0].weight, other.model[3].weight], "quant_bits": 2},
        {"params": [other.model[0].bias, other.model[3].bias]},
    ]
    optimizer = tools.QuantOptimizer(
        loop.ADAM(groups, lr=0.005),
        tools.UnifTorchaoQuantizer(),
        tools.ProxPARQ(0, 27, steepness=7.0),
        quant_period=1,
        quant_per_channel=True,
    )
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(other.model(other.inputs), other.classes).backward()
        optimizer.step()
    assert all(len(row.unique()) <= 4 for row in other.model[0].weight.detach().flatten(1))
    optimizer.restore_latent_params()
    for p, q in zip(mine.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q)


def test_random_bits_shows_each_width_as_often_and_the_same_in_all_layers():
    objective, draws = REGISTRY["random_bits"].objective(), np.random.default_rng(4)
    problem = Problem()
    widths = {
        bits: fake_quantize(problem.weights["3.weight"].detach(), Grid(bits)) for bits in (8, 4, 3, 2)
    }
    counts = dict.fromkeys(widths, 0)
    for _ in range(800):
        problem.shown.clear()
        objective.value(problem.loss, problem.weights, draws)
        (bits,) = [b for b, w in widths.items() if torch.equal(w, problem.shown[0]["3.weight"])]
        counts[bits] += 1
        first = problem.weights["0.weight"].detach()
        expected = fake_quantize(first.flatten(1), Grid(bits)).view_as(first)
        assert torch.equal(problem.shown[0]["0.weight"], expected)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_rounding_at_random_is_unbiased_with_the_variance_of_its_two_levels():
    """By 4,000 draws: mean w, variance s**2 f (1 - f), and no level but the two beside the weight."""
    w = torch.randn(2, 30, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    objective, draws, shown = rounders.lotion(BITS), stream("training_noise", 2), []
    for _ in range(4000):
        objective.value(lambda seen: shown.append(seen["w"]), {"w": w}, draws)
    seen, s = torch.stack(shown), step(w)
    free = w / s < HIGH  # above, all round to the last level
    part = w / s - torch.floor(w / s)
    variance = s**2 * part * (1 - part)
    off = (seen.mean(0) - w) / (variance / 4000).sqrt()
    assert off[free].abs().max() < 4.5
    assert off[free].square().mean().item() == pytest.approx(1, abs=0.6)
    spread = seen.var(0) / variance
    assert (spread[free & (variance > 0.1 * s**2)] - 1).abs().max() < 0.1
    apart = (seen - w).abs() / s
    assert (apart[:, free] < 1).all()
    torch.testing.assert_close(seen / s, torch.round(seen / s))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.floats(0.01, 100), st.integers(0, 99))
def test_rounding_at_random_leaves_weights_that_are_on_the_grid(codes, scale, seed):
    """What keeps the minima of the rounded loss. Powers of two as steps, so that ratios are exact."""
    scale = 2.0 ** round(np.log2(scale))
    w = scale * torch.tensor([[-3.5, *codes]], dtype=torch.float64)  # the first sets the step
    shown = []
    rounders.lotion(BITS).value(
        lambda seen: shown.append(seen["w"]), {"w": w}, np.random.default_rng(seed)
    )
    assert torch.equal(shown[0][:, 1:], w[:, 1:])


def test_the_harmonic_gradient_is_small_on_a_level_and_that_of_ste_halfway():
    w = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[None].requires_grad_()
    rounders.harmonic_rounding(w, Grid(BITS)).sum().backward()
    ratio = w.detach() / step(w.detach())
    distance = (ratio - ratio.round()).abs()
    assert w.grad[distance < 1e-3].max() < 0.04
    halfway = (distance > 0.499) & (ratio.abs() < 3)
    assert halfway.sum() > 4 and (w.grad[halfway] - 1).abs().max() < 0.01
    order = distance[ratio.abs() < 3].argsort()
    assert (w.grad[ratio.abs() < 3][order].diff() > -1e-9).all()  # it only rises between them


def test_cage_is_adam_on_stes_gradient_with_a_pull_to_the_grid_in_the_last_steps():
    """Against the algorithm written out, with the update of torch.optim.Adam."""
    mine, other = Problem(), Problem()
    steps, rate = 20, 0.01
    loop.train(
        mine.model, mine.inputs, mine.classes, rounders.cage(BITS, 7.0), np.random.default_rng(0),
        epochs=steps, learning_rate=rate, loss=cross_entropy, schedule="decaying",
    )  # fmt: skip
    optimizer, away = torch.optim.Adam(other.model.parameters(), lr=rate), []
    for t in range(steps):
        weights = {key: p.detach().clone() for key, p in other.weights.items()}
        slopes = of_ste(other.slope, weights, None)
        optimizer.param_groups[0]["lr"] = rate * (1 - t / steps)
        strength = 7.0 * max(0, ((t + 1) / steps - 0.8) / 0.2)
        with torch.no_grad():
            for key, p in other.weights.items():
                p.grad = slopes[key]
                if key in QUANTIZED:
                    rows = weights[key].flatten(1)
                    error = (rows - fake_quantize(rows, Grid(BITS))).view_as(p)
                    away.append(error.square().mean().item())
                    p -= rate * (1 - t / steps) * strength * error
        optimizer.step()
    assert strength == pytest.approx(7.0)
    for p, q in zip(mine.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11)
