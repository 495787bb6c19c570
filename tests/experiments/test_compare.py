"""Comparisons of arms, by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from t0qat.experiments import compare, vision
from t0qat.experiments.arms import Arm


def synthetic_rows(values: dict, **more) -> pd.DataFrame:
    """Rows of loss at 2 bits: (method, train_bits, rule) -> values of replicates."""
    return pd.DataFrame(
        Arm("d", "m", method, bits)._asdict()
        | {"replicate": i, "eval_bits": 2, "scale_rule": rule, "metric": "loss", "value": value}
        for (method, bits, rule), each in values.items()
        for i, value in enumerate(each)
    )


def test_differences_are_paired_corrected_and_against_the_baseline_that_lost_least_in_tuning():
    draws = np.random.default_rng(3)
    arms_ = [("no_noise", 0), ("random_bits", 0), ("ste", 2), ("t0_qat", 0)]
    test = {(*arm, "own"): draws.normal(0.9, 0.05, 12) for arm in arms_}
    test["no_noise", 0, "own"] += 1.0  # the best in the test, which must not count
    test["t0_qat", 0, "own"] = test["t0_qat", 0, "own"][:5]  # fewer replicates, the first ones
    known = {(*arm, "own"): [v, v] for arm, v in zip(arms_, (0.5, 0.2, 0.3, 0.1), strict=True)}
    rows = synthetic_rows(test).sample(frac=1, random_state=1)
    losses = synthetic_rows(known).rename(columns={"value": "loss"})
    table = compare.differences(rows, losses, ["eval_bits", "scale_rule"])
    best = table[table.against == "best_baseline"].set_index("method").other.to_dict()
    assert best == {m: "random_bits" for m in ("no_noise", "ste", "t0_qat")} | {"random_bits": "ste"}
    p = []
    for row in table.itertuples():
        n = 5 if "t0_qat" in (row.method, row.other) else 12
        keys = (row.method, row.train_bits, "own"), (row.other, row.other_bits, "own")
        pair = [test[key][:n] for key in keys]
        assert row.estimate == pytest.approx(np.mean(pair[0] - pair[1])) and row.n == n
        p.append(stats.ttest_rel(*pair).pvalue)
        power = TTestPower().power(row.detectable / np.std(pair[0] - pair[1], ddof=1), n, 0.05)
        assert power == pytest.approx(0.9, abs=1e-6)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)).clip(max=1)
    assert table.p_holm.to_numpy()[order] == pytest.approx(stepped)


def test_what_is_kept_is_measured_from_plain_training_that_is_not_rounded():
    draws = np.random.default_rng(5)
    values = {(m, 0, "mse"): draws.normal(0.9, 0.05, 9) for m in ("no_noise", "t0_qat")}
    unrounded = draws.normal(0.95, 0.01, 9)
    float_rows = synthetic_rows({("no_noise", 0, "none"): unrounded}).assign(eval_bits=32)
    worse = synthetic_rows({("t0_qat", 0, "none"): unrounded - 0.5}).assign(eval_bits=32)
    rows = pd.concat([synthetic_rows(values), worse, float_rows]).sample(frac=1, random_state=2)
    table = compare.kept(rows).set_index("method")
    for method in ("no_noise", "t0_qat"):
        difference = values[method, 0, "mse"] - unrounded
        low, high = stats.t.interval(0.95, 8, difference.mean(), stats.sem(difference))
        row = table.loc[method]
        assert [row.estimate, row.ci_low, row.ci_high] == pytest.approx([difference.mean(), low, high])
        assert (row.other, row.against, row.n) == ("no_noise", "unrounded", 9)


def test_each_method_is_judged_by_the_rule_that_it_fixes():
    test = {(m, b, r): [k, 9.0] for m, b in (("ste", 2), ("lsq", 2), ("lsq", 4), ("kure", 0))
            for k, r in enumerate(("absmax", "mse", "learned"))
            if r != "learned" or (m, b) == ("lsq", 2)}  # fmt: skip
    rows = compare.with_own_rule(synthetic_rows(test), vision.LOSS)
    own = rows[rows.scale_rule == "own"].groupby(["method", "train_bits"]).value.first()
    assert own.to_dict() == {("ste", 2): 0, ("lsq", 2): 2, ("lsq", 4): 1, ("kure", 0): 1}
    assert len(rows) == 2 * 9 + 2 * 4
