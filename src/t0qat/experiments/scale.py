"""The scale of the training noise: swept, tuned, and taken from other constants.

Training sees only the product xi * xi_scaling, so a scaling is a standard deviation of the noise. Many
are trained at once, on an axis between the parameters and the replicates: each replicate has the same
data and draws at every scale, and the bits that it would have alone.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from t0qat.experiments import published
from t0qat.experiments.published import QUANTITIES, Losses, disturbed, rounded
from t0qat.experiments.settings import set_up
from t0qat.pipeline import grid, statistics
from t0qat.quantization import quantizers
from t0qat.quantization.quantizers import Grid
from t0qat.training import constants as physics
from t0qat.training import linear, methods, streams, tasks
from t0qat.training.constants import XI, XI_SCALING
from t0qat.training.linear import Moments, Setup
from t0qat.training.streams import stream
from t0qat.training.tasks import TASKS

SCALINGS = {"published": XI_SCALING, "xi_alone": 1.0}  # those with a name
FACTORS = (0.5, 2.0)  # their neighbours
LOWEST, HIGHEST = 0.1, 1e6  # of a sweep, besides 0
WIDTH = 8192  # scales x replicates a batch, at most: keeps the work in cache
SHARE = 250  # replicates a batch, at most: a thousand keep several processes busy
RESAMPLES = 2000  # of a bootstrap
TESTED = ("quantized", "full_precision")  # losses whose best scaling is sought

# What the cells of this module's grids depend on.
CODE = sys.modules[__name__], published, linear, *methods.CODE, physics, quantizers, streams, tasks


def in_batches(
    function: Callable, code: tuple, replicates: int, setup: Setup, width: int = 1, **more: Any
) -> list:
    """Results of a cell function for batches of replicates first ... stop - 1, in their order.

    It gets them, the setup as a dictionary, and what `more` is. width: how many trainings of a replicate
    run side by side. Few replicates are one batch, which is computed in this process: others would take
    longer to start.
    """
    largest = min(SHARE, WIDTH // width)
    arguments = more | {"setup": setup._asdict()}
    cells = [
        grid.Cell(function, arguments | {"first": batch.start, "stop": batch.stop}, code)
        for batch in linear.chunks(replicates, setup.epochs * linear.size(*TASKS), largest)
    ]
    return grid.run(cells, "batches")


def scalings(points: int) -> np.ndarray:
    """0, log-spaced values to four digits, and the named ones with their neighbours, ascending."""
    spaced = [float(f"{value:.4g}") for value in np.geomspace(LOWEST, HIGHEST, points)]
    named = [factor * scaling for scaling in SCALINGS.values() for factor in (1, *FACTORS)]
    return np.unique([0.0, *spaced, *named])


def unexplained(part: Moments, parameters: Tensor, grids: list[Grid]) -> Tensor:
    """Loss after rounding in units of the target's variance, mean over grids: (scales, replicates).

    1 is what predicting the mean of the part would leave.
    """
    exact = parameters.double()
    total = sum(part.beside.loss(rounded(exact, grid)) for grid in grids)
    return total / len(grids) / part.variance


class Sweep(NamedTuple):
    """Losses at every scaling: arrays (scalings, replicates); the target's variance: (replicates,)."""

    scalings: np.ndarray
    losses: Losses
    variance: np.ndarray

    def at(self, scaling: float) -> Losses:
        """The losses at one of the scalings."""
        (i,) = np.flatnonzero(self.scalings == scaling)
        return Losses(*(loss[i] for loss in self.losses))

    def quantity(self, name: str) -> np.ndarray:
        """One of SHOWN, (scalings, replicates): a loss, or 1 - loss / variance of the target."""
        if name.startswith("explained_"):
            return 1 - getattr(self.losses, name.removeprefix("explained_")) / self.variance
        return getattr(self.losses, name)


SHOWN = (*QUANTITIES, "explained_full_precision", "explained_quantized")


@set_up()
def sweep(
    *, replicates: int, setup: Setup, points: int = 43, evaluation_noise: float | str = "reported"
) -> Sweep:
    """The published experiment at every scaling of `scalings(points)`, data and draws shared.

    At 80000 the losses are those of T0-QAT in the first run of published.published, bit for bit.
    Raises ParameterError before computing.
    """
    tried = scalings(points)
    more = {"scales": (XI * tried).tolist(), "disturbance": physics.evaluation_noise(evaluation_noise)}
    parts = in_batches(_swept, CODE, replicates, setup, len(tried), **more)
    full, quantized, spread = (np.concatenate(part, -1) for part in zip(*parts, strict=True))
    return Sweep(tried, Losses(full, quantized), spread)


def _swept(first, stop, setup, scales, disturbance) -> list[list]:
    """Losses before and after the shift, each (scales, replicates), and the target's variance."""
    runs = Setup(**setup).runs("synthetic", range(first, stop))
    trained = runs.trained_at(scales, runs.noise())
    losses = disturbed(runs.test.beside, trained, disturbance * runs.shift()[:, None])
    return [part.tolist() for part in (*losses, runs.test.variance)]


def sweep_losses(run: Sweep) -> pd.DataFrame:
    """Means over replicates: columns xi_scaling, quantity (of SHOWN), mean, ci_low, ci_high, n."""
    return pd.DataFrame(
        {"xi_scaling": scaling, "quantity": name} | statistics.mean_interval(values)
        for name in SHOWN
        for scaling, values in zip(run.scalings, run.quantity(name), strict=True)
    )


def best(run: Sweep, seed: int = 0) -> pd.DataFrame:
    """The scaling of least mean loss: columns quantity, estimate, ci_low, ci_high, n.

    Interval: percentiles of the best scaling in bootstrap samples of the replicates, which keep all
    losses of a replicate together (Efron & Tibshirani 1993, chapter 13). Ties go to the smaller.
    """
    n = len(run.variance)
    counts = stream("bootstrap", 0, seed).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    rows = []
    for name in TESTED:
        values = run.quantity(name)
        resampled = run.scalings[np.argmin(counts @ values.T, axis=1)]
        low, high = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf")
        found = run.scalings[np.argmin(values.mean(1))]
        rows.append({"quantity": name, "estimate": found, "ci_low": low, "ci_high": high, "n": n})
    return pd.DataFrame(rows)


def excess(run: Sweep) -> pd.DataFrame:
    """Each scaling's loss minus that at the best one, paired.

    Columns xi_scaling, quantity, estimate, ci_low, ci_high, n, p_holm, detectable. The best is chosen
    on the same replicates, which favours it: p_holm errs towards calling another scaling worse.
    """
    rows = []
    for name in TESTED:
        values = run.quantity(name)
        least = values[np.argmin(values.mean(1))]
        for scaling, loss in zip(run.scalings, values, strict=True):
            keys = {"xi_scaling": scaling, "quantity": name}
            rows.append(keys | statistics.paired_difference(loss, least))
    return statistics.corrected(rows)


def neighbours(run: Sweep) -> pd.DataFrame:
    """The loss at a named scaling minus that at half and twice of it, paired.

    Columns scaling (in SCALINGS), factor, quantity, estimate, ci_low, ci_high, n, p_holm, detectable.
    """
    rows = []
    for (name, scaling), factor in itertools.product(SCALINGS.items(), FACTORS):
        for quantity in QUANTITIES:
            pair = (getattr(run.at(at), quantity) for at in (scaling, factor * scaling))
            keys = {"scaling": name, "factor": factor, "quantity": quantity}
            rows.append(keys | statistics.paired_difference(*pair))
    return statistics.corrected(rows)
