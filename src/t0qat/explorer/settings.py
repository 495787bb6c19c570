"""A setting of the explorer as a parameters file of `make paper`."""

import json
import re
from pathlib import Path

from t0qat.explorer.measure import STRENGTHS, Setting
from t0qat.pipeline import notebooks, places
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.parameters import ParameterError

EVERYWHERE = *STRENGTHS, "evaluation_noise", "target", "grid_range", "grid_scale"


def content(paper: Paper, setting: Setting) -> tuple[str, list[str]]:
    """The file's text, and what of the setting no file can say, in words; raises ParameterError.

    `replicates` and `bits` go to the notebooks of the linear experiment alone: elsewhere the same names
    stand for much longer work. Their lists of widths get the chosen one where it is missing.
    """
    every = notebooks.load(paper)
    known = {name for notebook in every for name in notebook.defaults}
    values = {name: getattr(setting, name) for name in EVERYWHERE}
    other = {name: values.pop(name) for name in EVERYWHERE if name not in known}
    values |= {"settings": other} if other else {}
    own = {}
    for notebook in every:
        if "target" in notebook.defaults:
            own[notebook.name] = {"replicates": setting.replicates}
            usual = (notebook.defaults | notebook.profiles["paper"]).get("bits")
            if usual and setting.bits not in usual:
                own[notebook.name]["bits"] = sorted({*usual, setting.bits}, reverse=True)
    for notebook in every:
        everywhere = {name: value for name, value in values.items() if name in notebook.defaults}
        notebook.checked(paper, "paper", everywhere | own.get(notebook.name, {}))
    lines = _lines(values)
    for name, mine in own.items():
        lines += ["", f"[{name}]", *_lines(mine)]
    notes = ["both data sets run in any case"]
    if setting.constant != "xi":
        notes.append(f"the constant is written as the xi_scaling of the same noise, {setting.noise:.4g}")
    return "\n".join(lines) + "\n", notes


def _lines(values: dict) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in values.items()]


def _toml(value: object) -> str:
    return f"{{ {', '.join(_lines(value))} }}" if isinstance(value, dict) else json.dumps(value)


def write(paper: Paper, setting: Setting, name: str) -> tuple[Path, list[str]]:
    """Write build/explore/<name>.toml; returns its path and the notes of `content`."""
    if not re.fullmatch(r"\w[\w. -]*", name):
        raise ParameterError(f"name = {name!r}: allowed are letters, digits, spaces, and . _ -")
    text, notes = content(paper, setting)
    path = places.BUILD / "explore" / f"{name.removesuffix('.toml')}.toml"
    places.write(path, text)
    return path, notes
