"""What networks of the image benchmark learn and are judged by."""

import math
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat.experiments.arms import Arm
from t0qat.experiments.learning import Learner, at_most
from t0qat.quantization import packing
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Codes
from t0qat.training import images, loop, models, tasks
from t0qat.training.models import MODELS
from t0qat.training.streams import stream

LENGTH = "epochs"  # the argument that says how long a training is
CALIBRATION = 256  # images of the training part, for roundings that look at inputs
TOGETHER = 1024  # images a forward pass of evaluation


def begin(
    *,
    dataset: str,
    model: str,
    layout: str,
    epochs: float,
    batch_size: int,
    part: str,
    replicate: int,
    seed: int,
    device: str,
    **_: Any,
) -> Learner:
    """A network from this replicate's streams, which learns to name images. layout: only channels.

    part: what it is judged by: "test", or "validation", which never sees the test part.
    Scores: accuracy (share named rightly) and loss (mean cross entropy in nats, at most that of a guess
    among the classes); of exported integers: differing (images that they name otherwise than the
    fake-quantized weights) and bytes (of all that is exported).
    """
    source = images.load(dataset)
    data = source.split(replicate, seed)
    data = data if part == "test" else tasks.held_out_quarter(data, replicate, seed)
    inputs, classes, others, target = (torch.from_numpy(array).to(device) for array in data)
    net = MODELS[model](stream("initialization", replicate, seed), source.shape, source.classes)
    most = math.log(source.classes)

    def examples(replica: int) -> dict[str, Any]:
        order = stream("batch_order", replicate, seed, replica)
        return {"inputs": inputs, "target": classes, "epochs": epochs, "order": order}

    def criterion(net: nn.Module) -> float:
        return at_most(cross_entropy(outputs(net, others), target).item(), most)

    def scores(seen: nn.Module, codes: Codes | None, on: Grid | None) -> list[list]:
        logits = outputs(seen, others)
        answers = logits.argmax(1)
        found = [["accuracy", (answers == target).double().mean().item()]]
        found += [["loss", at_most(cross_entropy(logits, target).item(), most)]]
        if codes is None:
            return [*found, ["bytes", sum(t.nbytes for t in seen.state_dict().values())]]
        integers = packing.packed(net, codes, on)
        differing = outputs(packing.runnable(integers, net), others).argmax(1) != answers
        return [*found, ["differing", differing.sum().item()], ["bytes", integers.total_bytes]]

    steps = round(epochs * loop.batches(len(inputs), batch_size))
    calibration = inputs[:CALIBRATION]
    return Learner(net.to(device), examples, cross_entropy, steps, calibration, scores, criterion)


@torch.no_grad()
def outputs(net: nn.Module, inputs: Tensor) -> Tensor:
    """(images, classes)."""
    return torch.cat([net(part) for part in inputs.split(TOGETHER)])


def own(arm: Arm, replicate: int, *, epochs: int, **shared: Any) -> dict[str, Any]:
    """Its share of the epochs, which are counted in gradient evaluations."""
    return shared | {"epochs": epochs * arm.registered.share}


files = images.files
CODE = (sys.modules[__name__], images, models, packing, tasks)
