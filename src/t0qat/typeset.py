"""From published results to the PDF, in a folder of its own so that paper/ holds no LaTeX litter."""

import hashlib
import os
import re
import shutil
import subprocess

from t0qat import __version__, places, receipts
from t0qat.latex import escape, macro_lines
from t0qat.notebooks import Notebook
from t0qat.places import Run

PACKAGES = "latexmk texlive-latex-recommended texlive-latex-extra texlive-science lmodern"
SOURCES = ("paper/main.tex", "paper/references.bib")


class TypesetError(RuntimeError):
    """The PDF could not be made; a few lines say why."""


def typeset(every: list[Notebook], run: Run) -> None:
    """Build the profile's PDF if anything that it shows changed since; renew the README for `paper`."""
    home = run.home
    made = {notebook.name: receipts.read(notebook, run) for notebook in every}
    names = [name for notebook in every for name in notebook.outputs if name.endswith((".tex", ".pdf"))]
    content = {name: (places.ROOT / name).read_bytes() for name in SOURCES}
    content |= {name: (home / name).read_bytes() for name in names}
    content["paper/macros/build.tex"] = build_macros(made, run).encode()
    folder = places.BUILD / run.name / "tex"
    target = home / "paper" / "main.pdf"
    stamp = places.BUILD / "stamps" / run.name / "main.pdf"
    readme = places.ROOT / "README.md"

    def state() -> str:
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (target, readme)}
        return receipts.digest(
            files, {k: hashlib.sha256(data).hexdigest() for k, data in content.items()}
        )

    if target.is_file() and stamp.is_file() and stamp.read_text() == state():
        return
    if run.name == "paper":
        from t0qat import report  # only now: it brings torch, pandas and matplotlib along

        report.readme()
    if shutil.which("latexmk") is None:
        raise TypesetError(
            f"LaTeX is missing: all but the PDF is made; `apt-get install {PACKAGES}`, then run again"
        )
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in content.items():
        places.write(folder / name, data)
    _latexmk(folder / "paper")
    places.write(target, (folder / "paper" / "main.pdf").read_bytes())
    places.write(stamp, state())


def build_macros(made: dict[str, dict], run: Run) -> str:
    """Version, code hash, profile and marks, as the PDF shows them."""
    changed = [
        f"{name}: {key} = {value}"
        for name, receipt in made.items()
        for key, value in receipt["changed_parameters"].items()
    ]
    edited = [name for receipt in made.values() for name in receipt.get("edited", [])]
    marks = [f"changed parameters: {', '.join(changed)}"] * bool(changed)
    marks += [f"edited by hand: {', '.join(edited)}"] * bool(edited)
    return macro_lines(
        {
            "BuildVersion": __version__,
            "BuildCodeHash": receipts.digest([receipt["code_hash"] for receipt in made.values()]),
            "BuildProfile": escape("; ".join([run.profile, *marks])),
            "BuildMark": "" if run.profile == "paper" else run.profile.upper(),
        }
    )


def _latexmk(folder) -> None:
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-silent", "main.tex"]
    environment = os.environ | {"max_print_line": "1000"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    log = (folder / "main.log").read_text(errors="replace") if (folder / "main.log").is_file() else ""
    if done.returncode:
        errors = re.findall(r"^!.*(?:\nl\.\d+.*)?", log, re.M) or done.stderr.splitlines()[-3:]
        shown = receipts.shown(folder / "main.log")
        raise TypesetError("\n".join([f"LaTeX stopped; its log is {shown}", *errors[:3]]))
