"""What each parameter of this paper's notebooks and experiments may be."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

from t0qat.pipeline import parameters
from t0qat.pipeline.parameters import ParameterError, choice, either, number, pattern, several, whole
from t0qat.quantization.quantizers import CODES, SCALES
from t0qat.training.linear import Setup
from t0qat.training.loop import SCHEDULES
from t0qat.training.methods import REGISTRY
from t0qat.training.tasks import TARGETS

WIDTHS = several(whole(1, 16), [8, 4, 3, 2])
NOISES = several(number(0, 1e9), [0, 0.1, 1], rising=True)
NETWORK = pattern("[a-z][a-z0-9_]*", "the name of a network")
METHOD = pattern(r"[a-zA-Z]\w*", "the name of a training method")

# One line a parameter. A name means the same in every notebook.
RULES = {
    **{name: rule for method in REGISTRY.values() for name, rule in method.settings.items()},
    "replicates": whole(2, 10_000_000),
    "seed": whole(0, 2**32 - 1),
    "epochs": whole(1, 1_000_000),
    "learning_rate": number(1e-12, 10),
    "evaluation_noise": either(number(0, 1e6), choice("reported")),
    "target": choice(*TARGETS),
    "target_noise": number(0, 1e6),
    "bits": WIDTHS,
    "draws": whole(100, 100_000_000),
    "noise_scales": NOISES,
    "training_noises": NOISES,
    "networks": whole(2, 100_000),
    "noise_pairs": whole(1, 1_000_000),
    "probes": whole(1, 1_000_000),
    "longest": whole(1, 100_000),
    "error_rate": number(1e-9, 0.5),
    "grid_range": choice(*CODES),
    "grid_scale": choice(*SCALES),
    "network_replicates": whole(2, 100_000),
    "network_epochs": whole(1, 1_000_000),
    "points": whole(2, 1000),
    "tuning_points": whole(2, 1000),
    "calibration_replicates": whole(2, 10_000_000),
    "tolerance": number(1e-9, 1),
    "target_noises": NOISES,
    "baseline_noises": NOISES,
    "evaluation_noises": NOISES,
    "dataset": pattern(
        r"[A-Za-z]\w*|[^\n]+\.npz", "'digits', a name on OpenML, or the path of an .npz file"
    ),
    "readers": several(NETWORK, ["mlp", "small_gpt2"], least=0),
    "models": several(
        pattern(r"/?\w[\w. -]*(/\w[\w. -]*)*/?", "a network's name, a checkpoint's folder or hub id"),
        ["mlp", "small_cnn"],
    ),
    "few_models": several(NETWORK, ["mlp"], least=0),
    "methods": either(several(METHOD, ["ste", "lsq"]), choice("all")),
    "few_replicates": whole(2, 10_000_000),
    "trained_bits": WIDTHS,
    "trainings": whole(1, 1_000_000),
    "tuning_starts": whole(1, 100_000),
    "rates": whole(1, 1000),
    "lowest_rate": number(1e-12, 10),
    "highest_rate": number(1e-12, 10),
    "batch_size": whole(1, 1_000_000),
    "schedule": choice(*SCHEDULES),
    "device": choice("auto", "cpu", "cuda"),
    "corpus": pattern(
        r"[a-z_]+|[^\n]+\.\w+", "'pydoc_topics', or the path of a text file, such as 'my.txt'"
    ),
    "groups": several(METHOD, ["ste"], least=0),
    "everything": several(METHOD, ["ste"], least=0),
    "context": whole(2, 1_000_000),
    "pretraining_steps": whole(1, 10_000_000),
    "pretraining_batch_size": whole(1, 1_000_000),
    "pretraining_rate": number(1e-12, 10),
    "steps": whole(1, 10_000_000),
    "blocks": whole(2, 100_000),
    "block_windows": whole(1, 100_000),
}


def check(values: Mapping[str, Any]) -> None:
    """Hold every value against its rule; raises ParameterError on the first that breaks one."""
    parameters.check(values, RULES)
    if values.get("grid_range") == "narrow" and 1 in values.get("bits", []):
        raise ParameterError(f"bits = {values['bits']!r}: the narrow range needs 2 to 16 bits")


# Lets a function of keyword parameters check them before it starts.
checked = partial(parameters.checked, check)


def set_up(function: Callable) -> Callable:
    """`checked`, for a function of a linear.Setup, which gets keywords for its fields in place of it."""
    own, fields = (inspect.signature(f).parameters.values() for f in (function, Setup))
    shown = [p for p in own if p.name != "setup"]
    shown += [field.replace(kind=inspect.Parameter.KEYWORD_ONLY) for field in fields]

    @wraps(function)
    def wrapper(**given):
        setup = Setup(*(given.pop(name) for name in Setup._fields))
        return function(setup=setup, **given)

    wrapper.__signature__ = inspect.Signature(sorted(shown, key=lambda p: p.kind))
    return checked(wrapper)
