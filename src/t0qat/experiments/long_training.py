"""What the linear layer learns when it trains far longer than published, beside a law of diffusion."""

import math
import sys
from itertools import chain

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from t0qat.experiments.settings import set_up
from t0qat.pipeline import grid, statistics
from t0qat.training import constants, linear, loop, methods, streams, tasks
from t0qat.training.linear import Setup

# What the cells of this module's grid depend on.
CODE = sys.modules[__name__], constants, linear, *methods.CODE, loop, streams, tasks


@set_up()
def long_training(*, replicates: int, longest: int, setup: Setup, **settings: float) -> pd.DataFrame:
    """What each method has learned after 1, 10, ... times the published epochs, up to `longest` times.

    Columns method, schedule (constant learning rate, or falling linearly to zero at the end of each
    length), epoch, quantity, mean, ci_low, ci_high, n. Quantities: travelled (distance from the
    start), left (distance to the least-squares solution), both as multiples of the distance between
    start and solution; explained (fraction of the target's variance); left_predicted (diffusion).
    """
    lengths = [setup.epochs * 10**k for k in range(9) if 10**k <= longest]
    names = list(methods.build(**settings))
    shared = {"setup": setup._asdict(), "names": names, "settings": settings}
    runs = [("constant", lengths), *(("decaying", [length]) for length in lengths)]
    cells = []
    for chunk in linear.chunks(replicates, max(lengths) * linear.size("synthetic")):
        whose = shared | {"first": chunk.start, "stop": chunk.stop}
        cells += [
            grid.Cell(_long_run, whose | {"schedule": schedule, "lengths": reached}, CODE)
            for schedule, reached in runs
        ]
    found = pd.DataFrame(list(chain(*grid.run(cells, "long trainings"))))
    keys = ["method", "schedule", "epoch", "quantity"]
    table = statistics.means(found.explode("value").astype({"value": float}), keys)
    order = {name: i for i, name in enumerate([*names, *loop.SCHEDULES])}
    table = table.sort_values(keys[:3], key=lambda c: c.map(order).fillna(c), kind="stable")
    return table.reset_index(drop=True)


def _long_run(first, stop, setup, names, settings, schedule, lengths) -> list[dict]:
    """Rows of method, schedule, epoch, quantity and value, which lists replicates first ... stop - 1.

    The methods are trained side by side, (d, methods, replicates): arrays of one method's size are so
    small that the calls would take longer than the sums.
    """
    runs = Setup(**setup)._replace(epochs=max(lengths)).runs("synthetic", range(first, stop))
    moments, start, rate = runs.train, runs.start, runs.setup.learning_rate
    a, b = moments.a.permute(2, 0, 1).numpy(), moments.b.T[..., None].numpy()
    best = torch.from_numpy(np.linalg.solve(a, b)[..., 0].T)
    whole = distance(best, start)
    noise, steps = runs.noise(), max(lengths)
    rates = [rate * loop.SCHEDULES[schedule](step / steps) for step in range(steps)]
    views = {name: view for name, view in methods.build(**settings).items() if name in names}
    seen = set(lengths)
    if schedule == "constant":
        seen |= {round(lengths[0] * 10 ** (k / 4)) for k in range(-8, 4 * len(lengths))}
    rows = []

    def keep(epoch: int, each: Tensor) -> None:
        for (name, view), v in zip(views.items(), each.unbind(1), strict=True):
            values = {
                "travelled": distance(v, start) / whole,
                "left": distance(v, best) / whole,
                "explained": 1 - moments.loss(v) / moments.variance,
            }
            sigma = view(torch.zeros(1), torch.ones(1)).item()  # of additive noise
            if schedule == "constant" and sigma:
                values["left_predicted"] = diffusion(epoch, sigma, rate, len(start), whole)
            for quantity, value in values.items():
                row = {"method": name, "schedule": schedule, "epoch": epoch, "quantity": quantity}
                rows.append(row | {"value": value.tolist()})

    def all_views(v: Tensor, draws: Tensor) -> Tensor:
        parts = zip(views.values(), v.unbind(1), strict=True)
        return torch.stack([view(part, draws) for view, part in parts], 1)

    starts = start[:, None].repeat(1, len(views), 1)
    if schedule == "constant":
        keep(0, starts)
    for epoch, each in enumerate(linear.steps(moments.beside, starts, all_views, noise, rates), 1):
        if epoch in seen:
            keep(epoch, each)
    return rows


def distance(first: Tensor, second: Tensor) -> Tensor:
    """2-norm of the difference of parameters (d, replicates): (replicates,), float64."""
    return torch.from_numpy(np.linalg.norm((first.double() - second.double()).numpy(), axis=0))


def diffusion(epoch: int, sigma: float, rate: float, d: int, whole: Tensor) -> Tensor:
    """What is left of the distance to the solution where noise rules the gradients: like whole.

    For inputs of unit covariance the gradient is 2 (delta + sigma e) in each of the d coordinates.
    Adam divides it by about 2 sigma, so delta shrinks by the fraction rate / sigma each step, and each
    step adds variance rate^2: an Ornstein-Uhlenbeck process, whose variance settles at
    rate * sigma / 2. Root mean square of |delta| after `epoch` steps, over `whole`, its start.
    """
    shrunk = math.exp(-2 * epoch * rate / sigma)
    settled = d * rate * sigma / 2
    return torch.from_numpy(np.sqrt((shrunk + settled * (1 - shrunk) / whole**2).numpy()))
