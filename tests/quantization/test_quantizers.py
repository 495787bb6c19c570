"""Integer grids against enumeration of their levels, torch's own operator, hand-worked numbers."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from t0qat.quantization.quantizers import (
    CODES,
    FEW,
    LARGE,
    SCALES,
    Grid,
    absmax_scale,
    encode,
    fake_quantize,
    mse_scale,
    quantize,
)

EVERY = [
    Grid(bits, codes, scale)
    for bits, codes, scale in itertools.product((1, 2, 3, 4, 8, 16), CODES, SCALES)
    if (bits, codes) != (1, "narrow")
]
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)

grids = st.sampled_from(EVERY)
# Also weights that are equal, zero or many magnitudes apart.
one_weight = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5]),
    st.floats(-1e4, 1e4, allow_nan=False).filter(lambda w: w == 0 or abs(w) > 1e-12),
)
weights = st.lists(one_weight, min_size=1, max_size=12).map(lambda w: torch.tensor(w).double())


def gaussian(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def levels(scale: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Every value that the grid can hold, as its definition says."""
    top = 2 ** (grid.bits - 1)
    lowest = -top if grid.range == "full" else 1 - top
    return scale * torch.arange(lowest, top, dtype=scale.dtype)


def squared_error(weights: torch.Tensor, quantized: torch.Tensor) -> float:
    return float((weights - quantized).square().sum())


@pytest.mark.parametrize("grid", EVERY, ids=str)
def test_codes_are_whole_numbers_in_range_and_no_more_than_the_bits_allow(grid):
    codes, scale = quantize(gaussian(4, 3000), grid)
    most = 2**grid.bits if grid.range == "full" else 2**grid.bits - 1
    assert grid.codes[1] - grid.codes[0] + 1 == most
    assert torch.equal(codes, codes.round())
    assert grid.codes[0] <= codes.min() and codes.max() <= grid.codes[1]
    assert all(len(row.unique()) <= most for row in codes * scale)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("scale_rule", SCALES)
@pytest.mark.parametrize("codes", CODES)
def test_equal_to_torch_on_the_same_scale(bits, codes, scale_rule):
    weights, grid = gaussian(6, 500, seed=bits), Grid(bits, codes, scale_rule)
    scale = SCALES[scale_rule](weights, grid)
    theirs = torch.fake_quantize_per_channel_affine(
        weights, scale[:, 0], torch.zeros(6, dtype=torch.int32), 0, *grid.codes
    )
    # torch multiplies by 1 / scale, which may fall on the other side of a rounding tie.
    clear = ((weights / scale).abs() % 1 - 0.5).abs() > 1e-4
    assert clear.float().mean() > 0.99
    torch.testing.assert_close(fake_quantize(weights, grid)[clear], theirs[clear], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        # Levels -4/3, -2/3, 0, 2/3 of the largest magnitude: -4, -2, 0, 2. The largest weights lie on
        # ties: 3 would go up to 4, which is no level, and is clipped; -3 goes to the even code -2.
        (Grid(2, "full"), [-4.0, 0.0, -2.0, 0.0, 2.0, 2.0]),
        (Grid(2, "narrow"), [-3.0, 0.0, 0.0, 0.0, 0.0, 3.0]),
        (Grid(3, "narrow"), [-3.0, -1.0, -1.0, 0.0, 1.0, 3.0]),
        (Grid(3, "full"), [-24 / 7, -6 / 7, -6 / 7, 0.0, 6 / 7, 18 / 7]),
    ],
    ids=str,
)
def test_absmax_grids_worked_by_hand(grid, expected):
    weights = torch.tensor([-3.0, -0.9, -1.1, 0.4, 1.1, 3.0], dtype=torch.float64)
    torch.testing.assert_close(fake_quantize(weights, grid), torch.tensor(expected).double())


@PROPERTY
@given(weights, grids)
def test_every_weight_moves_to_a_nearest_level(weights, grid):
    codes, scale = quantize(weights, grid)
    # Enumerating 65,536 levels for each example is slow; neighbours of the code are enough there.
    reach = levels(scale, grid) if grid.bits <= 8 else scale * (codes[:, None] + torch.arange(-2, 3))
    reach = reach.clamp(float(levels(scale, grid)[0]), float(levels(scale, grid)[-1]))
    nearest = (weights[:, None] - reach).abs().amin(-1)
    moved = (weights - codes * scale).abs()
    torch.testing.assert_close(moved, nearest, rtol=1e-9, atol=1e-12 * float(scale))


@PROPERTY
@given(weights, grids)
def test_a_quantized_tensor_stays_as_it_is_at_its_scale(weights, grid):
    codes, scale = quantize(weights, grid)
    assert torch.equal(encode(codes * scale, scale, grid), codes)


@PROPERTY
@given(weights, grids, st.integers(-20, 20))
def test_scaling_the_weights_scales_the_result(weights, grid, power):
    """Exact for powers of two, which change no mantissa."""
    factor = 2.0**power
    assert torch.equal(fake_quantize(factor * weights, grid), factor * fake_quantize(weights, grid))


