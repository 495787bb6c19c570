"""Experiments: parameters in, tidy tables out, one row a reported quantity."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from t0qat.experiments.settings import set_up
from t0qat.pipeline import pin, statistics
from t0qat.quantization.quantizers import CODES, SCALES, Grid, fake_quantize
from t0qat.training import constants, methods
from t0qat.training.constants import REPORTED, REPORTED_REDUCTION
from t0qat.training.linear import Moments, Setup
from t0qat.training.tasks import TASKS

QUANTITIES = ("full_precision", "quantized", "drop")


class Losses(NamedTuple):
    """Losses before and after quantization, of each replicate: arrays (replicates,), float64."""

    full_precision: np.ndarray
    quantized: np.ndarray

    @property
    def drop(self) -> np.ndarray:
        """How much quantization adds to the loss."""
        return self.quantized - self.full_precision


def disturbed(test: Moments, trained: Tensor, shift: Tensor) -> Losses:
    """Losses before and after a shift of all parameters, (d, replicates) like them."""
    return Losses(test.loss(trained).numpy(), test.loss(trained + shift).numpy())


@set_up()
@pin.one_thread()
def published(
    *, replicates: int, setup: Setup, evaluation_noise: float | str = "reported", **settings: float
) -> tuple[dict[str, Losses], dict[str, Losses]]:
    """The paper's experiment, repeated: losses of each method under noise on weights and bias.

    Returns two runs on the same data and initialization. In the first, all methods share their
    training and evaluation draws, for precise comparison; the second has training and evaluation
    draws of its own, so a method from one run and a method from the other are as independent as two
    separate trainings on one data set. Raises ParameterError before computing.
    """
    evaluation_noise = constants.evaluation_noise(evaluation_noise)
    views = methods.build(**settings)
    found = [{name: [] for name in views} for _ in range(2)]
    for runs in setup.batches("synthetic", replicates):
        for losses, run in zip(found, ("", "second_"), strict=True):
            noise, shift = runs.noise(run), runs.shift(run)
            for name, view in views.items():
                trained = runs.trained(view, noise)
                losses[name].append(disturbed(runs.test, trained, evaluation_noise * shift))
    return tuple({name: joined(parts) for name, parts in losses.items()} for losses in found)


def joined(parts) -> Losses:
    """The losses of all replicates from those of parts of them."""
    return Losses(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def table1(run: dict[str, Losses], evaluation_noise: float | str = "reported") -> pd.DataFrame:
    """Each method's losses over replicates beside the reported ones: one row (method, quantity).

    evaluation_noise: that of the run. Columns: method, quantity, evaluation_noise, reported (nan where
    the paper has none), mean, std, ci_low, ci_high (95 % interval of the mean), q025, median, q975
    (points of single runs), reported_percentile (of the reported value among single runs, 0 to 100), n.
    Losses are mean squared errors.
    """
    rows = []
    for method, losses in run.items():
        for quantity in QUANTITIES:
            values = getattr(losses, quantity)
            row = {"method": method, "quantity": quantity}
            row["reported"] = REPORTED.get(method, {}).get(quantity, np.nan)
            row["evaluation_noise"] = constants.evaluation_noise(evaluation_noise)
            row |= statistics.mean_interval(values) | statistics.spread(values)
            row["reported_percentile"] = statistics.percentile(values, row["reported"])
            rows.append(row)
    return pd.DataFrame(rows)


def table1_paired(first: dict[str, Losses], second: dict[str, Losses]) -> pd.DataFrame:
    """T0-QAT against Standard QAT: columns quantity, estimate, ci_low, ci_high, n.

    drop_difference: mean of T0-QAT's drop minus Standard QAT's, all draws shared.
    chance_of_reported_reduction: how often a run of each, drawn separately, shows a drop that is
    smaller by the reported fraction or more. chance_t0_worse_quantized: how often T0-QAT then ends
    with the larger quantized loss. Intervals: Student's t for the mean, Wilson's for the chances.
    """
    standard, t0, separate = first["standard_qat"], first["t0_qat"], second["t0_qat"]
    rows = {
        "drop_difference": statistics.paired_difference(t0.drop, standard.drop),
        "chance_of_reported_reduction": statistics.chance(reduced(standard.drop, separate.drop)),
        "chance_t0_worse_quantized": statistics.chance(separate.quantized > standard.quantized),
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity").reset_index()
    return table[["quantity", "estimate", "ci_low", "ci_high", "n"]]


def table1_same_method(first: dict[str, Losses], second: dict[str, Losses]) -> pd.DataFrame:
    """How often two runs of one method, drawn separately, differ by the reported reduction or more.

    What luck alone does: columns method, estimate, ci_low, ci_high, n.
    """
    return pd.DataFrame(
        {"method": method} | statistics.chance(reduced(losses.drop, second[method].drop))
        for method, losses in first.items()
    )


def reduced(drop: np.ndarray, other: np.ndarray, fraction: float = REPORTED_REDUCTION) -> np.ndarray:
    """Where the other drop is smaller by that fraction or more: (replicates,), bool."""
    return (drop > 0) & (other <= (1 - fraction) * drop)


class Cell(NamedTuple):
    """What was trained on what, and the integer grid it was rounded to."""

    dataset: str
    method: str
    grid: Grid


# Scale rules that means over grids are taken over: a list, so that a new rule changes no claim.
AVERAGED = ("absmax", "mse")


def all_grids(bits: Iterable[int], scales: Iterable[str] = SCALES) -> list[Grid]:
    """Every range at each of these bit-widths, by each of these scale rules."""
    pairs = [(b, r) for b in bits for r in CODES if (r, b) != ("narrow", 1)]
    return [Grid(b, r, s) for b, r in pairs for s in scales]


def rounded(trained: Tensor, grid: Grid) -> Tensor:
    """Parameters (d, ..., replicates) with one grid for the weights; the bias, last, as it is."""
    weights = trained[:-1].movedim(0, -1).contiguous()
    return torch.cat([fake_quantize(weights, grid).movedim(-1, 0), trained[-1:]])


@set_up()
@pin.one_thread()
def integer_grids(
    *, replicates: int, setup: Setup, bits: Sequence[int] = (8, 4, 3, 2), **settings: float
) -> dict[Cell, Losses]:
    """Losses before and after the trained weights are rounded to each integer grid.

    Every range and scale rule of the quantizer room at every bit-width, on both data sets, all
    methods on the same data, initialization and draws. One grid for the ten weights; the bias stays
    in full precision, as integer inference keeps it. Loss on the test part: held out for diabetes,
    the training data for the synthetic task, which has no split. Raises ParameterError first.
    """
    views, grids, parts = methods.build(**settings), all_grids(bits), {}
    for dataset in TASKS:
        for runs in setup.batches(dataset, replicates):
            noise = runs.noise()
            for method, view in views.items():
                trained = runs.trained(view, noise).double()
                for grid in grids:
                    losses = runs.test.loss(trained), runs.test.loss(rounded(trained, grid))
                    parts.setdefault(Cell(dataset, method, grid), []).append(losses)
    return {cell: joined(losses) for cell, losses in parts.items()}


def grid_losses(cells: dict[Cell, Losses]) -> pd.DataFrame:
    """Mean losses: columns dataset, method, bits, range, scale, quantity, mean, ci_low, ci_high, n."""
    return pd.DataFrame(
        {"dataset": cell.dataset, "method": cell.method, **vars(cell.grid), "quantity": quantity}
        | statistics.mean_interval(getattr(losses, quantity))
        for cell, losses in cells.items()
        for quantity in QUANTITIES
    )


def grid_differences(cells: dict[Cell, Losses], method: str = "t0_qat") -> pd.DataFrame:
    """A method's losses minus every other method's on the same data, draws and grid.

    Columns dataset, bits, range, scale, quantity, method, other, estimate, ci_low, ci_high, n,
    p_holm (two-sided paired t-test, Holm's correction over all rows), detectable (the smallest
    difference that this n sees with 90 % power at the uncorrected 5 % level).
    """
    rows = []
    for cell, losses in cells.items():
        if cell.method == method:
            continue
        mine = cells[cell._replace(method=method)]
        for quantity in QUANTITIES[1:]:
            row = {"dataset": cell.dataset, **vars(cell.grid), "quantity": quantity}
            row |= {"method": method, "other": cell.method}
            pair = getattr(mine, quantity), getattr(losses, quantity)
            rows.append(row | statistics.paired_difference(*pair))
    return statistics.corrected(rows)


def grid_overall(
    cells: dict[Cell, Losses], method: str = "t0_qat", other: str = "standard_qat"
) -> pd.DataFrame:
    """One method's losses minus another's, averaged in each replicate over bit-widths and grids.

    The grids are those of the scale rules of AVERAGED, in every range.
    Columns dataset, quantity, method, other, estimate, ci_low, ci_high, n, detectable.
    """
    rows = []
    for dataset in TASKS:
        mine = [cell.grid for cell in cells if cell[:2] == (dataset, method)]
        grids = [grid for grid in mine if grid.scale in AVERAGED]
        for quantity in QUANTITIES[1:]:
            pair = [
                np.mean([getattr(cells[Cell(dataset, name, grid)], quantity) for grid in grids], axis=0)
                for name in (method, other)
            ]
            row = {"dataset": dataset, "quantity": quantity, "method": method, "other": other}
            rows.append(row | statistics.paired_difference(*pair))
    return pd.DataFrame(rows).drop(columns="p")
