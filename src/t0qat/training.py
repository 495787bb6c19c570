"""The one training loop for any torch module: readable, one replicate at a time."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from t0qat.methods import View, training_forward


def train(
    model: nn.Module,
    inputs: Tensor,
    target: Tensor,
    view: View,
    noise: Callable[[Tensor], Tensor],
    *,
    epochs: int = 300,
    learning_rate: float = 0.005,
    loss: Callable[[Tensor, Tensor], Tensor] = mse_loss,
) -> nn.Module:
    """Full-batch Adam, each step on the loss at view(parameters, noise); the same model, trained.

    inputs (n, ...) and target as the loss takes them beside the model's output. The defaults are the
    paper's (sections 3.2 and 5.2). linear.train does the same for the paper's model, many at once.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        optimizer.zero_grad()
        loss(training_forward(model, view, noise, inputs), target).backward()
        optimizer.step()
    return model
