"""Speed of the engine against the paper's own loop, both in one run, on one thread each."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits
from torch import nn

from t0qat import linear
from t0qat.constants import FEATURES, SAMPLES, XI, XI_SCALING, reported_evaluation_noise
from t0qat.methods import additive_noise
from t0qat.streams import stream
from t0qat.tasks import synthetic

ROUNDS = 5
LOOPS = 3  # runs of the paper's loop a round
SCALES = [XI * XI_SCALING * i / 40 for i in range(40)]
REPLICATES = range(linear.CHUNK)
EPOCHS = 300


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


def main() -> None:
    """Print each round, then the medians of the ratios."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rounds = []
    with threadpool_limits(1):
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
    unique, shared, fraction = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"bench: unique={unique:.0f} shared={shared:.0f} floor={fraction:.2f}")
