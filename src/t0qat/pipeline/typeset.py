"""From published results to the PDF, in a folder of its own so that paper/ holds no LaTeX litter."""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

from t0qat.pipeline import costs, places, readme, receipts
from t0qat.pipeline.latex import lookup_lines, macro_lines
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run

PACKAGES = "latexmk texlive-latex-recommended texlive-latex-extra texlive-science lmodern"
TEXTS = ("paper/main.tex", "paper/appendix.tex")  # what is read, in this order
SOURCES = (*TEXTS, "paper/references.bib")


class TypesetError(RuntimeError):
    """The PDF could not be made; a few lines say why."""


def typeset(paper: Paper, every: list[Notebook], run: Run) -> None:
    """Build the profile's PDF if anything that it shows changed since; renew the README for `paper`."""
    home = run.home
    made = {notebook.name: receipts.read(notebook, run) for notebook in every}
    shown = (".tex", ".pdf", ".csv")
    names = [name for notebook in every for name in notebook.outputs if name.endswith(shown)]
    content = {name: (places.ROOT / name).read_bytes() for name in SOURCES}
    content |= {name: (home / name).read_bytes() for name in names}
    content["paper/macros/build.tex"] = build_macros(made, run).encode()
    target = home / "paper" / "main.pdf"
    stamp = places.BUILD / "stamps" / run.name / "main.pdf"
    kept = (target, places.ROOT / "README.md", home / costs.RECORD)

    def state() -> str:
        files = {path.name: path.read_bytes() for path in kept if path.is_file()}
        both = ({k: hashlib.sha256(v).hexdigest() for k, v in d.items()} for d in (files, content))
        return receipts.digest(*both)

    if target.is_file() and stamp.is_file() and stamp.read_text() == state():
        return
    if run.name == "paper":
        readme.renew(paper)
    if shutil.which("latexmk") is None:
        raise TypesetError(
            f"LaTeX is missing: all but the PDF is made; `apt-get install {PACKAGES}`, then run again"
        )
    looked_up = lookup_macros(paper, "".join(content[name].decode() for name in TEXTS), home).encode()
    build = {"paper/macros/build.tex": content["paper/macros/build.tex"] + looked_up}
    places.write(target, _latexmk(content | build, run))
    places.write(stamp, state())


def build_macros(made: dict[str, dict], run: Run) -> str:
    """Version, code hash, profile, marks and parameters, as the PDF shows them."""
    settings = {
        f"{receipt['experiment']}/{key}": in_words(value)
        for receipt in made.values()
        for key, value in receipt["parameters"].items()
    }
    return lookup_lines("Setting", settings) + macro_lines(
        {
            "BuildVersion": version(places.PACKAGE),
            "BuildCodeHash": receipts.digest([receipt["code_hash"] for receipt in made.values()]),
            "BuildProfile": "; ".join([run.profile, *marks(made)]),
            "BuildMark": "" if run.profile == "paper" else run.profile.upper(),
        }
    )


def lookup_macros(paper: Paper, text: str, home: Path) -> str:
    """What the text looks up in the results files below home. Raises TypesetError."""
    from t0qat.pipeline import lookups, results  # only now: they bring pandas along

    read = functools.cache(lambda file: results.read(paper, file, home))
    found = {kind: {} for kind in (*lookups.KINDS, lookups.ANSWER)}
    try:
        for kind, place in sorted(lookups.used(text)):
            of_paper = kind == lookups.ANSWER
            look_up = resolve_name(paper.answer) if of_paper else partial(lookups.look_up, kind)
            found[kind][place] = look_up(place, read)
    except results.ResultsError as error:
        raise TypesetError(f"the manuscript: {error}") from None
    return "".join(lookup_lines(kind, values) for kind, values in found.items())


def in_words(value: object) -> str:
    """A parameter's value as text shows it: a list without brackets and quotes, thousands by commas."""
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    return f"{value:,}" if type(value) is int else str(value)


def marks(made: dict[str, dict]) -> list[str]:
    """What sets the results of these receipts apart: changed parameters, files edited by hand."""
    changed = [
        f"{name}: {key} = {in_words(value)}"
        for name, receipt in made.items()
        for key, value in receipt["changed_parameters"].items()
    ]
    edited = [name for receipt in made.values() for name in receipt.get("edited", [])]
    lines = [f"changed parameters: {', '.join(changed)}"] * bool(changed)
    return lines + [f"edited by hand: {', '.join(edited)}"] * bool(edited)


def _latexmk(content: dict[str, bytes], run: Run) -> bytes:
    """The PDF that LaTeX makes of these files, in a folder of its own."""
    runs = places.BUILD / "runs" / run.name / "main.pdf"
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir(parents=True)
    # A new folder each time: the LaTeX of a run that was killed may still be writing into the old one.
    folder = Path(tempfile.mkdtemp(dir=runs)) / "paper"
    for name, data in content.items():
        places.write(folder.parent / name, data)
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-silent", "main.tex"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"max_print_line": "1000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        failed = process.wait()
    finally:
        if process.poll() is None:  # interrupted: LaTeX must not go on alone
            os.killpg(process.pid, signal.SIGKILL)
    if failed:
        raise TypesetError(_what_latex_said(folder / "main.log", places.BUILD / run.name / "failed"))
    pdf = (folder / "main.pdf").read_bytes()
    shutil.rmtree(runs, ignore_errors=True)
    return pdf


def _die_with_parent() -> None:
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _what_latex_said(log: Path, keep: Path) -> str:
    if not log.is_file():
        return f"latexmk stopped before LaTeX started; is {PACKAGES} all installed?"
    text = log.read_text(errors="replace")
    places.write(keep / log.name, text)
    errors = re.findall(r"^!.*(?:\nl\.\d+.*)?", text, re.M)
    return "\n".join([f"LaTeX stopped; its log is {receipts.shown(keep / log.name)}", *errors[:2]])
