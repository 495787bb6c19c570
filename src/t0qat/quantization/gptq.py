"""GPTQ: rounding that makes up for each weight's error with the weights that are still to be rounded.

Source: Frantar et al. (2023), arXiv 2210.17323, in the given order of inputs, with a step per output
channel or per group of inputs that is chosen before any weight is rounded.
"""

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold
from torch.nn.utils import parametrize

from t0qat.pipeline.parameters import ParameterError
from t0qat.pipeline.progress import told
from t0qat.quantization.quantizers import LARGE, Grid, encode, fitted

DAMPING = 0.01  # of the mean diagonal, added to the diagonal: the paper's


def round_layer(
    weights: Tensor, moments: Tensor, grid: Grid, group: int | None = None
) -> tuple[Tensor, Tensor]:
    """Codes (rows, group) and step (rows, 1) of weights (channels, d); grid's own scale rule.

    A row is `group` neighbours of a channel, which share a step; None: the whole channel.
    moments: second moments X'X of the layer's inputs X (n, d), up to any factor. Minimizes
    |X (w - step * codes)|^2 greedily: each input's weights are rounded in turn, and their error e moves
    the rest by -e times the row of the upper Cholesky factor of the inverse of X'X over its diagonal.
    """
    channels, d = weights.shape
    rows = weights.reshape(-1, group or d)
    scale = fitted(rows, grid, weights.numel())
    steps = scale.expand_as(rows).reshape(channels, d)
    damped = moments.double().clone()
    mean = damped.diagonal().mean()
    damped.diagonal().add_(DAMPING * mean if mean > 0 else 1.0)  # no input at all: plain rounding
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    left, codes = weights.double().clone(), torch.empty_like(weights)
    for i, row in enumerate(upper):
        # Rounded in the weights' own type, as everywhere: ties are the same ties.
        codes[:, i] = encode(left[:, i].to(weights), steps[:, i], grid)
        error = (left[:, i] - codes[:, i] * steps[:, i]) / row[i]
        left[:, i:] -= error[:, None] * row[i:]
    return codes.view_as(rows), scale


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


def check(model: nn.Module, names: Collection[str], inputs: Tensor | None) -> None:
    """Raises ParameterError unless round_network can round all of these weights on these inputs."""
    if not isinstance(inputs, Tensor):
        raise ParameterError("inputs: GPTQ needs calibration data, a tensor that the model takes")
    for name in names:
        layer = model.get_submodule(name.rpartition(".")[0])
        plain = isinstance(layer, nn.Conv2d) and (layer.groups, layer.padding_mode) == (1, "zeros")
        if not plain and not isinstance(layer, nn.Linear):
            allowed = "linear layers, and 2-d convolutions of one group padded by zeros"
            raise ParameterError(f"{name}: of a {type(layer).__name__}; GPTQ rounds {allowed}")


class _Reached(Exception):
    """Ends a forward pass at the layer whose inputs are wanted: what follows is not rounded yet."""


def _reaching(layer: nn.Module, model: nn.Module, inputs: Tensor) -> Tensor:
    """What the layer gets when the model runs on these."""

    def stop(_, arguments: tuple[Tensor, ...]) -> None:
        raise _Reached(arguments[0])

    hook = layer.register_forward_pre_hook(stop)
    try:
        model(inputs)
    except _Reached as reached:
        return reached.args[0]
    finally:
        hook.remove()
    raise ValueError("the model does not run this layer")


@torch.no_grad()
def round_network(
    model: nn.Module, inputs: Tensor, grid: Grid, names: Collection[str] | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """round_layer for every linear and convolution layer, by the name of the parameter of its weight.

    inputs: calibration data (n, ...) as the model takes them. names: of the weights that are rounded,
    where it is not all of them. A layer's moments are taken with all
    layers before it rounded already; layers run in the order in which the model names them. A weight
    that is stored in another shape than it has shares its steps in the rows that are stored; one that
    is stored as a vector is left out. The model stays as it is; convolutions have one group and zero
    padding.
    """
    model = copy.deepcopy(model).eval()
    rounded, found = {}, []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            shaped = parametrize.is_parametrized(layer, "weight")
            stored = "parametrizations.weight.original" if shaped else "weight"
            full = f"{name}.{stored}".lstrip(".")  # a model that is a layer itself has no name
            wanted = names is None or full in names
            if wanted and layer.get_parameter(stored).ndim > 1:
                found.append((full, layer, stored))
    long = sum(layer.get_parameter(stored).numel() for _, layer, stored in found) > LARGE
    for name, layer, stored in told(found, f"INT{grid.bits} layer", long):
        parameter = layer.get_parameter(stored)
        moments, group = input_moments(layer, _reaching(layer, model, inputs)), parameter[0].numel()
        codes, scale = round_layer(layer.weight.flatten(1), moments, grid, group)
        rounded[name] = codes, scale
        parameter.copy_((codes * scale).view_as(parameter))
    return rounded
