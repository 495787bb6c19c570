"""The metric of a trained model against the bits of its weights: curves, knees, flipped low bits.

The metric is a loss, so lower is better. Regression: mean squared error on the test part over the
variance of its target, the share that stays unexplained. Images: the share of wrong test images.
Every weight is quantized, one step an output channel; biases stay in full precision. To add a task,
write a function of (replicates, views, settings) that trains it and add its line to SUBJECTS.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from t0qat import (
    constants,
    grid,
    linear,
    methods,
    models,
    quantizers,
    statistics,
    streams,
    tasks,
    training,
)
from t0qat.arms import listed
from t0qat.constants import FEATURES, XI, XI_SCALING
from t0qat.experiments import Cell
from t0qat.methods import View
from t0qat.parameters import checked
from t0qat.quantizers import CODES, SCALES, Grid, quantize
from t0qat.streams import stream
from t0qat.tasks import IMAGES, TASKS, Data

# What the cells of this module's grid depend on.
CODE = sys.modules[__name__], constants, linear, methods, models, quantizers, streams, tasks, training
BITS = range(1, 17)
CURVES = {  # (range, scale) -> its grids, bits rising
    (r, s): [Grid(b, r, s) for b in BITS if (r, b) != ("narrow", 1)] for r in CODES for s in SCALES
}
KNEE_MARGIN = 0.01  # of the metric: a hundredth of the variance, or one image in a hundred
FLIPS = {Grid(8): (1, 2, 3), Grid(4): (1, 2)}  # grid -> how many of the lowest bits are flipped


class Trained(NamedTuple):
    """One method's models of several replicates, as something that can be asked for its metric."""

    weights: list[Tensor]  # one a layer: (replicates, output channels, inputs)
    metric: Callable[[list[Tensor]], np.ndarray]  # of weights like these: (replicates,), float64


def linear_layer(dataset: str, replicates: range, views: dict[str, View], settings: dict) -> dict:
    """The paper's layer of ten weights on a regression task: method -> Trained, one channel."""
    options = {k: settings[k] for k in ("target", "target_noise") if dataset == "synthetic"}
    seed, shape = settings["seed"], (settings["epochs"], FEATURES + 1)
    train, test = linear.moments(TASKS[dataset](i, seed, **options) for i in replicates)
    start = linear.initial(FEATURES, replicates, seed)
    noise = linear.noise_draws("training_noise", replicates, shape, seed)
    trained = {}
    for method, view in views.items():
        v = linear.train(train, start, view, noise, settings["learning_rate"]).double()
        metric = partial(unexplained, test, v[-1:])
        trained[method] = Trained([v[:-1].T[:, None].contiguous()], metric)
    return trained


def unexplained(test: linear.Moments, bias: Tensor, weights: list[Tensor]) -> np.ndarray:
    """Mean squared error over the variance of the target: (replicates,)."""
    return (test.loss(torch.cat([weights[0][:, 0].T, bias])) / test.variance).numpy()


def network(
    dataset: str,
    build: Callable[[np.random.Generator], nn.Module],
    replicates: range,
    views: dict[str, View],
    settings: dict,
) -> dict:
    """A network trained with cross-entropy on all images at once: method -> Trained."""
    seed = settings["seed"]
    data = [IMAGES[dataset](i, seed) for i in replicates]
    trained = {}
    for method, view in views.items():
        nets = [
            training.train(
                build(stream("initialization", i, seed)),
                torch.from_numpy(part.inputs),
                torch.from_numpy(part.target),
                view,
                methods.noise_from(stream("training_noise", i, seed)),
                epochs=settings["network_epochs"],
                learning_rate=settings["network_learning_rate"],
                loss=cross_entropy,
            ).requires_grad_(False)
            for i, part in zip(replicates, data, strict=True)
        ]
        layers = zip(
            *([p.flatten(1) for p in net.parameters() if p.ndim > 1] for net in nets), strict=True
        )
        trained[method] = Trained([*map(torch.stack, layers)], partial(share_wrong, nets, data))
    return trained


def share_wrong(nets: list[nn.Module], data: list[Data], weights: list[Tensor]) -> np.ndarray:
    """Share of test images that each net, with these weights and its own biases, names wrongly."""
    names = {name: p.shape for name, p in nets[0].named_parameters() if p.ndim > 1}
    shares = []
    for i, (net, part) in enumerate(zip(nets, data, strict=True)):
        seen = {name: w[i].view(names[name]) for name, w in zip(names, weights, strict=True)}
        answers = functional_call(net, seen, torch.from_numpy(part.test_inputs)).argmax(1)
        shares.append(np.mean(answers.numpy() != part.test_target))
    return np.array(shares)


