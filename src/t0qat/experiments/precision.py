"""The metric of a trained model against the bits of its weights: curves, knees, flipped low bits.

The metric is a loss, so lower is better. Regression: mean squared error on the test part over the
variance of its target, the share that stays unexplained. Images: mean cross entropy in nats, at most
that of a guess. Text: bits per character. Every weight is quantized, one step an output channel; biases
stay in full precision. Linear layers are trained here, many at once; networks are those that the
benchmarks train (rooms `vision`, `language`), asked. To add a regression task, add its line to
tasks.TASKS.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from t0qat.experiments import language, trained, tuning, vision
from t0qat.experiments.arms import LINEAR, each_known
from t0qat.experiments.benchmark import Jobs, tuned
from t0qat.experiments.settings import checked
from t0qat.pipeline import grid, pin
from t0qat.quantization import quantizers
from t0qat.quantization.layers import quantized
from t0qat.quantization.quantizers import CODES, SCALES, Grid, quantize
from t0qat.quantization.rounding import rounded
from t0qat.training import constants, corpora, linear, methods, streams, tasks
from t0qat.training.language_models import SMALL
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


def linear_layer(dataset: str, replicates: range, views: dict[str, View], given: dict) -> dict:
    """The paper's layer of ten weights on a regression task: method -> Layers."""
    options = {name: given[name] for name in ("target", "target_noise")}
    runs = linear.runs(dataset, replicates, given["seed"], **options)
    noise, trained = runs.noise(given["epochs"]), {}
    for method, view in views.items():
        v = linear.train(runs.train, runs.start, view, noise, given["learning_rate"]).double()
        weights = v[:-1].T[:, None].contiguous()
        trained[method] = Layers(weights, partial(unexplained, runs.test, v[-1:]))
    return trained


def unexplained(test: linear.Moments, bias: Tensor, weights: Tensor) -> np.ndarray:
    """Mean squared error over the variance of the target: (replicates,)."""
    return (test.loss(torch.cat([weights[:, 0].T, bias])) / test.variance).numpy()


BATCH = 250  # linear layers that a process trains at once
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
    """Methods of networks that are asked: those of the linear layer, and forms of the one studied."""
    return [*methods.named(lambda method: method.layer or method.studied)]


def on_layer() -> list[str]:
    """Those of the linear layer that are asked: tuning belongs to networks."""
    return [name for name in asked() if not methods.REGISTRY[name].strength]


class Measured(NamedTuple):
    """A trained model on one grid, of each replicate: float64 arrays with replicates last."""

    full_precision: np.ndarray  # metric before rounding
    metric: np.ndarray  # after it
    log_step: np.ndarray  # log2 of the geometric mean of all channels' steps, units of the weights
    flipped: np.ndarray  # (flips, replicates): metric with the lowest bits flipped as FLIPS says


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


def every_grid(network: trained.Trained, *, method: str, **judged: int) -> list[list]:
    """What a network is asked: rows [full precision, metric, log2 of the step, metrics with flips].

    One row for each grid of CURVES, in its order; each is what Measured has of one replicate.
    """
    weights = quantized(dict(network.net.named_parameters()))
    full, found = network.loss(network.net, **judged), []
    for on in GRIDS:
        codes = {name: quantize(w.detach().flatten(1), on) for name, w in weights.items()}

        def metric(bits: int = 0, codes=codes) -> float:
            seen = {name: (flip(c, bits) if bits else c, step) for name, (c, step) in codes.items()}
            return network.loss(rounded(network.net, seen), **judged)

        steps = torch.cat([step.flatten() for _, step in codes.values()]).double()
        flipped = [metric(bits) for bits in FLIPS.get(on, ())]
        found.append([full, metric(), steps.log2().mean().item(), flipped])
    return found


@pin.one_thread()
def measure_batch(dataset: str, replicates: range, views: dict[str, View], given: dict) -> dict:
    """Train linear layers of some replicates and measure them on every grid: Cell -> Measured."""
    trained = linear_layer(dataset, replicates, views, given)
    return {
        Cell(dataset, LINEAR, m, grid): measure(t, grid) for m, t in trained.items() for grid in GRIDS
    }


