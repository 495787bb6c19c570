"""What is typeset of the image networks: each cell, mark and word against the rows it comes from."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from made_up import HOSTILE, HOSTILE_ESCAPED, arms_of, frames, vision_rows
from scipy import stats

from t0qat.exhibits import vision
from t0qat.paper import PAPER
from t0qat.pipeline import latex
from t0qat.training.methods import REGISTRY, named

NAMES = [name for name in PAPER.exhibits if name.startswith("vision")]
SMALL, DEEP = "small CNN", "deep CNN"


EVERY = named(lambda method: method.images)
WIDTHS = (4, 2)


def for_one(method: str) -> bool:
    return REGISTRY[method].for_bits


def at(bits: int) -> list[str]:
    """Methods that have an arm at this width."""
    return [name for name in EVERY if not for_one(name) or REGISTRY[name].trained_for([bits])]


def network(method: str) -> str:
    """As lists of texts about networks name it."""
    return "Gaussian noise 0.4" if method == "standard_qat" else REGISTRY[method].label.replace(",", "")


@pytest.fixture
def tables():
    """Losses and shares of the size that they have in a run."""
    found = frames()
    for name in ("vision", "vision_any"):
        scores = found[name].eval("metric in ('accuracy', 'loss')") if name == "vision" else slice(None)
        found[name].loc[scores, ["mean", "ci_low", "ci_high"]] /= 10
    return found


def rows_of(body: str) -> list[list[str]]:
    """Cells of the rows below the header."""
    below = body.split(r"\midrule", 1)[1]
    lines = [line for line in below.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in lines]


def numbers(cell: str) -> tuple[float, float]:
    """Mean and half-width of a cell."""
    return tuple(map(float, re.search(r"(-?[\d.]+)\}?\$\\:\\pm\\:\$([\d.]+)", cell).groups()))


def only(table: pd.DataFrame, **keys) -> pd.Series:
    for column, value in keys.items():
        table = table[table[column] == value]
    assert len(table) == 1, keys
    return table.iloc[0]


def of_network(body: str, model: str) -> dict[str, list[str]]:
    """method -> the cells of its row, from the main table."""
    names = {network(method): method for method in EVERY}
    rows = rows_of(body)
    (start,) = [i for i, row in enumerate(rows) if row[0] == rf"\emph{{{model}}}"]
    found = {}
    for first, *cells in rows[start + 1 :]:
        if first not in names:
            break
        found[names[first]] = cells
    return found


def test_each_loss_is_that_of_the_arm_trained_for_the_width_or_for_none(tables):
    body, _ = vision.vision(tables)
    losses = tables["vision"][tables["vision"].metric == "loss"]
    for label, model in ((SMALL, "small_cnn"), (DEEP, "deep_cnn")):
        rows = of_network(body, label)
        assert {*rows} == {*EVERY}
        for method, (_, *cells) in rows.items():
            mine, fixed = {"model": model, "method": method}, for_one(method)
            for bits, cell in zip((32, 4, 2), cells, strict=False):
                if fixed and (bits == 32 or method not in at(bits)):
                    assert cell == "--"
                    continue
                rule = "none" if bits == 32 else "own"
                row = only(losses, **mine, train_bits=bits * fixed, eval_bits=bits, scale_rule=rule)
                expected = row["mean"], (row.ci_high - row.ci_low) / 2
                assert numbers(cell) == pytest.approx(expected, abs=0.0006)
            scores = tables["vision_any"].query("model == @model and method == @method")
            for quantity, cell in zip(("mean", "worst"), cells[3:], strict=True):
                best = scores[scores.quantity == quantity].sort_values("mean").iloc[0]
                assert numbers(cell)[0] == pytest.approx(best["mean"], abs=0.0006)
                assert cell.startswith(f"({best.train_bits})") == fixed


def test_gradients_stand_beside_every_method_once_for_each_training(tables):
    table = tables["vision"]
    table.loc[table.metric == "gradients", "mean"] = 1264.0
    table.loc[(table.metric == "gradients") & (table.method == "longer"), "mean"] = 2528.0
    shown = {method: cells[0] for method, cells in of_network(vision.vision(tables)[0], DEEP).items()}
    trainings = table[table.model == "deep_cnn"].groupby("method").train_bits.nunique()
    for method, cell in shown.items():
        each = r"2\,528" if method == "longer" else r"1\,264"
        times = rf"{trainings[method]} $\times$ " if trainings[method] > 1 else ""
        assert cell == times + each, method
    assert trainings["ste"] == 2
    for make in (vision.few, vision.accuracy):
        (row,) = [row for row in rows_of(make(tables)[0])[:8] if row[1] == "STE"]
        assert row[2] == r"2 $\times$ 1\,264"


@pytest.mark.parametrize(
    ("high", "margin", "keeps"),
    [(0.0199, 0.02, True), (0.02, 0.02, False), (0.04, 0.05, True), (0.05, 0.05, False)],
)
def test_loss_is_kept_where_the_whole_interval_is_within_the_margin_there(tables, high, margin, keeps):
    kept = tables["vision_kept"]
    kept["ci_high"], kept["margin"] = 1.0, 0.02
    kept.loc[(kept.model == "deep_cnn") & (kept.eval_bits == 4), "margin"] = margin
    mine = (kept.method == "t0_qat_tuned") & (kept.model == "deep_cnn") & (kept.eval_bits == 4)
    kept.loc[mine & (kept.scale_rule == "own"), "ci_high"] = high
    tables["vision"].loc[tables["vision"].metric == "bytes", "mean"] = 1234.0
    rows = rows_of(vision.keeps(tables)[0])
    (first,) = [i for i, row in enumerate(rows) if row[0] == DEEP]
    tuned = "yes" if keeps else "no"
    counted = ["INT4", str(margin), f"{int(keeps)} of {len(at(4))}"]
    assert rows[first][1:] == [*counted, "no", "no", tuned, r"1\,234"]
    assert rows[first + 1] == ["", "INT2", "0.02", f"0 of {len(at(2))}", "no", "no", "no", r"1\,234"]
    assert vision.vision(tables)[1]["VisionMargin"] == "0.02"


def test_the_placebos_spread_is_the_standard_deviation_of_its_pairs(tables):
    pairs, draws = tables["vision_paired"], np.random.default_rng(3)
    sample = 0.04 * draws.standard_normal(21)
    low, high = stats.t.interval(0.95, 20, sample.mean(), stats.sem(sample))
    mine = (pairs.method == "xi_alone") & (pairs.against == "plain") & (pairs.eval_bits == 2)
    pairs.loc[mine, ["estimate", "ci_low", "ci_high", "n"]] = [sample.mean(), low, high, 21]
    assert vision.vision(tables)[1]["VisionPlaceboSpread"] == f"{sample.std(ddof=1):.2g}"
    pairs.loc[mine & (pairs.model == "deep_cnn"), ["ci_low", "ci_high"]] = 2 * low, 2 * high
    both = f"{sample.std(ddof=1):.2g} to {2 * sample.std(ddof=1):.2g}"
    assert vision.vision(tables)[1]["VisionPlaceboSpread"] == both


def test_counts_are_sums_over_the_rows(tables):
    table = tables["vision"]
    table["n"] = 20
    table.loc[table.method == "t0_qat", "n"] = 5
    tried = tables["vision_tuning"]
    tried["n"] = 2
    tried.loc[tried.strength.isna(), "n"] = 6  # fewer candidates, as many trainings
    tried.loc[tried.method == "t0_qat", "n"] = 1
    table.loc[table.metric == "differing", "mean"] = 0.0
    table.loc[table.index[table.metric == "differing"][:3], "mean"] = 0.15  # three images in 20 seeds
    table.loc[table.metric == "bytes", "mean"] = 39720.0
    table.loc[table.metric == "gradients", "mean"] = 168.0
    loud = tried.method.isin(["t0_qat", "standard_qat"])
    tables["vision_tuning"] = tried = tried[~(loud & (tried.learning_rate > 0.02))]
    macros, run = vision.vision(tables)[1], dict(rows_of(vision.size(tables)[0]))
    every = arms_of(("small_cnn", "deep_cnn"), ("mlp", "residual_cnn"), WIDTHS)
    arms, loud = len(every), sum(arm.method == "t0_qat" for arm in every)
    assert loud == 4
    assert run["Arms"] == str(arms)
    networks = 20 * (arms - loud) + 5 * loud
    assert run["Networks trained for the test"] == rf"{networks:,}".replace(",", r"\,")
    assert run["Networks trained in tuning"] == f"{tried.n.sum():,}".replace(",", r"\,")
    candidates = {len(arm.candidates(5, 0.003, 0.06)) for arm in every}
    assert run["Candidates of an arm"].endswith(f" to {max(candidates)}")
    assert run["Seeds of an arm in the test"] == "5 to 20"
    assert macros["VisionFewReplicates"] == "5"
    assert macros["VisionTrained"] == "INT4 to INT2"
    assert macros["VisionRates"] == "0.003 to 0.06"
    assert macros["VisionMethods"] == str(len(EVERY))
    assert macros["VisionFewMethods"] == str(sum(REGISTRY[method].few for method in EVERY))
    assert macros["VisionRounded"] == f"{4 * networks:,}"  # two widths by two rules
    n = table.n[table.index[table.metric == "differing"][:3]]
    assert macros["VisionDiffering"] == f"{0.15 * n.sum():.0f}"
    assert macros["VisionBytesSpread"] == "0"
    size = (table.metric == "bytes") & (table.method == "lsq") & (table.eval_bits == 2)
    table.loc[size & (table.model == "deep_cnn"), "mean"] = 39728.0
    assert vision.vision(tables)[1]["VisionBytesSpread"] == "8"
    keeps = [row for row in rows_of(vision.keeps(tables)[0]) if row[1] == "INT2"]
    assert [row[-1] for row in keeps][:2] == [r"39\,720", r"39\,720 to 39\,728"]


def test_the_chosen_scaling_stands_as_a_scaling_and_as_a_noise_beside_the_size_of_weights(tables):
    tried, values = tables["vision_tuning"], REGISTRY["t0_qat_tuned"].values
    mine, most = tried.method == "t0_qat_tuned", max(values)
    tried.loc[mine, "chosen"] = 0
    for model, scaling in (("mlp", most), ("small_cnn", 30), ("deep_cnn", 100), ("residual_cnn", 30)):
        here = tried[mine & (tried.model == model) & (tried.strength == scaling)]
        tried.loc[here.index[2], "chosen"] = 1
    table = tables["vision"]
    norm = (table.metric == "weight_norm") & (table.model == "mlp")
    table.loc[norm & (table.method == "t0_qat"), ["mean", "ci_low", "ci_high"]] = 912.0, 900.0, 924.0
    rows = {row[0]: row[1:] for row in rows_of(vision.scalings(tables)[0])}
    listed = ", ".join(f"{value:g}" for value in values)
    assert rows["MLP"][:4] == [listed, f"{most:g}", "highest", f"{most / 7500:.2g}"]
    assert rows["MLP"][-1] == r"912$\:\pm\:$12"
    assert rows[SMALL][:4] == [listed, "30", "lowest", "0.004"]
    assert rows[DEEP][2] == "inside"


def test_choices_at_an_end_of_what_was_tried_are_counted(tables):
    tried = tables["vision_tuning"]
    tried["chosen"] = 0
    arms = tried.groupby(["model", "method", "train_bits"], sort=False)
    for _, rows in arms:  # inside: the third rate, and a value that is not the first
        tried.loc[rows.index[7 if len(rows) > 5 else 2], "chosen"] = 1
    mine = (tried.model == "mlp") & (tried.method == "ste") & (tried.train_bits == 2)
    tried.loc[mine, "chosen"] = [0] * 4 + [1]
    mine = (tried.model == "small_cnn") & (tried.method == "kure")
    tried.loc[mine, "chosen"] = [0, 0, 1] + [0] * (mine.sum() - 3)  # the first value, the third rate
    run, every = dict(rows_of(vision.size(tables)[0])), arms.ngroups
    assert run["Arms that chose an end of their learning rates"] == f"1 of {every}"
    with_strength = arms.strength.first().notna().sum()
    assert run["Arms that chose an end of their strengths"] == f"1 of {with_strength}"
    one = tried[tried.learning_rate == tried.learning_rate.min()]
    run = dict(rows_of(vision.size(tables | {"vision_tuning": one})[0]))
    assert run["Arms that chose an end of their learning rates"] == "--"


def test_what_tuning_took_counts_short_trainings_as_the_part_that_they_are(tables):
    tried = tables["vision_tuning"]
    tried["n"] = 0
    first = tried.groupby(["model", "method", "train_bits"]).cumcount() == 0
    tried.loc[first, "n"] = 23
    many = tried.method.isin(["kure", "sam"])
    tried.loc[many, "short"] = 1.0
    tried.loc[first & many, "n"] = 15
    size = many.sum() / (first & many).sum()
    run, said = dict(rows_of(vision.size(tables)[0])), vision.vision(tables)[1]
    assert (
        run["Whole trainings that an arm's tuning costs"] == f"{15 + size / 3:.0f} to 23" and size == 15
    )
    assert run["Short trainings in tuning"] == str(many.sum()) and said["VisionTuningShort"] == "33.3"
    assert run["Seeds of an arm's last candidates"] == "15 to 23" and said["VisionTuningMany"] == "8"


def test_intervals_wider_than_the_margin_are_counted(tables):
    table, kept = tables["vision"], tables["vision_kept"]
    kept["margin"] = 0.02
    kept.loc[(kept.model == "small_cnn") & (kept.eval_bits == 2), "margin"] = 0.5
    loss = table.metric == "loss"
    table.loc[loss, ["ci_low", "ci_high"]] = 0.5, 0.539
    wide = loss & (table.method == "no_noise") & table.scale_rule.isin(["none", "own"])
    table.loc[wide, "ci_high"] = 0.541
    cells = 2 * sum(map(len, (at(4), at(2), [name for name in EVERY if not for_one(name)])))
    assert vision.vision(tables)[1]["VisionWide"] == f"5 of {cells}"  # but for INT2 on the small CNN


def test_weight_norms_stand_beside_the_losses_of_the_other_networks(tables):
    table = tables["vision"]
    norm = (table.metric == "weight_norm") & (table.model == "mlp")
    table.loc[norm & (table.method == "t0_qat"), ["mean", "ci_low", "ci_high"]] = 912.0, 900.0, 924.0
    table.loc[norm & (table.method == "ste"), "mean"] = [7.0, 9.5]
    body, _ = vision.few(tables)
    few = [method for method in EVERY if REGISTRY[method].few]
    rows = {row[1]: row for row in rows_of(body)[: len(few)]}
    assert rows["T0-QAT"][3] == r"912$\:\pm\:$12"
    assert rows["STE"][3] == "7 to 9.5"
    row = only(
        table, model="mlp", method="ste", metric="loss", train_bits=2, eval_bits=2, scale_rule="own"
    )
    assert numbers(rows["STE"][6])[0] == pytest.approx(row["mean"], abs=0.0006)


def test_accuracy_stands_beside_the_loss_on_every_network(tables):
    body, _ = vision.accuracy(tables)
    table, few = tables["vision"], [method for method in EVERY if REGISTRY[method].few]
    rows = rows_of(body)
    assert len(rows) == 4 * len(few)
    for i, model in enumerate(("small_cnn", "deep_cnn", "mlp", "residual_cnn")):
        for cells, method in zip(rows[i * len(few) :], few, strict=False):
            assert cells[1] == network(method)
            for bits, cell in zip(WIDTHS, cells[4:], strict=True):
                row = only(
                    table, model=model, method=method, metric="accuracy", eval_bits=bits,
                    train_bits=bits * for_one(method), scale_rule="own",
                )  # fmt: skip
                assert numbers(cell)[0] == pytest.approx(100 * row["mean"], abs=0.6)


def test_each_rule_has_its_own_loss(tables):
    table = tables["vision"]
    body, _ = vision.rules(tables)
    rows = rows_of(body)
    methods = [method for method in EVERY if REGISTRY[method].few and not REGISTRY[method].loud]
    expected = itertools.product(("absmax", "mse"), methods)
    for (rule, method), cells in zip(expected, (row[2:] for row in rows), strict=True):
        for (model, bits), cell in zip(
            itertools.product(("small_cnn", "deep_cnn"), WIDTHS), cells, strict=True
        ):
            key = {"metric": "loss", "model": model, "method": method, "scale_rule": rule}
            row = only(table, **key, eval_bits=bits, train_bits=bits * for_one(method))
            assert numbers(cell)[0] == pytest.approx(row["mean"], abs=0.0006)


SUBSETS = {
    "smoke": {"models": ["small_cnn"], "few": ["mlp"]},
    "one width": {"models": ["deep_cnn"], "few": [], "bits": (8,)},
    "few only": {"models": [], "few": ["mlp", "small_cnn"]},
    "all networks": {
        "models": ["small_cnn", "deep_cnn", "mlp", "residual_cnn"],
        "few": [],
        "bits": (8, 5, 4, 3, 2),
    },
}


@pytest.fixture(scope="module")
def every_macro():
    """exhibit -> the names of its macros."""
    whole = frames()
    return {name: {*PAPER.exhibits[name](whole)[1]} for name in NAMES}


@pytest.mark.parametrize("subset", SUBSETS)
def test_any_part_of_the_benchmark_gives_whole_tables_and_every_macro(subset, every_macro):
    draws = np.random.default_rng(0)

    def loss(**keys):
        return keys | {"mean": draws.random(), "ci_low": 0.1, "ci_high": 0.9, "n": 2}

    def difference(**keys):
        row = loss(**keys) | {"estimate": draws.random(), "margin": 0.02}
        return row | {"p_bh": 1.0, "p_equal": 1.0, "detectable": 0.1}

    made = vision_rows(loss, difference, **SUBSETS[subset])
    part = {name: pd.DataFrame(rows, columns=PAPER.columns_of(name)) for name, rows in made.items()}
    for name in NAMES:
        body, macros = PAPER.exhibits[name](part)
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
        assert "nan" not in body + latex.macro_lines(macros)
        assert {*macros} == every_macro[name]
        assert all(macros.values())


def test_hostile_labels_are_escaped_and_leave_the_tables_whole(monkeypatch, tables):
    monkeypatch.setitem(REGISTRY, "ste", REGISTRY["ste"]._replace(label=HOSTILE))
    for name in NAMES:
        body, macros = PAPER.exhibits[name](tables)
        assert HOSTILE not in body + latex.macro_lines(macros)
    assert HOSTILE_ESCAPED in vision.vision(tables)[0]
