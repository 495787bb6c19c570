"""Speed and cost as ratios, both sides of each measured in one run: what `make bench` prints.

The engine against the paper's own loop, one thread each. Cells of the vision and of the language
benchmark by the grid, in processes of one thread, against a plain loop with torch's default threads. A
training step of every method, and the exported integer model, against plain training and the float
model, one thread each. Three steps in processes with the pin against processes without it. And what the
notebooks took, from the record.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from t0qat.experiments import language, on_text, vision
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.benchmark import Jobs
from t0qat.paper import PAPER
from t0qat.pipeline import costs, grid, notebooks, pin, places
from t0qat.pipeline.paper import Paper
from t0qat.quantization import packing
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Network, nearest
from t0qat.training import language_models, linear, loop, tasks
from t0qat.training.constants import FEATURES, SAMPLES, XI, XI_SCALING, reported_evaluation_noise
from t0qat.training.methods import REGISTRY
from t0qat.training.models import small_cnn
from t0qat.training.streams import stream
from t0qat.training.tasks import synthetic
from t0qat.training.views import additive_noise

ROUNDS = 5
LOOPS = 3  # runs of the paper's loop a round
SCALES = [XI * XI_SCALING * i / 40 for i in range(40)]
REPLICATES = range(linear.CHUNK)
EPOCHS = 300
GRID_ROUNDS = 3
NETWORKS = {"replicates": 2, "few_replicates": 2, "models": ["small_cnn", "deep_cnn"], "few_models": []}
NETWORKS |= {"methods": ["t0_qat", "random_bits"], "device": "cpu"}
LANGUAGE = {"replicates": 2, "tuning_starts": 1, "few_models": [], "groups": [], "everything": []}
LANGUAGE |= {"methods": ["t0_qat", "random_bits"], "pretraining_steps": 1, "device": "cpu"}
BATCH = 64  # images a training step
FORWARDS = 20  # of each timed model
STEPS = "plain_steps"  # an argument: print these alone


def papers_loop(generator: torch.Generator) -> tuple[float, float]:
    """One run as the paper's listing does it: data, training, losses before and after noise."""
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator)
    target = inputs.sum(1, keepdim=True) + 0.1 * torch.randn(SAMPLES, 1, generator=generator)
    fc = nn.Linear(FEATURES, 1)
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(fc.parameters(), lr=0.005)

    def noisy(scale):
        weight = fc.weight + scale * torch.randn(fc.weight.shape, generator=generator)
        bias = fc.bias + scale * torch.randn(fc.bias.shape, generator=generator)
        return F.linear(inputs, weight, bias)

    for _ in range(EPOCHS):
        optimizer.zero_grad()
        criterion(noisy(XI * XI_SCALING), target).backward()
        optimizer.step()
    with torch.no_grad():
        full = criterion(fc(inputs), target)
        return full.item(), criterion(noisy(reported_evaluation_noise()), target).item()


def engine(scales: list[float]) -> None:
    """The same for every replicate and scale: fresh data a replicate, draws shared by the scales."""
    train, test = linear.moments(synthetic(i) for i in REPLICATES)
    start = linear.initial(FEATURES, REPLICATES)
    noise = linear.noise_draws("training_noise", REPLICATES, (EPOCHS, FEATURES + 1))
    shift = linear.noise_draws("evaluation_noise", REPLICATES, (FEATURES + 1,))
    for scale in scales:
        trained = linear.train(train, start, additive_noise(scale), noise)
        test.loss(trained), test.loss(trained + reported_evaluation_noise() * shift)


def floor() -> None:
    """Nothing but the random numbers that the engine draws for fresh data, into memory in cache."""
    draws = {
        "data": np.empty(SAMPLES * (FEATURES + 1), np.float32),
        "training_noise": np.empty(EPOCHS * (FEATURES + 1), np.float32),
        "evaluation_noise": np.empty(FEATURES + 1, np.float32),
    }
    for replicate in REPLICATES:
        for purpose, out in draws.items():
            stream(purpose, replicate).standard_normal(out=out, dtype=np.float32)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pin.one_thread()
