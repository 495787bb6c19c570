"""Methods that round to a grid of their own, against torchao's and against the best of all grids."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from t0qat.pipeline.quiet import quietly
from t0qat.quantization.layers import step_of
from t0qat.quantization.quantizers import HALF, NORMAL_RANGE, Grid, encode, normal_scale, upper_bits
from t0qat.training import own_grids


def some_weights(rows: int, columns: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.5])
def test_seq_is_torchaos_with_a_range_for_each_channel(factor):
    """Levels, gradient in w and gradient in the range; they divide by the weights of all channels."""
    with quietly():
        from torchao.prototype.paretoq.models.utils_quant import StretchedElasticQuant
    w, g = some_weights(6, 50, 1), some_weights(6, 50, 2)
    start = own_grids.first_reaches({"w": w})[step_of("w")].detach() * factor
    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    reach, theirs = start.clone().requires_grad_(), start.clone()[:, None].requires_grad_()
    seen = own_grids.stretched_rounding(mine, reach, Grid(2))
    expected = StretchedElasticQuant.apply(other, theirs, 2, False)
    seen.backward(g), expected.backward(g)
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)
    torch.testing.assert_close(reach.grad, theirs.grad[:, 0] * 6**0.5, rtol=1e-4, atol=1e-6)
    assert mine.grad.eq(0).any() == (factor <= 1)  # the largest weights are beyond 0.99 of theirs


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_levels_offset_by_half_are_torchaos_stretched_ones(bits):
    with quietly():
        from torchao.prototype.parq.quant.uniform_torchao import StretchedUnifTorchaoQuantizer
    w = some_weights(9, 40, bits)
    expected, levels = StretchedUnifTorchaoQuantizer(bits).quantize(w, bits, dim=-1)
    scale = levels.amax(-1, keepdim=True) / (2 ** (bits - 1) - HALF)
    codes = encode(w, scale, Grid(bits), HALF)
    torch.testing.assert_close(scale * (codes + HALF), expected, rtol=1e-5, atol=1e-6)
    assert {*codes.unique().tolist()} == {*range(-(2 ** (bits - 1)), 2 ** (bits - 1))}


def squared_error(reach: float, bits: int) -> float:
    """Of a standard normal number on 2**bits levels from -reach to reach, by their cells' moments."""
    step = 2 * reach / (2**bits - 1)
    levels = np.arange(2**bits) * step - reach
    ends = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    chance, mean = np.diff(norm.cdf(ends)), -np.diff(norm.pdf(ends))
    return 1 + np.sum(levels**2 * chance - 2 * levels * mean)


@pytest.mark.parametrize("bits", NORMAL_RANGE)
def test_quests_range_has_the_least_squared_error_for_normal_weights(bits):
    best = minimize_scalar(squared_error, (0.5 * bits**0.5, 2 * bits**0.5), args=(bits,), tol=1e-10)
    assert NORMAL_RANGE[bits] == pytest.approx(best.x, rel=1e-4 if bits < 6 else 0.01)
    assert squared_error(NORMAL_RANGE[bits], bits) == pytest.approx(best.fun, rel=2e-3)
    w = some_weights(3, 50_000, bits)
    step = normal_scale(w, Grid(bits))
    error = (w - step * (encode(w, step, Grid(bits), HALF) + HALF)).square().mean(1)
    assert (error / w.square().mean(1)).mean().item() == pytest.approx(best.fun, rel=0.05)


def test_quest_trusts_the_gradient_only_within_half_a_step():
    w = some_weights(4, 200, 3).requires_grad_()
    own_grids.trusted_rounding(w, Grid(2)).sum().backward()
    reach = 1.4935346 * w.detach().square().mean(1, keepdim=True).sqrt()
    assert torch.equal(w.grad.bool(), w.detach().abs() <= reach * (1 + 1 / 3))
    assert 0 < w.grad.eq(0).float().mean() < 0.1


@pytest.mark.parametrize("bits", range(1, 9))
def test_sliced_codes_are_the_upper_bits_of_every_stored_code(bits):
    """By integers: of an unsigned byte, half a unit added before its lower bits are shifted out."""
    stored = np.arange(256)
    w = torch.from_numpy(stored - 128).double()
    w[0] = -127.5  # so that their step is 1; it rounds to the even code -128
    upper, step = upper_bits(w, Grid(bits))
    lost = 8 - bits
    half = (1 << lost) >> 1
    shifted = (stored + half) >> lost
    tie = (stored & ((1 << lost) - 1) == half) & (lost > 0)
    shifted -= tie & (shifted % 2 == 1)  # to the even code
    assert step.item() == pytest.approx(2**lost)
    even = 2 ** (bits - 1) if bits > 1 else 1
    expected = shifted - even
    free = ~tie if bits == 1 else np.full(256, True)  # raised by an odd number, ties fall to the other
    np.testing.assert_array_equal(upper.numpy()[free], expected[free])


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20), st.integers(1, 8))
def test_a_sliced_weight_is_off_by_half_a_step_of_each_grid_at_most_unless_it_is_clipped(values, bits):
    w = torch.tensor(values, dtype=torch.float64)
    upper, step = upper_bits(w, Grid(bits))
    codes = upper.clamp(*Grid(bits).codes)
    stored = step / 2 ** (8 - bits)
    away = (codes * step - w).abs()
    assert (away[upper == codes] <= (step + stored).item() * 0.5 * (1 + 1e-9)).all() or bits == 8
    assert (away <= (step + stored).item() * (1 + 1e-9)).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(2, 8))
def test_levels_offset_by_half_are_mirrored_with_the_weights(values, bits):
    """None of them is 0, so a channel's negative is rounded to the negative."""
    w = torch.tensor(values, dtype=torch.float64)
    step = normal_scale(w, Grid(bits))
    ratio = w / step
    free = (ratio - ratio.round()).abs() > 1e-9  # on a tie between two levels: either
    there = encode(w, step, Grid(bits), HALF) + HALF
    back = encode(-w, step, Grid(bits), HALF) + HALF
    assert torch.equal(there[free], -back[free])
    assert (there != 0).all() and there.abs().max() <= 2 ** (bits - 1) - HALF
