"""The metric of a trained model against the bits of its weights: curves, knees, flipped low bits.

The metric is a loss, so lower is better. Regression: mean squared error on the test part over the
variance of its target, the share that stays unexplained. Images: mean cross entropy in nats, at most
that of a guess. Text: bits per character. Every weight is quantized, one step an output channel; biases
stay in full precision. Linear layers are trained here, many at once; networks are those that the
benchmarks train (rooms `vision`, `language`), asked. To add a regression task, add its line to
tasks.TASKS.
"""

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from t0qat.experiments import language, vision
from t0qat.experiments.arms import LINEAR, Arm, each_known, preset
from t0qat.experiments.benchmark import Jobs, tuned
from t0qat.experiments.learning import Learner
from t0qat.experiments.scale import in_batches
from t0qat.experiments.settings import set_up
from t0qat.pipeline import grid, pin
from t0qat.quantization import quantizers
from t0qat.quantization.layers import quantized
from t0qat.quantization.quantizers import CODES, SCALES, Grid, quantize
from t0qat.quantization.rounding import Coded, rounded
from t0qat.training import constants, corpora, linear, methods, noise, streams, tasks
from t0qat.training.language_models import SMALL
from t0qat.training.linear import Setup
from t0qat.training.methods import REGISTRY
from t0qat.training.models import MODELS
from t0qat.training.tasks import TASKS
from t0qat.training.views import View

# What the cells of this module's grid depend on.
CODE = sys.modules[__name__], constants, linear, *methods.CODE, quantizers, streams, tasks
BITS = range(1, 17)
CURVES = {  # (range, scale) -> its grids, bits rising
    (r, s): [Grid(b, r, s) for b in BITS if (r, b) != ("narrow", 1)] for r in CODES for s in SCALES
}
GRIDS = [grid for curve in CURVES.values() for grid in curve]
FLIPS = {Grid(8): (1, 2, 3), Grid(4): (1, 2)}  # grid -> how many of the lowest bits are flipped


class Layers(NamedTuple):
    """One method's linear layers of several replicates, which can be asked for their metric."""

    weights: Tensor  # (replicates, 1 output channel, inputs)
    metric: Callable[[Tensor], np.ndarray]  # of weights like these: (replicates,), float64


def linear_layer(runs: linear.Runs, view: View, noise: Tensor) -> Layers:
    """The paper's layer of ten weights, trained by a method."""
    v = runs.trained(view, noise).double()
    return Layers(v[:-1].T[:, None].contiguous(), partial(unexplained, runs.test, v[-1:]))


def unexplained(test: linear.Moments, bias: Tensor, weights: Tensor) -> np.ndarray:
    """Mean squared error over the variance of the target: (replicates,)."""
    return (test.loss(torch.cat([weights[:, 0].T, bias])) / test.variance).numpy()


READERS = (*MODELS, *SMALL)  # networks that can be asked
MODEL_NAMES = (LINEAR, *READERS)  # in results files


class Cell(NamedTuple):
    """What is measured: models of one kind, trained by a method, rounded to a grid."""

    dataset: str
    model: str  # LINEAR, or a name in READERS
    method: str
    grid: Grid

    @property
    def metric(self) -> str:
        if self.model == LINEAR:
            return "unexplained"
        return "cross_entropy" if self.model in MODELS else "bits_per_character"

    @property
    def row(self) -> dict[str, str]:
        return {"dataset": self.dataset, "model": self.model, "method": self.method}


def asked() -> list[str]:
    """Methods of networks that are asked: of the linear layer, and the one studied at any scale."""
    return [*methods.named(lambda method: method.layer or preset(method)[0] is noise.t0_qat)]


def on_layer(settings: dict[str, float]) -> dict[str, View]:
    """Those of the linear layer that are asked, with these settings: tuning belongs to networks."""
    names = [name for name in asked() if not REGISTRY[name].strength]
    return {name: REGISTRY[name].build() for name in names} | methods.build(**settings)


class Measured(NamedTuple):
    """A trained model on one grid, of each replicate: float64 arrays with replicates last."""

    full_precision: np.ndarray  # metric before rounding
    metric: np.ndarray  # after it
    log_step: np.ndarray  # log2 of the geometric mean of all channels' steps, units of the weights
    flipped: np.ndarray  # (flips, replicates): metric with the lowest bits flipped as FLIPS says

    @classmethod
    def joined(cls, parts: Iterable[Sequence], join: Callable) -> "Measured":
        """Of these fields of single replicates, with np.stack, or of batches, with np.concatenate."""
        *columns, flipped = (join(column, -1) for column in zip(*parts, strict=True))
        return cls(*columns, flipped.reshape(-1, len(columns[0])))


def flip(codes: Tensor, bits: int) -> Tensor:
    """Codes with their lowest bits inverted in two's complement: flip(tensor([-1., 4.]), 2) is [-4, 7].

    A code of more bits than that keeps its sign, so it stays within its full range, and moves by at most
    2**bits - 1.
    """
    return (codes.int() ^ (2**bits - 1)).to(codes)


def measure(layers: Layers, grid: Grid) -> Measured:
    """The metric on a grid, as it is and with flipped bits, and the grid's step."""
    codes, step = quantize(layers.weights, grid)
    log_step = step.flatten(1).double().log2().mean(1).numpy()
    flipped = [layers.metric(flip(codes, k) * step) for k in FLIPS.get(grid, ())]
    flipped = np.reshape(flipped, (-1, len(log_step)))
    return Measured(layers.metric(layers.weights), layers.metric(codes * step), log_step, flipped)


