"""From results files to what is typeset: a table and the macros of each experiment, and the README.

Everything here is a function of the results files alone, so a changed number changes the text.
"""

import html
import math
import re
from collections.abc import Callable

import pandas as pd

from t0qat import claims
from t0qat.constants import REPORTED_REDUCTION, XI, XI_SCALING, reported_evaluation_noise
from t0qat.latex import escape, scientific, tabular
from t0qat.methods import METHODS

Results = dict[str, pd.DataFrame]
Row = dict  # of a results file, by column
QUANTITY_LABELS = {"full_precision": "Full precision", "quantized": "Quantized", "drop": "Drop"}
DATASET_LABELS = {"synthetic": "Synthetic", "diabetes": "Diabetes"}


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
        "Decided": (table.verdict != "pending").sum(),
        "Pending": table[table.verdict == "pending"].id.nunique(),
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


def with_power(row: Row) -> str:
    """An estimate as `with_interval` shows it, times a power of ten where it is small."""
    mean, low, high = row["estimate"], row["ci_low"], row["ci_high"]
    largest = max(map(abs, (mean, low, high)))
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    if power >= -3:
        return with_interval({"mean": mean, "ci_low": low, "ci_high": high})
    shown = {"mean": mean, "ci_low": low, "ci_high": high}
    scaled = with_interval({key: value * 10.0**-power for key, value in shown.items()})
    return rf"{scaled} $\cdot 10^{{{power}}}$"


ARM_LABELS = {
    "plain": "No noise",
    "xi_alone": r"$\xi$, scaling 1",
    "published": r"$\xi$ as published",
    "tuned": "Tuned",
    "matched": "Grid's own",
}


def _arm_minus(table: pd.DataFrame, dataset: str, arm: str, other: str) -> str:
    """One arm minus another, in whichever order the file has the pair."""
    if arm == other:
        return "--"
    found = rows_of(table, dataset=dataset, arm=arm, other_arm=other)
    if found:
        return plus_minus_power(found[0])
    row = one(table, dataset=dataset, arm=other, other_arm=arm)
    swapped = {"estimate": row["estimate"], "ci_low": row["ci_high"], "ci_high": row["ci_low"]}
    return plus_minus_power({key: -value for key, value in swapped.items()})


def scale(results: Results) -> tuple[str, dict[str, str]]:
    arms, pairs = results["scale_arms"], results["scale_tuning"]
    rows = []
    for dataset in arms.dataset.unique():
        for arm, label in ARM_LABELS.items():
            scaling = one(arms, dataset=dataset, arm=arm, quantity="log_scaling")
            noises = [XI * (10 ** scaling[key] - 1) for key in ("q025", "median", "q975")]
            points = [f"{noise:.2g}" for noise in noises]
            varies = noises[0] < noises[-1]
            rows.append(
                [
                    DATASET_LABELS.get(dataset, escape(dataset)) if arm == "plain" else "",
                    label,
                    " / ".join(points) if varies else points[1],
                    plus_minus(one(arms, dataset=dataset, arm=arm, quantity="unexplained")),
                    _arm_minus(pairs, dataset, arm, "plain"),
                    _arm_minus(pairs, dataset, arm, "tuned"),
                ]
            )
    header = ["Data", "Training noise", "Its SD", "Left unexplained", "Minus no noise", "Minus tuned"]
    body = tabular(rows, header, "@{}llrrrr@{}", range(len(ARM_LABELS), len(rows), len(ARM_LABELS)))

    sweep, worse = results["scale"], results["scale_excess"]
    macros = {
        "Replicates": thousands(sweep.n.iloc[0]).replace(",", r"\,"),
        "Points": str(sweep.xi_scaling.nunique()),
    }
    for quantity, name in (("quantized", "Best"), ("full_precision", "BestFull")):
        found = one(results["scale_best"], quantity=quantity)
        equal = worse[(worse.quantity == quantity) & (worse.p_holm >= 0.05)].xi_scaling
        macros |= {
            name: f"{found['estimate']:g}",
            f"{name}Low": f"{found['ci_low']:g}",
            f"{name}High": f"{found['ci_high']:g}",
            f"{name}EqualCount": str(len(equal)),
            f"{name}EqualLow": f"{equal.min():g}",
            f"{name}EqualHigh": f"{equal.max():.4g}",
        }
    for scaling, name in ((0.0, "None"), (1.0, "Xi"), (XI_SCALING, "Published")):
        row = one(sweep, xi_scaling=scaling, quantity="explained_full_precision")
        macros[f"{name}Explained"] = f"{100 * row['mean']:.1f}"
        row = one(worse, xi_scaling=scaling, quantity="quantized")
        macros[f"{name}Excess"] = with_power(row)
        macros[f"{name}Word"] = corrected_direction(row)
    for scaling, name in (("published", "Published"), ("xi_alone", "Xi")):
        for factor, side in ((0.5, "Half"), (2.0, "Twice")):
            row = one(results["scale_neighbours"], scaling=scaling, factor=factor, quantity="quantized")
            macros[f"{name}{side}"] = with_power(row)
            macros[f"{name}{side}Word"] = corrected_direction(row)
    return body, {f"Scale{name}": value for name, value in macros.items()}


