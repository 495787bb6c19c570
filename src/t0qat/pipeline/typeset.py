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
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

from t0qat.pipeline import costs, places, readme, receipts
from t0qat.pipeline.latex import Raw, escape, lookup_lines, macro_lines, tex
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run

PACKAGES = "latexmk texlive-latex-recommended texlive-latex-extra texlive-science lmodern"
BUILD = "paper/macros/build.tex"


def texts() -> list[str]:
    """The files of the manuscript, paper/main.tex and what lies beside it."""
    return sorted(f"paper/{path.name}" for path in (places.ROOT / "paper").glob("*.tex"))


class TypesetError(RuntimeError):
    """The PDF could not be made; a few lines say why."""


def typeset(paper: Paper, every: list[Notebook], run: Run) -> None:
    """Build the profile's PDF if what it shows changed since; renew README and docs for `paper`."""
    home = run.home
    content = sources(every, run)
    target = home / "paper" / "main.pdf"
    stamp = places.BUILD / "stamps" / run.name / "main.pdf"
    kept = (target, *readme.texts(), home / costs.RECORD)

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
    places.write(target, pdf(with_lookups(paper, every, content, home), run))
    places.write(stamp, state())


def sources(every: list[Notebook], run: Run) -> dict[str, bytes]:
    """All that the PDF is made from, by its path; raises OSError where a notebook has not run."""
    made = {notebook.name: receipts.read(notebook, run) for notebook in every}
    shown = (".tex", ".pdf", ".csv")
    names = [name for notebook in every for name in notebook.outputs if name.endswith(shown)]
    content = {name: (places.ROOT / name).read_bytes() for name in [*texts(), "paper/references.bib"]}
    content |= {name: (run.home / name).read_bytes() for name in names}
    return content | {BUILD: build_macros(made, run).encode()}


def with_lookups(
    paper: Paper, every: list[Notebook], content: dict[str, bytes], home: Path
) -> dict[str, bytes]:
    """The same with what the text looks up, and where its figures and tables are from."""
    text = "".join(content[name].decode() for name in texts())
    found = lookup_macros(paper, text, home) + lookup_lines("Made", origins(paper, every))
    return content | {BUILD: content[BUILD] + found.encode()}


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
    """What the text looks up in results files below home, with links to them. Raises TypesetError."""
    from t0qat.pipeline import lookups, results  # only now: they bring pandas along

    read = functools.cache(lambda file: results.read(paper, file, home))
    found = {kind: {} for kind in (*lookups.KINDS, lookups.ANSWER)}
    try:
        for kind, place in sorted(lookups.used(text)):
            if kind == lookups.ANSWER:
                found[kind][place] = resolve_name(paper.answer)(place, read)
            else:
                shown = tex(lookups.look_up(kind, place, read))
                found[kind][place] = linked(f"results/{place.split('/')[0]}.csv", shown)
    except results.ResultsError as error:
        raise TypesetError(f"the manuscript: {error}") from None
    return "".join(lookup_lines(kind, values) for kind, values in found.items())


def origins(paper: Paper, every: list[Notebook]) -> dict[str, Raw]:
    """Of each table and figure by its name: links to the notebook that makes it and to its numbers."""
    found = {}
    for notebook in every:
        experiment = paper.experiments[notebook.experiment]
        own = next(iter(experiment.results), "")
        files = {
            name: name if name in experiment.results else own for name in experiment.figures.split()
        }
        files |= {name: (exhibit.files or [own])[0] for name, exhibit in experiment.exhibits.items()}
        maker = linked(f"../notebooks/{notebook.path.name}", escape(notebook.name))
        for name, file in files.items():
            found[name] = Raw(rf"{maker}\\{linked(f'results/{file}.csv', 'numbers')}")
    return found


def linked(file: str, text: str) -> Raw:
    """LaTeX of a link to a file, named as seen from the folder of the PDF."""
    return Raw(rf"\file{{{file}}}{{{text}}}")


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


def pdf(content: dict[str, bytes], run: Run) -> bytes:
    """The PDF that LaTeX makes of these files, in a folder of its own. Raises TypesetError."""
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
