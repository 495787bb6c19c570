"""Comparisons of arms, by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from t0qat.experiments import compare
from t0qat.experiments.arms import Arm
from t0qat.pipeline import claims


def synthetic_rows(values: dict, **more) -> pd.DataFrame:
    """Rows of loss at 2 bits: (method, train_bits, rule) -> values of replicates."""
    return pd.DataFrame(
        Arm("d", "m", method, bits)._asdict()
        | {"replicate": i, "eval_bits": 2, "scale_rule": rule, "metric": "loss", "value": value}
        for (method, bits, rule), each in values.items()
        for i, value in enumerate(each)
    )


PLACE = ("d", "m", "channels")
MEASURE = ["eval_bits", "scale_rule"]


def margin_of(value: float) -> pd.Series:
    names = [*compare.PLACE, *MEASURE]
    places = [(*PLACE, 2, rule) for rule in ("own", "mse")]
    return pd.Series(value, pd.MultiIndex.from_tuples(places, names=names))


def stepped_up(p: list[float]) -> list[float]:
    """Benjamini and Hochberg's correction by definition: the least of m p / k over ranks from k on."""
    order = sorted(range(len(p)), key=p.__getitem__)
    scaled = [p[i] * len(p) / (k + 1) for k, i in enumerate(order)]
    return [min(1.0, *scaled[order.index(i) :]) for i in range(len(p))]


def test_differences_are_paired_corrected_and_against_the_baseline_that_lost_least_in_tuning():
    draws = np.random.default_rng(3)
    arms_ = [("no_noise", 0), ("random_bits", 0), ("ste", 2), ("t0_qat", 0)]
    test = {(*arm, "own"): draws.normal(0.9, 0.05, 12) for arm in arms_}
    test["no_noise", 0, "own"] += 1.0  # the best in the test, which must not count
    test["t0_qat", 0, "own"] = test["t0_qat", 0, "own"][:5]  # fewer replicates, the first ones
    known = {(*arm, "own"): [v, v] for arm, v in zip(arms_, (0.5, 0.2, 0.3, 0.1), strict=True)}
    rows = synthetic_rows(test).sample(frac=1, random_state=1)
    known["ste", 2, "own"] = [0.1, 0.5, 0.3]
    table = compare.differences(rows, synthetic_rows(known), margin_of(0.1), MEASURE)
    best = table[table.against == "best_baseline"].set_index("method").other.to_dict()
    assert best == {m: "random_bits" for m in ("no_noise", "ste", "t0_qat")} | {"random_bits": "ste"}
    p, equal, pairs = [], [], []
    for row in table.itertuples():
        n = 5 if "t0_qat" in (row.method, row.other) else 12
        keys = (row.method, row.train_bits, "own"), (row.other, row.other_bits, "own")
        pair = [test[key][:n] for key in keys]
        assert row.estimate == pytest.approx(np.mean(pair[0] - pair[1])) and row.n == n
        assert row.margin == 0.1
        z = (pair[0] - pair[1] - row.estimate) / np.std(pair[0] - pair[1], ddof=1)
        assert row.skewness == pytest.approx(n / (n - 1) / (n - 2) * (z**3).sum())
        both = [known[key][:2] for key in keys]  # (0.1, 0.5) against two that are alike
        apart = 0.4 / 2**0.5 if "ste" in (row.method, row.other) else 0.0
        assert row.planned_deviation == pytest.approx(apart), both
        p.append(stats.ttest_rel(*pair).pvalue)
        equal.append(ttost_paired(*pair, -0.1, 0.1)[0])
        pairs.append(pair[0] - pair[1])
    assert table.p_bh.to_numpy() == pytest.approx(stepped_up(p))
    assert table.p_equal.to_numpy() == pytest.approx(stepped_up(equal))
    assert 0 < (table.p_bh < 0.05).sum() < len(table) and (table.p_equal < 0.05).any()
    level = max(value for value, by in zip(p, table.p_bh, strict=True) if by < 0.05)
    at_most = 0.05 * (table.p_bh < 0.05).mean()  # k of m rejected, each p below k / m of 5 %
    assert level <= at_most
    for row, pair in zip(table.itertuples(), pairs, strict=True):
        power = TTestPower().power(row.detectable / np.std(pair, ddof=1), len(pair), at_most)
        assert power == pytest.approx(0.9, abs=1e-6)