@PROPERTY
@given(weights, grids)
def test_narrow_grids_have_no_preferred_sign(weights, grid):
    if grid.range == "narrow":
        assert torch.equal(fake_quantize(-weights, grid), -fake_quantize(weights, grid))


@PROPERTY
@given(weights, st.integers(1, 16), st.sampled_from(list(CODES)), st.sampled_from([0, LARGE + 1]))
def test_the_mse_scale_is_never_worse_than_absmax(weights, bits, codes, layer):
    if (bits, codes) != (1, "narrow"):
        grids = (Grid(bits, codes, scale) for scale in ("mse", "absmax"))
        mse, absmax = (torch.mul(*quantize(weights, grid, layer)) for grid in grids)
        assert squared_error(weights, mse) <= squared_error(weights, absmax)


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_mse_scale_is_near_the_best_of_a_dense_search(bits, codes):
    grid = Grid(bits, codes, "mse")
    fractions = torch.linspace(0.001, 2, 20_001, dtype=torch.float64)
    for trial, power in itertools.product(range(12), (1, 3)):  # cubed Gaussian: heavy tails
        weights = gaussian(10, seed=trial, dtype=torch.float64) ** power
        tried = fractions[:, None] * weights.abs().max()
        best = (weights - encode(weights, tried, grid) * tried).square().sum(-1).min()
        assert squared_error(weights, fake_quantize(weights, grid)) <= 1.001 * float(best)


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_few_starts_err_little_more_than_all(bits, power):
    """And less than one start, the best of 27 as they are."""
    weights = gaussian(300, 640, seed=bits, dtype=torch.float64) ** power
    grid = Grid(bits, scale="mse")
    every, few = (torch.mul(*quantize(weights, grid, layer)) for layer in (LARGE, LARGE + 1))
    fractions = torch.linspace(0.2, 1.5, 27, dtype=torch.float64)[:, None, None]
    tried = fractions * absmax_scale(weights, Grid(bits))
    unrefined = (encode(weights, tried, Grid(bits)) * tried - weights).square().sum(-1).amin(0)
    least = squared_error(weights, every)
    assert squared_error(weights, few) < (1.005 if bits < 8 else 1.1) * least
    assert squared_error(weights, few) < unrefined.sum()
    assert not torch.equal(few, every)


@pytest.mark.parametrize("grid", EVERY, ids=str)
def test_all_zero_rows_stay_zero_beside_others(grid):
    weights = gaussian(3, 8)
    weights[1] = 0
    codes, scale = quantize(weights, grid)
    assert torch.equal(codes[1], torch.zeros(8)) and scale[1] == 1
    assert torch.isfinite(codes * scale).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("width", [10, 33])
def test_rows_do_not_touch_each_other(width, dtype):
    """To the bit, whatever batch a row stands in, and with any number of batch axes."""
    weights = gaussian(90, width, dtype=dtype)
    for grid in (Grid(4), Grid(2, "full", "mse"), Grid(3, "narrow", "mse")):
        together = fake_quantize(weights, grid)
        few = mse_scale(weights, grid, FEW)
        assert torch.equal(mse_scale(weights[7:8], grid, FEW), few[7:8])
        for start, stop in ((0, 1), (7, 8), (5, 22), (0, 89)):
            assert torch.equal(fake_quantize(weights[start:stop], grid), together[start:stop])
        assert torch.equal(fake_quantize(weights[9], grid), together[9])
        assert torch.equal(fake_quantize(weights.view(3, 30, width), grid).view(90, width), together)


def test_scales_have_the_units_and_shape_of_one_step_a_row():
    weights = torch.tensor([[1.0, -7.0], [0.0, 0.0]])
    assert absmax_scale(weights, Grid(4)).tolist() == [[pytest.approx(14 / 15)], [1.0]]
    assert absmax_scale(weights, Grid(4, "narrow")).tolist() == [[1.0], [1.0]]
    assert mse_scale(weights, Grid(4, "narrow")).shape == (2, 1)


@pytest.mark.parametrize("bits", [0, 17, -1, float("nan"), 2.5, True, "2", None], ids=repr)
def test_bad_bits_raise_one_line_with_what_is_allowed(bits):
    with pytest.raises(ValueError, match=r"^bits = .*: allowed is a whole number from 1 to 16$"):
        Grid(bits)


def test_bad_rules_raise_one_line_with_what_is_allowed():
    with pytest.raises(ValueError, match=r"^range = 'Full': allowed is one of full, narrow$"):
        Grid(4, "Full")
    with pytest.raises(ValueError, match=r"^scale = 'max': allowed is one of absmax, mse$"):
        Grid(4, "full", "max")
    with pytest.raises(ValueError, match="narrow range needs 2 to 16 bits"):
        Grid(1, "narrow")
