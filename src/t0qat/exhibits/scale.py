"""Tables and macros of the scale of the noise, the constants and the calibration."""

import pandas as pd

from t0qat.exhibits.words import (
    DATASET_LABELS,
    Results,
    corrected_direction,
    one,
    percent,
    plus_minus,
    plus_minus_power,
    rows_of,
    thousands,
    with_power,
)
from t0qat.pipeline import claims
from t0qat.pipeline.latex import escape, scientific, tabular, thin
from t0qat.training.constants import XI, XI_SCALING

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
        "Replicates": thin(thousands(sweep.n.iloc[0])),
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
        "Replicates": thin(thousands(added.n.iloc[0])),
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
        "Replicates": thin(thousands(table.n.iloc[0])),
        "Settings": str(len(wide)),
        "Runs": thin(thousands(table.n.iloc[0] * len(wide))),
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
