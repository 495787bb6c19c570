"""How fast networks run as files in runtimes, and in how much memory, beside the same network in floats.

One input at a time, on one thread. Weights are those of a start: what they are changes no time. These
numbers are of one machine; they decide nothing.
"""

import multiprocessing
import platform
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from t0qat.experiments import running
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.deployment import FILE
from t0qat.experiments.settings import checked
from t0qat.pipeline import statistics
from t0qat.quantization import rounding
from t0qat.quantization.rounding import Network
from t0qat.training import language_models
from t0qat.training.models import MODELS, start
from t0qat.training.streams import stream

LAYER, SIZE = "layer", 1024  # one linear layer with as many inputs as outputs
ON_IMAGES = "mlp", "deep_cnn", "residual_cnn"
IMAGE = (1, 8, 8)  # channels, height, width
VOCABULARY = 96


class Case(NamedTuple):
    """One file."""

    model: str
    runtime: str
    format: str
    bits: int
    path: Path
    inputs: Tensor  # one

    def label(self) -> dict:
        return {"model": self.model} | dict(zip(FILE, self[1:4], strict=True))


def networks(seed: int, context: int) -> dict[str, tuple[nn.Module, Tensor]]:
    """Name -> the network and a batch of two inputs."""
    draws = stream("initialization", 0, seed)
    pixels = torch.from_numpy(draws.random((2, IMAGE[1] * IMAGE[2]), "float32"))
    row = torch.from_numpy(draws.standard_normal((2, SIZE), "float32"))
    found = {LAYER: (start(nn.Linear(SIZE, SIZE), draws), row)}
    found |= {name: (MODELS[name](draws, IMAGE), pixels) for name in ON_IMAGES}
    tokens = torch.from_numpy(draws.integers(VOCABULARY, size=(2, context)))
    for name in language_models.SMALL:
        net = language_models.laid_out(language_models.small(name, VOCABULARY, context, draws))
        found[name] = net, tokens
    return found


def cases(folder: Path, seed: int, context: int, bits: list[int]) -> Iterator[Case]:
    """Every network's file for FLOAT and each of the widths, in each runtime that is there."""
    for model, (net, inputs) in networks(seed, context).items():
        net.eval()
        for name, runtime in running.RUNTIMES.items():
            for width in (FLOAT, *bits) if runtime.there else ():
                codes = {}
                if width != FLOAT:
                    codes = rounding.codes_of(Network(net), "nearest", width, "absmax")
                if not runtime.holds(net, codes, width):
                    continue
                path = folder / f"{model}.{name}.{width}"
                file = runtime.write(net, inputs, codes, width, path)
                yield Case(model, name, file.format, width, path, inputs[:1])


@checked
def speeds(
    *, rounds: int, repeats: int, bits: list[int] = (8, 4, 3, 2), context: int = 32, seed: int = 0
) -> pd.DataFrame:
    """machine, model, FILE, quantity, mean, ci_low, ci_high and n, over rounds.

    quantity: milliseconds of one input, the mean of so many repeats; megabytes (10^6 bytes) by which the
    process grows at most while it loads and runs the file; faster and smaller: the float file's number
    of the same round and runtime over this one's (8-bit inputs: over ONNX Runtime's). In a round all
    files take turns. Raises ParameterError, in one line, before computing.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        every = list(cases(Path(folder), seed, context, [*bits]))
        asks = [running.RUNTIMES[case.runtime].ask(case.path) for case in every]
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload([__name__])
        for number in range(rounds):
            with ProcessPoolExecutor(1, processes, max_tasks_per_child=1) as pool:
                grown = list(pool.map(growth, every))
            for case, ask, megabytes in zip(every, asks, grown, strict=True):
                where = case.label() | {"round": number}
                found.append(where | {"quantity": "milliseconds", "value": timed(ask, case, repeats)})
                found.append(where | {"quantity": "megabytes", "value": megabytes})
    rows = pd.DataFrame(found)
    rows = pd.concat([rows, beside_floats(rows)])
    table = statistics.means(rows, ["model", *FILE, "quantity"])
    return table.assign(machine=processor())


def beside_floats(rows: pd.DataFrame) -> pd.DataFrame:
    """`faster` and `smaller`, of each round."""
    base = rows.runtime.replace(running.EIGHT, running.EXACT)
    keys = ["model", "round", "quantity"]
    floats = rows[rows.eval_bits == FLOAT].set_index([*keys, "runtime"])["value"]
    rows = rows.assign(base=base)[rows.eval_bits != FLOAT]
    those = floats.loc[pd.MultiIndex.from_frame(rows[[*keys, "base"]])].to_numpy()
    names = {"milliseconds": "faster", "megabytes": "smaller"}
    rows = rows.assign(value=those / rows["value"], quantity=rows.quantity.map(names))
    return rows.drop(columns="base")


def timed(ask: running.runtimes.Ask, case: Case, repeats: int) -> float:
    """Milliseconds of one input."""
    ask(case.inputs)
    began = time.perf_counter()
    for _ in range(repeats):
        ask(case.inputs)
    return 1000 * (time.perf_counter() - began) / repeats


def growth(case: Case) -> float:
    """Megabytes by which this process, which is new, grows at most while it loads and runs a file."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten, proc(5)
    before = _kilobytes("VmRSS")
    running.RUNTIMES[case.runtime].ask(case.path)(case.inputs)
    return max(_kilobytes("VmHWM") - before, 1) * 1024 / 1e6


def _kilobytes(name: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0])


def processor() -> str:
    """Its name, as the system has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":")[1].split())
    return platform.machine()
