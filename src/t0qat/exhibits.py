"""From results files to what is typeset: a table and the macros of each experiment, and the README.

Everything here is a function of the results files alone, so a changed number changes the text.
"""

import html
import math
import re
from collections.abc import Callable

import pandas as pd
from scipy import stats

from t0qat import claims
from t0qat.constants import REPORTED_REDUCTION, reported_evaluation_noise
from t0qat.latex import escape, scientific, tabular
from t0qat.methods import METHODS, NAMED

Results = dict[str, pd.DataFrame]
Row = dict  # of a results file, by column
ALARM = 0.01  # chance that some |z| of a whole file passes its limit by chance
CONVERGED = 0.01  # of the target's variance: how near to plain training counts as reaching it
QUANTITY_LABELS = {"full_precision": "Full precision", "quantized": "Quantized", "drop": "Drop"}
DATASET_LABELS = {"synthetic": "Synthetic", "diabetes": "Diabetes", "digits": "Digits"}


def estimate(mean: float, low: float, high: float) -> tuple[str, str, str]:
    """Three numbers with as many decimals as show the interval's half-width to two digits."""
    half = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 3
    shown = (f"{value:.{decimals}f}" for value in (mean, low, high))
    return tuple(text.removeprefix("-") if float(text) == 0 else text for text in shown)


def with_interval(row: Row) -> str:
    """A table cell: the mean and its interval, as in `2.18 [2.16, 2.20]`."""
    mean, low, high = estimate(row["mean"], row["ci_low"], row["ci_high"])
    return f"{mean} [{low}, {high}]"


def plus_minus(row: Row) -> str:
    """A narrower table cell: mean and half-width of the interval, as in `$2.18 \\pm 0.02$`."""
    mean, *_ = estimate(row["mean"], row["ci_low"], row["ci_high"])
    decimals = len(mean.partition(".")[2])
    return rf"${mean} \pm {(row['ci_high'] - row['ci_low']) / 2:.{decimals}f}$"


def direction(low: float, high: float) -> str:
    """What an interval of a difference says of its direction."""
    return "larger than" if low > 0 else "smaller than" if high < 0 else "not detectably different from"


def rows_of(table: pd.DataFrame, **keys) -> list[Row]:
    """The rows with these keys, in order."""
    for column, value in keys.items():
        table = table[table[column] == value]
    return table.to_dict("records")


def one(table: pd.DataFrame, **keys) -> Row:
    """The one row with these keys."""
    (row,) = rows_of(table, **keys)
    return row


def percent(value: float, decimals: int | None = None) -> str:
    """A probability as a percentage; more decimals near 0 and 1, never rounded to either.

    decimals: how many to show at least; by default 1, and 2 below 1 and above 99 percent.
    """
    if decimals is None:
        decimals = 1 if 0.01 <= value <= 0.99 else 2
    shown = f"{100 * value:.{decimals}f}"
    while 0 < value < 1 and float(shown) in (0, 100) and decimals < 12:
        decimals += 1
        shown = f"{100 * value:.{decimals}f}"
    return shown


def thousands(n: float) -> str:
    """A count with commas."""
    return f"{n:,.0f}"


def _reported(row) -> str:
    return "--" if math.isnan(row["reported"]) else f"{row['reported']:.4f}"


def _reported_at(row) -> str:
    return "--" if math.isnan(row["reported"]) else percent(row["reported_percentile"] / 100, 0)


