"""The README's blocks in Markdown: what was claimed and found, what to use, why, and the verdicts."""

import html
import inspect
import re
from collections.abc import Iterable

from t0qat.exhibits import story
from t0qat.exhibits.labels import listed, network_label
from t0qat.exhibits.rows import Results
from t0qat.exhibits.verdicts import columns
from t0qat.pipeline.words import span
from t0qat.training.methods import REGISTRY

FIGURE = "figures/integer_grids.png"


def results(results: Results) -> str:
    """The first screen: what was claimed, what we found and what to use, with a table and a figure."""
    said = {
        "What was claimed.": story.claimed(),
        "What we found.": story.found(results),
        "What to use.": f"{story.use(results)} {story.one(results)}",
    }
    seeds = span(results["recommendation"].n)
    return "\n".join(
        [
            *_bold(said),
            *table(story.USE_HEADER, story.use_cells(results)),
            "",
            f"Chosen on tuning seeds, measured on {seeds} paired test seeds, with 95 % intervals. Loss"
            " is in nats on images, in bits per character on text. *Rounded* is to the nearest step; *as"
            " good* is within the margin. [What each method is](docs/extend.md).",
            "",
            f"![Loss after rounding to integers of T0-QAT, Standard QAT and no noise]({FIGURE})",
            "",
            "Published methods, rounded to integers, on the paper's task (above) and real data (below)."
            " Standard QAT, the paper's baseline, trains under noise of a fixed scale. The axes are"
            " logarithmic, and lower is better: what counts is where a line lies, not how little it"
            " rises.",
            "",
        ]
    )


def questions(results: Results) -> str:
    """Why the published number was as it was, what xi does, and how sure we are."""
    said = {
        "Why was its number as it was?": story.why(results),
        "What does xi do?": story.xi(results),
        "How sure is that?": f"{story.sure(results)} {story.held(results)}",
    }
    return "\n".join(_bold(said))


def verdicts(results: Results) -> str:
    """One row a claim, one verdict a column."""
    header = ["Claim", *map(str.capitalize, columns().values())]
    return "\n".join([*table(header, story.verdict_cells(results)), ""])


def methods(results: Results) -> str:
    """Every method that `prepare` takes: its name, widths, settings, and what it is."""
    rows = []
    for name, method in REGISTRY.items():
        takes = listed(inspect.signature(method.build).parameters)
        label, kind = network_label(name), {"none": "plain"}.get(method.family, method.family)
        what, *_ = inspect.getdoc(getattr(method.build, "func", method.build)).split("\n\n")
        rows.append([name, label, kind, "its bits" if method.for_bits else "all widths", takes])
        rows[-1].append(" ".join(what.split()))
    return "\n".join(
        [*table(["Name", "Method", "Family", "Trains for", "Settings", "What it is"], rows), ""]
    )


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table with literal cells."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len([*header])}"]
    return lines + [f"| {' | '.join(map(_literal, cells))} |" for cells in rows]


def _literal(text: str) -> str:
    return re.sub(r"([\\`*{}\[\]|$])", r"\\\1", html.escape(text, quote=False))


def _bold(said: dict[str, str]) -> list[str]:
    """A paragraph each, with its name before it."""
    return [line for name, text in said.items() for line in (f"**{name}** {_literal(text)}", "")]
