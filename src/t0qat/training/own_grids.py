"""Methods that round while they train to a grid of their own, by which they are judged as well."""

import math
from functools import partial

import torch
from torch import Tensor

from t0qat.quantization.layers import Weights, by_channel, quantized, step_of
from t0qat.quantization.quantizers import HALF, Grid, encode, normal_scale, upper_bits
from t0qat.training.views import Method, Objective, straight_through


def trusted_rounding(w: Tensor, grid: Grid) -> Tensor:
    """The nearest level of quest; gradient 1 where it is within half a step, else 0."""
    step = normal_scale(w.detach(), grid)
    nearest = step * (encode(w.detach(), step, grid, HALF) + HALF)
    return straight_through(nearest, w * ((nearest - w.detach()).abs() <= step / 2))


def quest(bits: int = 4) -> Objective:
    """QuEST on weights, without its Hadamard transform: loss(s * (clip(round(w / s - 1/2)) + 1/2)).

    s = 2 c rms(w) / (2**bits - 1), without gradient: that of least squared error for normal weights.
    The gradient is trusted where the error is at most s / 2, and 0 for weights farther beyond the last
    level. Source: Panferov et al. (2025), arXiv 2502.05003; their code rounds ties to the other side.
    bits: 2 to 8.
    """
    see = partial(trusted_rounding, grid=Grid(bits))
    return Objective(lambda loss, weights, draws: loss(by_channel(see, weights)))


def stretched_rounding(w: Tensor, reach: Tensor, grid: Grid) -> Tensor:
    """seq's level of each weight, with its gradients; reach: (channels,)."""
    half = 2 ** (grid.bits - 1)
    scaled = reach * (1 / math.sqrt(w.shape[1] * grid.codes[1]))
    a = straight_through(reach, scaled)[:, None]
    clipped = (w / a).clamp(-0.99, 0.99)
    levels = (torch.round(half * clipped - HALF) + HALF) / half
    return straight_through(levels, clipped) * a


def seq(bits: int = 2, step_rate: float = 0.1) -> Objective:
    """Stretched elastic quantization: loss(a * (round(2 clip(w / a) - 1/2) + 1/2) / 2) at 2 bits.

    Levels +-a/4 and +-3a/4, a learned for each output channel; at more bits 2**(bits - 1) is in place
    of 2. Clipped at 0.99: gradient in w 1 within, else 0; in a: the level over a, less w / a within,
    times 1 / sqrt(N Qp) as in lsq. a starts at max|w|; its learning rate is step_rate times the
    network's. Source: Liu et al. (2025), "ParetoQ", arXiv 2502.02631, who use it at 2 bits.
    bits: 2 to 7, beyond which 0.99 cuts off levels.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        seen = {
            name: stretched_rounding(p.flatten(1), weights[step_of(name)], grid).view_as(p)
            for name, p in quantized(weights).items()
        }
        return loss(seen)

    return Objective(value, first_reaches, step_rate)


def first_reaches(weights: Weights) -> Weights:
    """max|w| of each output channel: what seq learns from there."""
    largest = {name: p.detach().flatten(1).abs().amax(1) for name, p in quantized(weights).items()}
    return {step_of(name): reach.requires_grad_() for name, reach in largest.items()}


def sliced_rounding(w: Tensor, grid: Grid) -> Tensor:
    """The upper bits of w's 8-bit code times their step; gradient 1 where none is clipped, else 0."""
    upper, step = upper_bits(w.detach(), grid)
    codes = upper.clamp(*grid.codes)
    return straight_through(codes * step, w * (upper == codes))


def matryoshka(widths: tuple[int, ...] = (8, 4, 3, 2)) -> Objective:
    """loss(s * S(round(w / s))), S keeping the upper bits of an 8-bit code, as many as are drawn.

    S(q) = 2**(8 - bits) * clip(round(q / 2**(8 - bits))), s = 2 max|w| / 255, without gradient. The
    width is drawn in each step, the same for all layers, in place of their weighted sum over widths:
    one gradient evaluation a step. Source: Nair et al. (2025), arXiv 2502.06786. widths: 1 to 8.
    """
    views = [partial(sliced_rounding, grid=Grid(bits)) for bits in widths]
    return Objective(
        lambda loss, weights, draws: loss(by_channel(views[draws.integers(len(views))], weights))
    )


METHODS = {
    "quest": Method("QuEST", quest, "rounding", rounding="quest", scale="absmax", reach=(2, 8)),
    "seq": Method(
        "SEQ", seq, "rounding", 1, "step_rate", (0.1, 0.3, 1.0), "seq", widths=(2,), reach=(2, 7)
    ),
    "matryoshka": Method("Matryoshka", matryoshka, "rounding", rounding="sliced", scale="absmax"),
}
