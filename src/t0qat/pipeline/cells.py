"""Cells and trainings: a function, its arguments, and the code that determines what it gives."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from t0qat.pipeline import pin, places, receipts


class GridError(RuntimeError):
    """A cell that failed, or processes that cannot compute cells, in one line."""


@dataclass(frozen=True)
class Call:
    """A function, its arguments, which are JSON values (1 and 1.0 are different ones), and its code."""

    function: Callable[..., Any]  # on the top level of a module
    arguments: dict[str, Any]
    code: tuple[ModuleType | Callable | Path, ...]  # what else it depends on; paths: data files
    before: Callable[[], Any] | None = None  # called first, in the process that computes it
    kept: bool = True  # False: computed each time, where `code` cannot name all that it depends on

    def __str__(self) -> str:
        text = json.dumps(self.arguments, default=str)
        return f"{self.function.__name__}({text if len(text) <= 120 else text[:117] + '...'})"

    @property
    def key(self) -> str:
        """The hash under which the result is kept; raises GridError where arguments are not JSON."""
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        what = [name, self.arguments, code(self.function, *self.code), versions()]
        return sha(as_json(what, f"{self}: its arguments", sort_keys=True))

    def made(self, *first: Any) -> Any:
        """What the function gives of `first` and the arguments, as JSON hands them on."""
        return self.function(*first, **json.loads(json.dumps(self.arguments)))


@dataclass(frozen=True)
class Training(Call):
    """A call that gives weights, name -> tensor. opened(weights, **arguments) is what cells get of it.

    `code` names what both depend on. Only with `kept` do the weights outlive the cells that ask at once.
    """

    opened: Callable[..., Any] = dict


@dataclass(frozen=True)
class Cell(Call):
    """A call whose result is JSON. With `reads` it gets, unchanged, what that training opens."""

    reads: Training | None = None

    @property
    def key(self) -> str:
        return sha(super().key + self.reads.key) if self.reads else super().key


@functools.cache
def versions() -> dict[str, str]:
    """What else the bits of a result hang on: libraries, and whether this process is pinned."""
    return receipts.versions() | {"pin": "in force" if pin.in_force() else "not in force"}


def code(*things: ModuleType | Callable | Path) -> str:
    """SHA-256 of modules' and functions' sources and of files, as this process saw them first."""
    return sha("".join(map(source_of, things)))


@functools.cache
def source_of(thing: ModuleType | Callable | Path) -> str:
    match thing:
        case ModuleType():
            return sha(Path(thing.__file__).read_bytes())
        case Path():
            return sha((places.ROOT / thing).read_bytes())
    return sha(inspect.getsource(thing))


def as_json(value: Any, whose: str, **options: bool) -> str:
    try:
        return json.dumps(value, allow_nan=False, **options)
    except (TypeError, ValueError) as error:
        raise GridError(f"{whose} must be JSON values: {error}") from None


def sha(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