def table1(results: Results) -> tuple[str, dict[str, str]]:
    rows = [
        [
            escape(METHODS[row["method"]].label) if i % len(QUANTITY_LABELS) == 0 else "",
            QUANTITY_LABELS[row["quantity"]],
            _reported(row),
            with_interval(row),
            f"{row['std']:.2f}",
            f"{row['q025']:.2f} / {row['median']:.2f} / {row['q975']:.2f}",
            _reported_at(row),
        ]
        for i, row in enumerate(rows_of(results["table1"]))
    ]
    header = [
        "Method",
        "Loss",
        "Reported",
        "Reproduced mean [95\\,\\%]",
        "SD",
        "2.5 / 50 / 97.5\\,\\%",
        "At",
    ]
    breaks = range(len(QUANTITY_LABELS), len(rows), len(QUANTITY_LABELS))
    body = tabular(rows, header, "@{}llrrrrr@{}", breaks)

    table, paired = results["table1"], results["table1_paired"]
    difference = one(paired, quantity="drop_difference")
    reduction = one(paired, quantity="chance_of_reported_reduction")
    worse = one(paired, quantity="chance_t0_worse_quantized")
    known = table[table.reported.notna()]
    inside = known.reported.between(known.q025, known.q975)
    mean, low, high = estimate(difference["estimate"], difference["ci_low"], difference["ci_high"])
    macros = {
        "Replicates": thousands(table.n.iloc[0]).replace(",", r"\,"),
        "DropDifference": mean,
        "DropDifferenceLow": low,
        "DropDifferenceHigh": high,
        "DropWord": direction(difference["ci_low"], difference["ci_high"]),
        "EvaluationNoise": f"{reported_evaluation_noise():.4f}",
        "ReportedReduction": percent(REPORTED_REDUCTION),
        "ReportedInside": f"{inside.sum()} of {len(inside)}",
        "ReportedLowest": percent(known.reported_percentile.min() / 100, 0),
        "ReportedHighest": percent(known.reported_percentile.max() / 100, 0),
    }
    for name, row in (("Reduction", reduction), ("Worse", worse)):
        ends = dict(
            zip(("", "Low", "High"), (row["estimate"], row["ci_low"], row["ci_high"]), strict=True)
        )
        macros |= {f"Chance{name}{end}": percent(value) for end, value in ends.items()}
    same = results["table1_same_method"]
    for method, name in (("standard_qat", "Standard"), ("t0_qat", "T")):
        macros[f"{name}ChanceAlone"] = percent(one(same, method=method)["estimate"])
        row = one(table, method=method, quantity="drop")
        macros[f"{name}DropSpread"] = f"{row['std']:.2f}"
    return body, {f"TableOne{name}": value for name, value in macros.items()}


def integer_grids(results: Results) -> tuple[str, dict[str, str]]:
    table = results["integer_grids"]
    rows, breaks = [], []
    for dataset, part in table.groupby("dataset", sort=False):
        breaks.append(len(rows))
        for method, mine in part.groupby("method", sort=False):
            full = one(mine[mine.bits == mine.bits.iloc[0]], quantity="full_precision")
            quantized = rows_of(mine, quantity="quantized")
            rows.append(
                [DATASET_LABELS.get(dataset, escape(dataset)), escape(METHODS[method].label)]
                + [plus_minus(row) for row in (full, *quantized)]
            )
    widths = [f"INT{b}" for b in table.bits.unique()]
    body = tabular(
        rows,
        ["Data", "Method", "Full precision", *widths],
        "@{}ll" + "r" * (1 + len(widths)) + "@{}",
        breaks[1:],
    )

    paired = results["integer_grids_paired"]
    rival = paired[paired.other == "standard_qat"]
    macros = {"Replicates": thousands(table.n.iloc[0]).replace(",", r"\,")}
    for quantity, name in (("quantized", "Quantized"), ("drop", "Drop")):
        some = rival[rival.quantity == quantity]
        clear = some.p_holm < 0.05
        counts = {"Cells": len(some)} if name == "Drop" else {}
        counts |= {
            "Smaller": (clear & (some.estimate < 0)).sum(),
            "Larger": (clear & (some.estimate > 0)).sum(),
            "Unclear": (~clear).sum(),
        }
        macros |= {f"{name}{key}": str(count) for key, count in counts.items()}
    drops = rival[rival.quantity == "drop"]
    macros["DropDetectableLeast"] = scientific(drops.detectable.min())
    macros["DropDetectableMost"] = scientific(drops.detectable.max())
    for quantity, name in (("drop", "OverallDrop"), ("quantized", "OverallQuantized")):
        cells = [
            f"{with_interval(row | {'mean': row['estimate']})} on the {escape(row['dataset'])} data"
            for row in rows_of(results["integer_grids_overall"], quantity=quantity)
        ]
        macros[name] = " and ".join(cells)
    return body, {f"Grids{name}": value for name, value in macros.items()}


NETWORK_LABELS = {
    "linear": "Linear layer, squared error",
    "multiplicative": "The same, relative noise",
    "deep_linear": "Two linear layers, squared error",
    "softmax": "Linear layer, cross-entropy",
    "tanh_mlp": "One hidden layer, tanh",
    "relu_mlp": "One hidden layer, ReLU",
}


