"""Run the notebooks: stage, check, publish; then typeset. What `make paper` and `make smoke` call."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from t0qat.pipeline import costs, notebooks, places, receipts, typeset
from t0qat.pipeline.kernel import PipelineError, execute
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run


def make(paper: Paper, profile: str, params: Path | None = None) -> None:
    """Run what is not fresh, publish it, and typeset; raises PipelineError after doing what it can."""
    run = places.RUNS[profile]
    with alone():
        typeset.typeset(paper, run_notebooks(paper, run, params), run)


def make_one(paper: Paper, notebook: str, params: Path | None = None) -> Iterator[str]:
    """Run one notebook with a reader's parameters; yields its answer, then where things lie."""
    names = [every.name for every in notebooks.load(paper)]
    if notebook not in names:
        known = ", ".join(names)
        raise PipelineError(f"NOTEBOOK = {notebook!r}: there is no such notebook; known are {known}")
    run = places.of_one(notebook)
    with alone():
        (one,) = run_notebooks(paper, run, params)
        shown = executed(one, run)
        for cell in json.loads(shown.read_bytes())["cells"]:
            if "paper.publish(" in "".join(cell["source"]):
                for output in cell.get("outputs", []):
                    yield "".join(output.get("data", {}).get("text/markdown", ""))
        made = [*(run.home / output for output in one.outputs), shown]
        yield "\n".join(["\nmade:", *(f"  {receipts.shown(path)}" for path in made)])


