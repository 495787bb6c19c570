"""Tables and sentences of circuits under device noise."""

import math

import pandas as pd
import torch

from t0qat.exhibits.labels import listed, macros, starred
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.circuits import ALL, GUESS, MODEL
from t0qat.experiments.on_circuits import ACROSS, DEVICE, GLOBAL, NONE, PLAIN, PUBLISHED, TUNED, WAYS
from t0qat.pipeline.latex import Raw, grouped
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, Row, number, percent, plus_minus
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
    table, tuned = results["circuits_robust"], results["circuits_tuning"]
    pairs = results["circuits_paired"]
    columns = (NONE, *DEVICE, ALL)

    def row(model: str, way: str) -> list[str]:
        shown = [plus_minus(one(table, model=model, way=way, channel=c), 3) for c in columns]
        chosen = one(tuned, model=model, way=way, chosen=1)["strength"]
        flips = {"xi_alone": 1.0, PUBLISHED: XI_SCALING}.get(way, chosen)
        chance = NOTHING if math.isnan(flips) else _flip(flips)
        return [task_label(model), WAYS[way].label, chance, *shown]

    groups = [
        [row(model, way) for way in mine.way.unique()]
        for model, mine in table.groupby("model", sort=False)
    ]
    header = ["Digits", "Training", Raw("$p$"), *map(_head, columns)]
    gained = gains(rows_of(pairs, way=TUNED, other_way=PLAIN))
    learned = vanishing(rows_of(pairs, way=PUBLISHED, other_way=GUESS))
    return grouped(groups, header, "llr" + "r" * len(columns), leads=1), macros(
        "Circuits",
        {
            "Missing": number(math.exp(-((XI * XI_SCALING) ** 2) / 2) / 2, 2),
            "Vanishing": learned,
            "Gains": gained,
            "Global": unmoved(rows_of(results["circuits"], metric="moved", channel=GLOBAL)),
        },
    )


def differences(results: Results) -> tuple[str, dict[str, str]]:
    """Each training minus plain training, and tuned noise minus its exact channel, by channel."""
    pairs = results["circuits_paired"]
    columns, asked = (NONE, *DEVICE, ALL), pairs[pairs.other_way != GUESS]

    def line(mine: pd.DataFrame) -> list[str]:
        first, of = mine.iloc[0], {row["channel"]: row for row in rows_of(mine)}
        lead = [task_label(first["model"]), *(WAYS[first[key]].label for key in ("way", "other_way"))]
        return [*lead, *(starred(of[c], 3) if c in of else NOTHING for c in columns)]

    groups = [
        [line(case) for _, case in mine.groupby(["other_way", "way"], sort=False)]
        for _, mine in asked.groupby("model", sort=False)
    ]
    header = ["Digits", "Training", "minus", *map(_head, columns)]
    said = {
        "Sentence": tuned_helps(rows_of(pairs, way=TUNED, other_way=PLAIN)),
        "PublishedSentence": published_learns(rows_of(pairs, way=PUBLISHED, other_way=GUESS)),
    }
    return grouped(groups, header, "lll", leads=1), macros("Circuits", said)


def tuned_helps(rows: list[Row]) -> str:
    """Whether tuned noise helps a circuit on a device. rows: of tuned noise minus plain training."""
    asked = [row for row in rows if row["channel"] in DEVICE]
    better, worse = sum(map(_gained, asked)), sum(map(_lost, asked))
    lead = "Under the noise of a device, tuned noise on a circuit's angles"
    if not asked:
        return "Tuned noise on a circuit's angles was not run."
    if better and worse:
        return (
            f"{lead} raises accuracy in {better} of {len(asked)} comparisons with plain training, and"
            f" lowers it in {worse}."
        )
    if better:
        return f"{lead} raises accuracy in {better} of {len(asked)} comparisons with plain training."
    if worse:
        return f"{lead} lowers accuracy in {worse} of {len(asked)} comparisons, and raises it in none."
    return f"{lead} is not shown to change accuracy in any of {len(asked)} comparisons."


def published_learns(rows: list[Row]) -> str:
    """Whether circuits learn under noise as published. rows: of it minus a guess, a task each."""
    learned = sum(map(_gained, rows))
    if not rows:
        return "Noise as published was not run on circuits."
    if not learned:
        return "Noise as published leaves circuits no better than a guess."
    if learned == len(rows):
        return "Under noise as published, circuits still learn more than a guess."
    return (
        f"Under noise as published, circuits learn more than a guess on {learned} of {len(rows)} tasks."
    )


def vanishing(rows: list[Row]) -> str:
    """What came of the first prediction. rows: of noise as published minus a guess, a task each."""
    learned = [row for row in rows if _gained(row)]
    if not rows:
        return "The first prediction was not put to the test: noise as published was not run."
    if not learned:
        return "The first prediction held: noise as published leaves circuits no better than a guess."
    return (
        "The first prediction failed: under noise as published, circuits learn something in"
        f" {len(learned)} of {len(rows)} tasks."
    )


def gains(rows: list[Row]) -> str:
    """What came of the second. rows: of tuned noise minus plain training."""
    better = {row["channel"] for row in rows if _gained(row)} & {*DEVICE}
    if not better:
        return "The second was not put to the test: tuned noise is shown to gain under no channel."
    if better <= ACROSS:
        return "The second held: tuned noise is shown to gain under such channels, and there alone."
    if better & ACROSS:
        return "The second held in part: tuned noise is shown to gain under such channels, and others."
    return "The second failed: tuned noise is shown to gain under other channels alone."


def unmoved(rows: list[Row]) -> str:
    """What came of the third. rows: the share of answers that global depolarizing changes."""
    most = max(row["mean"] for row in rows)
    if not most:
        return "The third held: read exactly, global depolarizing changes no answer."
    return f"The third failed: read exactly, global depolarizing changes up to {percent(most)} %."


def _head(channel: str) -> Raw:
    """A channel's label, a word a line."""
    lines = CHANNEL_LABELS[channel].replace(" ", r"\\")
    return Raw(rf"\shortstack{{{lines}}}")


def _flip(xi_scaling: float) -> str:
    return number(flip_chance(torch.tensor(XI * xi_scaling, dtype=torch.float64)).item(), 2)


def _gained(row: Row) -> bool:
    return row["estimate"] > 0 and row["p_holm"] < ERROR_RATE


def _lost(row: Row) -> bool:
    return row["estimate"] < 0 and row["p_holm"] < ERROR_RATE
