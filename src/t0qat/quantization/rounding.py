"""From trained weights to integer codes: what evaluation does with a network."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from t0qat.pipeline.progress import told
from t0qat.quantization import gptq
from t0qat.quantization.layers import Weights, quantized, step_of
from t0qat.quantization.quantizers import LARGE, Grid, encode, quantize

Codes = dict[str, tuple[Tensor, Tensor]]  # weight -> codes (channels, the rest) and step (channels, 1)


def nearest(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """Every weight to the nearest level of its output channel's grid."""
    weights = quantized(dict(model.named_parameters()))
    long = sum(p.numel() for p in weights.values()) > LARGE
    return {
        name: quantize(p.detach().flatten(1), grid, p.numel())
        for name, p in told(weights.items(), f"INT{grid.bits} layer", long)
    }


def learned(model: nn.Module, grid: Grid, extra: Weights, inputs: Tensor) -> Codes:
    """The same with the steps that rounders.lsq learned, at the bits that it was trained for."""
    weights = quantized(dict(model.named_parameters()))
    steps = {name: extra[step_of(name)].detach()[:, None] for name in weights}
    return {
        name: (encode(p.detach().flatten(1), steps[name], grid), steps[name])
        for name, p in weights.items()
    }


# (model, grid, the method's own trained parameters, calibration inputs) -> codes and steps
ROUNDINGS: dict[str, Callable[[nn.Module, Grid, Weights, Tensor], Codes]] = {
    "nearest": nearest,
    "learned": learned,
    "gptq": lambda model, grid, extra, inputs: gptq.round_network(model, inputs, grid),
}


@torch.no_grad()
def rounded(model: nn.Module, codes: Codes) -> nn.Module:
    """A copy of the model whose quantized weights are codes times step; all else as it is."""
    copied = copy.deepcopy(model)
    for name, (code, step) in codes.items():
        weight = copied.get_parameter(name)
        weight.copy_((code * step).view_as(weight))
    return copied