def holds_up_to(ratios: pd.DataFrame) -> float:
    """The largest noise scale up to which every interval of the ratio lies within 0.9 to 1.1, or nan."""
    held = ((ratios.ci_low > 0.9) & (ratios.ci_high < 1.1)).cummin()
    return ratios.noise_scale[held].max()


def at_fitted_noise(chances: pd.DataFrame) -> pd.DataFrame:
    """The rows of theory_reduction for the sum target, at the noise nearest to the fitted one."""
    distance = (chances.noise_scale - reported_evaluation_noise()).abs()
    return chances[(distance == distance.min()) & (chances.target == "sum")]


def theory(results: Results) -> tuple[str, dict[str, str]]:
    expansion, norms = results["theory_expansion"], results["theory_norms"]
    trained_under = norms.noise_scale.unique()
    rows = []
    for network in expansion.network.unique():
        ratios = expansion[(expansion.network == network) & (expansion.quantity == "ratio")]
        limit = holds_up_to(ratios)
        end = ratios.iloc[-1]
        reach = (
            "nowhere" if math.isnan(limit) else "all" if limit == end.noise_scale else scientific(limit)
        )
        mine = norms[norms.network == network]
        sizes = [one(mine, quantity="weight_norm", noise_scale=scale) for scale in trained_under]
        curvature = one(mine, quantity="curvature", noise_scale=trained_under[0])
        label = NETWORK_LABELS.get(network, escape(network))
        rows.append([label, plus_minus(curvature), reach, plus_minus(end), *map(plus_minus, sizes)])
    header = [
        "Network",
        r"$\tr H$",
        "Holds to",
        "Ratio at end",
        *(rf"$\sigma = {scale:.3g}$" for scale in trained_under),
    ]
    body = tabular(rows, header, "@{}lrr" + "r" * (1 + len(trained_under)) + "@{}")
    cells, chances = results["theory"], results["theory_reduction"]
    macros = {
        "Draws": thousands(cells.n.iloc[0]).replace(",", r"\,"),
        "Networks": str(expansion.n.iloc[0]),
        "Sigma": scientific(expansion.noise_scale.max()),
        "SigmaLeast": scientific(expansion.noise_scale.min()),
        "Runs": str(results["theory_training"].n.iloc[0]),
    }
    for name, table in (("", cells), ("Reduction", chances)):
        limit = stats.norm.isf(ALARM / 2 / len(table))
        macros |= {
            f"{name}Cells": str(len(table)),
            f"{name}Largest": f"{table.z.abs().max():.2f}",
            f"{name}Limit": f"{limit:.2f}",
            f"{name}Beyond": str((table.z.abs() > limit).sum()),
        }
    mine = at_fitted_noise(chances)
    mine = mine[(mine.reduction - REPORTED_REDUCTION).abs() < 1e-6]
    for name, method, other in (
        ("ExactReduction", "standard_qat", "t0_qat"),
        ("ExactStandard", "standard_qat", "standard_qat"),
        ("ExactT", "t0_qat", "t0_qat"),
    ):
        macros[name] = percent(one(mine, method=method, other=other)["exact"])
    kinks = expansion[(expansion.network == "relu_mlp") & (expansion.quantity == "ratio")]
    macros["Kinks"] = with_interval(kinks.iloc[0])
    macros |= _learned(results["theory_training"])
    return body, {f"Theory{name}": value for name, value in macros.items()}


def _learned(table: pd.DataFrame) -> dict[str, str]:
    """What T0-QAT explains after the published epochs and after the longest training, in words too."""
    explained = table[(table.quantity == "explained") & (table.epoch > 0)]
    lengths = sorted(explained[explained.schedule == "decaying"].epoch.unique())
    plain = one(explained, method="no_noise", schedule="constant", epoch=lengths[-1])
    macros = {"Longest": f"{lengths[-1] / lengths[0]:.0f}", "PlainLong": percent(plain["mean"])}
    for schedule in ("constant", "decaying"):
        for name, epoch in (("", lengths[0]), ("Long", lengths[-1])):
            row = one(explained, method="t0_qat", schedule=schedule, epoch=epoch)
            ends = zip(("", "Low", "High"), (row["mean"], row["ci_low"], row["ci_high"]), strict=True)
            for end, value in ends:
                macros[f"{schedule.title()}{name}{end}"] = percent(value)
        reached = row["ci_low"] > plain["mean"] - CONVERGED
        macros[f"{schedule.title()}Word"] = "comes" if reached else "does not come"
    for name, epoch in (("", lengths[0]), ("Long", lengths[-1])):
        for quantity, word in (("left", "Left"), ("left_predicted", "Predicted")):
            row = one(table, method="t0_qat", schedule="constant", epoch=epoch, quantity=quantity)
            macros[f"{word}{name}"] = percent(row["mean"])
    return macros


