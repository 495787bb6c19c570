"""Re-run every notebook from zero, away from paper/, and hold each committed number against it.

Rule "identical": where both runs were pinned (see `pin`), with the same versions and builds of the
libraries, every cell must be equal to its last printed digit, and every figure, table and macro to its
last byte. Rule "tolerance", without the pin, for other versions or builds or the smoke profile:
|difference| <= q * sqrt(s1^2 + s2^2) with s1, s2 the standard errors of the committed and the re-run
number and q the two-sided quantile of Student's t (at the smaller n) that leaves a chance of FALSE_ALARM
for all m compared quantities together (Bonferroni). That chance holds for a re-run with fresh random
draws; the same seeds only come closer.
What tuning chose may differ on another machine, where results lie close together; it is not compared.
A text from outside may differ between machines: where its SHA-256 differs, what was measured on it is
not compared, and the digests are named.
Nor is what a notebook makes whose smoke run differs in more than sample sizes, or what follows from it:
such a run must only end, with well-formed files.
"""

import math
import shutil
from collections.abc import Collection, Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy import stats

from t0qat.pipeline import notebooks, places, receipts, results, runner
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run
from t0qat.pipeline.statistics import LEVEL

FALSE_ALARM = 0.001
Z = stats.norm.ppf((1 + LEVEL) / 2)
# How a column's standard error follows from its row; other columns have none.
NORMAL_AT_Q025 = stats.norm.pdf(Z)
ERRORS = {
    "mean": lambda row: (row["ci_high"] - row["ci_low"]) / (2 * Z),
    "estimate": lambda row: (row["ci_high"] - row["ci_low"]) / (2 * Z),
    "ci_low": lambda row: (row["ci_high"] - row["ci_low"]) / (2 * Z) * _wider(row["n"]),
    "ci_high": lambda row: (row["ci_high"] - row["ci_low"]) / (2 * Z) * _wider(row["n"]),
    "std": lambda row: row["std"] * _relative(row["n"]),
    "detectable": lambda row: row["detectable"] * _relative(row["n"]),
    "median": lambda row: row["std"] * math.sqrt(0.25 / row["n"]) / stats.norm.pdf(0),
    "q025": lambda row: row["std"] * math.sqrt(0.025 * 0.975 / row["n"]) / NORMAL_AT_Q025,
    "q975": lambda row: row["std"] * math.sqrt(0.025 * 0.975 / row["n"]) / NORMAL_AT_Q025,
    "exact": lambda row: 1e-6 * abs(row["exact"]) + 1e-9,  # the same weights but for rounding
    "z": lambda row: 1.0,
    "reported_percentile": lambda row: 100 * math.sqrt(0.25 / row["n"]),
}
GIVEN = {"reported", "value", "n"}  # not measured: compared to the digit under both rules
GROW_WITH_N = {"ci_low", "ci_high", "detectable"}  # of another quantity where n differs


def _relative(n: float) -> float:
    """Relative standard error of a standard deviation, allowing for a kurtosis of up to 9."""
    return math.sqrt(8 / (4 * n))


def _wider(n: float) -> float:
    """An interval's end moves with its centre and with its width."""
    return math.sqrt(1 + (Z * _relative(n)) ** 2)


class Comparison(NamedTuple):
    file: str
    row: str
    quantity: str
    committed: str
    rerun: str
    difference: float
    tolerance: float
    verdict: str  # equal, within tolerance, DIFFERS, or not compared


def verify(paper: Paper, profile: str) -> int:
    """Re-run, compare, print the table and write build/verify.html; how many things are off."""
    run = places.RUNS["verify" if profile == "paper" else "verify-smoke"]
    with runner.alone() as bill:
        every = notebooks.load(paper)
        problems = list(inventory(every))
        _forget(run)
        runner.run_notebooks(paper, run, bill)
        identical = profile == "paper" and same_machine(paper, every, run)
        left = left_out(paper, every, run)
        compared = compare(paper, run, identical, {file for files in left.values() for file in files})
        off = [row for row in compared if row.verdict == "DIFFERS"]
        problems += [f"paper/results/{row.file}.csv, {row.row}: {row.quantity} differs" for row in off]
        if identical:
            problems += different_files(every, run)
        _tell(compared, problems, rule(identical, compared, profile, left))
        return len(problems)


def _forget(run: Run) -> None:
    own = [places.BUILD / kind / run.name for kind in ("stamps", "runs", "cells")]
    for folder in (run.home, *own):
        shutil.rmtree(folder, ignore_errors=True)