class Subject(NamedTuple):
    """What is trained on a data set, and how it is shared out to processes."""

    train: Callable[[range, dict[str, View], dict[str, Any]], dict[str, Trained]]
    metric: str  # what its metric is, as figures call it
    number: str  # the parameter that says how many replicates
    batch: int  # replicates a process takes at once


SUBJECTS = {
    name: Subject(partial(linear_layer, name), "Unexplained variance", "replicates", 250)
    for name in TASKS
}
# Networks that read the digits, by the data set under which their results stand.
READERS = {"mlp": "digits", "small_cnn": "digits_small_cnn"}
SUBJECTS |= {
    dataset: Subject(
        partial(network, "digits", models.MODELS[model]),
        "Share of wrong images",
        "replicates_networks",
        2,
    )
    for model, dataset in READERS.items()
}


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


def measure(trained: Trained, grid: Grid) -> Measured:
    """The metric on a grid, as it is and with flipped bits, and the grid's step."""
    codes, steps = zip(*(quantize(w, grid) for w in trained.weights), strict=True)

    def metric(codes):
        return trained.metric([code * step for code, step in zip(codes, steps, strict=True)])

    log_step = torch.cat([step.flatten(1) for step in steps], 1).double().log2().mean(1).numpy()
    flipped = [metric([flip(code, k) for code in codes]) for k in FLIPS.get(grid, ())]
    flipped = np.reshape(flipped, (-1, len(log_step)))
    return Measured(trained.metric(trained.weights), metric(codes), log_step, flipped)


@linear.one_thread()
def measure_batch(dataset: str, replicates: range, views: dict[str, View], settings: dict) -> dict:
    """Train one batch of replicates and measure it on every grid: Cell -> Measured."""
    trained = SUBJECTS[dataset].train(replicates, views, settings)
    grids = [grid for curve in CURVES.values() for grid in curve]
    return {Cell(dataset, m, grid): measure(t, grid) for m, t in trained.items() for grid in grids}


@checked
def curves(
    *,
    replicates: int,
    replicates_networks: int,
    readers: str = ", ".join(READERS),
    seed: int = 0,
    target: str = "sum",
    target_noise: float = 0.1,
    xi_scaling: float = XI_SCALING,
    baseline_noise: float = 0.4,
    epochs: int = 300,
    learning_rate: float = 0.005,
    network_epochs: int = 100,
    network_learning_rate: float = 0.01,
) -> dict[Cell, Measured]:
    """Every subject, method and variant on every grid of 1 to 16 bits, in one process a processor core.

    readers: names in READERS, with commas.

    All methods of a replicate share data, initialization and training draws. A replicate's numbers do
    not depend on the number of processes. Raises ParameterError before computing.
    """
    settings = dict(locals())
    left_out = {*READERS.values()} - {READERS[name] for name in listed("readers", readers, READERS)}
    batches = [
        {"dataset": dataset, "first": i, "stop": min(i + subject.batch, settings[subject.number])}
        for dataset, subject in SUBJECTS.items()
        if dataset not in left_out
        for i in range(0, settings[subject.number], subject.batch)
    ]
    # More replicates and networks change none of the others.
    numbers = {"readers", *(subject.number for subject in SUBJECTS.values())}
    settings = {name: value for name, value in settings.items() if name not in numbers}
    parts = {}
    for rows in grid.run(
        [grid.Cell(_batch, b | {"settings": settings}, CODE) for b in batches], "batches"
    ):
        for dataset, method, options, measured in rows:
            parts.setdefault(Cell(dataset, method, Grid(**options)), []).append(measured)
    joined = {
        cell: [np.concatenate(column, -1) for column in zip(*p, strict=True)]
        for cell, p in parts.items()
    }
    return {cell: Measured(*m, flips.reshape(-1, len(m[0]))) for cell, (*m, flips) in joined.items()}


def _batch(dataset: str, first: int, stop: int, settings: dict) -> list[list]:
    """What measure_batch says of replicates first ... stop - 1, with every method and variant."""
    noises = {name: settings[name] for name in ("xi_scaling", "baseline_noise")}
    views = methods.build(**noises)
    views |= {name: variant.build() for name, variant in methods.VARIANTS.items()}
    measured = measure_batch(dataset, range(first, stop), views, settings)
    return [
        [*cell[:2], vars(cell.grid), [part.tolist() for part in parts]]
        for cell, parts in measured.items()
    ]


