"""How many pairs: against simulation, the normal approximation and a plain search."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from t0qat.pipeline import planning
from t0qat.pipeline.decision import (
    DIFFERENCE,
    EQUIVALENCE,
    NON_INFERIORITY,
    Column,
    Condition,
    Sample,
    Step,
)


def test_the_margin_is_the_larger_of_the_fixed_one_and_a_tenth_of_the_cost():
    assert planning.margin(0.02, 0.1) == 0.02
    assert planning.margin(0.02, 0.5) == pytest.approx(0.05)
    assert planning.margin(0.02, -3.0) == 0.02


@pytest.mark.parametrize(("n", "margin", "level"), [(4, 2.0, 0.05), (8, 2.2, 0.0025), (30, 0.8, 0.0025)])
def test_power_of_equivalence_is_that_of_drawn_samples(n, margin, level):
    trials = 20_000
    draws = np.random.default_rng(n).standard_normal((trials, n))
    above = stats.ttest_1samp(draws, -margin, axis=1, alternative="greater").pvalue
    below = stats.ttest_1samp(draws, margin, axis=1, alternative="less").pvalue
    seen = (np.maximum(above, below) <= level).mean()
    power = planning.equivalence_power(n, margin, level)
    assert 0.1 < power < 0.99
    assert abs(seen - power) < 4 * np.sqrt(power * (1 - power) / trials)


def test_power_of_equivalence_tends_to_the_normal_closed_form():
    n, margin = 4000, 0.07
    normal = 2 * stats.norm.cdf(np.sqrt(n) * margin - stats.norm.isf(0.0025)) - 1
    assert planning.equivalence_power(n, margin, 0.0025) == pytest.approx(normal, abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "conditions", "direction", "equality"),
    [
        (DIFFERENCE, 1, 0.05 / 40, 0.05 / 20),
        (DIFFERENCE, 3, 0.05 / 60, 0.05 / 60),
        (NON_INFERIORITY, 3, 0.05 / 40, None),
        (EQUIVALENCE, 1, None, 0.05 / 40),
    ],
)
def test_a_plan_is_the_first_n_of_a_plain_search(kind, conditions, direction, equality):
    power, effect = 1 - 0.1 / conditions, 0.05 / 0.06

    def enough(n):
        sees = not direction or TTestPower().power(effect, n, direction, alternative="larger") >= power
        return sees and (not equality or planning.equivalence_power(n, effect, equality) >= power)

    wanted = next(n for n in range(2, 1000) if enough(n))
    how = {"size": 20, "conditions": conditions, "kind": kind}
    assert planning.pairs(0.06, 0.05, **how) == wanted


def test_a_column_wants_pairs_for_each_condition_whose_deviation_was_seen():
    """The same margin and deviation; one condition without a deviation, one without a margin."""
    none = Sample(0.0, 1.0, 8)
    conditions = [
        Condition("seen", none, 0.05, planned=0.06),
        Condition("not seen", none, 0.05),
        Condition("no margin", none, 0.0, planned=0.06),
    ]
    first, *others = planning.wanted(Column("C", "x", (Step((*conditions,)),)), 20)
    assert first == planning.pairs(0.06, 0.05, size=20, conditions=3) and np.isnan(others).all()
