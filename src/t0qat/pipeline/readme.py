"""Generated blocks of the README and of docs: results, and which file makes what at what cost."""

import re
from pathlib import Path
from pkgutil import resolve_name

from t0qat.pipeline import costs, notebooks, places
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper


def texts(root: Path = places.ROOT) -> list[Path]:
    """The README, and every text of docs."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def renew(paper: Paper, home: Path = places.ROOT, root: Path = places.ROOT) -> None:
    """Renew the blocks that the texts below root have from what lies below home, where they differ.

    Raises ResultsError where a results file is missing or malformed.
    """
    for path in texts(root):
        old = new = path.read_text()
        for name in (*OWN, *paper.blocks):
            begin, end = f"<!-- {name}: begin (generated) -->\n", f"<!-- {name}: end -->\n"
            if begin in new:
                before, rest = new.split(begin)
                block = lowered(made(paper, name, home), path.relative_to(root))
                new = f"{before}{begin}{block}{end}{rest.split(end)[1]}"
        if new != old:
            places.write(path, new)


def lowered(block: str, path: Path) -> str:
    """The block with its links, which lead from the project's folder, as they lead from this file."""
    return re.sub(r"\]\((?!\w+:|#)", "](" + "../" * (len(path.parts) - 1), block)


def outputs(paper: Paper, home: Path) -> str:
    """The table of notebooks in Markdown: what each makes, its minutes and its memory."""
    record = costs.read(home)
    every = notebooks.load(paper)
    lines = ["| made by | minutes | memory | results | table and macros | figure |"]
    lines += ["|---|---:|---:|---|---|---|"]
    lines += [f"| {' | '.join(_row(notebook, record.get(notebook.name)))} |" for notebook in every]
    lines += [
        "",
        "Minutes, and the most memory of its processes together, are of a plain `make paper` in which"
        f" no cell of the notebook came from an earlier run{_cores(paper, record)}; what a notebook"
        f" above it had computed is counted there. `{costs.RECORD}` has more.",
    ]
    return "\n".join([*lines, ""])


def took(paper: Paper, home: Path) -> str:
    """How long the notebooks whose cost is known took, in a sentence."""
    record = costs.read(home)
    known = [record[notebook.name] for notebook in notebooks.load(paper) if notebook.name in record]
    minutes = f"{sum(cost.seconds for cost in known) / 60:.0f} minutes{_cores(paper, record)}"
    return f"The first `make paper` took {minutes if known else 'an unknown time'}.\n"


def _cores(paper: Paper, record: dict[str, costs.Cost]) -> str:
    """`, on 2 or 16 cores` of those notebooks whose cost is known."""
    every = notebooks.load(paper)
    cores = sorted({record[notebook.name].cores for notebook in every if notebook.name in record})
    return f", on {' or '.join(map(str, cores))} cores" if cores else ""


OWN = {"outputs": outputs, "minutes": took}  # blocks that need no results


def _row(notebook: Notebook, cost: costs.Cost | None) -> list[str]:
    def files(*starts: str) -> str:
        return ", ".join(
            f"`{name}`" for start in starts for name in notebook.outputs if name.startswith(start)
        )

    spent = [f"{cost.seconds / 60:.1f}", f"{cost.peak_memory_mb / 1e3:.1f} GB"] if cost else ["–", "–"]
    made = files("paper/results/"), files("paper/tables/", "paper/macros/"), files("figures/")
    return [notebook.name, *spent, *made]


def read(paper: Paper, home: Path) -> dict:
    """Every results file by name, as a table; raises ResultsError."""
    from t0qat.pipeline import results  # only now: it brings pandas along

    return {name: results.read(paper, name, home) for name in paper.results}


def made(paper: Paper, block: str, home: Path) -> str:
    """A block in Markdown, its links from the project's folder."""
    if block in OWN:
        return OWN[block](paper, home)
    return resolve_name(paper.blocks[block])(read(paper, home))
