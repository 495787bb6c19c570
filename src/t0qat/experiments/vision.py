"""The vision benchmark: every training method on small image networks, at every bit-width.

A training (room `trial`) is one network from one replicate's streams: all methods of a replicate share
split, initialization and batch order. What it is asked (room `trained`) rounds it to the full range of
each bit-width with one step an output channel. Learning rate and strength are tuned on replicates of
their own, on images held out of their training parts. Replicates re-split the same images: intervals are
about new splits and starts, not about new images. Batch normalization keeps the float network's
statistics.
"""

from collections.abc import Sequence

import pandas as pd
import torch

from t0qat.experiments import trial
from t0qat.experiments.arms import arms
from t0qat.experiments.benchmark import Jobs, Run, files, measured, tuned
from t0qat.experiments.compare import Metric
from t0qat.experiments.settings import checked
from t0qat.experiments.tuning import rivals_of
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import export
from t0qat.training import images

ACCURACY = Metric("accuracy", less_is_better=False)


@checked
def plan(
    *,
    replicates: int,
    few_replicates: int,
    dataset: str = "digits",
    models: Sequence[str] = ("small_cnn", "deep_cnn"),
    few_models: Sequence[str] = ("mlp", "residual_cnn"),
    methods: Sequence[str] | str = "all",
    bits: Sequence[int] = (8, 4, 3, 2),
    trained_bits: Sequence[int] = (4, 3, 2),
    trainings: int = 28,
    rates: int = 3,
    lowest_rate: float = 0.01,
    highest_rate: float = 0.1,
    epochs: int = 8,
    batch_size: int = 64,
    schedule: str = "warmup_cosine",
    seed: int = 0,
    device: str = "auto",
) -> Jobs:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line.

    models, few_models and methods: as arms.arms takes them. bits: that networks
    are read at; trained_bits: those that methods of one bit-width train for. trainings: that tune an
    arm.
    """
    if not {*bits} <= {*range(2, 9)}:
        raise ParameterError(f"bits = {bits!r}: image networks are read at 2 to 8 bits")
    if not {*trained_bits} <= {*bits}:
        raise ParameterError(f"trained_bits = {trained_bits!r}: allowed are those of bits = {bits!r}")
    images.load(dataset)
    found = arms(dataset, models, few_models, trained_bits, methods)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = {"epochs": epochs, "batch_size": batch_size, "schedule": schedule, "seed": seed}
    shared |= {"device": device}
    rivals = rivals_of(found, trainings, rates, lowest_rate, highest_rate, loud=True)
    less = min(few_replicates, replicates)
    tested = {
        arm: less if arm.registered.loud or arm.model in few_models else replicates for arm in found
    }
    return Jobs(rivals, trial.train, shared, tuple(bits), tested, (export,))


def benchmark(**parameters) -> Run:
    """Tune every arm, then train it on its replicates: parameters as `plan` takes them."""
    jobs = plan(**parameters)
    tuning, losses, settings = tuned(jobs)
    return Run(tuning, losses, measured(jobs.tests(settings), "networks"))


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files vision..., see benchmark.files. Metrics: trained.at_widths and trial.opened."""
    return files("vision", run, ACCURACY)
