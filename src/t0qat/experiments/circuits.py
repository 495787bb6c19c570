"""Does noise on a quantum classifier's angles, as it trains, help it under the noise of a device?"""

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch

from t0qat.experiments import benchmark, on_circuits, tuning
from t0qat.experiments.arms import FLOAT, NO_WIDTH, Arm, each_known, spaced
from t0qat.experiments.on_circuits import (
    CHANNEL,
    DEVICE,
    NONE,
    PLAIN,
    PUBLISHED,
    TUNED,
    WAYS,
    Trained,
    fit,
    opened,
    to_bits,
)
from t0qat.experiments.settings import checked
from t0qat.experiments.tuning import Rivals, Setting
from t0qat.pipeline import grid, statistics
from t0qat.pipeline.parameters import ParameterError
from t0qat.training.circuits import Circuit
from t0qat.training.streams import stream

ALL = "all"  # in place of a channel: the mean over DEVICE
SHOWN = (NONE, *DEVICE, ALL)  # in results files
GUESS = "guess"  # among the classes, which the published way is compared with, too
COMPARED = (*WAYS, GUESS)
MODEL = "circuit_"  # a circuit's name among models: this and its digits
ROW = ("channel", "channel_strength", "eval_bits", "shots", "metric", "value")
SHARED = ("qubits", "layers", "steps", "batch_size", "seed")  # what every training takes


@torch.no_grad()
def criterion(trained: Trained, *, middle: float, steps: int) -> list[list]:
    """What tuning compares: rows as of trained.criterion, a channel of DEVICE in place of a width."""
    found = [[FLOAT, "none", "gradients", steps]]
    for number, channel in enumerate((NONE, *DEVICE)):
        (chances,) = trained.chances(trained.angles, channel, [middle])
        found.append([number, channel, "loss", dict(trained.scores(chances))["loss"]])
    return found


@torch.no_grad()
def on_devices(
    trained: Trained,
    *,
    strengths: list[float],
    middle: float,
    bits: list[int],
    shots: int,
    replicate: int,
    seed: int,
) -> list[list]:
    """Rows [channel, channel_strength, eval_bits, shots, metric, value].

    Angles that are not rounded meet every strength of every channel, rounded ones none and the middle.
    shots 0: by exact chances. Metrics: accuracy; of exact chances alone also loss (nats) and moved, the
    share of images whose class the device changes.
    """
    found, draws = [], stream("evaluation_noise", replicate, seed)
    for width in (FLOAT, *bits):
        angles = to_bits(trained.angles, width)
        still = trained.chances(angles, NONE, [0.0])[0].argmax(-1)
        for channel in (NONE, *DEVICE):
            used = [0.0] if channel == NONE else strengths if width == FLOAT else [middle]
            for strength, chances in zip(used, trained.chances(angles, channel, used), strict=True):
                where = [channel, strength, width]
                found += [[*where, 0, *row] for row in trained.scores(chances)]
                moved = (chances.argmax(-1) != still).double().mean().item()
                found.append([*where, 0, "moved", moved])
                found.append([*where, shots, "accuracy", trained.measured(chances, shots, draws)])
    return found


class Plan(NamedTuple):
    """What is trained and asked."""

    rivals: list[Rivals]
    shared: dict[str, Any]
    asked: dict[str, Any]  # of devices
    replicates: int

    def cell(
        self, ask: Callable, own: dict, arm: Arm, setting: Setting, replicate: int, part: str
    ) -> grid.Cell:
        rate, scaling = setting
        what = self.shared | {"digits": arm.model.removeprefix(MODEL), "way": arm.method, "part": part}
        what |= {"xi_scaling": None if math.isnan(scaling) else scaling, "learning_rate": rate}
        training = grid.Training(fit, what | {"replicate": replicate}, CODE, opened=opened)
        return grid.Cell(ask, own, CODE, reads=training)

    def tuned(self, arm: Arm, setting: Setting, replicate: int, budget: float) -> grid.Cell:
        steps = max(1, round(budget * self.shared["steps"]))
        plan = self._replace(shared=self.shared | {"steps": steps})
        own = {"middle": self.asked["middle"], "steps": steps}
        return plan.cell(criterion, own, arm, setting, replicate, "validation")

    def tests(self, settings: dict[Arm, Setting]) -> list[tuple[dict, grid.Cell]]:
        found = []
        for arm, setting in settings.items():
            for i in range(self.replicates):
                own = self.asked | {"replicate": i, "seed": self.shared["seed"]}
                cell = self.cell(on_devices, own, arm, setting, i, "test")
                found.append((arm._asdict() | {"replicate": i}, cell))
        return found


