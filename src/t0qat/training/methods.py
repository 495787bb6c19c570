"""Training methods. Each is one small thing: how the parameters look in a training forward pass.

The stored parameters W stay clean; a training forward sees `method(W, noise)`, the gradient is taken
there and flows back through the method to W, which the optimizer updates. To add a method, write a
function of its settings that returns such a function, and add its line to METHODS: it then has its
row in every table, figure and paired comparison.

A method that needs more than one parameter at a time (an output channel, a gradient, a penalty, an
optimizer of its own) returns an Objective, which a View lifts to; its line goes to ON_NETWORKS, since
the linear engine cannot run it. The layer policy of all that quantize: the weights of every layer,
the first and the last too, one step per output channel; biases and normalization as they are. Where
a docstring below writes w, it means one output channel's weights.
"""

import inspect
import logging
import math
import warnings
from collections import ChainMap
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from t0qat.quantization.quantizers import Grid, absmax_scale
from t0qat.training.constants import XI, XI_SCALING

# (parameter, standard normal draws like it) -> what is seen. Elementwise: the linear engine hands a view
# the weights and biases of many replicates at once.
View = Callable[[Tensor, Tensor], Tensor]
Weights = dict[str, Tensor]
Loss = Callable[[Weights], Tensor]


class Objective(NamedTuple):
    """What one training step minimizes, and what else the step needs.

    value(loss, weights, draws) is a scalar. weights: the network's parameters by name, with those of
    `extra`. loss(seen): the batch loss of the network with the tensors of `seen` in place of its own;
    loss({}) is plain. draws: the replicate's generator of training noise. extra(weights): parameters
    that the method trains beside the network's, with the learning rate times `rate`. around(optimizer,
    steps): gives what steps in the optimizer's place, whose first group holds the quantized weights.
    """

    value: Callable[[Loss, Weights, np.random.Generator], Tensor]
    extra: Callable[[Weights], Weights] = lambda weights: {}
    rate: float = 1.0
    around: Callable[..., AbstractContextManager] = lambda optimizer, steps: nullcontext(optimizer)


def unchanged(parameter: Tensor, noise: Tensor) -> Tensor:
    """The View of plain training."""
    return parameter


def additive_noise(scale: float) -> View:
    """W + scale * noise: independent Gaussian noise of standard deviation scale, in units of W."""
    return lambda parameter, noise: parameter + scale * noise


def no_noise() -> View:
    """W itself: plain training."""
    return unchanged


def standard_qat(baseline_noise: float = 0.4) -> View:
    """The paper's baseline, "empirical noise injection" (section 3.1); its scale is not published."""
    return additive_noise(baseline_noise)


def t0_qat(xi_scaling: float = XI_SCALING) -> View:
    """W + xi * xi_scaling * noise, xi = 4/3 * 1e-4 (the paper's section 5.1).

    W and the noise may have any shape; xi * xi_scaling (10.667 as published) is in units of W.
    """
    return additive_noise(XI * xi_scaling)


def elementwise(view: View) -> Objective:
    """loss(view(W, noise)) with fresh noise on every parameter, in the order of the names."""

    def value(loss, weights, draws):
        if view is unchanged:
            return loss({})
        noise = noise_from(draws)
        return loss({name: view(p, noise(p)) for name, p in weights.items()})

    return Objective(value)


def quantized(weights: Weights) -> Weights:
    """Those that quantization rounds: two or more dimensions, the first that of output channels."""
    return {name: p for name, p in weights.items() if p.ndim > 1}


def by_channel(see: Callable[[Tensor], Tensor], weights: Weights) -> Weights:
    """see(w) for every quantized weight; see gets and gives (channels, the rest)."""
    return {name: see(p.flatten(1)).view_as(p) for name, p in quantized(weights).items()}


def straight_through(value: Tensor, carrier: Tensor) -> Tensor:
    """The value, to the bit, with the gradient of a finite carrier (Bengio et al. 2013)."""
    return value.detach() + (carrier - carrier.detach())


def straight_rounding(w: Tensor, grid: Grid) -> Tensor:
    """w on its grid; gradient 1 where the nearest code is one of the grid's, 0 where it is clipped."""
    scale = absmax_scale(w.detach(), grid)
    nearest = torch.round(w.detach() / scale)
    codes = nearest.clamp(*grid.codes)
    return straight_through(codes * scale, w * (nearest == codes))


def ste(bits: int = 4) -> Objective:
    """Fake quantization with the straight-through estimator: loss(s * clip(round(w / s))).

    s = 2 max|w| / (2**bits - 1), without gradient; the mask is torchao's, after rounding. Source:
    Jacob et al. (2018), arXiv 1712.05877. bits: 1 to 16.
    """
    see = partial(straight_rounding, grid=Grid(bits))
    return Objective(lambda loss, weights, draws: loss(by_channel(see, weights)))


