"""Table and macros of the metric against bits."""

from t0qat.exhibits.cells import plus_minus, span, with_interval
from t0qat.exhibits.rows import Results, one, rows_of, tally
from t0qat.exhibits.words import data_label, on_each
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import escape, grouped, scientific, thin


def precision(results: Results) -> tuple[str, dict[str, str]]:
    """Where each method's metric starts to fall, and where the step equals xi."""
    full, knees = results["precision_full"], results["precision_knee"]
    conventions = list(dict.fromkeys(zip(knees.range, knees.scale, strict=True)))

    def rows(row):
        key = {key: row[key] for key in ("dataset", "model", "method")}
        lead = [escape(data_label(row)), escape(method_label(row["method"])), plus_minus(row)]
        for quantity, label in (("knee", "knee"), ("xi_bits", r"step $=\xi$")):
            mine = [
                one(knees, range=codes, scale=scale, quantity=quantity, **key)
                for codes, scale in conventions
            ]
            yield [*lead, label, *map(plus_minus, mine)]

    groups = [
        [line for row in rows_of(mine) for line in rows(row)]
        for _, mine in full.groupby(["dataset", "model"], sort=False)
    ]
    header = ["Data", "Method", "Full precision", "Bits", *map(", ".join, conventions)]
    between = r"@{\hspace{5pt}}".join("llll" + "r" * len(conventions))
    body = grouped(groups, header, f"@{{}}{between}@{{}}", leads=3)

    mine = knees[(knees.method == "t0_qat") & (knees.range == "full") & (knees.scale == "absmax")]
    seen = full.groupby(["dataset", "model"]).n
    macros = {
        "Replicates": on_each(
            rows_of(mine, quantity="knee"),
            lambda row: thin(span(seen.get_group((row["dataset"], row["model"])))),
        ),
        "Cells": str((knees.quantity == "knee").sum()),
    }
    for quantity, name in (("knee", "Knee"), ("xi_bits", "Xi"), ("difference", "Difference")):
        macros[name] = on_each(rows_of(mine, quantity=quantity), with_interval)
        some = knees[knees.quantity == quantity]
        if quantity == "difference":
            macros |= {"DifferenceAbove": str((some.ci_low > 0).sum())}
            macros |= {"DifferenceBelow": str((some.ci_high < 0).sum())}
        else:
            macros |= {f"{name}Least": f"{some.estimate.min():.1f}"}
            macros |= {f"{name}Most": f"{some.estimate.max():.1f}"}
    macros["Near"] = str((knees[knees.quantity == "distance"].ci_high < 1).sum())

    flips = results["precision_flips"]
    decisive = rows_of(flips, bits=8, flipped=2, other="standard_qat")
    same = (flips.ci_low == 0) & (flips.ci_high == 0)
    told = tally(flips[~same])
    macros["Flips"] = on_each(decisive, with_interval)
    macros["FlipsDetectable"] = on_each(decisive, lambda row: scientific(row["detectable"]))
    counts = {"Cells": str(len(flips)), "Same": str(same.sum()), "Unclear": told["Unclear"]} | told
    macros |= {f"Flips{key}": n for key, n in counts.items()}
    return body, {f"Precision{name}": value for name, value in macros.items()}
