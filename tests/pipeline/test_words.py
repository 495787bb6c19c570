"""Digits, percentages and direction words."""

import math
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t0qat.pipeline import words

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "larger than"),
        (1e-300, 1, "larger than"),
        (0.0, 1, "not detectably different from"),  # an interval that touches zero
        (-1, 1, "not detectably different from"),
        (-1, 0.0, "not detectably different from"),
        (0.0, 0.0, "not detectably different from"),
        (-1, -1e-300, "smaller than"),
        (math.nan, math.nan, "not detectably different from"),
    ],
)
def test_direction_words_follow_the_interval(low, high, said):
    row = {"estimate": (low + high) / 2, "ci_low": low, "ci_high": high}
    assert words.direction(row) == said
    # Where there is one, the corrected p-value decides.
    assert words.direction(row | {"p_holm": 0.05}) == "not detectably different from"
    assert words.direction(row | {"estimate": -1, "p_holm": 0.049}) == "smaller than"
    assert words.direction(row | {"estimate": 1, "p_bh": 0.049}) == "larger than"


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((2.1823, 2.1613, 2.2033), ("2.182", "2.161", "2.203")),
        ((0.0187, -0.0214, 0.0588), ("0.019", "−0.021", "0.059")),
        ((7.9123, 6.4, 9.4), ("7.9", "6.4", "9.4")),
        ((1234.5, 1200.2, 1268.8), ("1234", "1200", "1269")),
        ((1234.5, 0.0, 5000.0), ("1234", "0", "5000")),
        ((0.5, 0.499, 0.501), ("0.5000", "0.4990", "0.5010")),  # the half-width is 0.0010
        ((2.0, 2.0, 2.0), ("2.000", "2.000", "2.000")),
        ((-0.001, -0.501, 0.499), ("0.00", "−0.50", "0.50")),  # nothing is minus zero
    ],
)
def test_estimates_have_two_digits_of_their_half_width(numbers, shown):
    assert words.estimate(*numbers) == shown


@PROPERTY
@given(st.floats(-1e4, 1e4), st.floats(1e-7, 1e4))
def test_estimates_round_what_they_show_and_never_more_than_the_interval_bears(mean, half):
    low, high = mean - half, mean + half
    shown = words.estimate(mean, low, high)
    assert "-" not in "".join(shown)
    shown = [text.replace("−", "-") for text in shown]
    decimals = {-Decimal(text).as_tuple().exponent for text in shown}
    assert len(decimals) == 1
    (decimals,) = decimals
    for text, value in zip(shown, (mean, low, high), strict=True):
        assert abs(Decimal(text) - Decimal(value)) <= Decimal(10) ** -decimals / 2
        assert not re.fullmatch(r"-0(\.0*)?", text)
    digits = (high - low) / 2 * 10**decimals  # the half-width in units of the last place
    assert digits >= 9.99
    assert digits < 100.01 or decimals == 0


@PROPERTY
@given(st.floats(1e-9, 1 - 1e-9) | st.sampled_from([0.0, 1.0]))
def test_percentages_are_near_and_never_rounded_to_certainty(value):
    shown = words.percent(value)
    assert bool(re.fullmatch(r"0(\.0+)?", shown)) == (value == 0)
    assert bool(re.fullmatch(r"100(\.0+)?", shown)) == (value == 1)
    if 0.001 < value < 0.999:
        assert float(shown) == pytest.approx(100 * value, abs=0.051)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.3604, "36.0"), (0.99, "99.0"), (0.9985, "99.85"), (0.0012, "0.12"), (0.01, "1.0")],
)
def test_percentages_show_more_near_certainty(value, shown):
    assert words.percent(value) == shown


def test_cells_show_the_half_width_with_the_digits_of_the_mean():
    row = {"mean": 2.1823, "ci_low": 2.1613, "ci_high": 2.2033}
    assert words.with_interval(row) == "2.182 [2.161, 2.203]"
    assert words.plus_minus(row) == "2.182 ± 0.021"
    assert words.plus_minus(row, 2) == "2.18 ± 0.02"
    assert words.percent_interval(words.times(row, 0.1)) == "21.8 % (21.6 to 22.0 %)"
    assert words.plus_minus(words.times(row, -1)) == "−2.182 ± 0.021"


def test_what_is_small_as_a_whole_has_a_power_of_ten():
    row = {"estimate": -2e-5, "ci_low": -1.2e-4, "ci_high": 0.8e-4}
    assert words.with_interval(row) == "−0.2 [−1.2, 0.8] · 10⁻⁴"
    assert words.plus_minus(row) == "(−0.2 ± 1.0) · 10⁻⁴"
    assert words.with_interval(words.times(row, 100)) == "−0.002 [−0.012, 0.008]"
    assert words.with_interval(words.times(row, 0)) == "0.000 [0.000, 0.000]"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.044, "0.044"), (9.3e-5, "9.3 · 10⁻⁵"), (0.0, "0"), (-1.5, "−1.5"), (123456.0, "1.2 · 10⁵")],
)
def test_very_small_and_large_numbers_have_a_power_of_ten(value, shown):
    assert words.number(value, 2) == shown


@PROPERTY
@given(st.floats(1e-12, 1e12))
def test_a_number_is_what_it_shows(value):
    mantissa, _, power = words.number(value, 2).partition(" · 10")
    power = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0)
    assert float(mantissa) * 10.0**power == pytest.approx(value, rel=0.0501)
