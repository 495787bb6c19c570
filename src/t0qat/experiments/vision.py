"""The vision benchmark: every training method on small image networks, at every bit-width.

A training is one network from one replicate's streams (room `on_images`): all methods of a replicate
share split, initialization and batch order. What it is asked (room `trained`) rounds it to the full
range of each bit-width with one step an output channel. Learning rate and strength are tuned on
replicates of their own, on images held out of their training parts. Replicates re-split the same images:
intervals are about new splits and starts, not about new images. Batch normalization keeps the float
network's statistics.
"""

from collections.abc import Sequence

import pandas as pd

from t0qat.experiments.arms import arms, chosen, each_known
from t0qat.experiments.benchmark import Jobs, Run, files, measured, planned, tuned
from t0qat.experiments.compare import Metric
from t0qat.experiments.settings import checked
from t0qat.training import images
from t0qat.training.methods import REGISTRY, named
from t0qat.training.models import MODELS

LOSS = Metric("loss", less_is_better=True)


@checked
def plan(
    *,
    replicates: int,
    few_replicates: int,
    dataset: str = "digits",
    models: Sequence[str] = ("deep_cnn", "mlp"),
    few_models: Sequence[str] = ("residual_cnn",),
    methods: Sequence[str] | str = "all",
    bits: Sequence[int] = (8, 4, 3, 2),
    trained_bits: Sequence[int] = (4, 3, 2),
    trainings: int = 23,
    rates: int = 4,
    lowest_rate: float = 0.0063,
    highest_rate: float = 0.2,
    epochs: int = 12,
    batch_size: int = 64,
    schedule: str = "warmup_cosine",
    seed: int = 0,
    device: str = "auto",
) -> Jobs:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line.

    methods: as arms.chosen takes it; all run on `models` and, unless they are named, few on few_models.
    replicates: of these few; few_replicates: of all others, and of noise that leaves networks at chance.
    bits: that networks are read at; trained_bits: those that methods of one bit-width train for.
    trainings: that tune an arm. epochs: of a method with one gradient evaluation a step.
    """
    given = locals()
    images.load(dataset)
    known = named(lambda method: method.images)
    every = few = chosen(methods, known)
    if methods == "all":
        few = [name for name in known if REGISTRY[name].few]
    each_known("models", [*models, *few_models], MODELS)
    where = [(model, every) for model in models] + [(model, few) for model in few_models]
    found = [arm for model, run in where for arm in arms(dataset, model, run, trained_bits)]
    less = min(few_replicates, replicates)
    most = {arm: arm.registered.few and not arm.registered.loud for arm in found}
    tested = {arm: replicates if most[arm] else less for arm in found}
    shared = "epochs", "batch_size", "schedule", "seed"
    return planned("images", tested, given, shared=shared, loud=True)


def benchmark(**parameters) -> Run:
    """Tune every arm, then train it on its replicates: parameters as `plan` takes them."""
    jobs = plan(**parameters)
    tuning, losses, settings = tuned(jobs)
    return Run(tuning, losses, measured(jobs.tests(settings), "networks"), {})


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files vision..., see benchmark.files. Metrics: of trained.at_widths and on_images."""
    return files("vision", run, LOSS)
