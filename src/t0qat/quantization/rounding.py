"""From trained weights to integer codes: what evaluation does with a network."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from t0qat.pipeline.progress import told
from t0qat.quantization import gptq
from t0qat.quantization.layers import Weights, quantized, step_of
from t0qat.quantization.quantizers import HALF, LARGE, Grid, encode, normal_scale, quantize, upper_bits


class Coded(NamedTuple):
    """A rounded weight, step * (codes + offset): codes (channels, the rest), step (channels, 1)."""

    codes: Tensor
    step: Tensor
    offset: float = 0.0

    @property
    def values(self) -> Tensor:
        """(channels, the rest)."""
        return (self.codes + self.offset) * self.step


Codes = dict[str, Coded]  # by the name of the weight


def _each(model: nn.Module, grid: Grid, code: Callable[[str, Tensor], Coded]) -> Codes:
    """code(name, w) of every quantized weight w (channels, the rest)."""
    weights = quantized(dict(model.named_parameters()))
    long = sum(p.numel() for p in weights.values()) > LARGE
    each = told(weights.items(), f"INT{grid.bits} layer", long)
    return {name: code(name, p.detach().flatten(1)) for name, p in each}


def nearest(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """Every weight to the nearest level of its output channel's grid."""
    return _each(model, grid, lambda name, w: Coded(*quantize(w, grid, w.numel())))


def learned(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """The same with the steps that rounders.lsq learned, at the bits that it was trained for."""

    def code(name: str, w: Tensor) -> Coded:
        step = extra[step_of(name)].detach()[:, None]
        return Coded(encode(w, step, grid), step)

    return _each(model, grid, code)


def stretched(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """Levels offset by half a step, over the ranges that own_grids.seq learned."""

    def code(name: str, w: Tensor) -> Coded:
        step = extra[step_of(name)].detach()[:, None] / 2 ** (grid.bits - 1)
        return Coded(encode(w, step, grid, HALF), step, HALF)

    return _each(model, grid, code)


def normal(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """Levels offset by half a step, which suits normal weights: those of own_grids.quest."""

    def code(name: str, w: Tensor) -> Coded:
        step = normal_scale(w, grid)
        return Coded(encode(w, step, grid, HALF), step, HALF)

    return _each(model, grid, code)


def sliced(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """The upper bits of 8-bit codes, as own_grids.matryoshka sees them: one network for all widths."""

    def code(name: str, w: Tensor) -> Coded:
        upper, step = upper_bits(w, grid)
        return Coded(upper.clamp(*grid.codes), step)

    return _each(model, grid, code)


def second_order(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """GPTQ on the calibration inputs."""
    return {name: Coded(*found) for name, found in gptq.round_network(model, inputs, grid).items()}


# (model, grid, the method's own trained parameters, calibration inputs) -> codes and steps
ROUNDINGS: dict[str, Callable[[nn.Module, Grid, Weights, Tensor], Codes]] = {
    "nearest": nearest,
    "learned": learned,
    "seq": stretched,
    "quest": normal,
    "sliced": sliced,
    "gptq": second_order,
}
# Those with a grid of their own, in place of one that a scale rule fits.
AT_TRAINED_WIDTH = ("learned", "seq", "quest")  # the bits that training was for; at others: nearest
AT_EVERY_WIDTH = ("sliced",)
OWN_GRIDS = AT_TRAINED_WIDTH + AT_EVERY_WIDTH


@torch.no_grad()
def rounded(model: nn.Module, codes: Codes) -> nn.Module:
    """A copy of the model whose quantized weights are those of the codes; all else as it is."""
    copied = copy.deepcopy(model)
    for name, coded in codes.items():
        weight = copied.get_parameter(name)
        weight.copy_(coded.values.view_as(weight))
    return copied
