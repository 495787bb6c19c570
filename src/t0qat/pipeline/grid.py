"""Run a grid of independent cells, each once: on every core here, or on a dask.distributed cluster.

A cell is a module-level function, its arguments and the code that determines its result. The result is
kept in build/cells under a hash of these and of the versions, so that what ended before a kill is not
computed again, and a change runs only the cells that it may change. A cell may ask something of a
training, which is then made once, whoever asks first, its weights kept in build/weights. Each run of
the pipeline has stores of its own: `make verify` takes nothing from what `make paper` kept.
"""

import contextlib
import functools
import importlib
import itertools
import json
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool

from t0qat.pipeline import costs, pin, places, progress, weights
from t0qat.pipeline.cells import Cell, GridError, Training, as_json, sha, source_of, versions

STORE = places.BUILD / "cells"
CLUSTER = "CLUSTER"  # environment variable: the address of a dask scheduler, such as tcp://host:8786
DEATHS = 2  # of worker processes here, after which a run ends: one may be chance, two are not
PATIENCE = 10  # seconds until a scheduler must have answered
AGAIN = "the cells that ended are kept, and the same command goes on from there"

Job = dict[str, "Cell"]  # by key; what one process computes in one go
Done = tuple[str, str | None, str, str]  # key, result as JSON or None, what went wrong, traceback


def run(cells: Sequence[Cell], words: str) -> list[Any]:
    """Results of the cells, in their order, as JSON gives them back: floats exact, tuples as lists.

    words: what the progress bar says is done. Cells that are not in the store are computed by one
    process a core, or by the cluster that the environment variable CLUSTER names. Raises GridError,
    at the first cell that fails; what ended before is kept.
    """
    keys = [cell.key for cell in cells]
    every = dict(zip(keys, cells, strict=True))
    results = {key: _stored(key) if cell.kept else None for key, cell in every.items()}
    missing = {key: cell for key, cell in every.items() if results[key] is None}
    costs.note("taken", results.keys() - missing.keys())
    if missing:
        address = os.environ.get(CLUSTER)
        work = _on_cluster(address, missing) if address else _here(missing)
        done = len(results) - len(missing)
        with progress.bar(words, done, len(results)) as step, contextlib.closing(work):
            for key, result, wrong, trace in work:
                if result is None:
                    # The trace as a cause, so that what a notebook shows ends with this one line.
                    raise GridError(f"{missing[key]}: {wrong}") from GridError(f"\n{trace}")
                if missing[key].kept:
                    places.write(_path(key), f'{{"check": "{sha(key + result)}", "result": {result}}}\n')
                results[key] = result
                costs.note("computed", [key])
                step()
    return [json.loads(results[key]) for key in keys]


def _path(key: str) -> Path:
    return STORE / places.current().cells / key[:2] / f"{key}.json"


def _stored(key: str) -> str | None:
    """The kept result as JSON; None where there is none or the file is not as it was written."""
    try:
        kept = json.loads(_path(key).read_bytes())
        result = json.dumps(kept["result"])
        return result if kept["check"] == sha(key + result) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _jobs(cells: dict[str, Cell]) -> list[Job]:
    """Cells that read one training are one job, so that it is made once."""
    jobs: dict[str, Job] = {}
    for key, cell in cells.items():
        jobs.setdefault(cell.reads.key if cell.reads else key, {})[key] = cell
    return list(jobs.values())


def _compute(job: Job, store: str, parent: int | None = None) -> list[Done]:
    """What the cells give, up to the first that fails; a process below the parent ends with it."""
    if parent not in (None, os.getpid()):
        _end_with(parent)
    done = []
    opened = functools.cache(lambda: _opened(next(iter(job.values())).reads, store))
    for key, cell in job.items():
        try:
            if cell.key != key:  # a process that loaded its modules before an edit, or after one
                why = "sources changed since processes started: restart the kernel or the workers"
                raise GridError(why)
            with pin.one_thread():
                if cell.before:
                    cell.before()
                result = cell.made(opened()) if cell.reads else cell.made()
            done.append((key, as_json(result, "its result"), "", ""))
        except Exception as error:
            said = [type(error).__name__, *str(error).splitlines()[:1]]  # MemoryError often says nothing
            return [*done, (key, None, ": ".join(said), traceback.format_exc())]
    return done


