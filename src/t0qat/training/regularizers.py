"""Methods that change what training minimizes."""

from functools import partial

import torch
from torch import Tensor

from t0qat.quantization.layers import quantized
from t0qat.training.views import Method, Objective, before_steps, rounded_groups


def sam(rho: float = 0.05) -> Objective:
    """loss(W + rho g / |g|), g the gradient at W over all parameters, without gradient through it.

    Source: Foret et al. (2021), arXiv 2010.01412.
    """

    def value(loss, weights, draws):
        free = {name: p for name, p in weights.items() if p.requires_grad}
        slopes = torch.autograd.grad(loss({}), list(free.values()))
        norm = torch.stack([slope.norm() for slope in slopes]).norm() + 1e-12
        climbed = zip(free.items(), slopes, strict=True)
        return loss({name: p + rho / norm * slope for (name, p), slope in climbed})

    return Objective(value)


def kurtosis(weights: Tensor) -> Tensor:
    """Fourth standardized moment of all entries: 3 for a normal distribution, 1.8 for a uniform one."""
    centered = weights - weights.mean()
    return centered.pow(4).mean() / centered.square().mean().square()


def kure(strength: float = 1.0) -> Objective:
    """loss(W) + strength * mean over layers of (kurtosis - 1.8)**2: weights as if uniform.

    Source: Shkolnik et al. (2020), arXiv 2002.07686.
    """

    def value(loss, weights, draws):
        layers = quantized(weights).values()
        penalty = sum((kurtosis(p) - 1.8).square() for p in layers) / len(layers)
        return loss({}) + strength * penalty

    return Objective(value)


def weight_decay(decay: float = 0.1) -> Objective:
    """The loss, and w *= 1 - rate * decay before each step, on the weights that quantization rounds.

    rate is the learning rate of the step. Source: Loshchilov & Hutter (2019), "AdamW", arXiv 1711.05101.
    """

    def shrink(optimizer, done):
        for group in rounded_groups(optimizer):
            for p in group["params"]:
                p.mul_(1 - group["lr"] * decay)

    return Objective(lambda loss, weights, draws: loss({}), around=partial(before_steps, shrink))


METHODS = {
    "sam": Method("SAM", sam, "regularization", 2, "rho", (0.01, 0.03, 0.1), text=False),
    "kure": Method("KURE", kure, "regularization", 1, "strength", (0.3, 1.0, 3.0), text=False),
    "weight_decay": Method("Weight decay", weight_decay, "regularization", 1, "decay", (0.01, 0.1, 1.0)),
}
