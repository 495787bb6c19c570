"""A model in training under a method: what a step minimizes, and what steps.

The loop of this package and loops of readers' own are made of it.
"""

from collections.abc import Callable, Collection
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.layers import Weights, quantized
from t0qat.training.views import Method, Objective, at_ease


class Prepared:
    """`loss` minimizes what the method does, `optimizer` steps as it does; else the model sees W.

    names: of the weights that quantization rounds, by default all of two or more dimensions. draws: the
    training noise, or, for a View, a function from a parameter to noise like it. extra: what
    objective.extra gave, if that has been asked before. method, bits: what the model is rounded as.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        draws: np.random.Generator | Callable[[Tensor], Tensor],
        *,
        names: Collection[str] | None = None,
        extra: Weights | None = None,
        method: Method | None = None,
        bits: int | None = None,
    ):
        self.model, self.objective, self.draws = model, objective, draws
        weights = dict(model.named_parameters())
        self.names = frozenset(quantized(weights) if names is None else names)
        self.extra = objective.extra(self._seen(weights)) if extra is None else extra
        self.method, self.bits = method, bits
        self.example: Tensor | None = None  # inputs that the model saw, if they were kept
        self._run, self._ending = _Run(model), ExitStack()

    def __reduce__(self):
        """A copy of the model, or one from a file, is not in training."""
        return type(None), ()

    def _seen(self, weights: Weights) -> Weights:
        """As methods see them, who round what has two or more dimensions: the rest are vectors."""
        return {
            name: p if p.ndim < 2 or name in self.names else p.flatten() for name, p in weights.items()
        }

    def minimized(self, *closures: Callable[[], Tensor]) -> Tensor:
        """What a step minimizes, a scalar; `loss` in both of the model's modes."""
        weights = dict(self.model.named_parameters())
        seen = self._seen(weights)
        flat = {name: p for name, p in seen.items() if p is not weights[name]}

        def at(shown: Weights, which: int = 0) -> Tensor:
            shown = {f"model.{name}": p.view_as(weights[name]) for name, p in (flat | shown).items()}
            return functional_call(self._run, shown, (closures[which],)) if shown else closures[which]()

        return self.objective.value(at, seen | self.extra, self.draws)

    def loss(self, *closures: Callable[[], Tensor]) -> Tensor:
        """What a training step minimizes, a scalar with its gradient: call backward on it.

        closure(): the loss on one batch, a scalar, by calls of the model. It runs as often as the method
        needs, each time with other weights in place of the model's own. In evaluation mode: at W alone.
        A method that couples replicas takes one for each, on a batch of its own. Raises ParameterError.
        """
        if len(closures) != self.objective.batches:
            raise ParameterError(
                f"closures: {len(closures)} given; allowed are {self.objective.batches}, one a batch"
            )
        if self.model.training:
            value = self.minimized(*closures)
        else:
            value, *others = (closure() for closure in closures)
            value = sum(others, value)
        if not isinstance(value, Tensor) or value.ndim:
            shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ParameterError(
                f"closure: it gave {shown}; allowed is the loss, a tensor of no dimension"
            )
        return value

    def optimizer(
        self, optimizer: torch.optim.Optimizer, steps: int | None = None
    ) -> torch.optim.Optimizer:
        """What steps in the optimizer's place; make schedulers of it, not before.

        Its groups are split into those of weights that quantization rounds and others, with the same
        options, and the method's own parameters are added. steps: of the whole training, for methods
        whose course depends on it. Raises ParameterError.
        """
        if steps is None and self.objective.around is not at_ease:
            raise ParameterError("steps: this method needs to know how many steps the training has")
        if steps is not None and (type(steps) is not int or steps < 0):
            raise ParameterError(f"steps = {steps!r}: allowed is a whole number, 0 or more")
        groups = optimizer.param_groups
        if optimizer.state or any("initial_lr" in group for group in groups):
            raise ParameterError(
                "optimizer: it has stepped, or has a scheduler, already; give a new one"
            )
        weights = dict(self.model.named_parameters())
        rounded = {id(weights[name]) for name in self.names}
        split = []
        for group in groups:
            for which in (True, False):
                chosen = [p for p in group["params"] if (id(p) in rounded) is which]
                split += [group | {"params": chosen, "rounded": which}] if chosen else []
        if not any(group["rounded"] for group in split):
            raise ParameterError("optimizer: it steps none of the weights that quantization rounds")
        groups[:] = split
        if self.extra:
            rate = self.objective.rate * groups[0]["lr"]
            own = {"params": [*self.extra.values()], "lr": rate, "weight_decay": 0.0, "rounded": False}
            optimizer.add_param_group(own)
        return self._ending.enter_context(self.objective.around(optimizer, steps))

    def close(self) -> None:
        """End the training: what stepped steps as before, and the model has its weights W."""
        self._ending.close()


class _Run(nn.Module):
    """Runs whatever calls the model, so that functional_call reaches the model's parameters."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, closure: Callable[[], Tensor]) -> Tensor:
        return closure()
