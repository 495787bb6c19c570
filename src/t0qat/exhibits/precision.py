"""Table and macros of the metric against bits."""

from t0qat.exhibits.words import (
    Results,
    data_label,
    on_each,
    one,
    plus_minus,
    rows_of,
    span,
    with_interval,
)
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import escape, scientific, tabular, thin


def precision(results: Results) -> tuple[str, dict[str, str]]:
    full, knees = results["precision_full"], results["precision_knee"]
    knees = knees.rename(columns={"estimate": "mean"})
    conventions = list(dict.fromkeys(zip(knees.range, knees.scale, strict=True)))
    rows, breaks = [], []
    for i, row in enumerate(rows_of(full)):
        first = i == 0 or data_label(row) != data_label(full.loc[i - 1])
        breaks += [len(rows)] * (first and i > 0)
        lead = [
            escape(data_label(row)) if first else "",
            escape(method_label(row["method"])),
            plus_minus(row),
        ]
        keys = {key: row[key] for key in ("dataset", "model", "method")}
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
            rows_of(mine, quantity="knee"),
            lambda row: thin(
                span(full[(full.dataset == row["dataset"]) & (full.model == row["model"])].n)
            ),
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
