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
                for p in filter(None.__ne__, (layer.weight, layer.bias)):
                    p.copy_(torch.from_numpy(draws.uniform(-bound, bound, p.shape)))
    return model


def mlp(draws: np.random.Generator, inputs: int = 64, hidden: int = 32, classes: int = 10) -> nn.Module:
    """One hidden layer of rectified linear units."""
    layers = nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    return start(nn.Sequential(*layers), draws)
