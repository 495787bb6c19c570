"""Integer files in the runtimes that others use: ONNX Runtime and llama.cpp, on one thread."""

import ctypes
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.onnx_file import logits

# What llama.cpp tells of its work goes nowhere.
SILENCE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
Ask = Callable[[Tensor], np.ndarray]  # inputs -> outputs, float32


def onnx(path: Path) -> Ask:
    """A file in ONNX Runtime. Raises ParameterError, in one line."""
    runtime = installed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    # Products with dequantized weights in float too: else inputs may be rounded to 8 bits unasked.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
    except Exception as error:  # whatever its reader raises
        raise ParameterError(f"{path}: ONNX Runtime cannot read it ({_line(error)})") from None
    (first,) = session.get_inputs()
    return lambda inputs: session.run(None, {first.name: inputs.cpu().numpy()})[0]


def llama_cpp(path: Path) -> Ask:
    """A file in llama.cpp: tokens (n, context) -> logits (n, context, vocabulary).

    It rounds activations to 8 bits. Each row is read from an empty memory. Raises ParameterError.
    """
    installed("ik_llama_cpp")
    from ik_llama_cpp import _ctypes_api as c
    from ik_llama_cpp import _internals as parts

    c._lib.llama_log_set(SILENCE, None)
    try:
        model = parts.IkModel(str(path))
    except Exception as error:
        raise ParameterError(f"{path}: llama.cpp cannot read it ({_line(error)})") from None
    size = model.n_vocab
    context = parts.IkContext(model, n_ctx=512, n_threads=1, flash_attn=False)

    def ask(inputs: Tensor) -> np.ndarray:
        found = np.empty((*inputs.shape, size), np.float32)
        for row, ids in zip(found, inputs.tolist(), strict=True):
            context.kv_cache_clear()
            batch = parts.make_embedding_batch([ids])  # which asks for the logits at every place
            try:
                if wrong := context.decode(batch):
                    raise ParameterError(f"{path}: llama.cpp cannot run it (code {wrong})")
                for place in range(len(ids)):
                    row[place] = np.ctypeslib.as_array(context.get_logits(place), (size,))
            finally:
                c.llama_batch_free(batch)
        return found

    return ask


RUNTIMES: dict[str, Callable[[Path], Ask]] = {".onnx": onnx, ".gguf": llama_cpp}


class Agreement(NamedTuple):
    """How far a file in its runtime agrees with a model."""

    equal: float  # share of predictions (of the largest output) that are the same
    largest: float  # absolute difference of an output
    n: int  # predictions


@torch.no_grad()
def runtime_agrees(model: nn.Module, file: str | Path, inputs: Tensor) -> Agreement:
    """Whether a file, in the runtime for its ending, predicts what the model does on these inputs.

    Raises ParameterError, in one line: another ending, a runtime that is not installed, a file that it
    cannot read.
    """
    path = Path(file)
    if path.suffix not in RUNTIMES:
        raise ParameterError(f"{path}: allowed are files that end in {' or '.join(RUNTIMES)}")
    ask = RUNTIMES[path.suffix](path)
    expected = logits(model.eval(), inputs).float().cpu().numpy()
    found = ask(inputs)
    same = found.argmax(-1) == expected.argmax(-1)
    return Agreement(same.mean().item(), np.abs(found - expected).max().item(), same.size)


def installed(package: str):
    """The runtime; raises ParameterError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        brings = "pip install '.[runtimes]' brings it"
        raise ParameterError(f"{package} is not installed; {brings}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
