"""The one training loop for any torch module: readable, one replicate at a time."""

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim.lr_scheduler import LambdaLR

from t0qat.quantization.layers import Weights
from t0qat.training.prepared import Prepared
from t0qat.training.views import Objective, View, objective_of

WARMUP = 0.1  # share of the steps
# The other forms take square roots from MKL, which rounds some of them by the processor's maker.
ADAM = partial(torch.optim.Adam, fused=True)


def warmup_cosine(done: float) -> float:
    """Rises in a straight line over the first steps, then falls as a half cosine to 0."""
    return done / WARMUP if done < WARMUP else cosine((done - WARMUP) / (1 - WARMUP))


def cosine(done: float) -> float:
    """Falls as a half cosine from 1 to 0 (Loshchilov & Hutter 2017)."""
    return (1 + math.cos(math.pi * done)) / 2


# Learning rate, as a fraction of its largest value, after a share of all steps.
SCHEDULES = {
    "constant": lambda done: 1.0,
    "cosine": cosine,
    "warmup_cosine": warmup_cosine,
    "decaying": lambda done: 1 - done,
}


def train(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor,
    method: View | Objective,
    draws: np.random.Generator | Callable[[Tensor], Tensor],
    *,
    epochs: float = 300,
    learning_rate: float = 0.005,
    loss: Callable[[Tensor, Tensor], Tensor] = mse_loss,
    batch_size: int | None = None,
    order: np.random.Generator | None = None,
    schedule: str = "constant",
    optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
    extra: Weights | None = None,
    replicas: Sequence[tuple[Tensor, Tensor, np.random.Generator]] = (),
) -> nn.Module:
    """Each step minimizes the method's objective on one batch; the same model, trained.

    inputs (n, ...) and target as the loss takes them beside the model's output. draws: the training
    noise, as Prepared takes them. Each epoch is one batch of all, or `batches` of nearly equal size, in
    an order drawn from `order` (the stream "batch_order"); the last may be a part of one. schedule: a
    name in SCHEDULES. optimizer: takes groups of parameters and lr. extra: what the objective's `extra`
    made of the model; pass it in to have it afterwards, trained. replicas: inputs, target and order of
    each further batch that a step of the method takes. The defaults are the paper's (sections 3.2 and
    5.2). linear.train does the same for the paper's model, many at once.
    """
    count = batches(len(inputs), batch_size)
    steps = round(epochs * count)
    with closing(Prepared(model, objective_of(method), draws, extra=extra)) as prepared:
        base = optimizer(model.parameters(), lr=learning_rate)
        stepping = prepared.optimizer(base, steps)
        rates = LambdaLR(base, lambda step: SCHEDULES[schedule](step / max(1, steps)))
        each = (_epochs(*one, count) for one in ((inputs, target, order), *replicas))
        for parts in itertools.islice(zip(*each, strict=True), steps):
            base.zero_grad()
            prepared.minimized(*(partial(_batch_loss, model, loss, *part) for part in parts)).backward()
            stepping.step()
            rates.step()
    return model


def batches(n: int, batch_size: int | None) -> int:
    """How many make up an epoch of n inputs: one without a size, else of nearly that size."""
    return max(1, round(n / batch_size)) if batch_size else 1


def _epochs(inputs, target, order, count):
    """Batches without end."""
    while count == 1:
        yield inputs, target
    while True:
        mixed = torch.from_numpy(order.permutation(len(inputs))).to(inputs.device)
        yield from zip(inputs[mixed].tensor_split(count), target[mixed].tensor_split(count), strict=True)


def _batch_loss(model, loss, inputs, target) -> Tensor:
    return loss(model(inputs), target)
