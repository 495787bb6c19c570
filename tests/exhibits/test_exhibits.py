"""What is typeset: digits, direction words, escaped text, and that every number comes from results."""

import itertools
import json
import math
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t0qat.exhibits import precision, published, verdicts, words
from t0qat.experiments import arms
from t0qat.experiments.arms import FLOAT
from t0qat.paper import IMAGES, PAPER
from t0qat.pipeline import claims, latex
from t0qat.training.constants import CONSTANTS, REPORTED_REDUCTION
from t0qat.training.methods import REGISTRY, named, on_layer

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)
HOSTILE = r"A & B_1 50% $x$ #2 {y} ~z^ \input{w}"
HOSTILE_ESCAPED = (
    r"A \& B\_1 50\% \$x\$ \#2 \{y\} \textasciitilde{}z\textasciicircum{} \textbackslash{}input\{w\}"
)


DATASETS = ("synthetic", "digits_small_cnn", "pydoc_topics_small_llama")  # of words.DATASET_LABELS


def frames(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Every results file of the exhibits, with random but orderly numbers."""
    draws = np.random.default_rng(seed)

    def interval(center: float) -> dict:
        half = draws.uniform(0.01, 0.2)
        return {"ci_low": center - half, "ci_high": center + half, "n": 2000}

    def loss(**keys) -> dict:
        mean = draws.uniform(1, 9)
        return keys | {"mean": mean} | interval(mean)

    def difference(**keys) -> dict:
        estimate = draws.uniform(-1, 1)
        extra = {"p_holm": draws.uniform(0, 0.1), "detectable": draws.uniform(0.1, 1)}
        return keys | {"estimate": estimate} | interval(estimate) | extra

    quantities = ("full_precision", "quantized", "drop")
    points = {"std": 1.25, "q025": 0.5, "median": 4.5, "q975": 9.5}
    single = [
        loss(method=method, quantity=quantity) | points | {"reported": 3.3, "reported_percentile": 41.0}
        for method in on_layer()
        for quantity in quantities
    ]
    for row in single:
        if row["method"] == "no_noise":
            row |= {"reported": np.nan, "reported_percentile": np.nan}
    pairs = ("drop_difference", "chance_of_reported_reduction", "chance_t0_worse_quantized")
    grid = {"range": "full", "scale": "absmax"}
    cells = [(dataset, method) for dataset in DATASETS for method in on_layer()]
    tables = {
        "table1": single,
        "table1_paired": [
            {"quantity": pairs[0], "estimate": 0.5, "ci_low": 0.25, "ci_high": 0.75, "n": 2000},
            {"quantity": pairs[1], "estimate": 0.36, "ci_low": 0.35, "ci_high": 0.37, "n": 2000},
            {"quantity": pairs[2], "estimate": 0.9985, "ci_low": 0.9975, "ci_high": 0.9991, "n": 2000},
        ],
        "table1_same_method": [
            {
                "method": method,
                "estimate": share,
                "ci_low": share - 0.01,
                "ci_high": share + 0.01,
                "n": 2000,
            }
            for method, share in zip(METHODS, (0.21, 0.38, 0.19), strict=True)
        ],
        "integer_grids": [
            loss(dataset=dataset, method=method, bits=bits, quantity=quantity)
            for dataset, method in cells
            for bits in (4, 2)
            for quantity in quantities
        ],
        "integer_grids_paired": [
            difference(
                dataset=dataset, method="t0_qat", other=other, bits=bits, quantity=quantity, **grid
            )
            for dataset, other in cells
            if other != "t0_qat"
            for bits in (4, 2)
            for quantity in quantities[1:]
        ],
        "integer_grids_overall": [
            difference(dataset=dataset, method="t0_qat", other="standard_qat", quantity=quantity)
            for dataset in DATASETS
            for quantity in quantities[1:]
        ],
    }
    tables |= {
        "precision_full": [
            loss(dataset=dataset, method=method) for dataset in DATASETS for method in NAMED
        ],
        "precision_knee": [
            difference(dataset=dataset, method=method, range=codes, scale=scale, quantity=quantity)
            for dataset in DATASETS
            for method in NAMED
            for codes, scale in (("full", "absmax"), ("narrow", "mse"))
            for quantity in ("knee", "xi_bits", "difference", "distance")
        ],
        "precision_flips": [
            difference(dataset=dataset, bits=8, flipped=flipped, method="t0_qat", other=other)
            for dataset in DATASETS
            for flipped in (1, 2)
            for other in NAMED
            if other != "t0_qat"
        ],
    }
    losses = ("full_precision", "quantized")
    arms = ("published", "xi_alone", "tuned", "matched", "plain")
    settings = [
        {"target": target, "target_noise": 0.1, "baseline_noise": 0.4, "evaluation_noise": noise}
        for target in ("sum", "normal")
        for noise in (0.3, 0.5)
    ]
    agreement = ("acceptance_half", "acceptance", "acceptance_double", "p_value", *pairs)
    scalings = (0.0, 1.0, 80_000.0)
    tables |= {
        "scale": [
            loss(xi_scaling=scaling, quantity=quantity)
            for quantity in ("explained_full_precision", *losses)
            for scaling in scalings
        ],
        "scale_best": [
            {"quantity": q, "estimate": 1.0, "ci_low": 0.0, "ci_high": 2.0, "n": 2000} for q in losses
        ],
        "scale_excess": [difference(xi_scaling=s, quantity=q) for q in losses for s in scalings],
        "scale_neighbours": [
            difference(scaling=scaling, factor=factor, quantity="quantized")
            for scaling in ("published", "xi_alone")
            for factor in (0.5, 2.0)
        ],
        "scale_arms": [
            loss(dataset=dataset, arm=arm, quantity=quantity) | points
            for dataset in DATASETS
            for arm in arms
            for quantity in ("log_scaling", "unexplained")
        ],
        "scale_tuning": [
            difference(dataset=dataset, quantity="unexplained", arm=arm, other_arm=other)
            for dataset in DATASETS
            for arm, other in itertools.combinations(arms, 2)
        ],
        "constants": [
            difference(dataset=dataset, constant=constant, quantity=quantity)
            for dataset in DATASETS
            for constant in CONSTANTS
            for quantity in ("unexplained_added", "unexplained_added_published")
        ],
        "constants_product": [
            {"dataset": dataset, "constant": constant, "magnitude": magnitude}
            | {"multiplier": 32 / 3 / magnitude, "largest_difference": 0.0, "n": 2000}
            for dataset in DATASETS
            for constant, magnitude in CONSTANTS.items()
        ],
        "calibration": [
            setting | {"quantity": quantity, "estimate": 0.5} | interval(0.5)
            for setting in settings
            for quantity in agreement
        ],
        "calibration_verdicts": [
            setting | {"id": id, "verdict": claims.UNCLEAR, "p_holm": 0.5}
            for setting in settings
            for id in ("C1", "C2")
        ],
    }
    networks, sigmas = ("linear", "relu_mlp"), (0.01, 0.1, 32 / 3)
    chances = {"target": "sum", "noise_scale": 0.4458, "z": 1.5, "exact": 0.3}
    tables |= {
        "theory": [
            difference(target="sum", noise_scale=s, weights="t0_qat", quantity="drop_mean")
            | {"exact": 2.0, "z": draws.uniform(-3, 3)}
            for s in sigmas
        ],
        "theory_reduction": [
            chances | difference(method=method, other=other, reduction=REPORTED_REDUCTION)
            for method, other in itertools.product(("standard_qat", "t0_qat"), repeat=2)
        ],
        "theory_expansion": [
            loss(network=network, noise_scale=s, quantity=quantity)
            for network in networks
            for quantity in ("excess", "predicted", "ratio")
            for s in sigmas
        ],
        "theory_norms": [
            loss(network=network, noise_scale=s, quantity=quantity)
            for network in networks
            for s in (0.0, 32 / 3)
            for quantity in ("loss", "weight_norm", "curvature")
        ],
        "theory_training": [
            loss(method=method, schedule=schedule, epoch=epoch, quantity=quantity)
            for method in on_layer()
            for schedule in ("constant", "decaying")
            for epoch in (0, 300, 3000)
            for quantity in ("explained", "left", "left_predicted")
        ],
    }
    tables |= vision_rows(loss, difference) | language_rows(loss, difference)
    made = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    made["integer_grids_conventions"] = made["integer_grids"].assign(**grid)
    made["claims"] = claims.decide(made)
    return {name: table[PAPER.columns_of(name)] for name, table in made.items()}


def vision_rows(
    loss, difference, models=("small_cnn", "deep_cnn"), few=("mlp", "residual_cnn"), bits=(4, 2)
):
    """The files of image networks, orderly but for their numbers; LSQ is the reference everywhere.

    loss, difference: keys -> a row of one mean, or of one paired estimate.
    """
    found = arms.arms("digits", models, few, bits)
    return benchmark_rows("vision", "accuracy", found, loss, difference, bits)


TEXT = named(lambda method: method.text)


def language_rows(
    loss,
    difference,
    models=("small_gpt2", "small_llama"),
    groups=("no_noise", "t0_qat_tuned", "gptq", "ste", "lsq"),
    everything=("no_noise", "t0_qat", "ste"),
    bits=(4, 2),
):
    """The files of language models, likewise."""
    found = [
        arms.Arm("pydoc", model, method, width, layout)
        for layout, run in {"channels": TEXT, "groups": groups, "everything": everything}.items()
        for model in models
        for method in run
        for width in (bits if REGISTRY[method].for_bits else (0,))
    ]
    tables = benchmark_rows("language", "bits_per_character", found, loss, difference, bits)
    own = [arm for arm in found if arm.layout == "channels"]
    tables["language_tuning"] = [row for row in tables["language_tuning"] if row["layout"] == "channels"]
    shown = [(arm, b) for arm in own if arm.method in ("no_noise", "t0_qat") for b in (FLOAT, *bits)]
    return tables | {
        "language_blocks": [
            {k: v for k, v in row.items() if k != "metric"}
            for row in tables["language"]
            if row["metric"] == "bits_per_character" and row["scale_rule"] != "own"
        ],
        "language_text": [
            {
                "dataset": "pydoc",
                "sha256": "0123456789abcdef" * 4,
                "characters": 465048,
                "python": "3.11.7",
            }
        ],
        "language_samples": [
            arm._asdict() | {"eval_bits": b, "text": json.dumps(f"{arm.model} {arm.method} at {b}")}
            for arm, b in shown
        ],
    }


def benchmark_rows(file, metric, found, loss, difference, bits):
    """The files of a benchmark with these arms."""
    tables = {name.replace("vision", file): [] for name in IMAGES}
    for arm in found:
        keys = arm._asdict()
        tables[file + "_tuning"] += [
            loss(**keys, learning_rate=rate, strength=strength, gradients=7, chosen=int(i == 0))
            for i, (rate, strength) in enumerate(arm.candidates(5, 0.003, 0.06))
        ]

        def pairs(width, keys=keys, **place):
            named = [("plain", "no_noise", 0), ("random_bits", "random_bits", 0)]
            named += [("best_baseline", "ste" if keys["method"] == "lsq" else "lsq", width)]
            return [
                difference(**keys, **place, against=against, other=other, other_bits=b)
                for against, other, b in named
                if (keys["method"], keys["train_bits"]) != (other, b)
            ]

        for width in (FLOAT, *bits):
            rules = ["none"] if width == FLOAT else ["absmax", "mse", "own"]
            rules += ["learned"] * (arm.method == "lsq" and arm.train_bits == width)
            for rule in rules:
                at = {"eval_bits": width, "scale_rule": rule}
                metrics = [metric] + ["bytes", "differing"] * (rule in ("absmax", "mse"))
                metrics += ["bytes", "weight_norm", "gradients"] * (width == FLOAT)
                tables[file] += [loss(**keys, **at, metric=m) for m in metrics]
                if arm.train_bits in (0, width) and rule in ("own", "none"):
                    tables[file + "_paired"] += pairs(width, **at)
                    if width != FLOAT:
                        kept = {"against": "unrounded", "other": "no_noise", "other_bits": 0}
                        tables[file + "_kept"].append(difference(**keys, **at, **kept))
        for quantity in ("mean", "worst"):
            at = {"scale_rule": "own", "quantity": quantity}
            tables[file + "_any"].append(loss(**keys, **at))
            tables[file + "_any_paired"] += pairs(bits[-1], **at)
    return tables


def typeset(tables: dict[str, pd.DataFrame], changed: str) -> str:
    """All that is made from one results file: tables, macros, the README's block."""
    made = [make(tables) for make in PAPER.exhibits.values() if changed in make.files]
    readme = verdicts.readme(tables) if changed.startswith("table1") else ""
    return "\n".join(body + latex.macro_lines(macros) for body, macros in made) + readme


# What is shown of each file, by columns; a number may appear in the table, a macro or the README.
SHOWN = {
    "table1": "reported mean std ci_low ci_high q025 median q975 reported_percentile",
    "table1_paired": "estimate ci_low ci_high",
    "integer_grids_overall": "estimate ci_low ci_high",
    "precision_full": "mean ci_low ci_high",
    "claims": "estimate ci_low ci_high n",
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_changed_number_changes_what_is_typeset(name):
    before = frames()
    original = typeset(before, name)
    for column in SHOWN[name].split():
        for i, value in enumerate(before[name][column]):
            if pd.notna(value):
                table = before[name].astype({column: float})
                table.loc[i, column] = 2 * value + 1.03  # far from any value that is shown
                assert typeset(before | {name: table}, name) != original, f"{column} of row {i}"


def test_changed_grid_losses_and_counts_change_what_is_typeset():
    before, name = frames(), "integer_grids"
    original = typeset(before, name)
    rows = before[name]
    # Losses in full precision are the same at every bit-width and are shown once.
    shown = (rows.quantity == "quantized") | ((rows.quantity == "full_precision") & (rows.bits == 4))
    for i in rows.index[shown]:
        for column in ("mean", "ci_low", "ci_high"):
            table = rows.copy()
            table.loc[i, column] += 0.5
            assert typeset(before | {name: table}, name) != original, f"{column} of row {i}"
    for counted in ("table1", "integer_grids"):
        changed = typeset(before | {counted: before[counted].assign(n=12_345)}, counted)
        assert r"12\,345" in changed and r"12\,345" not in original


def test_grid_macros_count_what_the_corrected_tests_say():
    tables = frames()
    rows = tables["integer_grids_paired"]
    macros = published.integer_grids(tables)[1]
    for quantity, label in (("quantized", "Quantized"), ("drop", "Drop")):
        counted = {"Smaller": 0, "Larger": 0, "Unclear": 0}
        detectable = []
        for row in rows[(rows.other == "standard_qat") & (rows.quantity == quantity)].itertuples():
            word = "Unclear" if row.p_holm >= 0.05 else "Larger" if row.estimate > 0 else "Smaller"
            counted[word] += 1
            detectable.append(row.detectable)
        assert {key: int(macros[f"Grids{label}{key}"]) for key in counted} == counted
    assert int(macros["GridsDropCells"]) == len(detectable)
    assert float(macros["GridsDropDetectableLeast"]) == pytest.approx(min(detectable), rel=0.05)
    assert float(macros["GridsDropDetectableMost"]) == pytest.approx(max(detectable), rel=0.05)


def test_every_changed_knee_and_flip_changes_what_is_typeset():
    before = frames()
    for name, mine in (
        ("precision_knee", lambda rows: rows.quantity.isin(["knee", "xi_bits"])),
        ("precision_flips", lambda rows: (rows.flipped == 2) & (rows.other == "standard_qat")),
    ):
        original = typeset(before, name)
        rows = before[name].index[mine(before[name])]
        for i, column in zip(rows, itertools.cycle(("estimate", "ci_low", "ci_high")), strict=False):
            table = before[name].copy()
            table.loc[i, column] += 0.5
            assert typeset(before | {name: table}, name) != original, f"{column} of row {i}"


def test_precision_macros_count_what_the_intervals_and_the_corrected_tests_say():
    tables = frames()
    flips = tables["precision_flips"]
    flips.loc[3, ["estimate", "ci_low", "ci_high", "p_holm"]] = 0.0, 0.0, 0.0, 1.0  # nothing in any pair
    macros = precision.precision(tables)[1]
    near = above = below = 0
    for row in tables["precision_knee"].itertuples():
        near += row.quantity == "distance" and row.ci_high < 1
        above += row.quantity == "difference" and row.ci_low > 0
        below += row.quantity == "difference" and row.ci_high < 0
    found = [int(macros[f"Precision{name}"]) for name in ("Near", "DifferenceAbove", "DifferenceBelow")]
    assert found == [near, above, below] and near and above and below
    counted = {"Smaller": 0, "Larger": 0, "Unclear": 0, "Same": 0}
    for row in flips.itertuples():
        word = "Unclear" if row.p_holm >= 0.05 else "Larger" if row.estimate > 0 else "Smaller"
        counted["Same" if row.estimate == 0 else word] += 1
    assert {key: int(macros[f"PrecisionFlips{key}"]) for key in counted} == counted
    assert int(macros["PrecisionFlipsCells"]) == sum(counted.values()) and all(counted.values())
    assert macros["PrecisionReplicates"].count(r"2\,000") == len(DATASETS)


def test_macros_count_and_rank_the_reported_numbers():
    tables = frames()
    table = tables["table1"]
    table.loc[0, ["reported", "q025", "q975", "reported_percentile"]] = [
        1.0,
        1.0,
        2.0,
        2.5,
    ]  # on the edge
    table.loc[1, ["reported", "q025", "q975", "reported_percentile"]] = [2.1, 1.0, 2.0, 99.0]
    macros = published.table1(tables)[1]
    assert macros["TableOneReportedInside"] == "5 of 6"
    assert (macros["TableOneReportedLowest"], macros["TableOneReportedHighest"]) == ("2", "99")
    assert macros["TableOneReportedReduction"] == "51.1"
    table.loc[2, "std"] = 7.894
    assert published.table1(tables)[1]["TableOneStandardDropSpread"] == "7.89"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "larger than"),
        (1e-300, 1, "larger than"),
        (0.0, 1, "not detectably different from"),  # an interval that touches zero
        (-1, 1, "not detectably different from"),
        (-1, 0.0, "not detectably different from"),
        (0.0, 0.0, "not detectably different from"),
        (-1, -1e-300, "smaller than"),
        (math.nan, math.nan, "not detectably different from"),
    ],
)
def test_direction_words_follow_the_interval(low, high, said):
    assert words.direction(low, high) == said
    if not math.isnan(low):
        tables = frames()
        tables["table1_paired"].loc[0, ["estimate", "ci_low", "ci_high"]] = [(low + high) / 2, low, high]
        assert published.table1(tables)[1]["TableOneDropWord"] == said
        assert f"expected drop is {said} Standard QAT's" in verdicts.readme(tables)


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((2.1823, 2.1613, 2.2033), ("2.182", "2.161", "2.203")),
        ((0.0187, -0.0214, 0.0588), ("0.019", "-0.021", "0.059")),
        ((7.9123, 6.4, 9.4), ("7.9", "6.4", "9.4")),
        ((1234.5, 1200.2, 1268.8), ("1234", "1200", "1269")),
        ((1234.5, 0.0, 5000.0), ("1234", "0", "5000")),
        ((0.5, 0.499, 0.501), ("0.5000", "0.4990", "0.5010")),  # the half-width is 0.0010
        ((2.0, 2.0, 2.0), ("2.000", "2.000", "2.000")),
        ((-0.001, -0.501, 0.499), ("0.00", "-0.50", "0.50")),  # nothing is minus zero
    ],
)
def test_estimates_have_two_digits_of_their_half_width(numbers, shown):
    assert words.estimate(*numbers) == shown