def inventory(every: list[Notebook]) -> Iterator[str]:
    """Committed results that are missing, belong to no notebook, or are not what made-from says."""
    folder = places.ROOT / "paper" / "results"
    declared = {name for notebook in every for name in (*notebook.outputs, notebook.receipt)}
    for name in sorted(declared):
        if not (places.ROOT / name).is_file():
            yield f"{name} is missing"
    for path in sorted(folder.glob("*")):
        if receipts.shown(path) not in declared:
            yield f"{receipts.shown(path)} is extra: no notebook makes it"
    for notebook in every:
        for name in receipts.altered(notebook, places.RUNS["paper"]):
            yield f"{name} was edited or cut short since it was made"
        for name in receipts.outdated(notebook, places.RUNS["paper"]):
            yield f"{notebook.receipt} is stale: {name} changed since"
        made = receipts.read(notebook, places.RUNS["paper"]) or {}
        if made.get("changed_parameters") or made.get("profile", "paper") != "paper":
            yield f"{notebook.receipt} is not of the plain paper profile"


def same_machine(paper: Paper, every: list[Notebook], run: Run) -> bool:
    """Whether the committed results were made as these, to the bit: pinned, with the same libraries.

    Without the pin nobody knows, even of two runs on processors of one name.
    """
    pairs = [(receipts.read(n, places.RUNS["paper"]), receipts.read(n, run)) for n in every]
    same = all(a and b and all(a[k] == b[k] for k in ("versions", "machine")) for a, b in pairs)
    same = same and all(b["machine"]["pinned"] and b["machine"]["device"] == "cpu" for _, b in pairs)
    return same and not other_text(paper, run)


def other_text(paper: Paper, run: Run) -> str:
    """Both digests, where a finished run read another text than the committed one; else ""."""
    if not paper.outside:
        return ""
    try:
        pair = (results.read(paper, paper.outside, home) for home in (places.ROOT, run.home))
        old, new = (table.sha256[0] for table in pair)
    except results.ResultsError:  # what is missing is said elsewhere
        return ""
    return f"its text (SHA-256 {old} committed, {new} here)" if old != new else ""


def different_files(every: list[Notebook], run: Run) -> list[str]:
    """Figures, tables and macros that a re-run does not give to the last byte."""
    names = [name for notebook in every for name in notebook.outputs if not name.endswith(".csv")]
    homes = (places.ROOT, run.home)
    pairs = {
        name: [(home / name).read_bytes() for home in homes if (home / name).is_file()] for name in names
    }
    return [f"{name} differs from its re-run" for name, pair in pairs.items() if pair[1:] != pair[:1]]


def left_out(paper: Paper, every: list[Notebook], run: Run) -> dict[str, list[str]]:
    """Results files of a finished run that do not measure what the committed ones do, by the reason."""
    found = {}
    for notebook in every:
        here, committed = (notebook.parameters(profile, {}) for profile in (run.profile, "paper"))
        why = [n for n in committed if here[n] != committed[n] and n not in paper.sample_sizes.split()]
        outside = f"paper/results/{paper.outside}.csv" in notebook.outputs
        if outside and (told := other_text(paper, run)):
            why.append(told)
        read = (receipts.read(notebook, run) or {"inputs": {}})["inputs"]
        before = [f"{file}.csv" for files in found.values() for file in files]
        why += [f for f in before if receipts.shown(run.home / "paper" / "results" / f) in read]
        if why:
            files = [Path(name).stem for name in notebook.outputs if name.endswith(".csv")]
            found[f"{notebook.name} differs in {', '.join(why)}"] = files
    return found


def compare(paper: Paper, run: Run, identical: bool, skipped: Collection[str] = ()) -> list[Comparison]:
    """Every cell of every results file but the skipped ones, committed against re-run."""
    files = sorted(path.stem for path in (places.ROOT / "paper" / "results").glob("*.csv"))
    files = [file for file in files if file in paper.results and file not in skipped]
    cells = [cell for file in files for cell in _cells(paper, file, run)]
    measured = sum(error is not None for *_, error, _ in cells)
    same_n = run.profile == "paper"
    return [_judged(paper, *cell, identical, same_n, max(measured, 1)) for cell in cells]


