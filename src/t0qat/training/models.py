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


def linear(draws: np.random.Generator, shape=(10,), classes: int = 1) -> nn.Module:
    """One layer with bias, as published by default."""
    return start(nn.Linear(math.prod(shape), classes), draws)


def deep_linear(draws: np.random.Generator, features: int = 10) -> nn.Module:
    """Two layers with nothing between them: the functions of one layer, another loss surface."""
    return start(nn.Sequential(nn.Linear(features, features), nn.Linear(features, 1)), draws)


def mlp(
    draws: np.random.Generator,
    shape=(1, 8, 8),
    classes: int = 10,
    hidden: int = 32,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Module:
    """One hidden layer, of rectified linear units unless said otherwise."""
    layers = nn.Linear(math.prod(shape), hidden), activation(), nn.Linear(hidden, classes)
    return start(nn.Sequential(*layers), draws)


def small_cnn(draws: np.random.Generator, shape=(1, 8, 8), classes: int = 10) -> nn.Module:
    """Two convolutions, the second with stride 2, and a linear layer: 9,930 parameters by default."""
    layers = *convolution(shape[0], 16), *convolution(16, 32, 2)
    return _classifier(draws, shape, layers, classes)


def deep_cnn(draws: np.random.Generator, shape=(1, 8, 8), classes: int = 10) -> nn.Module:
    """Five convolutions of 8 and 16 channels, the third and last with stride 2, and a linear layer."""
    steps = ((shape[0], 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 16, 2))
    layers = [layer for step in steps for layer in convolution(*step)]
    return _classifier(draws, shape, layers, classes)


class Residual(nn.Module):
    """relu(shortcut(x) + two convolutions, each with batch normalization) (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        first, second = normalized(inputs, outputs, stride), normalized(outputs, outputs)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.body(x))


def residual_cnn(draws: np.random.Generator, shape=(1, 8, 8), classes: int = 10) -> nn.Module:
    """A convolution and two residual blocks with batch normalization, then a linear layer."""
    layers = *normalized(shape[0], 8), nn.ReLU(), Residual(8, 8), Residual(8, 16, 2)
    return _classifier(draws, shape, layers, classes)


def convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """3 x 3 with bias, then a rectified linear unit."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU()


def normalized(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """3 x 3 without bias, then batch normalization."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)


def _classifier(draws, shape, layers, classes: int) -> nn.Module:
    """Of flat inputs (n, pixels), as tasks give them; a linear layer takes what the others leave."""
    net = nn.Sequential(nn.Unflatten(1, shape), *layers, nn.Flatten())
    left = net.eval()(torch.zeros(1, math.prod(shape))).shape[1]
    return start(net.train().append(nn.Linear(left, classes)), draws)


# For images: (draws, shape=(channels, height, width), classes) -> a network of flat pixels (n, pixels).
MODELS = {"mlp": mlp, "small_cnn": small_cnn, "deep_cnn": deep_cnn, "residual_cnn": residual_cnn}
