"""Which weights quantization rounds: those of every layer, the first and the last too.

One step an output channel; biases and normalization stay as they are.
"""

from collections.abc import Callable

from torch import Tensor

Weights = dict[str, Tensor]  # by the names of a network's parameters


def quantized(weights: Weights) -> Weights:
    """Those that quantization rounds: two or more dimensions, the first that of output channels."""
    return {name: p for name, p in weights.items() if p.ndim > 1}


def by_channel(see: Callable[[Tensor], Tensor], weights: Weights) -> Weights:
    """see(w) for every quantized weight; see gets and gives (channels, the rest)."""
    return {name: see(p.flatten(1)).view_as(p) for name, p in quantized(weights).items()}


def step_of(name: str) -> str:
    """The name of a weight's learned steps, of shape (channels,)."""
    return f"{name}.step"
