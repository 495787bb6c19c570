"""Tables and sentences of the theory."""

import math
from typing import NamedTuple

import pandas as pd
from scipy import stats

from t0qat.exhibits.labels import macros
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import Raw, spanning, tabular
from t0qat.pipeline.words import (
    NOTHING,
    number,
    percent,
    percent_interval,
    plus_minus,
    thousands,
    with_interval,
)
from t0qat.training.constants import REPORTED_REDUCTION, reported_evaluation_noise

ALARM = 0.01  # chance that some |z| of a whole file passes its limit by chance
CONVERGED = 0.01  # of the target's variance: how near to plain training counts as reaching it
PLAIN = "no_noise"
# When the published T0-QAT reaches plain training.
AT_ONCE, LATER, NEVER = "at once", "later", "never"
EARLY = {
    AT_ONCE: "is not stopped early",
    LATER: "is a training stopped early",
    NEVER: "falls short even with more epochs",
}
SCHEDULES = {"constant": "constant", "decaying": "falling to zero"}
NETWORK_LABELS = {
    "linear": "Linear layer, squared error",
    "multiplicative": "The same, relative noise",
    "deep_linear": "Two linear layers, squared error",
    "softmax": "Linear layer, cross-entropy",
    "tanh_mlp": "One hidden layer, tanh",
    "relu_mlp": "One hidden layer, ReLU",
}


class Reached(NamedTuple):
    """What longer training brings the published T0-QAT, as shares of the target's variance."""

    at: str  # AT_ONCE, LATER or NEVER: when it is shown to explain as much as plain training
    first: float  # explained as published
    long: float  # explained after the longest training, at a falling rate
    plain: float  # explained without noise
    times: float  # the epochs of the longest training, as a multiple of the published ones


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
    return tabular(rows, header), macros("Theory", said)


def checks(results: Results) -> tuple[str, dict[str, str]]:
    """How far theory and simulation lie apart, and the chance of the reported reduction."""
    rows, beyond = [], 0
    for name, table in (
        ("objectives, means and variances", results["theory"]),
        ("chances of a reduction", results["theory_reduction"]),
    ):
        limit = stats.norm.isf(ALARM / 2 / len(table))
        found = (table.z.abs() > limit).sum()
        beyond += found
        shown = (f"{z:.2f}" for z in (limit, table.z.abs().max()))
        rows.append([name, thousands(len(table)), thousands(found), *shown])
    chances = at_fitted_noise(results["theory_reduction"])
    chances = chances[(chances.reduction - REPORTED_REDUCTION).abs() < 1e-6]
    said = {"Sentence": agreement(beyond)}
    for name, method, other in (
        ("Reduction", "standard_qat", "t0_qat"),
        ("Standard", "standard_qat", "standard_qat"),
        ("T", "t0_qat", "t0_qat"),
    ):
        said[f"Exact{name}"] = percent(one(chances, method=method, other=other)["exact"])
    header = ["What is compared", "Compared", "Beyond the limit", "Limit", "Farthest"]
    return tabular(rows, header), macros("Theory", said)


def agreement(beyond: int) -> str:
    """Whether simulation agrees with theory. beyond: how many numbers lie beyond their limit."""
    if not beyond:
        return "No simulated number lies farther from theory than chance explains."
    return f"Of the simulated numbers, {beyond} lie farther from theory than chance explains."


def learned(results: Results) -> tuple[str, dict[str, str]]:
    """What T0-QAT explains after the published epochs and after the longest, and what is left."""
    table = results["theory_training"]
    decaying = table[(table.schedule == "decaying") & (table.epoch > 0)]
    ends = decaying.epoch.min(), decaying.epoch.max()
    rows = []
    for method, schedule in (("t0_qat", "constant"), ("t0_qat", "decaying"), (PLAIN, "constant")):
        mine = table[(table.method == method) & (table.schedule == schedule)]
        cells = [method_label(method), SCHEDULES[schedule]]
        for epoch in ends:
            cells.append(percent_interval(one(mine, epoch=epoch, quantity="explained")))
            for quantity in ("left", "left_predicted"):
                found = rows_of(mine, epoch=epoch, quantity=quantity) if method != PLAIN else []
                cells.append(percent(found[0]["mean"]) + " %" if found else NOTHING)
        rows.append(cells)
    header = ["Training", "Learning rate", *2 * ["explained [95 %]", "way left", "by theory"]]
    over = ["", "", *(spanning(3, f"after {thousands(epoch)} epochs") for epoch in ends)]
    said = {"Longest": f"{reached(table).times:.0f}", "EarlySentence": stopped_early(table)}
    return tabular(rows, header, "ll", over=over), macros("Theory", said)


def stopped_early(table: pd.DataFrame) -> str:
    """Whether the published T0-QAT is a training that had not come to its end, in a sentence."""
    found = reached(table)
    before, after = (f"{percent(value)} %" for value in (found.first, found.long))
    end = f"{before} of the target's variance, and {after} when trained"
    end += f" {found.times:.0f} times as long at a falling rate."
    return f"The published method {EARLY[found.at]}: it explains {end}"


def reached(table: pd.DataFrame) -> Reached:
    """What a longer training brings the published T0-QAT. table: theory_training."""
    explained = table[(table.quantity == "explained") & (table.epoch > 0)]
    lengths = sorted(explained[explained.schedule == "decaying"].epoch.unique())
    plain = one(explained, method=PLAIN, schedule="constant", epoch=lengths[-1])["mean"]
    first = one(explained, method="t0_qat", schedule="constant", epoch=lengths[0])
    long = one(explained, method="t0_qat", schedule="decaying", epoch=lengths[-1])
    near = [row["ci_low"] > plain - CONVERGED for row in (first, long)]
    at = AT_ONCE if near[0] else LATER if near[1] else NEVER
    return Reached(at, first["mean"], long["mean"], plain, lengths[-1] / lengths[0])
