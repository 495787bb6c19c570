"""What there is to learn, whatever it is, and the learning of it."""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from t0qat.quantization import quantizers
from t0qat.quantization.layers import Weights
from t0qat.training import constants, loop, prepared, streams
from t0qat.training.corpora import Tokens
from t0qat.training.streams import stream
from t0qat.training.views import Objective


class Learner(NamedTuple):
    """A network, what there is for it to learn, and how it is judged."""

    net: nn.Module
    # Inputs, target, epochs and order, as loop.train takes them, of one of the coupled replicas.
    examples: Callable[[int], dict[str, Any]]
    training_loss: Callable[[Tensor, Tensor], Tensor]  # of outputs and target
    steps: int  # of training
    calibration: Tensor  # inputs of the training part, for roundings that look at inputs
    # Rows [metric, value, ...] of (a network of its shape, its codes, their grid), None where it is not
    # rounded; keyword arguments say by what it is judged.
    scores: Callable[..., list[list]]
    criterion: Callable[..., float]  # of a network of its shape: what tuning lessens, finite
    tokens: Tokens | None = None  # what a language model reads a text as
    text: Tensor | None = None  # those (length,) that it is judged by
    extra: Weights | None = None  # what the method trained beside the network's parameters
    bits: int | None = None  # that it was trained for


def learn(
    learner: Learner,
    method: Objective,
    learning_rate: float,
    schedule: str,
    *,
    batch_size: int,
    replicate: int,
    seed: int,
    **_: Any,
) -> Weights:
    """Train the network; gives the method's own weights."""
    extra = method.extra(dict(learner.net.named_parameters()))
    first, *others = map(learner.examples, range(method.batches))
    replicas = [(one["inputs"], one["target"], one["order"]) for one in others]
    loop.train(
        learner.net, method=method, draws=stream("training_noise", replicate, seed), extra=extra,
        loss=learner.training_loss, learning_rate=learning_rate, batch_size=batch_size,
        schedule=schedule, replicas=replicas, **first,
    )  # fmt: skip
    learner.net.eval()
    return {} if replicas else extra  # the network is all that is left of replicas


def packed(net: nn.Module, extra: Weights) -> Weights:
    """Parameters and buffers under their names, and the method's own: what a training gives."""
    return {**dict(net.named_parameters()), **dict(net.named_buffers()), **extra}


@torch.no_grad()
def unpacked(weights: Weights, net: nn.Module) -> Weights:
    """Put a training's weights into a network of its shape; gives the method's own."""
    own = packed(net, {})
    for name, tensor in own.items():
        tensor.copy_(weights[name])
    device = next(net.parameters()).device
    return {name: tensor.to(device) for name, tensor in weights.items() if name not in own}


def at_most(value: float, most: float) -> float:
    """The value; `most` where it is more, or no number."""
    return min(value, most) if math.isfinite(value) else most


# What every training depends on, beside its kind and the functions of its own method.
CODE = (sys.modules[__name__], constants, loop, prepared, quantizers, streams)
