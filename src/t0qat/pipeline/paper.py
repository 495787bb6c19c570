"""What a paper tells the pipeline: which experiment leaves what, and what stands in it.

Functions and registries are named, as "module:name", and imported when they are needed: to say what is
fresh must not take the seconds that numerical libraries take.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pkgutil import resolve_name
from typing import Any, NamedTuple


class Column(NamedTuple):
    """Of results files."""

    meaning: str
    among: str = ""  # of a name: "module:name" of those that may stand there
    chosen: bool = False  # by measuring, so that another machine may choose otherwise
    kind: str = "number"  # (measured), "set" (a number that says which row it is), "name" or "prose"

    @property
    def is_number(self) -> bool:
        return self.kind in ("number", "set")

    @property
    def says_which(self) -> bool:
        return self.kind in ("name", "set")


number, setting, name, prose = (
    partial(Column, kind=kind) for kind in ("number", "set", "name", "prose")
)


class Exhibit(NamedTuple):
    """A table and the macros beside it."""

    # "module:function" of results tables by name: LaTeX of the table, and macros' plain texts by name.
    make: str
    files: Collection[str] = ()  # the results files that it is made from; none: all of its experiment

    def __call__(self, tables: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        return resolve_name(self.make)(tables)


@dataclass(frozen=True)
class Experiment:
    """What one notebook leaves.

    results: file -> its columns with blanks between; column? may be empty, column* holds any name.
    """

    results: Mapping[str, str]
    exhibits: Mapping[str, Exhibit] = field(default_factory=dict)
    figures: str = ""  # with blanks between
    others: tuple[str, ...] = ()  # further files, by their paths below the project

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every file, by its path below the project."""
        tables = [f"paper/results/{file}.csv" for file in self.results]
        shown = [f"paper/{kind}/{made}.tex" for made in self.exhibits for kind in ("tables", "macros")]
        drawn = [f"figures/{made}.{kind}" for made in self.figures.split() for kind in ("pdf", "png")]
        return (*tables, *shown, *drawn, *self.others)


@dataclass(frozen=True)
class Paper:
    """Its experiments by the names of their notebooks, numbers left out. Lists are words with blanks."""

    experiments: Mapping[str, Experiment]
    columns: Mapping[str, Column] = field(default_factory=dict)
    # "module:function" of a notebook's parameters by name: raises ParameterError.
    check: str = ""
    sample_sizes: str = ""  # parameters of which more is the same, more precisely
    # "module:function" of an experiment, or of a part that the paper itself names, and of what reads a
    # results file by its name: what was found, as plain text.
    answer: str = ""
    blocks: Mapping[str, str] = field(default_factory=dict)  # of the README, as `exhibits`: -> Markdown
    outside: str = ""  # the results file that names a text from outside by its sha256
    adaptive: str = ""  # results files where what was measured decided n
    timed: str = ""  # results files of times and memory: shown, never judged
    unpinned: str = ""  # results files of programs that the pin does not reach: judged by tolerance
    derived: str = ""  # results files that follow from those, smoothly
    # A name in results files -> the module without which its rows are missing.
    optional: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def results(self) -> dict[str, str]:
        """Every results file and its columns."""
        return {file: columns for e in self.experiments.values() for file, columns in e.results.items()}

    @cached_property
    def exhibits(self) -> dict[str, Exhibit]:
        return {
            made: exhibit._replace(files=[*(exhibit.files or experiment.results)])
            for experiment in self.experiments.values()
            for made, exhibit in experiment.exhibits.items()
        }

    def columns_of(self, file: str) -> list[str]:
        """The names of a results file's columns, in order."""
        return [column.rstrip("?*") for column in self.results[file].split()]

    def check_parameters(self, values: Mapping[str, Any]) -> None:
        """Raise ParameterError for the first value that breaks its rule."""
        if self.check:
            resolve_name(self.check)(values)
