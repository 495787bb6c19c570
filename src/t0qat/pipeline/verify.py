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
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pandas as pd

from t0qat.pipeline import notebooks, places, receipts, results, runner
from t0qat.pipeline.comparison import DIFFERS, FALSE_ALARM, FORMATS, NOT_COMPARED, compare, missing
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run


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
            problems += different_files(paper, every, run)
        asked = ~table.file.isin(paper.timed.split())
        unknown = sorted({*table.quantity[asked & (table.verdict == NOT_COMPARED)]})
        counts = ", ".join(f"{n} {verdict}" for verdict, n in table.verdict.value_counts().items())
        end = [
            *rule(identical, unknown, profile, left),
            *aside(paper),
            f"{len(table)} quantities: {counts}.",
        ]
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


def different_files(paper: Paper, every: list[Notebook], run: Run) -> list[str]:
    """Figures, tables and macros that a re-run does not give to the last byte.

    What shows numbers of programs that the pin does not reach is not asked.
    """
    asked = [
        n for n in every if not {*paper.unpinned.split()} & {*paper.experiments[n.experiment].results}
    ]
    names = [name for notebook in asked for name in notebook.outputs if not name.endswith(".csv")]
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


def aside(paper: Paper) -> list[str]:
    """What the pin does not reach, in sentences."""
    said = []
    if paper.unpinned:
        files = ", ".join(f"{file}.csv" for file in paper.unpinned.split())
        said.append(f"By the tolerance under either rule, as other programs computed it: {files}.")
    if paper.timed:
        files = ", ".join(f"{file}.csv" for file in paper.timed.split())
        said.append(f"Shown and never judged, as times and memory are a machine's own: {files}.")
    if names := missing(paper):
        said.append(f"Not compared, as it is not installed here: rows of {', '.join(names)}.")
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
