"""What is typeset of the image networks: each cell, mark and word against the rows it comes from."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from made_up import HOSTILE, HOSTILE_ESCAPED, frames, vision_rows
from scipy import stats

from t0qat.exhibits import benchmark, vision
from t0qat.paper import PAPER
from t0qat.pipeline import latex
from t0qat.training.methods import REGISTRY, named

NAMES = [name for name in PAPER.exhibits if name.startswith("vision")]
SMALL, DEEP = "small CNN", "deep CNN"


@pytest.fixture
def tables():
    """Accuracies are shares, as they are in a run."""
    found = frames()
    for name in ("vision", "vision_any"):
        shares = found[name].eval("metric == 'accuracy'") if name == "vision" else slice(None)
        found[name].loc[shares, ["mean", "ci_low", "ci_high"]] /= 10
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


def test_each_accuracy_is_that_of_the_arm_trained_for_the_width_or_for_none(tables):
    body, _ = vision.vision(tables)
    accuracies = tables["vision"][tables["vision"].metric == "accuracy"]
    rows, model, seen = rows_of(body), None, 0
    for first, *cells in rows:
        if first.startswith(r"\emph"):
            model = {SMALL: "small_cnn", DEEP: "deep_cnn"}[first[6:-1]]
            continue
        (method,) = [
            m for m in accuracies.method.unique() if first == REGISTRY[m].label.replace(",", "")
        ]
        mine = {"model": model, "method": method}
        fixed = REGISTRY[method].for_bits
        for bits, cell in zip((32, 4, 2), cells, strict=False):
            if fixed and bits == 32:
                assert cell == "--"
                continue
            rule = "none" if bits == 32 else "own"
            row = only(accuracies, **mine, train_bits=bits * fixed, eval_bits=bits, scale_rule=rule)
            expected = 100 * row["mean"], 50 * (row.ci_high - row.ci_low)
            assert numbers(cell) == pytest.approx(expected, abs=0.06)
            seen += 1
        scores = tables["vision_any"].query("model == @model and method == @method")
        for quantity, cell in zip(("mean", "worst"), cells[3:], strict=True):
            best = scores[scores.quantity == quantity].sort_values("mean").iloc[-1]
            assert numbers(cell)[0] == pytest.approx(100 * best["mean"], abs=0.06)
            assert cell.startswith(f"({best.train_bits})") == fixed
    assert seen == 2 * (10 * 3 + 5 * 2)


def test_marks_follow_the_corrected_tests_against_the_reference(tables):
    pairs = tables["vision_paired"]
    body, macros = vision.vision(tables)
    rows = rows_of(body)[1:16]  # of the small CNN
    accuracies = tables["vision"].query(
        "model == 'small_cnn' and metric == 'accuracy' and scale_rule == 'own' and eval_bits == 4"
        " and train_bits in (0, 4)"
    )
    cells = dict(zip(accuracies.method, (row[2] for row in rows), strict=True))
    assert {method for method, cell in cells.items() if r"\textbf" in cell} == {
        accuracies.method[accuracies["mean"].idxmax()]
    }
    assert {method for method, cell in cells.items() if r"\star" in cell} == {"lsq"}
    for method, cell in cells.items():
        if method != "lsq":
            row = only(
                pairs[pairs.train_bits.isin([0, 4])],
                model="small_cnn",
                method=method,
                eval_bits=4,
                scale_rule="own",
                against="best_baseline",
            )
            assert (r"\circ" in cell) == (row.estimate >= 0 or row.p_holm >= 0.05), method
    marks = {r"\circ" in cell for cell in cells.values()}
    assert marks == {True, False}  # the draws have both
    near = sum("$^{" in cell for row in rows_of(body) for cell in row[2:4])
    assert macros["VisionNear"] == f"{near} of {2 * 2 * 15}"
    shares = [macros[f"VisionNear{kind}"].split(" of ") for kind in ("Noise", "Rounds", "Others")]
    placebo = [cell for row in rows_of(body) if row[0] == "xi alone" for cell in row[2:4]]
    placebo = [sum("$^{" in cell for cell in placebo), len(placebo)]
    assert [sum(map(int, column)) for column in zip(placebo, *shares, strict=True)] == [near, 60]


def test_the_highest_means_are_named_with_their_intervals(tables):
    table = tables["vision"]
    table.loc[
        (table.model == "deep_cnn") & (table.method == "kure") & (table.eval_bits == 2)
        & (table.scale_rule == "own"),
        ["mean", "ci_low", "ci_high"],
    ] = [0.987, 0.981, 0.993]  # fmt: skip
    said = vision.vision(tables)[1]["VisionBest"]
    assert "KURE (98.70 [98.10, 99.30]) at INT2 on the deep CNN" in said
    assert said.count("INT4") == said.count("INT2") == 2


@pytest.mark.parametrize(
    ("estimate", "p", "said"),
    [
        (0.02, 0.049, "higher"),
        (-0.02, 0.049, "lower"),
        (0.02, 0.05, "not detectably different"),
        (-0.02, 1.0, "not detectably different"),
    ],
)
def test_words_of_the_differences_follow_the_corrected_tests(tables, estimate, p, said):
    pairs = tables["vision_any_paired"]
    mine = (
        (pairs.method == "t0_qat_tuned") & (pairs.quantity == "mean") & (pairs.against == "random_bits")
    )
    pairs.loc[mine, ["estimate", "p_holm"]] = estimate, p
    name = "VisionDifferencesTunedRandom"
    both = f"{said} on the {SMALL} and the {DEEP}"
    body, macros = vision.differences(tables)
    assert macros[name] == both
    pairs.loc[mine & (pairs.model == "deep_cnn"), ["estimate", "p_holm"]] = 0.5, 0.001
    apart = f"{said} on the {SMALL} and higher on the {DEEP}"
    changed, macros = vision.differences(tables)
    assert macros[name] == (both if said == "higher" else apart)
    assert changed != body


def test_stars_of_the_differences_mark_what_is_decided(tables):
    body, _ = vision.differences(tables)
    pairs = tables["vision_any_paired"]
    mine = pairs[
        pairs.method.isin(benchmark.UNDER_TEST.values()) & pairs.model.isin(["small_cnn", "deep_cnn"])
    ]
    assert 0 < body.count(r"\ast") == (mine.p_holm < 0.05).sum() < len(mine)
    cells = [cell for row in rows_of(body) for cell in row if r"\pm" in cell]
    shown = sorted(numbers(cell.replace("$-$", "-"))[0] for cell in cells)
    assert shown == pytest.approx(sorted(100 * mine.estimate), abs=0.6)


@pytest.mark.parametrize(
    ("low", "keeps"), [(-0.0099, True), (-0.01, False), (-0.02, False), (0.1, True)]
)
def test_accuracy_is_kept_where_the_whole_interval_is_within_the_margin(tables, low, keeps):
    kept = tables["vision_kept"]
    kept["ci_low"] = -1.0
    mine = (kept.method == "t0_qat_tuned") & (kept.model == "deep_cnn") & (kept.eval_bits == 4)
    kept.loc[mine & (kept.scale_rule == "own"), "ci_low"] = low
    macros = vision.vision(tables)[1]
    both = f"at no width on the {SMALL} and the {DEEP}"
    assert macros["VisionKeptTuned"] == (
        f"at no width on the {SMALL} and at INT4 on the {DEEP}" if keeps else both
    )
    assert macros["VisionKeptPublished"] == both
    first = "T0-QAT tuned at INT4" if keeps else "none of 15 at INT4"
    assert f"{first} and none of 15 at INT2 on the {DEEP}" in macros["VisionKept"]
    assert macros["VisionMargin"] == "1"


def test_where_tuned_noise_gains_and_loses_is_what_the_corrected_tests_say(tables):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.scale_rule == "own")
    pairs.loc[mine, ["estimate", "p_holm"]] = 0.1, 0.01
    pairs.loc[mine & (pairs.model == "deep_cnn") & (pairs.eval_bits == 2), "estimate"] = -0.1
    pairs.loc[mine & (pairs.model == "small_cnn") & (pairs.eval_bits == 2), "p_holm"] = 0.2
    macros = vision.vision(tables)[1]
    assert macros["VisionGains"] == f"at INT4 on the {SMALL} and the {DEEP}"
    assert macros["VisionLosses"] == f"at no width on the {SMALL} and at INT2 on the {DEEP}"


def test_the_placebos_spread_is_the_standard_deviation_of_its_pairs(tables):
    pairs, draws = tables["vision_paired"], np.random.default_rng(3)
    sample = 0.04 * draws.standard_normal(21)
    low, high = stats.t.interval(0.95, 20, sample.mean(), stats.sem(sample))
    mine = (pairs.method == "xi_alone") & (pairs.against == "plain") & (pairs.eval_bits == 2)
    pairs.loc[mine, ["estimate", "ci_low", "ci_high", "n"]] = [sample.mean(), low, high, 21]
    expected = f"{100 * sample.std(ddof=1):.2g} on the {SMALL}"
    assert vision.vision(tables)[1]["VisionPlaceboSpread"].startswith(expected)


def test_an_arm_that_was_not_compared_has_no_mark(tables):
    pairs = tables["vision_paired"].assign(p_holm=1.0)
    lone = (pairs.model == "small_cnn") & (pairs.method == "sam") & (pairs.eval_bits == 4)
    for left, mark in ((pairs, r"\circ"), (pairs[~(lone & (pairs.against == "best_baseline"))], "rlap")):
        body, macros = vision.vision(tables | {"vision_paired": left})
        (cell,) = [row[2] for row in rows_of(body)[1:16] if row[0] == "SAM"]
        assert (mark in cell) == (left is pairs)
        assert macros["VisionNear"] == f"{60 - (left is not pairs)} of 60"


def test_counts_are_sums_over_the_rows(tables):
    table = tables["vision"]
    table["n"] = 20
    table.loc[table.method == "t0_qat", "n"] = 5
    tried = tables["vision_tuning"]
    tried["n"] = 2
    tried.loc[tried.strength.isna(), "n"] = 8  # fewer candidates, as many trainings
    tried.loc[tried.method == "t0_qat", "n"] = 1
    table.loc[table.metric == "differing", "mean"] = 0.0
    table.loc[table.index[table.metric == "differing"][:3], "mean"] = 0.15  # three images in 20 seeds
    table.loc[table.metric == "bytes", "mean"] = 39720.0
    table.loc[table.metric == "gradients", "mean"] = 168.0
    macros = vision.vision(tables)[1]
    # Of 15 rows five train for each of two widths; of the six few methods two do.
    arms = 2 * (10 + 5 * 2) + 2 * (4 + 2 * 2)
    assert macros["VisionArms"] == str(arms)
    assert macros["VisionNetworks"] == f"1,{20 * (arms - 4) + 5 * 4 - 1000:03}"
    assert macros["VisionTuningNetworks"] == f"2,{40 * (arms - 4) + 5 * 4 - 2000:03}"
    assert (macros["VisionCandidates"], macros["VisionTuningEach"]) == ("5 or 20", "40")
    assert macros["VisionTuningSeeds"] == "2 to 8"
    assert macros["VisionFewReplicates"] == "5"
    assert macros["VisionTrained"] == "INT4 and INT2"
    assert macros["VisionRates"].startswith("0.003, ") and macros["VisionRates"].endswith(" and 0.06")
    assert macros["VisionMethods"] == str(len(REGISTRY))
    rounded = 4 * (20 * (arms - 4) + 5 * 4)  # two widths by two rules
    assert macros["VisionRounded"] == f"{rounded // 1000},{rounded % 1000:03}"
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
    tried = tables["vision_tuning"]
    mine = tried.method == "t0_qat_tuned"
    tried.loc[mine, "chosen"] = 0
    tried.loc[mine & (tried.model == "mlp") & (tried.strength == 300), "chosen"] = [1, 0, 0, 0, 0]
    tried.loc[mine & (tried.model != "mlp") & (tried.strength == 30), "chosen"] = [0, 0, 1, 0, 0] * 3
    macros = vision.vision(tables)[1]
    assert (
        macros["VisionScalings"]
        == f"30 on the {SMALL}, the {DEEP} and the residual CNN and 300 on the MLP"
    )
    assert macros["VisionSigmas"].startswith("0.004 on")
    assert macros["VisionSigmas"].endswith("0.04 on the MLP")
    assert macros["VisionScalingsTried"] == "10, 30, 100 and 300"


def test_choices_at_an_end_of_what_was_tried_and_wide_intervals_are_counted(tables):
    tried, table = tables["vision_tuning"], tables["vision"]
    tried["chosen"] = 0
    for _, rows in tried.groupby(["model", "method", "train_bits"]):
        tried.loc[rows.index[12 if len(rows) > 5 else 2], "chosen"] = (
            1  # inside: the third rate, the third value
        )
    mine = (tried.model == "mlp") & (tried.method == "ste") & (tried.train_bits == 2)
    tried.loc[mine, "chosen"] = [0] * 4 + [1]
    mine = (tried.model == "small_cnn") & (tried.method == "kure")
    tried.loc[mine, "chosen"] = [0] * 2 + [1] + [0] * 17  # the first value, the third rate
    accuracy = table.metric == "accuracy"
    table.loc[accuracy, ["ci_low", "ci_high"]] = 0.45, 0.549
    wide = accuracy & (table.model == "deep_cnn") & (table.method == "no_noise")
    table.loc[wide & table.scale_rule.isin(["none", "mse"]), "ci_high"] = 0.551
    macros = vision.vision(tables)[1]
    tuned = [row for row in tried.drop_duplicates(["model", "method", "train_bits"]).strength.isna()]
    assert macros["VisionEdgeRate"] == f"1 of {len(tuned)}"
    assert macros["VisionEdgeStrength"] == f"1 of {len(tuned) - sum(tuned)}"
    assert macros["VisionWide"] == "1 of 80"  # 15 rows at two widths, 10 of them unrounded, two networks


def test_the_highest_score_over_the_widths_names_its_width_and_its_own_worst(tables):
    scores = tables["vision_any"]
    mine = (scores.model == "small_cnn") & (scores.method == "parq") & (scores.train_bits == 2)
    scores.loc[mine & (scores.quantity == "mean"), ["mean", "ci_low", "ci_high"]] = 0.97, 0.96, 0.98
    scores.loc[mine & (scores.quantity == "worst"), ["mean", "ci_low", "ci_high"]] = 0.5, 0.4, 0.6
    said = vision.vision(tables)[1]["VisionAnyFixed"]
    assert said.startswith(
        f"PARQ trained for INT2 with 97.0 [96.0, 98.0] (50 [40, 60]) on the {SMALL}; and"
    )


def test_weight_norms_stand_beside_the_accuracies_of_the_other_networks(tables):
    table = tables["vision"]
    norm = (table.metric == "weight_norm") & (table.model == "mlp")
    table.loc[norm & (table.method == "t0_qat"), ["mean", "ci_low", "ci_high"]] = 912.0, 900.0, 924.0
    table.loc[norm & (table.method == "ste"), "mean"] = [7.0, 9.5]
    body, macros = vision.few(tables)
    rows = {row[1]: row for row in rows_of(body)[:6]}
    assert rows["T0-QAT"][2] == r"912$\:\pm\:$12"
    assert rows["STE"][2] == "7 to 9.5"
    assert macros["VisionFewNormPublished"].count(" on the ") == 4
    assert "912 [900, 924] on the MLP" in macros["VisionFewNormPublished"]


def test_each_rule_has_its_own_accuracy_and_only_lsq_has_learned_steps(tables):
    table = tables["vision"]
    body, macros = vision.rules(tables)
    rows = rows_of(body)
    methods = named(lambda method: method.few and not method.loud)
    assert len(rows) == 2 * len(methods) + 1
    assert rows[-1][:2] == ["learned", "LSQ"]
    for (rule, method), cells in zip(
        [*itertools.product(("absmax", "mse"), methods), ("learned", "lsq")],
        (row[2:] for row in rows),
        strict=True,
    ):
        for (model, bits), cell in zip(
            itertools.product(("small_cnn", "deep_cnn"), (4, 2)), cells, strict=True
        ):
            fixed = REGISTRY[method].for_bits
            key = {"metric": "accuracy", "model": model, "method": method, "scale_rule": rule}
            row = only(table, **key, eval_bits=bits, train_bits=bits * fixed)
            assert numbers(cell)[0] == pytest.approx(100 * row["mean"], abs=0.06)
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


@pytest.mark.parametrize("subset", SUBSETS)
def test_any_part_of_the_benchmark_gives_whole_tables_and_every_macro(subset):
    draws = np.random.default_rng(0)

    def loss(**keys):
        return keys | {"mean": draws.random(), "ci_low": 0.1, "ci_high": 0.9, "n": 2}

    def difference(**keys):
        return loss(**keys) | {"estimate": draws.random(), "p_holm": 1.0, "detectable": 0.1}

    made = vision_rows(loss, difference, **SUBSETS[subset])
    part = {name: pd.DataFrame(rows, columns=PAPER.columns_of(name)) for name, rows in made.items()}
    whole = frames()
    for name in NAMES:
        make = PAPER.exhibits[name]
        body, macros = make(part)
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
        assert "nan" not in body + latex.macro_lines(macros)
        assert macros.keys() == make(whole)[1].keys()
        assert all(macros.values())


def test_hostile_labels_are_escaped_and_leave_the_tables_whole(monkeypatch, tables):
    monkeypatch.setitem(REGISTRY, "ste", REGISTRY["ste"]._replace(label=HOSTILE))
    for name in NAMES:
        body, macros = PAPER.exhibits[name](tables)
        assert HOSTILE not in body + latex.macro_lines(macros)
    assert HOSTILE_ESCAPED in vision.vision(tables)[0]
