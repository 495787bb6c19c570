"""What benchmarks share, where more is better and where less is: choices, comparisons, files."""

import numpy as np
import pandas as pd
import pytest

from t0qat import benchmark, compare
from t0qat.arms import KEYS, Arm
from t0qat.benchmark import Run
from t0qat.compare import Metric

MORE, LESS = Metric("score", less_is_better=False), Metric("score", less_is_better=True)
ARMS = [("no_noise", 0), ("random_bits", 0), ("ste", 4), ("ste", 2), ("t0_qat", 0)]


def rows_of(seed: int, replicates: int, candidates: int = 0) -> pd.DataFrame:
    """A value an arm, replicate, width and rule; no two alike."""
    draws = np.random.default_rng(seed)
    return pd.DataFrame(
        {"dataset": "d", "model": "m", "method": method, "train_bits": bits, "replicate": i}
        | {"eval_bits": width, "scale_rule": rule, "metric": metric, "value": draws.normal()}
        | ({"candidate": number} if candidates else {})
        for method, bits in ARMS
        for number in range(max(candidates, 1))
        for i in range(replicates)
        for width, rule in [(32, "none"), *((w, r) for w in (4, 2) for r in ("absmax", "mse"))]
        for metric in ("score", "gradients")
    )


def mirrored(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows.value.where(rows.metric != "score", -rows.value))


def test_where_less_is_better_everything_is_as_of_the_negated_values():
    test, known, tuning = rows_of(1, 4), rows_of(2, 3), pd.DataFrame({"x": [1.0]})
    more = benchmark.files("a", Run(tuning, known, test), MORE)
    less = benchmark.files("a", Run(tuning, mirrored(known), mirrored(test)), LESS)
    assert set(more) == {f"a{end}" for end in ("", "_any", "_kept", "_paired", "_any_paired", "_tuning")}
    for name in set(more) - {"a_tuning"}:
        number = "mean" if "mean" in more[name] else "estimate"
        values = {number: -less[name][number], "ci_low": -less[name].ci_high}
        turned = less[name].assign(**values, ci_high=-less[name].ci_low)
        other = less[name].get("metric", "score") != "score"
        turned = turned.where(~pd.Series(other, turned.index), less[name])
        pd.testing.assert_frame_equal(turned, more[name])


def test_the_fewest_are_chosen_and_the_most_are_worst_where_less_is_better():
    test, known = rows_of(1, 4), rows_of(2, 3)
    files = benchmark.files("a", Run(pd.DataFrame(), known, test), LESS)
    rule = known.query("method == 't0_qat' and eval_bits == 2 and metric == 'score'")
    rule = rule.groupby("scale_rule").value.mean().idxmin()
    at = {"method": "t0_qat", "eval_bits": 2, "metric": "score"}
    rows = files["a"].set_index([*at, "scale_rule"])["mean"]
    assert rows[*at.values(), "own"] == rows[*at.values(), rule]
    scored = test.query("method == 't0_qat' and scale_rule == 'mse' and metric == 'score'")
    worst = scored.groupby("replicate").value.max().mean()
    found = files["a_any"].query("method == 't0_qat' and scale_rule == 'mse' and quantity == 'worst'")
    assert found["mean"].item() == pytest.approx(worst)
    validated = known.query("scale_rule == 'mse' and eval_bits == 2 and metric == 'score'")
    validated = validated[validated.train_bits.isin([0, 2]) & (validated.method != "t0_qat")]
    best = validated.groupby("method").value.mean().idxmin()
    pair = files["a_paired"].query(
        "method == 't0_qat' and scale_rule == 'mse' and eval_bits == 2 and against == 'best_baseline'"
    )
    assert pair.other.item() == best


@pytest.mark.parametrize(("metric", "choose"), [(MORE, max), (LESS, min)])
def test_the_candidate_of_the_best_score_is_chosen(metric, choose):
    tried = rows_of(3, 2, candidates=3)
    settings = [[(0.1 * (k + 1), float(k)) for k in range(3)] for _ in ARMS]
    jobs = benchmark.Jobs([Arm("d", "m", *arm) for arm in ARMS], settings, {}, 2, 1, None)
    table = benchmark.ranked(jobs, tried, metric)
    assert len(table) == 15 and (table.groupby(KEYS).chosen.sum() == 1).all()
    for (_, _, method, bits), group in table.groupby(KEYS, sort=False):
        scores = []
        for candidate in range(3):
            mine = tried[(tried.method == method) & (tried.train_bits == bits)]
            mine = mine[(mine.candidate == candidate) & (mine.metric == "score")]
            widths = [bits] if bits else [4, 2]
            per = [
                [choose(mine[(mine.replicate == i) & (mine.eval_bits == w)].value) for w in widths]
                for i in (0, 1)
            ]
            scores.append(np.mean(per))
        assert group["mean"].tolist() == pytest.approx(scores)
        best = scores.index(choose(scores))
        assert benchmark.settings(table)["d", "m", method, bits] == settings[0][best]


def test_of_equal_candidates_the_first_is_chosen_either_way():
    tried = rows_of(3, 2, candidates=3).assign(value=0.1 + 0.2)
    jobs = benchmark.Jobs([Arm("d", "m", *arm) for arm in ARMS], [[(1.0, 0.0)] * 3] * 5, {}, 2, 1, None)
    for metric in (MORE, LESS):
        table = benchmark.ranked(jobs, tried, metric)
        assert table[table.chosen == 1].candidate.tolist() == [0] * 5
        rows = compare.with_chosen(tried, tried, metric)
        assert len(rows) == len(tried) / 2 * (1 + 2 / 5)  # of the rules, one again
