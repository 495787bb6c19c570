"""A model that knows which integers its weights are made of, and the files that hold it elsewhere."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import gguf_file, onnx_file, packing, rounding, safetensors_file
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Coded, Codes


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
        _check(name, coded, held.grid)
        weight = weights.get(name)
        if weight is None or not torch.equal(weight.flatten(1), coded.values.to(weight)):
            raise ParameterError(f"{name}: it changed since the model was converted; convert it again")
    return held


def _check(name: str, coded: Coded, grid: Grid) -> None:
    """Raises ParameterError for a code that is not the grid's, and a step that no weight has."""
    (low, high), codes, step = grid.codes, coded.codes, coded.step
    wrong = codes[(codes != codes.round()) | (codes < low) | (codes > high)]
    if len(wrong):
        raise ParameterError(f"{name}: code {wrong[0]:g}; allowed are whole numbers, {low} to {high}")
    wrong = step[~(step.isfinite() & (step > 0))]
    if len(wrong):
        raise ParameterError(f"{name}: step {wrong[0]:g}; allowed is a finite number above 0")


def is_module(model: Any) -> None:
    if not isinstance(model, nn.Module):
        raise ParameterError(f"model: it is a {type(model).__name__}; allowed is a torch.nn.Module")


def save(model: nn.Module, path: str | Path) -> None:
    """Keep a converted model's integers, steps and other tensors as safetensors; whole or not at all.

    Raises ParameterError, in one line, before anything is written: for a model that is not converted, or
    changed since, for more than 8 bits, and where nothing can be written.
    """
    held = integers(model)
    if held.grid.bits > safetensors_file.WIDEST:
        allowed = f"1 to {safetensors_file.WIDEST}"
        raise ParameterError(f"bits = {held.grid.bits}: t0qat.save packs codes of {allowed} bits")
    safetensors_file.write(packing.packed(model, held.codes, held.grid), Path(path))


def load(path: str | Path, model: nn.Module) -> nn.Module:
    """A copy of the model, of which only the structure counts, with what `save` kept.

    Nothing is unpickled. Raises ParameterError, in one line, for a file that is damaged or of another
    model.
    """
    is_module(model)
    found, codes = safetensors_file.read(Path(path), model)
    for name, coded in codes.items():
        _check(f"{path}: {name}", coded, found.grid)
    converted = noted(model, codes, found.grid)
    converted.load_state_dict(found.rest, strict=False)
    return converted


ENDINGS = (".onnx", ".gguf")


def export(model: nn.Module, path: str | Path, inputs: Tensor | None = None) -> None:
    """A converted model as a file for another runtime, with its codes and steps; whole or not at all.

    path ends in .onnx, for ONNX Runtime, with codes of 1 to 8 bits, or in .gguf, for llama.cpp, which
    takes a Llama of transformers at 8, 4, 3 or 2 bits. inputs: for .onnx an example batch (n, ...), by
    default what the model trained on; the file takes any n, but the other sizes as they are here. Raises
    ParameterError, in one line, before anything is written.
    """
    held, path = integers(model), Path(path)
    if path.suffix not in ENDINGS:
        raise ParameterError(f"{path}: allowed are files that end in {' or '.join(ENDINGS)}")
    if path.suffix == ".gguf":
        gguf_file.write(model, held.codes, held.grid.bits, path)
        return
    inputs = held.inputs if inputs is None else inputs
    if not isinstance(inputs, Tensor) or not inputs.ndim or not len(inputs):
        allowed = "a tensor of one row or more, as the model takes it"
        raise ParameterError(f"inputs: an ONNX file needs an example batch: {allowed}")
    onnx_file.write(model, held.codes, held.grid, path, torch.cat([inputs[:2], inputs[:2]])[:2])
