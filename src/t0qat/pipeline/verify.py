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

import filecmp
import shutil
from collections.abc import Callable, Collection, Iterator
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from t0qat.pipeline import notebooks, places, receipts, results, runner
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run
from t0qat.pipeline.statistics import LEVEL

FALSE_ALARM = 0.001
Z = stats.norm.ppf((1 + LEVEL) / 2)
EQUAL, WITHIN, DIFFERS, NOT_COMPARED = "equal", "within tolerance", "DIFFERS", "not compared"


def _half(row: pd.DataFrame) -> pd.Series:
    return (row["ci_high"] - row["ci_low"]) / (2 * Z)


def _relative(row: pd.DataFrame) -> pd.Series:
    """Relative standard error of a standard deviation, allowing for a kurtosis of up to 9."""
    return np.sqrt(8 / (4 * row["n"]))


def _end(row: pd.DataFrame) -> pd.Series:
    """An interval's end moves with its centre and with its width."""
    return _half(row) * np.sqrt(1 + (Z * _relative(row)) ** 2)


def _quantile(p: float) -> Callable[[pd.DataFrame], pd.Series]:
    """Of a sample quantile, by the density of a normal distribution there."""
    density = stats.norm.pdf(stats.norm.ppf(p))
    return lambda row: row["std"] * np.sqrt(p * (1 - p) / row["n"]) / density


# How a column's standard error follows from its row; other columns have none.
ERRORS = {
    "mean": _half,
    "estimate": _half,
    "ci_low": _end,
    "ci_high": _end,
    "std": lambda row: row["std"] * _relative(row),
    "detectable": lambda row: row["detectable"] * _relative(row),
    "median": _quantile(0.5),
    "q025": _quantile(0.025),
    "q975": _quantile(0.975),
    "exact": lambda row: 1e-6 * row["exact"].abs() + 1e-9,  # the same weights but for rounding
    "z": lambda row: 1.0 + 0 * row["z"],
    "reported_percentile": lambda row: 100 * np.sqrt(0.25 / row["n"]),
}
GIVEN = {"reported", "n"}  # not measured: compared to the digit under both rules
GROW_WITH_N = {"ci_low", "ci_high", "detectable"}  # of another quantity where n differs
COLUMNS = ["file", "row", "quantity", "committed", "rerun", "difference", "tolerance", "verdict"]
FORMATS = {"difference": "{:.3g}".format, "tolerance": "{:.3g}".format}


def verify(paper: Paper, profile: str) -> Iterator[str]:
    """Re-run, compare and write build/verify.html; yields the table, the rule and what is off.

    Raises PipelineError at the end where anything is off.
    """
    run = places.RUNS["verify" if profile == "paper" else "verify-smoke"]
    with runner.alone():
        every = notebooks.load(paper)
        problems = list(inventory(every))
        _forget(run)
        runner.run_notebooks(paper, run)
        identical = profile == "paper" and same_machine(paper, every, run)
        left = left_out(paper, every, run)
        table = compare(paper, run, identical, {file for files in left.values() for file in files})
        for row in table[table.verdict == DIFFERS].itertuples():
            problems.append(f"paper/results/{row.file}.csv, {row.row}: {row.quantity} differs")
        if identical:
            problems += different_files(every, run)
        unknown = sorted({*table.quantity[table.verdict == NOT_COMPARED]})
        counts = ", ".join(f"{n} {verdict}" for verdict, n in table.verdict.value_counts().items())
        end = [*rule(identical, unknown, profile, left), f"{len(table)} quantities: {counts}."]
        end += [f"OFF: {problem}" for problem in problems] or ["Everything holds."]
        places.write(places.BUILD / "verify.html", page(table, end))
        yield from (table.to_string(index=False, formatters=FORMATS, na_rep=""), *end)
        if problems:
            raise runner.PipelineError(f"{len(problems)} of these do not hold: the lines OFF")


def _forget(run: Run) -> None:
    own = [places.BUILD / kind / run.name for kind in ("stamps", "runs", "cells")]
    for folder in (run.home, *own):
        shutil.rmtree(folder, ignore_errors=True)


def inventory(every: list[Notebook]) -> Iterator[str]:
    """Committed results that are missing, belong to no notebook, or are not what made-from says."""
    declared = {name for notebook in every for name in (*notebook.outputs, notebook.receipt)}
    there = {receipts.shown(path) for path in (places.ROOT / "paper" / "results").glob("*")}
    yield from (f"{name} is missing" for name in sorted(declared) if not (places.ROOT / name).is_file())
    yield from (f"{name} is extra: no notebook makes it" for name in sorted(there - declared))
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
    _, differing, missing = filecmp.cmpfiles(places.ROOT, run.home, names, shallow=False)
    return [f"{name} differs from its re-run" for name in (*differing, *missing)]


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