def on_each(rows: list[Row], show: Callable[[Row], str]) -> str:
    """What rows of different data sets show, as `1 on the synthetic and 2 on the digits data`."""
    shown = [f"{show(row)} on the {escape(row['dataset'])}" for row in rows]
    return ", ".join(shown[:-1]) + " and " * bool(shown[:-1]) + f"{shown[-1]} data"


def precision(results: Results) -> tuple[str, dict[str, str]]:
    full, knees = results["precision_full"], results["precision_knee"]
    knees = knees.rename(columns={"estimate": "mean"})
    conventions = list(dict.fromkeys(zip(knees.range, knees.scale, strict=True)))
    rows, breaks = [], []
    for i, row in enumerate(rows_of(full)):
        first = i == 0 or row["dataset"] != full.dataset[i - 1]
        breaks += [len(rows)] * (first and i > 0)
        data = DATASET_LABELS.get(row["dataset"], escape(row["dataset"]))
        lead = [data if first else "", escape(NAMED[row["method"]].label), plus_minus(row)]
        keys = {"dataset": row["dataset"], "method": row["method"]}
        for quantity, label in (("knee", "knee"), ("xi_bits", r"step $=\xi$")):
            cells = [
                plus_minus(one(knees, range=codes, scale=scale, quantity=quantity, **keys))
                for codes, scale in conventions
            ]
            rows.append([*(lead if quantity == "knee" else [""] * 3), label, *cells])
    header = ["Data", "Method", "Full precision", "Bits", *(", ".join(pair) for pair in conventions)]
    columns = r"@{\hspace{5pt}}".join("llll" + "r" * len(conventions))
    body = tabular(rows, header, f"@{{}}{columns}@{{}}", breaks)

    mine = knees[(knees.method == "t0_qat") & (knees.range == "full") & (knees.scale == "absmax")]
    macros = {
        "Replicates": on_each(
            rows_of(mine, quantity="knee"), lambda row: thousands(row["n"]).replace(",", r"\,")
        ),
        "Cells": str((knees.quantity == "knee").sum()),
    }
    for quantity, name in (("knee", "Knee"), ("xi_bits", "Xi"), ("difference", "Difference")):
        macros[name] = on_each(rows_of(mine, quantity=quantity), with_interval)
        some = knees[knees.quantity == quantity]
        if quantity != "difference":
            macros |= {f"{name}Least": f"{some['mean'].min():.1f}"}
            macros |= {f"{name}Most": f"{some['mean'].max():.1f}"}
        else:
            macros |= {f"{name}Above": str((some.ci_low > 0).sum())}
            macros |= {f"{name}Below": str((some.ci_high < 0).sum())}
    macros["Near"] = str((knees[knees.quantity == "distance"].ci_high < 1).sum())

    flips = results["precision_flips"]
    decisive = rows_of(flips, bits=8, flipped=2, other="standard_qat")
    macros["Flips"] = on_each(decisive, lambda row: with_interval(row | {"mean": row["estimate"]}))
    macros["FlipsDetectable"] = on_each(decisive, lambda row: scientific(row["detectable"]))
    same = (flips.ci_low == 0) & (flips.ci_high == 0)
    clear = (flips.p_holm < 0.05) & ~same
    macros["FlipsCells"] = str(len(flips))
    counts = {"Same": same, "Unclear": ~clear & ~same}
    counts |= {"Smaller": clear & (flips.estimate < 0), "Larger": clear & (flips.estimate > 0)}
    macros |= {f"Flips{name}": str(which.sum()) for name, which in counts.items()}
    return body, {f"Precision{name}": value for name, value in macros.items()}


