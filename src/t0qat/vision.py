"""The vision benchmark: every training method on small image networks, at every bit-width.

A cell (room `trial`) trains one network from one replicate's streams: all methods of a replicate share
split, initialization and batch order. It is then rounded to the full range of each bit-width with one
step an output channel, by both scale rules. Learning rate and strength are tuned on replicates of their
own, on images held out of their training parts. Replicates re-split the same images: intervals are about
new splits and starts, not about new images. Batch normalization keeps the float network's statistics.
"""

from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from t0qat import grid, images, tasks, trial
from t0qat.arms import KEYS, Arm, arms, is_importable, register
from t0qat.benchmark import Jobs, Run, files, measured, ranked, settings
from t0qat.compare import Metric
from t0qat.methods import HALF
from t0qat.parameters import ParameterError, bit_list, checked
from t0qat.trial import training_steps

ACCURACY = Metric("accuracy", less_is_better=False)


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

    The candidate of the highest validation accuracy after rounding is chosen, see benchmark.ranked. Of
    equals it is the first: the first strength, then the lowest rate.
    """
    jobs = plan(**parameters)
    tried = measured(jobs.tuning(), "tuning")
    tuning = ranked(jobs, tried, ACCURACY)
    validation = tried.merge(tuning[tuning.chosen == 1][[*KEYS, "candidate"]])
    test = measured(jobs.final([*settings(tuning).values()]), "networks")
    return Run(tuning.drop(columns="candidate"), validation, test)


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files vision..., see benchmark.files. Metrics are those of trial.train_and_round."""
    return files("vision", run, ACCURACY)