def against_papers_loop() -> tuple[float, float, float]:
    """Medians of the paper's loop in engine times, without and with shared draws, and of the floor."""
    generator = torch.Generator().manual_seed(0)
    rounds = []
    engine(SCALES[-1:]), papers_loop(generator)  # warm up
    for i in range(ROUNDS):
        loop = seconds(lambda: [papers_loop(generator) for _ in range(LOOPS)]) / LOOPS
        unique = seconds(lambda: engine(SCALES[-1:])) / len(REPLICATES)
        shared = seconds(lambda: engine(SCALES)) / len(REPLICATES) / len(SCALES)
        draws = seconds(floor) / len(REPLICATES)
        rounds.append((loop / unique, loop / shared, draws / unique))
        print(
            f"round {i + 1}: paper's loop {loop * 1e3:.1f} ms a run; engine {unique * 1e6:.0f} us a"
            f" replicate, {shared * 1e6:.0f} us a cell; random numbers alone {draws * 1e6:.0f} us"
        )
    return tuple(statistics.median(column) for column in zip(*rounds, strict=True))


def vision_cells() -> list[grid.Cell]:
    """Networks of the vision benchmark, each at its first candidate."""
    return first_candidates(vision.plan(**NETWORKS))


def language_cells() -> list[grid.Cell]:
    """Models of the language benchmark, each at its first candidate, hardly trained before."""
    return first_candidates(language.plan(**LANGUAGE).begun())


def first_candidates(jobs: Jobs) -> list[grid.Cell]:
    return [cell for _, cell in jobs.tests({one.arm: one.candidates[0] for one in jobs.rivals})]


def in_grid(cells: list[grid.Cell]) -> list:
    """Results of cells as grid.run computes them, with nothing taken from stores or kept there."""
    fresh = [replace(cell, kept=False, reads=replace(cell.reads, kept=False)) for cell in cells]
    return grid.run(fresh, "bench")


def in_loop(cells: list[grid.Cell]) -> list:
    """The same one after the other in this process, with as many threads as torch has now."""
    return [cell.made(cell.reads.opened(cell.reads.made(), **cell.reads.arguments)) for cell in cells]


def against_plain_loop(several: list[grid.Cell]) -> float:
    """The grid's cells a second in those of the loop, each in its fastest round.

    The fastest, not the median: another process slows a loop of many threads far more than the grid.
    """
    rounds = []
    in_grid(several), in_loop(several[:1])  # warm up
    for i in range(GRID_ROUNDS):
        loop, ours = seconds(lambda: in_loop(several)), seconds(lambda: in_grid(several))
        rounds.append((loop, ours))
        print(
            f"round {i + 1}: {len(several) / loop:.2f} cells a second by a plain loop of"
            f" {torch.get_num_threads()} threads, {len(several) / ours:.2f} by the grid"
        )
    loop, ours = map(min, zip(*rounds, strict=True))
    return loop / ours


def medians(works: dict[Any, Callable[[], object]], one: Any) -> pd.Series:
    """Each work's time as a ratio to that of works[one]: the median over rounds."""
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(ROUNDS + 1)]
    times = pd.DataFrame(rounds[1:])  # the first warms up
    return times.div(times[one], axis=0).median()


@pin.one_thread()
def step_costs() -> pd.Series:
    """Seconds of a training step of small_cnn on digits, by label: median ratio to plain training."""
    inputs, target = map(torch.from_numpy, tasks.digits(0)[:2])

    def epoch(objective) -> None:
        options = {"epochs": 1, "learning_rate": 0.01, "loss": F.cross_entropy, "batch_size": BATCH}
        draws, order = stream("training_noise", 0), stream("batch_order", 0)
        others = (stream("batch_order", 0, 0, replica) for replica in range(1, objective.batches))
        options["replicas"] = [(inputs, target, own) for own in others]
        net = small_cnn(stream("initialization", 0))
        loop.train(net, inputs, target, objective, draws, order=order, **options)

    objectives = {name: method.objective() for name, method in REGISTRY.items()}
    ratios = medians({name: partial(epoch, o) for name, o in objectives.items()}, "no_noise")
    return ratios.sort_values().rename({name: method.label for name, method in REGISTRY.items()})


