"""Table and sentences of circuits under device noise."""

import math

import torch

from t0qat.exhibits.labels import listed, macros
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.circuits import (
    ALL,
    CHANNEL,
    DEVICE,
    GLOBAL,
    MODEL,
    NONE,
    PLAIN,
    PUBLISHED,
    TUNED,
    WAYS,
)
from t0qat.pipeline.latex import grouped
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
    every = results["circuits"]
    moved = every[(every.metric == "moved") & (every.channel == GLOBAL)]
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
            "Alone": number(flip_chance(torch.tensor(XI, dtype=torch.float64)).item(), 2),
            "Missing": number(math.exp(-((XI * XI_SCALING) ** 2) / 2) / 2, 2),
            "Global": percent(moved["mean"].max()) + " %",
        },
    )


def _against(pairs, way: str, other: str) -> str:
    """`−0.01 [−0.02, 0.00] for 3 and 8; and ...`: over all channels."""
    rows = rows_of(pairs, way=way, other_way=other, channel=ALL)
    return listed((f"{_interval(row)} for {task_label(row['model'])}" for row in rows), "; ", "; and ")


def _interval(row: Row) -> str:
    return with_interval(row, 3)
