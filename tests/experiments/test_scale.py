"""The scale experiments against plain loops, scipy, counting, and what must be true of a p-value."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import r2_score
from test_published import plain_run, rounded

from t0qat.exhibits import figures
from t0qat.exhibits import scale as scales
from t0qat.exhibits.rows import rows_of
from t0qat.experiments import calibration, noise_choice, published, scale
from t0qat.experiments.calibration import Setting
from t0qat.experiments.published import Losses
from t0qat.pipeline import claims, decision
from t0qat.training import constants, linear, tasks
from t0qat.training.streams import stream
from t0qat.training.tasks import TASKS, synthetic

XI = 4 / 3 * 1e-4
SMALL = {"epochs": 40, "learning_rate": 0.02}


def additive(noise_scale: float):
    return lambda p, draws: p + np.float32(noise_scale) * draws


def test_scalings_hold_zero_the_named_ones_and_log_spaced_ones_that_a_file_can_tell_apart():
    found = scale.scalings(43)
    assert {0, 0.5, 1, 2, 40_000, 80_000, 160_000, 0.1, 1e6} <= set(found)
    assert (np.diff(found) > 0).all() and len(found) >= 43
    assert len({f"{value:.9g}" for value in found}) == len(found)
    spaced = np.setdiff1d(found, [0, 0.5, 1, 2, 40_000, 80_000, 160_000, 10**0])
    assert (spaced[1:] / spaced[:-1]).max() < 10 ** (2.01 / 6)  # 6 a decade, but where 1 was taken out


@pytest.mark.parametrize("learning_rate", [0.005, 0.02])
def test_the_sweep_is_the_published_experiment_at_its_scaling_and_without_noise(learning_rate):
    settings = {"replicates": 60, "epochs": 30, "target": "normal", "learning_rate": learning_rate}
    sweep = scale.sweep(points=43, **settings)
    for scaling, method in ((80_000.0, "t0_qat"), (0.0, "no_noise")):
        losses, _ = published.published(**settings)
        for mine, theirs in zip(sweep.at(scaling), losses[method], strict=True):
            assert np.array_equal(mine, theirs)
    other, _ = published.published(xi_scaling=2.0, **settings)
    assert np.array_equal(sweep.at(2.0).quantized, other["t0_qat"].quantized)


def test_replicates_of_a_sweep_have_the_same_bits_in_any_batch(monkeypatch):
    settings = {"replicates": 30, "points": 5, "epochs": 10}
    whole = scale.sweep(**settings)
    monkeypatch.setattr(scale, "WIDTH", 7 * len(whole.scalings))  # seven replicates a batch
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")  # in two processes
    again = scale.sweep(**settings)
    few = scale.sweep(**settings | {"replicates": 3})
    for a, b, c in zip(whole.losses, again.losses, few.losses, strict=True):
        assert np.array_equal(a, b) and np.array_equal(a[:, :3], c)


def test_batches_change_nothing_in_the_other_experiments(monkeypatch):
    def tables() -> list[pd.DataFrame]:
        arms = noise_choice.tuning(replicates=3, tuning_points=2, bits=[4], **SMALL)
        runs = calibration.calibrate(calibration_replicates=3, **GRID, epochs=5)
        constants = noise_choice.constants(replicates=3, bits=[4], **SMALL)
        return [noise_choice.arm_means(arms), *constants, calibration.compatibility(runs, 0.25)]

    whole = tables()
    monkeypatch.setattr(scale, "SHARE", 2)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    for one, parts in zip(whole, tables(), strict=True):
        assert one.equals(parts)


def test_explained_variance_is_that_of_sklearn():
    sweep = scale.sweep(replicates=2, points=2, **SMALL)
    for i in range(2):
        data = synthetic(i)
        w, _ = plain_run(data, i, "", additive(XI * 40_000), 0, 40, 0.02)
        predicted = data.inputs @ w[:-1] + w[-1]
        mine = sweep.quantity("explained_full_precision")[list(sweep.scalings).index(40_000), i]
        assert mine == pytest.approx(r2_score(data.target, predicted), abs=1e-5)


def made(quantized: np.ndarray) -> scale.Sweep:
    """A sweep of scalings 0, 1, ... with these losses, (scalings, replicates)."""
    full = quantized - 0.5
    return scale.Sweep(np.arange(float(len(quantized))), Losses(full, quantized), np.ones(len(full[0])))


def test_the_best_scaling_and_its_interval_against_resampling_one_by_one():
    draws = np.random.default_rng(3)
    shared = draws.normal(0, 5, 80)  # much larger than what sets the scalings apart
    losses = 10 + shared + draws.normal(0, 1, (5, 80)) + np.array([[1.0], [0.05], [0.0], [0.1], [2.0]])
    found = scale.best(made(losses)).set_index("quantity").loc["quantized"]
    assert found.estimate == losses.mean(1).argmin()
    winners = [losses[:, draws.integers(0, 80, 80)].mean(1).argmin() for _ in range(4000)]
    shares = np.bincount(winners, minlength=5) / 4000
    assert 1 <= found.ci_low <= found.estimate <= found.ci_high <= 3  # 0 and 4 never win
    below, above = shares[: int(found.ci_low)].sum(), shares[int(found.ci_high) + 1 :].sum()
    assert below < 0.035 and above < 0.035
    assert shares[: int(found.ci_low) + 1].sum() > 0.015 and shares[int(found.ci_high) :].sum() > 0.015

    tied = made(np.ones((4, 1)) * draws.normal(size=30))
    assert (scale.best(tied)[["estimate", "ci_low", "ci_high"]] == 0).all(
        axis=None
    )  # ties: the smallest


def test_excess_over_the_best_against_scipy():
    draws = np.random.default_rng(4)
    losses = draws.normal(5, 1, 50) + draws.normal(0, 0.1, (3, 50)) + np.array([[0.3], [0], [0.01]])
    table = scale.excess(made(losses)).query("quantity == 'quantized'").set_index("xi_scaling")
    best = losses.mean(1).argmin()
    for i in range(3):
        assert table.estimate[i] == pytest.approx(losses[i].mean() - losses[best].mean(), abs=1e-12)
        if i != best:
            low, high = stats.ttest_rel(losses[i], losses[best]).confidence_interval()
            assert (table.ci_low[i], table.ci_high[i]) == pytest.approx((low, high))
    assert table.p_holm[best] == 1 and table.p_holm[0] < 1e-6


def test_neighbours_are_the_named_scaling_minus_half_and_twice_of_it():
    sweep = scale.sweep(replicates=12, points=2, **SMALL)
    table = scale.neighbours(sweep).set_index(["scaling", "factor", "quantity"])
    assert len(table) == 2 * 2 * 3
    runs = {
        scaling: published.published(replicates=12, xi_scaling=scaling, **SMALL)[0]["t0_qat"]
        for scaling in (0.5, 1.0, 2.0, 40_000.0, 80_000.0, 160_000.0)
    }
    for (name, scaling), factor in itertools.product(scale.SCALINGS.items(), (0.5, 2.0)):
        for quantity in published.QUANTITIES:
            pair = [getattr(runs[s], quantity) for s in (scaling, factor * scaling)]
            row, test = table.loc[name, factor, quantity], stats.ttest_rel(*pair)
            assert row.estimate == pytest.approx((pair[0] - pair[1]).mean(), abs=1e-14)
            assert (row.ci_low, row.ci_high) == pytest.approx(test.confidence_interval(), abs=1e-14)
            assert row.p_holm >= test.pvalue * (1 - 1e-9)


def left_unexplained(w: np.ndarray, inputs: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """By hand, after rounding and before: at 4 bits, mean over both ranges with the absmax step."""
    z = np.column_stack([inputs.astype(float), np.ones(len(inputs))])
    used = rounded(w, 4, False), rounded(w, 4, True), w
    losses = [np.mean((z @ v - target) ** 2) for v in used] / np.var(target.astype(float))
    return losses[:2].mean(), losses[2]


def test_tuning_against_choosing_by_hand(monkeypatch):
    """Each replicate splits, trains each scaling in a plain loop, rounds, chooses, trains again."""
    monkeypatch.setattr(noise_choice, "AVERAGED", ("absmax",))
    arms = noise_choice.tuning(replicates=3, tuning_points=2, bits=[4], target_noise=0.5, **SMALL)
    tried = scale.scalings(2)
    picked = []
    for dataset, i in itertools.product(TASKS, range(3)):
        data = TASKS[dataset](i, **({"target_noise": 0.5} if dataset == "synthetic" else {}))
        order = stream("validation_split", i).permutation(len(data.target))
        held, rest = np.split(order, [round(len(order) / 4)])
        part = data._replace(inputs=data.inputs[rest], target=data.target[rest])
        scores = []
        for scaling in tried:
            w, _ = plain_run(part, i, "", additive(XI * scaling), 0, 40, 0.02)
            scores.append(left_unexplained(w, data.inputs[held], data.target[held])[0])
        found = arms[dataset]
        chosen = np.argmin(np.abs(XI * tried - found["tuned"].noise[i]))
        assert scores[chosen] == pytest.approx(min(scores), rel=1e-5)
        picked.append(chosen)
        plain, _ = plain_run(data, i, "", additive(0), 0, 40, 0.02)
        matched = 2 * np.abs(plain[:-1]).max() / 15 / np.sqrt(12)
        noises = {"plain": 0, "xi_alone": XI, "published": 32 / 3, "matched": matched}
        noises |= {"tuned": XI * tried[chosen], "standard_qat": 0.4}
        assert noises.keys() == found.keys()
        for arm, noise in noises.items():
            assert found[arm].noise[i] == pytest.approx(noise, rel=1e-4)
            w, _ = plain_run(data, i, "", additive(noise), 0, 40, 0.02)
            after, before = left_unexplained(w, data.test_inputs, data.test_target)
            assert found[arm].unexplained[i] == pytest.approx(after, rel=1e-3)
            assert found[arm].drop[i] == pytest.approx(after - before, abs=1e-3 * after)
    assert len(set(picked)) > 1


def test_arms_of_the_papers_methods_are_those_of_the_integer_grids():
    cells = published.integer_grids(replicates=6, bits=[4, 2], **SMALL)
    arms = noise_choice.tuning(replicates=6, tuning_points=2, bits=[4, 2], **SMALL)
    named = {"published": "t0_qat", "plain": "no_noise", "standard_qat": "standard_qat"}
    for (dataset, task), (arm, method) in itertools.product(TASKS.items(), named.items()):
        variance = [np.var(task(i).test_target.astype(float)) for i in range(6)]
        there = [
            losses
            for cell, losses in cells.items()
            if cell[:2] == (dataset, method) and cell.grid.scale in ("absmax", "mse")
        ]
        assert len(there) == 8
        found = arms[dataset][arm]
        for mine, theirs in ((found.unexplained, "quantized"), (found.drop, "drop")):
            expected = np.mean([getattr(losses, theirs) for losses in there], axis=0) / variance
            np.testing.assert_allclose(mine, expected, rtol=1e-7, atol=1e-9)


def test_a_validation_split_leaves_the_test_part_out_and_parts_the_rest():
    data = TASKS["diabetes"](5)
    split = tasks.held_out_quarter(data, 5)
    assert len(split.test_target) == round(len(data.target) / 4)
    both = np.concatenate([split.inputs, split.test_inputs])
    assert sorted(map(tuple, both)) == sorted(map(tuple, data.inputs))
    other = tasks.held_out_quarter(data, 6)
    assert not np.array_equal(split.test_target, other.test_target)


def test_every_pair_of_arms_that_a_claim_reads_is_there_with_its_sign():
    draws = np.random.default_rng(5)
    arms = {
        dataset: {
            arm: noise_choice.Arm(np.ones(40), *draws.normal([[i], [-i]], [[1], [5]], (2, 40)))
            for i, arm in enumerate(noise_choice.ARMS)
        }
        for dataset in TASKS
    }
    table = noise_choice.arm_differences(arms)
    assert len(table) == 2 * 2 * 15
    asked = [one for c in claims.declared() for one in c.every if one.file == "scale_tuning"]
    assert len(asked) == 6
    for keys in (keys for one in asked for keys in claims.each(one, table)):
        (row,) = rows_of(table, **keys)
        pair = (arms[row["dataset"]][row[key]] for key in ("arm", "other_arm"))
        first, second = (getattr(arm, row["quantity"]).mean() for arm in pair)
        assert row["estimate"] == pytest.approx(first - second)
    for quantity, rows in table.groupby("quantity"):  # the least of a family's p-values times its size
        raw = [
            stats.ttest_rel(getattr(one, quantity), getattr(other, quantity)).pvalue
            for each in arms.values()
            for one, other in itertools.combinations(each.values(), 2)
        ]
        assert rows.p_holm.min() == pytest.approx(30 * min(raw))
    means = noise_choice.arm_means(arms).set_index(["dataset", "arm", "quantity"])
    assert len(means) == 2 * 6 * 3
    assert means.loc["diabetes", "tuned", "drop"]["mean"] == arms["diabetes"]["tuned"].drop.mean()
    scaling = means.loc["diabetes", "tuned", "log_scaling"]
    assert scaling["mean"] == pytest.approx(np.log10(7501))  # noise 1, and 1 / xi is 7500
    assert scaling["std"] == pytest.approx(0, abs=1e-12)


def test_constants_are_noises_and_only_the_product_counts(monkeypatch):
    monkeypatch.setitem(constants.CONSTANTS, "forty_thousand_xi", 40_000 * XI)
    added, product = noise_choice.constants(replicates=8, bits=[4, 2], **SMALL)
    assert (product.largest_difference == 0).all()
    np.testing.assert_allclose(product.magnitude * product.multiplier, 32 / 3, rtol=1e-12)
    table = added.set_index(["dataset", "constant", "quantity"]).estimate
    arms = noise_choice.tuning(replicates=8, tuning_points=2, bits=[4, 2], **SMALL)
    for dataset, each in arms.items():
        plain = each["plain"].unexplained.mean()
        for constant, quantity, arm in (
            ("xi", "unexplained_added", "xi_alone"),
            ("xi", "unexplained_added_published", "published"),
            ("fine_structure", "unexplained_added_published", "published"),
        ):
            expected = each[arm].unexplained.mean() - plain
            assert table[dataset, constant, quantity] == pytest.approx(expected, rel=1e-9)
    alone = table.xs("unexplained_added", level="quantity")
    apart = table.xs("unexplained_from_xi", level="quantity")
    assert len(apart) == len(alone) - len(arms)  # xi from itself is no row
    for (dataset, constant), estimate in apart.items():
        expected = alone[dataset, constant] - alone[dataset, "xi"]
        assert estimate == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert set(table.index.get_level_values("constant")) == set(constants.CONSTANTS)
    body = scales.constants_table({"constants": added, "constants_product": product})[0]
    assert "forty thousand xi" in body
    labels = [t.get_text() for t in figures.constants(added, product).axes[0].get_yticklabels()]
    assert "forty thousand xi  5.333" in labels


def test_another_product_would_be_seen():
    """The measured difference can be other than zero: one step of float32 in the noise changes bits."""
    tried = [10.0, float(np.nextafter(np.float32(10), np.float32(11)))]
    runs = linear.Setup(epochs=40).runs("synthetic", range(1))
    trained = runs.trained_at(tried, runs.noise())
    assert (trained[:, 0] != trained[:, 1]).any()


GRID = {"target_noises": [0, 0.3], "baseline_noises": [0.4, 2], "evaluation_noises": [0.3, 0.45, 1]}


def test_a_setting_of_the_calibration_is_the_published_experiment_with_it():
    runs = calibration.calibrate(calibration_replicates=20, **GRID, epochs=30)
    assert len(runs) == 2 * 2 * 2 * 3
    for setting in (Setting("normal", 0.3, 0.4, 1.0), Setting("sum", 0.0, 2.0, 0.45)):
        alone = published.published(replicates=20, epochs=30, **setting._asdict())
        for mine, theirs in zip(runs[setting], alone, strict=True):
            for method in ("standard_qat", "t0_qat"):
                assert all(map(np.array_equal, mine[method], theirs[method]))
    table = calibration.compatibility(runs, 0.25).set_index([*Setting._fields, "quantity"])
    expected = published.table1_paired(*alone).set_index("quantity")
    for quantity, row in expected.iterrows():
        assert table.loc[(*setting, quantity)].tolist() == row.tolist()


def separate(simulated: np.ndarray) -> tuple[dict[str, Losses], ...]:
    """Two runs whose four independent numbers are these: (4, replicates)."""
    standard = Losses(simulated[0], simulated[0] + simulated[1])
    t0 = Losses(simulated[2], simulated[2] + simulated[3])
    return {"standard_qat": standard, "t0_qat": t0}, {"t0_qat": t0}


REPORTED = np.array([0.318700, 2.935914, 9.501066, 1.435758])
SETTING = Setting("sum", 0.1, 0.4, 0.5)


def agreement(simulated: np.ndarray, tolerance: float = 0.2) -> pd.DataFrame:
    return calibration.compatibility({SETTING: separate(simulated)}, tolerance).set_index("quantity")


def test_acceptance_and_p_value_against_counting():
    draws = np.random.default_rng(6)
    simulated = REPORTED[:, None] * draws.normal(1.05, 0.2, (4, 300))
    table = agreement(simulated)
    for quantity, tolerance in (
        ("acceptance_half", 0.1),
        ("acceptance", 0.2),
        ("acceptance_double", 0.4),
    ):
        off = np.abs(simulated / REPORTED[:, None] - 1)
        count = sum(all(off[k, i] <= tolerance for k in range(4)) for i in range(300))
        interval = stats.binomtest(int(count), 300).proportion_ci(method="wilson")
        expected = count / 300, interval.low, interval.high
        assert tuple(table.loc[quantity, ["estimate", "ci_low", "ci_high"]]) == pytest.approx(expected)
    assert 0 < table.estimate["acceptance_half"] < table.estimate["acceptance_double"]
    smallest = min(
        min((simulated[k] <= REPORTED[k]).sum(), (simulated[k] >= REPORTED[k]).sum()) for k in range(4)
    )
    assert table.estimate["p_value"] == pytest.approx(min(1, 4 * 2 * (smallest + 1) / 301))


@pytest.mark.parametrize(("n", "ruled_out"), [(159, False), (160, True)])
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("side", [0.5, 2.0])
def test_a_number_beyond_all_runs_rules_a_setting_out_from_160_replicates_on(n, ruled_out, number, side):
    simulated = REPORTED[:, None] * np.random.default_rng(7).normal(1, 0.1, (4, n))
    simulated[number] *= side
    p = agreement(simulated).estimate["p_value"]
    assert (p < calibration.ERROR_RATE) == ruled_out


def test_a_true_setting_is_ruled_out_at_most_as_often_as_the_rule_says(monkeypatch):
    draws = np.random.default_rng(8)
    ruled_out = 0
    for _ in range(300):
        world = draws.gamma(4, 1, (4, 201))  # the paper's numbers are one more draw like the runs
        full, drop = ("full_precision", "drop")
        reported = {
            "standard_qat": {full: world[0, 0], drop: world[1, 0]},
            "t0_qat": {full: world[2, 0], drop: world[3, 0]},
        }
        monkeypatch.setattr(calibration, "REPORTED", reported)
        rows = {row["quantity"]: row for row in calibration._agreement(*_pair(world[:, 1:]), 0.2)}
        ruled_out += rows["p_value"]["estimate"] < calibration.ERROR_RATE
    assert 2 <= ruled_out <= stats.binom.ppf(0.9999, 300, 0.05)


def _pair(simulated):
    first, second = separate(simulated)
    return first["standard_qat"], second["t0_qat"]


def test_setting_verdicts_follow_the_rule_of_the_claims():
    numbers = {  # drop difference and chance of the larger loss, each (estimate, low, high)
        Setting("sum", 0.0, 0.1, 0.1): ((-1.0, -1.2, -0.8), (0.2, 0.1, 0.3)),
        Setting("sum", 0.0, 0.1, 0.2): ((1.0, 0.8, 1.2), (0.9, 0.85, 0.95)),
        Setting("sum", 0.0, 0.1, 0.3): ((0.21, 0.01, 0.41), (0.5, 0.4, 0.6)),  # clear, were it alone
        Setting("sum", 0.0, 0.1, 0.4): ((0.0, 0.0, 0.0), (0.0, 0.0, 0.04)),  # no evaluation noise
    }
    quantities = ("drop_difference", "chance_t0_worse_quantized")
    table = pd.DataFrame(
        setting._asdict() | {"quantity": q, "estimate": e, "ci_low": low, "ci_high": high, "n": 100}
        for setting, each in numbers.items()
        for q, (e, low, high) in zip(quantities, each, strict=True)
    )
    found = calibration.setting_verdicts(table)
    verdicts = found.pivot(index="evaluation_noise", columns="id", values="verdict")
    yes, no, open_ = decision.SUPPORTED, decision.CONTRADICTED, decision.UNDECIDED
    assert verdicts.C1.tolist() == [yes, no, open_, decision.UNTESTABLE]
    assert verdicts.C2.tolist() == [yes, no, open_, yes]
    raw = 2 * stats.t.sf(0.21 / (0.2 / stats.t.ppf(0.975, 99)), 99)
    assert raw < 0.05
    p = found[(found.id == "C1") & (found.evaluation_noise == 0.3)].p_corrected.item()
    assert p == pytest.approx(8 * raw)  # of four settings and two claims