def every_grid(network: Learner, *, method: str, **judged: int) -> list[list]:
    """What a network is asked: rows [full precision, metric, log2 of the step, metrics with flips].

    One row for each grid of CURVES, in its order; each is what Measured has of one replicate.
    """
    weights = quantized(dict(network.net.named_parameters()))
    full, found = network.criterion(network.net, **judged), []
    for on in GRIDS:
        codes = {name: Coded(*quantize(w.detach().flatten(1), on)) for name, w in weights.items()}

        def metric(bits: int = 0, codes=codes) -> float:
            seen = {name: c._replace(codes=flip(c.codes, bits)) for name, c in codes.items()}
            return network.criterion(rounded(network.net, seen if bits else codes), **judged)

        steps = torch.cat([c.step.flatten() for c in codes.values()]).double()
        flipped = [metric(bits) for bits in FLIPS.get(on, ())]
        found.append([full, metric(), steps.log2().mean().item(), flipped])
    return found


@pin.one_thread()
def layers_on_grids(runs: linear.Runs, views: dict[str, View]) -> list[Measured]:
    """The linear layers of each method in turn, on each of GRIDS."""
    noise = runs.noise()
    layers = [linear_layer(runs, view, noise) for view in views.values()]
    return [measure(layer, grid) for layer in layers for grid in GRIDS]


@set_up()
def curves(
    *,
    replicates: int,
    network_replicates: int,
    few_replicates: int,
    setup: Setup,
    readers: Sequence[str] = ("mlp", "deep_cnn", *SMALL),
    dataset: str = "digits",
    corpus: str = corpora.DEFAULT,
    network_epochs: int = 12,
    trainings: int = 23,
    text_trainings: int = 25,
    pretraining_steps: int = 2000,
    steps: int = 96,
    device: str = "auto",
    **settings: float,
) -> dict[Cell, Measured]:
    """Every model and method on every grid of 1 to 16 bits, in one process a processor core.

    readers: names in READERS; dataset: what image models read; corpus: what language models read; the
    linear layer is trained on all of tasks.TASKS. Of networks, image models have network_replicates, or
    few_replicates where vision.plan has, and language models have few_replicates; network_epochs,
    trainings, text_trainings, pretraining_steps and steps are what the two plans call epochs and so on.

    All methods of a replicate share data, initialization and training draws. A replicate's numbers do
    not depend on the number of processes. Raises ParameterError before computing.
    """
    images, texts = plans(locals() | {"seed": setup.seed})
    cells = _linear_layers(replicates, setup, settings)
    cells |= _networks(images) if images else {}
    return cells | (_networks(texts.begun()) if texts else {})


def plans(given: dict[str, Any]) -> tuple[Jobs | None, language.Plan | None]:
    """What the benchmarks plan for the networks that these parameters of `curves` name."""
    names = each_known("readers", given["readers"], READERS)
    shared = {name: given[name] for name in ("seed", "device")}
    few, images, texts = given["few_replicates"], None, None
    others = [method for method in asked() if method != "no_noise"]  # which always runs
    if models := [name for name in names if name in MODELS]:
        images = vision.plan(
            dataset=given["dataset"], models=models, few_models=[], methods=others,
            replicates=given["network_replicates"], few_replicates=few,
            epochs=given["network_epochs"], trainings=given["trainings"], **shared,
        )  # fmt: skip
    if models := [name for name in names if name in SMALL]:
        others = [method for method in others if REGISTRY[method].text]
        texts = language.plan(
            corpus=given["corpus"], models=models, few_models=[], groups=[], everything=[],
            methods=others, replicates=few, trainings=given["text_trainings"],
            pretraining_steps=given["pretraining_steps"], steps=given["steps"], **shared,
        )  # fmt: skip
    return images, texts


def _linear_layers(replicates: int, setup: Setup, settings: dict[str, float]) -> dict[Cell, Measured]:
    batches = in_batches(_batch, CODE, replicates, setup, settings=settings)
    keys = itertools.product(TASKS, [LINEAR], on_layer(settings), GRIDS)
    return {
        Cell(*key): Measured.joined(parts, np.concatenate)
        for key, parts in zip(keys, zip(*batches, strict=True), strict=True)
    }


def _batch(first: int, stop: int, setup: dict, settings: dict[str, float]) -> list[list]:
    """What `layers_on_grids` gives of each of TASKS, replicates first ... stop - 1."""
    every = (Setup(**setup).runs(dataset, range(first, stop)) for dataset in TASKS)
    return [
        [part.tolist() for part in parts]
        for runs in every
        for parts in layers_on_grids(runs, on_layer(settings))
    ]


def _networks(jobs: Jobs) -> dict[Cell, Measured]:
    """The benchmark's trained networks, tuned and judged as there, each asked on every grid."""
    _, _, settings = tuned(jobs)
    tests = [(arm, i) for arm in settings for i in range(jobs.replicates[arm])]
    cells = [jobs.cell(every_grid, arm, settings[arm], i) for arm, i in tests]
    found: dict[Arm, list] = {}
    for (arm, _), rows in zip(tests, grid.run(cells, "networks"), strict=True):
        found.setdefault(arm, []).append(rows)
    return {
        Cell(arm.dataset, arm.model, arm.method, on): Measured.joined(parts, np.stack)
        for arm, replicates in found.items()
        for on, parts in zip(GRIDS, zip(*replicates, strict=True), strict=True)
    }
