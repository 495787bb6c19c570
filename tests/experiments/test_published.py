"""Experiments end to end against plain loops, and their tables against pandas, scipy and counting."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from t0qat.exhibits import figures, table1
from t0qat.exhibits.grids import integer_grids
from t0qat.experiments import published
from t0qat.experiments.published import Losses
from t0qat.paper import PAPER
from t0qat.pipeline import results
from t0qat.training import linear, loop, methods, views
from t0qat.training.constants import REPORTED, REPORTED_REDUCTION, reported_evaluation_noise
from t0qat.training.streams import stream
from t0qat.training.tasks import TASKS, synthetic

PUBLISHED = "standard_qat", "t0_qat", "no_noise"


def plain_run(data, replicate, prefix, view, shift_scale, epochs, learning_rate=0.005):
    """One run as the paper describes it: loss before and after Gaussian noise on weight and bias."""
    model = nn.Linear(10, 1)
    start = torch.from_numpy(
        stream("initialization", replicate).uniform(-(10**-0.5), 10**-0.5, 11)
    ).float()
    noise = stream(f"{prefix}training_noise", replicate).standard_normal((epochs, 11), np.float32)
    shift = stream(f"{prefix}evaluation_noise", replicate).standard_normal(11, np.float32)
    with torch.no_grad():
        model.weight.copy_(start[None, :-1])
        model.bias.copy_(start[-1:])
    draws = (torch.from_numpy(part) for row in noise for part in (row[None, :-1], row[-1:]))
    x, y = torch.from_numpy(data.inputs), torch.from_numpy(data.target)[:, None]
    loop.train(model, x, y, view, lambda _: next(draws), epochs=epochs, learning_rate=learning_rate)
    w = np.append(model.weight.detach().numpy()[0], model.bias.item()).astype(float)
    z = np.column_stack([data.test_inputs.astype(float), np.ones(len(data.test_inputs))])
    return w, [np.mean((z @ v - data.test_target) ** 2) for v in (w, w + shift_scale * shift)]


def test_published_is_the_papers_experiment_run_one_at_a_time():
    views = {
        "standard_qat": lambda p, noise: p + 0.4 * noise,
        "t0_qat": lambda p, noise: p + 32 / 3 * noise,
        "no_noise": lambda p, noise: p,
    }
    runs = published.published(replicates=2, target="normal")
    sigma = np.sqrt((2.935914 + 1.435758) / 2 / 11)
    for run, prefix in zip(runs, ("", "second_"), strict=True):
        for name, view in views.items():
            for i in range(2):
                _, losses = plain_run(synthetic(i, 0, "normal"), i, prefix, view, sigma, 300)
                mine = run[name].full_precision[i], run[name].quantized[i], run[name].drop[i]
                assert mine == pytest.approx((*losses, losses[1] - losses[0]), rel=1e-5, abs=1e-5)


def bits(run: dict[str, Losses]) -> dict[str, list[bytes]]:
    return {name: [column[:5].tobytes() for column in losses] for name, losses in run.items()}


@pytest.mark.parametrize("xi_scaling", [7.5, 80_000.0])  # a noise of 1e-3 and the published one
def test_replicates_have_the_same_bits_in_a_small_run_and_across_chunks(xi_scaling, monkeypatch):
    settings = {"epochs": 12, "xi_scaling": xi_scaling, "baseline_noise": 1e-3}
    few, many = (published.published(replicates=n, **settings) for n in (5, 2100))
    assert [bits(run) for run in few] == [bits(run) for run in many]
    late = {name: losses.full_precision[2090:].tobytes() for name, losses in many[0].items()}
    monkeypatch.setattr(
        linear, "chunks", lambda replicates, draws: [range(2090, 2097), range(2097, replicates)]
    )
    alone, _ = published.published(replicates=2100, **settings)
    assert {name: losses.full_precision.tobytes() for name, losses in alone.items()} == late


def test_methods_share_their_draws_within_a_run_and_runs_share_only_data_and_start():
    first, second = published.published(replicates=400, epochs=40, xi_scaling=3000.0, baseline_noise=0.4)
    # xi x 3000 is 0.4 too: the same noise on the same data must give the same numbers.
    for one, other in zip(first["standard_qat"], first["t0_qat"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert np.array_equal(first["no_noise"].full_precision, second["no_noise"].full_precision)
    for name in first:
        assert (first[name].drop != second[name].drop).all()
    assert (first["t0_qat"].full_precision != second["t0_qat"].full_precision).all()
    drops = np.corrcoef(first["no_noise"].drop, second["no_noise"].drop)[0, 1]
    assert abs(drops) < 4 / np.sqrt(400)


def test_seeds_are_other_replicates_and_evaluation_noise_zero_costs_nothing():
    settings = {"replicates": 3, "epochs": 4, "evaluation_noise": 0}
    (first, _), (other, _) = (published.published(seed=seed, **settings) for seed in (0, 1))
    for name in first:
        assert not np.isin(first[name].full_precision, other[name].full_precision).any()
        assert (first[name].drop == 0).all()


def random_run(seed: int, n: int = 400) -> dict[str, Losses]:
    draws = np.random.default_rng(seed)
    return {
        name: Losses(draws.gamma(2, level, n), draws.gamma(2, level, n) + 1.5)
        for name, level in (("standard_qat", 0.5), ("t0_qat", 4), ("no_noise", 0.3))
    }


def test_table1_against_pandas_and_scipy():
    run = random_run(1)
    table = published.table1(run).set_index(["method", "quantity"])
    assert len(table) == 9 and {*table.columns} == {*PAPER.columns_of("table1")[2:]}
    assert table.evaluation_noise.tolist() == pytest.approx([reported_evaluation_noise()] * 9)
    assert (published.table1(run, 0.3).evaluation_noise == 0.3).all()
    for method, losses in run.items():
        raw = pd.DataFrame({"full_precision": losses.full_precision, "quantized": losses.quantized})
        raw["drop"] = raw.quantized - raw.full_precision
        for quantity, values in raw.items():
            row = table.loc[method, quantity]
            low, high = stats.t.interval(0.95, 399, values.mean(), values.sem())
            expected = [
                values.mean(),
                values.std(),
                low,
                high,
                *values.quantile([0.025, 0.5, 0.975]),
                400,
            ]
            names = ["mean", "std", "ci_low", "ci_high", "q025", "median", "q975", "n"]
            np.testing.assert_allclose(row[names].astype(float), expected, rtol=1e-10)
            if method == "no_noise":
                assert np.isnan(row.reported) and np.isnan(row.reported_percentile)
            else:
                assert row.reported == REPORTED[method][quantity]
                assert row.reported_percentile == pytest.approx(100 * (values < row.reported).mean())


def test_table1_paired_against_counting():
    first, second = random_run(2), random_run(3)
    table = published.table1_paired(first, second).set_index("quantity")
    standard, t0 = first["standard_qat"], second["t0_qat"]
    assert (standard.drop < 0).any()  # such a run shows no drop to reduce, whatever the other does
    reduced = worse = 0
    for i in range(400):
        before = standard.quantized[i] - standard.full_precision[i]
        after = t0.quantized[i] - t0.full_precision[i]
        # A reduction by the reported fraction or more: at most 1.435758 / 2.935914 of it is left.
        reduced += before > 0 and after / before <= 1.435758 / 2.935914
        worse += t0.quantized[i] > standard.quantized[i]
    for quantity, count in (
        ("chance_of_reported_reduction", reduced),
        ("chance_t0_worse_quantized", worse),
    ):
        interval = stats.binomtest(count, 400).proportion_ci(method="wilson")
        expected = [count / 400, interval.low, interval.high, 400]
        np.testing.assert_allclose(table.loc[quantity].astype(float), expected, rtol=1e-10)
    difference = stats.ttest_rel(first["t0_qat"].drop, first["standard_qat"].drop)
    expected = [np.mean(first["t0_qat"].drop - first["standard_qat"].drop)]
    expected += [*difference.confidence_interval(0.95), 400]
    np.testing.assert_allclose(table.loc["drop_difference"].astype(float), expected, rtol=1e-10)


def test_the_reported_runs_themselves_show_the_reported_reduction():
    standard, t0 = REPORTED["standard_qat"], REPORTED["t0_qat"]
    run = {
        "standard_qat": Losses(*(np.full(3, standard[q]) for q in ("full_precision", "quantized"))),
        # A little better than reported, as reported, a little worse.
        "t0_qat": Losses(
            np.full(3, t0["full_precision"]), t0["quantized"] + np.array([-1e-4, 0.0, 1e-4])
        ),
    }
    table = published.table1_paired(run, run).set_index("quantity")
    assert table.estimate["chance_of_reported_reduction"] == pytest.approx(2 / 3)
    assert table.estimate["chance_t0_worse_quantized"] == 1


def rounded(w: np.ndarray, bit_width: int, narrow: bool) -> np.ndarray:
    """The ten weights on their absmax grid, the bias as it is, in plain numpy."""
    top = 2 ** (bit_width - 1) - 1
    step = np.abs(w[:-1]).max() / (top if narrow else top + 0.5)
    return np.append(np.clip(np.rint(w[:-1] / step), -top if narrow else -top - 1, top) * step, w[-1])


def test_integer_grids_against_rounding_by_hand():
    epochs, widths = 60, (8, 4, 3, 2)
    cells = published.integer_grids(replicates=2, epochs=epochs, target_noise=0.2, learning_rate=0.01)
    assert len(cells) == 2 * 3 * 4 * 4  # data sets, methods, bits, grids
    views = {"standard_qat": 0.4, "t0_qat": 32 / 3, "no_noise": 0.0}
    for i, dataset, (method, scale) in itertools.product(range(2), TASKS, views.items()):
        data = TASKS[dataset](i, **({"target_noise": 0.2} if dataset == "synthetic" else {}))
        w, (full, _) = plain_run(data, i, "", lambda p, e, s=scale: p + s * e, 0, epochs, 0.01)
        z = np.column_stack([data.test_inputs.astype(float), np.ones(len(data.test_inputs))])
        for bit_width, narrow in itertools.product(widths, (True, False)):
            grid = published.Grid(bit_width, "narrow" if narrow else "full", "absmax")
            mine = cells[published.Cell(dataset, method, grid)]
            assert mine.full_precision[i] == pytest.approx(full, rel=1e-5)
            expected = np.mean((z @ rounded(w, bit_width, narrow) - data.test_target) ** 2)
            assert mine.quantized[i] == pytest.approx(expected, rel=1e-5)


def test_grid_tables_against_scipy_and_holm_by_hand():
    draws = np.random.default_rng(4)
    cells = {
        published.Cell(dataset, method, published.Grid(width)): Losses(
            draws.gamma(2, level, 30), draws.gamma(2, 2 * level, 30)
        )
        for dataset, width in itertools.product(TASKS, (8, 2))
        for method, level in (("standard_qat", 0.2), ("t0_qat", 1.5), ("no_noise", 1.4))
    }
    losses = published.grid_losses(cells).set_index(["dataset", "method", "bits", "quantity"])
    assert len(losses) == 2 * 2 * 3 * 3
    paired = published.grid_differences(cells).set_index(["dataset", "other", "bits", "quantity"])
    assert len(paired) == 2 * 2 * 2 * 2  # no row for T0-QAT against itself or for full precision
    assert set(paired.method) == {"t0_qat"}
    p_values = {}
    for cell, (full, quantized) in cells.items():
        key = cell.dataset, cell.method, cell.grid.bits
        for quantity, values in (
            ("full_precision", full),
            ("quantized", quantized),
            ("drop", quantized - full),
        ):
            row = losses.loc[(*key, quantity)]
            low, high = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
            expected = [values.mean(), low, high, 30]
            np.testing.assert_allclose(row[["mean", "ci_low", "ci_high", "n"]].astype(float), expected)
            if cell.method == "t0_qat" or quantity == "full_precision":
                continue
            mine = cells[published.Cell(cell.dataset, "t0_qat", cell.grid)]
            test = stats.ttest_1samp(getattr(mine, quantity) - values, 0)
            row = paired.loc[(*key, quantity)]
            expected = [np.mean(getattr(mine, quantity) - values), *test.confidence_interval(0.95)]
            np.testing.assert_allclose(row[["estimate", "ci_low", "ci_high"]].astype(float), expected)
            p_values[(*key, quantity)] = test.pvalue
    largest = 0.0
    for rank, key in enumerate(sorted(p_values, key=p_values.get)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[key]))
        assert paired.p_holm[key] == pytest.approx(largest, rel=1e-9)
    assert (paired.p_holm < 0.05).any() and (paired.p_holm > 0.05).any()

    overall = published.grid_overall(cells).set_index(["dataset", "quantity"])
    for dataset, quantity in itertools.product(TASKS, ("quantized", "drop")):
        per_method = {}
        for method in ("t0_qat", "standard_qat"):
            both = [
                getattr(cells[published.Cell(dataset, method, published.Grid(b))], quantity)
                for b in (8, 2)
            ]
            per_method[method] = (both[0] + both[1]) / 2
        test = stats.ttest_rel(per_method["t0_qat"], per_method["standard_qat"])
        row = overall.loc[dataset, quantity]
        expected = [
            np.mean(per_method["t0_qat"] - per_method["standard_qat"]),
            *test.confidence_interval(0.95),
        ]
        np.testing.assert_allclose(row[["estimate", "ci_low", "ci_high"]].astype(float), expected)
        assert (row.method, row.other, row.n) == ("t0_qat", "standard_qat", 30)


def test_a_registered_method_appears_everywhere_and_trains_by_its_own_gradient(monkeypatch, tmp_path):
    """One function and one line: multiplicative noise, whose gradient is not simply handed through."""

    def multiplicative(relative_noise: float = 0.25):
        return lambda parameter, noise: parameter * (1 + relative_noise * noise)

    mine = views.Method("Relative noise", multiplicative, "noise", layer=True)
    monkeypatch.setitem(methods.REGISTRY, "multiplicative", mine)
    runs = published.published(replicates=4, epochs=50)
    for i in range(4):
        _, losses = plain_run(synthetic(i), i, "", multiplicative(), 0, 50)
        assert runs[0]["multiplicative"].full_precision[i] == pytest.approx(losses[0], rel=1e-5)
    table, paired = published.table1(runs[0]), published.table1_paired(*runs)
    assert (table.method == "multiplicative").sum() == 3

    cells = published.integer_grids(replicates=4, epochs=20, bits=[4, 2])
    grids, differences = published.grid_losses(cells), published.grid_differences(cells)
    assert set(grids.method) == {"multiplicative", *PUBLISHED}
    assert set(differences.other) == set(grids.method) - {"t0_qat"}
    assert "multiplicative" not in set(published.grid_differences(cells, "multiplicative").other)

    shown = grids[(grids.range == "full") & (grids.scale == "absmax")]
    frames = {
        "table1": table,
        "table1_paired": paired,
        "table1_same_method": published.table1_same_method(*runs),
        "integer_grids": shown,
        "integer_grids_conventions": grids,
        "integer_grids_paired": differences,
        "integer_grids_overall": published.grid_overall(cells),
    }
    read = published_and_read(frames, tmp_path)
    for text in (table1.table1(read)[0], integer_grids(read)[0]):
        assert "Relative noise" in text
    for figure in (figures.table1(runs[0]), figures.integer_grids(shown)):
        legend = {label.get_text() for label in figure.axes[0].get_legend().get_texts()}
        assert legend == {method.label for method in methods.on_layer().values()}


def published_and_read(frames: dict[str, pd.DataFrame], home) -> dict[str, pd.DataFrame]:
    folder = home / "paper" / "results"
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        (folder / f"{name}.csv").write_text(results.text(PAPER, name, frame))
    return {name: results.read(PAPER, name, home) for name in frames}


def test_methods_that_coincide_differ_by_nothing_and_can_be_published(tmp_path):
    """xi_scaling = 0 makes T0-QAT plain training: no difference, no evidence, and a readable file."""
    cells = published.integer_grids(replicates=6, epochs=5, xi_scaling=0, bits=[4])
    table = published.grid_differences(cells)
    same = table[table.other == "no_noise"]
    assert (same.estimate == 0).all() and (same.ci_low == 0).all() and (same.ci_high == 0).all()
    assert (same.p_holm == 1).all()
    read = published_and_read({"integer_grids_paired": table}, tmp_path)["integer_grids_paired"]
    assert len(read) == len(table)


def test_two_runs_of_one_method_are_counted_like_two_runs_of_two():
    first, second = published.published(replicates=40, epochs=30)
    table = published.table1_same_method(first, second).set_index("method")
    for method in PUBLISHED:
        pairs = zip(first[method].drop, second[method].drop, strict=True)
        share = np.mean([a > 0 and b / a <= 1 - REPORTED_REDUCTION for a, b in pairs])
        assert table.estimate[method] == share
        assert table.ci_low[method] <= share <= table.ci_high[method]


def test_the_order_of_shards_does_not_matter_to_the_bit(monkeypatch):
    settings = {"replicates": 12, "epochs": 15, "xi_scaling": 7.5}
    whole = [bits(run) for run in published.published(**settings)]
    shards = [range(8, 12), range(0, 5), range(5, 8)]
    monkeypatch.setattr(linear, "chunks", lambda replicates, draws: shards)
    order = np.argsort([i for shard in shards for i in shard])
    runs = published.published(**settings)
    sorted_back = [
        {n: Losses(*(part[order] for part in losses)) for n, losses in r.items()} for r in runs
    ]
    assert [bits(run) for run in sorted_back] == whole
