"""One network of the benchmark on images: trained by a method, then opened for questions.

This room holds what determines the weights, and how they are judged: an edit here trains anew.
"""

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat.experiments import trained
from t0qat.experiments.arms import Arm, is_importable, known, preset, sources
from t0qat.experiments.trained import Trained
from t0qat.pipeline import grid
from t0qat.quantization import export, quantizers
from t0qat.quantization.layers import Weights
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Codes
from t0qat.training import constants, images, loop, models, streams, tasks
from t0qat.training.methods import REGISTRY
from t0qat.training.models import MODELS
from t0qat.training.streams import stream

CALIBRATION = 256  # images of the training part, for roundings that look at inputs
TOGETHER = 1024  # images a forward pass of evaluation


def parts(dataset: str, part: str, replicate: int, seed: int, device: str) -> list[Tensor]:
    """Inputs and target to train on, then those to judge by.

    part: "test", or "validation", which never sees the test part.
    """
    data = images.load(dataset).split(replicate, seed)
    data = data if part == "test" else tasks.held_out_quarter(data, replicate, seed)
    return [torch.from_numpy(array).to(device) for array in data]


def built(dataset: str, model: str, replicate: int, seed: int, device: str) -> nn.Module:
    """The network before training."""
    source = images.load(dataset)
    draws = stream("initialization", replicate, seed)
    return MODELS[model](draws, source.shape, source.classes).to(device)


def fit(
    *,
    dataset: str,
    model: str,
    method: str,
    settings: dict[str, Any],
    learning_rate: float,
    epochs: int,
    batch_size: int,
    schedule: str,
    part: str,
    replicate: int,
    seed: int,
    device: str,
) -> Weights:
    """A training of the grid. settings: all that the method takes, bits among them if it has them."""
    inputs, target, _, _ = parts(dataset, part, replicate, seed, device)
    net = built(dataset, model, replicate, seed, device)
    registered = REGISTRY[method]
    objective = registered._replace(build=preset(registered)[0]).objective(**settings)
    extra = objective.extra(dict(net.named_parameters()))
    loop.train(
        net,
        inputs,
        target,
        objective,
        stream("training_noise", replicate, seed),
        epochs=epochs,
        learning_rate=learning_rate,
        loss=cross_entropy,
        batch_size=batch_size,
        order=stream("batch_order", replicate, seed),
        schedule=schedule,
        extra=extra,
    )
    return trained.packed(net, extra)


def opened(
    weights: Weights,
    *,
    dataset: str,
    model: str,
    method: str,
    settings: dict[str, Any],
    epochs: int,
    batch_size: int,
    part: str,
    replicate: int,
    seed: int,
    device: str,
    **_: Any,
) -> Trained:
    """The network of `fit`, judged on the other images.

    Scores: accuracy (share named rightly) and loss (mean cross entropy in nats, at most that of a guess
    among the classes); of exported integers: differing (images that they name otherwise than the
    fake-quantized weights) and bytes (of all that is exported).
    """
    inputs, _, others, target = parts(dataset, part, replicate, seed, device)
    net = built(dataset, model, replicate, seed, device)
    extra = trained.unpacked(weights, net)
    net.eval()
    most = math.log(images.load(dataset).classes)

    def loss(net: nn.Module) -> float:
        return at_most(cross_entropy(outputs(net, others), target).item(), most)

    def scores(seen: nn.Module, codes: Codes | None, on: Grid | None) -> list[list]:
        logits = outputs(seen, others)
        answers = logits.argmax(1)
        found = [["accuracy", share(answers == target)]]
        found += [["loss", at_most(cross_entropy(logits, target).item(), most)]]
        if codes is None:
            return [*found, ["bytes", sum(t.nbytes for t in seen.state_dict().values())]]
        model = export.export(net, codes, on)
        differing = outputs(export.runnable(model, net), others).argmax(1) != answers
        return [*found, ["differing", differing.sum().item()], ["bytes", model.total_bytes]]

    gradients = REGISTRY[method].gradients * training_steps(len(inputs), epochs, batch_size)
    return Trained(net, extra, settings.get("bits"), inputs[:CALIBRATION], gradients, scores, loss)


def training_steps(images: int, epochs: int, batch_size: int) -> int:
    """Of loop.train, with batches of nearly equal size."""
    return epochs * max(1, round(images / batch_size))


@torch.no_grad()
def outputs(net: nn.Module, inputs: Tensor) -> Tensor:
    """(images, classes)."""
    return torch.cat([net(part) for part in inputs.split(TOGETHER)])


def at_most(value: float, most: float) -> float:
    """The value; `most` where it is more, or no number."""
    return min(value, most) if math.isfinite(value) else most


def share(events: Tensor) -> float:
    return events.double().mean().item()


# What every training depends on, beside the functions of its own method.
CODE = (
    sys.modules[__name__],
    constants,
    export,
    images,
    models,
    quantizers,
    streams,
    tasks,
    trained.packed,
    trained.unpacked,
    loop,
)


def train(arm: Arm, learning_rate: float, strength: float, **shared: Any) -> grid.Training:
    """The training of this arm with these. shared: the other arguments of `fit`.

    epochs are those of a method with one gradient evaluation a step; one with two gets half of them.
    Weights of the test part are kept, where what they depend on can be seen.
    """
    own = arm.training(learning_rate, strength)
    own |= {"epochs": max(1, shared["epochs"] // arm.registered.gradients)}
    files = [Path(arm.dataset)] if arm.dataset.endswith(".npz") else []
    kept = shared["part"] == "test" and is_importable(arm.registered)
    code = (*CODE, *sources(arm.registered), *files)
    return grid.Training(fit, shared | own, code, known(own["method"]), kept, opened)
