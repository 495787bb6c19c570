"""Table and sentences of circuits under device noise."""

import math
from collections.abc import Callable

import pandas as pd
import torch

from t0qat.exhibits.labels import listed, macros
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.circuits import (
    ACROSS,
    ALL,
    CHANNEL,
    DEVICE,
    GLOBAL,
    GUESS,
    MODEL,
    NONE,
    PLAIN,
    PUBLISHED,
    TUNED,
    WAYS,
)
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import Row, number, percent, plus_minus, with_interval
from t0qat.training.circuits import flip_chance
from t0qat.training.constants import XI, XI_SCALING

CHANNEL_LABELS = {
    NONE: "No noise",
    "bit_flips": "X flips",
    "rotation_flips": "Y flips",
    "dephasing": "Dephasing",
    "depolarizing": "Depolarizing",
    "amplitude_damping": "Amplitude damping",
    "global_depolarizing": "Global depolarizing",
    "readout_flips": "Readout flips",
    ALL: "All",
}


def task_label(model: str) -> str:
    """`3 and 8`: the digits that a circuit tells apart."""
    return listed(model.removeprefix(MODEL))


def circuits(results: Results) -> tuple[str, dict[str, str]]:
    """The accuracy of every training under every channel, mean over its strengths."""
    table, pairs = results["circuits_robust"], results["circuits_paired"]
    tuned = results["circuits_tuning"]
    columns = (NONE, *DEVICE, ALL)

    def row(model: str, way: str) -> list[str]:
        shown = [plus_minus(one(table, model=model, way=way, channel=c), 3) for c in columns]
        return [task_label(model), WAYS[way].label, *shown]

    groups = [
        [row(model, way) for way in mine.way.unique()]
        for model, mine in table.groupby("model", sort=False)
    ]
    header = ["Digits", "Training", *(CHANNEL_LABELS[c] for c in columns)]
    return grouped(groups, header, "ll" + "r" * len(columns), leads=1), macros(
        "Circuits",
        {
            "Published": _against(pairs, PUBLISHED, PLAIN),
            "Tuned": _against(pairs, TUNED, PLAIN),
            "Channel": _against(pairs, TUNED, CHANNEL),
            "Alone": _flip(1.0),
            "TunedFlip": _on_each(tuned, lambda row: _flip(row["strength"]), way=TUNED, chosen=1),
            "Missing": number(math.exp(-((XI * XI_SCALING) ** 2) / 2) / 2, 2),
            "Vanishing": vanishing(rows_of(pairs, way=PUBLISHED, other_way=GUESS)),
            "Gains": gains(rows_of(pairs, way=TUNED, other_way=PLAIN)),
            "Global": unmoved(rows_of(results["circuits"], metric="moved", channel=GLOBAL)),
        },
    )


def vanishing(rows: list[Row]) -> str:
    """What came of the first prediction. rows: of noise as published minus a guess, a task each."""
    learned = [row for row in rows if _gained(row)]
    if not rows:
        return "The first prediction was not put to the test: noise as published was not run."
    if not learned:
        return "The first prediction held: noise as published leaves circuits no better than a guess."
    where = listed(task_label(row["model"]) for row in learned)
    return f"The first prediction failed: noise as published lets circuits learn something of {where}."


def gains(rows: list[Row]) -> str:
    """What came of the second. rows: of tuned noise minus plain training."""
    better = {row["channel"] for row in rows if _gained(row)} & {*DEVICE}
    named = listed(_named(c) for c in DEVICE if c in better)
    if not better:
        return "The second was not put to the test: tuned noise is shown to gain under no channel."
    if better <= ACROSS:
        return f"The second held: tuned noise is shown to gain under {named}, and there alone."
    if better & ACROSS:
        return f"The second held in part: tuned noise is shown to gain under {named}."
    return f"The second failed: tuned noise is shown to gain under {named}."


def unmoved(rows: list[Row]) -> str:
    """What came of the third. rows: the share of answers that global depolarizing changes."""
    most = max(row["mean"] for row in rows)
    if not most:
        return "The third held: read exactly, global depolarizing changes no answer."
    return f"The third failed: read exactly, global depolarizing changes up to {percent(most)} %."


def _flip(xi_scaling: float) -> str:
    return number(flip_chance(torch.tensor(XI * xi_scaling, dtype=torch.float64)).item(), 2)


def _named(channel: str) -> str:
    label = CHANNEL_LABELS[channel]
    return label if label[1] == " " else label.lower()  # X and Y stay


def _gained(row: Row) -> bool:
    return row["estimate"] > 0 and row["p_holm"] < ERROR_RATE


def _against(pairs: pd.DataFrame, way: str, other: str) -> str:
    """`−0.01 [−0.02, 0.00] for 3 and 8; and ...`: over all channels."""
    return _on_each(
        pairs[pairs.other_way == other], lambda row: with_interval(row, 3), way=way, channel=ALL
    )


def _on_each(table: pd.DataFrame, show: Callable[[Row], str], **keys) -> str:
    rows = rows_of(table, **keys)
    return listed((f"{show(row)} for {task_label(row['model'])}" for row in rows), "; ", "; and ")
