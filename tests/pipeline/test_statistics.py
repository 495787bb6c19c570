"""Estimates against closed forms, other routines of scipy and statsmodels, and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from t0qat.pipeline import statistics

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
Z = 1.959963984540054


def test_mean_interval_worked_by_hand():
    """Standard deviation sqrt(5/3), Student's 97.5 % point with 3 degrees of freedom 3.182446305."""
    half = 3.182446305284263 * np.sqrt(5 / 3) / 2
    expected = {"mean": 2.5, "ci_low": 2.5 - half, "ci_high": 2.5 + half, "n": 4}
    assert statistics.mean_interval([1, 2, 3, 4]) == pytest.approx(expected, rel=1e-12)


def test_mean_interval_covers_in_95_percent_of_small_samples():
    draws = np.random.default_rng(2)
    trials = 4000
    rows = [statistics.mean_interval(draws.normal(7, 3, 5)) for _ in range(trials)]
    covered = sum(row["ci_low"] <= 7 <= row["ci_high"] for row in rows)
    assert abs(covered - 0.95 * trials) < 4 * np.sqrt(trials * 0.95 * 0.05)


def test_spread_of_a_ruler():
    """0, 1, ... 40: with linear interpolation the 2.5 % point is 1; the variance is n(n + 1) / 12."""
    spread = statistics.spread(np.random.default_rng(3).permutation(41))
    expected = {"q025": 1, "median": 20, "q975": 39, "std": np.sqrt(41 * 42 / 12)}
    assert spread == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("reported", "expected"), [(0.5, 0), (1, 12.5), (1.5, 25), (2, 50), (3, 87.5), (9, 100)]
)
def test_percentile_counts_ties_half(reported, expected):
    assert statistics.percentile([1, 2, 2, 3], reported) == expected


def test_percentile_of_no_reported_value_is_nan():
    assert np.isnan(statistics.percentile([1.0, 2.0], np.nan))


def test_paired_difference_is_the_one_sample_analysis_of_the_differences():
    draws = np.random.default_rng(4)
    first, second = draws.normal(size=(2, 12))
    oracle = DescrStatsW(first - second)
    low, high = oracle.tconfint_mean(alpha=0.05)
    found = statistics.paired_difference(first, second)
    assert found.pop("detectable") == statistics.detectable_effect(first, second)
    assert found == pytest.approx(
        {"estimate": oracle.mean, "ci_low": low, "ci_high": high, "n": 12, "p": oracle.ttest_mean(0)[1]},
        rel=1e-12,
    )


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.floats(-0.8, 0.8))
def test_interval_and_p_value_of_a_pair_agree_about_zero(seed, shift):
    first, second = np.random.default_rng(seed).normal(size=(2, 9))
    pair = statistics.paired_difference(first + shift, second)
    assert (pair["p"] < 0.05) == (pair["ci_low"] > 0 or pair["ci_high"] < 0)
    swapped = statistics.paired_difference(second, first + shift)
    assert (swapped["estimate"], swapped["p"]) == pytest.approx((-pair["estimate"], pair["p"]))


@pytest.mark.parametrize("n", [1, 20, 10_000])
def test_wilson_limits_where_nothing_or_everything_happened(n):
    never, always = statistics.chance(np.zeros(n)), statistics.chance(np.ones(n))
    assert (never["estimate"], never["n"], always["estimate"]) == (0, n, 1)
    assert (never["ci_low"], always["ci_high"]) == pytest.approx((0, 1), abs=1e-15)
    assert never["ci_low"] >= 0 and always["ci_high"] <= 1
    assert never["ci_high"] == pytest.approx(Z**2 / (n + Z**2), rel=1e-9)
    assert always["ci_low"] == pytest.approx(n / (n + Z**2), rel=1e-9)


@pytest.mark.parametrize(("happened", "n"), [(1, 7), (3, 10), (36, 100)])
def test_wilson_limits_solve_the_score_equation(happened, n):
    """A limit p is where the observed share lies 1.96 standard errors, taken at p, away."""
    row = statistics.chance(np.arange(n) < happened)
    for limit in (row["ci_low"], row["ci_high"]):
        assert abs(happened / n - limit) / np.sqrt(limit * (1 - limit) / n) == pytest.approx(Z, rel=1e-9)