def run_notebooks(paper: Paper, run: Run, params: Path | None = None) -> list[Notebook]:
    """Run what is not fresh and publish it; returns the notebooks, whose outputs are all as made.

    Says at the end on standard error what those that ran took.
    """
    every = notebooks.load(paper)
    changed = notebooks.changes(params, every)
    every = [n for n in every if run.one in ("", n.name)]
    parameters = {n.name: n.checked(paper, run.profile, changed[n.name]) for n in every}
    for notebook in every:
        finish(notebook, run)
    refuse_altered(every, run)
    # What workers elsewhere use is not seen from here.
    plain = run.name == "paper" and not any(changed.values()) and not os.environ.get("CLUSTER")
    bill, failures = costs.Bill(recorded=plain), []
    due = tqdm(every, desc=f"notebooks ({run.name})", unit="notebook", disable=None)
    try:
        for notebook in due:
            why = receipts.stale(notebook, run, parameters[notebook.name])
            if not why:
                continue
            due.write(f"{notebook.name}: runs, {why}", file=sys.stderr)
            try:
                _make(paper, notebook, run, bill, changed[notebook.name])
            except PipelineError as error:
                failures.append(str(error))
            except OSError as error:
                failures.append(f"{notebook.name}.ipynb: {error.strerror} ({error.filename})")
    finally:
        for line in bill.lines:
            due.write(line, file=sys.stderr)
    if failures:
        if len(failures) > 3:  # five lines in all
            failures[2:] = [f"and {len(failures) - 2} more notebooks"]
        failed = receipts.shown(places.BUILD / run.name / "failed")
        raise PipelineError(
            "\n".join(failures)
            + "\nthe last good outputs of these and all other notebooks are in place, nothing was"
            f" half-written\nhow far they came: {failed}; mend it and run the same command again"
        )
    refuse_altered(every, run)
    return every


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the project for this process; raises PipelineError while another holds it."""
    path = places.BUILD / "lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            raise PipelineError(f"another run is at work here (process {holder}); wait for it") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def refuse_altered(every: list[Notebook], run: Run) -> None:
    """Stop where a generated file was changed by hand: neither typeset nor overwrite it silently."""
    found = [(notebook, name) for notebook in every for name in receipts.altered(notebook, run)]
    if found:
        notebook, name = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PipelineError(
            f"{name}{more} was edited or cut short since it was made; neither typeset nor replaced\n"
            f"to restore it, delete it and run the same command again: {notebook.name} makes it anew\n"
            f"to keep it on purpose: make keep (its receipt and the PDF will say that it was edited)"
        )


def _stages(notebook: Notebook, run: Run) -> Path:
    return places.BUILD / "runs" / run.name / notebook.name


def _make(paper: Paper, notebook: Notebook, run: Run, bill: costs.Bill, changed: dict) -> None:
    """Run one notebook in a private folder and, if all it declares is there, put that in place."""
    _stages(notebook, run).mkdir(parents=True, exist_ok=True)
    # A new folder each time: the kernel of a run that was killed may still be writing into the old one.
    stage = Path(tempfile.mkdtemp(dir=_stages(notebook, run)))
    before = receipts.hashes()
    with costs.measured() as cost:
        execute(notebook, run, notebook.parameters(run.profile, changed), stage)
    read = {receipts.shown(notebook.path), *(stage / "reads.txt").read_text().splitlines()}
    inputs = {name: before.get(name) for name in sorted(read)}
    now = receipts.hashes()
    moved = [name for name in inputs if inputs[name] is None or inputs[name] != now.get(name)]
    if moved:
        raise PipelineError(f"{notebook.name}.ipynb: {moved[0]} changed while it ran; run it again")
    for name in notebook.outputs:
        if not (stage / name).is_file() or not (stage / name).stat().st_size:
            raise PipelineError(f"{notebook.name}.ipynb: it ended without making {name}")
    from t0qat.pipeline import results  # only now: it brings pandas along

    try:
        for table in paper.experiments[notebook.experiment].results:
            results.read(paper, table, stage)
    except results.ResultsError as error:
        raise PipelineError(f"{notebook.name}.ipynb left a malformed file: {error}") from None
    receipt = receipts.make(notebook, run, changed, inputs, stage)
    places.write(stage / notebook.receipt, json.dumps(receipt, indent=1) + "\n")
    recorded = bill.add(notebook.name, cost, stage)
    places.write(stage / "finished.json", json.dumps(asdict(cost) if recorded else None))
    finish(notebook, run)


def executed(notebook: Notebook, run: Run) -> Path:
    """Where the notebook lies as the run executed it."""
    return places.BUILD / run.name / "notebooks" / f"{notebook.name}.ipynb"


def finish(notebook: Notebook, run: Run) -> None:
    """Put a finished stage in place, the receipt last; safe to repeat when it was interrupted."""
    for finished in _stages(notebook, run).glob("*/finished.json"):
        stage = finished.parent
        receipt = json.loads((stage / notebook.receipt).read_bytes())
        names = [*receipt["outputs"], notebook.receipt]
        places.write_set({run.home / name: (stage / name).read_bytes() for name in names})
        places.write(executed(notebook, run), (stage / f"{notebook.name}.ipynb").read_bytes())
        if cost := json.loads(finished.read_bytes()):
            costs.record(notebook.name, costs.Cost(**cost), run.home)
        receipts.stamp(notebook, run)
    shutil.rmtree(_stages(notebook, run), ignore_errors=True)


def keep(paper: Paper, profile: str) -> Iterator[str]:
    """Accept files edited by hand: typeset follows them, and their receipt says so for good."""
    from t0qat.pipeline import publish

    run = places.RUNS[profile]
    with alone():
        for notebook in notebooks.load(paper):
            edited = receipts.altered(notebook, run)
            if any(name.endswith(".csv") for name in edited):
                for name in paper.experiments[notebook.experiment].exhibits:
                    publish.render(paper, name, run.home)
            if edited:
                receipts.accept(notebook, run, edited)
                yield f"kept: {', '.join(edited)}"


def status(paper: Paper, profile: str) -> Iterator[str]:
    """One line a notebook: fresh, or why not."""
    run = places.RUNS[profile]
    for notebook in notebooks.load(paper):
        why = receipts.stale(notebook, run, notebook.parameters(profile, {}))
        said = f"stale, {why}" if why else "fresh"
        if edited := receipts.altered(notebook, run):
            said = f"altered, {edited[0]} was edited or cut short since it was made"
        yield f"{notebook.name}: {said}"
