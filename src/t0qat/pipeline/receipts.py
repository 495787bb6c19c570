"""What was made from what: a receipt beside each experiment's results, and a stamp of this clone's runs.

A receipt, paper/results/<experiment>.json, is committed with the results: parameters, profile, the
hash of every file of the project that was read, versions, machine, and the hash of every output. A
stamp in build/ says that this clone made them itself; a fresh clone has none and runs everything.
"""

import hashlib
import json
import platform
import re
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from t0qat.pipeline import pin, places
from t0qat.pipeline.notebooks import Notebook, source_hash
from t0qat.pipeline.places import Run

COMPILED = ("numpy", "scipy", "pandas", "scikit-learn", "matplotlib", "torch")
LIBRARIES = (*COMPILED, "statsmodels", "torchao", "transformers")
WALKED = ("src", "notebooks", "paper", "figures", "tests", *(f"build/{name}" for name in places.RUNS))


def hashes() -> dict[str, str]:
    """The hash of every file that a notebook of this project may read, by path below the project."""
    below = (path for folder in WALKED for path in (places.ROOT / folder).rglob("*"))
    paths = [*places.ROOT.iterdir(), *below]
    return {shown(path): source_hash(path) for path in paths if path.is_file() and path.suffix != ".pyc"}


def shown(path: Path) -> str:
    """A path as messages and receipts name it: below the project, with forward slashes."""
    return path.relative_to(places.ROOT).as_posix()


def versions() -> dict[str, str]:
    """Python's and the numerical libraries' versions."""
    # A torch build may carry a local label (+cpu), which the lock file does not name.
    libraries = {name: version(name).split("+")[0] for name in LIBRARIES}
    return {places.PACKAGE: version(places.PACKAGE), "python": platform.python_version()} | libraries


def machine(device: str = "cpu") -> dict[str, Any]:
    """What changes the arithmetic of a run, beside versions: the pin, and builds of libraries.

    The processor's brand is not among it: under the pin all have the same bits, and without the pin two
    of one brand may differ.
    """
    return {
        "device": device,
        "architecture": platform.machine(),
        "pinned": pin.possible(),  # the pipeline then starts every kernel with it
        "threads": 1,
        "libc": " ".join(platform.libc_ver()),
        "builds": {name: build(name) for name in COMPILED},
    }


def build(name: str) -> str:
    """Twelve hexadecimal digits that stand for the compiled files of an installed library."""
    record = distribution(name).read_text("RECORD") or ""
    return digest(sorted(line for line in record.splitlines() if re.search(r"\.so[.,\d]", line)))


def make(notebook: Notebook, run: Run, changed: dict, inputs: dict, stage: Path) -> dict[str, Any]:
    """The receipt of a finished run whose outputs lie in its stage."""
    parameters = notebook.parameters(run.profile, changed)
    return {
        "experiment": notebook.experiment,
        "profile": run.profile,
        "changed_parameters": changed,
        "parameters": parameters,
        "inputs": inputs,
        "code_hash": digest(inputs, parameters),
        "versions": versions(),
        "machine": machine(parameters.get("device", "cpu")),
        "outputs": {name: source_hash(stage / name) for name in notebook.outputs},
    }


def digest(*values: Any) -> str:
    """Twelve hexadecimal digits that stand for these values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def read(notebook: Notebook, run: Run) -> dict[str, Any] | None:
    """The notebook's receipt; None where there is none or it is no receipt."""
    try:
        receipt = json.loads((run.home / notebook.receipt).read_bytes())
        return receipt if set(receipt["outputs"]) >= set(notebook.outputs) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def altered(notebook: Notebook, run: Run) -> list[str]:
    """Outputs that no longer are what their receipt says: edited, or cut short (not: deleted)."""
    made = (read(notebook, run) or {"outputs": {}})["outputs"]
    return [name for name, was in made.items() if source_hash(run.home / name) not in (was, None)]


def accept(notebook: Notebook, run: Run, edited: list[str]) -> None:
    """Let the receipt follow its outputs as they are now, if they are there, and name those edited."""
    receipt = read(notebook, run)
    receipt["edited"] = sorted({*receipt.get("edited", []), *edited})
    made = receipt["outputs"].items()
    receipt["outputs"] = {name: source_hash(run.home / name) or was for name, was in made}
    places.write(run.home / notebook.receipt, json.dumps(receipt, indent=1) + "\n")
    if _stamp(notebook, run).is_file():
        stamp(notebook, run)


def _stamp(notebook: Notebook, run: Run) -> Path:
    return places.BUILD / "stamps" / run.name / notebook.experiment


def stamp(notebook: Notebook, run: Run) -> None:
    """Note that this clone made what the receipt names."""
    places.write(_stamp(notebook, run), source_hash(run.home / notebook.receipt))


def made_here(notebook: Notebook, run: Run) -> bool:
    """Whether the receipt beside the results is that of this clone's own last run."""
    stamp = _stamp(notebook, run)
    return stamp.is_file() and stamp.read_text() == source_hash(run.home / notebook.receipt)


def stale(notebook: Notebook, run: Run, parameters: dict[str, Any]) -> str:
    """Why the notebook must run, in a few words; "" when its outputs are fresh."""
    if not _stamp(notebook, run).is_file():
        return "it has not run in this clone"
    receipt = read(notebook, run)
    if receipt is None or not made_here(notebook, run):
        return f"{notebook.receipt} is missing or not the one of the last run"
    if set(receipt["outputs"]) != set(notebook.outputs):
        return "its declared outputs changed"
    if missing := [name for name in notebook.outputs if not (run.home / name).is_file()]:
        return f"{missing[0]} is missing"
    for kind, now in (("parameters", parameters), ("versions", versions())):
        before = receipt[kind]
        if before != now:
            names = sorted(n for n in before | now if before.get(n) != now.get(n))
            return f"{kind} changed: {', '.join(names)}"
    changed = outdated(notebook, run)
    return f"{changed[0]} changed" if changed else ""


def outdated(notebook: Notebook, run: Run) -> list[str]:
    """What the notebook read, by its receipt, that is no longer as it was."""
    inputs = (read(notebook, run) or {"inputs": {}})["inputs"]
    return [name for name, was in inputs.items() if source_hash(places.ROOT / name) != was]
