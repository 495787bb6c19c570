"""What each parameter may be; checked once, where a value enters: a notebook or the command line."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError


class ParameterError(ValueError):
    """A parameter that is unknown, of the wrong type or out of range, in one line."""


class Rule(NamedTuple):
    type: Any  # a type that pydantic checks
    allowed: str  # the same in words


def whole(low: int, high: int) -> Rule:
    field = Field(ge=low, le=high, strict=True)
    return Rule(Annotated[int, field], f"a whole number from {low} to {high}")


def number(low: float, high: float) -> Rule:
    field = Field(ge=low, le=high, strict=True, allow_inf_nan=False)
    return Rule(Annotated[float, field], f"a number from {low:g} to {high:g}")


def choice(*names: str) -> Rule:
    return Rule(Literal[names], " or ".join(map(repr, names)))


def either(first: Rule, second: Rule) -> Rule:
    return Rule(first.type | second.type, f"{first.allowed} or {second.allowed}")


def several(of: Rule, example: list, least: int = 1, rising: bool = False) -> Rule:
    """A list of such values, each once and, if it is rising, each larger than the one before."""

    def in_order(values: list) -> list:
        if len({*values}) < len(values) or (rising and values != sorted(values)):
            raise ValueError(values)
        return values

    many = Annotated[list[of.type], Field(min_length=least), AfterValidator(in_order)]
    order = "rising" if rising else "each once"
    return Rule(many, f"a list, {order}, of what is each {of.allowed}, such as {example}")


def pattern(expression: str, allowed: str) -> Rule:
    """Text that matches a regular expression from end to end."""
    return Rule(Annotated[str, Field(strict=True, pattern=rf"\A(?:{expression})\z")], allowed)


WIDTHS = several(whole(1, 16), [8, 4, 3, 2])
NOISES = several(number(0, 1e9), [0, 0.1, 1], rising=True)
NETWORK = pattern("[a-z][a-z0-9_]*", "the name of a network")
METHOD = pattern(r"[a-zA-Z]\w*", "the name of a training method")

# One line a parameter. A name means the same in every notebook.
RULES = {
    "replicates": whole(2, 10_000_000),
    "seed": whole(0, 2**32 - 1),
    "epochs": whole(1, 1_000_000),
    "learning_rate": number(1e-12, 10),
    "xi_scaling": number(0, 1e9),
    "baseline_noise": number(0, 1e6),
    "evaluation_noise": either(number(0, 1e6), choice("reported")),
    "target": choice("sum", "normal"),
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
    "grid_range": choice("narrow", "full"),
    "grid_scale": choice("absmax", "mse"),
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
    "schedule": choice("constant", "cosine", "warmup_cosine", "decaying"),
    "device": choice("auto", "cpu", "cuda"),
    "corpus": pattern(
        r"[a-z_]+|[^\n]+\.\w+", "'pydoc_topics', or the path of a text file, such as 'my.txt'"
    ),
    "variants": several(choice("groups", "everything"), ["groups"], least=0),
    "context": whole(2, 1_000_000),
    "pretraining_steps": whole(1, 10_000_000),
    "pretraining_batch_size": whole(1, 1_000_000),
    "pretraining_rate": number(1e-12, 10),
    "steps": whole(1, 10_000_000),
    "blocks": whole(2, 100_000),
    "block_windows": whole(1, 100_000),
}
# More of these measure the same thing more precisely; any other parameter changes what is measured.
SAMPLE_SIZES = {"replicates", "network_replicates", "few_replicates", "calibration_replicates"}
SAMPLE_SIZES |= {"draws", "networks", "noise_pairs", "probes"}


def limits(name: str) -> tuple[float, float]:
    """The least and the largest number that a parameter may be."""
    schema = TypeAdapter(RULES[name].type).json_schema()
    return schema["minimum"], schema["maximum"]


def choices(name: str) -> tuple[str, ...]:
    """The names that a parameter may be."""
    return tuple(TypeAdapter(RULES[name].type).json_schema()["enum"])


def check(values: Mapping[str, Any]) -> None:
    """Hold every value against its rule; raises ParameterError on the first that breaks one."""
    for name, value in values.items():
        shown = f"{name} = {' '.join(repr(value).split())}"
        if name not in RULES:
            raise ParameterError(f"{shown}: unknown parameter; known are {', '.join(RULES)}")
        try:
            TypeAdapter(RULES[name].type).validate_python(value)
        except ValidationError:
            raise ParameterError(f"{shown}: allowed is {RULES[name].allowed}") from None
    if values.get("grid_range") == "narrow" and 1 in values.get("bits", []):
        raise ParameterError(f"bits = {values['bits']!r}: the narrow range needs 2 to 16 bits")


def checked(function: Callable) -> Callable:
    """Let a function of keyword parameters check them against RULES before it starts."""

    @functools.wraps(function)
    def wrapper(**given):
        try:
            bound = inspect.signature(function).bind(**given)
        except TypeError as error:
            raise ParameterError(f"{function.__name__}: {error}") from None
        bound.apply_defaults()
        check(bound.arguments)
        return function(**bound.arguments)

    return wrapper
