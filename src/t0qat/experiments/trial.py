"""One network of a benchmark: trained by a method, then opened for questions.

What there is to learn is of a kind (rooms `on_images`, `on_text`). These rooms and `learning` hold what
determines the weights, and how they are judged: an edit there trains anew.
"""

import sys
from typing import Any

from t0qat.experiments import learning, on_images, on_text
from t0qat.experiments.arms import Arm, is_importable, known, preset, sources
from t0qat.experiments.learning import Learner
from t0qat.pipeline import grid
from t0qat.quantization.layers import Weights
from t0qat.training.methods import REGISTRY
from t0qat.training.views import objective_of

# Each has `begin`: the arguments of `fit` -> a Learner; `own`: (arm, replicate, arguments that all
# trainings share) -> those of its own; `files`: (data set, model) -> what they are read from; LENGTH;
# and CODE.
KINDS = {"images": on_images, "text": on_text}


def fit(
    *, kind: str, method: str, settings: dict[str, Any], learning_rate: float, schedule: str, **what: Any
) -> Weights:
    """A training of the grid. settings: all that the method takes; what: what `begin` takes."""
    learner = KINDS[kind].begin(**what)
    objective = objective_of(preset(REGISTRY[method])[0](**settings))
    extra = learning.learn(learner, objective, learning_rate, schedule, **what)
    return learning.packed(learner.net, extra)


def opened(weights: Weights, *, kind: str, settings: dict[str, Any], **what: Any) -> Learner:
    """The network of `fit`, judged on what it did not train on."""
    learner = KINDS[kind].begin(**what)
    extra = learning.unpacked(weights, learner.net)
    learner.net.eval()
    return learner._replace(extra=extra, bits=settings.get("bits"))


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
    code = (sys.modules[__name__], *learning.CODE, *found.CODE, *sources(arm.registered))
    code += (*found.files(arm.dataset, arm.model),)
    return grid.Training(fit, own, code, known(own["method"]), kept, opened)