def test_wilson_coverage_is_95_percent_on_average():
    """Exact: binomial weights over all outcomes, averaged over the true probability."""
    n, truth = 40, np.linspace(0.005, 0.995, 199)
    rows = [statistics.chance(np.arange(n) < k) for k in range(n + 1)]
    low, high = (np.array([row[end] for row in rows]) for end in ("ci_low", "ci_high"))
    weight = stats.binom.pmf(np.arange(n + 1), n, truth[:, None])
    coverage = (weight * ((low <= truth[:, None]) & (truth[:, None] <= high))).sum(1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.008)
    assert coverage.min() > 0.8


def test_holm_worked_by_hand():
    """In order: 4 x 0.005, 3 x 0.01, 2 x 0.03, then 1 x 0.04, which may not fall below 0.06."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert statistics.holm([0.6, 0.7]) == pytest.approx([1, 1])


def test_detectable_effect_is_seen_nine_times_in_ten():
    n, trials = 12, 4000
    draws = np.random.default_rng(6)
    pattern = draws.normal(size=n)
    pattern = 2.5 * (pattern - pattern.mean()) / pattern.std(ddof=1)  # standard deviation exactly 2.5
    effect = statistics.detectable_effect(pattern, np.zeros(n))
    seen = stats.ttest_1samp(draws.normal(effect, 2.5, (trials, n)), 0, axis=1).pvalue < 0.05
    assert abs(seen.mean() - 0.9) < 4 * np.sqrt(0.9 * 0.1 / trials)


def test_detectable_effect_does_not_depend_on_the_mean_difference_and_shrinks_with_n():
    first, second = np.random.default_rng(7).normal(size=(2, 200))
    base = statistics.detectable_effect(first, second)
    assert statistics.detectable_effect(first + 5, second) == pytest.approx(base, rel=1e-9)
    four = statistics.detectable_effect(np.tile(first, 4), np.tile(second, 4))
    assert four == pytest.approx(base / 2, rel=0.01)


@pytest.mark.parametrize(("n", "level"), [(2, 0.95), (3, 0.999), (4, 0.9999), (20, 0.99999)])
def test_the_effect_seen_at_a_strict_level_is_seen_nine_times_in_ten(n, level):
    """By simulation: solvers of other packages lose the noncentral t there."""
    trials = 20_000
    effect = statistics.standardized_effect(n, level=level)
    draws = np.random.default_rng(n).normal(effect, 1, (trials, n))
    seen = stats.ttest_1samp(draws, 0, axis=1).pvalue < 1 - level
    assert abs(seen.mean() - 0.9) < 4 * np.sqrt(0.9 * 0.1 / trials)


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.floats(-1, 1), st.floats(0.05, 1.5))
def test_equivalence_is_the_interval_of_twice_the_error_within_the_margin(seed, shift, margin):
    """TOST at 5 % and a 90 % interval are the same test."""
    first, second = np.random.default_rng(seed).normal(size=(2, 9))
    first = first + shift
    low, high = DescrStatsW(first - second).tconfint_mean(alpha=0.1)
    assert (statistics.equivalence(first, second, margin) < 0.05) == (-margin < low and high < margin)


def test_equal_pairs_are_equivalent_and_pairs_that_all_differ_by_more_are_not():
    assert statistics.equivalence([1.0, 2.0], [1.0, 2.0], 0.1) == 0
    assert statistics.equivalence([1.5, 2.6], [1.0, 2.0], 0.1) > 0.9


def test_the_level_of_discoveries_is_where_the_next_one_would_be_made():
    """Of m p-values of which k are rejected, 5 % k / m: between those and all others."""
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.6])
    corrected = statistics.benjamini_hochberg(p)
    assert corrected == pytest.approx([0.005, 0.02, 0.05125, 0.05125, 0.6])
    assert statistics.discovery_level(corrected) == pytest.approx(0.05 * 2 / 5)
    assert statistics.discovery_level(statistics.benjamini_hochberg([0.5, 0.9])) == pytest.approx(0.025)


def test_explored_rows_say_what_they_would_see_at_the_level_found():
    rows = [
        {"p": p, "p_equal": 1 - p, "detectable": statistics.standardized_effect(n), "n": n}
        for p, n in ((1e-6, 8), (0.2, 8), (0.3, 20), (0.4, 20))
    ]
    table = statistics.explored(rows)
    assert table.p_bh.tolist() == pytest.approx([4e-6, 0.4, 0.4, 0.4]) and "p" not in table
    assert table.p_equal.tolist() == pytest.approx([1 - 1e-6] * 4)
    for row in table.itertuples():
        assert row.detectable == pytest.approx(statistics.standardized_effect(row.n, level=1 - 0.05 / 4))
