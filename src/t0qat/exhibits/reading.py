"""Results tables as a notebook shows them: names, columns and numbers in words."""

import json
import re
from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML

from t0qat.exhibits.circuits import CHANNEL_LABELS
from t0qat.exhibits.labels import DATASET_LABELS, QUANTITY_LABELS, label_on, width
from t0qat.exhibits.response import budget_label
from t0qat.exhibits.rows import rows_of
from t0qat.exhibits.theory import NETWORK_LABELS
from t0qat.experiments.arms import LINEAR, NO_WIDTH, model_label
from t0qat.experiments.on_circuits import WAYS
from t0qat.experiments.running import RUNTIMES
from t0qat.pipeline.words import fixed, number, thousands, with_interval

QUANTITIES = QUANTITY_LABELS | {
    "drop_difference": "Expected drop, T0-QAT minus Standard QAT",
    "chance_of_reported_reduction": "Chance of the reported reduction or more",
    "chance_t0_worse_quantized": "Chance that T0-QAT ends with the larger loss",
    "knee": "Knee (bits)",
    "xi_bits": "Step equals xi (bits)",
    "mean": "Mean over bit-widths",
    "worst": "Worst bit-width",
    "explained": "Variance explained",
    "left": "Way left",
    "left_predicted": "Way left, by theory",
}
AGAINST = {"plain": "Plain training", "random_bits": "Random-bit STE", "best_baseline": "Best other"}
WAY_LABELS = {name: way.label for name, way in WAYS.items()}
LABELS = {  # column -> the label of a name in it, or nothing
    "model": model_label,
    "dataset": DATASET_LABELS.get,
    "quantity": QUANTITIES.get,
    "network": NETWORK_LABELS.get,
    "against": AGAINST.get,
    "runtime": {name: runtime.label for name, runtime in RUNTIMES.items()}.get,
    "way": WAY_LABELS.get,
    "other_way": WAY_LABELS.get,
    "channel": CHANNEL_LABELS.get,
}
HEADERS = {
    "dataset": "data",
    "std": "SD of runs",
    "q025": "2.5 % of runs below",
    "median": "median run",
    "q975": "97.5 % of runs below",
    "reported_percentile": "reported lies at (%)",
    "n": "replicates",
    "other": "minus",
    "other_arm": "minus",
    "other_way": "minus",
    "way": "training",
    "p_holm": "p, corrected",
    "p_corrected": "p, corrected",
    "p_bh": "p of no difference",
    "p_equal": "p of the margin or more",
    "shown": "is shown to be",
    "detectable": "would see",
    "eval_bits": "read at",
    "train_bits": "trained for",
    "text": "what the model writes",
    "bos": "BOS",
    "sha256": "SHA-256",
    "python": "Python",
}


def table(
    rows: pd.DataFrame, index: Sequence[str], across: Sequence[str] = (), also: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows as text, in their order, by the columns of index.

    A mean or an estimate that has a 95 % interval is shown with it, to as many digits as that allows.
    across: columns that say into which column of the shown table a value goes. also: more to show.
    """
    if rows.empty:
        return pd.DataFrame()
    keys = [*index, *across]
    models = rows.get("model", [LINEAR] * len(rows))
    shown = pd.DataFrame(
        {c: [word(c, *cell) for cell in zip(rows[c], models, strict=True)] for c in (*keys, *also)}
    )
    if "ci_low" in rows:
        value = "estimate" if "estimate" in rows else "mean"
        cells = [
            "" if pd.isna(row[value]) else with_interval(row, _decimals(row[value]))
            for row in rows_of(rows)
        ]
        shown.insert(len(keys), f"{value} [95 % interval]", cells)
    shown = shown.rename(columns=header).set_index([*map(header, keys)])
    if across:
        shown = shown.iloc[:, 0].unstack([*map(header, across)], sort=False).fillna("")
    return shown


def scrolling(shown: pd.DataFrame) -> HTML:
    """The table with its texts whole and to the left, in a box that scrolls where it is long."""
    with pd.option_context("display.max_colwidth", None):
        rows = shown.to_html(justify="left", border=0)
    rows = re.sub(r"<(t[dh])\b", r'<\1 style="text-align: left; vertical-align: top"', rows)
    return HTML(f'<div style="max-height: 32em; overflow: auto" tabindex="0">{rows}</div>')


def _decimals(mean: float) -> int:
    """How many a reader wants at most, however well the mean is known."""
    return 5 if abs(mean) < 0.01 else 3 if abs(mean) < 10 else 2


def header(column: str) -> str:
    return HEADERS.get(column, column.replace("_", " "))


def word(column: str, value, model: str = LINEAR) -> str:
    """One cell: a name as figures and tables of the paper have it, or a number to three digits."""
    if column in ("method", "other"):
        return label_on(value, model)
    if column == "text":
        return " ".join(json.loads(value).split())
    if isinstance(value, str):
        if not value.isidentifier():
            return value
        return LABELS.get(column, {}.get)(value) or value.replace("_", " ")
    if pd.isna(value):
        return ""
    if value is True or value is False:
        return "yes" if value else "no"
    if column in ("eval_bits", "bits"):
        return width(value)
    if column in ("train_bits", "other_bits"):
        return "any" if value == NO_WIDTH else width(value)
    if column == "budget":
        return budget_label(value)
    if column in ("p_holm", "p_corrected", "p_bh", "p_equal"):
        return fixed(value, 3) if value >= 0.001 else "< 0.001"
    return thousands(value) if value == int(value) and abs(value) < 1e9 else number(value)
