"""What a trained network is asked as a file in a runtime: its predictions, its score and its bytes.

Every file holds the codes and steps by which the benchmarks' fake quantization rounds the network, and
runs on one thread. A prediction is the largest output: the class of an image, or the next token.
"""

import dataclasses
import functools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from t0qat.experiments import on_text, trained
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.learning import Learner
from t0qat.pipeline import grid
from t0qat.quantization import gguf_file, onnx_file, runtimes, sealed_file
from t0qat.quantization.layers import quantized
from t0qat.quantization.rounding import Coded, Codes, rounded
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream

TIE = 1e-5  # of the largest output: outputs so near are equal but for the order of sums


class File(NamedTuple):
    """A network's file."""

    format: str  # of its rounded weights
    bytes: int
    weight_bytes: int  # of these weights' codes and steps; 0 where none is rounded


def _as_they_are(codes: Codes) -> Codes:
    return codes


class Runtime(NamedTuple):
    """What runs networks elsewhere."""

    label: str
    package: str  # the module that must be there
    distribution: str
    # (network, an example batch, codes or {}, bits, path) -> what was written there
    write: Callable[[nn.Module, Tensor, Codes, int, Path], File]
    ask: Callable[[Path], runtimes.Ask]
    kept: Callable[[Codes], Codes] = _as_they_are  # the codes and steps that its files hold
    # (network, codes or {}, bits) -> whether its files hold that
    holds: Callable[[nn.Module, Codes, int], bool] = lambda *_: True

    @property
    def there(self) -> bool:
        return find_spec(self.package) is not None


# Of this process: a network's shape -> its graph, whose weights do not matter.
_GRAPHS: dict[Any, Any] = {}


def graph_of(net: nn.Module, example: Tensor):
    """The network's ONNX graph with its own weights."""
    state = net.state_dict()
    shapes = tuple((name, tuple(t.shape)) for name, t in state.items())
    key = str(net), shapes, tuple(example.shape[1:])
    if key not in _GRAPHS:
        _GRAPHS[key] = onnx_file.traced(net, example[:2])
    return onnx_file.filled(_GRAPHS[key], state)


def _onnx(level: int) -> Callable[[nn.Module, Tensor, Codes, int, Path], File]:
    def write(net: nn.Module, example: Tensor, codes: Codes, bits: int, path: Path) -> File:
        graph, wide = graph_of(net, example), 0
        if codes:
            wide = onnx_file.container(bits)
            graph = onnx_file.integers(graph, codes, wide, level)
        path.write_bytes(graph.SerializeToString())
        name = f"int{wide}" if codes else "float32"
        return File(name, path.stat().st_size, onnx_file.code_bytes(graph))

    return write


def _gguf(net: nn.Module, _: Tensor, codes: Codes, bits: int, path: Path) -> File:
    gguf_file.write(net, codes, bits, path)
    if not codes:
        return File("F32", path.stat().st_size, 0)
    name, used = gguf_file.CONTAINERS[bits].name, gguf_file.code_bytes(codes, bits)
    return File(name, path.stat().st_size, used)


def _in_half(codes: Codes) -> Codes:
    return {name: Coded(c.codes, gguf_file.as_kept(c.step), c.offset) for name, c in codes.items()}


def _fits(net: nn.Module, codes: Codes, bits: int) -> bool:
    """Whether a GGUF file holds it: a Llama, no levels between codes, and rows of whole blocks."""
    between = any(coded.offset for coded in codes.values())
    return not between and gguf_file.fits(net, bits if codes else None)


_ONNX = "onnxruntime", "onnxruntime"
RUNTIMES = {
    "onnxruntime": Runtime("ONNX Runtime", *_ONNX, _onnx(0), runtimes.onnx),
    "onnxruntime_8": Runtime("ONNX Runtime, 8-bit inputs", *_ONNX, _onnx(4), runtimes.onnx,
                             holds=lambda _, __, bits: bits != FLOAT),
    "llama_cpp": Runtime("ik_llama.cpp", "ik_llama_cpp", "ik-llama-cpp-python", _gguf,
                         runtimes.llama_cpp, _in_half, _fits),
}  # fmt: skip
EXACT, EIGHT, LLAMA = RUNTIMES  # the first multiplies floats, as fake quantization does; others do not


def versions() -> dict[str, str]:
    """Of the distributions that run files here; "" of one that is missing."""
    found = {}
    for runtime in RUNTIMES.values():
        try:
            found[runtime.distribution] = version(runtime.distribution)
        except PackageNotFoundError:
            found[runtime.distribution] = ""
    return found