def metrics(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """Columns dataset, method, bits, range, scale, quantity (metric), mean, ci_low, ci_high, n."""
    rows = [
        {"dataset": cell.dataset, "method": cell.method, **vars(cell.grid), "quantity": "metric"}
        | statistics.mean_interval(measured.metric)
        for cell, measured in cells.items()
    ]
    return pd.DataFrame(rows)


def full_precision(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """Mean metric before rounding: columns dataset, method, mean, ci_low, ci_high, n."""
    rows = [
        {"dataset": cell.dataset, "method": cell.method}
        | statistics.mean_interval(measured.full_precision)
        for cell, measured in cells.items()
        if cell.grid == Grid(16)
    ]
    return pd.DataFrame(rows)


def knee(excess: np.ndarray) -> np.ndarray:
    """Fewest bits from which on the metric exceeds full precision by at most KNEE_MARGIN: (replicates,).

    excess: (replicates, widths), metric minus that of full precision, bits rising to BITS[-1]. Where the
    widest grid exceeds it too: BITS[-1] + 1.
    """
    from_the_widest = np.cumprod(excess[:, ::-1] <= KNEE_MARGIN, axis=1)
    return BITS[-1] + 1 - from_the_widest.sum(1)


def bits_of_step(log_step: np.ndarray, step: float) -> np.ndarray:
    """Bits, as a real number, at which a grid's step equals the given one: (replicates,).

    log_step: (replicates, widths), log2 of the steps, bits rising to BITS[-1]. Linear in bits between
    neighbouring widths, of which the last with a step as large is taken; continued beyond both ends.
    """
    widths, wanted = log_step.shape[1], np.log2(step)
    larger = np.where(log_step >= wanted, np.arange(widths), 0).max(1, keepdims=True)
    left = np.minimum(larger, widths - 2)
    here, there = (np.take_along_axis(log_step, at, 1)[:, 0] for at in (left, left + 1))
    return BITS[-1] + 1 - widths + left[:, 0] + (wanted - here) / (there - here)


def knees(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """Where accuracy starts to fall, and where the grid's step equals xi, in bits.

    Columns dataset, method, range, scale, quantity, estimate, ci_low, ci_high, n. Quantities, each the
    mean over replicates: knee; xi_bits (bits_of_step at xi); difference (xi_bits - knee), and distance,
    its absolute value in each replicate.
    """
    rows = []
    for dataset, method in dict.fromkeys(cell[:2] for cell in cells):
        for (codes, scale), grids in CURVES.items():
            curve = [cells[Cell(dataset, method, grid)] for grid in grids]
            fall = knee(np.stack([point.metric - point.full_precision for point in curve], -1))
            at_xi = bits_of_step(np.stack([point.log_step for point in curve], -1), XI)
            values = {"knee": fall, "xi_bits": at_xi, "difference": at_xi - fall}
            values["distance"] = np.abs(values["difference"])
            rows += [
                {"dataset": dataset, "method": method, "range": codes, "scale": scale, "quantity": name}
                | statistics.mean_interval(value)
                for name, value in values.items()
            ]
    return pd.DataFrame(rows).rename(columns={"mean": "estimate"})


def added_by_flips(cells: dict[Cell, Measured]) -> dict[tuple[Cell, int], np.ndarray]:
    """(Cell, flipped bits) -> metric with flips minus metric without: (replicates,)."""
    return {
        (cell, k): metric - measured.metric
        for cell, measured in cells.items()
        for k, metric in zip(FLIPS.get(cell.grid, ()), measured.flipped, strict=True)
    }


def flips_added(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """What flips add to the metric: dataset, method, bits, flipped, mean, ci_low, ci_high, n."""
    rows = [
        {"dataset": cell.dataset, "method": cell.method, "bits": cell.grid.bits, "flipped": k}
        | statistics.mean_interval(added)
        for (cell, k), added in added_by_flips(cells).items()
    ]
    return pd.DataFrame(rows)


def flips(cells: dict[Cell, Measured], method: str = "t0_qat") -> pd.DataFrame:
    """What flips add with one method minus what they add with every other, replicate by replicate.

    Columns dataset, bits, flipped, method, other, estimate, ci_low, ci_high, n, p_holm (two-sided paired
    t-test, Holm's correction over all rows), detectable.
    """
    added, rows = added_by_flips(cells), []
    for (cell, k), theirs in added.items():
        if cell.method != method:
            pair = added[cell._replace(method=method), k], theirs
            rows.append(
                {"dataset": cell.dataset, "bits": cell.grid.bits, "flipped": k}
                | {"method": method, "other": cell.method}
                | statistics.paired_difference(*pair)
            )
    return statistics.corrected(rows)
