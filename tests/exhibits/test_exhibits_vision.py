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
from t0qat.pipeline import latex, words
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


def test_the_lowest_means_are_named_with_their_intervals(tables):
    table = tables["vision"]
    table.loc[
        (table.model == "deep_cnn") & (table.method == "kure") & (table.eval_bits == 2)
        & (table.scale_rule == "own") & (table.metric == "loss"),
        ["mean", "ci_low", "ci_high"],
    ] = [0.0087, 0.0081, 0.0093]  # fmt: skip
    said = vision.vision(tables)[1]["VisionBest"]
    assert "KURE (0.009 [0.008, 0.009]) at INT2 on the deep CNN" in said
    assert said.count("INT4") == said.count("INT2") == 2


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
    macros = vision.vision(tables)[1]
    both = f"at no width on the {SMALL} and the {DEEP}"
    assert macros["VisionKeptTuned"] == (
        f"at no width on the {SMALL} and at INT4 on the {DEEP}" if keeps else both
    )
    assert macros["VisionKeptPublished"] == both
    first = "T0-QAT tuned at INT4" if keeps else f"none of {len(at(4))} at INT4"
    assert f"{first} and none of {len(at(2))} at INT2 on the {DEEP}" in macros["VisionKept"]
    assert macros["VisionMargin"] == "0.02"
    grown = "0.05 at INT4" if margin > 0.02 else "the first at every width"
    assert macros["VisionMargins"].endswith(f"{grown} on the {DEEP}")


def test_the_placebos_spread_is_the_standard_deviation_of_its_pairs(tables):
    pairs, draws = tables["vision_paired"], np.random.default_rng(3)
    sample = 0.04 * draws.standard_normal(21)
    low, high = stats.t.interval(0.95, 20, sample.mean(), stats.sem(sample))
    mine = (pairs.method == "xi_alone") & (pairs.against == "plain") & (pairs.eval_bits == 2)
    pairs.loc[mine, ["estimate", "ci_low", "ci_high", "n"]] = [sample.mean(), low, high, 21]
    expected = f"{sample.std(ddof=1):.2g} on the {SMALL}"
    assert vision.vision(tables)[1]["VisionPlaceboSpread"].startswith(expected)


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
    macros = vision.vision(tables)[1]
    every = arms_of(("small_cnn", "deep_cnn"), ("mlp", "residual_cnn"), WIDTHS)
    arms, loud = len(every), sum(arm.method == "t0_qat" for arm in every)
    assert loud == 4
    assert macros["VisionArms"] == str(arms)
    networks = 20 * (arms - loud) + 5 * loud
    assert macros["VisionNetworks"] == f"{networks:,}"
    assert macros["VisionTuningNetworks"] == f"{tried.n.sum():,}"
    candidates = {len(arm.candidates(5, 0.003, 0.06)) for arm in every}
    assert macros["VisionCandidates"].endswith(f" or {max(candidates)}")
    assert macros["VisionFewReplicates"] == "5"
    assert macros["VisionTrained"] == "INT4 and INT2"
    assert macros["VisionLoudRates"] == "0.003, 0.00634 and 0.0134"
    assert macros["VisionRates"].startswith("0.003, ") and macros["VisionRates"].endswith(" and 0.06")
    assert macros["VisionMethods"] == str(len(EVERY))
    assert macros["VisionFewMethods"] == str(sum(REGISTRY[method].few for method in EVERY))
    assert macros["VisionRounded"] == f"{4 * networks:,}"  # two widths by two rules
    n = table.n[table.index[table.metric == "differing"][:3]]
    assert macros["VisionDiffering"] == f"{0.15 * n.sum():.0f}"
    assert macros["VisionGradients"] == "168"
    assert macros["VisionBytesSpread"] == "0"
    assert f"the {SMALL} takes 39,720 unrounded, 39,720 at INT4" in macros["VisionBytes"]
    size = (table.metric == "bytes") & (table.method == "lsq") & (table.eval_bits == 2)
    table.loc[size & (table.model == "deep_cnn"), "mean"] = 39728.0
    macros = vision.vision(tables)[1]
    assert macros["VisionBytesSpread"] == "8"
    assert r"39,720 to 39,728 at INT2" in macros["VisionBytes"]


def test_the_chosen_scaling_is_named_as_a_scaling_and_as_a_noise(tables):
    tried, values = tables["vision_tuning"], REGISTRY["t0_qat_tuned"].values
    mine, most = tried.method == "t0_qat_tuned", max(values)
    tried.loc[mine, "chosen"] = 0
    tried.loc[mine & (tried.model == "mlp") & (tried.strength == most), "chosen"] = [1, 0, 0, 0, 0]
    tried.loc[mine & (tried.model != "mlp") & (tried.strength == 30), "chosen"] = [0, 0, 1, 0, 0] * 3
    macros = vision.vision(tables)[1]
    on = f"30 on the {SMALL}, the {DEEP} and the residual CNN and {most:g} on the MLP"
    assert macros["VisionScalings"] == on
    ends = f"the lowest on the {SMALL}, the {DEEP} and the residual CNN and the highest on the MLP"
    assert macros["VisionScalingsEnd"] == ends
    assert macros["VisionSigmas"].startswith("0.004 on")
    assert macros["VisionSigmas"].endswith(f"{most / 7500:.2g} on the MLP")
    assert macros["VisionScalingsTried"].endswith(f" and {most:g}")