def _cells(paper: Paper, file: str, run: Run) -> Iterator[tuple]:
    """(file, row, column, committed, re-run, joint standard error or None, smaller n)."""
    old, new = (_read(paper, file, home) for home in (places.ROOT, run.home))
    names = [c for c in old if paper.columns[c].says_which or c == "statistic"]
    if "against" in names:  # says with what the row compares, whatever was chosen for it
        names = [c for c in names if not paper.columns[c].chosen]
    old, new = (table.set_index(names, drop=False) for table in (old, new))
    for key in old.index.union(new.index, sort=False):
        row = " ".join(map(str, key if isinstance(key, tuple) else (key,)))
        if key not in new.index or key not in old.index:
            where = ("there", "missing") if key in old.index else ("missing", "there")
            yield file, row, "the row", *where, None, 0
            continue
        first, second = old.loc[key], new.loc[key]
        first, second = (r.iloc[0] if r.ndim > 1 else r for r in (first, second))
        for column in old.columns.difference(names, sort=False):
            sizes = {_number(row.get("n")) for row in (first, second)}
            error = _error(column, first, second)
            if column in GROW_WITH_N and len(sizes) > 1:
                error = None
            n = min(sizes)
            yield file, row, column, first[column], second[column], error, n


def _read(paper: Paper, file: str, home) -> pd.DataFrame:
    """The file as text, so that printed digits are compared."""
    results.read(paper, file, home)  # raises in one line where it is malformed
    return pd.read_csv(home / "paper" / "results" / f"{file}.csv", dtype=str, keep_default_na=False)


def _number(text) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _error(column: str, first: pd.Series, second: pd.Series) -> float | None:
    if column not in ERRORS or first[column] == "" or second[column] == "":
        return None
    numbers = [{name: _number(value) for name, value in row.items()} for row in (first, second)]
    error = math.hypot(*(ERRORS[column](row) for row in numbers))
    return None if math.isnan(error) else error


def _judged(
    paper: Paper, file, row, column, old, new, error, n, identical: bool, same_n: bool, m: int
) -> Comparison:
    difference = _number(new) - _number(old)
    tolerance = math.nan
    halved = not identical and file in paper.adaptive.split() and (column == "n" or "" in (old, new))
    if old == new:
        verdict = "equal"
    elif halved or (column == "n" and not same_n):
        verdict = "not compared"
    elif identical or column in GIVEN or column == "the row" or old == "" or new == "":
        verdict = "DIFFERS"
    elif error is None:
        verdict = "not compared"
    else:
        tolerance = stats.t.isf(FALSE_ALARM / m / 2, max(n - 1, 1)) * error
        verdict = "within tolerance" if abs(difference) <= tolerance else "DIFFERS"
    return Comparison(file, row, column, str(old), str(new), difference, tolerance, verdict)


def rule(
    identical: bool, compared: list[Comparison], profile: str, left: dict[str, list[str]]
) -> list[str]:
    """The rule that was applied and what it leaves out, in sentences."""
    if identical:
        return ["Rule: pinned, same versions and builds, so every number is equal to its last digit."]
    said = [
        "Rule: no pin, other versions, builds, text or profile, so each difference must lie within a"
        f" tolerance from the standard errors of both numbers; chance of any false alarm: {FALSE_ALARM}."
    ]
    skipped = sorted({c.quantity for c in compared if c.verdict == "not compared"})
    if skipped:
        said.append(f"Not compared, for want of a standard error at these n: {', '.join(skipped)}.")
    for why, files in left.items():
        said.append(f"Run but not compared, since {why}: {', '.join(f'{f}.csv' for f in files)}.")
    if profile == "smoke":
        said.append(
            "This was the smoke profile: estimates from few replicates, held against the committed ones"
            " at their own precision. Not checked: the last digits, the figures and the PDF."
            " `make verify` checks the digits."
        )
    return said


def _tell(compared: list[Comparison], problems: list[str], said: list[str]) -> None:
    table = pd.DataFrame(compared, columns=Comparison._fields)
    counts = ", ".join(f"{n} {verdict}" for verdict, n in table.verdict.value_counts().items())
    end = [*said, f"{len(compared)} quantities: {counts}."]
    end += [f"OFF: {problem}" for problem in problems] or ["Everything holds."]
    print(table.to_string(index=False, formatters=FORMATS, na_rep=""))
    print("\n".join(end))
    places.write(places.BUILD / "verify.html", page(compared, end))


FORMATS = {"difference": "{:.3g}".format, "tolerance": "{:.3g}".format}


def page(compared: list[Comparison], sentences: list[str]) -> str:
    """The table and what was said, as HTML."""
    style = "body{font:14px sans-serif;margin:2em}td,th{padding:2px 8px;text-align:left}"
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    table = pd.DataFrame(compared).to_html(index=False, formatters=FORMATS, na_rep="")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>verify</title>"
        f"<style>{style}</style><h1>Every committed number against a re-run</h1>{text}{table}</html>\n"
    )
