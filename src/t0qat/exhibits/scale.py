"""Tables and macros of the scale of the noise and of the constants."""

import pandas as pd

from t0qat.exhibits.cells import NOTHING, count, percent, plus_minus, plus_minus_power, three, with_power
from t0qat.exhibits.rows import Results, numbers, one, rows_of, tally
from t0qat.exhibits.words import corrected_direction, dataset_label
from t0qat.pipeline.latex import escape, grouped, scientific, spanning, tabular
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.training.constants import XI, XI_SCALING

ARM_LABELS = {
    "plain": "No noise",
    "xi_alone": r"$\xi$, scaling 1",
    "published": r"$\xi$ as published",
    "tuned": "Tuned",
    "matched": "Grid's own",
}


def _arm_minus(pairs: pd.DataFrame, dataset: str, arm: str, other: str) -> str:
    """One arm minus another, in whichever order the file has the pair."""
    if arm == other:
        return NOTHING
    found = rows_of(pairs, dataset=dataset, arm=arm, other_arm=other)
    if found:
        return plus_minus_power(found[0])
    mean, low, high = numbers(one(pairs, dataset=dataset, arm=other, other_arm=arm))
    return plus_minus_power({"mean": -mean, "ci_low": -high, "ci_high": -low})


def scale(results: Results) -> tuple[str, dict[str, str]]:
    """What each way to set the noise leaves unexplained, and what the sweep says."""
    arms, pairs = results["scale_arms"], results["scale_tuning"]

    def row(dataset, arm):
        scaling = one(arms, dataset=dataset, arm=arm, quantity="log_scaling")
        noises = [XI * (10 ** scaling[key] - 1) for key in ("q025", "median", "q975")]
        shown = [f"{noise:.2g}" for noise in noises]
        return [
            escape(dataset_label(dataset)),
            ARM_LABELS[arm],
            " / ".join(shown) if noises[0] < noises[-1] else shown[1],
            plus_minus(one(arms, dataset=dataset, arm=arm, quantity="unexplained")),
            _arm_minus(pairs, dataset, arm, "plain"),
            _arm_minus(pairs, dataset, arm, "tuned"),
        ]

    groups = [[row(dataset, arm) for arm in ARM_LABELS] for dataset in arms.dataset.unique()]
    header = ["Data", "Training noise", "Its SD", "Left unexplained", "Minus no noise", "Minus tuned"]
    body = grouped(groups, header, "ll", leads=1)

    sweep, worse = results["scale"], results["scale_excess"]
    macros = {"Replicates": count(sweep.n.iloc[0]), "Points": str(sweep.xi_scaling.nunique())}
    for quantity, name in (("quantized", "Best"), ("full_precision", "BestFull")):
        found = one(results["scale_best"], quantity=quantity)
        equal = worse[(worse.quantity == quantity) & (worse.p_holm >= ERROR_RATE)].xi_scaling
        macros |= three(name, map("{:g}".format, numbers(found)))
        macros |= {
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


def constants_table(results: Results) -> tuple[str, dict[str, str]]:
    """What noise of each constant's size adds, alone and times what makes it the published noise."""
    added, same = results["constants"], results["constants_product"]
    datasets = added.dataset.unique()
    rows = []
    for constant, mine in same.sort_values("magnitude", kind="stable").groupby("constant", sort=False):
        cells = [
            plus_minus_power(one(added, dataset=dataset, constant=constant, quantity=quantity))
            for quantity in ("unexplained_added", "unexplained_added_published")
            for dataset in datasets
        ]
        lead = [r"$\xi$" if constant == "xi" else escape(constant.replace("_", " "))]
        lead += [scientific(mine.magnitude.iloc[0], 4), scientific(mine.multiplier.iloc[0], 5)]
        rows.append(lead + cells)
    header = ["Constant", "$c$", r"$\sigma/c$", *2 * [escape(dataset_label(d)) for d in datasets]]
    over = [spanning(len(datasets), f"noise {noise}") for noise in ("$c$", r"$\sigma$")]
    body = tabular(rows, header, over=f"& & & {' & '.join(over)}")

    others = same[same.constant != "xi"].drop_duplicates("constant")
    xi = one(same[same.constant == "xi"].head(1))["magnitude"]
    nearest = others.iloc[(others.magnitude / xi - 1).abs().argmin()]
    alone = added[added.quantity == "unexplained_added"]
    told = tally(alone)
    macros = {
        "Replicates": count(added.n.iloc[0]),
        "Count": str(added.constant.nunique()),
        "Nearest": escape(nearest.constant.replace("_", " ")),
        "NearestOff": percent(abs(nearest.magnitude / xi - 1)),
        "Cells": str(len(alone)),
        "More": told["Larger"],
        "Less": told["Smaller"],
        "Unclear": told["Unclear"],
        "LargestDifference": scientific(same.largest_difference.max()),
    }
    return body, {f"Constants{name}": value for name, value in macros.items()}
