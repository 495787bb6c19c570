"""The vision benchmark: every training method on small image networks, at every bit-width.

A cell (room `trial`) trains one network from one replicate's streams: all methods of a replicate share
split, initialization and batch order. It is then rounded to the full range of each bit-width with one
step an output channel, by both scale rules. Learning rate and strength are tuned on replicates of their
own, on images held out of their training parts. Replicates re-split the same images: intervals are about
new splits and starts, not about new images. Batch normalization keeps the float network's statistics.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import torch

from t0qat import grid, images, statistics, tasks, trial
from t0qat.arms import FLOAT, KEYS, Arm, arms, is_importable, register
from t0qat.compare import differences, kept, over_bits, own_width, with_chosen
from t0qat.methods import HALF
from t0qat.parameters import ParameterError, bit_list, checked
from t0qat.trial import training_steps

TUNING = 10**9  # the first replicate of tuning: no other use of replicates comes so far


class Run(NamedTuple):
    """What was measured: rows of KEYS, replicate, eval_bits, scale_rule, metric and value.

    metric and value are what trial.train_and_round says of each network.
    """

    tuning: pd.DataFrame  # one row a candidate
    validation: pd.DataFrame  # accuracy of the chosen candidates on the images that they were chosen on
    test: pd.DataFrame


class Jobs(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    arms: list[Arm]
    candidates: list[list[tuple[float, float]]]  # of each arm
    shared: dict[str, Any]  # arguments of every cell
    tuning_replicates: int
    replicates: int
    cell: Callable[..., grid.Cell]

    def tuning(self) -> list[tuple[dict, grid.Cell]]:
        """Every arm's candidates on all tuning replicates, each cell with what it is."""
        return [
            (arm._asdict() | {"candidate": number, "replicate": i}, self.cell(arm, *tried, i, **own))
            for arm, candidates in zip(self.arms, self.candidates, strict=True)
            for number, tried in enumerate(candidates)
            for i in range(TUNING, TUNING + self.tuning_replicates)
            for own in [self.shared | {"part": "validation"}]
        ]

    def final(self, chosen: list[tuple[float, float]]) -> list[tuple[dict, grid.Cell]]:
        """Every arm at its chosen candidate on all replicates."""
        return [
            (arm._asdict() | {"replicate": i}, self.cell(arm, *candidate, i, **self.shared, part="test"))
            for arm, candidate in zip(self.arms, chosen, strict=True)
            for i in range(self.replicates)
        ]


def cell(arm: Arm, *how, **shared) -> grid.Cell:
    """trial.cell, with the method's registry line for processes that do not know it.

    What the function of a notebook or script depends on cannot be seen, so its results are not kept.
    """
    line = arm.registered
    return replace(
        trial.cell(arm, *how, **shared),
        before=partial(register, arm.method.removesuffix(HALF), line),
        kept=is_importable(line),
    )


