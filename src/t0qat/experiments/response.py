"""Where weight noise helps: its scale, the learning rate and the length of training, varied together.

A curve is a method at one strength: noise of a fixed size, noise relative to each channel, plain
training, and STE at random bits as the rounding that trains once for all widths. Each is trained at
every rate and budget, with the machinery of the benchmarks (rooms `vision`, `language`). It is read on
the validation part, on replicates that neither tuning nor tests use: this explores, and decides nothing.
"""

import itertools
import math
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pandas as pd

from t0qat.experiments import language, vision
from t0qat.experiments.arms import NO_WIDTH, Arm, each_known
from t0qat.experiments.benchmark import Jobs
from t0qat.experiments.on_text import pretraining_cell
from t0qat.experiments.precision import READERS
from t0qat.experiments.settings import checked
from t0qat.experiments.tuning import FIRST as TUNING
from t0qat.pipeline import grid, statistics
from t0qat.training import corpora
from t0qat.training.language_models import SMALL
from t0qat.training.models import MODELS

FIRST = 2 * TUNING  # the first replicate: those of tests and of tuning lie below
PLAIN, STE, ABSOLUTE, RELATIVE = "no_noise", "random_bits", "t0_qat_tuned", "relative_noise"
METHODS = (ABSOLUTE, RELATIVE, STE)  # beside plain training
CURVE = ["dataset", "model", "method", "strength"]  # columns that say which curve a row is of
CASE = [*CURVE, "budget", "eval_bits"]


class Task(NamedTuple):
    """What the trainings of one kind share."""

    jobs: Jobs  # with a budget of 1
    models: list[str]
    dataset: str
    rates: Sequence[float]
    replicates: int

    def trainings(self, curves: list[tuple[str, float]], budgets: Sequence[float]) -> list:
        """Every curve with every budget, of at least one epoch or step, and rate: (what it is, cell)."""
        found = []
        for model, budget in itertools.product(self.models, budgets):
            every = itertools.product(curves, self.rates, range(self.replicates))
            for (method, strength), rate, i in every:
                arm = Arm(self.dataset, model, method, NO_WIDTH)
                label = dict(zip(CURVE, (self.dataset, model, method, strength), strict=True))
                label |= {"budget": budget, "learning_rate": rate, "replicate": i}
                found.append((label, self.jobs.criterion(arm, (rate, strength), FIRST + i, budget)))
        return found


@checked
def surface(
    *,
    replicates: int,
    few_replicates: int,
    models: Sequence[str] = ("deep_cnn", "small_gpt2"),
    budgets: Sequence[float] = (0.333, 1, 3),
    scalings: Sequence[float] = (30, 100, 300),
    shares: Sequence[float] = (0.03, 0.1, 0.3),
    image_rates: Sequence[float] = (0.0063, 0.02, 0.063),
    text_rates: Sequence[float] = (0.000063, 0.0004, 0.0025),
    bits: Sequence[int] = (4, 3, 2),
    dataset: str = "digits",
    corpus: str = corpora.DEFAULT,
    epochs: int = 12,
    context: int = 32,
    pretraining_steps: int = 2000,
    steps: int = 96,
    seed: int = 0,
    device: str = "auto",
) -> pd.DataFrame:
    """CASE, learning_rate, replicate and value, one row a training and width; 32 bits: not rounded.

    Image models have `replicates`, language models few_replicates. budgets: multiples of epochs and of
    steps. scalings: xi_scaling of the fixed noise; shares: of the relative. value: loss of the
    validation part, in nats of images and bits per character of text, at most that of a guess or
    on_text.WORST. strength: nan of plain training and STE. Raises ParameterError before computing.
    """
    curves = [(PLAIN, math.nan), *((ABSOLUTE, scaling) for scaling in scalings)]
    curves += [*((RELATIVE, share) for share in shares), (STE, math.nan)]
    jobs = [job for task in _tasks(locals()) for job in task.trainings(curves, budgets)]
    found = grid.run([cell for _, cell in jobs], "trainings")
    return pd.DataFrame(
        label | {"eval_bits": width, "value": value}
        for (label, _), rows in zip(jobs, found, strict=True)
        for width, _, metric, value in rows
        if metric == "loss"
    )


def _tasks(given: dict) -> list[Task]:
    """Images first; language models after their pretraining."""
    names = each_known("models", given["models"], READERS)
    shared = {name: given[name] for name in ("bits", "seed", "device")}
    shared |= {"methods": METHODS, "trained_bits": given["bits"]}
    images, texts = ([name for name in names if name in kind] for kind in (MODELS, SMALL))
    found, planned = [], None
    if images:
        n, dataset = given["replicates"], given["dataset"]
        jobs = vision.plan(
            dataset=dataset, models=images, few_models=[], epochs=given["epochs"], replicates=n,
            few_replicates=n, **shared,
        )  # fmt: skip
        found.append(Task(jobs, images, dataset, given["image_rates"], n))
    if texts:
        n, corpus = given["few_replicates"], given["corpus"]
        lengths = {name: given[name] for name in ("context", "pretraining_steps", "steps")}
        planned = language.plan(
            corpus=corpus, models=texts, few_models=[], groups=[], everything=[], replicates=n,
            **lengths, **shared,
        )  # fmt: skip
        jobs = _begun(planned, texts, corpus, n)
        found.append(Task(jobs, texts, corpus, given["text_rates"], n))
    return found


def _begun(planned: language.Plan, models: Sequence[str], corpus: str, replicates: int) -> Jobs:
    """The plan's jobs, after pretraining on replicates of their own."""
    keys = [(model, FIRST + i) for model in models for i in range(replicates)]
    cells = [pretraining_cell(corpus, model, i, **planned.pretraining) for model, i in keys]
    starts = dict(zip(keys, grid.run(cells, "starts"), strict=True))
    return planned.jobs._replace(shared=planned.jobs.shared | {"starts": starts})


def tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """response: the mean of `surface` at every rate; response_best: see `best`."""
    return {"response": statistics.means(rows, [*CASE, "learning_rate"]), "response_best": best(rows)}


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """Every curve at its best rate, and how far it lies from plain training at that one's best.

    rows: as of `surface`. CASE, best_rate (of the least mean, of equals the lowest), loss there, and the
    paired difference from plain training with the same budget, model and width: estimate, ci_low,
    ci_high, nan for plain training itself, and n. Rates are chosen on the values that are shown, so
    every loss is somewhat too low.
    """
    chosen = [
        (dict(zip(CASE, key, strict=True)), *_at_best_rate(case))
        for key, case in rows.groupby(CASE, sort=False, dropna=False)
    ]
    place = itemgetter("dataset", "model", "budget", "eval_bits")
    plain = {place(row): values for row, _, values in chosen if row["method"] == PLAIN}
    none = dict.fromkeys(("estimate", "ci_low", "ci_high"), math.nan)
    found = []
    for row, rate, values in chosen:
        difference = statistics.mean_interval(values - plain[place(row)])
        difference["estimate"] = difference.pop("mean")
        row |= {"best_rate": rate, "loss": values.mean()} | difference
        found.append(row | none if row["method"] == PLAIN else row)
    return pd.DataFrame(found)


def _at_best_rate(case: pd.DataFrame) -> tuple[float, np.ndarray]:
    """The rate of the least mean, and the values there, replicates in order."""
    means = case.groupby("learning_rate")["value"].mean().round(12)
    mine = case[case.learning_rate == means.idxmin()].sort_values("replicate")
    return means.idxmin(), mine.value.to_numpy()