def corrected_direction(row: Row) -> str:
    """The words of `direction`, by the corrected p-value."""
    decided = row["p_holm"] < 0.05
    return direction(*([row["estimate"]] * 2 if decided else [0.0, 0.0]))


def constants_table(results: Results) -> tuple[str, dict[str, str]]:
    added, same = results["constants"], results["constants_product"]
    datasets = added.dataset.unique()
    rows = []
    for constant in same.sort_values("magnitude", kind="stable").constant.unique():
        mine = same[same.constant == constant]
        cells = [
            plus_minus_power(one(added, dataset=dataset, constant=constant, quantity=quantity))
            for quantity in ("unexplained_added", "unexplained_added_published")
            for dataset in datasets
        ]
        rows.append(
            [
                r"$\xi$" if constant == "xi" else escape(constant.replace("_", " ")),
                scientific(mine.magnitude.iloc[0], 4),
                scientific(mine.multiplier.iloc[0], 5),
                *cells,
            ]
        )
    names = [DATASET_LABELS.get(dataset, escape(dataset)) for dataset in datasets]
    header = ["Constant", "$c$", r"$\sigma/c$", *2 * names]
    span = len(datasets)
    over = rf"\multicolumn{{{span}}}{{c}}{{noise $c$}} & \multicolumn{{{span}}}{{c}}{{noise $\sigma$}}"
    header[0] = rf"& & & {over} \\" + "\n" + header[0]
    body = tabular(rows, header, "@{}lrr" + "r" * (2 * span) + "@{}")

    others = same[same.constant != "xi"].drop_duplicates("constant")
    xi = one(same[same.constant == "xi"].head(1))["magnitude"]
    nearest = others.iloc[(others.magnitude / xi - 1).abs().argmin()]
    alone = added[added.quantity == "unexplained_added"]
    clear = alone.p_holm < 0.05
    macros = {
        "Replicates": thousands(added.n.iloc[0]).replace(",", r"\,"),
        "Count": str(added.constant.nunique()),
        "Nearest": escape(nearest.constant.replace("_", " ")),
        "NearestOff": percent(abs(nearest.magnitude / xi - 1)),
        "Cells": str(len(alone)),
        "More": str((clear & (alone.estimate > 0)).sum()),
        "Less": str((clear & (alone.estimate < 0)).sum()),
        "Unclear": str((~clear).sum()),
        "LargestDifference": scientific(same.largest_difference.max()),
    }
    return body, {f"Constants{name}": value for name, value in macros.items()}


def plus_minus_power(row: Row) -> str:
    """Estimate and half-width of its interval, with a power of ten where both are small."""
    half = (row["ci_high"] - row["ci_low"]) / 2
    largest = max(abs(row["estimate"]), half)
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    factor = 10.0**-power if power < -3 else 1.0
    ends = ("estimate", "ci_low", "ci_high")
    mean, low, high = (row[key] * factor for key in ends)
    cell = plus_minus({"mean": mean, "ci_low": low, "ci_high": high})
    return rf"$({{{cell.strip('$')}}}) \cdot 10^{{{power}}}$" if power < -3 else cell


