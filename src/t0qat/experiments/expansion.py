"""Where the rules of the linear layer stop: the loss of small networks under noise on their weights."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap
from torch.nn.functional import cross_entropy, mse_loss

from t0qat.experiments.settings import checked
from t0qat.pipeline import grid, statistics
from t0qat.quantization import layers
from t0qat.quantization.layers import Weights
from t0qat.training import constants, images, loop, models, streams, tasks, views
from t0qat.training.constants import XI, XI_SCALING
from t0qat.training.streams import stream
from t0qat.training.tasks import synthetic
from t0qat.training.views import View

SOME = 400  # training images: enough for a loss surface, and quick
# What the cells of this module's grid depend on.
CODE = sys.modules[__name__], constants, images, layers, loop, models, streams, tasks, views


class Network(NamedTuple):
    """A trained model whose loss is shaken: how it starts, its loss, how noise enters.

    With mean squared error it reads the synthetic task, else images.
    """

    start: Callable[..., nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    shaken: View = torch.add

    def begun(self, dataset: str, replicate: int, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
        """The model before training, and the inputs and target that it trains on."""
        draws = stream("initialization", replicate, seed)
        if self.loss is mse_loss:
            inputs, target, *_ = map(torch.from_numpy, synthetic(replicate, seed))
            return self.start(draws), inputs, target[:, None]
        source = images.load(dataset)
        inputs, target, *_ = (torch.from_numpy(part[:SOME]) for part in source.split(replicate, seed))
        return self.start(draws, source.shape, source.classes), inputs, target


NETWORKS = {
    "linear": Network(models.linear, mse_loss),
    "multiplicative": Network(models.linear, mse_loss, lambda parameter, noise: parameter * (1 + noise)),
    "deep_linear": Network(models.deep_linear, mse_loss),
    "softmax": Network(models.linear, cross_entropy),
    "tanh_mlp": Network(partial(models.mlp, activation=nn.Tanh), cross_entropy),
    "relu_mlp": Network(models.mlp, cross_entropy),
}
# Two a decade, over six decades that end at the published noise.
SIGMAS = XI * XI_SCALING * 10 ** (np.arange(-12, 1) / 2)


@checked
def expansion(
    *,
    networks: int,
    noise_pairs: int,
    probes: int,
    training_noises: Sequence[float],
    dataset: str = "digits",
    seed: int = 0,
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Excess loss under noise against sigma^2 / 2 * tr(H), and what noisy training does to weights.

    networks: replicates, each with its own data or split, initialization and draws. dataset: images, as
    images.load takes it, of which the first SOME of each training part are read. First table, of
    plainly trained models: network, noise_scale, quantity (excess: mean of L(v + sigma e) - L(v);
    predicted: sigma^2 / 2 * tr(H); ratio of the two), mean, ci_low, ci_high, n. Second, of models
    trained under each of the training_noises: network, noise_scale, quantity (loss: on the training
    part, without noise; weight_norm: of all parameters, as a multiple of that at the start; curvature:
    tr(H)), mean, ci_low, ci_high, n.
    """
    settings = {"scales": [*map(float, training_noises)], "pairs": noise_pairs, "probes": probes}
    settings |= {"seed": seed, "epochs": epochs, "learning_rate": learning_rate, "dataset": dataset}
    code = *CODE, *images.files(dataset)
    cells = [
        grid.Cell(_shaken_networks, {"name": name, "replicate": i} | settings, code)
        for name in NETWORKS
        for i in range(networks)
    ]
    found = pd.DataFrame(list(chain(*grid.run(cells, "networks"))))
    table = statistics.means(found, ["part", "network", "noise_scale", "quantity"])
    return tuple(
        table[table.part == part].drop(columns="part").reset_index(drop=True)
        for part in ("shaken", "trained")
    )


class Several(nn.ModuleList):
    """Networks on the same inputs: a list of what each makes of them."""

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [net(inputs) for net in self]


