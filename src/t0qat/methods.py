"""Training methods. Each is one small thing: how the parameters look in a training forward pass.

The stored parameters W stay clean; a training forward sees `method(W, noise)`, the gradient is taken
there and flows back through the method to W, which the optimizer updates. To add a method, write a
function of its settings that returns such a function, and add its line to METHODS: it then has its
row in every table, figure and paired comparison.
"""

import inspect
from collections import ChainMap
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from t0qat.constants import XI, XI_SCALING

# (parameter, standard normal draws like it) -> what is seen. Elementwise: the linear engine hands a view
# the weights and biases of many replicates at once.
View = Callable[[Tensor, Tensor], Tensor]


def additive_noise(scale: float) -> View:
    """W + scale * noise: independent Gaussian noise of standard deviation scale, in units of W."""
    return lambda parameter, noise: parameter + scale * noise


def no_noise() -> View:
    """W itself: plain training."""
    return additive_noise(0.0)


def standard_qat(baseline_noise: float = 0.4) -> View:
    """The paper's baseline, "empirical noise injection" (section 3.1); its scale is not published."""
    return additive_noise(baseline_noise)


def t0_qat(xi_scaling: float = XI_SCALING) -> View:
    """W + xi * xi_scaling * noise, xi = 4/3 * 1e-4 (the paper's section 5.1).

    W and the noise may have any shape; xi * xi_scaling (10.667 as published) is in units of W.
    """
    return additive_noise(XI * xi_scaling)


class Method(NamedTuple):
    label: str  # as tables and figures show it
    build: Callable[..., View]  # keyword settings with defaults -> the method


METHODS = {
    "standard_qat": Method("Standard QAT", standard_qat),
    "t0_qat": Method("T0-QAT", t0_qat),
    "no_noise": Method("No noise", no_noise),
}
# Registered methods at settings of their own; only experiments that ask for them show them.
VARIANTS = {"xi_alone": Method("xi alone", partial(t0_qat, 1.0))}
NAMED = ChainMap(METHODS, VARIANTS)  # both, as they are when asked


def build(**settings: float) -> dict[str, View]:
    """Every registered method, each with those of the settings that its function names.

    Raises TypeError for a setting that no method takes.
    """
    takes = {name: inspect.signature(method.build).parameters for name, method in METHODS.items()}
    unknown = set(settings) - {setting for names in takes.values() for setting in names}
    if unknown:
        raise TypeError(f"no method takes {', '.join(sorted(unknown))}")
    return {
        name: method.build(**{key: settings[key] for key in takes[name] if key in settings})
        for name, method in METHODS.items()
    }


def training_forward(
    model: nn.Module, view: View, noise: Callable[[Tensor], Tensor], *inputs: Tensor
) -> Tensor:
    """The model's output as training sees it: each parameter p replaced by view(p, noise(p)).

    model: any nn.Module; its stored parameters stay as they are, and backward() leaves gradients,
    taken at the point that was seen, in their .grad. noise: gives standard normal draws of the shape
    and dtype of the parameter it gets, fresh at each call. Errors are those of the model's forward.
    Source: the paper's section 5, written for one linear layer there.
    """
    seen = {name: view(p, noise(p)) for name, p in model.named_parameters()}
    return functional_call(model, seen, inputs)


def noise_from(draws: np.random.Generator) -> Callable[[Tensor], Tensor]:
    """Standard normal float32 draws from a stream, in the parameter's type, for training_forward."""
    return lambda p: torch.from_numpy(draws.standard_normal(p.shape, np.float32)).to(p)
