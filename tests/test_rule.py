"""The rule for claims on families of known truth, and that the simulation sees a broken one."""

import gc

import numpy as np
import pytest
import rule
from rule import Kind, Noise, Truth
from scipy import stats
from statsmodels.stats.multitest import multipletests

from t0qat.pipeline import decision
from t0qat.pipeline.decision import CONTRADICTED, DIFFERENCE, NO_EFFECT, NON_INFERIORITY, SUPPORTED, P

COUNT = 2000
BOUND = (
    100 * stats.binom.isf(1e-4, COUNT, 0.05) / COUNT
)  # %; of what errs in 5 %, one in 10,000 lies above
NORMAL = Noise(30, 0.0)


def share(name: str, noise: Noise = NORMAL, by=rule.the_rule) -> float:
    """Of one family, with one wrong decided verdict or more, in percent."""
    family = rule.families(noise.n)[name]
    found = rule.simulated(family, noise, np.random.default_rng(7), COUNT)
    return 100 * rule.wrong(family, by(*found)).mean()


def test_every_family_has_its_size():
    assert {len(family) for family in rule.families(8).values()} == {rule.SIZE}


@pytest.mark.parametrize("noise", [NORMAL, Noise(8, 0.5), Noise(8, 0.5, "t3")])
def test_one_wrong_verdict_or_more_in_at_most_five_percent(noise):
    table = rule.wrong_shares([noise], COUNT, {"rule": rule.the_rule})
    assert table.rule.max() <= BOUND, table.loc[table.rule.idxmax()]


def test_no_drawn_column_is_wrong_more_often_than_its_level():
    count = 4000
    table = rule.least_favourable(60, count)
    assert table.wrong.max() <= 100 * stats.binom.isf(1e-5, count, 0.05) / count, table.iloc[0]
    assert table.wrong.max() > 3.5  # the draw finds what is hard


def worse_not_multiplied(steps):
    for tests in steps:
        better, worse, equal = zip(*tests, strict=True)
        yield P(2 * np.maximum.reduce(better), 2 * np.minimum.reduce(worse), np.maximum.reduce(equal))


@pytest.mark.parametrize(
    ("family", "name", "broken"),
    [
        ("no difference", "ERROR_RATE", 0.05 * rule.SIZE),
        ("none and the margin", "factors", lambda conditions, equality: (2, 1)),
        ("at the margin", "factors", lambda conditions, equality: (2, 0.5)),
        ("five conditions, none", "entries", worse_not_multiplied),
        ("sequence, just above", "entries", worse_not_multiplied),
    ],
)
def test_a_broken_rule_is_seen(monkeypatch, family, name, broken):
    monkeypatch.setattr(rule if name == "ERROR_RATE" else decision, name, broken)
    assert share(family) > BOUND


@pytest.mark.parametrize(
    "family", ["no difference, margin 4.2", "at a margin of 4.2", "none and the margin"]
)
def test_holms_method_does_not_hold(family):
    assert share(family, by=rule.as_written) > BOUND


def test_the_rule_as_written_rejects_what_holms_method_of_statsmodels_does(monkeypatch):
    # statsmodels collects garbage at each call: seconds, where much is imported
    monkeypatch.setattr(gc, "collect", lambda: 0)
    family = [
        Kind((tuple(Truth(d, 4.0) for d in ds),)) for ds in [(0,), (4,), (2, 2), (9, 1), (-4,)] * 4
    ]
    columns, testable = rule.simulated(family, NORMAL, np.random.default_rng(3), 6)
    words = np.array([w[0] for w in rule.as_written(columns, testable)])
    for i in range(6):
        entry = []
        for ((*tests,),) in columns:
            better, worse, equal = np.array([[p[i] for p in test] for test in tests]).T
            entry.append(min(2 * better.max(), 2 * len(tests) * worse.min(), equal.max()))
        rejected = multipletests(np.minimum(1, entry), 0.05, "holm")[0]
        assert ((words[:, i] != decision.UNDECIDED) == rejected).all()
    assert 0 < (words == decision.UNDECIDED).mean() < 1


@pytest.mark.parametrize(
    ("steps", "true"),
    [
        ([(0, 2, DIFFERENCE)], {NO_EFFECT}),
        ([(1, 2, DIFFERENCE)], {NO_EFFECT, SUPPORTED}),
        ([(-1, 2, DIFFERENCE), (1, 2, DIFFERENCE)], {NO_EFFECT, CONTRADICTED}),
        ([(2, 2, DIFFERENCE)], {SUPPORTED}),
        ([(0, 2, DIFFERENCE), (2, 2, DIFFERENCE)], set()),
        ([(-2, 2, NON_INFERIORITY)], set()),
        ([(-1, 2, NON_INFERIORITY)], {SUPPORTED}),
        ([(-3, 2, NON_INFERIORITY), (5, 2, NON_INFERIORITY)], {CONTRADICTED}),
    ],
)
def test_what_is_true_of_conditions(steps, true):
    words = {
        word
        for word in (SUPPORTED, CONTRADICTED, NO_EFFECT)
        if rule.right(word, [Truth(*s) for s in steps])
    }
    kind = steps[0][2]
    assert words - ({NO_EFFECT} if kind == NON_INFERIORITY else set()) == true


def test_planned_columns_are_decided_nine_times_in_ten():
    table = rule.powers(COUNT)
    assert (table.decided >= 90 - 400 * np.sqrt(0.09 / COUNT)).all(), table
    alone = table[(table.conditions == 1) & (table.kind != DIFFERENCE)]
    assert (alone.decided <= 90 + 400 * np.sqrt(0.09 / COUNT)).all(), table  # and no dearer than that