def test_choices_at_an_end_of_what_was_tried_are_counted_and_named_where_few(tables):
    tried = tables["vision_tuning"]
    tried["chosen"] = 0
    arms = tried.groupby(["model", "method", "train_bits"], sort=False)
    for _, rows in arms:  # inside: the third rate, and a value that is not the first
        tried.loc[rows.index[7 if len(rows) > 5 else 2], "chosen"] = 1
    mine = (tried.model == "mlp") & (tried.method == "ste") & (tried.train_bits == 2)
    tried.loc[mine, "chosen"] = [0] * 4 + [1]
    mine = (tried.model == "small_cnn") & (tried.method == "kure")
    tried.loc[mine, "chosen"] = [0, 0, 1] + [0] * (mine.sum() - 3)  # the first value, the third rate
    macros, every = vision.vision(tables)[1], arms.ngroups
    share = f"1 of {every} arms, {words.percent(1 / every, 1)} %"
    assert macros["VisionEdgeRate"] == f"{share}: STE trained for INT2 on the MLP (highest)"
    with_strength = arms.strength.first().notna().sum()
    assert macros["VisionEdgeStrength"].startswith(f"1 of {with_strength} arms, ")
    assert macros["VisionEdgeStrength"].endswith("%: KURE on the small CNN (lowest)")
    for _, rows in arms:
        tried.loc[rows.index, "chosen"] = [1] + [0] * (len(rows) - 1)
    said = f"{every} of {every} arms, 100.0 %"
    assert vision.vision(tables)[1]["VisionEdgeRate"] == said  # too many to name
    one = tried[tried.learning_rate == tried.learning_rate.min()]
    said = vision.vision(tables | {"vision_tuning": one})[1]["VisionEdgeRate"]
    assert said == "no arm, since none had a choice"


def test_what_tuning_took_counts_short_trainings_as_the_part_that_they_are(tables):
    tried = tables["vision_tuning"]
    tried["n"] = 0
    first = tried.groupby(["model", "method", "train_bits"]).cumcount() == 0
    tried.loc[first, "n"] = 23
    many = tried.method.isin(["kure", "sam"])
    tried.loc[many, "short"] = 1.0
    tried.loc[first & many, "n"] = 15
    size = many.sum() / (first & many).sum()
    said = vision.vision(tables)[1]
    assert said["VisionTuningEach"] == f"{15 + size / 3:.0f} to 23" and size == 15
    assert said["VisionTuningTrials"] == str(many.sum()) and said["VisionTuningShort"] == "33.3"
    assert said["VisionTuningSeeds"] == "15 to 23" and said["VisionTuningMany"] == "8"


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


def test_the_lowest_score_over_the_widths_names_its_width_and_its_own_worst(tables):
    scores = tables["vision_any"]
    mine = (scores.model == "small_cnn") & (scores.method == "parq") & (scores.train_bits == 2)
    scores.loc[mine & (scores.quantity == "mean"), ["mean", "ci_low", "ci_high"]] = 0.07, 0.06, 0.08
    scores.loc[mine & (scores.quantity == "worst"), ["mean", "ci_low", "ci_high"]] = 0.5, 0.4, 0.6
    said = vision.vision(tables)[1]["VisionAnyFixed"]
    expected = f"PARQ trained for INT2 with 0.070 [0.060, 0.080] (0.50 [0.40, 0.60]) on the {SMALL}; and"
    assert said.startswith(expected)


def test_who_trains_longer_is_no_best_of_the_others(tables):
    scores = tables["vision_any"]
    scores.loc[scores.method == "longer", ["mean", "ci_low", "ci_high"]] = 0.001, 0.0, 0.002
    assert "twice as long" not in vision.vision(tables)[1]["VisionAnyOthers"]


def test_weight_norms_stand_beside_the_losses_of_the_other_networks(tables):
    table = tables["vision"]
    norm = (table.metric == "weight_norm") & (table.model == "mlp")
    table.loc[norm & (table.method == "t0_qat"), ["mean", "ci_low", "ci_high"]] = 912.0, 900.0, 924.0
    table.loc[norm & (table.method == "ste"), "mean"] = [7.0, 9.5]
    body, macros = vision.few(tables)
    few = [method for method in EVERY if REGISTRY[method].few]
    rows = {row[1]: row for row in rows_of(body)[: len(few)]}
    assert rows["T0-QAT"][3] == r"912$\:\pm\:$12"
    assert rows["STE"][3] == "7 to 9.5"
    row = only(
        table, model="mlp", method="ste", metric="loss", train_bits=2, eval_bits=2, scale_rule="own"
    )
    assert numbers(rows["STE"][6])[0] == pytest.approx(row["mean"], abs=0.0006)
    assert macros["VisionFewNormPublished"].count(" on the ") == 4
    assert "912 [900, 924] on the MLP" in macros["VisionFewNormPublished"]


def test_accuracy_stands_beside_the_loss_on_every_network(tables):
    body, macros = vision.accuracy(tables)
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
    assert macros["VisionAccuracyPlain"].count(" on the ") == 4


def test_each_rule_has_its_own_loss(tables):
    table = tables["vision"]
    body, macros = vision.rules(tables)
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
    assert macros["VisionRulesPlain"].count("(absmax)") == 2


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
