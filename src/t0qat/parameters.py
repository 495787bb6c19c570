"""What each parameter may be; checked once, where a value enters: a notebook or the command line."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from itertools import pairwise
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


def bit_list(text: str) -> tuple[int, ...]:
    """Bit-widths from text: `bit_list("8, 4, 3, 2") == (8, 4, 3, 2)`.

    Raises ValueError unless each is a whole number from 1 to 16 and none stands twice.
    """
    bits = tuple(int(word) if word.strip().isdecimal() else 0 for word in text.split(","))
    if not all(1 <= b <= 16 for b in bits) or len(set(bits)) < len(bits):
        raise ValueError(text)
    return bits


def number_list(text: str) -> tuple[float, ...]:
    """Rising numbers from text: `number_list("0, 0.1, 1e3") == (0.0, 0.1, 1000.0)`.

    Raises ValueError unless each is finite, at least 0, and larger than the one before.
    """
    values = tuple(map(float, text.split(",")))
    if not all(0 <= v < math.inf for v in values) or any(a >= b for a, b in pairwise(values)):
        raise ValueError(text)
    return values


def words(read: Callable[[str], Any], allowed: str) -> Rule:
    """Text that `read` turns into values, or raises ValueError."""
    return Rule(Annotated[str, Field(strict=True), AfterValidator(lambda t: read(t) and t)], allowed)


def pattern(expression: str, allowed: str) -> Rule:
    """Text that matches a regular expression from end to end."""
    return Rule(Annotated[str, Field(strict=True, pattern=rf"\A(?:{expression})\z")], allowed)


MODEL_LIST = "names of image networks, with commas, such as 'mlp, small_cnn'"

FOLDER = r"/?\w[\w. -]*(/\w[\w. -]*)*/?"

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
    "bits": words(bit_list, "bit-widths from 1 to 16, each once, such as '8, 4, 3, 2'"),
    "draws": whole(100, 100_000_000),
    "noise_scales": words(number_list, "rising numbers from 0, such as '0.01, 0.1, 1'"),
    "training_noises": words(number_list, "rising numbers from 0, such as '0, 0.1, 1'"),
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
    "target_noises": words(number_list, "rising numbers of at least 0, such as '0, 0.1, 0.5'"),
    "baseline_noises": words(number_list, "rising numbers of at least 0, such as '0, 0.1, 0.5'"),
    "evaluation_noises": words(number_list, "rising numbers of at least 0, such as '0.1, 0.5'"),
    "dataset": pattern(
        r"[A-Za-z]\w*|[^\n]+\.npz", "'digits', a name on OpenML, or the path of an .npz file"
    ),
    "readers": pattern(r"([a-z0-9_]+(, *[a-z0-9_]+)*)?", "names of networks, with commas, or ''"),
    "models": pattern(r"[a-z_]+(, *[a-z_]+)*", MODEL_LIST),
    "few_models": pattern(r"([a-z_]+(, *[a-z_]+)*)?", f"{MODEL_LIST}, or ''"),
    "methods": pattern(
        r"[a-zA-Z]\w*(, *[a-zA-Z]\w*)*",
        "names of training methods, with commas, such as 'ste, lsq', or 'all'",
    ),
    "few_replicates": whole(2, 10_000_000),
    "trained_bits": words(bit_list, "bit-widths from 1 to 16, each once, such as '4, 3, 2'"),
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
    "model": pattern(
        rf"{FOLDER}(, *{FOLDER})*",
        "names of small models, folders of checkpoints or hub ids, with commas",
    ),
    "variants": pattern(r"([a-z]+(, *[a-z]+)*)?", "'groups', 'everything', both with a comma, or ''"),
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
    if values.get("grid_range") == "narrow" and 1 in bit_list(values.get("bits", "2")):
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
