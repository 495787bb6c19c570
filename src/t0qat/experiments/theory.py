"""The drop's law: one linear layer under weight noise, in closed form and simulated.

A drop is L(v + s e) - L(v), with e standard normal. For a linear layer with mean squared error and
A, b as in linear.Moments it is s^2 e'Ae + 2s e'(Av - b): a quadratic form in normal variables, whose
moments are closed forms and whose distribution follows from its characteristic function.
"""

import sys
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from t0qat.experiments import published
from t0qat.experiments.settings import set_up
from t0qat.pipeline import grid, pin, statistics
from t0qat.training import constants, linear, methods, streams, tasks
from t0qat.training.constants import REPORTED_REDUCTION
from t0qat.training.linear import Setup
from t0qat.training.streams import stream
from t0qat.training.tasks import TARGETS, Data

PAIRS = (("standard_qat", "t0_qat"), ("standard_qat", "standard_qat"), ("t0_qat", "t0_qat"))
REDUCTIONS = (*(k / 4 for k in range(-8, 11) if k != 2), REPORTED_REDUCTION)
# What the cells of this module's grid depend on.
CODE = sys.modules[__name__], published, constants, linear, *methods.CODE, statistics, streams, tasks


class Drop(NamedTuple):
    """The law of sum(squares * e^2 + slopes * e) over independent standard normal e; two (d,) arrays."""

    squares: np.ndarray
    slopes: np.ndarray

    @classmethod
    def of(cls, moments: linear.Moments, v: Tensor, scale: float) -> "Drop":
        """The drop of one replicate's parameters v (d, 1) under noise of standard deviation scale."""
        a, b = moments.a[..., 0].numpy(), moments.b[..., 0].numpy()
        values, vectors = np.linalg.eigh(a)
        slope = vectors.T @ (a @ v[:, 0].double().numpy() - b)
        return cls(scale**2 * values, 2 * scale * slope)

    @property
    def mean(self) -> float:
        """s^2 tr A."""
        return self.squares.sum()

    @property
    def variance(self) -> float:
        """2 s^4 tr A^2 + 4 s^2 |Av - b|^2."""
        return (2 * self.squares**2 + self.slopes**2).sum()

    def _transform(self) -> tuple[np.ndarray, np.ndarray]:
        """Points t > 0 at equal steps and E exp(itD) there, up to where it has vanished.

        A midpoint sum over them repeats the law every 60 standard deviations, so that its aliases are
        nil; Davies (1973, Biometrika 60) bounds both errors.
        """
        step = 2 * np.pi / (60 * np.sqrt(self.variance))
        t = step * (np.arange(2**14) + 0.5)
        root = 1 - 2j * np.multiply.outer(t, self.squares)
        exponent = -np.log(root) / 2 - (t[:, None] * self.slopes) ** 2 / (2 * root)
        transform = np.exp(exponent.sum(1))
        kept = np.count_nonzero(np.abs(transform) > 1e-9)  # its modulus only falls
        return t[:kept], transform[:kept]

    def distribution(self, x: np.ndarray) -> np.ndarray:
        """P(D <= x) for x (..., n), by Gil-Pelaez' (1951) inversion as a midpoint sum."""
        t, transform = self._transform()
        sums = [
            np.exp(-1j * np.multiply.outer(row, t)) @ (transform / t)
            for row in x.reshape(-1, x.shape[-1])
        ]
        return 0.5 - np.reshape(sums, x.shape).imag * (t[1] - t[0]) / np.pi

    def density(self, x: np.ndarray) -> np.ndarray:
        """The density of D at x."""
        t, transform = self._transform()
        return (np.exp(-1j * np.multiply.outer(x, t)) @ transform).real * (t[1] - t[0]) / np.pi


def reduction_chances(first: Drop, second: Drop, reductions=REDUCTIONS) -> np.ndarray:
    """P(first > 0 and 1 - second / first >= r), for independent drops and each reduction r.

    The density of the first times the distribution of the second, integrated over the first by
    Gauss and Legendre's rule.
    """
    nodes, weights = np.polynomial.legendre.leggauss(300)
    top = first.mean + 25 * np.sqrt(first.variance)
    x, weights = top * (nodes + 1) / 2, weights * top / 2
    mass = weights * first.density(x)
    left = np.multiply.outer(1 - np.array(reductions), x)
    return np.array([mass @ below for below in second.distribution(left)]).clip(0, 1)


