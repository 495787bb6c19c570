"""What benchmarks share, where more is better and where less is: choices, comparisons, files."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from t0qat.experiments import benchmark, tuning
from t0qat.experiments.arms import KEYS, Arm
from t0qat.experiments.benchmark import Run
from t0qat.experiments.compare import Metric
from t0qat.experiments.tuning import FIRST, Rivals, halving
from t0qat.pipeline import grid
from t0qat.pipeline.parameters import ParameterError

MORE, LESS = Metric("loss", less_is_better=False), Metric("loss", less_is_better=True)
ARMS = [("no_noise", 0), ("random_bits", 0), ("ste", 4), ("ste", 2), ("t0_qat", 0)]


def rows_of(seed: int, replicates: int) -> pd.DataFrame:
    """A value an arm, replicate, width and rule; no two alike."""
    draws = np.random.default_rng(seed)
    return pd.DataFrame(
        Arm("d", "m", method, bits)._asdict()
        | {"replicate": i}
        | {"eval_bits": width, "scale_rule": rule, "metric": metric, "value": draws.normal()}
        for method, bits in ARMS
        for i in range(replicates)
        for width, rule in [(32, "none"), *((w, r) for w in (4, 2) for r in ("absmax", "mse"))]
        for metric in ("loss", "gradients")
    )


def losses_of(seed: int, replicates: int) -> pd.DataFrame:
    """A loss in tuning of each arm, before rounding and at the widths that it is meant for."""
    draws = np.random.default_rng(seed)
    return pd.DataFrame(
        Arm("d", "m", method, bits)._asdict()
        | {"replicate": FIRST + i}
        | {"eval_bits": width, "loss": draws.normal()}
        for method, bits in ARMS
        for i in range(replicates)
        for width in (32, *((bits,) if bits else (4, 2)))
    )


def mirrored(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows.value.where(rows.metric != "loss", -rows.value))


def test_where_less_is_better_everything_is_as_of_the_negated_values():
    test, losses, tried = rows_of(1, 4), losses_of(2, 3), pd.DataFrame({"x": [1.0]})
    more = benchmark.files("a", Run(tried, losses, test, {}), MORE)
    less = benchmark.files("a", Run(tried, losses, mirrored(test), {}), LESS)
    ends = ("", "_any", "_kept", "_paired", "_any_paired", "_tuning", "_tuned")
    assert set(more) == {f"a{end}" for end in ends}
    for name in set(more) - {"a_tuning", "a_tuned"}:
        number = "mean" if "mean" in more[name] else "estimate"
        values = {number: -less[name][number], "ci_low": -less[name].ci_high}
        values |= {"skewness": -less[name].skewness} if "skewness" in less[name] else {}
        turned = less[name].assign(**values, ci_high=-less[name].ci_low)
        other = less[name].get("metric", "loss") != "loss"
        turned = turned.where(~pd.Series(other, turned.index), less[name])
        pd.testing.assert_frame_equal(turned, more[name])


def test_what_the_chosen_ones_lost_in_tuning_is_a_file_with_an_interval_from_two_seeds_on():
    for n in (3, 1):
        losses = losses_of(2, n)
        table = benchmark.files("a", Run(pd.DataFrame(), losses, rows_of(1, 4), {}), LESS)["a_tuned"]
        assert len(table) == len(losses) / n
        (row,) = table.query("method == 'ste' and eval_bits == 4").to_dict("records")
        mine = losses.query("method == 'ste' and eval_bits == 4").loss
        ends = stats.t.interval(0.95, n - 1, mine.mean(), stats.sem(mine)) if n > 1 else (np.nan,) * 2
        expected = [mine.mean(), *ends, n]
        np.testing.assert_allclose([row[c] for c in ("mean", "ci_low", "ci_high", "n")], expected)


def test_the_worst_is_the_most_where_less_is_better_and_rivals_lost_least_in_tuning():
    test, losses = rows_of(1, 4), losses_of(2, 3)
    files = benchmark.files("a", Run(pd.DataFrame(), losses, test, {}), LESS)
    at = {"method": "t0_qat", "eval_bits": 2, "metric": "loss"}
    rows = files["a"].set_index([*at, "scale_rule"])["mean"]
    assert rows[*at.values(), "own"] == rows[*at.values(), "mse"]
    scored = test.query("method == 't0_qat' and scale_rule == 'mse' and metric == 'loss'")
    worst = scored.groupby("replicate").value.max().mean()
    found = files["a_any"].query("method == 't0_qat' and scale_rule == 'mse' and quantity == 'worst'")
    assert found["mean"].item() == pytest.approx(worst)
    others = losses[losses.method != "t0_qat"]
    best = others[others.eval_bits == 2].groupby("method").loss.mean().idxmin()
    pairs = files["a_paired"].query("method == 't0_qat' and against == 'best_baseline'")
    assert pairs[pairs.eval_bits == 2].other.item() == best
    assert {*files["a_paired"].scale_rule} == {"own", "none"}
    # Over widths, the rivals are those that train once for all.
    free = others[(others.train_bits == 0) & (others.eval_bits != 32)]
    for quantity, how in (("mean", "mean"), ("worst", "max")):
        lost = free.groupby(["method", "replicate"]).loss.agg(how).groupby("method").mean()
        pair = files["a_any_paired"].query("method == 't0_qat' and against == 'best_baseline'")
        assert pair[pair.quantity == quantity].other.item() == lost.idxmin()


def test_rounds_take_the_trainings_and_keep_a_quarter():
    # A third of a training each for more than 8, of which a quarter is left.
    assert halving(20, 40) == [(5, 3), (2, 12)] and halving(12, 23) == [(3, 3), (2, 8)]
    assert halving(4, 40) == [(4, 5), (2, 15)] and halving(8, 40) == [(8, 2), (2, 14)]
    assert halving(2, 40) == [(2, 20)] and halving(1, 7) == [(1, 7)]
    assert halving(5, 5) == [(5, 1)]
    with pytest.raises(ParameterError, match="trainings = 3: 4 candidates take 4 or more"):
        halving(4, 3)
    with pytest.raises(ParameterError, match="trainings = 6: 12 candidates take 7 or more"):
        halving(12, 6)
    assert halving(12, 7) == [(3, 1)]


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 5, 9, 12, 20, 25, 64])
def test_rounds_never_take_more_and_leave_less_than_one_more_round_of_the_last(candidates):
    for trainings in range(candidates, 200):
        rounds = halving(candidates, trainings)
        before = [0, *(seen for _, seen in rounds)]
        spent = sum(size * (seen - b) for (size, seen), b in zip(rounds, before, strict=False))
        cut = 0.333 * candidates if candidates > 8 else 0
        assert trainings - cut - 3 < spent <= trainings - cut
        sizes, seen = zip(*rounds, strict=True)
        assert sizes[0] == (-(-candidates // 4) if cut else candidates) and [*seen] == sorted({*seen})


def loss_of(arm: str, candidate: int, replicate: int, budget: float = 1) -> list[list]:
    """What a toy training is asked: candidate 2 is best, but looks bad on the first replicate.

    A short one loses more, and takes fewer gradients.
    """
    quality = {2: 0.1}.get(candidate, 0.2 + 0.1 * candidate)
    unlucky = 0.15 * (candidate == 2 and replicate == FIRST)
    wave = 0.01 * (replicate - FIRST)
    losses = {4: quality + unlucky + wave, 2: quality + wave}
    rows = [[bits, "mse", "loss", loss + (budget < 1)] for bits, loss in losses.items()]
    return [[32, "none", "loss", -5.0], [32, "none", "gradients", 7 if budget == 1 else 2], *rows]


def test_halving_finds_the_best_on_shared_replicates_and_counts_what_it_took(monkeypatch):
    asked = []

    def run(cells, words):
        asked.extend(cells)
        return [loss_of(*cell) for cell in cells]

    monkeypatch.setattr(grid, "run", run)
    arms = [Arm("d", "m", "kure", 0), Arm("d", "m", "no_noise", 0)]
    many = [(0.1, float(k)) for k in range(20)]
    rivals = [Rivals(arms[0], many, halving(20, 40)), Rivals(arms[1], many[:4], halving(4, 40))]
    table, losses = tuning.tune(rivals, lambda arm, setting, *of: (arm.method, int(setting[1]), *of))
    assert len(asked) == len({*asked}) == 20 + 33 + 40
    by_arm = table.groupby("method")
    assert by_arm.n.sum().to_dict() == {"kure": 33, "no_noise": 40}
    assert by_arm.gradients.sum().to_dict() == {"kure": 7 * 33 + 2 * 20, "no_noise": 280}
    assert by_arm.short.count().to_dict() == {"kure": 20, "no_noise": 0}
    gone = table[(table.method == "kure") & table.n.isna()]
    assert [*gone.strength] == [*range(5, 20)] and gone["mean"].isna().all()
    assert gone.short.tolist() == pytest.approx([1.2 + 0.1 * k for k in range(5, 20)])
    assert tuning.chosen(table) == {arms[0]: (0.1, 2.0), arms[1]: (0.1, 2.0)}
    best = table[(table.method == "kure") & (table.chosen == 1)].iloc[0]
    scores = [np.mean([loss for _, _, m, loss in loss_of("", 2, FIRST + i)[2:]]) for i in range(12)]
    assert best["mean"] == pytest.approx(np.mean(scores)) and best.n == 12
    assert table[table.n == 1][["ci_low", "ci_high"]].isna().all(axis=None)
    assert losses.groupby("method").size().to_dict() == {"kure": 3 * 12, "no_noise": 3 * 15}
    assert losses[losses.eval_bits == 4].iloc[0].loss == pytest.approx(0.25)


def test_of_equal_candidates_the_first_is_chosen(monkeypatch):
    rows = [[4, "mse", "loss", 0.1 + 0.2], [32, "none", "gradients", 1]]
    monkeypatch.setattr(grid, "run", lambda cells, words: [rows for _ in cells])
    arm = Arm("d", "m", "no_noise", 0)
    table, _ = tuning.tune([Rivals(arm, [(0.1, 1.0), (0.2, 1.0)], [(2, 3)])], lambda *_: None)
    assert table.chosen.tolist() == [1, 0] and (table.groupby(KEYS).chosen.sum() == 1).all()
