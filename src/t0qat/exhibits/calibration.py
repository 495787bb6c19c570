"""Tables and the sentence of the calibration."""

import pandas as pd

from t0qat.exhibits.labels import macros
from t0qat.exhibits.rows import Results, one
from t0qat.pipeline import decision
from t0qat.pipeline.latex import grouped, spanning, tabular
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import percent, percent_interval, span, thousands

SETTING = ["target", "target_noise", "baseline_noise", "evaluation_noise"]
CRITERIA = {  # name in the table -> (quantity, which settings it leaves)
    "not ruled out": ("p_value", lambda p: p >= ERROR_RATE),
    "accepted, half": ("acceptance_half", lambda rate: rate > 0),
    "accepted": ("acceptance", lambda rate: rate > 0),
    "accepted, double": ("acceptance_double", lambda rate: rate > 0),
}
SIDES = {
    "Smaller": decision.SUPPORTED,
    "Larger": decision.CONTRADICTED,
    "Unclear": decision.UNDECIDED,
}


def calibration(results: Results) -> tuple[str, dict[str, str]]:
    """How many settings each criterion leaves, and what the two claims are there."""
    table, verdicts = results["calibration"], results["calibration_verdicts"]
    wide = table.pivot(index=SETTING, columns="quantity", values="estimate")
    sides = verdicts.pivot(index=SETTING, columns="id", values="verdict")

    def row(name, quantity, leaves, target):
        tried = wide.xs(target, drop_level=False)
        left = tried[leaves(tried[quantity])]
        cells = [name, target, f"{len(left)} of {len(tried)}"]
        cells += [span(left.index.get_level_values(level), "{:g}".format) for level in SETTING[1:]]
        found = sides.loc[left.index]
        return cells + ["/".join(map(str, _sides(found[id]).values())) for id in ("C1", "C2")]

    targets = table.target.unique()
    groups = [[row(name, *rule, target) for target in targets] for name, rule in CRITERIA.items()]
    header = ["Criterion", "Target", "Settings", "Target noise", "Baseline noise", "Evaluation noise"]
    body = grouped(groups, [*header, "Drop", "Quantized"], "ll", leads=1)

    tried = {"Runs": table.n.iloc[0] * len(wide), "Settings": len(wide)}
    return body, macros("Calibration", tried)


def answers(results: Results) -> tuple[str, dict[str, str]]:
    """Of the settings that are not ruled out: what two separate runs show there, and the nearest one."""
    table, verdicts = results["calibration"], results["calibration_verdicts"]
    wide = table.pivot(index=SETTING, columns="quantity", values="estimate")
    sides = verdicts.pivot(index=SETTING, columns="id", values="verdict")
    left = wide[wide.p_value >= ERROR_RATE]
    rows = []
    for target in table.target.unique():
        mine = left[left.index.get_level_values("target") == target]
        top = wide.xs(target, drop_level=False).acceptance.idxmax()
        rate = one(table, quantity="acceptance", **dict(zip(SETTING, top, strict=True)))
        cells = [target, thousands(len(mine)), span(mine.chance_of_reported_reduction, percent)]
        cells += [span(mine.chance_t0_worse_quantized, percent), percent_interval(rate)]
        rows.append([*cells, *map("{:g}".format, top[1:])])
    header = ["Target", "left", "reduction, %", "larger loss, %", "rate [95 %]"]
    header += ["target", "baseline", "evaluation"]
    over = [
        "Settings",
        "",
        spanning(2, "Chance in two runs"),
        spanning(4, "Highest acceptance, at noise"),
    ]
    body = tabular(rows, header, over=over)
    return body, macros("Calibration", {"Sentence": agreement(sides.loc[left.index])})


def agreement(verdicts: pd.DataFrame) -> str:
    """Whether the answer hangs on the setting. verdicts: by setting, on C1 (drop) and C2 (loss)."""
    every = len(verdicts)
    if not every:
        return "Every setting is ruled out."
    other = every - verdicts.value_counts().max()
    if other:
        return (
            f"Of the {every} settings that are not ruled out, {other} answer otherwise than the others."
        )
    drop, loss = (_said(verdicts[id].iloc[0]) for id in ("C1", "C2"))
    return (
        f"The settings that are not ruled out, {every}, agree: T0-QAT's expected drop is {drop}, and its"
        f" quantized loss is {loss}."
    )


def _said(verdict: str) -> str:
    words = {decision.SUPPORTED: "shown to be smaller", decision.CONTRADICTED: "shown to be larger"}
    return words.get(verdict, "not shown to differ")


def _sides(verdicts: pd.Series) -> dict[str, int]:
    """How many say that T0-QAT's is smaller, larger, or neither."""
    return {name: (verdicts == side).sum() for name, side in SIDES.items()}
