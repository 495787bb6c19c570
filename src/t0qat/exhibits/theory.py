"""Table and macros of the theory."""

import math

import pandas as pd
from scipy import stats

from t0qat.exhibits.cells import count, percent, plus_minus, three, with_interval
from t0qat.exhibits.rows import Results, numbers, one
from t0qat.pipeline.latex import escape, scientific, tabular
from t0qat.training.constants import REPORTED_REDUCTION, reported_evaluation_noise

ALARM = 0.01  # chance that some |z| of a whole file passes its limit by chance
CONVERGED = 0.01  # of the target's variance: how near to plain training counts as reaching it
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
    """Of each network: its curvature, how far theory holds, and its weights trained under noise."""
    expansion, norms = results["theory_expansion"], results["theory_norms"]
    trained_under, all_ratios = norms.noise_scale.unique(), expansion[expansion.quantity == "ratio"]
    rows = []
    for network, ratios in all_ratios.groupby("network", sort=False):
        limit, end = holds_up_to(ratios), ratios.iloc[-1]
        reach = "all" if limit == end.noise_scale else scientific(limit)
        mine = norms[norms.network == network]
        shown = [one(mine, quantity="curvature", noise_scale=trained_under[0]), end]
        shown += [one(mine, quantity="weight_norm", noise_scale=scale) for scale in trained_under]
        curvature, *others = map(plus_minus, shown)
        label = NETWORK_LABELS.get(network, escape(network))
        rows.append([label, curvature, "nowhere" if math.isnan(limit) else reach, *others])
    header = ["Network", r"$\tr H$", "Holds to", "Ratio at end"]
    body = tabular(rows, [*header, *(rf"$\sigma = {scale:.3g}$" for scale in trained_under)])
    cells, chances = results["theory"], results["theory_reduction"]
    macros = {
        "Draws": count(cells.n.iloc[0]),
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
    macros["Kinks"] = with_interval(all_ratios[all_ratios.network == "relu_mlp"].iloc[0])
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
            macros |= three(f"{schedule.title()}{name}", map(percent, numbers(row)))
        reached = row["ci_low"] > plain["mean"] - CONVERGED
        macros[f"{schedule.title()}Word"] = "comes" if reached else "does not come"
    for name, epoch in (("", lengths[0]), ("Long", lengths[-1])):
        for quantity, word in (("left", "Left"), ("left_predicted", "Predicted")):
            row = one(table, method="t0_qat", schedule="constant", epoch=epoch, quantity=quantity)
            macros[f"{word}{name}"] = percent(row["mean"])
    return macros
