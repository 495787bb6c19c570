"""Small networks, each started from a replicate's own stream."""

import math

import numpy as np
import torch
from torch import nn


def start(model: nn.Module, draws: np.random.Generator) -> nn.Module:
    """The model with torch's default distribution, U(-1, 1) / sqrt(fan in), drawn from a stream."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                for p in layer.parameters(recurse=False):
                    p.copy_(torch.from_numpy(draws.uniform(-bound, bound, p.shape)))
    return model


def linear(draws: np.random.Generator, inputs: int = 10, outputs: int = 1) -> nn.Module:
    """One layer with bias, as published by default."""
    return start(nn.Linear(inputs, outputs), draws)


def deep_linear(draws: np.random.Generator, features: int = 10) -> nn.Module:
    """Two layers with nothing between them: the functions of one layer, another loss surface."""
    return start(nn.Sequential(nn.Linear(features, features), nn.Linear(features, 1)), draws)


def mlp(
    draws: np.random.Generator,
    inputs: int = 64,
    hidden: int = 32,
    classes: int = 10,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Module:
    """One hidden layer, of rectified linear units unless said otherwise."""
    layers = nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, classes)
    return start(nn.Sequential(*layers), draws)
