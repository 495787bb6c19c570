"""Exact engine for a linear layer with bias and mean squared error: many replicates at once.

With z = (x, 1) and v = (weights, bias) the loss is v'Av - 2b'v + c, where A = mean(zz'), b = mean(zy)
and c = mean(y^2): a replicate's data enter only through these moments. All arrays here have the
replicate as their last axis, and every operation is elementwise in a fixed order, so a replicate has
the same bits in any batch. One multiplication and one addition at a time (no fused operation):
IEEE arithmetic then gives the same numbers on every processor.
"""

import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from t0qat.training.streams import normals, stream
from t0qat.training.tasks import TASKS, Data
from t0qat.training.views import View, additive_noise

CHUNK = 2048  # replicates a batch, at most: hides the cost of a call
DRAWS = 2**25  # training draws a batch, at most: 128 MiB
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults, in torch and in Kingma & Ba (2015)


class Moments(NamedTuple):
    """Second moments of (x, 1) and y over a replicate's samples, float64."""

    a: Tensor  # (d, d, replicates), d = features + 1
    b: Tensor  # (d, replicates)
    c: Tensor  # (replicates,)

    @property
    def variance(self) -> Tensor:
        """Variance of the target: (replicates,). The last of z is 1, so that of b is the mean of y."""
        return self.c - self.b[-1] ** 2

    @property
    def beside(self) -> "Moments":
        """The same moments with room for an axis between parameters and replicates."""
        return Moments(self.a[:, :, None], self.b[:, None], self.c)

    def loss(self, v: Tensor) -> Tensor:
        """Mean squared error of parameters v (d, ..., replicates): (..., replicates), float64."""
        v = v.double()
        product = _product(self.a.numpy(), v.numpy(), *(np.empty(v.shape) for _ in range(2)))
        slope = torch.from_numpy(product) - 2 * self.b
        total = self.c.expand(v.shape[1:]).clone()
        for value, term in zip(v, slope, strict=True):
            total += value * term
        return total