@PROPERTY
@given(st.floats(-1e4, 1e4), st.floats(1e-7, 1e4))
def test_estimates_round_what_they_show_and_never_more_than_the_interval_bears(mean, half):
    low, high = mean - half, mean + half
    shown = words.estimate(mean, low, high)
    decimals = {-Decimal(text).as_tuple().exponent for text in shown}
    assert len(decimals) == 1
    (decimals,) = decimals
    for text, value in zip(shown, (mean, low, high), strict=True):
        assert abs(Decimal(text) - Decimal(value)) <= Decimal(10) ** -decimals / 2
        assert not re.fullmatch(r"-0(\.0*)?", text)
    digits = (high - low) / 2 * 10**decimals  # the half-width in units of the last place
    assert digits >= 9.99
    assert digits < 100.01 or decimals == 0


@PROPERTY
@given(st.floats(1e-9, 1 - 1e-9) | st.sampled_from([0.0, 1.0]))
def test_percentages_are_near_and_never_rounded_to_certainty(value):
    shown = words.percent(value)
    assert bool(re.fullmatch(r"0(\.0+)?", shown)) == (value == 0)
    assert bool(re.fullmatch(r"100(\.0+)?", shown)) == (value == 1)
    if 0.001 < value < 0.999:
        assert float(shown) == pytest.approx(100 * value, abs=0.051)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.3604, "36.0"), (0.99, "99.0"), (0.9985, "99.85"), (0.0012, "0.12"), (0.01, "1.0")],
)
def test_percentages_show_more_near_certainty(value, shown):
    assert words.percent(value) == shown