def _shaken_networks(
    name: str, replicate: int, scales: list[float], seed, epochs, learning_rate, dataset, pairs, probes
) -> list[dict]:
    """Rows of part, network, noise_scale, quantity and value: one replicate under each training noise.

    All scales share data, start and draws, so one loop trains a network for each: the gradient of the
    sum of their losses is that of each, and calls take longer than sums.
    """
    network = NETWORKS[name]
    begun = [network.begun(dataset, replicate, seed) for _ in scales]
    nets, (_, inputs, target) = Several(net for net, *_ in begun), begun[0]
    before = _norm(nets[0])
    draw = views.noise_from(stream("training_noise", replicate, seed))

    def value(loss: views.Loss, weights: Weights, _) -> Tensor:
        noise = {key: draw(p) for key, p in nets[0].named_parameters()}
        return loss(
            {
                f"{i}.{key}": network.shaken(weights[f"{i}.{key}"], scale * e)
                for i, scale in enumerate(scales)
                for key, e in noise.items()
            }
        )

    loop.train(
        nets,
        inputs,
        target,
        views.Objective(value),
        draw,
        epochs=epochs,
        learning_rate=learning_rate,
        loss=lambda outputs, target: sum(network.loss(output, target) for output in outputs),
    )
    shared = [part.double() if part.is_floating_point() else part for part in (inputs, target)]
    draws = replicate, seed, pairs, probes
    return [
        {"network": name, "noise_scale": sigma, "part": part, "quantity": quantity, "value": value}
        for net, scale in zip(nets, scales, strict=True)
        for part, sigma, values in _measured(net.double(), network, scale, before, *shared, *draws)
        for quantity, value in values.items()
    ]


def _measured(
    model, network: Network, trained_under, before, inputs, target, replicate, seed, pairs, probes
) -> Iterator[tuple[str, float, dict[str, float]]]:
    """Part, noise scale and values of a trained network, whose weights had the norm `before`."""
    center = {key: p.detach() for key, p in model.named_parameters()}

    def loss(noise: dict[str, Tensor]) -> Tensor:
        seen = {key: network.shaken(p, noise[key]) for key, p in center.items()}
        return network.loss(functional_call(model, seen, (inputs,)), target)

    plain = loss({key: torch.zeros_like(p) for key, p in center.items()}).item()
    curvature = trace(loss, center, stream("probe", replicate, seed), probes)
    values = {"loss": plain, "weight_norm": _norm(model) / before, "curvature": curvature}
    yield "trained", trained_under, values
    if trained_under:
        return
    draws = _like(center, stream("evaluation_noise", replicate, seed).standard_normal, pairs)
    for sigma in SIGMAS:
        # Each draw with its opposite: terms of odd order, which vanish on average, cancel exactly.
        both = [
            vmap(loss)({key: sign * sigma * e for key, e in draws.items()}).mean() for sign in (1, -1)
        ]
        excess = (sum(both) / 2).item() - plain
        predicted = sigma**2 / 2 * curvature
        yield "shaken", sigma, {"excess": excess, "predicted": predicted, "ratio": excess / predicted}


def trace(
    function: Callable[[dict[str, Tensor]], Tensor],
    like: dict[str, Tensor],
    draws: np.random.Generator,
    probes: int,
) -> float:
    """Trace of the Hessian of a function at zero, by Hutchinson's (1990) estimator.

    function takes named tensors shaped as those of `like`. Mean over probes of z'Hz, z of independent
    signs, each from one Hessian-vector product (the derivative of the gradient in the direction z).
    """
    zero = {key: torch.zeros_like(p) for key, p in like.items()}

    def quadratic(z: dict[str, Tensor]) -> Tensor:
        _, product = vjp(grad(function), zero)
        (product,) = product(z)
        return sum((z[key] * product[key]).sum() for key in z)

    signs = _like(like, lambda shape: 2.0 * draws.integers(0, 2, shape) - 1, probes)
    return vmap(quadratic)(signs).mean().item()


def _like(parameters: dict[str, Tensor], draw, number: int) -> dict[str, Tensor]:
    return {key: torch.from_numpy(draw((number, *p.shape))).to(p.dtype) for key, p in parameters.items()}


def _norm(model: nn.Module) -> float:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).norm().item()
