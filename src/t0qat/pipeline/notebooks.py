"""The notebooks as the pipeline sees them: their parameters, profiles and declared outputs."""

import ast
import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t0qat.pipeline import places
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.parameters import ParameterError


class NotebookError(ValueError):
    """A notebook or its .toml that is not as the pipeline needs it, in one line."""


def experiment_of(path: Path) -> str:
    return re.sub(r"^\d+[a-z]?_", "", path.stem)


@dataclass(frozen=True)
class Notebook:
    path: Path
    defaults: dict[str, Any]  # what its parameters cell sets
    outputs: tuple[str, ...]  # relative to a profile's home
    cell_limit_seconds: int
    profiles: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        """File name without its ending: 01_table1."""
        return self.path.stem

    @property
    def experiment(self) -> str:
        """The name without its number: table1."""
        return experiment_of(self.path)

    @property
    def receipt(self) -> str:
        return f"paper/results/{self.experiment}.json"

    def parameters(self, profile: str, changes: dict[str, Any]) -> dict[str, Any]:
        """What the notebook runs with."""
        return self.defaults | self.profiles[profile] | changes

    def checked(self, paper: Paper, profile: str, changes: dict[str, Any]) -> dict[str, Any]:
        """The same; raises ParameterError for a value that breaks its rule."""
        values = self.parameters(profile, changes)
        try:
            paper.check_parameters(values)
        except ParameterError as error:
            raise ParameterError(f"{self.name}: {error}") from None
        return values


def source_hash(path: Path) -> str | None:
    """SHA-256 of a file, if it is there; of a notebook, of what an author writes in it alone."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        cells = json.loads(content)["cells"]
        written = [[c["cell_type"], "".join(c["source"]), c["metadata"].get("tags", [])] for c in cells]
        content = json.dumps(written).encode()
    return hashlib.sha256(content).hexdigest()


def load(paper: Paper, folder: Path = places.ROOT / "notebooks") -> list[Notebook]:
    """Every notebook that the pipeline runs, in reading order, each checked as a whole.

    One with neither parameters nor a .toml beside it makes nothing for the paper and is left alone.
    """
    found = (_load(paper, path) for path in sorted(folder.glob("*.ipynb")))
    return [notebook for notebook in found if notebook]


def _load(paper: Paper, path: Path) -> Notebook | None:
    try:
        cells = json.loads(path.read_bytes())["cells"]
        tagged = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
        if not tagged and not path.with_suffix(".toml").exists():
            return None
        settings = tomllib.loads(path.with_suffix(".toml").read_text())
    except FileNotFoundError as error:
        raise NotebookError(f"{Path(error.filename).name} is missing beside {path.name}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{path.name} or its .toml cannot be read: {error}") from None
    if len(tagged) != 1:
        raise NotebookError(f"{path.name}: {len(tagged)} cells are tagged 'parameters', 1 is needed")
    defaults = _assignments(path.name, tagged[0])
    needed = ("cell_limit_seconds", *places.PROFILES)
    if {*settings} != {*needed}:
        found = ", ".join(settings) or "none"
        raise NotebookError(f"{path.stem}.toml: its entries are {found}, not {', '.join(needed)}")
    profiles = {profile: settings[profile] for profile in places.PROFILES}
    for profile, values in profiles.items():
        _known(values, defaults, f"{path.stem}.toml, [{profile}]")
    experiment = experiment_of(path)
    if experiment not in paper.experiments:
        known = ", ".join(paper.experiments)
        raise NotebookError(f"{path.name}: the paper has no experiment {experiment!r}, only {known}")
    outputs, limit = paper.experiments[experiment].outputs, settings["cell_limit_seconds"]
    return Notebook(path, defaults, outputs, limit, profiles)


def _assignments(name: str, source: str) -> dict[str, Any]:
    """The plain `name = value` lines of a parameters cell."""
    values = {}
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"{name}: parameters cell, line {error.lineno}: {error.msg}") from None
    for statement in statements:
        try:
            (target,) = statement.targets
            values[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError, TypeError):
            allowed = "a parameters cell holds only `name = value` lines"
            raise NotebookError(f"{name}: {allowed}, not `{ast.unparse(statement)}`") from None
    return values


def _known(values: dict[str, Any], known: Iterable[str], where: str) -> None:
    for key, value in values.items():
        if key not in known:
            names = ", ".join(known)
            raise ParameterError(f"{where}: {key} = {value!r}: unknown parameter; known are {names}")


def changes(path: Path | None, notebooks: list[Notebook]) -> dict[str, dict[str, Any]]:
    """A reader's parameters file, by notebook name.

    `name = value` at the top of the file holds for every notebook with that parameter; below a
    `[notebook]` line it holds for that one. Raises ParameterError for a name that fits nowhere.
    """
    try:
        content = tomllib.loads(path.read_text()) if path else {}
    except FileNotFoundError:
        raise ParameterError(f"PARAMS = {path}: there is no such file") from None
    except ValueError as error:
        raise ParameterError(f"PARAMS = {path}: {error}") from None
    known = {notebook.name: notebook.defaults for notebook in notebooks}
    parameters = [*dict.fromkeys(itertools.chain(*known.values()))]
    own = {k: v for k, v in content.items() if isinstance(v, dict) and k not in parameters}
    everywhere = {name: value for name, value in content.items() if name not in own}
    if everywhere:
        _known(everywhere, parameters, path.name)
    for name, values in own.items():
        if name not in known:
            names = ", ".join(known)
            raise ParameterError(f"{path.name}: [{name}]: unknown notebook; known are {names}")
        _known(values, known[name], f"{path.name}, [{name}]")
    return {
        name: {key: value for key, value in everywhere.items() if key in names} | own.get(name, {})
        for name, names in known.items()
    }
