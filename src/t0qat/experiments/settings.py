"""What each parameter of this paper's notebooks and experiments may be."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from t0qat.pipeline import parameters
from t0qat.pipeline.parameters import (
    ParameterError,
    Rule,
    choice,
    either,
    number,
    pattern,
    several,
    whole,
)
from t0qat.quantization.quantizers import CODES, SCALES
from t0qat.training.linear import Setup
from t0qat.training.loop import SCHEDULES
from t0qat.training.methods import REGISTRY
from t0qat.training.tasks import TARGETS

WIDTHS = several(whole(1, 16), [8, 4, 3, 2])
NOISES = several(number(0, 1e9), [0, 0.1, 1], rising=True)
NETWORK = pattern("[a-z][a-z0-9_]*", "the name of a network")
METHOD = pattern(r"[a-zA-Z]\w*", "the name of a training method")
CHECKPOINT = pattern(
    r"/?\w[\w. -]*(/\w[\w. -]*)*/?", "a network's name, a checkpoint's folder or hub id"
)

# Parameters that have one rule.
ALIKE = {
    ("replicates", "few_replicates", "wide_replicates", "calibration_replicates"): whole(2, 10_000_000),
    ("networks", "network_replicates", "blocks"): whole(2, 100_000),
    ("points", "tuning_points"): whole(2, 1000),
    ("epochs", "network_epochs", "noise_pairs", "probes"): whole(1, 1_000_000),
    ("trainings", "text_trainings"): whole(1, 1_000_000),
    ("batch_size", "pretraining_batch_size"): whole(1, 1_000_000),
    ("steps", "pretraining_steps", "wide_steps"): whole(1, 10_000_000),
    ("longest", "tuning_starts", "block_windows", "repeats"): whole(1, 100_000),
    ("rounds",): whole(2, 1000),
    ("learning_rate", "lowest_rate", "highest_rate", "pretraining_rate"): number(1e-12, 10),
    ("noise_scales", "training_noises", "target_noises"): NOISES,
    ("baseline_noises", "evaluation_noises", "scalings", "shares"): NOISES,
    ("bits", "trained_bits"): WIDTHS,
    ("image_rates", "text_rates"): several(number(1e-12, 10), [0.002, 0.02], rising=True),
    ("budgets",): several(number(1e-6, 1e6), [0.333, 1, 3], rising=True),
    ("groups", "everything"): several(METHOD, ["ste"], least=0),
}

# What each setting of a method may be: in a notebook, a parameter of its own or an entry of `settings`.
OF_METHODS = {name: rule for method in REGISTRY.values() for name, rule in method.settings.items()}
# What each parameter may be. A name means the same in every notebook.
RULES = {
    **OF_METHODS,
    **{name: rule for names, rule in ALIKE.items() for name in names},
    "settings": Rule(dict[str, Any], "settings of methods, such as {'fraction': 0.3}"),
    "seed": whole(0, 2**32 - 1),
    "evaluation_noise": either(number(0, 1e6), choice("reported")),
    "target": choice(*TARGETS),
    "target_noise": number(0, 1e6),
    "draws": whole(100, 100_000_000),
    "error_rate": number(1e-9, 0.5),
    "tolerance": number(1e-9, 1),
    "grid_range": choice(*CODES),
    "grid_scale": choice(*SCALES),
    "dataset": pattern(
        r"[A-Za-z]\w*|[^\n]+\.npz", "'digits', a name on OpenML, or the path of an .npz file"
    ),
    "corpus": pattern(
        r"[a-z_]+|[^\n]+\.\w+", "'pydoc_topics', or the path of a text file, such as 'my.txt'"
    ),
    "readers": several(NETWORK, ["mlp", "small_gpt2"], least=0),
    "models": several(CHECKPOINT, ["mlp", "small_cnn"]),
    "few_models": several(CHECKPOINT, ["mlp"], least=0),
    "methods": either(several(METHOD, ["ste", "lsq"]), choice("all")),
    "rates": whole(1, 1000),
    "schedule": choice(*SCHEDULES),
    "device": choice("auto", "cpu", "cuda"),
    "context": whole(2, 1_000_000),
    "digits": several(pattern("[0-9]+", "digits to tell apart, such as '38'"), ["38", "0123"]),
    "ways": several(NETWORK, ["no_noise", "t0_qat_tuned"]),
    "qubits": whole(1, 1000),  # how many a circuit may have, Circuit.check says
    "layers": whole(1, 1000),
    "strengths": several(number(0, 1), [0.01, 0.1], rising=True),
    "shots": whole(1, 1_000_000_000),
}


def check(values: Mapping[str, Any]) -> None:
    """Hold every value against its rule; raises ParameterError on the first that breaks one."""
    parameters.check(values, RULES)
    for name, value in values.get("settings", {}).items():
        if name in values:
            raise ParameterError(f"settings: {name} = {value!r}: it is a parameter of its own here")
    parameters.check(values.get("settings", {}), OF_METHODS)
    if values.get("grid_range") == "narrow" and 1 in values.get("bits", []):
        raise ParameterError(f"bits = {values['bits']!r}: the narrow range needs 2 to 16 bits")


# Lets a function of keyword parameters check them before it starts.
checked = partial(parameters.checked, check)


def set_up(*left_out: str) -> Callable[[Callable], Callable]:
    """`checked`, for a function of a linear.Setup: its fields are keywords in place of `setup`.

    left_out: fields that are not, and keep their defaults.
    """
    fields = [p for p in inspect.signature(Setup).parameters.values() if p.name not in left_out]

    def decorator(function: Callable) -> Callable:
        @wraps(function)
        def wrapper(**given):
            setup = Setup(**{field.name: given.pop(field.name) for field in fields})
            return function(setup=setup, **given)

        own = [p for p in inspect.signature(function).parameters.values() if p.name != "setup"]
        shown = [*own, *(field.replace(kind=inspect.Parameter.KEYWORD_ONLY) for field in fields)]
        wrapper.__signature__ = inspect.Signature(sorted(shown, key=lambda p: p.kind))
        return checked(wrapper)

    return decorator