SETTING = ["target", "target_noise", "baseline_noise", "evaluation_noise"]
CRITERIA = {  # name in the table -> (quantity, which settings it leaves)
    "not ruled out": ("p_value", lambda p: p >= 0.05),
    "accepted, half": ("acceptance_half", lambda rate: rate > 0),
    "accepted": ("acceptance", lambda rate: rate > 0),
    "accepted, double": ("acceptance_double", lambda rate: rate > 0),
}
SIDES = {
    "Smaller": claims.SUPPORTED,
    "Larger": claims.CONTRADICTED,
    "Unclear": claims.UNCLEAR,
}


def calibration(results: Results) -> tuple[str, dict[str, str]]:
    table, verdicts = results["calibration"], results["calibration_verdicts"]
    wide = table.pivot(index=SETTING, columns="quantity", values="estimate")
    sides = verdicts.pivot(index=SETTING, columns="id", values="verdict")
    rows, breaks = [], []
    for name, (quantity, leaves) in CRITERIA.items():
        breaks.append(len(rows))
        for target in table.target.unique():
            tried = wide.xs(target, drop_level=False)
            left = tried[leaves(tried[quantity])]
            found = sides.loc[left.index]
            rows.append(
                [
                    name if len(rows) == breaks[-1] else "",
                    escape(target),
                    f"{len(left)} of {len(tried)}",
                    *(_range(left.index.get_level_values(level)) for level in SETTING[1:]),
                    *("/".join(str(n) for n in _sides(found[id])) for id in ("C1", "C2")),
                ]
            )
    header = ["Criterion", "Target", "Settings", "Target noise", "Baseline noise", "Evaluation noise"]
    body = tabular(rows, [*header, "Drop", "Quantized"], "@{}llrrrrrr@{}", breaks[1:])

    left = wide[wide.p_value >= 0.05]
    found = sides.loc[left.index]
    top = wide.acceptance.idxmax()
    rate = one(table, quantity="acceptance", **dict(zip(SETTING, top, strict=True)))
    macros = {
        "Replicates": thousands(table.n.iloc[0]).replace(",", r"\,"),
        "Settings": str(len(wide)),
        "Runs": thousands(table.n.iloc[0] * len(wide)).replace(",", r"\,"),
        "RuledOut": str(len(wide) - len(left)),
        "Left": str(len(left)),
        "Minority": str(len(found) - found.value_counts().max() if len(found) else 0),
        "ReductionRange": _percents(left.chance_of_reported_reduction),
        "WorseRange": _percents(left.chance_t0_worse_quantized),
        "TopTarget": escape(top[0]),
        **dict(
            zip(
                ("TopTargetNoise", "TopBaseline", "TopEvaluation"),
                map("{:g}".format, top[1:]),
                strict=True,
            )
        ),
        "TopRate": percent(rate["estimate"]),
        "TopRateLow": percent(rate["ci_low"]),
        "TopRateHigh": percent(rate["ci_high"]),
    }
    for id, name in (("C1", "Drop"), ("C2", "Quantized")):
        macros |= {f"{name}{side}": str(n) for side, n in zip(SIDES, _sides(found[id]), strict=True)}
    return body, {f"Calibration{name}": value for name, value in macros.items()}


def _range(values) -> str:
    return f"{min(values):g} to {max(values):g}" if len(values) else "--"


def _percents(values) -> str:
    """The range of some chances, in percent."""
    return f"{percent(min(values))} to {percent(max(values))}" if len(values) else "--"


def _sides(verdicts) -> list[int]:
    return [(verdicts == side).sum() for side in SIDES.values()]


# experiment -> (the results it reads, the function that makes its table and macros)
EXHIBITS: dict[str, tuple[tuple[str, ...], Callable[[Results], tuple[str, dict[str, str]]]]] = {
    "table1": (("table1", "table1_paired", "table1_same_method"), table1),
    "claims": (("claims",), claims_table),
    "integer_grids": (
        ("integer_grids", "integer_grids_conventions", "integer_grids_paired", "integer_grids_overall"),
        integer_grids,
    ),
    "scale": (
        ("scale", "scale_best", "scale_excess", "scale_neighbours", "scale_arms", "scale_tuning"),
        scale,
    ),
    "constants": (("constants", "constants_product"), constants_table),
    "calibration": (("calibration", "calibration_verdicts"), calibration),
}