def compare(paper: Paper, run: Run, identical: bool, skipped: Collection[str] = ()) -> pd.DataFrame:
    """Every cell of every results file but the skipped ones, committed against re-run: COLUMNS."""
    files = sorted(path.stem for path in (places.ROOT / "paper" / "results").glob("*.csv"))
    cells = [_cells(paper, f, run) for f in files if f in paper.results and f not in skipped]
    if not cells:
        return pd.DataFrame(columns=COLUMNS)
    cells = pd.concat(cells, ignore_index=True)
    old, new, is_n = cells.committed, cells.rerun, cells.quantity == "n"
    difference = pd.to_numeric(new, errors="coerce") - pd.to_numeric(old, errors="coerce")
    chance = FALSE_ALARM / max(cells.error.notna().sum(), 1)
    tolerance = stats.t.isf(chance / 2, np.maximum(cells.n - 1, 1)) * cells.error
    empty = (old == "") | (new == "")
    halved = cells.file.isin(paper.adaptive.split()) & (is_n | empty) & (not identical)
    judged = [  # the first that holds decides; where none does, the tolerance
        (old == new, EQUAL),
        (halved | (is_n & (run.profile != "paper")), NOT_COMPARED),
        (empty | cells.quantity.isin({*GIVEN, "the row"}) | identical, DIFFERS),
        (cells.error.isna(), NOT_COMPARED),
    ]
    certain, verdicts = zip(*judged, strict=True)
    verdict = np.select([*certain, difference.abs() <= tolerance], [*verdicts, WITHIN], DIFFERS)
    tolerance = tolerance.mask(np.any(certain, axis=0))
    return cells.assign(difference=difference, tolerance=tolerance, verdict=verdict)[COLUMNS]


def _cells(paper: Paper, file: str, run: Run) -> pd.DataFrame:
    """Columns file, row, quantity, committed, rerun, n (the smaller), error (nan: none is known)."""
    old, new = (_read(paper, file, home) for home in (places.ROOT, run.home))
    names = [c for c in old if paper.columns[c].says_which or c == "condition"]
    if "against" in names:  # says with what the row compares, whatever was chosen for it
        names = [c for c in names if not paper.columns[c].chosen]
    old, new = (table.drop_duplicates(names).set_index(names) for table in (old, new))
    keys = old.index.union(new.index, sort=False)
    there = pd.DataFrame({"committed": keys.isin(old.index), "rerun": keys.isin(new.index)})
    rows = pd.DataFrame({"file": file, "row": keys.to_frame(index=False).agg(" ".join, axis=1)})
    old, new = (table.reindex(keys).reset_index(drop=True) for table in (old, new))
    numbers = [t.assign(n=t.get("n")).apply(pd.to_numeric, errors="coerce") for t in (old, new)]
    first, second = (table.n for table in numbers)
    rows["n"] = np.minimum(first, second)
    missing = rows.assign(
        quantity="the row", error=np.nan, **there.replace({True: "there", False: "missing"})
    )
    parts = [missing[~there.all(axis=1)]]
    for column in old:
        error = pd.Series(np.nan, rows.index)
        if column in ERRORS:
            measured = numbers[0][column].notna() & numbers[1][column].notna()
            if column in GROW_WITH_N:
                measured &= first == second
            error = np.hypot(*map(ERRORS[column], numbers)).where(measured)
        part = rows.assign(quantity=column, error=error, committed=old[column], rerun=new[column])
        parts.append(part[there.all(axis=1)])
    return pd.concat(parts).sort_index(kind="stable")  # row by row


def _read(paper: Paper, file: str, home: Path) -> pd.DataFrame:
    """The file as text, so that printed digits are compared."""
    results.read(paper, file, home)  # raises in one line where it is malformed
    return pd.read_csv(home / "paper" / "results" / f"{file}.csv", dtype=str, keep_default_na=False)


def rule(identical: bool, unknown: list[str], profile: str, left: dict[str, list[str]]) -> list[str]:
    """The rule that was applied and what it leaves out, in sentences.

    unknown: quantities without a standard error; left: of left_out.
    """
    if identical:
        return ["Rule: pinned, same versions and builds, so every number is equal to its last digit."]
    said = [
        "Rule: no pin, other versions, builds, text or profile, so each difference must lie within a"
        f" tolerance from the standard errors of both numbers; chance of any false alarm: {FALSE_ALARM}."
    ]
    if unknown:
        said.append(f"Not compared, for want of a standard error at these n: {', '.join(unknown)}.")
    for why, files in left.items():
        said.append(f"Run but not compared, since {why}: {', '.join(f'{f}.csv' for f in files)}.")
    if profile == "smoke":
        said.append(
            "This was the smoke profile: estimates from few replicates, held against the committed ones"
            " at their own precision. Not checked: the last digits, the figures and the PDF."
            " `make verify` checks the digits."
        )
    return said


def page(compared: pd.DataFrame, sentences: list[str]) -> str:
    """The table and what was said, as HTML."""
    style = "body{font:14px sans-serif;margin:2em}td,th{padding:2px 8px;text-align:left}"
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    table = compared.to_html(index=False, formatters=FORMATS, na_rep="")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>verify</title>"
        f"<style>{style}</style><h1>Every committed number against a re-run</h1>{text}{table}</html>\n"
    )
