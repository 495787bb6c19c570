"""A model that knows which integers its weights are made of, and the files that hold it elsewhere."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import gguf_file, onnx_file, packing, rounding, safetensors_file
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Codes


class Rounded(NamedTuple):
    """What is noted on a converted model, as `model.t0qat`."""

    codes: Codes
    grid: Grid
    inputs: Tensor | None = None  # an example batch, if one was seen


def noted(model: nn.Module, codes: Codes, grid: Grid, inputs: Tensor | None = None) -> nn.Module:
    """A copy of the model, in evaluation mode, whose weights are those of the codes."""
    converted = rounding.rounded(model, codes).eval()
    converted.t0qat = Rounded(codes, grid, inputs)
    return converted


def integers(model: nn.Module) -> Rounded:
    """What a converted model's weights are made of. Raises ParameterError."""
    is_module(model)
    held = getattr(model, "t0qat", None)
    if not isinstance(held, Rounded):
        raise ParameterError("model: it is not converted; allowed is what t0qat.convert gives")
    weights = dict(model.named_parameters())
    for name, coded in held.codes.items():
        if not torch.equal(weights[name].flatten(1), coded.values.to(weights[name])):
            raise ParameterError(f"{name}: it changed since the model was converted; convert it again")
    return held


def is_module(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ParameterError(f"model: it is a {type(model).__name__}; allowed is a torch.nn.Module")


def save(model: nn.Module, path: str | Path) -> None:
    """Keep a converted model's integers, steps and other tensors as safetensors; whole or not at all.

    Raises ParameterError for a model that is not converted, or changed since.
    """
    held = integers(model)
    safetensors_file.write(packing.packed(model, held.codes, held.grid), Path(path))


def load(path: str | Path, model: nn.Module) -> nn.Module:
    """A copy of the model, of which only the structure counts, with what `save` kept.

    Nothing is unpickled. Raises ParameterError, in one line, for a file that is damaged or of another
    model.
    """
    is_module(model)
    found, codes = safetensors_file.read(Path(path), model)
    converted = noted(model, codes, found.grid)
    converted.load_state_dict(found.rest, strict=False)
    return converted


ENDINGS = (".onnx", ".gguf")


def export(model: nn.Module, path: str | Path, inputs: Tensor | None = None) -> None:
    """A converted model as a file for another runtime, with its codes and steps; whole or not at all.

    path ends in .onnx, for ONNX Runtime, or .gguf, for llama.cpp, which takes a Llama of transformers at
    8, 4, 3 or 2 bits. inputs: for .onnx an example batch of two rows or more, by default what the model
    trained on. Raises ParameterError, in one line, before anything is written.
    """
    held, path = integers(model), Path(path)
    if path.suffix not in ENDINGS:
        raise ParameterError(f"{path}: allowed are files that end in {' or '.join(ENDINGS)}")
    if path.suffix == ".gguf":
        gguf_file.write(model, held.codes, held.grid.bits, path)
        return
    inputs = held.inputs if inputs is None else inputs
    if inputs is None or len(inputs) < 2:
        raise ParameterError("inputs: an ONNX file needs an example batch of two rows or more")
    onnx_file.write(model, held.codes, held.grid, path, inputs)