def gram(inputs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean of uu' with u = (x, 1, y), in float64: (features + 2, features + 2)."""
    u = np.ones((inputs.shape[1] + 2, len(inputs)))
    u[:-2], u[-1] = inputs.T, target
    return u @ u.T / len(inputs)


def moments(data: Iterable[Data]) -> tuple[Moments, Moments]:
    """Moments of the training and the test part of each replicate, one Gram product a part."""
    train, test = [], []
    for replicate in data:  # one at a time: its samples are let go once they are summed up
        train.append(gram(replicate.inputs, replicate.target))
        same = replicate.test_inputs is replicate.inputs
        test.append(train[-1] if same else gram(replicate.test_inputs, replicate.test_target))
    stacks = (torch.from_numpy(np.stack(grams, -1)) for grams in (train, test))
    return tuple(Moments(g[:-1, :-1], g[:-1, -1], g[-1, -1]) for g in stacks)


def initial(features: int, replicates: range, seed: int = 0) -> Tensor:
    """nn.Linear(features, 1)'s default start, U(-1, 1) / sqrt(features): (features + 1, replicates)."""
    bound = 1 / np.sqrt(features)
    rows = [stream("initialization", r, seed).uniform(-bound, bound, features + 1) for r in replicates]
    return torch.from_numpy(np.float32(rows).T.copy())


def noise_draws(purpose: str, replicates: range, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Standard normal draws (*shape, replicates), float32."""
    out = np.empty((*shape, len(replicates)), np.float32)
    for i in range(0, len(replicates), 64):  # a block stays in cache while it is turned
        out[..., i : i + 64] = np.moveaxis(normals(purpose, replicates[i : i + 64], shape, seed), 0, -1)
    return torch.from_numpy(out)


class Setup(NamedTuple):
    """What an experiment on the layer sets, under the names of the notebooks' parameters."""

    seed: int = 0
    target: str = "sum"  # of the synthetic task, as target_noise
    target_noise: float = 0.1
    epochs: int = 300
    learning_rate: float = 0.005

    def data(self, dataset: str, replicates: range) -> Iterator[Data]:
        """Of one of TASKS, which gets those of the fields that it names."""
        task = TASKS[dataset]
        known = inspect.signature(task).parameters
        options = {name: value for name, value in self._asdict().items() if name in known}
        return (task(i, **options) for i in replicates)

    def runs(self, dataset: str, replicates: range) -> "Runs":
        return Runs.of(self.data(dataset, replicates), replicates, self)

    def batches(self, dataset: str, replicates: int) -> Iterator["Runs"]:
        """Replicates 0 ... replicates - 1, as many at once as their draws allow."""
        draws = self.epochs * size(dataset)
        return (self.runs(dataset, chunk) for chunk in chunks(replicates, draws))


class Runs(NamedTuple):
    """What all trainings of some replicates share: data, start, and draws, made when asked for."""

    train: Moments
    test: Moments
    start: Tensor  # (d, replicates), float32
    replicates: range
    setup: Setup

    @classmethod
    def of(cls, data: Iterable[Data], replicates: range, setup: Setup) -> "Runs":
        train, test = moments(data)
        return cls(train, test, initial(len(train.b) - 1, replicates, setup.seed), replicates, setup)

    def noise(self, run: str = "") -> Tensor:
        """Of training, (epochs, d, replicates). run: "second_" for draws of a run of its own."""
        shape = self.setup.epochs, len(self.start)
        return noise_draws(f"{run}training_noise", self.replicates, shape, self.setup.seed)

    def shift(self, run: str = "") -> Tensor:
        """Of evaluation, (d, replicates)."""
        shape = self.start.shape[:1]
        return noise_draws(f"{run}evaluation_noise", self.replicates, shape, self.setup.seed)

    def trained(self, view: View, noise: Tensor) -> Tensor:
        """Parameters after training, (d, replicates), float32."""
        return train(self.train, self.start, view, noise, self.setup.learning_rate)

    def trained_at(self, scales: Sequence[float] | Tensor, noise: Tensor) -> Tensor:
        """Parameters trained under weight noise of each scale: (d, scales, replicates), float32.

        scales: standard deviations in units of the weights, the same for all replicates, or a tensor
        (scales, replicates). noise: as `trained` takes it, the same for every scale.
        """
        scales = torch.as_tensor(scales, dtype=torch.float32).reshape(len(scales), -1)
        start = self.start[:, None].repeat(1, len(scales), 1)
        view, rate = additive_noise(scales), self.setup.learning_rate
        return train(self.train.beside, start, view, noise[:, :, None], rate)


def size(*datasets: str) -> int:
    """How many parameters the layer has, weights and bias, on the widest of these."""
    return 1 + max(TASKS[dataset](0).inputs.shape[1] for dataset in datasets)


def chunks(replicates: int, draws: int = 1, largest: int = CHUNK) -> Iterator[range]:
    """Ranges that together are 0 ... replicates - 1, each small enough for its draws a replicate."""
    size = max(1, min(largest, DRAWS // draws))
    return (range(i, min(i + size, replicates)) for i in range(0, replicates, size))


def train(
    moments: Moments, start: Tensor, view: View, noise: Tensor, learning_rate: float = 0.005
) -> Tensor:
    """The parameters after the last of `steps`."""
    (last,) = deque(steps(moments, start, view, noise, [learning_rate] * len(noise)), maxlen=1)
    return last


def steps(
    moments: Moments, start: Tensor, view: View, noise: Tensor, learning_rates: Iterable[float]
) -> Iterator[Tensor]:
    """Full-batch Adam on the loss at view(v, noise[epoch]), one epoch a row of noise.

    start: (d, replicates) float32, not changed. noise: (epochs, d, replicates). Yields the parameters,
    like start, after each epoch; the next epoch overwrites them. Equal to loop.train but for rounding.
    """
    # numpy, not torch: on small arrays it takes half as long to call.
    a, b = (part.to(start.dtype).contiguous().numpy() for part in (moments.a, moments.b))
    v = start.clone()
    values = v.numpy()  # shares its memory, as what follows does
    first, second, slope, spare = (np.zeros_like(values) for _ in range(4))
    for epoch, (draws, learning_rate) in enumerate(zip(noise, learning_rates, strict=True), 1):
        seen = view(v.requires_grad_(), draws)
        _product(a, seen.detach().numpy(), slope, spare)
        slope -= b
        slope *= 2
        (gradient,) = torch.autograd.grad(seen, v, torch.from_numpy(slope))
        gradient, v = gradient.numpy(), v.detach()
        first *= BETA1
        first += np.multiply(gradient, 1 - BETA1, out=spare)
        second *= BETA2
        np.multiply(gradient, gradient, out=spare)
        second += np.multiply(spare, 1 - BETA2, out=spare)
        np.divide(second, 1 - BETA2**epoch, out=spare)
        np.sqrt(spare, out=spare)  # correctly rounded, which torch's is not everywhere
        spare += EPSILON
        np.divide(first, spare, out=spare)
        values -= np.multiply(spare, learning_rate / (1 - BETA1**epoch), out=spare)
        yield v


def _product(a: np.ndarray, v: np.ndarray, out: np.ndarray, spare: np.ndarray) -> np.ndarray:
    """The matrix-vector product of every replicate: (d, d, ..., replicates), (d, ..., replicates)."""
    np.multiply(a[0], v[0], out=out)
    for row, value in zip(a[1:], v[1:], strict=True):  # a is symmetric: its rows are its columns
        out += np.multiply(row, value, out=spare)
    return out
