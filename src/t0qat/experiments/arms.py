"""What is compared: arms, each a method on a model, at a bit-width if it trains for one."""

import functools
import inspect
import math
import sys
from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import layers
from t0qat.training import methods, views
from t0qat.training.methods import REGISTRY
from t0qat.training.views import Method

FLOAT = 32  # bits of weights that are not rounded
NO_WIDTH = 0  # train_bits of methods that know no bit-width
LOUD_RATES, LOUD_REPLICATES = 3, 2  # that tune a method which is loud
LINEAR = "linear"  # the name of the paper's own model among models
CHANNELS = "channels"  # the layout in which each output channel has a step of its own


def model_label(model: str) -> str:
    """A model as texts name it: `small CNN`."""
    shown = model.replace("_", " ")
    for short, name in {"cnn": "CNN", "mlp": "MLP", "gpt2": "GPT-2", "llama": "Llama"}.items():
        shown = shown.replace(short, name)
    return shown


def method_label(method: str) -> str:
    """A method as figures and texts name it: `Random-bit STE`."""
    return REGISTRY[method].label


def spaced(count: int, lowest: float, highest: float) -> list[float]:
    """So many values, each the same multiple of the one before; of one, their geometric mean."""
    values = np.geomspace(lowest, highest, count) if count > 1 else [math.sqrt(lowest * highest)]
    return [float(f"{value:.3g}") for value in values]


class Arm(NamedTuple):
    """What is compared: a method on a model, at a bit-width if it trains for one."""

    dataset: str
    model: str
    method: str  # a name in methods.REGISTRY
    train_bits: int
    layout: str = CHANNELS  # a name in language_models.LAYOUTS

    @property
    def registered(self) -> Method:
        return REGISTRY[self.method]

    def candidates(self, rates: int, lowest: float, highest: float) -> list[tuple[float, float]]:
        """(learning rate, strength): every value of the strength with every rate.

        So many rates, as `spaced` gives them. strength is nan where the method has none. A method that
        does not train has one.
        """
        if not self.registered.length:
            return [(lowest, math.nan)]
        tried = spaced(rates, lowest, highest)
        return [(rate, value) for value in self.registered.values or (math.nan,) for rate in tried]

    def training(self, learning_rate: float, strength: float) -> dict[str, Any]:
        """What sets this training of the arm apart, as arguments: where, method, settings and rate.

        Methods that train alike have one name here, that of the first in the registry, and all numbers
        and words among its settings.
        """
        build, settings = preset(self.registered)
        defaults = {p.name: p.default for p in inspect.signature(build).parameters.values()}
        settings = {k: v for k, v in defaults.items() if isinstance(v, int | float | str)} | settings
        settings |= {"bits": self.train_bits} if self.train_bits else {}
        settings |= {self.registered.strength: strength} if self.registered.strength else {}
        first = methods.named(lambda method: preset(method)[0] is build)[0]
        own = {"dataset": self.dataset, "model": self.model, "layout": self.layout}
        own |= {"method": first, "settings": settings}
        return own | {"learning_rate": learning_rate}


KEYS = [*Arm._fields]  # columns that say which arm a row is of


def arms(
    dataset: str, model: str, names: Sequence[str], widths: Sequence[int], layout: str = CHANNELS
) -> list[Arm]:
    """These methods on one model, once for each width that they train for where they train for one."""
    return [
        Arm(dataset, model, name, bits, layout)
        for name in names
        for bits in (REGISTRY[name].trained_for(widths) if REGISTRY[name].for_bits else (NO_WIDTH,))
    ]


def chosen(wanted: Sequence[str] | str, known: Sequence[str]) -> list[str]:
    """All of the known methods, or plain training and those that are named, in the order of `known`.

    wanted: "all", or names. Raises ParameterError for a name that is unknown or stands twice.
    """
    if wanted == "all":
        return [*known]
    names = {"no_noise", *each_known("methods", wanted, known)}
    if len(names) == 1:
        raise ParameterError(f"methods = {wanted!r}: name one to compare with plain training")
    return [name for name in known if name in names]


def each_once(what: str, names: Sequence[str]) -> Sequence[str]:
    """The names; raises ParameterError unless each stands once."""
    return each_known(what, names, names)


def each_known(what: str, names: Sequence[str], known: Collection[str]) -> Sequence[str]:
    """The names; raises ParameterError unless each is known and stands once."""
    wrong = [n for n in names if n not in known] + [n for n in names if names.count(n) > 1]
    if wrong:
        raise ParameterError(f"{what}: {wrong[0]!r} is unknown or twice; known are {', '.join(known)}")
    return names


def register(name: str, method: Method) -> None:
    """Let this process know a method by this name, in place of one that it knows by it."""
    REGISTRY[name] = method


def known(name: str) -> Callable[[], None]:
    """What lets another process know a method as this one does."""
    return functools.partial(register, name, REGISTRY[name])


def is_importable(method: Method) -> bool:
    """Whether a module holds its function, and not only this notebook or script."""
    return bool(room(preset(method)[0]))


def preset(method: Method) -> tuple[Callable, dict[str, Any]]:
    """The function that builds a method, and what its registry line has set already."""
    build = method.build
    if not isinstance(build, functools.partial):
        return build, {}
    names = inspect.signature(build.func).parameters
    return build.func, dict(zip(names, build.args, strict=False)) | build.keywords


def room(function: Callable) -> list[ModuleType]:
    """The module that holds it, unless that is a notebook or script."""
    return [] if function.__module__ == "__main__" else [sys.modules[function.__module__]]


def sources(method: Method) -> list[ModuleType]:
    """What its training depends on: what all methods share, and the module that holds its function."""
    return [views, layers, *room(preset(method)[0])]