@checked
def plan(
    *,
    replicates: int,
    digits: Sequence[str] = ("38", "0123"),
    ways: Sequence[str] = tuple(WAYS),
    qubits: int = 4,
    layers: int = 3,
    steps: int = 120,
    batch_size: int = 32,
    trainings: int = 23,
    rates: int = 4,
    lowest_rate: float = 0.1,
    highest_rate: float = 3.0,
    strengths: Sequence[float] = (0.01, 0.03, 0.1, 0.2, 0.3),
    bits: Sequence[int] = (8, 4, 3, 2),
    shots: int = 1024,
    seed: int = 0,
) -> Plan:
    """What `measured` will train. Raises ParameterError, in one line, before computing.

    digits: the classes of each task; strengths: of the channels, the middle one judges tuning.
    """
    given = locals()
    each_known("ways", ways, WAYS)
    if PLAIN not in ways or len({*ways}) < 2:
        raise ParameterError(f"ways = {[*ways]}: must hold {PLAIN!r} and another")
    for task in digits:
        each_known("digits", task, "0123456789")
        Circuit(qubits, layers, len(task)).check()
    if not lowest_rate < highest_rate:
        raise ParameterError(f"lowest_rate = {lowest_rate}: must be below highest_rate = {highest_rate}")
    tried = spaced(rates, lowest_rate, highest_rate)
    rivals = []
    for task, way in itertools.product(digits, ways):
        arm = Arm("digits", MODEL + task, way, NO_WIDTH)
        candidates = [(rate, value) for value in WAYS[way].values or (math.nan,) for rate in tried]
        rivals.append(Rivals(arm, candidates, tuning.halving(len(candidates), trainings)))
    asked = {"strengths": [*strengths], "middle": sorted(strengths)[len(strengths) // 2]}
    asked |= {"bits": [*bits], "shots": shots}
    return Plan(rivals, {name: given[name] for name in SHARED}, asked, replicates)


def measured(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tuning's table, as tuning.tune gives it, and KEYS, replicate and ROW of the tests."""
    table, _ = tuning.tune(plan.rivals, plan.tuned)
    return table, benchmark.measured(plan.tests(tuning.chosen(table)), "circuits", ROW)


def tables(tuned: pd.DataFrame, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Results files, where a method is a `way`.

    circuits: model, way, ROW without value, mean, ci_low, ci_high, n. circuits_robust: model, way,
    channel, mean, ...: of the accuracy at all shots with angles that are not rounded, mean over the
    strengths of a channel, channel ALL: over all channels, too. circuits_paired: the same, of a way
    minus plain training, of tuned noise minus its channel, and of the published minus a guess, p_holm
    corrected over the rows of the same two. circuits_tuning: as tuning.tune.
    """
    drop = ["dataset", "layout", "train_bits"]
    rows, tuned = (t.rename(columns={"method": "way"}).drop(columns=drop) for t in (rows, tuned))
    shown = rows[(rows.shots > 0) & (rows.eval_bits == FLOAT)]
    of = ["model", "way", "replicate"]
    each = shown.groupby([*of, "channel"], sort=False)["value"].mean().reset_index()
    whole = each[each.channel != NONE].groupby(of, sort=False)["value"].mean().reset_index()
    every = pd.concat([each, whole.assign(channel=ALL)], ignore_index=True)
    found = []
    for (model, channel), here in every.groupby(["model", "channel"], sort=False):
        here = here.sort_values("replicate", kind="stable")
        by = {way: mine["value"].to_numpy() for way, mine in here.groupby("way", sort=False)}
        pairs = [(way, PLAIN) for way in by if way != PLAIN]
        pairs += [(TUNED, CHANNEL)] if {TUNED, CHANNEL} <= {*by} else []
        if channel == NONE and PUBLISHED in by:
            by[GUESS] = 0 * by[PUBLISHED] + 1 / len(model.removeprefix(MODEL))
            pairs.append((PUBLISHED, GUESS))
        for way, other in pairs:
            label = {"model": model, "channel": channel, "way": way, "other_way": other}
            found.append(label | statistics.paired_difference(by[way], by[other]))
    families = pd.DataFrame(found).groupby(["way", "other_way"], sort=False)
    return {
        "circuits": statistics.means(rows, ["model", "way", *ROW[:-1]]),
        "circuits_robust": statistics.means(every, ["model", "way", "channel"]),
        "circuits_paired": pd.concat([statistics.corrected(of) for _, of in families]),
        "circuits_tuning": tuned,
    }


# What the cells of this module's grids depend on.
CODE = (sys.modules[__name__], *on_circuits.CODE)
