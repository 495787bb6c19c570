"""Methods that round the weights while they train."""

import math
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from t0qat.pipeline.quiet import quietly
from t0qat.quantization.layers import Weights, by_channel, quantized, step_of
from t0qat.quantization.quantizers import Grid, absmax_scale, fake_quantize
from t0qat.training.views import Method, Objective, before_steps, rounded_groups, straight_through


def straight_rounding(w: Tensor, grid: Grid) -> Tensor:
    """w on its grid; gradient 1 where the nearest code is one of the grid's, 0 where it is clipped."""
    scale = absmax_scale(w.detach(), grid)
    nearest = torch.round(w.detach() / scale)
    codes = nearest.clamp(*grid.codes)
    return straight_through(codes * scale, w * (nearest == codes))


def ste(bits: int = 4) -> Objective:
    """Fake quantization with the straight-through estimator: loss(s * clip(round(w / s))).

    s = 2 max|w| / (2**bits - 1), without gradient; the mask is torchao's, after rounding. Source:
    Jacob et al. (2018), arXiv 1712.05877. bits: 1 to 16.
    """
    see = partial(straight_rounding, grid=Grid(bits))
    return Objective(lambda loss, weights, draws: loss(by_channel(see, weights)))


def random_bits(widths: tuple[int, ...] = (8, 4, 3, 2)) -> Objective:
    """ste at a bit-width drawn in each step, the same for all layers.

    After Jin et al. (2020), "AdaBits", arXiv 1912.09666, with a draw in place of their sum over widths.
    """
    steps = [ste(bits) for bits in widths]
    return Objective(
        lambda loss, weights, draws: steps[draws.integers(len(steps))].value(loss, weights, draws)
    )


def lotion(bits: int = 4) -> Objective:
    """loss(s * (floor(w / s) + b)), b = 1 with chance frac(w / s), else 0: rounding at random, unbiased.

    s = 2 max|w| / (2**bits - 1), without gradient; above the last level all round to it. The gradient
    passes to w as if the error were given.
    Source: Kwun et al. (2025), "LOTION", arXiv 2510.08757, whose loss is the mean over b: one draw a
    step stands for it here. That the error's variance, s**2 frac (1 - frac), pulls w to the grid as
    well is left out: their second form has it, with the diagonal of the curvature. bits: 1 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        def see(w):
            scale = absmax_scale(w.detach(), grid)
            uniform = torch.from_numpy(draws.random(w.shape, np.float32)).to(w)
            # floor(x + u) is floor(x) + 1 with chance frac(x); u is below 1.
            codes = torch.floor(w.detach() / scale + uniform).clamp(*grid.codes)
            return straight_through(codes * scale, w)

        return loss(by_channel(see, weights))

    return Objective(value)


FIRST_HARMONIC = 0.21  # amplitude of the sine in place of the stairs, by the authors' settings


def harmonic_rounding(w: Tensor, grid: Grid) -> Tensor:
    """straight_rounding with the gradient of stable_qat."""
    scale = absmax_scale(w.detach(), grid)
    ratio = w.detach() / scale
    nearest = torch.round(ratio)
    codes = nearest.clamp(*grid.codes)
    # In double precision, so that no processor's last digit shows.
    cosine = torch.cos(math.pi * (ratio - nearest).double()).to(w)
    a = math.sqrt(2) * math.pi * FIRST_HARMONIC * cosine
    return straight_through(codes * scale, w * ((1 - a) / (1 + a) * (nearest == codes)))


def stable_qat(bits: int = 4) -> Objective:
    """ste with another gradient: (1 - a) / (1 + a), a = sqrt(2) pi 0.21 cos(pi d), d = w / s - round.

    1 halfway between two levels, 0.03 on one: the slope of a line that a sine bends around the stairs.
    Source: Chen et al. (2026), "StableQAT", arXiv 2601.19320, whose steps are learned; absmax steps
    leave the gradient as the one difference from ste. bits: 1 to 16.
    """
    see = partial(harmonic_rounding, grid=Grid(bits))
    return Objective(lambda loss, weights, draws: loss(by_channel(see, weights)))


SILENT = 0.8  # share of the steps before cage pulls, the authors' default


def cage(bits: int = 4, strength: float = 10.0) -> Objective:
    """ste, and a pull to the grid beside the optimizer's update: w -= rate * l * (w - Q(w)).

    l is 0 in the first 0.8 of the steps, then rises in a line to the strength; rate is the learning
    rate of the step, Q rounds to ste's grid. Source: Tabesh et al. (2025), "CAGE", arXiv 2510.18784,
    decoupled from the optimizer as weight decay is in AdamW. bits: 1 to 16.
    """
    grid = Grid(bits)

    def pull(optimizer, done):
        pulled = strength * max(0.0, (done - SILENT) / (1 - SILENT))
        for group in rounded_groups(optimizer):
            for p in group["params"]:
                w = p.flatten(1)
                p.sub_(group["lr"] * pulled * (w - fake_quantize(w, grid)).view_as(p))

    return ste(bits)._replace(around=partial(before_steps, pull))


def learned_rounding(w: Tensor, step: Tensor, grid: Grid) -> Tensor:
    """s * round(clip(w / s)), with the gradients of lsq; step: (channels,)."""
    low, high = grid.codes
    scaled = step * (1 / math.sqrt(w.shape[1] * high))
    s = straight_through(step, scaled)[:, None]
    clipped = (w / s).clamp(low, high)
    return straight_through(torch.round(clipped), clipped) * s


def lsq(bits: int = 4, step_rate: float = 0.1) -> Objective:
    """Learned step size: loss(s * round(clip(w / s, -Qn, Qp))), one learned s per output channel.

    Gradient in w: 1 where -Qn < w / s < Qp, else 0; in s: round(w / s) - w / s there, else -Qn or Qp,
    times 1 / sqrt(N Qp), N weights a channel. s starts at 2 mean|w| / sqrt(Qp); its learning rate is
    step_rate times the network's. Source: Esser et al. (2020), arXiv 1902.08153, per channel in place
    of per layer. bits: 2 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        steps = {name: weights[step_of(name)] for name in quantized(weights)}
        views = ((name, weights[name].flatten(1), step) for name, step in steps.items())
        seen = {name: learned_rounding(w, step, grid) for name, w, step in views}
        return loss({name: w.view_as(weights[name]) for name, w in seen.items()})

    return Objective(value, partial(first_steps, grid=grid), step_rate)