def test_escape_covers_every_special_character():
    assert latex.escape(HOSTILE) == HOSTILE_ESCAPED


LITERAL = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"}
LITERAL |= {"\\" + character: character for character in "&%$#_{}"}


@PROPERTY
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_escaped_text_reads_back_and_leaves_nothing_special(text):
    escaped = latex.escape(text)
    pattern = "|".join(map(re.escape, LITERAL))
    assert re.sub(pattern, lambda found: LITERAL[found[0]], escaped) == text
    assert not set(re.sub(pattern, "", escaped)) & set("\\&%$#_{}~^")


def test_hostile_labels_are_escaped_and_leave_the_tables_whole(monkeypatch):
    monkeypatch.setitem(METHODS, "t0_qat", METHODS["t0_qat"]._replace(label=HOSTILE))
    tables = frames()
    for name in ("table1", "integer_grids"):
        body, macros = PAPER.exhibits[name](tables)
        assert HOSTILE_ESCAPED in body and HOSTILE not in body
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        cells = {len(re.findall(r"(?<!\\)&", line)) for line in rows}
        assert len(cells) == 1  # as many cells in every row, the header included
        assert all(name.isascii() and name.isalpha() for name in macros)
    claimed = tables["claims"].assign(claim=HOSTILE, statistic=HOSTILE)
    body, _ = verdicts.claims_table(tables | {"claims": claimed})
    assert HOSTILE_ESCAPED in body and HOSTILE not in body


