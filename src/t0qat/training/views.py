"""What a training method is: how parameters look in a training forward pass, or what a step minimizes.

The stored parameters W stay clean; a training forward sees `method(W, noise)`, the gradient is taken
there and flows back through the method to W, which the optimizer updates. A method that needs more than
one parameter at a time (an output channel, a gradient, a penalty, an optimizer of its own) is an
Objective, which a View lifts to. Where a docstring of a method writes w, it means one output channel's
weights.
"""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from t0qat.pipeline.parameters import Rule
from t0qat.quantization.layers import Weights
from t0qat.quantization.rounding import AT_EVERY_WIDTH, AT_TRAINED_WIDTH

# (parameter, standard normal draws like it) -> what is seen. Elementwise: the linear engine hands a view
# the weights and biases of many replicates at once.
View = Callable[[Tensor, Tensor], Tensor]
Loss = Callable[..., Tensor]


def at_ease(optimizer: torch.optim.Optimizer, steps: int | None) -> AbstractContextManager:
    """The optimizer steps as it is, however many steps there are."""
    return nullcontext(optimizer)


class Objective(NamedTuple):
    """What one training step minimizes, and what else the step needs.

    value(loss, weights, draws) is a scalar. weights: the network's parameters by name, with those of
    `extra`. loss(seen): the batch loss of the network with the tensors of `seen` in place of its own;
    loss({}) is plain; loss(seen, i): on the i-th of the `batches` that a step takes. draws: the
    replicate's generator of training noise. extra(weights): parameters that the method trains beside
    the network's, with the learning rate times `rate`. around(optimizer, steps): gives what steps in
    the optimizer's place; `rounded_groups` are those of quantized weights.
    """

    value: Callable[[Loss, Weights, np.random.Generator], Tensor]
    extra: Callable[[Weights], Weights] = lambda weights: {}
    rate: float = 1.0
    around: Callable[..., AbstractContextManager] = at_ease
    batches: int = 1


def unchanged(parameter: Tensor, noise: Tensor) -> Tensor:
    """The View of plain training."""
    return parameter


def additive_noise(scale: float) -> View:
    """W + scale * noise: independent Gaussian noise of standard deviation scale, in units of W."""
    return lambda parameter, noise: parameter + scale * noise


def objective_of(method: View | Objective) -> Objective:
    """Of a View, loss(view(W, noise)) with fresh noise on every parameter, in the order of the names."""

    def value(loss, weights, draws):
        if method is unchanged:
            return loss({})
        noise = noise_from(draws)
        return loss({name: method(p, noise(p)) for name, p in weights.items()})

    return method if isinstance(method, Objective) else Objective(value)


def straight_through(value: Tensor, carrier: Tensor) -> Tensor:
    """The value, to the bit, with the gradient of a finite carrier (Bengio et al. 2013)."""
    return value.detach() + (carrier - carrier.detach())


@contextmanager
def before_steps(
    act: Callable[[torch.optim.Optimizer, float], None], optimizer: torch.optim.Optimizer, steps: int
) -> Iterator[torch.optim.Optimizer]:
    """The optimizer itself, for an Objective's `around`: before its i-th step act(it, i / steps) runs.

    i: 1 to steps; act runs without gradient.
    """
    numbers = itertools.count(1)

    @torch.no_grad()
    def hook(*_):
        act(optimizer, next(numbers) / steps)

    handle = optimizer.register_step_pre_hook(hook)
    try:
        yield optimizer
    finally:
        handle.remove()


def rounded_groups(optimizer: torch.optim.Optimizer) -> list[dict]:
    """The optimizer's groups of weights that quantization rounds (see Prepared.optimizer)."""
    return [group for group in optimizer.param_groups if group["rounded"]]


def noise_from(draws: np.random.Generator) -> Callable[[Tensor], Tensor]:
    """Standard normal float32 draws from a stream, in the parameter's type; a function stays itself."""
    if callable(draws):
        return draws
    return lambda p: torch.from_numpy(draws.standard_normal(p.shape, np.float32)).to(p)


FAMILIES = ("none", "noise", "rounding", "regularization", "coupled")


class Method(NamedTuple):
    """A line of a family's METHODS. Only label, build and family are needed."""

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
    layer: bool = False  # whether every experiment on the paper's linear layer shows it; only for a View
    text: bool = True  # whether it runs on language models, where each costs most
    images: bool = True  # whether it runs on image networks
    length: float = 1.0  # of its training, in the gradient evaluations that all others get
    widths: tuple[int, ...] = ()  # the only ones that it trains for, if it does not for all
    reach: tuple[int, int] = (1, 16)  # the least and the most bits that it can train for
    settings: Mapping[str, Rule] = {}  # of `build`, that notebooks may set
    controls: tuple[str, ...] = ()  # names of methods that it is compared with, beside those of all

    @property
    def for_bits(self) -> bool:
        """Whether it trains for one bit-width, its setting `bits`."""
        return "bits" in inspect.signature(self.build).parameters

    @property
    def bits(self) -> int | None:
        """The width that it trains for unless told, if it is for_bits."""
        return inspect.signature(self.build).parameters["bits"].default if self.for_bits else None

    @property
    def share(self) -> float:
        """Its steps, in those of a method that evaluates one gradient a step for as long as most."""
        return self.length / self.gradients

    def trained_for(self, widths: Sequence[int]) -> list[int]:
        """Those of the widths that it trains for one at a time; of a method that is for_bits."""
        return [bits for bits in widths if not self.widths or bits in self.widths]

    def rule(self, bits: int, train_bits: int | None) -> str:
        """The scale rule that it is judged by at these bits: its own grid, where it has one for them."""
        own = self.rounding in AT_EVERY_WIDTH
        own |= self.rounding in AT_TRAINED_WIDTH and bits == train_bits
        return self.rounding if own else self.scale

    def objective(self, **settings) -> Objective:
        """The method with these settings, for training.loop.train."""
        return objective_of(self.build(**settings))
