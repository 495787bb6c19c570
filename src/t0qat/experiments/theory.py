"""What theory says of weight noise, beside what is measured: one linear layer, and where its rules stop.

A drop is L(v + s e) - L(v), with e standard normal. For a linear layer with mean squared error and
A, b as in linear.Moments it is s^2 e'Ae + 2s e'(Av - b): a quadratic form in normal variables, whose
moments are closed forms and whose distribution follows from its characteristic function.
"""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap
from torch.nn.functional import cross_entropy, mse_loss

from t0qat.experiments.settings import checked
from t0qat.pipeline import grid, pin, statistics
from t0qat.quantization.layers import Weights
from t0qat.training import constants, linear, loop, methods, models, streams, tasks, views
from t0qat.training.constants import REPORTED_REDUCTION, XI, XI_SCALING
from t0qat.training.streams import stream
from t0qat.training.tasks import Data, digits, synthetic
from t0qat.training.views import View

TARGETS = ("sum", "normal")
PAIRS = (("standard_qat", "t0_qat"), ("standard_qat", "standard_qat"), ("t0_qat", "t0_qat"))
REDUCTIONS = (*(k / 4 for k in range(-8, 11) if k != 2), REPORTED_REDUCTION)


# What the cells of this module's grids depend on.
CODE = sys.modules[__name__], constants, linear, *methods.CODE, models, statistics, streams, tasks, loop


class Drop(NamedTuple):
    """The law of sum(squares * e^2 + slopes * e) over independent standard normal e; two (d,) arrays."""

    squares: np.ndarray
    slopes: np.ndarray

    @classmethod
    def of(cls, moments: linear.Moments, v: Tensor, scale: float) -> "Drop":
        """The drop of one replicate's parameters v (d, 1) under noise of standard deviation scale."""
        a, b = moments.a[..., 0].numpy(), moments.b[..., 0].numpy()
        values, vectors = np.linalg.eigh(a)
        slope = vectors.T @ (a @ v[:, 0].double().numpy() - b)
        return cls(scale**2 * values, 2 * scale * slope)

    @property
    def mean(self) -> float:
        """s^2 tr A."""
        return self.squares.sum()

    @property
    def variance(self) -> float:
        """2 s^4 tr A^2 + 4 s^2 |Av - b|^2."""
        return (2 * self.squares**2 + self.slopes**2).sum()

    def _transform(self) -> tuple[np.ndarray, np.ndarray]:
        """Points t > 0 at equal steps and E exp(itD) there, up to where it has vanished.

        A midpoint sum over them repeats the law every 60 standard deviations, so that its aliases are
        nil; Davies (1973, Biometrika 60) bounds both errors.
        """
        step = 2 * np.pi / (60 * np.sqrt(self.variance))
        t = step * (np.arange(2**14) + 0.5)
        root = 1 - 2j * np.multiply.outer(t, self.squares)
        exponent = -np.log(root) / 2 - (t[:, None] * self.slopes) ** 2 / (2 * root)
        transform = np.exp(exponent.sum(1))
        kept = np.count_nonzero(np.abs(transform) > 1e-9)  # its modulus only falls
        return t[:kept], transform[:kept]

    def distribution(self, x: np.ndarray) -> np.ndarray:
        """P(D <= x) for x (..., n), by Gil-Pelaez' (1951) inversion as a midpoint sum."""
        t, transform = self._transform()
        sums = [
            np.exp(-1j * np.multiply.outer(row, t)) @ (transform / t)
            for row in x.reshape(-1, x.shape[-1])
        ]
        return 0.5 - np.reshape(sums, x.shape).imag * (t[1] - t[0]) / np.pi

    def density(self, x: np.ndarray) -> np.ndarray:
        """The density of D at x."""
        t, transform = self._transform()
        return (np.exp(-1j * np.multiply.outer(x, t)) @ transform).real * (t[1] - t[0]) / np.pi