class Recorded(nn.Module):
    """A network that keeps what it answers."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.outputs = net, []

    def forward(self, inputs: Tensor) -> Tensor:
        self.outputs.append(self.net(inputs))
        return self.outputs[-1]


class Running(nn.Module):
    """A file in its runtime in the place of a network; counts how far it agrees with that one.

    expected: what the network answered to the same inputs, one batch after the other.
    """

    def __init__(self, ask: runtimes.Ask, expected: Iterable[Tensor]):
        super().__init__()
        self.ask, self.expected = ask, iter(expected)
        self.predictions = self.differing = self.untied = 0
        self.largest = 0.0

    def forward(self, inputs: Tensor) -> Tensor:
        found, expected = torch.from_numpy(self.ask(inputs)), next(self.expected)
        mine, other = found.argmax(-1, keepdim=True), expected.argmax(-1, keepdim=True)
        gap = expected.gather(-1, other) - expected.gather(-1, mine)
        self.predictions += mine.numel()
        self.differing += (mine != other).sum().item()
        self.untied += (gap > TIE * expected.abs().amax(-1, keepdim=True)).sum().item()
        self.largest = max(self.largest, (found - expected).abs().max().item())
        return found


def codes_of(learner: Learner, method: str, bits: int) -> Codes:
    """By the method's own scale rule; none for FLOAT."""
    if bits == FLOAT:
        return {}
    return trained.codes_of(learner, method, bits, REGISTRY[method].rule(bits, learner.bits))


@torch.no_grad()
def in_runtimes(
    learner: Learner,
    *,
    method: str,
    widths: list[int],
    metric: str,
    where: list[str],
    versions: dict[str, str],
    **judged: Any,
) -> list[list]:
    """Rows [runtime, format, bits, metric, value], for FLOAT and each of the widths in each runtime.

    where: names in RUNTIMES; versions: theirs, which the result hangs on. Metrics: those of
    Learner.scores, of the file as it runs; difference: of `metric` from fake quantization's;
    predictions, differing (from its), untied (where its own two outputs lie farther apart than TIE),
    largest (difference of an output); file_bytes, weight_bytes, and floor_bytes (bits x weights).
    """
    found, weights = [], quantized(dict(learner.net.named_parameters()))
    count = sum(p.numel() for p in weights.values())
    score = functools.partial(learner.scores, codes=None, on=None, **judged)
    for bits in (FLOAT, *widths):
        codes = codes_of(learner, method, bits)
        fake: dict[Any, tuple[Recorded, dict[str, float]]] = {}  # by what files keep of the codes
        for name in where:
            runtime = RUNTIMES[name]
            if not runtime.holds(learner.net, codes, bits):
                continue
            if runtime.kept not in fake:
                twin = Recorded(rounded(learner.net, runtime.kept(codes)))
                fake[runtime.kept] = twin, _averaged(score(twin))
            twin, expected = fake[runtime.kept]
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network"
                file = runtime.write(learner.net, learner.calibration, codes, bits, path)
                running = Running(runtime.ask(path), twin.outputs)
                scores = _averaged(score(running))
            said = scores | {"difference": scores[metric] - expected[metric]}
            said |= {key: getattr(running, key) for key in ("predictions", "differing", "untied")}
            said |= {"largest": running.largest, "file_bytes": file.bytes}
            said["weight_bytes"] = file.weight_bytes if codes else 4 * count
            said["floor_bytes"] = math.ceil(bits * count / 8)
            found += [[name, file.format, bits, key, value] for key, value in said.items()]
    return found


@torch.no_grad()
def writes(
    learner: Learner,
    *,
    method: str,
    widths: list[int],
    length: int,
    context: int,
    replicate: int,
    seed: int,
    versions: dict[str, str],
    **_: Any,
) -> list[list]:
    """Rows [bits, text]: `length` tokens that the model's GGUF file writes after the start of the text.

    For FLOAT and each of the widths; every width draws the same numbers. text: a JSON string.
    """
    found, runtime = [], RUNTIMES[LLAMA]
    for bits in (FLOAT, *widths):
        codes = codes_of(learner, method, bits)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network"
            runtime.write(learner.net, learner.calibration, codes, bits, path)
            ask = runtime.ask(path)
            draws = stream("evaluation_noise", replicate, seed)
            net = lambda ids, ask=ask: torch.from_numpy(ask(ids))  # noqa: E731
            ids = on_text.written(net, learner.text[:context], length, context, draws)
        found.append([bits, json.dumps(learner.tokens.decode(ids.tolist()))])
    return found


def _averaged(rows: list[list]) -> dict[str, float]:
    """The mean of each metric, without the bytes of a network of torch's."""
    values: dict[str, list[float]] = {}
    for name, value, *_ in rows:
        if name != "bytes":
            values.setdefault(name, []).append(value)
    return {name: math.fsum(some) / len(some) for name, some in values.items()}


def depending(cell: grid.Cell) -> grid.Cell:
    """The cell, which hangs on what writes and runs files too."""
    code = (*cell.code, sys.modules[__name__], gguf_file, onnx_file, sealed_file, runtimes)
    return dataclasses.replace(cell, code=code, arguments=cell.arguments | {"versions": versions()})
