"""Copies of the project to break, toy notebooks that run in seconds, and a server that starts."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat

from t0qat.paper import PAPER

ROOT = Path(__file__).parents[1]
TOY_PAPER = f"""from t0qat.pipeline.paper import Column, Experiment, Paper

EXPERIMENTS = {{}}
PAPER = Paper(
    EXPERIMENTS, {PAPER.columns!r}, "t0qat.experiments.settings:check", {PAPER.sample_sizes!r}
)
"""


class Project:
    """A copy of the project's own files, in a folder whose name holds a space."""

    def __init__(self, root: Path):
        self.root = root
        self.environment = os.environ | {"PYTHONPATH": str(root / "src"), "COLUMNS": "200"}

    def run(self, *arguments: str, **more) -> subprocess.CompletedProcess:
        """python -m t0qat with these arguments, in the copy."""
        command = [sys.executable, "-m", "t0qat", *arguments]
        options = {"cwd": self.root, "env": self.environment, "capture_output": True, "text": True}
        return subprocess.run(command, check=False, timeout=3600, **(options | more))

    def notebook(self, name: str, code: str, parameters="replicates = 5", kind="txt") -> Path:
        """Add a toy notebook whose one output is paper/results/<experiment>.<kind>.

        The copy's paper then is of toys alone; a table of kind "csv" has the real paper's columns.
        """
        path = self.root / "notebooks" / f"{name}.ipynb"
        cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        cells = [cell, nbformat.v4.new_code_cell(code)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        path.with_suffix(".toml").write_text("cell_limit_seconds = 600\n[paper]\n[smoke]\n")
        experiment = name.split("_", 1)[1]
        made = {experiment: PAPER.results[experiment]} if kind == "csv" else {}
        others = () if made else (f"paper/results/{experiment}.{kind}",)
        entry = f"EXPERIMENTS[{experiment!r}] = Experiment({made!r}, others={others!r})\n"
        paper = self.root / "src/t0qat/paper.py"
        before = paper.read_text()
        paper.write_text((before if before.startswith(TOY_PAPER) else TOY_PAPER) + entry)
        return path

    def files(self, *folders: str) -> dict[str, bytes]:
        """Every file below these folders, by path, hidden ones left out."""
        found = [p for folder in folders for p in (self.root / folder).rglob("[!.]*") if p.is_file()]
        return {p.relative_to(self.root).as_posix(): p.read_bytes() for p in found}


def write_toy(content: str) -> str:
    """The code of a toy notebook that leaves `content`, a Python expression, as its output."""
    where = "places.stage() / 'paper/results/toy.txt'"
    return f"from t0qat.pipeline import places\nplaces.write({where}, {content})"


def copy(folder: Path) -> Project:
    """A copy of what git would commit now."""
    root = folder / "a copy"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    return Project(root)


def with_toys(folder: Path) -> Project:
    project = copy(folder)
    for folder in ("notebooks", "paper/results", "paper/tables", "paper/macros", "figures"):
        shutil.rmtree(project.root / folder)
        (project.root / folder).mkdir()
    (project.root / "README.md").write_text("toys\n")
    (project.root / "paper/cost.json").write_text("{}\n")
    (project.root / "paper/appendix.tex").unlink()
    (project.root / "paper/main.tex").write_text(
        "\\pdfinfoomitdate=1\n\\pdftrailerid{}\n"  # the same bytes at any time
        "\\documentclass{article}\\input{macros/build}\\begin{document}\\BuildProfile\\end{document}\n"
    )
    project.notebook("01_toy", write_toy("f'replicates\\n{replicates}\\n'"))
    return project


def jupyter_server(folder: Path, process: subprocess.Popen, log: Path | None = None) -> dict:
    """What a starting JupyterLab writes of itself there, once it answers: it writes a moment before."""
    end = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < end:
        for path in folder.glob("jpserver-*.json"):
            with contextlib.suppress(ValueError, ConnectionRefusedError):
                server = json.loads(path.read_text())
                socket.create_connection(("127.0.0.1", server["port"])).close()
                return server
        time.sleep(0.1)
    raise AssertionError(log.read_text() if log else "JupyterLab did not start")
