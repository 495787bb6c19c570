"""One network of a benchmark: trained by a method, then opened for questions.

What there is to learn is of a kind (rooms `on_images`, `on_text`). These rooms and `learning` hold what
determines the weights, and how they are judged: an edit there trains anew.
"""

import sys
from typing import Any

from t0qat.experiments import learning, on_images, on_text, trained
from t0qat.experiments.arms import Arm, is_importable, known, preset, sources
from t0qat.experiments.trained import Trained
from t0qat.pipeline import grid
from t0qat.quantization.layers import Weights
from t0qat.training.methods import REGISTRY

KINDS = {"images": on_images.KIND, "text": on_text.KIND}


def fit(
    *, kind: str, method: str, settings: dict[str, Any], learning_rate: float, schedule: str, **what: Any
) -> Weights:
    """A training of the grid. settings: all that the method takes; what: what `begin` takes."""
    task = KINDS[kind].begin(**what)
    registered = REGISTRY[method]
    objective = registered._replace(build=preset(registered)[0]).objective(**settings)
    return trained.packed(task.net, learning.learn(task, objective, learning_rate, schedule, **what))


def opened(
    weights: Weights, *, kind: str, method: str, settings: dict[str, Any], **what: Any
) -> Trained:
    """The network of `fit`, judged on what it did not train on."""
    task = KINDS[kind].begin(**what)
    extra = trained.unpacked(weights, task.net)
    task.net.eval()
    gradients, bits = REGISTRY[method].gradients * task.steps, settings.get("bits")
    judged = task.scores, task.criterion, task.parts
    return Trained(task.net, extra, bits, task.calibration(), gradients, *judged)


CODE = (sys.modules[__name__], trained.packed, trained.unpacked, *learning.CODE)


def train(
    kind: str,
    arm: Arm,
    learning_rate: float,
    strength: float,
    *,
    part: str,
    replicate: int,
    **shared: Any,
) -> grid.Training:
    """The training of this arm with these. shared: the other arguments of `fit`.

    Weights of the test part are kept, where what they depend on can be seen.
    """
    found = KINDS[kind]
    own = {"kind": kind, "part": part, "replicate": replicate} | arm.training(learning_rate, strength)
    own |= found.own(arm, replicate, **shared)
    kept = part == "test" and is_importable(arm.registered)
    code = (*CODE, *found.code, *sources(arm.registered), *found.files(arm.dataset, arm.model))
    return grid.Training(fit, own, code, known(own["method"]), kept, opened)