@checked
def plan(
    *,
    replicates: int,
    tuning_replicates: int,
    dataset: str = "digits",
    models: str = "small_cnn, deep_cnn",
    few_models: str = "mlp, residual_cnn",
    methods: str = "all",
    bits: str = "8, 4, 3, 2",
    candidates: int = 10,
    lowest_rate: float = 0.003,
    highest_rate: float = 0.06,
    epochs: int = 8,
    batch_size: int = 64,
    schedule: str = "warmup_cosine",
    seed: int = 0,
    device: str = "auto",
) -> Jobs:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line.

    models, few_models and methods: comma-separated names, as arms.arms takes them.
    """
    widths = bit_list(bits)
    if not {*widths} <= {*range(2, 9)}:
        raise ParameterError(f"bits = {bits!r}: image networks are trained for 2 to 8 bits")
    if not lowest_rate < highest_rate:
        raise ParameterError(f"lowest_rate = {lowest_rate}: must be below highest_rate = {highest_rate}")
    images.load(dataset)
    found = arms(dataset, models, few_models, widths, methods)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = {"epochs": epochs, "batch_size": batch_size, "schedule": schedule, "seed": seed}
    shared |= {"widths": list(widths), "device": device}
    tried = [arm.candidates(candidates, lowest_rate, highest_rate) for arm in found]
    return Jobs(found, tried, shared, tuning_replicates, replicates, cell)


def cost(jobs: Jobs) -> pd.DataFrame:
    """What a plan takes: KEYS, stage (tuning or test), cells, gradients (evaluations on one batch)."""
    rows = []
    data = images.load(jobs.arms[0].dataset).split(0, 0)
    stages = {
        "tuning": (tasks.held_out_quarter(data, 0), jobs.tuning_replicates),
        "test": (data, jobs.replicates),
    }
    for arm, candidates in zip(jobs.arms, jobs.candidates, strict=True):
        epochs = arm.epochs(jobs.shared["epochs"])
        for stage, (part, replicates) in stages.items():
            cells = replicates * (len(candidates) if stage == "tuning" else 1)
            steps = training_steps(len(part.inputs), epochs, jobs.shared["batch_size"])
            gradients = cells * steps * arm.registered.gradients
            rows.append(arm._asdict() | {"stage": stage, "cells": cells, "gradients": gradients})
    return pd.DataFrame(rows)


def benchmark(**parameters) -> Run:
    """Tune every arm, then train it on all replicates: parameters as `plan` takes them.

    A candidate's score on a tuning replicate is its validation accuracy at the best scale rule of each
    bit-width, averaged over bit-widths: the arm's own, or all for an arm without one. The largest mean
    score is chosen, of equals the first: the first strength, then the lowest rate.
    """
    jobs = plan(**parameters)
    tried = measured(jobs.tuning(), "tuning")
    tuning = ranked(jobs, tried)
    chosen = tuning[tuning.chosen == 1]
    values = list(zip(chosen.learning_rate, chosen.strength, strict=True))
    validation = tried.merge(chosen[[*KEYS, "candidate"]])
    test = measured(jobs.final(values), "networks")
    return Run(tuning.drop(columns="candidate"), validation, test)


def measured(jobs: list[tuple[dict, grid.Cell]], words: str) -> pd.DataFrame:
    """What the cells give, one row a number: what the cell is, and the columns of Run."""
    found = grid.run([cell for _, cell in jobs], words)
    names = ("eval_bits", "scale_rule", "metric", "value")
    return pd.DataFrame(
        label | dict(zip(names, numbers, strict=True))
        for (label, _), rows in zip(jobs, found, strict=True)
        for numbers in rows
    )


def ranked(jobs: Jobs, tried: pd.DataFrame) -> pd.DataFrame:
    """KEYS, learning_rate, strength, mean, ci_low, ci_high, n, gradients (of all n), chosen, candidate.

    mean: of the scores that `benchmark` names. strength is nan where the method has none.
    """
    one = [*KEYS, "candidate"]
    accuracies = tried[own_width(tried) & (tried.metric == "accuracy") & (tried.eval_bits != FLOAT)]
    best = accuracies.groupby([*one, "replicate", "eval_bits"], sort=False)["value"].max()
    scores = best.groupby([*one, "replicate"], sort=False).mean()
    gradients = tried[tried.metric == "gradients"].groupby(one, sort=False)["value"].sum()
    settings = dict(zip(jobs.arms, jobs.candidates, strict=True))
    rows = []
    for key, values in scores.groupby(one, sort=False):
        rate, strength = settings[Arm(*key[:-1])][key[-1]]
        row = {"learning_rate": rate, "strength": strength, "gradients": int(gradients[key])}
        rows.append(dict(zip(one, key, strict=True)) | row | statistics.mean_interval(values))
    table = pd.DataFrame(rows)
    first = table["mean"].round(12).groupby([table[key] for key in KEYS], sort=False).idxmax()
    return table.assign(chosen=table.index.isin(first).astype(int))


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files: vision, vision_any and vision_tuning of means, the other three of differences.

    vision: KEYS, eval_bits (FLOAT: not rounded), scale_rule (absmax, mse, learned, none, or chosen: the
    one that validated best), metric (as of trial.train_and_round), mean, ci_low, ci_high, n.
    vision_any: KEYS, scale_rule, quantity (mean or worst over the bit-widths), mean, ci_low, ci_high, n.
    vision_paired: arms without a width and those trained for the width at hand, see `differences`.
    """
    test, known = (with_chosen(rows, run.validation) for rows in (run.test, run.validation))
    anywhere = over_bits(test), over_bits(known)
    here = test[own_width(test)], known[own_width(known)]
    everything = pd.concat([test, run.test[run.test.metric != "accuracy"]])
    return {
        "vision": statistics.means(everything, [*KEYS, "eval_bits", "scale_rule", "metric"]),
        "vision_any": statistics.means(anywhere[0], [*KEYS, "scale_rule", "quantity"]),
        "vision_kept": kept(here[0]),
        "vision_paired": differences(*here, ["eval_bits", "scale_rule"]),
        "vision_any_paired": differences(*anywhere, ["scale_rule", "quantity"]),
        "vision_tuning": run.tuning,
    }
