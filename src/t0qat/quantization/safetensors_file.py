"""Integer codes in a safetensors file, which `t0qat.save` writes and `t0qat.load` reads."""

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import sealed_file
from t0qat.quantization.packing import Packed, unpack
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Coded, Codes

FORMAT = "t0qat integers 2"  # the one key of the file's metadata: more would have no order
CODES, STEP = ":codes", ":step"  # after the name of a weight
WIDEST = 8  # bits of a code that is packed


def write(found: Packed, path: Path) -> None:
    """Keep it as safetensors: `name:codes` as bytes, `name:step`, and the rest under its own names."""
    from safetensors.torch import save

    tensors = {name: t.contiguous() for name, t in found.rest.items()}
    for name, bits in found.packed.items():
        tensors[name + CODES] = torch.frombuffer(bytearray(bits), dtype=torch.uint8)
        tensors[name + STEP] = found.steps[name].contiguous()
    tensors = _apart(tensors)
    about = {"bits": found.grid.bits, "offsets": found.offsets, "seal": sealed_file.EMPTY}
    sealed_file.write(path, save(tensors, {FORMAT: json.dumps(about)}))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own, which safetensors asks for: what was shared is kept twice."""
    return {name: t.detach().cpu().clone() for name, t in tensors.items()}


def read(path: Path, model: nn.Module) -> tuple[Packed, Codes]:
    """What `write` kept for a model of this shape, and its codes. Raises ParameterError, in one line."""
    from safetensors import SafetensorError, safe_open

    sealed_file.read(path, "t0qat.save")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[FORMAT])
            tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
        grid = Grid(about["bits"])
        offsets = {name: float(offset) for name, offset in about["offsets"].items()}
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError):
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
