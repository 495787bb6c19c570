"""Methods that add noise to the weights as training sees them."""

import math
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from t0qat.pipeline.parameters import number
from t0qat.quantization.layers import by_channel, quantized
from t0qat.quantization.quantizers import Grid, absmax_scale, rms
from t0qat.training.constants import BASELINE_NOISE, XI, XI_SCALING
from t0qat.training.views import Method, Objective, View, additive_noise, before_steps, noise_from


def standard_qat(baseline_noise: float = BASELINE_NOISE) -> View:
    """The paper's baseline, "empirical noise injection" (section 3.1); its scale is not published."""
    return additive_noise(baseline_noise)


def t0_qat(xi_scaling: float = XI_SCALING) -> View:
    """W + xi * xi_scaling * noise, xi = 4/3 * 1e-4 (the paper's section 5.1).

    W and the noise may have any shape; xi * xi_scaling (10.667 as published) is in units of W.
    """
    return additive_noise(XI * xi_scaling)


def uniform_noise(xi_scaling: float = XI_SCALING) -> Objective:
    """t0_qat with uniform noise of the same standard deviation: W + sqrt(12) * xi * xi_scaling * u.

    u uniform on -1/2 ... 1/2, on every parameter.
    """
    width = math.sqrt(12) * XI * xi_scaling

    def value(loss, weights, draws):
        return loss({name: p + width * _uniform(draws, p) for name, p in weights.items()})

    return Objective(value)


def _uniform(draws: np.random.Generator, like: Tensor) -> Tensor:
    """Uniform on -1/2 ... 1/2, of this shape."""
    return torch.from_numpy(draws.random(like.shape, np.float32) - 0.5).to(like)


def annealed_noise(xi_scaling: float = XI_SCALING) -> Objective:
    """t0_qat with noise that falls in a line: the i-th of n steps has (n + 1 - i) / n of it."""
    left = [1.0]  # of the noise, from step to step

    def value(loss, weights, draws):
        noise, scale = noise_from(draws), left[0] * XI * xi_scaling
        return loss({name: p + scale * noise(p) for name, p in weights.items()})

    def lessen(optimizer, done):
        left[0] = 1 - done

    @contextmanager
    def around(optimizer, steps):
        left[0] = 1.0
        with before_steps(lessen, optimizer, steps) as stepping:
            yield stepping

    return Objective(value, around=around)


def weights_only_noise(xi_scaling: float = XI_SCALING) -> Objective:
    """t0_qat with noise on the weights that quantization rounds, and on nothing else."""

    def value(loss, weights, draws):
        noise = noise_from(draws)
        return loss({name: p + XI * xi_scaling * noise(p) for name, p in quantized(weights).items()})

    return Objective(value)


def relative_noise(relative: float = 0.1) -> Objective:
    """loss(w + relative * rms(w) * normal): noise in units of its output channel's root mean square.

    The root mean square is without gradient. relative: 0 or more.
    """

    def value(loss, weights, draws):
        noise = noise_from(draws)
        return loss(by_channel(lambda w: w + relative * rms(w.detach()) * noise(w), weights))

    return Objective(value)


def matched_noise(bits: int = 4) -> Objective:
    """loss(w + s / sqrt(12) * normal): Gaussian noise as large as the error of rounding to a grid.

    s = 2 max|w| / (2**bits - 1), without gradient; s**2 / 12 is the variance of an error that is uniform
    over one step (Bennett 1948). bits: 1 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        noise = noise_from(draws)
        see = lambda w: w + absmax_scale(w.detach(), grid) / math.sqrt(12) * noise(w)  # noqa: E731
        return loss(by_channel(see, weights))

    return Objective(value)


def diffq(bits: int = 4) -> Objective:
    """loss(w + s * u), u uniform on -1/2 ... 1/2: pseudo quantization noise, at a fixed bit-width.

    s = 2 max|w| / (2**bits - 1); the gradient flows through s too, so the largest weight feels all the
    noise of its channel. Source: Défossez et al. (2022), arXiv 2104.09987, whose s spans min to max and
    who learn the bit-width as well. bits: 1 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        return loss(by_channel(lambda w: w + absmax_scale(w, grid) * _uniform(draws, w), weights))

    return Objective(value)


def two_point_noise(sigma: float = 0.01) -> Objective:
    """[loss(W + sigma e) + loss(W - sigma e)] / 2, e standard normal on every parameter.

    Terms of odd order in e cancel. Source: Zhang et al. (2024), "NSO", arXiv 2306.08553.
    """

    def value(loss, weights, draws):
        noise = noise_from(draws)
        shift = {name: sigma * noise(p) for name, p in weights.items()}
        ends = [{name: p + sign * shift[name] for name, p in weights.items()} for sign in (1, -1)]
        return (loss(ends[0]) + loss(ends[1])) / 2

    return Objective(value)


XI_SCALINGS = (30.0, 100.0, 300.0)  # noise from 0.004 to 0.04
METHODS = {
    "standard_qat": Method(
        "Standard QAT", standard_qat, "noise", loud=True, layer=True, text=False,
        settings={"baseline_noise": number(0, 1e6)},
    ),
    "t0_qat": Method(
        "T0-QAT", t0_qat, "noise", studied=True, few=True, loud=True, layer=True,
        settings={"xi_scaling": number(0, 1e9)},
    ),
    # A placebo: noise, but too little to count as such.
    "xi_alone": Method("xi alone", partial(t0_qat, 1.0), "none", studied=True, text=False),
    "t0_qat_tuned": Method(
        "T0-QAT, tuned", t0_qat, "noise", 1, "xi_scaling", XI_SCALINGS, studied=True, few=True
    ),
    # What makes noise work: its shape, its course, its place and its unit.
    "uniform_noise": Method(
        "Uniform noise", uniform_noise, "noise", 1, "xi_scaling", XI_SCALINGS, studied=True, text=False
    ),
    "annealed_noise": Method(
        "Annealed noise", annealed_noise, "noise", 1, "xi_scaling", XI_SCALINGS, studied=True
    ),
    "weights_only_noise": Method(
        "Noise on weights only", weights_only_noise, "noise", 1, "xi_scaling", XI_SCALINGS,
        studied=True, text=False,
    ),
    "relative_noise": Method(
        "Relative noise", relative_noise, "noise", 1, "relative", (0.03, 0.1, 0.3),
        studied=True, few=True,
    ),
    "matched_noise": Method("Matched noise", matched_noise, "noise", text=False),
    "two_bit_noise": Method("2-bit noise", partial(matched_noise, 2), "noise"),
    "diffq": Method("DiffQ", diffq, "noise", text=False),
    "two_point_noise": Method(
        "NSO", two_point_noise, "noise", 2, "sigma", tuple(XI * v for v in XI_SCALINGS), text=False
    ),
}  # fmt: skip
