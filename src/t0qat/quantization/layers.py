"""Which weights quantization rounds: those of every layer, the first and the last too.

One step an output channel; biases and normalization stay as they are.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError

Weights = dict[str, Tensor]  # by the names of a network's parameters
Choice = Callable[[str, nn.Module], bool]  # (name, layer) -> whether its weight is rounded


def quantized(weights: Weights) -> Weights:
    """Those that quantization rounds: two or more dimensions, the first that of output channels."""
    return {name: p for name, p in weights.items() if p.ndim > 1}


def by_channel(see: Callable[[Tensor], Tensor], weights: Weights) -> Weights:
    """see(w) for every quantized weight; see gets and gives (channels, the rest)."""
    return {name: see(p.flatten(1)).view_as(p) for name, p in quantized(weights).items()}


def step_of(name: str) -> str:
    """The name of a weight's learned steps, of shape (channels,)."""
    return f"{name}.step"


OUTPUTS_FIRST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
INPUTS_FIRST = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
FLOATS = (torch.float32, torch.float64)


def chosen(model: nn.Module, choice: Choice | None = None) -> list[str]:
    """Names of the weights that quantization rounds in a model of a reader's own.

    choice: asked of every linear and convolution layer. None: all of them, but no layer that shares its
    weight with an embedding, and not the head of a language model, as in the paper. Raises
    ParameterError, which names the layer or the parameter, for a model in which that cannot be done.
    """
    for name, p in model.named_parameters():
        if isinstance(p, nn.UninitializedParameter) or p.is_meta:
            raise ParameterError(f"{name}: it has no values yet; allowed is a model that can run")
        if p.dtype not in FLOATS:
            allowed = "torch.float32 or torch.float64, which autocast may lower"
            raise ParameterError(f"{name}: its type is {p.dtype}; allowed is {allowed}")
    first = {id(p): name for name, p in model.named_parameters()}
    kept = [layer.weight for layer in model.modules() if isinstance(layer, nn.Embedding)]
    kept += [head.weight for head in _heads(model)]
    names = []
    for name, layer in model.named_modules():
        if not isinstance(layer, OUTPUTS_FIRST + INPUTS_FIRST) and type(layer).__name__ != "Conv1D":
            continue
        if not (choice(name, layer) if choice else all(layer.weight is not other for other in kept)):
            continue
        if not isinstance(layer, OUTPUTS_FIRST):
            leave = "leave the layer out by `layers`"
            raise ParameterError(f"{name}: a {type(layer).__name__} has its inputs first; {leave}")
        if id(layer.weight) not in first:
            remove = "remove the parametrization first"
            raise ParameterError(f"{name}: its weight is computed, not a parameter; {remove}")
        names.append(first[id(layer.weight)])
    if not names:
        raise ParameterError("layers: no weight of this model is rounded; allowed is one or more")
    return [*dict.fromkeys(names)]


def _heads(model: nn.Module) -> list[nn.Module]:
    """Of language models of transformers: what gives their logits."""
    found = (getattr(module, "get_output_embeddings", None) for module in model.modules())
    return [head for head in (ask() for ask in found if ask) if hasattr(head, "weight")]