def reduction_chances(first: Drop, second: Drop, reductions=REDUCTIONS) -> np.ndarray:
    """P(first > 0 and 1 - second / first >= r), for independent drops and each reduction r.

    The density of the first times the distribution of the second, integrated over the first by
    Gauss and Legendre's rule.
    """
    nodes, weights = np.polynomial.legendre.leggauss(300)
    top = first.mean + 25 * np.sqrt(first.variance)
    x, weights = top * (nodes + 1) / 2, weights * top / 2
    mass = weights * first.density(x)
    left = np.multiply.outer(1 - np.array(reductions), x)
    return np.array([mass @ below for below in second.distribution(left)]).clip(0, 1)


@checked
@pin.one_thread()
def exact_laws(
    *,
    draws: int,
    noise_scales: Sequence[float],
    seed: int = 0,
    target_noise: float = 0.1,
    xi_scaling: float = XI_SCALING,
    baseline_noise: float = 0.4,
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Closed forms beside Monte Carlo, for the untrained layer and every method's trained one.

    Weights of replicate 0. Monte Carlo runs the layer on its samples under `draws` draws of noise.
    First table: target, noise_scale, weights, quantity (objective: mean training loss under noise; mean
    and variance of the drop), exact, estimate, ci_low, ci_high, n, z. Second: the chance that the drop
    of `other` is smaller than that of `method` by the fraction `reduction` or more, each with its own
    draws: target, noise_scale, method, other, reduction, exact, estimate, ci_low, ci_high, n, z. z is
    the distance in standard errors; for chances, that with the p-value of the exact binomial test.
    """
    built = methods.build(xi_scaling=xi_scaling, baseline_noise=baseline_noise)
    cells = []
    for target in TARGETS:
        runs = linear.runs("synthetic", range(1), seed, target=target, target_noise=target_noise)
        weights, noise = {"initial": runs.start}, runs.noise(epochs)
        for name, view in built.items():
            weights[name] = linear.train(runs.train, runs.start, view, noise, learning_rate)
        task = {"target": target, "target_noise": target_noise, "seed": seed, "draws": draws}
        task["weights"] = {name: v[:, 0].tolist() for name, v in weights.items()}
        cells += [
            grid.Cell(_laws_at, task | {"scale": scale}, CODE) for scale in map(float, noise_scales)
        ]
    done = grid.run(cells, "noise scales")
    return tuple(pd.DataFrame(list(chain(*parts))) for parts in zip(*done, strict=True))


def _laws_at(
    weights: dict[str, list[float]],
    scale: float,
    draws: int,
    seed: int,
    target: str,
    target_noise: float = 0.1,
) -> tuple[list[dict], list[dict]]:
    """The rows of one noise scale, of both of exact_laws' tables."""
    data = synthetic(0, seed, target, target_noise)
    moments, _ = linear.moments([data])
    weights = {name: torch.tensor(v)[:, None] for name, v in weights.items()}
    loss = {name: moments.loss(v).item() for name, v in weights.items()}
    laws = {name: Drop.of(moments, v, scale) for name, v in weights.items()}

    def measured(name: str, purpose: str) -> np.ndarray:
        return shaken_losses(data, weights[name], scale, stream(purpose, 0, seed), draws)

    rows, chances, drops = [], [], {}
    for name, law in laws.items():
        keys = {"target": target, "noise_scale": scale, "weights": name}
        drops[name] = measured(name, "evaluation_noise") - loss[name]
        for quantity, exact, row in (
            (
                "objective",
                loss[name] + law.mean,
                statistics.mean_interval(measured(name, "training_noise")),
            ),
            ("drop_mean", law.mean, statistics.mean_interval(drops[name])),
            ("drop_variance", law.variance, statistics.variance_interval(drops[name])),
        ):
            row["estimate"] = row.pop("mean")
            error = (row["ci_high"] - row["estimate"]) / stats.norm.ppf((1 + statistics.LEVEL) / 2)
            z = (row["estimate"] - exact) / error
            rows.append(keys | {"quantity": quantity, "exact": exact} | row | {"z": z})
    others = {other for _, other in PAIRS}
    second = {name: measured(name, "second_evaluation_noise") - loss[name] for name in others}
    for method, other in PAIRS:
        keys = {"target": target, "noise_scale": scale, "method": method, "other": other}
        exact = reduction_chances(laws[method], laws[other])
        for reduction, chance in zip(REDUCTIONS, exact, strict=True):
            event = (drops[method] > 0) & (second[other] <= (1 - reduction) * drops[method])
            seen = statistics.chance(event)
            z = {"z": binomial_z(event.sum(), draws, chance)}
            chances.append(keys | {"reduction": reduction, "exact": chance} | seen | z)
    return rows, chances


def shaken_losses(
    data: Data, v: Tensor, scale: float, noise: np.random.Generator, draws: int
) -> np.ndarray:
    """Losses of a linear layer (d, 1) on its samples under draws of weight noise: (draws,), float64."""
    inputs = np.column_stack([data.inputs, np.ones(len(data.inputs))])
    losses, space = [], np.empty((len(inputs), 250))  # fresh memory for every batch costs more
    for i in range(0, draws, 250):  # the errors of a batch stay in cache
        shaken = v.double().numpy() + scale * noise.standard_normal((min(250, draws - i), len(v))).T
        errors = np.matmul(inputs, shaken, out=space[:, : shaken.shape[1]])
        errors -= data.target[:, None]
        losses.append(np.einsum("ij,ij->j", errors, errors) / len(errors))
    return np.concatenate(losses)


def binomial_z(events: int, n: int, chance: float) -> float:
    """The normal deviate with the two-sided p-value of an exact binomial test, signed."""
    p = stats.binomtest(int(events), n, chance).pvalue
    return np.sign(events / n - chance) * stats.norm.isf(p / 2)


class Network(NamedTuple):
    """A trained model whose loss is shaken: how it starts, its data and loss, how noise enters."""

    start: Callable[[np.random.Generator], nn.Module]
    data: Callable[[int, int], Data]
    loss: Callable[[Tensor, Tensor], Tensor]
    shaken: View = torch.add


def some_digits(replicate: int, seed: int = 0) -> Data:
    """The first 400 training images of a replicate: enough for a loss surface, and quick."""
    return Data(*(part[:400] for part in digits(replicate, seed)))


def relative(parameter: Tensor, noise: Tensor) -> Tensor:
    """Multiplicative noise: W * (1 + noise)."""
    return parameter * (1 + noise)


NETWORKS = {
    "linear": Network(models.linear, synthetic, mse_loss),
    "multiplicative": Network(models.linear, synthetic, mse_loss, relative),
    "deep_linear": Network(models.deep_linear, synthetic, mse_loss),
    "softmax": Network(partial(models.linear, inputs=64, outputs=10), some_digits, cross_entropy),
    "tanh_mlp": Network(partial(models.mlp, activation=nn.Tanh), some_digits, cross_entropy),
    "relu_mlp": Network(models.mlp, some_digits, cross_entropy),
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
    seed: int = 0,
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Excess loss under noise against sigma^2 / 2 * tr(H), and what noisy training does to weights.

    networks: replicates, each with its own data or split, initialization and draws. First table, of
    plainly trained models: network, noise_scale, quantity (excess: mean of L(v + sigma e) - L(v);
    predicted: sigma^2 / 2 * tr(H); ratio of the two), mean, ci_low, ci_high, n. Second, of models
    trained under each of the training_noises: network, noise_scale, quantity (loss: on the training
    part, without noise; weight_norm: of all parameters, as a multiple of that at the start; curvature:
    tr(H)), mean, ci_low, ci_high, n.
    """
    settings = {"scales": [*map(float, training_noises)], "pairs": noise_pairs, "probes": probes}
    settings |= {"seed": seed, "epochs": epochs, "learning_rate": learning_rate}
    cells = [
        grid.Cell(_shaken_networks, {"name": name, "replicate": i} | settings, CODE)
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
    name: str, replicate: int, scales: list[float], seed, epochs, learning_rate, pairs, probes
) -> list[dict]:
    """Rows of part, network, noise_scale, quantity and value: one replicate under each training noise.

    All scales share data, start and draws, so one loop trains a network for each: the gradient of the
    sum of their losses is that of each, and calls take longer than sums.
    """
    network = NETWORKS[name]
    inputs, target = map(torch.from_numpy, network.data(replicate, seed)[:2])
    if network.loss is mse_loss:
        target = target[:, None]
    nets = Several(network.start(stream("initialization", replicate, seed)) for _ in scales)
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
    shared = before, inputs, target, name, replicate, seed, pairs, probes
    rows = (_measured(net, scale, *shared) for net, scale in zip(nets, scales, strict=True))
    return list(chain(*rows))


def _measured(
    model, trained_under, before, inputs, target, name, replicate, seed, pairs, probes
) -> list[dict]:
    """Those of one trained network, whose weights had the norm `before` at the start."""
    network = NETWORKS[name]
    model.double()
    if inputs.is_floating_point():
        inputs = inputs.double()
    target = target.double() if target.is_floating_point() else target
    center = {key: p.detach() for key, p in model.named_parameters()}

    def loss(noise: dict[str, Tensor]) -> Tensor:
        seen = {key: network.shaken(p, noise[key]) for key, p in center.items()}
        return network.loss(functional_call(model, seen, (inputs,)), target)

    plain = loss({key: torch.zeros_like(p) for key, p in center.items()}).item()
    curvature = trace(loss, center, stream("probe", replicate, seed), probes)
    common = {"network": name, "noise_scale": trained_under, "part": "trained"}
    values = {"loss": plain, "weight_norm": _norm(model) / before, "curvature": curvature}
    rows = [common | {"quantity": key, "value": value} for key, value in values.items()]
    if trained_under:
        return rows
    draws = _like(center, stream("evaluation_noise", replicate, seed).standard_normal, pairs)
    for sigma in SIGMAS:
        # Each draw with its opposite: terms of odd order, which vanish on average, cancel exactly.
        both = [
            vmap(loss)({key: sign * sigma * e for key, e in draws.items()}).mean() for sign in (1, -1)
        ]
        excess = (sum(both) / 2).item() - plain
        predicted = sigma**2 / 2 * curvature
        values = {"excess": excess, "predicted": predicted, "ratio": excess / predicted}
        common = {"network": name, "noise_scale": sigma, "part": "shaken"}
        rows += [common | {"quantity": key, "value": value} for key, value in values.items()]
    return rows


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


@checked
def long_training(
    *,
    replicates: int,
    longest: int,
    seed: int = 0,
    target: str = "sum",
    target_noise: float = 0.1,
    xi_scaling: float = XI_SCALING,
    baseline_noise: float = 0.4,
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> pd.DataFrame:
    """What each method has learned after 1, 10, ... times the published epochs, up to `longest` times.

    Columns method, schedule (constant learning rate, or falling linearly to zero at the end of each
    length), epoch, quantity, mean, ci_low, ci_high, n. Quantities: travelled (distance from the
    start), left (distance to the least-squares solution), both as multiples of the distance between
    start and solution; explained (fraction of the target's variance); left_predicted (diffusion).
    """
    lengths = [epochs * 10**k for k in range(9) if 10**k <= longest]
    names = list(methods.build())
    task = {"seed": seed, "target": target, "target_noise": target_noise, "rate": learning_rate}
    task["settings"] = {"xi_scaling": xi_scaling, "baseline_noise": baseline_noise}
    task["names"] = names
    cells = []
    for chunk in linear.chunks(replicates, max(lengths) * linear.size("synthetic")):
        whose = task | {"first": chunk.start, "stop": chunk.stop}
        runs = [("constant", lengths), *(("decaying", [length]) for length in lengths)]
        for schedule, reached in runs:
            run = {"schedule": schedule, "lengths": reached}
            cells.append(grid.Cell(_long_run, whose | run, CODE))
    found = pd.DataFrame(list(chain(*grid.run(cells, "long trainings"))))
    keys = ["method", "schedule", "epoch", "quantity"]
    table = statistics.means(found.explode("value").astype({"value": float}), keys)
    order = {name: i for i, name in enumerate([*names, *loop.SCHEDULES])}
    table = table.sort_values(keys[:3], key=lambda c: c.map(order).fillna(c), kind="stable")
    return table.reset_index(drop=True)


def _long_run(
    first, stop, names, schedule, lengths, settings, seed, target, target_noise, rate
) -> list[dict]:
    """Rows of method, schedule, epoch, quantity and value, which lists replicates first ... stop - 1.

    The methods are trained side by side, (d, methods, replicates): arrays of one method's size are so
    small that the calls would take longer than the sums.
    """
    options = {"target": target, "target_noise": target_noise}
    runs = linear.runs("synthetic", range(first, stop), seed, **options)
    moments, start = runs.train, runs.start
    a, b = moments.a.permute(2, 0, 1).numpy(), moments.b.T[..., None].numpy()
    best = torch.from_numpy(np.linalg.solve(a, b)[..., 0].T)
    whole = distance(best, start)
    steps = max(lengths)
    noise = runs.noise(steps)
    rates = [rate * loop.SCHEDULES[schedule](step / steps) for step in range(steps)]
    built = methods.build(**settings)
    views = {name: built[name] for name in names}
    seen = set(lengths)
    if schedule == "constant":
        seen |= {round(lengths[0] * 10 ** (k / 4)) for k in range(-8, 4 * len(lengths))}
    rows = []

    def keep(epoch: int, each: Tensor) -> None:
        for (name, view), v in zip(views.items(), each.unbind(1), strict=True):
            values = {
                "travelled": distance(v, start) / whole,
                "left": distance(v, best) / whole,
                "explained": 1 - moments.loss(v) / moments.variance,
            }
            sigma = view(torch.zeros(1), torch.ones(1)).item()  # of additive noise
            if schedule == "constant" and sigma:
                values["left_predicted"] = diffusion(epoch, sigma, rate, len(start), whole)
            for quantity, value in values.items():
                row = {"method": name, "schedule": schedule, "epoch": epoch, "quantity": quantity}
                rows.append(row | {"value": value.tolist()})

    def all_views(v: Tensor, draws: Tensor) -> Tensor:
        parts = zip(views.values(), v.unbind(1), strict=True)
        return torch.stack([view(part, draws) for view, part in parts], 1)

    starts = start[:, None].repeat(1, len(views), 1)
    if schedule == "constant":
        keep(0, starts)
    for epoch, each in enumerate(linear.steps(moments.beside, starts, all_views, noise, rates), 1):
        if epoch in seen:
            keep(epoch, each)
    return rows


def distance(first: Tensor, second: Tensor) -> Tensor:
    """2-norm of the difference of parameters (d, replicates): (replicates,), float64."""
    return torch.from_numpy(np.linalg.norm((first.double() - second.double()).numpy(), axis=0))


def diffusion(epoch: int, sigma: float, rate: float, d: int, whole: Tensor) -> Tensor:
    """What is left of the distance to the solution where noise rules the gradients: like whole.

    For inputs of unit covariance the gradient is 2 (delta + sigma e) in each of the d coordinates.
    Adam divides it by about 2 sigma, so delta shrinks by the fraction rate / sigma each step, and each
    step adds variance rate^2: an Ornstein-Uhlenbeck process, whose variance settles at
    rate * sigma / 2. Root mean square of |delta| after `epoch` steps, over `whole`, its start.
    """
    shrunk = math.exp(-2 * epoch * rate / sigma)
    settled = d * rate * sigma / 2
    return torch.from_numpy(np.sqrt((shrunk + settled * (1 - shrunk) / whole**2).numpy()))