def test_hostile_labels_leave_the_readme_tables_whole(monkeypatch):
    """As many cells in every row, which GitHub splits at each bar without a backslash before it."""
    hostile = "A | B <img> [c](d) `e`"
    monkeypatch.setitem(METHODS, "t0_qat", METHODS["t0_qat"]._replace(label=hostile))
    tables = frames()
    tables["claims"] = tables["claims"].assign(claim=hostile, statistic=hostile)
    blocks = [text for text in verdicts.readme(tables).split("\n\n") if text.startswith("|")]
    assert len(blocks) == 3
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1
    assert "<img>" not in "".join(blocks)


def test_the_readme_says_what_to_use_and_counts_verdicts():
    tables = frames()
    _, use, counts = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()[2:]]
        for block in verdicts.readme(tables).split("\n\n")
        if block.startswith("|")
    )
    files = {"CNN": ("vision", "accuracy", 100), "small": ("language", "bits_per_character", 1)}
    seen, model = [], ""
    for lead, width, best, *others in use:
        model = lead.split(",")[0].lower().replace(" ", "_").replace("-", "") if lead else model
        file, metric, times = files["CNN" if "cnn" in model else "small"]
        here = {"model": model, "eval_bits": int(width.removeprefix("INT")), "scale_rule": "own"}
        select = " and ".join(f"{key} == {value!r}" for key, value in here.items())
        arm = tables[f"{file}_paired"].query(
            f"{select} and method == 't0_qat' and against == 'best_baseline'"
        )
        rows = tables[file].query(f"{select} and metric == {metric!r}")
        mine = rows[(rows.method == arm.other.item()) & (rows.train_bits == arm.other_bits.item())]
        for cell, row in [(best, mine)] + [
            (cell, rows[rows.method == method])
            for cell, method in zip(others, ("t0_qat", "t0_qat_tuned", "no_noise"), strict=True)
        ]:
            shown = float(re.search(r"(-?[\d.]+) \\\[", cell)[1])
            assert shown == pytest.approx(times * row["mean"].item(), abs=0.06 * times / 10)
        assert best.startswith(REGISTRY[arm.other.item()].label)
        seen.append((model, width))
    assert seen == [
        (model, width)
        for model in ("small_cnn", "deep_cnn", "small_gpt2", "small_llama")
        for width in ("INT4", "INT2")
    ]
    verdict = tables["claims"].groupby("id").verdict.value_counts()
    for claim, *found in counts:
        for cell, word in zip(
            found,
            (claims.SUPPORTED, claims.CONTRADICTED, claims.UNCLEAR, claims.UNTESTABLE),
            strict=True,
        ):
            assert cell.replace("–", "0") == str(verdict.get((claim.split()[0], word), 0))