def test_what_is_kept_is_measured_from_plain_training_that_is_not_rounded():
    draws = np.random.default_rng(5)
    values = {(m, 0, "mse"): draws.normal(0.9, 0.05, 9) for m in ("no_noise", "t0_qat")}
    unrounded = draws.normal(0.95, 0.01, 9)
    float_rows = synthetic_rows({("no_noise", 0, "none"): unrounded}).assign(eval_bits=32)
    worse = synthetic_rows({("t0_qat", 0, "none"): unrounded - 0.5}).assign(eval_bits=32)
    rows = pd.concat([synthetic_rows(values), worse, float_rows]).sample(frac=1, random_state=2)
    known = synthetic_rows({("t0_qat", 0, "mse"): [2.0, 5.0, 9.0], ("no_noise", 0, "mse"): [0.0]})
    before = synthetic_rows({("no_noise", 0, "none"): [1.0, 2.0]}).assign(eval_bits=32)
    table = compare.kept(rows, pd.concat([known, before]), margin_of(0.07)).set_index("method")
    assert table.planned_deviation["t0_qat"] == pytest.approx(2 / 2**0.5)  # of 1 and 3
    assert np.isnan(table.planned_deviation["no_noise"])  # one difference has none
    for method in ("no_noise", "t0_qat"):
        difference = values[method, 0, "mse"] - unrounded
        low, high = stats.t.interval(0.95, 8, difference.mean(), stats.sem(difference))
        row = table.loc[method]
        assert [row.estimate, row.ci_low, row.ci_high] == pytest.approx([difference.mean(), low, high])
        assert (row.other, row.against, row.n, row.margin) == ("no_noise", "unrounded", 9, 0.07)


def test_a_margin_is_the_fixed_one_or_a_tenth_of_what_rounding_costs_plain_training():
    """On the replicates that both have; nothing is lost where nothing is rounded, or where it helps."""
    metric = compare.Metric("loss", less_is_better=True)
    float_rows = synthetic_rows({("no_noise", 0, "none"): [1.0, 2.0, 4.0]}).assign(eval_bits=32)
    found = {}
    for width, lost in ((4, (0.1, 0.3)), (3, (-9.0, -9.0)), (2, (1.0, 2.0))):
        plain = [1.0 + lost[0], 2.0 + lost[1]]
        values = {("no_noise", 0, "own"): plain, ("t0_qat", 0, "own"): [70.0, 90.0]}
        found[width] = synthetic_rows(values).assign(eval_bits=width)
    rows = pd.concat([float_rows, *found.values()])
    margin = compare.margins(rows, compare.unrounded(rows), metric, MEASURE)
    fixed = claims.margins()["loss"]
    assert fixed == 0.02
    expected = {(32, "none"): fixed, (4, "own"): fixed, (3, "own"): fixed, (2, "own"): 0.15}
    assert margin.to_dict() == pytest.approx({(*PLACE, *at): value for at, value in expected.items()})


def test_each_method_is_judged_by_the_rule_that_it_fixes():
    test = {(m, b, r): [k, 9.0] for m, b in (("ste", 2), ("lsq", 2), ("lsq", 4), ("kure", 0))
            for k, r in enumerate(("absmax", "mse", "learned"))
            if r != "learned" or (m, b) == ("lsq", 2)}  # fmt: skip
    rows = compare.with_own_rule(synthetic_rows(test))
    own = rows[rows.scale_rule == "own"].groupby(["method", "train_bits"]).value.first()
    assert own.to_dict() == {("ste", 2): 0, ("lsq", 2): 2, ("lsq", 4): 1, ("kure", 0): 1}
    assert len(rows) == 2 * 9 + 2 * 4
