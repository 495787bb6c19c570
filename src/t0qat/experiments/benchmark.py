"""What all benchmarks share: arms tuned on replicates of their own, run on others, and compared.

An arm is judged by the scale rule that its method fixes beforehand (methods.Method.rule); what other
rules give is reported beside it. Values are compared by the metric that the caller names, and by whether
less of it is better.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from t0qat.experiments import compare, trained, trial, tuning
from t0qat.experiments.arms import FLOAT, KEYS, NO_WIDTH, Arm
from t0qat.experiments.compare import OWN, Metric, over_bits, own_width, with_own_rule
from t0qat.experiments.tuning import Rivals, Setting, rivals_of
from t0qat.pipeline import grid, statistics
from t0qat.pipeline.parameters import ParameterError

NUMBERS = ("eval_bits", "scale_rule", "metric", "value")


class Jobs(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    kind: str  # a name in trial.KINDS
    rivals: list[Rivals]  # arms that are tuned
    shared: dict[str, Any]  # arguments of every training
    widths: list[int]
    replicates: dict[Arm, int]  # on how many each arm is tested
    judged: dict[str, int]  # what every question takes beside its own

    def lasting(self, budget: float) -> "Jobs":
        """The same with trainings of so many times their length, one epoch or step at least."""
        length = trial.KINDS[self.kind].LENGTH
        return self._replace(shared=self.shared | {length: max(1, round(budget * self.shared[length]))})

    def training(self, arm: Arm, setting: Setting, replicate: int, part: str) -> grid.Training:
        return trial.train(self.kind, arm, *setting, replicate=replicate, part=part, **self.shared)

    def cell(
        self, ask: Callable, arm: Arm, setting: Setting, i: int, part: str = "test", **own: Any
    ) -> grid.Cell:
        """Asks this of the arm, trained at the setting on replicate i."""
        training = self.training(arm, setting, i, part)
        return trained.asked(ask, training, arm.method, **own | self.judged)

    def criterion(self, arm: Arm, setting: Setting, replicate: int, budget: float = 1.0) -> grid.Cell:
        """What tuning reads: the loss at the width that the arm trains for, or at every one."""
        widths = [arm.train_bits] if arm.train_bits != NO_WIDTH else self.widths
        jobs = self.lasting(budget)
        return jobs.cell(trained.criterion, arm, setting, replicate, "validation", widths=widths)

    def tests(self, settings: dict[Arm, Setting]) -> list[tuple[dict, grid.Cell]]:
        """Every arm at its setting on all its replicates, each cell with what it is."""
        return [
            (
                arm._asdict() | {"replicate": i},
                self.cell(trained.at_widths, arm, setting, i, widths=self.widths),
            )
            for arm, setting in settings.items()
            for i in range(self.replicates[arm])
        ]


def planned(
    kind: str,
    replicates: dict[Arm, int],
    given: dict[str, Any],
    *,
    shared: Sequence[str],
    judged: Sequence[str] = (),
    laid_out: Sequence[Arm] = (),
    loud: bool = False,
) -> Jobs:
    """The jobs of these arms. Raises ParameterError, in one line.

    replicates: on how many each arm is tested. given: the plan's parameters; shared and judged: which of
    them every training takes beside the device, and every question. laid_out: arms that are not tuned.
    loud: as tuning.rivals_of takes it.
    """
    bits, trained_bits, device = (given[name] for name in ("bits", "trained_bits", "device"))
    if not {*bits} <= {*range(2, 9)}:
        raise ParameterError(f"bits = {bits!r}: networks are read at 2 to 8 bits")
    if not {*trained_bits} <= {*bits}:
        raise ParameterError(f"trained_bits = {trained_bits!r}: allowed are those of bits = {bits!r}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    tuned = [arm for arm in replicates if arm not in laid_out]
    budget = (given[name] for name in ("trainings", "rates", "lowest_rate", "highest_rate"))
    every = {name: given[name] for name in shared} | {"device": device}
    questions = {name: given[name] for name in judged}
    return Jobs(kind, rivals_of(tuned, *budget, loud), every, [*bits], replicates, questions)


class Run(NamedTuple):
    """What was measured."""

    tuning: pd.DataFrame  # one row a candidate, see tuning.tune
    losses: pd.DataFrame  # of the chosen candidates, on the replicates that they were chosen on
    test: pd.DataFrame  # KEYS, replicate, eval_bits, scale_rule, metric and value
    more: dict[str, pd.DataFrame]  # results files that only this benchmark has


def measured(
    jobs: list[tuple[dict, grid.Cell]], words: str, numbers: tuple[str, ...] = NUMBERS
) -> pd.DataFrame:
    """What the cells give, one row a number: what the cell is, and the columns `numbers`."""
    found = grid.run([cell for _, cell in jobs], words)
    return pd.DataFrame(
        label | dict(zip(numbers, row, strict=False))
        for (label, _), rows in zip(jobs, found, strict=True)
        for row in rows
    )


def tuned(jobs: Jobs) -> tuple[pd.DataFrame, pd.DataFrame, dict[Arm, Setting]]:
    """As tuning.tune gives them: all candidates, what the chosen ones lost, and the chosen settings."""
    table, losses = tuning.tune(jobs.rivals, jobs.criterion)
    return table, losses, tuning.chosen(table)


def files(name: str, run: Run, metric: Metric) -> dict[str, pd.DataFrame]:
    """Seven results files: name and name_any, _tuning and _tuned of means, the others of differences.

    name: KEYS, eval_bits (FLOAT: not rounded), scale_rule (absmax, mse, one of rounding.OWN_GRIDS, none,
    or own: the one that the method fixes), metric (all that were measured), mean, ci_low, ci_high, n.
    name_any: KEYS, scale_rule, quantity (mean or worst over the bit-widths), mean, ci_low, ci_high, n.
    name_paired, name_kept: arms without a width and those trained for the width at hand;
    name_any_paired: all arms; each by its own rule, see compare.differences and compare.kept. What may
    be lost over widths follows what rounding costs plain training over them, in tuning. name_tuned:
    KEYS, eval_bits, mean, ci_low, ci_high, n: what the chosen candidates lost in tuning.
    """
    everything = with_own_rule(run.test)
    test = everything[everything.metric == metric.name]
    anywhere = over_bits(test, metric.worst)
    judged = test[own_width(test) & test.scale_rule.isin([OWN, "none"])]
    lost = run.losses.rename(columns={"loss": "value"})
    lost["scale_rule"] = np.where(lost.eval_bits == FLOAT, "none", OWN)
    # A mean over widths compares with arms that train once for all of them.
    free = over_bits(lost[lost.train_bits == NO_WIDTH], "max")
    own = anywhere[anywhere.scale_rule == OWN]
    single, over = ["eval_bits", "scale_rule"], ["scale_rule", "quantity"]
    whole = compare.unrounded(lost)
    at_width = compare.margins(lost, whole, metric, single)
    over_widths = compare.margins(free, whole, metric, over)
    return {
        name: statistics.means(everything, [*KEYS, "eval_bits", "scale_rule", "metric"]),
        f"{name}_any": statistics.means(anywhere, [*KEYS, "scale_rule", "quantity"]),
        f"{name}_kept": compare.kept(judged, lost, at_width),
        f"{name}_paired": compare.differences(judged, lost, at_width, single),
        f"{name}_any_paired": compare.differences(own, free, over_widths, over),
        f"{name}_tuning": run.tuning,
        f"{name}_tuned": tuning.lost(run.losses),
    }