@set_up("target")
@pin.one_thread()
def exact_laws(
    *, draws: int, noise_scales: Sequence[float], setup: Setup, **settings: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Closed forms beside Monte Carlo, for the untrained layer and every method's trained one.

    Weights of replicate 0. Monte Carlo runs the layer on its samples under `draws` draws of noise.
    First table: target, noise_scale, weights, quantity (objective: mean training loss under noise; mean
    and variance of the drop), exact, estimate, ci_low, ci_high, n, z. Second: the chance that the drop
    of `other` is smaller than that of `method` by the fraction `reduction` or more, each with its own
    draws: target, noise_scale, method, other, reduction, exact, estimate, ci_low, ci_high, n, z. z is
    the distance in standard errors; for chances, that with the p-value of the exact binomial test.
    """
    built = methods.build(**settings)
    cells = []
    for target in TARGETS:
        runs = setup._replace(target=target).runs("synthetic", range(1))
        weights, noise = {"initial": runs.start}, runs.noise()
        weights |= {name: runs.trained(view, noise) for name, view in built.items()}
        task = {"setup": runs.setup._asdict(), "draws": draws}
        task["weights"] = {name: v[:, 0].tolist() for name, v in weights.items()}
        cells += [
            grid.Cell(_laws_at, task | {"scale": scale}, CODE) for scale in map(float, noise_scales)
        ]
    done = grid.run(cells, "noise scales")
    return tuple(pd.DataFrame(list(chain(*parts))) for parts in zip(*done, strict=True))


def _laws_at(
    setup: dict, weights: dict[str, list[float]], scale: float, draws: int
) -> tuple[list[dict], list[dict]]:
    """The rows of one noise scale, of both of exact_laws' tables."""
    setup = Setup(**setup)
    (data,) = setup.data("synthetic", range(1))
    common = {"target": setup.target, "noise_scale": scale}
    moments, _ = linear.moments([data])
    weights = {name: torch.tensor(v)[:, None] for name, v in weights.items()}
    loss = {name: moments.loss(v).item() for name, v in weights.items()}
    laws = {name: Drop.of(moments, v, scale) for name, v in weights.items()}

    def measured(name: str, purpose: str) -> np.ndarray:
        return shaken_losses(data, weights[name], scale, stream(purpose, 0, setup.seed), draws)

    rows, chances, drops = [], [], {}
    for name, law in laws.items():
        drops[name] = measured(name, "evaluation_noise") - loss[name]
        objective = statistics.mean_interval(measured(name, "training_noise"))
        for quantity, exact, row in (
            ("objective", loss[name] + law.mean, objective),
            ("drop_mean", law.mean, statistics.mean_interval(drops[name])),
            ("drop_variance", law.variance, statistics.variance_interval(drops[name])),
        ):
            row["estimate"] = row.pop("mean")
            error = (row["ci_high"] - row["estimate"]) / stats.norm.ppf((1 + statistics.LEVEL) / 2)
            z = (row["estimate"] - exact) / error
            keys = common | {"weights": name, "quantity": quantity, "exact": exact}
            rows.append(keys | row | {"z": z})
    others = {other for _, other in PAIRS}
    second = {name: measured(name, "second_evaluation_noise") - loss[name] for name in others}
    for method, other in PAIRS:
        keys = common | {"method": method, "other": other}
        exact = reduction_chances(laws[method], laws[other])
        for reduction, chance in zip(REDUCTIONS, exact, strict=True):
            event = published.reduced(drops[method], second[other], reduction)
            seen = statistics.chance(event)
            z = {"z": binomial_z(event.sum(), draws, chance)}
            chances.append(keys | {"reduction": reduction, "exact": chance} | seen | z)
    return rows, chances


def shaken_losses(
    data: Data, v: Tensor, scale: float, noise: np.random.Generator, draws: int
) -> np.ndarray:
    """Losses of a linear layer (d, 1) on its samples under draws of weight noise: (draws,), float64."""
    inputs = np.column_stack([data.inputs, np.ones(len(data.inputs))])
    losses, space = [], np.empty((len(inputs), 250))  # fresh memory for every batch costs more
    for i in range(0, draws, 250):  # the errors of a batch stay in cache
        shaken = v.double().numpy() + scale * noise.standard_normal((min(250, draws - i), len(v))).T
        errors = np.matmul(inputs, shaken, out=space[:, : shaken.shape[1]])
        errors -= data.target[:, None]
        losses.append(np.einsum("ij,ij->j", errors, errors) / len(errors))
    return np.concatenate(losses)


def binomial_z(events: int, n: int, chance: float) -> float:
    """The normal deviate with the two-sided p-value of an exact binomial test, signed."""
    p = stats.binomtest(int(events), n, chance).pvalue
    return np.sign(events / n - chance) * stats.norm.isf(p / 2)
