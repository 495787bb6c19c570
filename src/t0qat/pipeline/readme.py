"""The README's generated blocks: the result, and which file makes what at what cost."""

from pathlib import Path
from pkgutil import resolve_name

from t0qat.pipeline import costs, notebooks, places
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper

OUTPUTS = "outputs"  # the block that needs no paper


def renew(paper: Paper, home: Path = places.ROOT, path: Path = places.ROOT / "README.md") -> None:
    """Renew the blocks that the README has from what lies below home, if they differ.

    Raises ResultsError where a results file is missing or malformed.
    """
    old = new = path.read_text()
    for name in (OUTPUTS, *paper.blocks):
        begin, end = f"<!-- {name}: begin (generated) -->\n", f"<!-- {name}: end -->\n"
        if begin in new:
            before, rest = new.split(begin)
            block = outputs(paper, home) if name == OUTPUTS else made(paper, name, home)
            new = f"{before}{begin}{block}{end}{rest.split(end)[1]}"
    if new != old:
        places.write(path, new)


def outputs(paper: Paper, home: Path) -> str:
    """The table of notebooks in Markdown: what each makes, its minutes and its memory."""
    record = costs.read(home)
    every = notebooks.load(paper)
    lines = ["| made by | minutes | memory | results | table and macros | figure |"]
    lines += ["|---|---:|---:|---|---|---|"]
    lines += [f"| {' | '.join(_row(notebook, record.get(notebook.name)))} |" for notebook in every]
    cores = sorted({record[notebook.name].cores for notebook in every if notebook.name in record})
    where = f", on {' or '.join(map(str, cores))} cores" if cores else ""
    lines += [
        "",
        "Minutes, and the most memory of its processes together, are of a plain `make paper`"
        f" in which no cell of the notebook came from an earlier run{where}; what a notebook above it"
        f" had computed is counted there. `{costs.RECORD}` has more.",
    ]
    return "\n".join([*lines, ""])


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
    """A block of the paper's own, in Markdown."""
    return resolve_name(paper.blocks[block])(read(paper, home))
