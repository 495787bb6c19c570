"""Integer codes in a safetensors file, which `t0qat.save` writes and `t0qat.load` reads."""

import hashlib
import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from t0qat.pipeline import places
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.packing import Packed, unpack
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Coded, Codes

FORMAT = "t0qat integers 2"  # the one key of the file's metadata: more would have no order
CODES, STEP = ":codes", ":step"  # after the name of a weight


def write(found: Packed, path: Path) -> None:
    """Keep it as safetensors: `name:codes` as bytes, `name:step`, and the rest under its own names."""
    from safetensors.torch import save

    tensors = {name: t.contiguous() for name, t in found.rest.items()}
    for name, bits in found.packed.items():
        tensors[name + CODES] = torch.frombuffer(bytearray(bits), dtype=torch.uint8)
        tensors[name + STEP] = found.steps[name].contiguous()
    tensors = _apart(tensors)
    about = {"bits": found.grid.bits, "offsets": found.offsets, "sha256": _digest(tensors)}
    places.write(path, save(tensors, {FORMAT: json.dumps(about)}))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own, which safetensors asks for: what was shared is kept twice."""
    return {name: t.detach().cpu().clone() for name, t in tensors.items()}


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of all names and values, as safetensors alone would not notice a changed byte."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(
            name.encode() + tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()


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
        grid, offsets, digest = Grid(about["bits"]), dict(about["offsets"]), about["sha256"]
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
    if _digest(tensors) != digest:
        raise ParameterError(f"{path}: it changed since t0qat.save wrote it")
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