def claims_table(results: Results) -> tuple[str, dict[str, str]]:
    table = results["claims"]
    rows, breaks = [], []
    for i, row in enumerate(rows_of(table)):
        first = i == 0 or row["id"] != table.id[i - 1]
        breaks += [i] * (first and i > 0)
        rows.append(
            [
                *((row["id"], escape(row["claim"])) if first else ("", "")),
                escape(row["statistic"]),
                *_verdict(row),
            ]
        )
    header = ["", "Claim", "Decided by", "Estimate [95\\,\\%]", "$n$", "Verdict"]
    claim, decided, verdict = (
        rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in (0.2, 0.27, 0.14)
    )
    alignment = f"@{{}}l{claim}{decided}rr{verdict}@{{}}"
    body = tabular(rows, header, alignment, breaks)
    counts = {
        "Supported": (table.verdict == claims.SUPPORTED).sum(),
        "Contradicted": (table.verdict == claims.CONTRADICTED).sum(),
        "Unclear": (table.verdict == claims.UNCLEAR).sum(),
        "Untestable": (table.verdict == claims.UNTESTABLE).sum(),
        "Decided": (table.verdict != claims.PENDING).sum(),
        "Pending": table[table.verdict == claims.PENDING].id.nunique(),
    }
    return body, {f"Claims{name}": str(count) for name, count in counts.items()}


def _markdown(text: str) -> str:
    """Text as a cell of a Markdown table shows it literally."""
    return re.sub(r"([\\`*{}\[\]|$])", r"\\\1", html.escape(text, quote=False))


def _verdict(row: Row) -> tuple[str, str, str]:
    """Estimate, n and verdict of a claim's row, as cells."""
    if math.isnan(row["estimate"]):
        return "--", "--", row["verdict"]
    cell = with_interval({"mean": row["estimate"], "ci_low": row["ci_low"], "ci_high": row["ci_high"]})
    verdict = row["verdict"]
    if verdict == claims.UNCLEAR:
        verdict += f" (would see {row['detectable']:.2g})"
    elif verdict == claims.UNTESTABLE:
        verdict += " (no two paired results differ)"
    return cell, thousands(row["n"]), verdict


def readme(results: Results) -> str:
    """The README's result block, in Markdown: Table 1, its figure, and what the pairs say."""
    lines = ["| Method | Loss | Reported | Reproduced mean [95 %] | Middle 95 % of single runs |"]
    lines += ["|---|---|---|---|---|"]
    for row in rows_of(results["table1"]):
        cells = [
            _markdown(METHODS[row["method"]].label),
            QUANTITY_LABELS[row["quantity"]],
            _reported(row).replace("--", "–"),
            with_interval(row),
            f"{row['q025']:.2f} to {row['q975']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    _, words = table1(results)
    word = {name.removeprefix("TableOne"): value.replace(r"\,", ",") for name, value in words.items()}
    return "\n".join(
        [
            "![Distributions of the three losses over replicates](figures/table1.png)",
            "",
            *lines,
            "",
            f"Over {word['Replicates']} paired replicates, {word['ReportedInside']} reported numbers lie"
            f" in the middle 95 % of single runs. T0-QAT's expected drop is {word['DropWord']}"
            f" Standard QAT's (difference {word['DropDifference']} [{word['DropDifferenceLow']},"
            f" {word['DropDifferenceHigh']}]); two separate runs show the reported reduction of"
            f" {word['ReportedReduction']} % or more with probability {word['ChanceReduction']} %, and"
            f" T0-QAT ends with the larger quantized loss with probability {word['ChanceWorse']} %.",
            "",
            "| Claim | Decided by | Estimate [95 %] | n | Verdict |",
            "|---|---|---|---|---|",
            *(
                f"| {' | '.join(map(_markdown, cells))} |"
                for row in rows_of(results["claims"])
                for cells in [(f"{row['id']} {row['claim']}", row["statistic"], *_verdict(row))]
            ),
            "",
        ]
    )


# experiment -> (the results it reads, the function that makes its table and macros)
EXHIBITS: dict[str, tuple[tuple[str, ...], Callable[[Results], tuple[str, dict[str, str]]]]] = {
    "table1": (("table1", "table1_paired", "table1_same_method"), table1),
    "theory": (
        ("theory", "theory_reduction", "theory_expansion", "theory_norms", "theory_training"),
        theory,
    ),
    "claims": (("claims",), claims_table),
    "precision": (("precision_full", "precision_knee", "precision_flips"), precision),
    "integer_grids": (
        ("integer_grids", "integer_grids_conventions", "integer_grids_paired", "integer_grids_overall"),
        integer_grids,
    ),
}
