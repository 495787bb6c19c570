"""From trained weights to integer codes: what evaluation does with a network."""

import copy
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from t0qat.pipeline.progress import told
from t0qat.quantization import gptq
from t0qat.quantization.layers import Weights, quantized, step_of
from t0qat.quantization.quantizers import (
    HALF,
    LARGE,
    SCALES,
    Grid,
    encode,
    normal_scale,
    quantize,
    upper_bits,
)


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


class Network(NamedTuple):
    """What is rounded, and what roundings may look at."""

    model: nn.Module
    extra: Mapping[str, Tensor] = {}  # what the method trained beside the network's parameters
    inputs: Tensor | None = None  # calibration inputs, as the model takes them
    names: Collection[str] | None = None  # of the weights that are rounded, where it is not all of them

    @property
    def weights(self) -> Weights:
        """Those that are rounded."""
        found = quantized(dict(self.model.named_parameters()))
        return {name: p for name, p in found.items() if self.names is None or name in self.names}


def _each(network: Network, grid: Grid, code: Callable[[str, Tensor], Coded]) -> Codes:
    """code(name, w) of every quantized weight w (channels, the rest)."""
    weights = network.weights
    long = sum(p.numel() for p in weights.values()) > LARGE
    each = told(weights.items(), f"INT{grid.bits} layer", long)
    return {name: code(name, p.detach().flatten(1)) for name, p in each}


def nearest(network: Network, grid: Grid) -> Codes:
    """Every weight to the nearest level of its output channel's grid."""
    return _each(network, grid, lambda name, w: Coded(*quantize(w, grid, w.numel())))


def learned(network: Network, grid: Grid) -> Codes:
    """The same with the steps that rounders.lsq learned, at the bits that it was trained for."""

    def code(name: str, w: Tensor) -> Coded:
        step = network.extra[step_of(name)].detach()[:, None]
        return Coded(encode(w, step, grid), step)

    return _each(network, grid, code)


def stretched(network: Network, grid: Grid) -> Codes:
    """Levels offset by half a step, over the ranges that own_grids.seq learned."""

    def code(name: str, w: Tensor) -> Coded:
        step = network.extra[step_of(name)].detach()[:, None] / 2 ** (grid.bits - 1)
        return Coded(encode(w, step, grid, HALF), step, HALF)

    return _each(network, grid, code)


def normal(network: Network, grid: Grid) -> Codes:
    """Levels offset by half a step, which suits normal weights: those of own_grids.quest."""

    def code(name: str, w: Tensor) -> Coded:
        step = normal_scale(w, grid)
        return Coded(encode(w, step, grid, HALF), step, HALF)

    return _each(network, grid, code)


def sliced(network: Network, grid: Grid) -> Codes:
    """The upper bits of 8-bit codes, as own_grids.matryoshka sees them: one network for all widths."""

    def code(name: str, w: Tensor) -> Coded:
        upper, step = upper_bits(w, grid)
        return Coded(upper.clamp(*grid.codes), step)

    return _each(network, grid, code)


def second_order(network: Network, grid: Grid) -> Codes:
    """GPTQ on the calibration inputs."""
    found = gptq.round_network(network.model, network.inputs, grid, network.weights)
    return {name: Coded(*codes) for name, codes in found.items()}


ROUNDINGS: dict[str, Callable[[Network, Grid], Codes]] = {
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


def codes_of(network: Network, rounding: str, bits: int, rule: str) -> Codes:
    """Codes and steps of the quantized weights.

    rounding: a name in ROUNDINGS. rule: a name in SCALES, or that of the rounding if it is in OWN_GRIDS,
    which is to nearest by any other rule.
    """
    on = Grid(bits, scale=rule if rule in SCALES else "absmax")
    how = "nearest" if rounding in OWN_GRIDS and rounding != rule else rounding
    return ROUNDINGS[how](network, on)


@torch.no_grad()
def rounded(model: nn.Module, codes: Codes) -> nn.Module:
    """A copy of the model whose quantized weights are those of the codes; all else as it is."""
    copied = copy.deepcopy(model)
    for name, coded in codes.items():
        weight = copied.get_parameter(name)
        weight.copy_(coded.values.view_as(weight))
    return copied