def first_steps(weights: Weights, grid: Grid) -> Weights:
    """2 mean|w| / sqrt(Qp) of each output channel: what lsq learns from there."""
    means = {name: p.detach().flatten(1).abs().mean(1) for name, p in quantized(weights).items()}
    scale = 2 / math.sqrt(grid.codes[1])
    return {step_of(name): (scale * mean).requires_grad_() for name, mean in means.items()}


def parq(bits: int = 4, steepness: float = 10.0) -> Objective:
    """The loss, with weights pulled to their grid after each step, ever harder: torchao's PARQ.

    The proximal map of a piecewise-affine regularizer, its inverse slope falling from 1 to 0 along a
    sigmoid of this steepness; hard rounding in the last tenth of the steps. The grid is torchao's
    full-range one, fitted anew at each step. What is left after training are the latent weights.
    Source: Jin et al. (2025), arXiv 2503.15748. bits: 2 to 8.
    """

    @contextmanager
    def around(optimizer, steps):
        with quietly():  # imported when needed: seconds
            from torchao.prototype import parq as tools
        for group in rounded_groups(optimizer):
            group["quant_bits"] = bits
        pull = tools.ProxPARQ(0, max(1, int(0.9 * steps)), steepness=steepness)
        grid = tools.UnifTorchaoQuantizer()
        pulled = tools.QuantOptimizer(optimizer, grid, pull, quant_period=1, quant_per_channel=True)
        yield pulled
        pulled.restore_latent_params()

    return Objective(lambda loss, weights, draws: loss({}), around=around)


METHODS = {
    "ste": Method("STE", ste, "rounding", scale="absmax", few=True),
    "lsq": Method("LSQ", lsq, "rounding", 1, "step_rate", (0.03, 0.1, 0.3), "learned", reach=(2, 16)),
    "parq": Method(
        "PARQ", parq, "rounding", 1, "steepness", (3.0, 10.0, 30.0), scale="absmax", text=False,
        reach=(2, 8),
    ),
    "random_bits": Method("Random-bit STE", random_bits, "rounding", scale="absmax", few=True),
    "lotion": Method("LOTION, one draw", lotion, "rounding", scale="absmax"),
    "stable_qat": Method("StableQAT", stable_qat, "rounding", scale="absmax", text=False),
    "cage": Method(
        "CAGE", cage, "rounding", 1, "strength", (1.0, 3.0, 10.0), scale="absmax", text=False
    ),
}  # fmt: skip
