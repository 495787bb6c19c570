"""GPTQ: rounding that makes up for each weight's error with the weights that are still to be rounded.

Source: Frantar et al. (2023), arXiv 2210.17323, in the given order of inputs, with a given step per
output channel.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from t0qat.quantizers import SCALES, Grid, encode

DAMPING = 0.01  # of the mean diagonal, added to the diagonal: the paper's


def round_layer(weights: Tensor, moments: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Codes (channels, d) and step (channels, 1) of weights (channels, d); grid's own scale rule.

    moments: second moments X'X of the layer's inputs X (n, d), up to any factor. Minimizes
    |X (w - step * codes)|^2 greedily: each input's weights are rounded in turn, and their error e moves
    the rest by -e times the row of the upper Cholesky factor of the inverse of X'X over its diagonal.
    """
    scale = SCALES[grid.scale](weights, grid)
    damped = moments.double().clone()
    mean = damped.diagonal().mean()
    damped.diagonal().add_(DAMPING * mean if mean > 0 else 1.0)  # no input at all: plain rounding
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, codes = weights.double(), torch.empty_like(weights)
    left = left.clone()
    for i, row in enumerate(upper):
        # Rounded in the weights' own type, as everywhere: ties are the same ties.
        codes[:, i] = encode(left[:, i : i + 1].to(weights), scale, grid)[:, 0]
        error = (left[:, i] - (codes[:, i] * scale[:, 0])) / row[i]
        left[:, i:] -= error[:, None] * row[i:]
    return codes, scale


def input_moments(layer: nn.Linear | nn.Conv2d, inputs: Tensor) -> Tensor:
    """X'X over samples, and a convolution's patches: (d, d), d in the order of weight.flatten(1)."""
    total = 0
    for part in inputs.split(256):
        if isinstance(layer, nn.Conv2d):
            part = unfold(part, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            part = part.transpose(1, 2)
        rows = part.flatten(0, -2).double()
        total = total + rows.T @ rows
    return total


@torch.no_grad()
def round_network(model: nn.Module, inputs: Tensor, grid: Grid) -> dict[str, tuple[Tensor, Tensor]]:
    """round_layer for every linear and convolution layer, by the name of its weight.

    inputs: calibration data (n, ...) as the model takes them. A layer's moments are taken with all
    layers before it rounded already; layers run in the order in which the model names them. The model
    stays as it is; convolutions have one group and zero padding.
    """
    model = copy.deepcopy(model).eval()
    rounded = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            seen = []
            hook = layer.register_forward_pre_hook(
                lambda _, arguments, seen=seen: seen.append(arguments[0])
            )
            model(inputs)
            hook.remove()
            weights, moments = layer.weight.flatten(1), input_moments(layer, *seen)
            codes, scale = rounded[f"{name}.weight"] = round_layer(weights, moments, grid)
            layer.weight.copy_((codes * scale).view_as(layer.weight))
    return rounded
