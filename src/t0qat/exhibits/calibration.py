"""Table and macros of the calibration."""

import pandas as pd

from t0qat.exhibits.labels import macros
from t0qat.exhibits.rows import Results, one
from t0qat.pipeline import decision
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import percent, percent_interval, span

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

    left = wide[wide.p_value >= ERROR_RATE]
    found = sides.loc[left.index]
    top = dict(zip(SETTING, wide.acceptance.idxmax(), strict=True))
    said = {
        "Runs": table.n.iloc[0] * len(wide),
        "RuledOut": len(wide) - len(left),
        "Left": len(left),
        "Minority": len(found) - found.value_counts().max() if len(found) else 0,
        "ReductionRange": span(left.chance_of_reported_reduction, percent),
        "WorseRange": span(left.chance_t0_worse_quantized, percent),
        "Top": "target “{}”, target noise {:g}, baseline noise {:g} and evaluation noise {:g}".format(
            *top.values()
        ),
        "TopRate": percent_interval(one(table, quantity="acceptance", **top)),
    }
    for id, name in (("C1", "Drop"), ("C2", "Quantized")):
        said |= {f"{name}{side}": n for side, n in _sides(found[id]).items()}
    return body, macros("Calibration", said)


def _sides(verdicts: pd.Series) -> dict[str, int]:
    """How many say that T0-QAT's is smaller, larger, or neither."""
    return {name: (verdicts == side).sum() for name, side in SIDES.items()}
