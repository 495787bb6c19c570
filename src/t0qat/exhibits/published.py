"""Tables and macros of the published experiment and of the integer grids."""

import math

from t0qat.exhibits.words import (
    DATASET_LABELS,
    QUANTITY_LABELS,
    Results,
    direction,
    estimate,
    one,
    percent,
    plus_minus,
    rows_of,
    thousands,
    with_interval,
)
from t0qat.pipeline.latex import escape, scientific, tabular, thin
from t0qat.training.constants import REPORTED_REDUCTION, reported_evaluation_noise
from t0qat.training.methods import REGISTRY


def _reported(row) -> str:
    return "--" if math.isnan(row["reported"]) else f"{row['reported']:.4f}"


def _reported_at(row) -> str:
    return "--" if math.isnan(row["reported"]) else percent(row["reported_percentile"] / 100, 0)


def table1(results: Results) -> tuple[str, dict[str, str]]:
    rows = [
        [
            escape(REGISTRY[row["method"]].label) if i % len(QUANTITY_LABELS) == 0 else "",
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
        "Replicates": thin(thousands(table.n.iloc[0])),
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
                [DATASET_LABELS.get(dataset, escape(dataset)), escape(REGISTRY[method].label)]
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
    macros = {"Replicates": thin(thousands(table.n.iloc[0]))}
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
