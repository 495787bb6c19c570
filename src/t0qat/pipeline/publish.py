"""Publish an experiment: the only writer of results, tables, macros and figures."""

import html
import io
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from PIL import Image

from t0qat.pipeline import latex, places, results
from t0qat.pipeline.paper import Paper


def publish(
    paper: Paper, experiment: str, tables: dict[str, pd.DataFrame], figures: dict[str, Figure]
) -> Markdown:
    """Write what an experiment leaves, results, its exhibits and its figures, and return its answer.

    tables and figures go by the names of their files. Under `make` they go to the notebook's private
    folder, from which the pipeline puts them in place as one set; by hand, to build/notebook. Outside
    the paper profile every figure carries the profile's name. Exhibits are the experiment's own and
    those whose names go on from its name, such as vision_few of vision.
    """
    stage = places.stage()
    for name, table in tables.items():
        places.write(stage / "paper" / "results" / f"{name}.csv", results.text(paper, name, table))
    for name in paper.exhibits:
        if f"{name}_".startswith(f"{experiment}_"):
            render(paper, name, stage)
    for name, figure in figures.items():
        for suffix in ("pdf", "png"):
            places.write(stage / "figures" / f"{name}.{suffix}", picture(figure, suffix))
    return Markdown(answer(paper, experiment, stage))


def answer(paper: Paper, experiment: str, stage: Path) -> str:
    """What the results below stage answer, in Markdown.

    By hand a notebook runs small, so what the last full run found stands before it, where that is there
    and says otherwise. Under `make` that is not even read: a result would depend on it.
    """
    own = said(paper, experiment, stage)
    if places.current().profile in places.PROFILES:
        return own
    try:
        full = said(paper, experiment, places.ROOT)
    except (results.ResultsError, OSError, ValueError, LookupError):
        return own  # a reader's copy may lack them, or hold what is not to be read
    if full == own:
        return own
    return f"**The full run:** {full}\n\n**With the parameters above:** {own}"


def said(paper: Paper, experiment: str, home: Path) -> str:
    """What the results files below home answer, for Markdown. Raises ResultsError."""
    text = resolve_name(paper.answer)(experiment, partial(results.read, paper, home=home))
    return html.escape(text, quote=False)


def render(paper: Paper, name: str, home: Path) -> None:
    """Make an exhibit's table and macros again from the results files below home."""
    exhibit = paper.exhibits[name]
    table, macros = exhibit({file: results.read(paper, file, home) for file in exhibit.files})
    places.write(home / "paper" / "tables" / f"{name}.tex", table)
    places.write(home / "paper" / "macros" / f"{name}.tex", f"% of {name}\n" + latex.macro_lines(macros))


def picture(figure: Figure, suffix: str) -> bytes:
    """The figure as a file's bytes: the same for the same figure, whenever and wherever it is made."""
    profile = places.current().profile
    mark = "" if profile == "paper" else profile.upper()
    stamp = figure.text(0.5, 0.5, mark, fontsize=40, color="0.5", alpha=0.4, rotation=30, ha="center")
    stamp.set_in_layout(False)
    file, small = io.BytesIO(), io.BytesIO()
    metadata = {"CreationDate": None} if suffix == "pdf" else {"Software": None}
    figure.savefig(file, format=suffix, dpi=150, metadata=metadata)
    stamp.remove()
    if suffix == "pdf":
        return file.getvalue()
    # With 256 colours a bitmap has a third of the bytes, and all that a reader sees.
    Image.open(file).convert("RGB").quantize(256).save(small, "png", optimize=True)
    return small.getvalue()