@pytest.mark.parametrize(
    ("plain", "typeset"),
    [
        ("-0.02 [-0.05, 0.01]", "$-$0.02 [$-$0.05, 0.01]"),
        ("-2.52 / 2.10 / 8.03", "$-$2.52 / 2.10 / 8.03"),
        (r"$-3 \pm 1$", r"$-3 \pm 1$"),
        ("T0-QAT", "T0-QAT"),
        ("2-4", "2-4"),
        ("--", "--"),
    ],
)
def test_only_minus_signs_become_minus_signs(plain, typeset):
    assert latex.minus(plain) == typeset


@PROPERTY
@given(st.floats(1e-12, 1e12))
def test_powers_of_ten_are_typeset_as_such(value):
    shown = latex.scientific(value)
    assert "e" not in shown
    mantissa, power = re.fullmatch(r"\$?([\d.]+)(?: \\cdot 10\^\{(-?\d+)\}\$)?", shown).groups("0")
    assert float(mantissa) * 10.0 ** int(power) == pytest.approx(value, rel=0.0501)


def test_cells_show_the_half_width_with_the_digits_of_the_mean():
    row = {"mean": 2.1823, "ci_low": 2.1613, "ci_high": 2.2033}
    assert words.with_interval(row) == "2.182 [2.161, 2.203]"
    assert words.plus_minus(row) == r"$2.182 \pm 0.021$"


