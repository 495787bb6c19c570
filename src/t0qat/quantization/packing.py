"""Integer codes as they are deployed: packed to their bit-width, run by a network, kept in a file."""

import copy
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from t0qat.pipeline import places
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Coded, Codes


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


FORMAT = "t0qat integers 1"  # the one key of the file's metadata: more would have no order
CODES, STEP = ":codes", ":step"  # after the name of a weight


def write(found: Packed, path: Path) -> None:
    """Keep it as safetensors: `name:codes` as bytes, `name:step`, and the rest under its own names."""
    from safetensors.torch import save

    tensors = {name: t.contiguous() for name, t in found.rest.items()}
    for name, bits in found.packed.items():
        tensors[name + CODES] = torch.frombuffer(bytearray(bits), dtype=torch.uint8)
        tensors[name + STEP] = found.steps[name].contiguous()
    about = json.dumps({"bits": found.grid.bits, "offsets": found.offsets})
    places.write(path, save(_apart(tensors), {FORMAT: about}))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own, which safetensors asks for: what was shared is kept twice."""
    return {name: t.detach().cpu().clone() for name, t in tensors.items()}


def read(path: Path, model: nn.Module) -> tuple[Packed, Codes]:
    """What `write` kept for a model of this shape, and its codes. Raises ParameterError, in one line."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
    except (SafetensorError, OSError) as error:
        raise ParameterError(f"{path}: no safetensors there ({' '.join(str(error).split())})") from None
    try:
        about = json.loads(about[FORMAT])
        grid, offsets = Grid(about["bits"]), dict(about["offsets"])
    except (KeyError, ValueError, TypeError):
        raise ParameterError(f"{path}: it was not written by t0qat.save ({FORMAT})") from None
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    expected = {name: shape for name, shape in shapes.items() if name not in offsets}
    for name in offsets:
        shape = shapes.get(name, (0,))
        expected |= {name + CODES: (-(-grid.bits * math.prod(shape) // 8),), name + STEP: shape[:1]}
    here = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted({*here, *expected}):
        if here.get(name) != expected.get(name):
            shown = [found.get(name, "nothing") for found in (here, expected)]
            raise ParameterError(f"{path}: {name} is {shown[0]}, in this model it would be {shown[1]}")
    for name in offsets:
        step = tensors[name + STEP]
        if not bool((step.isfinite() & (step > 0)).all()):
            raise ParameterError(f"{path}: {name}: a step is zero, negative or not finite")
    rest = {name: t for name, t in tensors.items() if not name.endswith((CODES, STEP))}
    bits = {name: tensors[name + CODES].numpy().tobytes() for name in offsets}
    steps = {name: tensors[name + STEP] for name in offsets}
    codes = {
        name: Coded(
            unpack(bits[name], torch.Size(shapes[name]), grid).flatten(1), steps[name][:, None], offset
        )
        for name, offset in offsets.items()
    }
    return Packed(grid, bits, steps, offsets, rest), codes