def random_bits(widths: tuple[int, ...] = (8, 4, 3, 2)) -> Objective:
    """ste at a bit-width drawn in each step, the same for all layers.

    After Jin et al. (2020), "AdaBits", arXiv 1912.09666, with a draw in place of their sum over widths.
    """
    steps = [ste(bits) for bits in widths]
    return Objective(
        lambda loss, weights, draws: steps[draws.integers(len(steps))].value(loss, weights, draws)
    )


def learned_rounding(w: Tensor, step: Tensor, grid: Grid) -> Tensor:
    """s * round(clip(w / s)), with the gradients of lsq; step: (channels,)."""
    low, high = grid.codes
    scaled = step * (1 / math.sqrt(w.shape[1] * high))
    s = straight_through(step, scaled)[:, None]
    clipped = (w / s).clamp(low, high)
    return straight_through(torch.round(clipped), clipped) * s


def lsq(bits: int = 4, step_rate: float = 0.1) -> Objective:
    """Learned step size: loss(s * round(clip(w / s, -Qn, Qp))), one learned s per output channel.

    Gradient in w: 1 where -Qn < w / s < Qp, else 0; in s: round(w / s) - w / s there, else -Qn or Qp,
    times 1 / sqrt(N Qp), N weights a channel. s starts at 2 mean|w| / sqrt(Qp); its learning rate is
    step_rate times the network's. Source: Esser et al. (2020), arXiv 1902.08153, per channel in place
    of per layer. bits: 2 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        steps = {name: weights[step_of(name)] for name in quantized(weights)}
        views = ((name, weights[name].flatten(1), step) for name, step in steps.items())
        seen = {name: learned_rounding(w, step, grid) for name, w, step in views}
        return loss({name: w.view_as(weights[name]) for name, w in seen.items()})

    return Objective(value, partial(first_steps, grid=grid), step_rate)


def first_steps(weights: Weights, grid: Grid) -> Weights:
    """2 mean|w| / sqrt(Qp) of each output channel: what lsq learns from there."""
    means = {name: p.detach().flatten(1).abs().mean(1) for name, p in quantized(weights).items()}
    scale = 2 / math.sqrt(grid.codes[1])
    return {step_of(name): (scale * mean).requires_grad_() for name, mean in means.items()}


def step_of(name: str) -> str:
    """The name of a weight's learned steps, of shape (channels,)."""
    return f"{name}.step"


def parq(bits: int = 4, steepness: float = 10.0) -> Objective:
    """The loss, with weights pulled to their grid after each step, ever harder: torchao's PARQ.

    The proximal map of a piecewise-affine regularizer, its inverse slope falling from 1 to 0 along a
    sigmoid of this steepness; hard rounding in the last tenth of the steps. The grid is torchao's
    full-range one, fitted anew at each step. What is left after training are the latent weights.
    Source: Jin et al. (2025), arXiv 2503.15748. bits: 2 to 8.
    """

    @contextmanager
    def around(optimizer, steps):
        tools = torchao_parq()
        optimizer.param_groups[0]["quant_bits"] = bits
        pull = tools.ProxPARQ(0, max(1, int(0.9 * steps)), steepness=steepness)
        grid = tools.UnifTorchaoQuantizer()
        pulled = tools.QuantOptimizer(optimizer, grid, pull, quant_period=1, quant_per_channel=True)
        yield pulled
        pulled.restore_latent_params()

    return Objective(lambda loss, weights, draws: loss({}), around=around)


def torchao_parq():
    """torchao's PARQ, imported when needed (seconds), without its notes on libraries it cannot load."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchao.prototype import parq
    finally:
        logging.disable(logging.NOTSET)
    return parq


def matched_noise(bits: int = 4) -> Objective:
    """loss(w + s / sqrt(12) * normal): Gaussian noise as large as the error of rounding to a grid.

    s = 2 max|w| / (2**bits - 1), without gradient; s**2 / 12 is the variance of an error that is uniform
    over one step (Bennett 1948). bits: 1 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        noise = noise_from(draws)
        see = lambda w: w + absmax_scale(w.detach(), grid) / math.sqrt(12) * noise(w)  # noqa: E731
        return loss(by_channel(see, weights))

    return Objective(value)


def diffq(bits: int = 4) -> Objective:
    """loss(w + s * u), u uniform on -1/2 ... 1/2: pseudo quantization noise, at a fixed bit-width.

    s = 2 max|w| / (2**bits - 1); the gradient flows through s too, so the largest weight feels all the
    noise of its channel. Source: Défossez et al. (2022), arXiv 2104.09987, whose s spans min to max and
    who learn the bit-width as well. bits: 1 to 16.
    """
    grid = Grid(bits)

    def value(loss, weights, draws):
        uniform = lambda w: torch.from_numpy(draws.random(w.shape, np.float32) - 0.5).to(w)  # noqa: E731
        return loss(by_channel(lambda w: w + absmax_scale(w, grid) * uniform(w), weights))

    return Objective(value)


