"""What there is to learn, whatever it is, and the learning of it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from t0qat.quantization import quantizers
from t0qat.quantization.layers import Weights
from t0qat.training import constants, loop, streams
from t0qat.training.streams import stream
from t0qat.training.views import Objective


class Examples(NamedTuple):
    """What a network trains on."""

    inputs: Tensor
    target: Tensor
    epochs: int
    order: np.random.Generator  # draws the order of batches


class Task(NamedTuple):
    """A network before training, what there is to learn, and how it is judged."""

    net: nn.Module
    examples: Callable[[], Examples]
    loss: Callable[[Tensor, Tensor], Tensor]  # of outputs and target, to be lessened
    steps: int  # of training
    calibration: Callable[[], Tensor]  # as of Trained
    scores: Callable[..., list[list]]  # likewise
    criterion: Callable[..., float]  # Trained.loss
    parts: Any = None  # as of Trained


class Kind(NamedTuple):
    """What a benchmark's networks learn."""

    begin: Callable[..., Task]  # of the arguments of `fit`
    own: Callable[..., dict[str, Any]]  # (arm, arguments that all trainings share) -> those of its own
    files: Callable[[str, str], list[Path]]  # that data set and model are read from
    code: tuple  # modules that the weights depend on


def learn(
    task: Task,
    objective: Objective,
    learning_rate: float,
    schedule: str,
    *,
    batch_size: int,
    replicate: int,
    seed: int,
    **_: Any,
) -> Weights:
    """Train the task's network; gives the method's own weights."""
    extra = objective.extra(dict(task.net.named_parameters()))
    examples = task.examples()
    loop.train(
        task.net,
        examples.inputs,
        examples.target,
        objective,
        stream("training_noise", replicate, seed),
        epochs=examples.epochs,
        learning_rate=learning_rate,
        loss=task.loss,
        batch_size=batch_size,
        order=examples.order,
        schedule=schedule,
        extra=extra,
    )
    task.net.eval()
    return extra


# What every training depends on, beside its kind and the functions of its own method.
CODE = (sys.modules[__name__], constants, loop, quantizers, streams)
