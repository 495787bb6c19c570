"""The rule for claims: against other routines, closed forms, and what no data may do to a verdict."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from t0qat.pipeline import decision
from t0qat.pipeline.decision import (
    CONTRADICTED,
    DIFFERENCE,
    EQUIVALENCE,
    IDENTITY,
    NO_EFFECT,
    NON_INFERIORITY,
    SUPPORTED,
    UNDECIDED,
    UNMEASURED,
    Column,
    Condition,
    P,
    Sample,
    Step,
)

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
PATTERN = np.array([-1.3, -0.4, -0.2, 0.1, 0.6, 1.2, -0.9, 0.9])
PATTERN = (PATTERN - PATTERN.mean()) / stats.sem(PATTERN)  # mean 0, standard error 1


def condition(estimate: float, margin: float = 0.0, kind: str = DIFFERENCE, name: str = "c", **more):
    """Eight differences with this mean and a standard error of 1."""
    return Condition(name, Sample.of(PATTERN + estimate), margin, kind, **more)


def moved(c: Condition, shift: float) -> Condition:
    return c._replace(sample=c.sample._replace(mean=c.sample.mean + shift))


def column(*conditions, name: str = "as_published", id: str = "C1") -> Column:
    return Column(id, name, (Step(conditions),))


def sequence(*estimates, margin: float = 10.0) -> Column:
    names = ("INT4", "INT3", "INT2")
    steps = [
        Step((condition(e, margin, NON_INFERIORITY),), n) for e, n in zip(estimates, names, strict=True)
    ]
    return Column("C7", "as_published", tuple(steps))


def verdict(column: Column, size: int = 1) -> str:
    return decision.decide(column, size).verdict


# P-values of one condition


@pytest.mark.parametrize(("margin", "value"), [(0.5, 0.0), (1.5, 0.0), (0.5, -0.7)])
def test_p_values_are_those_of_statsmodels(margin, value):
    first, second = np.random.default_rng(1).normal(0.2, 1, (2, 12))
    shown = DescrStatsW(first - second)
    found = decision.p_values(Sample.of(first - second), margin, value=value)
    equal = ttost_paired(first, second, value - margin, value + margin)[0]
    larger, smaller = (shown.ttest_mean(value, side)[1] for side in ("larger", "smaller"))
    assert found == pytest.approx(P(larger, smaller, equal), rel=1e-12)
    above, below = (shown.ttest_mean(value - margin, side)[1] for side in ("larger", "smaller"))
    kept = decision.p_values(Sample.of(first - second), margin, NON_INFERIORITY, value)
    assert kept == pytest.approx(P(above, below, np.nan), rel=1e-12, nan_ok=True)
    beyond = shown.ttest_mean(value + margin, "larger")[1]
    same = decision.p_values(Sample.of(first - second), margin, EQUIVALENCE, value)
    outside = min(1, 2 * min(below, beyond))
    assert same == pytest.approx(P(equal, outside, np.nan), rel=1e-12, nan_ok=True)


def test_two_pairs_have_cauchys_tail():
    """With one degree of freedom P(T > t) = 1 / 2 - arctan(t) / pi; here mean 3, standard error 2."""
    found = decision.p_values(Sample.of(np.array([1.0, 5.0])), 4.0)
    tail = [0.5 - np.arctan(t) / np.pi for t in (3 / 2, -3 / 2, (4 - 3) / 2)]
    assert found == pytest.approx(P(*tail), rel=1e-12)


def test_a_test_of_an_unknown_kind_is_one_line():
    with pytest.raises(ValueError, match=r"'better'; allowed are difference, non_inferiority, equiv"):
        decision.p_values(Sample.of(PATTERN), 1.0, "better")


# From conditions to a column


def p(*values):
    return P(*map(np.asarray, values))


def test_conditions_are_joined_as_worked_by_hand():
    (one,) = decision.entries([[p(0.01, 0.99, 0.2)]])
    assert one == pytest.approx(P(0.02, 1, 0.2))
    (three,) = decision.entries([[p(0.01, 0.9, 0.2), p(0.02, 0.03, 0.01), p(0.2, 0.5, 0.04)]])
    assert three == pytest.approx(P(3 * 0.2, 3 * 3 * 0.03, 3 * 0.2))
    (kept,) = decision.entries([[p(0.01, 0.9, np.nan), p(0.02, 0.03, 0.01)]])
    assert kept == pytest.approx(P(2 * 0.02, 2 * 2 * 0.03, np.nan), nan_ok=True)
    steps = [[p(0.01, 0.9, np.nan)] * 2, [p(0.2, 0.02, np.nan)] * 2]
    first, last = decision.entries(steps)
    assert first == pytest.approx(P(2 * 0.01, 1, np.nan), nan_ok=True)
    assert last == pytest.approx(P(2 * 0.2, 2 * 4 * 0.02, np.nan), nan_ok=True)


T = {level: stats.t.isf(level, 7) for level in (0.05, 0.025, 0.05 / 3, 0.05 / 6)}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([(T[0.025] + 0.01, 1)], SUPPORTED),
        ([(T[0.025] - 0.01, 1)], UNDECIDED),
        ([(-T[0.025] - 0.01, 1)], CONTRADICTED),
        ([(-T[0.025] + 0.01, 1)], UNDECIDED),
        ([(0, T[0.05] + 0.01)], NO_EFFECT),
        ([(0, T[0.05] - 0.01)], UNDECIDED),
        ([(3, 3 + T[0.05] + 0.01)], NO_EFFECT),  # shown to be better as well
        ([(-3, 3 + T[0.05] + 0.01)], NO_EFFECT),
        ([(T[0.05 / 3] + 0.01, 1), (9, 1)], SUPPORTED),
        ([(T[0.05 / 3] - 0.01, 1), (9, 1)], UNDECIDED),
        ([(-T[0.05 / 6] - 0.01, 1), (9, 1)], CONTRADICTED),  # one failure is enough
        ([(-T[0.05 / 6] + 0.01, 1), (9, 1)], UNDECIDED),
        ([(0, T[0.05 / 3] + 0.01), (0, 9)], NO_EFFECT),
        ([(0, T[0.05 / 3] - 0.01), (0, 9)], UNDECIDED),
        ([(T[0.025] + 0.01, 0), (9, 9)], SUPPORTED),  # equality is not asked of one, so of none
        ([(0, 9), (0, 0)], UNDECIDED),
    ],
)
def test_a_column_alone_is_decided_at_five_percent(conditions, expected):
    assert verdict(column(*(condition(*c) for c in conditions))) == expected


@pytest.mark.parametrize(
    ("kind", "estimate", "expected"),
    [
        (NON_INFERIORITY, -5 + T[0.025] + 0.01, SUPPORTED),
        (NON_INFERIORITY, -5 + T[0.025] - 0.01, UNDECIDED),
        (NON_INFERIORITY, -5 - T[0.025] - 0.01, CONTRADICTED),
        (NON_INFERIORITY, 0, SUPPORTED),  # never "no effect"
        (EQUIVALENCE, 0, SUPPORTED),
        (EQUIVALENCE, 9, CONTRADICTED),
        (EQUIVALENCE, -9, CONTRADICTED),
        (EQUIVALENCE, 5, UNDECIDED),
    ],
)
def test_non_inferiority_and_equivalence_know_no_third_word(kind, estimate, expected):
    assert verdict(column(condition(estimate, 5.0, kind))) == expected


def test_the_level_is_the_familys_over_its_fixed_size():
    needed = stats.t.isf(0.025 / 20, 7)
    assert verdict(column(condition(needed + 0.01)), 20) == SUPPORTED
    assert verdict(column(condition(needed - 0.01)), 20) == UNDECIDED
    family = [column(condition(e), id=f"C{e}") for e in (9.0, -3.0, 0.4, 5.5, 2.0)]
    p_values = [2 * stats.t.sf(abs(e), 7) for e in (9.0, -3.0, 0.4, 5.5, 2.0)]
    expected = multipletests(p_values, method="bonferroni")[1]
    table = decision.condition_table(family, 5)
    np.testing.assert_allclose(table.p_corrected, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("estimates", "expected"),
    [
        ((0, 0, 0), "supported to INT2"),
        ((0, 0, -10), "supported to INT3"),
        ((0, -10, 0), "supported to INT4"),  # later ones stand only on those before
        ((-10, 0, 0), UNDECIDED),
        ((0, -30, 0), "supported to INT4; contradicted at INT3"),
        ((-30, 0, -30), "contradicted at INT4, INT2"),
        ((0, -10, -30), "supported to INT4; contradicted at INT2"),
    ],
)
def test_a_sequence_says_how_far_it_holds(estimates, expected):
    assert verdict(sequence(*estimates)) == expected


def test_a_sequences_p_values_never_fall_while_it_holds():
    found = decision.decide(sequence(0, 5, 0), 4)
    each = [2 * 4 * stats.t.sf(10 + e, 7) for e in (0, 5, 0)]
    np.testing.assert_allclose(found.p_corrected, np.maximum.accumulate(each), rtol=1e-9)
    assert found.words == (SUPPORTED,) * 3


def test_a_sequence_has_no_tests_of_equality():
    steps = (Step((condition(0, 1),), "INT4"), Step((condition(0, 1),), "INT3"))
    with pytest.raises(ValueError, match="C7, tuned: a sequence has tests of equality; allowed"):
        verdict(Column("C7", "tuned", steps))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [((0.0, 0.0, 9), SUPPORTED), ((1e-30, 0.0, 9), CONTRADICTED), ((0.0, 1e-30, 9), CONTRADICTED)],
)
def test_identity_is_a_fact(sample, expected):
    fact = Condition("bits", Sample(*sample), kind=IDENTITY)
    assert verdict(column(fact, condition(0, 10, EQUIVALENCE)), 20) == expected
    assert verdict(column(fact, condition(0, 10, EQUIVALENCE), condition(-40, 1)), 20) == CONTRADICTED


@pytest.mark.parametrize(
    ("hindered", "why"),
    [
        (condition(9, hindrance="accuracy 0.31 of 0.50"), "accuracy 0.31 of 0.50"),
        (
            Condition("c", Sample.of(0.3 - np.array([0.2, 0.1 + 0.1, 0.2, 0.3 - 0.1]))),
            "c: no two pairs differ",
        ),
        (Condition("c", Sample.of(np.zeros(8))), "c: no two pairs differ"),
        (Condition("c", Sample(1.0, np.nan, 1)), "c: no two pairs differ"),
        (Condition("c", Sample(np.nan, np.nan, 0)), "c: no two pairs differ"),
    ],
)
def test_one_condition_that_cannot_be_tested_makes_its_column_so(hindered, why):
    both = column(condition(9, name="other"), hindered)
    assert verdict(both) == f"not testable here ({why})"
    table = decision.condition_table([both], 20)
    assert table.p_corrected.isna().all() and table.p_better.isna().tolist() == [False, True]
    assert table.n.tolist() == [8, hindered.sample.n]


# Of a family


def a_column():
    estimates = st.floats(-9, 9)
    conditions = st.lists(st.tuples(estimates, st.floats(0, 9)), min_size=1, max_size=4)
    return conditions.map(lambda found: column(*(condition(e, m) for e, m in found)))


@PROPERTY
@given(st.lists(a_column(), min_size=1, max_size=3), a_column(), st.randoms(use_true_random=False))
def test_a_column_measured_later_and_the_order_change_no_other_verdict(columns, late, random):
    columns = [c._replace(id=f"C{i}") for i, c in enumerate(columns)]
    late = late._replace(id="late")
    claims = {c.id: "words" for c in [*columns, late]}

    def table(family):
        return decision.verdict_table(claims, family, 8).set_index("id").as_published

    before, after = table([*columns, Column("late", "as_published")]), table([*columns, late])
    assert before["late"] == UNMEASURED
    pd.testing.assert_series_equal(before.drop("late"), after.drop("late"))
    shuffled = random.sample([*columns, late], len(columns) + 1)
    pd.testing.assert_series_equal(table(shuffled), after)


@PROPERTY
@given(a_column(), st.randoms(use_true_random=False))
def test_the_order_of_conditions_changes_nothing(one, random):
    (step,) = one.steps
    other = column(*random.sample(step.conditions, len(step.conditions)))
    assert decision.decide(one, 20) == decision.decide(other, 20)


@PROPERTY
@given(a_column(), st.floats(0, 20), st.sampled_from([DIFFERENCE, NON_INFERIORITY, EQUIVALENCE]))
def test_better_data_never_take_support_away_and_never_contradict_what_was_open(one, shift, kind):
    """Equality may go; equivalence has two sides, so it stands aside here."""
    kind = DIFFERENCE if kind == EQUIVALENCE else kind
    rank = {CONTRADICTED: 0, UNDECIDED: 1, NO_EFFECT: 1, SUPPORTED: 2}
    conditions = [c._replace(kind=kind) for c in one.conditions]
    shifted = [moved(c, shift) for c in conditions]
    before, after = verdict(column(*conditions), 5), verdict(column(*shifted), 5)
    assert rank[after] >= rank[before] or before == NO_EFFECT
    worse = [moved(c, -shift) for c in conditions]
    assert not (before == CONTRADICTED and verdict(column(*worse), 5) == SUPPORTED)


@PROPERTY
@given(a_column(), st.floats(0.01, 100))
def test_units_change_nothing(one, unit):
    scaled = [
        c._replace(
            sample=Sample(c.sample.mean * unit, c.sample.deviation * unit, 8), margin=c.margin * unit
        )
        for c in one.conditions
    ]
    assert verdict(column(*scaled), 5) == verdict(one, 5)


# What is written down


def test_tables_hold_one_row_a_condition_and_one_a_claim():
    kept = Column("C2", "scale_tuned", (Step((condition(1, 20, NON_INFERIORITY, "kept"),)),))
    published = column(condition(0.5, 3, name="first"), condition(-9, 3, name="second"), id="C1")
    absent = Column("C3", "scale_tuned")
    family = [published, kept, absent]
    table = decision.condition_table(family, 20)
    order = "id column condition estimate ci_low ci_high n margin p_better p_worse p_equal p_corrected"
    assert list(table) == [*order.split(), "detectable", "skewness"]
    assert table.condition.tolist() == ["first", "second", "kept"]
    np.testing.assert_allclose(table.estimate, [0.5, -9, 1], atol=1e-12)
    np.testing.assert_allclose(table.ci_high - table.estimate, stats.t.ppf(0.975, 7))
    np.testing.assert_allclose(table.p_worse, [stats.t.cdf(t, 7) for t in (0.5, -9, 21)])
    assert table.p_equal.isna().tolist() == [False, False, True]
    np.testing.assert_allclose(table.p_corrected[:2], 20 * 3 * 2 * stats.t.sf(9, 7))
    verdicts = decision.verdict_table({"C1": "one", "C2": "two", "C3": "three"}, family, 20)
    assert verdicts.to_dict("list") == {
        "id": ["C1", "C2", "C3"],
        "claim": ["one", "two", "three"],
        "as_published": [CONTRADICTED, "", ""],
        "scale_tuned": ["", SUPPORTED, UNMEASURED],
    }


def test_a_family_does_not_outgrow_its_size():
    with pytest.raises(ValueError, match="family has 2 columns; its fixed size is 1"):
        decision.verdict_table({}, [column(), column()], 1)


@pytest.mark.parametrize(("conditions", "part"), [(1, 40), (2, 60)])
def test_the_detectable_effect_is_seen_nine_times_in_ten(conditions, part):
    trials, sd = 4000, PATTERN.std(ddof=1)
    table = decision.condition_table([column(*[condition(0, 1)] * conditions)], 20)
    draws = np.random.default_rng(5).normal(table.detectable[0], sd, (trials, 8))
    seen = stats.ttest_1samp(draws, 0, axis=1, alternative="greater").pvalue <= 0.05 / part
    assert abs(seen.mean() - 0.9) < 4 * np.sqrt(0.09 / trials)