def test_macros_are_defined_once_over_all_exhibits():
    """Two experiments whose macros share a name would stop LaTeX, or silently show the wrong number."""
    tables = frames()
    names = [name for make in PAPER.exhibits.values() for name in make(tables)[1]]
    assert len(names) == len(set(names))
    lines = latex.macro_lines({"Drop": r"2\,000"})
    assert lines == "\\newcommand{\\Drop}{2\\,000}\n"


def test_every_method_has_its_rows_and_the_reported_numbers_stand_beside_theirs():
    tables = frames()
    body = published.table1(tables)[0]
    rows = [line.split(" & ") for line in body.splitlines() if line.endswith(r"\\")][1:]
    assert [row[0] for row in rows if row[0]] == [method.label for method in on_layer().values()]
    assert [row[2] for row in rows] == ["3.3000"] * 6 + ["--"] * 3
    assert [row[-1] for row in rows] == [r"41 \\"] * 6 + [r"-- \\"] * 3
    assert body.count(r"\midrule") == len(METHODS)
    for row, source in zip(rows, tables["table1"].itertuples(), strict=True):
        mean, low, high = map(float, re.findall(r"-?[\d.]+", row[3]))
        assert (mean, low, high) == pytest.approx((source.mean, source.ci_low, source.ci_high), rel=0.02)


