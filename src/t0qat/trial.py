"""One network of a benchmark on images: trained by a method, rounded to every width, exported, read.

This room holds what determines a cell's result, and nothing else: an edit here computes every cell anew.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat import (
    constants,
    export,
    gptq,
    grid,
    images,
    methods,
    models,
    quantizers,
    rounding,
    streams,
    tasks,
    training,
)
from t0qat.arms import FLOAT, Arm, preset, sources
from t0qat.methods import HALF, REGISTRY, Method
from t0qat.models import MODELS
from t0qat.quantizers import SCALES, Grid
from t0qat.rounding import ROUNDINGS, rounded
from t0qat.streams import stream

CALIBRATION = 256  # images of the training part, for roundings that look at inputs
TOGETHER = 1024  # images a forward pass of evaluation


def train_and_round(
    *,
    dataset: str,
    model: str,
    method: str,
    settings: dict[str, Any],
    learning_rate: float,
    epochs: int,
    batch_size: int,
    schedule: str,
    widths: list[int],
    part: str,
    replicate: int,
    seed: int,
    device: str,
) -> list[list]:
    """One cell: numbers [bits, scale rule, metric, value], for FLOAT and each of the widths.

    settings: all that the method takes, bits among them if it trains for a width. part: "test", or
    "validation", which never sees the test part. Metrics: accuracy (share named rightly), differing
    (images that the exported integer codes name otherwise than the fake-quantized weights), bytes (of
    all that is exported); of training: gradients (evaluations on one batch), weight_norm (2-norm of all
    quantized weights).
    """
    source = images.load(dataset)
    data = source.split(replicate, seed)
    data = data if part == "test" else tasks.held_out_quarter(data, replicate, seed)
    inputs, target, other_inputs, other_target = (torch.from_numpy(a).to(device) for a in data)
    net = MODELS[model](stream("initialization", replicate, seed), source.shape, source.classes)
    net = net.to(device)
    registered = REGISTRY[method]
    objective = registered._replace(build=preset(registered)[0]).objective(**settings)
    extra = objective.extra(dict(net.named_parameters()))
    training.train(
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
    net.eval()
    answers = named(net, other_inputs)
    weights = methods.quantized(dict(net.named_parameters())).values()
    found = [
        [FLOAT, "none", "accuracy", share(answers == other_target)],
        [FLOAT, "none", "bytes", sum(t.nbytes for t in net.state_dict().values())],
        [FLOAT, "none", "weight_norm", torch.cat([w.detach().flatten() for w in weights]).norm().item()],
        [
            FLOAT,
            "none",
            "gradients",
            registered.gradients * training_steps(len(inputs), epochs, batch_size),
        ],
    ]
    for bits in widths:
        for rule, how in rules(registered, bits, settings.get("bits")).items():
            on = Grid(bits, scale=rule if rule in SCALES else "absmax")
            codes = ROUNDINGS[how](net, on, extra, inputs[:CALIBRATION])
            answers = named(rounded(net, codes), other_inputs)
            exported = export.export(net, codes, on)
            differing = named(export.runnable(exported, net), other_inputs) != answers
            found.append([bits, rule, "accuracy", share(answers == other_target)])
            found.append([bits, rule, "differing", differing.sum().item()])
            found.append([bits, rule, "bytes", exported.total_bytes])
    return found


def training_steps(images: int, epochs: int, batch_size: int) -> int:
    """Of training.train, with batches of nearly equal size."""
    return epochs * max(1, round(images / batch_size))


def rules(method: Method, bits: int, train_bits: int | None) -> dict[str, str]:
    """Scale rule -> rounding: both of SCALES, and learned steps where these bits learned them."""
    learned = method.rounding == "learned"
    found = dict.fromkeys(SCALES, "nearest" if learned else method.rounding)
    return found | ({"learned": "learned"} if learned and bits == train_bits else {})


@torch.no_grad()
def named(net: nn.Module, inputs: Tensor) -> Tensor:
    """The class of each image: that of the largest output."""
    return torch.cat([net(part).argmax(1) for part in inputs.split(TOGETHER)])


def share(events: Tensor) -> float:
    return events.double().mean().item()


# What every cell depends on, beside the functions of its own method.
CODE = (
    sys.modules[__name__],
    constants,
    export,
    images,
    models,
    quantizers,
    rounding,
    streams,
    tasks,
    training,
)


def cell(
    arm: Arm, learning_rate: float, strength: float, replicate: int, part: str, **shared
) -> grid.Cell:
    """Train the arm with these on this replicate; shared: the arguments that all cells share."""
    method = arm.registered
    settings = preset(method)[1] | ({"bits": arm.train_bits} if arm.train_bits else {})
    settings |= {method.strength: strength} if method.strength else {}
    own = {"dataset": arm.dataset, "model": arm.model, "method": arm.method.removesuffix(HALF)}
    own |= {"settings": settings, "learning_rate": learning_rate, "replicate": replicate}
    own |= {"part": part, "epochs": arm.epochs(shared["epochs"])}
    files = [Path(arm.dataset)] if arm.dataset.endswith(".npz") else []
    code = *CODE, *sources(method), *([gptq] if method.rounding == "gptq" else []), *files
    return grid.Cell(train_and_round, shared | own, tuple(code))