@pin.one_thread()
@torch.no_grad()
def integer_models() -> pd.DataFrame:
    """Size and seconds a forward pass of the exported small_cnn, in those of the float one, by bits.

    Columns: size (bytes), latency_1 and latency_all (of one image, and of all test images at once;
    median over rounds). Whatever trained the weights, these are the same: initial ones are used. The
    exported network holds each code as a float32 number and multiplies by it; no integer arithmetic.
    """

    def forwards(model, images) -> None:
        for _ in range(FORWARDS):
            model(images)

    test = torch.from_numpy(tasks.digits(0).test_inputs)
    net = small_cnn(stream("initialization", 0)).eval()
    exported = {b: packing.packed(net, nearest(Network(net), Grid(b)), Grid(b)) for b in (8, 4, 3, 2)}
    ran = {FLOAT: net} | {bits: packing.runnable(model, net) for bits, model in exported.items()}
    found = {"size": pd.Series({bits: model.total_bytes for bits, model in exported.items()})}
    found["size"] /= sum(t.nbytes for t in net.state_dict().values())
    for name, images in (("latency_1", test[:1]), ("latency_all", test)):
        works = {b: partial(forwards, model, images) for b, model in ran.items()}
        found[name] = medians(works, FLOAT).drop(FLOAT)
    return pd.DataFrame(found)


@pin.one_thread()
def plain_steps() -> dict[str, float]:
    """Seconds of the linear engine on one batch, and of an epoch of a vision and a language model."""
    inputs, target = map(torch.from_numpy, tasks.digits(0)[:2])
    images = {"loss": F.cross_entropy, "batch_size": BATCH}
    tokens = torch.from_numpy(stream("data", 0).integers(0, 96, (16 * FORWARDS, 65)))
    text = {"loss": on_text.mean_loss, "batch_size": 16}
    networks = {
        "vision": (small_cnn(stream("initialization", 0)), inputs, target, images),
        "language": (
            language_models.small("small_llama", 96, 64, stream("initialization", 0)),
            tokens[:, :-1],
            tokens[:, 1:],
            text,
        ),
    }

    def epoch(name: str) -> None:
        net, inputs, target, how = networks[name]
        draws, order = stream("training_noise", 0), stream("batch_order", 0)
        plain = REGISTRY["no_noise"].objective()
        loop.train(net, inputs, target, plain, draws, epochs=1, order=order, **how)

    works = {"linear": partial(engine, SCALES[-1:])} | {name: partial(epoch, name) for name in networks}
    for work in works.values():
        work()
    return {name: statistics.median(seconds(work) for _ in range(3)) for name, work in works.items()}


def pin_costs() -> pd.Series:
    """How many times as long each of plain_steps takes with the pin: median ratio of processes."""

    def measured(environment: dict[str, str]) -> pd.Series:
        command = [sys.executable, __file__, STEPS]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        return pd.Series(json.loads(done.stdout))

    free = {name: value for name, value in os.environ.items() if name not in pin.KERNELS}
    rounds = [measured(free | pin.settings()) / measured(free) for _ in range(GRID_ROUNDS)]
    return pd.DataFrame(rounds).median()


def core_minutes(paper: Paper, home: Path = places.ROOT) -> pd.Series:
    """Of each notebook, by the record below home; NaN of one that is not in it."""
    record = costs.read(home)
    return pd.Series({name: cost.core_seconds / 60 for name, cost in record.items()}).reindex(
        [notebook.name for notebook in notebooks.load(paper)]
    )


def main(paper: Paper) -> None:
    """Print each round and four tables, then the ratios in one line."""
    unique, shared, fraction = against_papers_loop()
    torch.set_num_threads(joblib.cpu_count())  # torch's default where no pin holds it to one
    vision_faster, language_faster = map(against_plain_loop, (vision_cells(), language_cells()))
    print("\nA training step of small_cnn, plain training = 1:")
    print(step_costs().to_string(float_format="%.2f"))
    print("\nThe exported small_cnn, float model = 1; latency of one image and of all test images:")
    print(integer_models().to_string(float_format="%.3f"))
    pinned = pin_costs()
    print(
        "\nThe linear engine, and a step of small_cnn and of small_llama, with the pin, without it = 1:"
    )
    print(pinned.to_string(float_format="%.2f"))
    print(f"\nCore-minutes of each notebook, by {costs.RECORD}:")
    print(core_minutes(paper).to_string(float_format="%.1f", na_rep="–"))
    faster = f"vision={vision_faster:.2f} language={language_faster:.2f} pin={pinned.max():.2f}"
    print(f"\nbench: unique={unique:.0f} shared={shared:.0f} floor={fraction:.2f} {faster}")


if __name__ == "__main__":
    if sys.argv[1:] == [STEPS]:
        print(json.dumps(plain_steps()))
    else:
        main(PAPER)
