"""Every training method. To add one, write its function and its line in the file of its family.

It then has its row in every table, figure and paired comparison.
"""

import inspect
import sys
from collections.abc import Callable

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import layers
from t0qat.training import coupled, noise, own_grids, plain, regularizers, rounders, views
from t0qat.training.views import Method, View

FAMILIES = (noise, plain, rounders, own_grids, regularizers, coupled)
REGISTRY: dict[str, Method] = {
    name: method for family in FAMILIES for name, method in family.METHODS.items()
}
# What depends on every method depends on these modules.
CODE = (sys.modules[__name__], views, layers, *FAMILIES)


def named(holds: Callable[[Method], bool] = lambda method: True) -> tuple[str, ...]:
    """Names of the registered methods of which it holds, in the order of their lines."""
    return tuple(name for name, method in REGISTRY.items() if holds(method))


def on_layer() -> dict[str, Method]:
    """Those that every experiment on the paper's linear layer shows."""
    return {name: REGISTRY[name] for name in named(lambda method: method.layer)}


def build(**settings: float) -> dict[str, View]:
    """Those of the linear layer, each with those of the settings that its function names.

    Raises ParameterError for a setting that none of them takes.
    """
    shown = on_layer()
    takes = {name: inspect.signature(method.build).parameters for name, method in shown.items()}
    unknown = set(settings) - {setting for names in takes.values() for setting in names}
    if unknown:
        raise ParameterError(f"no method takes {', '.join(sorted(unknown))}")
    return {
        name: method.build(**{key: settings[key] for key in takes[name] if key in settings})
        for name, method in shown.items()
    }
