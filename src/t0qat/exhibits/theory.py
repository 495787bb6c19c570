"""Table and macros of the theory."""

import math

import pandas as pd
from scipy import stats

from t0qat.exhibits.labels import macros
from t0qat.exhibits.rows import Results, one
from t0qat.pipeline.latex import Raw, tabular
from t0qat.pipeline.words import number, percent, percent_interval, plus_minus, with_interval
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
        reach = "all" if limit == end.noise_scale else number(limit, 2)
        mine = norms[norms.network == network]
        shown = [one(mine, quantity="curvature", noise_scale=trained_under[0]), end]
        shown += [one(mine, quantity="weight_norm", noise_scale=scale) for scale in trained_under]
        curvature, *others = map(plus_minus, shown)
        label = NETWORK_LABELS.get(network, network)
        rows.append([label, curvature, "nowhere" if math.isnan(limit) else reach, *others])
    header = ["Network", Raw(r"$\tr H$"), "Holds to", "Ratio at end"]
    header += [f"σ = {number(scale)}" for scale in trained_under]
    said = {
        "Sigma": number(expansion.noise_scale.max()),
        "SigmaLeast": number(expansion.noise_scale.min(), 2),
        "Kinks": with_interval(all_ratios[all_ratios.network == "relu_mlp"].iloc[0]),
    }
    for name, table in (("", results["theory"]), ("Reduction", results["theory_reduction"])):
        limit = stats.norm.isf(ALARM / 2 / len(table))
        said |= {
            f"{name}Largest": f"{table.z.abs().max():.2f}",
            f"{name}Limit": f"{limit:.2f}",
            f"{name}Beyond": (table.z.abs() > limit).sum(),
        }
    mine = at_fitted_noise(results["theory_reduction"])
    mine = mine[(mine.reduction - REPORTED_REDUCTION).abs() < 1e-6]
    for name, method, other in (
        ("Reduction", "standard_qat", "t0_qat"),
        ("Standard", "standard_qat", "standard_qat"),
        ("T", "t0_qat", "t0_qat"),
    ):
        said[f"Exact{name}"] = percent(one(mine, method=method, other=other)["exact"])
    training = results["theory_training"]
    said |= _learned(training) | {"Early": stopped_early(training)}
    return tabular(rows, header), macros("Theory", said)


def _learned(table: pd.DataFrame) -> dict[str, str]:
    """What T0-QAT explains after the published epochs and after the longest training, in words too."""
    explained = table[(table.quantity == "explained") & (table.epoch > 0)]
    lengths = sorted(explained[explained.schedule == "decaying"].epoch.unique())
    ends = {"": lengths[0], "Long": lengths[-1]}
    plain = one(explained, method="no_noise", schedule="constant", epoch=lengths[-1])
    said = {"Longest": f"{lengths[-1] / lengths[0]:.0f}", "PlainLong": percent(plain["mean"])}
    for schedule in ("constant", "decaying"):
        for name, epoch in ends.items():
            row = one(explained, method="t0_qat", schedule=schedule, epoch=epoch)
            said[f"{schedule.title()}{name}"] = percent_interval(row)
        reached = row["ci_low"] > plain["mean"] - CONVERGED
        said[f"{schedule.title()}Word"] = "comes" if reached else "does not come"
    for name, epoch in ends.items():
        for quantity, word in (("left", "Left"), ("left_predicted", "Predicted")):
            row = one(table, method="t0_qat", schedule="constant", epoch=epoch, quantity=quantity)
            said[f"{word}{name}"] = percent(row["mean"])
    return said


def stopped_early(table: pd.DataFrame) -> str:
    """Whether the published T0-QAT is a training that had not come to its end, in a sentence."""
    explained = table[(table.quantity == "explained") & (table.epoch > 0)]
    lengths = sorted(explained[explained.schedule == "decaying"].epoch.unique())
    plain = one(explained, method="no_noise", schedule="constant", epoch=lengths[-1])["mean"]
    first = one(explained, method="t0_qat", schedule="constant", epoch=lengths[0])
    last = one(explained, method="t0_qat", schedule="decaying", epoch=lengths[-1])
    before, after = (f"{percent(row['mean'])} %" for row in (first, last))
    end = f"{before} of the target's variance, and {after} after"
    end += f" {lengths[-1] / lengths[0]:.0f} times as many epochs at a falling learning rate."
    if first["ci_low"] > plain - CONVERGED:
        return f"Published T0-QAT is not stopped early: it explains {end}"
    if last["ci_low"] > plain - CONVERGED:
        return f"Published T0-QAT is a training stopped early: it explains {end}"
    return f"Published T0-QAT falls short at any length: it explains {end}"
