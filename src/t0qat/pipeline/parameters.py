"""Rules for parameters; checked once, where a value enters: a notebook or the command line."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError


class ParameterError(ValueError):
    """A parameter that is unknown, of the wrong type or out of range, in one line."""


class Rule(NamedTuple):
    """What a parameter may be."""

    type: Any  # a type that pydantic checks
    allowed: str  # the same in words

    @property
    def limits(self) -> tuple[float, float]:
        """Of a number, the least and the largest."""
        schema = TypeAdapter(self.type).json_schema()
        return schema["minimum"], schema["maximum"]


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


def check(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Hold every value against its rule; raises ParameterError on the first that breaks one."""
    for name, value in values.items():
        shown = f"{name} = {' '.join(repr(value).split())}"
        if name not in rules:
            raise ParameterError(f"{shown}: unknown parameter; known are {', '.join(rules)}")
        try:
            TypeAdapter(rules[name].type).validate_python(value)
        except ValidationError:
            raise ParameterError(f"{shown}: allowed is {rules[name].allowed}") from None


def checked(check: Callable[[Mapping[str, Any]], None], function: Callable) -> Callable:
    """The function of keyword parameters, which checks them before it starts."""

    @functools.wraps(function)
    def wrapper(**given):
        try:
            bound = inspect.signature(function).bind(**given)
        except TypeError as error:
            raise ParameterError(f"{function.__name__}: {error}") from None
        bound.apply_defaults()
        check(bound.kwargs)
        return function(**bound.kwargs)

    return wrapper
