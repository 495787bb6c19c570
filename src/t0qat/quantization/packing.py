"""Integer codes as they are deployed: packed to their bit-width, and run by a network."""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Codes


class Packed(NamedTuple):
    """A network without its float weights.

    packed: weight -> its codes minus the grid's lowest, `bits` bits each, row by row. steps: weight ->
    (channels,), float32. offsets: weight -> what is added to its codes, 0 or 1/2: a fixed part of the
    format, of no bytes. rest: every other parameter and buffer (biases, normalization).
    """

    grid: Grid
    packed: dict[str, bytes]
    steps: dict[str, Tensor]
    offsets: dict[str, float]
    rest: dict[str, Tensor]

    @property
    def code_bytes(self) -> int:
        """Bytes of all codes."""
        return sum(map(len, self.packed.values()))

    @property
    def total_bytes(self) -> int:
        """Bytes of codes, steps and the rest."""
        return self.code_bytes + sum(t.nbytes for part in (self.steps, self.rest) for t in part.values())


def pack(codes: Tensor, grid: Grid) -> bytes:
    """ceil(bits * n / 8) bytes of n codes; grid of at most 8 bits."""
    raised = (codes.flatten().cpu() - grid.codes[0]).numpy().astype(np.uint8)
    return np.packbits(np.unpackbits(raised[:, None], axis=1)[:, -grid.bits :]).tobytes()


def unpack(packed: bytes, shape: torch.Size, grid: Grid) -> Tensor:
    """The codes, float32, of this shape."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=grid.bits * math.prod(shape))
    raised = np.packbits(np.pad(bits.reshape(-1, grid.bits), ((0, 0), (8 - grid.bits, 0))), axis=1)
    return torch.from_numpy(raised.astype(np.float32)).view(shape) + grid.codes[0]


def packed(model: nn.Module, codes: Codes, grid: Grid) -> Packed:
    """The model with the codes and steps that a rule of rounding.ROUNDINGS gave its weights."""
    rest = {name: t.detach().clone() for name, t in model.state_dict().items() if name not in codes}
    bits = {name: pack(coded.codes, grid) for name, coded in codes.items()}
    steps = {name: coded.step.flatten() for name, coded in codes.items()}
    return Packed(grid, bits, steps, {name: coded.offset for name, coded in codes.items()}, rest)


@torch.no_grad()
def runnable(found: Packed, model: nn.Module) -> nn.Module:
    """A network like the model, in evaluation mode, whose layers multiply their inputs by integer codes.

    Each layer's output is step * ((codes + offset) @ inputs) + bias. Of the model only the structure is
    used: linear and convolution layers hold all packed weights.
    """
    net = copy.deepcopy(model).eval()
    state = net.state_dict()
    for name, bits in found.packed.items():
        state[name] = unpack(bits, state[name].shape, found.grid) + found.offsets[name]
    net.load_state_dict(state | found.rest)
    for name, step in found.steps.items():
        _rescale(net.get_submodule(name.removesuffix(".weight")), step)
    return net


def _rescale(layer: nn.Module, step: Tensor) -> None:
    """Take the step, and then the bias, out of a layer and to its output."""
    shape = (-1, *[1] * (layer.weight.ndim - 2))
    bias = 0.0 if layer.bias is None else layer.bias.detach().view(shape)
    layer.bias = None
    layer.register_forward_hook(lambda _, inputs, output: output * step.view(shape) + bias)