def test_every_shown_number_of_the_theory_changes_what_is_typeset():
    before = frames()
    shown = {
        "theory_expansion": lambda rows: (rows.quantity == "ratio") & (rows.noise_scale > 10),
        "theory_norms": lambda rows: (
            (rows.quantity == "weight_norm") | ((rows.quantity == "curvature") & (rows.noise_scale == 0))
        ),
        "theory_training": lambda rows: (
            (rows.quantity == "explained") & (rows.method == "t0_qat") & (rows.epoch > 0)
        ),
    }
    for name, which in shown.items():
        original = typeset(before, name)
        for i in before[name].index[which(before[name])]:
            for column in ("mean", "ci_low") if name == "theory_training" else ("mean",):
                table = before[name].copy()
                table.loc[i, column] += 0.5
                assert typeset(before | {name: table}, name) != original, f"{name}: {column} of row {i}"


def test_the_words_of_the_theory_follow_its_rules():
    tables = frames()
    training = tables["theory_training"]
    plain = (training.method == "no_noise") & (training.quantity == "explained")
    training.loc[plain, "mean"] = 0.95
    mine = (training.method == "t0_qat") & (training.quantity == "explained") & (training.epoch == 3000)
    for low, word in ((0.941, "comes"), (0.939, "does not come")):
        training.loc[mine, "ci_low"] = low
        macros = exhibits.theory.theory(tables)[1]
        assert macros["TheoryConstantWord"] == macros["TheoryDecayingWord"] == word
    laws = tables["theory"]
    limit = float(exhibits.theory.theory(tables)[1]["TheoryLimit"])
    laws["z"] = [0.5, -limit - 0.1, limit - 0.1]
    macros = exhibits.theory.theory(tables)[1]
    assert (macros["TheoryBeyond"], macros["TheoryCells"]) == ("1", "3")
    assert float(macros["TheoryLargest"]) == pytest.approx(limit + 0.1, abs=0.006)
