"""Integer files in the runtimes that others use: ONNX Runtime and llama.cpp, on one thread."""

import ctypes
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import integers, sealed_file
from t0qat.quantization.onnx_file import cause, outputs

# What llama.cpp tells of its work goes nowhere.
SILENCE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
CONTEXT = 512  # tokens that llama.cpp makes room for, or as many as are asked
Ask = Callable[[Tensor], np.ndarray]  # inputs -> outputs, float32


def onnx(path: Path) -> Ask:
    """A file in ONNX Runtime. Raises ParameterError, in one line."""
    data, runtime = sealed_file.read(path), installed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    # Products with dequantized weights in float too: else inputs may be rounded to 8 bits unasked.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(data, options, ["CPUExecutionProvider"])
    except Exception as error:  # whatever its reader raises
        raise ParameterError(f"{path}: ONNX Runtime cannot read it ({cause(error)})") from None
    names = [given.name for given in session.get_inputs()]
    if len(names) != 1:
        raise ParameterError(f"{path}: it takes {len(names)} inputs; allowed is 1")

    def ask(inputs: Tensor) -> np.ndarray:
        try:
            return session.run(None, {names[0]: inputs.cpu().numpy()})[0]
        except Exception as error:
            raise ParameterError(f"inputs: {path} does not take them ({cause(error)})") from None

    return ask


def llama_cpp(path: Path) -> Ask:
    """A file of gguf_file in llama.cpp: tokens (n, context) -> logits (n, context, vocabulary).

    It rounds activations to 8 bits. Each row is read from an empty memory. Raises ParameterError.
    """
    # Given a file that is damaged, it ends the process.
    sealed_file.read(path, "t0qat.export")
    installed("ik_llama_cpp")
    from ik_llama_cpp import _ctypes_api as c
    from ik_llama_cpp import _internals as parts

    c._lib.llama_log_set(SILENCE, None)
    try:
        model = parts.IkModel(str(path))
    except Exception as error:
        raise ParameterError(f"{path}: llama.cpp cannot read it ({cause(error)})") from None
    size, longest = model.n_vocab, c._lib.llama_n_ctx_train(ctypes.c_void_p(model.model))

    @functools.lru_cache(1)
    def memory(room: int):
        try:
            return parts.IkContext(model, n_ctx=room, n_threads=1, flash_attn=False)
        except RuntimeError as error:
            raise ParameterError(f"{path}: llama.cpp cannot run it ({cause(error)})") from None

    def ask(inputs: Tensor) -> np.ndarray:
        _tokens(inputs, size, longest)
        found = np.empty((*inputs.shape, size), np.float32)
        context = memory(max(CONTEXT, inputs.shape[1]))
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


def _tokens(inputs: Tensor, size: int, longest: int) -> None:
    """Raises ParameterError for what is no (n, context) of tokens, which llama.cpp does not notice."""
    whole = not (inputs.is_floating_point() or inputs.is_complex())
    if not whole or inputs.ndim != 2:
        given = f"{inputs.dtype} of shape {tuple(inputs.shape)}"
        raise ParameterError(f"inputs: {given}; llama.cpp takes whole numbers (n, context)")
    if not 1 <= inputs.shape[1] <= longest:
        raise ParameterError(f"inputs: {inputs.shape[1]} tokens a row; the file allows 1 to {longest}")
    wrong = inputs[(inputs < 0) | (inputs >= size)]
    if len(wrong):
        raise ParameterError(f"inputs: token {wrong[0]}; the file allows 0 to {size - 1}")


RUNTIMES: dict[str, Callable[[Path], Ask]] = {".onnx": onnx, ".gguf": llama_cpp}


class Agreement(NamedTuple):
    """How far a file in its runtime agrees with a model."""

    equal: float  # share of predictions (of the largest output) that are the same
    largest: float  # absolute difference of an output
    n: int  # predictions


def runtime_agrees(model: nn.Module, file: str | Path, inputs: Tensor) -> Agreement:
    """Whether a file, in the runtime for its ending, predicts what the model does on these inputs.

    inputs: a batch as the model takes it; in a .gguf file token ids (n, context). The model is put into
    evaluation mode. Raises ParameterError, in one line: another ending, a file that is damaged or takes
    or gives other shapes than the model, a runtime that is not installed.
    """
    integers.is_module(model)
    path = Path(file)
    if path.suffix not in RUNTIMES:
        raise ParameterError(f"{path}: allowed are files that end in {' or '.join(RUNTIMES)}")
    if not isinstance(inputs, Tensor) or not inputs.numel():
        shown = "an empty tensor" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ParameterError(f"inputs: {shown}; allowed is a tensor of one row or more")
    found = RUNTIMES[path.suffix](path)(inputs)
    expected = outputs(model, inputs).float().cpu().numpy()
    if found.shape != expected.shape:
        raise ParameterError(f"{path}: it gives shape {found.shape}, the model {expected.shape}")
    same = found.argmax(-1) == expected.argmax(-1)
    return Agreement(same.mean().item(), np.abs(found - expected).max().item(), same.size)


def installed(package: str):
    """The runtime; raises ParameterError where it is not installed."""
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"fails ({cause(error)})"
        raise ParameterError(f"{package} {why}; pip install '.[runtimes]' brings it") from None