def _opened(training: Training, store: str) -> Any:
    if training.before:
        training.before()
    found = weights.kept(store, training.key) if training.kept else None
    if found is None:
        found = training.made()
        if training.kept:
            weights.keep(store, training.key, found)
    return training.opened(found, **json.loads(json.dumps(training.arguments)))


def _here(cells: dict[str, Cell]) -> Iterator[Done]:
    left, store = dict(cells), places.current().cells
    how = {"backend": "loky", "return_as": "generator_unordered", "batch_size": 1}
    # Decided once: a job that is left alone because it ended its process must not run in this one.
    processes = joblib.cpu_count() if len(_jobs(cells)) > 1 else 1
    for deaths in range(1, DEATHS + 1):
        pool = joblib.Parallel(n_jobs=processes, **how)
        calls = [joblib.delayed(_compute)(job, store, os.getpid()) for job in _jobs(left)]
        try:
            with warnings.catch_warnings(), contextlib.closing(pool(calls)) as work:
                # Closed early, it is on purpose; a process whose memory grew makes way for another.
                warnings.filterwarnings("ignore", ".* tasks (have been|which were)|A worker stopped")
                for done in itertools.chain.from_iterable(work):
                    del left[done[0]]
                    yield done
            return
        except BrokenProcessPool:
            if deaths == DEATHS:
                raise GridError(f"a worker process died, perhaps for want of memory; {AGAIN}") from None


@functools.cache
def _end_with(parent: int) -> None:
    """Let this process end within a second of its parent, even of one that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_cluster(address: str, cells: dict[str, Cell]) -> Iterator[Done]:
    from distributed import CancelledError, Client, KilledWorker, as_completed

    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError):
        raise GridError(
            f"{CLUSTER} = {address}: no dask scheduler answers there; start it, or unset {CLUSTER}"
        ) from None
    with client:
        _refuse_unequal(client, address)
        futures = client.map(_compute, _jobs(cells), store=places.current().cells, pure=False)
        for future in as_completed(futures, loop=client.loop):
            try:  # not by its status: a result that a dead worker held is being computed again
                done = future.result()
            except (CancelledError, KilledWorker, OSError):
                raise GridError(f"{CLUSTER} = {address}: workers or scheduler died; {AGAIN}") from None
            yield from done


def _refuse_unequal(client, address: str) -> None:
    """Raise GridError unless every worker has one thread, and versions and sources as here."""
    modules = sorted(name for name in sys.modules if name.partition(".")[0] == places.PACKAGE)
    here, threads = _seen(modules), client.nthreads()
    if not threads:
        raise GridError(f"{CLUSTER} = {address}: the scheduler has no workers; start some")
    for worker, seen in client.run(_seen, modules, on_error="return").items():
        if threads[worker] != 1:
            wrong = f"runs {threads[worker]} cells at once; start it with --nthreads 1"
        elif isinstance(seen, Exception):
            wrong = f"cannot load {places.PACKAGE} ({seen}); install it there"
        elif differing := [
            f"{name} ({seen[name]}, here {here[name]})" for name in here if seen[name] != here[name]
        ]:
            wrong = f"differs in {', '.join(differing)}; make them equal and restart it"
        else:
            continue
        raise GridError(f"{CLUSTER} = {address}: worker {worker} {wrong}")


def _seen(modules: list[str]) -> dict[str, str]:
    """Versions, and the first digits of the hash of each module's source, in this process."""
    return versions() | {name: source_of(importlib.import_module(name))[:8] for name in modules}