def two_point_noise(sigma: float = 0.01) -> Objective:
    """[loss(W + sigma e) + loss(W - sigma e)] / 2, e standard normal on every parameter.

    Terms of odd order in e cancel. Source: Zhang et al. (2024), "NSO", arXiv 2306.08553.
    """

    def value(loss, weights, draws):
        noise = noise_from(draws)
        shift = {name: sigma * noise(p) for name, p in weights.items()}
        ends = [{name: p + sign * shift[name] for name, p in weights.items()} for sign in (1, -1)]
        return (loss(ends[0]) + loss(ends[1])) / 2

    return Objective(value)


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


FAMILIES = ("none", "noise", "rounding", "regularization", "coupled")


class Method(NamedTuple):
    """A line of the registry. Only label, build and family are needed."""

    label: str  # as tables and figures show it
    build: Callable[..., View | Objective]  # keyword settings with defaults -> the method
    family: str  # of FAMILIES: what its training does beside lessening the loss
    gradients: int = 1  # gradient evaluations a step
    strength: str = ""  # the setting that is its own to tune, if it has one
    values: tuple[float, ...] = ()  # what to tune it over
    rounding: str = "nearest"  # a name in rounding.ROUNDINGS: what else may round its weights
    scale: str = "mse"  # the scale rule that it is judged by; "absmax" where training rounds by that
    studied: bool = False  # a form of the paper's method, and so no rival of it
    few: bool = False  # whether it runs where not all do
    loud: bool = False  # noise that leaves image networks at chance at every rate: tuned less there

    @property
    def for_bits(self) -> bool:
        """Whether it trains for one bit-width, its setting `bits`."""
        return "bits" in inspect.signature(self.build).parameters

    def rule(self, bits: int, train_bits: int | None) -> str:
        """The scale rule that it is judged by at these bits: steps that it learned for them, if any."""
        return "learned" if self.rounding == "learned" and bits == train_bits else self.scale

    def objective(self, **settings) -> Objective:
        """The method with these settings, for training.train."""
        built = self.build(**settings)
        return built if isinstance(built, Objective) else elementwise(built)


METHODS = {
    "standard_qat": Method("Standard QAT", standard_qat, "noise", loud=True),
    "t0_qat": Method("T0-QAT", t0_qat, "noise", studied=True, few=True, loud=True),
    "no_noise": Method("No noise", no_noise, "none", few=True),
}
# Registered methods at settings of their own; only experiments that ask for them show them.
# xi alone is a placebo: noise, but too little to count as such.
VARIANTS = {"xi_alone": Method("xi alone", partial(t0_qat, 1.0), "none", studied=True)}
NAMED = ChainMap(METHODS, VARIANTS)  # both, as they are when asked
XI_SCALINGS = (10.0, 30.0, 100.0, 300.0)  # noise from 0.0013 to 0.04
# Methods that need a network. Rounding to nearest and the step of least squared error are no lines of
# their own: they are how plain training, and everything else, is evaluated.
ON_NETWORKS = {
    "t0_qat_tuned": Method(
        "T0-QAT, tuned", t0_qat, "noise", 1, "xi_scaling", XI_SCALINGS, studied=True, few=True
    ),
    "gptq": Method("GPTQ", no_noise, "none", rounding="gptq"),
    "ste": Method("STE", ste, "rounding", scale="absmax", few=True),
    "lsq": Method("LSQ", lsq, "rounding", 1, "step_rate", (0.01, 0.1, 0.3, 1.0), "learned", few=True),
    "parq": Method("PARQ", parq, "rounding", 1, "steepness", (1.0, 3.0, 10.0, 30.0), scale="absmax"),
    "matched_noise": Method("Matched noise", matched_noise, "noise"),
    "diffq": Method("DiffQ", diffq, "noise"),
    "two_point_noise": Method(
        "NSO", two_point_noise, "noise", 2, "sigma", tuple(XI * v for v in XI_SCALINGS)
    ),
    "sam": Method("SAM", sam, "regularization", 2, "rho", (0.01, 0.03, 0.1, 0.3)),
    "kure": Method("KURE", kure, "regularization", 1, "strength", (0.3, 1.0, 3.0, 10.0)),
    "random_bits": Method("Random-bit STE", random_bits, "rounding", scale="absmax", few=True),
}
REGISTRY = ChainMap(METHODS, VARIANTS, ON_NETWORKS)  # every method there is


def named(holds: Callable[[Method], bool] = lambda method: True) -> tuple[str, ...]:
    """Names of the registered methods of which it holds, in the order of their lines."""
    return tuple(name for part in REGISTRY.maps for name in part if holds(part[name]))


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
    """Standard normal float32 draws from a stream, in the parameter's type; a function stays itself."""
    if callable(draws):
        return draws
    return lambda p: torch.from_numpy(draws.standard_normal(p.shape, np.float32)).to(p)
