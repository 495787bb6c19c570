"""Train a model of your own under any method, in a loop of your own: `prepare`, then `convert`.

qat = prepare(model, "t0_qat", xi_scaling=300)
optimizer = qat.optimizer(torch.optim.AdamW(model.parameters(), lr=1e-3))
for inputs, target in batches:
    optimizer.zero_grad()
    qat.loss(lambda: cross_entropy(model(inputs), target)).backward()
    optimizer.step()
rounded = convert(model, bits=4)
"""

import inspect
from typing import Any

import numpy as np
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError, check, choice, number, several, whole
from t0qat.quantization import gptq, integers, rounding
from t0qat.quantization.layers import Choice, chosen
from t0qat.quantization.quantizers import SCALES, Grid
from t0qat.quantization.rounding import Network
from t0qat.training.methods import REGISTRY
from t0qat.training.prepared import Prepared
from t0qat.training.streams import stream
from t0qat.training.views import Method


def prepare(
    model: nn.Module,
    method: str,
    *,
    layers: Choice | None = None,
    draws: np.random.Generator | None = None,
    seed: int = 0,
    **settings: Any,
) -> Prepared:
    """The model in training under a method: see Prepared.loss and Prepared.optimizer.

    method: a name in methods.REGISTRY. layers: of which layers the weights are rounded, as
    quantization.layers.chosen takes it. draws: the training noise, by default the stream
    "training_noise" of replicate 0 and this seed. settings: the method's, such as bits=4 or
    xi_scaling=300. A training that was prepared before ends. Raises ParameterError, in one line, for
    what cannot be trained.
    """
    integers.is_module(model)
    check({"method": method}, {"method": choice(*REGISTRY)})
    registered = REGISTRY[method]
    check(settings, _rules(registered))
    names = chosen(model, layers)
    draws = stream("training_noise", 0, seed) if draws is None else draws
    objective, bits = registered.objective(**settings), settings.get("bits", registered.bits)
    if isinstance(before := getattr(model, "t0qat", None), Prepared):
        before.close()
    prepared = Prepared(model, objective, draws, names=names, method=registered, bits=bits)
    prepared.first = _First(prepared)
    model.t0qat = prepared
    return prepared


def _rules(method: Method) -> dict:
    """What each of its settings may be."""
    rules = {}
    for name, parameter in inspect.signature(method.build).parameters.items():
        if name == "bits":
            rules[name] = whole(*method.reach)
        elif isinstance(parameter.default, tuple):
            rules[name] = several(whole(1, 8), [*parameter.default])
        elif type(parameter.default) is int:
            rules[name] = whole(1, 1000)
        else:
            rules[name] = number(0, 1e9)
    return rules | {name: rule for name, rule in method.settings.items() if name in rules}


def convert(
    model: nn.Module,
    bits: int | None = None,
    scale: str | None = None,
    *,
    layers: Choice | None = None,
    inputs: Tensor | None = None,
) -> nn.Module:
    """A copy of the model in evaluation mode, its weights rounded to integer codes times steps.

    bits: 1 to 16, by default those that it was prepared for, or 4. scale: a name in SCALES, or the
    grid that its method learned; by default what the paper judges the method by, "mse" for a model that
    was not prepared. layers: as for `prepare`, by default what it was given. inputs: calibration data,
    which GPTQ needs. A training that was prepared ends. Raises ParameterError, in one line.
    """
    integers.is_module(model)
    held = getattr(model, "t0qat", None)
    prepared = held if isinstance(held, Prepared) else None
    method = prepared.method if prepared else REGISTRY["no_noise"]
    trained = prepared.bits if prepared else None
    bits = (trained or 4) if bits is None else bits
    check({"bits": bits}, {"bits": whole(1, 16)})
    own = method.rule(bits, trained)
    scale = own if scale is None else scale
    check({"scale": scale}, {"scale": choice(*dict.fromkeys([*SCALES, own]))})
    names = prepared.names if prepared and layers is None else chosen(model, layers)
    if method.rounding == "gptq":
        gptq.check(model, names, inputs)
    elif inputs is not None:
        raise ParameterError("inputs: only a model that was prepared for 'gptq' takes calibration data")
    if prepared:
        prepared.close()
    network = Network(model, prepared.extra if prepared else {}, inputs, names)
    codes = rounding.codes_of(network, method.rounding, bits, scale)
    for name, coded in codes.items():
        if not bool((coded.step.isfinite() & (coded.step > 0)).all()):
            raise ParameterError(f"{name}: a weight is not finite; there is nothing to round")
    example = inputs if prepared is None or inputs is not None else prepared.example
    return integers.noted(model, codes, Grid(bits), example)


class _First:
    """Keeps the first input that a model sees, and then takes itself away."""

    def __init__(self, prepared: Prepared):
        self.prepared = prepared
        self.handle = prepared.model.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, model: nn.Module, given: tuple, named: dict) -> None:
        self.handle.remove()
        tensors = [v for v in (*given, *named.values()) if isinstance(v, Tensor) and v.ndim]
        self.prepared.example = tensors[0][:2].detach().clone() if tensors else None

    def __reduce__(self):
        return _hook, ()


def _hook():
    """What stands in place of _First in a copy of a model: it does nothing."""
    return _nothing


def _nothing(*_: Any) -> None:
    pass