@checked
def curves(
    *,
    replicates: int,
    network_replicates: int,
    few_replicates: int,
    readers: Sequence[str] = ("mlp", "small_cnn", *SMALL),
    dataset: str = "digits",
    corpus: str = corpora.DEFAULT,
    seed: int = 0,
    target: str = "sum",
    target_noise: float = 0.1,
    epochs: int = 300,
    learning_rate: float = 0.005,
    network_epochs: int = 8,
    trainings: int = 28,
    pretraining_steps: int = 1000,
    steps: int = 64,
    device: str = "auto",
    **settings: float,
) -> dict[Cell, Measured]:
    """Every model and method on every grid of 1 to 16 bits, in one process a processor core.

    readers: names in READERS; dataset: what image models read; corpus: what language models read; the
    linear layer is trained on all of tasks.TASKS. Of networks, image models have network_replicates, or
    few_replicates where the noise is loud, and language models have few_replicates; network_epochs,
    trainings, pretraining_steps and steps are what vision.plan and language.plan call epochs and so on.

    All methods of a replicate share data, initialization and training draws. A replicate's numbers do
    not depend on the number of processes. Raises ParameterError before computing.
    """
    given = dict(locals())
    images, texts = plans(given)
    cells = _linear_layers(given)
    cells |= _networks(images) if images else {}
    return cells | (_networks(texts.begun()) if texts else {})


def plans(given: dict[str, Any]) -> tuple[Jobs | None, language.Plan | None]:
    """What the benchmarks plan for the networks that these parameters of `curves` name."""
    names = each_known("readers", given["readers"], READERS)
    shared = {name: given[name] for name in ("trainings", "seed", "device")}
    few, images, texts = given["few_replicates"], None, None
    others = [method for method in asked() if method != "no_noise"]  # which always runs
    if models := [name for name in names if name in MODELS]:
        images = vision.plan(
            dataset=given["dataset"], models=models, few_models=[], methods=others,
            replicates=given["network_replicates"], few_replicates=few,
            epochs=given["network_epochs"], **shared,
        )  # fmt: skip
    if models := [name for name in names if name in SMALL]:
        others = [method for method in others if methods.REGISTRY[method].text]
        texts = language.plan(
            corpus=given["corpus"], models=models, groups=[], everything=[], methods=others,
            replicates=few, pretraining_steps=given["pretraining_steps"], steps=given["steps"], **shared,
        )  # fmt: skip
    return images, texts


def _linear_layers(given: dict[str, Any]) -> dict[Cell, Measured]:
    count = given["replicates"]
    batches = [
        {"dataset": dataset, "first": i, "stop": min(i + BATCH, count)}
        for dataset in TASKS
        for i in range(0, count, BATCH)
    ]
    # More replicates change none of the others.
    used = ("seed", "target", "target_noise", "settings", "epochs", "learning_rate")
    shared = {"given": {name: given[name] for name in used}}
    parts = {}
    for rows in grid.run([grid.Cell(_batch, b | shared, CODE) for b in batches], "batches"):
        for *names, options, measured in rows:
            parts.setdefault(Cell(*names, Grid(**options)), []).append(measured)
    joined = {
        cell: [np.concatenate(column, -1) for column in zip(*p, strict=True)]
        for cell, p in parts.items()
    }
    return {cell: Measured(*m, flips.reshape(-1, len(m[0]))) for cell, (*m, flips) in joined.items()}


def _networks(jobs: Jobs) -> dict[Cell, Measured]:
    """The benchmark's trained networks, tuned and judged as there, each asked on every grid."""
    _, _, settings = tuned(jobs)
    asked = [
        (
            arm,
            trained.asked(
                every_grid,
                jobs.training(arm, setting, i, "test"),
                arm.method,
                sys.modules[__name__],
                **jobs.judged,
            ),
        )
        for arm, setting in settings.items()
        for i in range(jobs.replicates[arm])
    ]
    found: dict[tuning.Arm, list] = {}
    for (arm, _), rows in zip(asked, grid.run([cell for _, cell in asked], "networks"), strict=True):
        found.setdefault(arm, []).append(rows)
    return {
        Cell(arm.dataset, arm.model, arm.method, on): Measured(
            *(np.array([rows[place][column] for rows in replicates]) for column in range(3)),
            np.array([rows[place][3] for rows in replicates]).T.reshape(-1, len(replicates)),
        )
        for arm, replicates in found.items()
        for place, on in enumerate(GRIDS)
    }


def _batch(dataset: str, first: int, stop: int, given: dict) -> list[list]:
    """What measure_batch says of replicates first ... stop - 1, with every method and variant."""
    views = {name: methods.REGISTRY[name].build() for name in on_layer()}
    views |= methods.build(**given["settings"])
    measured = measure_batch(dataset, range(first, stop), views, given)
    return [
        [*cell[:3], vars(cell.grid), [part.tolist() for part in parts]]
        for cell, parts in measured.items()
    ]
