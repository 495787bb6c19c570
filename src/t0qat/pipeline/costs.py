"""What the notebooks cost: time, cells and memory of each, measured by the pipeline as it runs them.

Every run says it. paper/cost.json keeps it, for the README and `make bench`: no result and no
receipt depends on it. Its rule: an entry is of the last `make paper` without changed parameters or a
cluster that itself computed every cell of the notebook, there or in a notebook before it.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from t0qat.pipeline import places

RECORD = "paper/cost.json"
CELLS = "cells.txt"  # in a notebook's stage: a line a cell of its grids
EVERY = 0.5  # seconds between two looks at the processes


@dataclass
class Cost:
    """Of one notebook's run."""

    seconds: float = 0.0  # by the clock, from the start of its kernel to its end
    core_seconds: float = 0.0  # of its kernel and of all processes below that
    cells: int = 0  # that it computed
    peak_memory_mb: float = 0.0  # of all these processes at once, in 10^6 bytes
    cores: int = 0  # that a grid uses


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measure all processes below this one; what is yielded is whole at the end.

    What happens between two looks is missed: a peak of memory, and the work after the last look. Memory
    that processes share, such as the code of libraries, counts in each.
    """
    import joblib  # only now: `make status` need not wait for it

    cost, started, ended = Cost(cores=joblib.cpu_count()), time.monotonic(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(cost, ended), daemon=True)
    watcher.start()
    try:
        yield cost
    finally:
        ended.set()
        watcher.join()
        cost.seconds = time.monotonic() - started


def _watch(cost: Cost, ended: threading.Event) -> None:
    while not ended.wait(EVERY):
        core_seconds = memory = 0
        # Parents come before their children, so that none that ends meanwhile is counted twice.
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                core_seconds += sum(process.cpu_times()[:4])  # with that of children that ended
                memory += process.memory_info().rss
        cost.core_seconds = max(cost.core_seconds, core_seconds)
        cost.peak_memory_mb = max(cost.peak_memory_mb, memory / 1e6)


@dataclass
class Bill:
    """The costs of one run of the pipeline, notebook by notebook."""

    lines: list[str] = field(default_factory=list)  # one a notebook that ran
    computed: set[str] = field(default_factory=set)  # keys of the cells that this run computed
    recorded: bool = False  # whether the record follows this run

    def add(self, name: str, cost: Cost, stage: Path) -> bool:
        """Enter a notebook that ran; whether its entry in the record is to be replaced."""
        # A notebook without a grid tells nothing.
        told = (stage / CELLS).read_text() if (stage / CELLS).is_file() else ""
        lines = [line.split() for line in told.splitlines()]
        computed = [key for what, key in lines if what == "computed"]
        taken = {key for what, key in lines if what == "taken"} - set(computed)
        cost.cells = len(computed)
        self.computed.update(computed)
        said = [f"{cost.seconds:,.0f} s", f"{cost.peak_memory_mb / 1e3:.1f} GB of memory at most"]
        if lines:
            said.insert(1, f"{cost.cells:,} cells (and {len(taken):,} kept from before)")
        self.lines.append(f"{name}: {', '.join(said)}")
        return self.recorded and self.computed >= taken


def note(what: str, keys: Iterable[str]) -> None:
    """Tell the pipeline that the cells with these keys were "computed", or "taken" from the store.

    Nothing where no pipeline listens. Raises OSError where the stage cannot be written.
    """
    if places.STAGE in os.environ:
        places.stage().mkdir(parents=True, exist_ok=True)
        with (places.stage() / CELLS).open("a") as file:
            file.writelines(f"{what} {key}\n" for key in keys)


def record(name: str, cost: Cost, home: Path) -> None:
    """Replace the notebook's entry in the record below home; raises OSError where it cannot."""
    rounded = {key: round(value, 1) for key, value in asdict(cost).items()}
    kept = {key: asdict(value) for key, value in read(home).items()} | {name: rounded}
    places.write(home / RECORD, json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


def read(home: Path = places.ROOT) -> dict[str, Cost]:
    """The record, by notebook; empty where there is none or it is no record."""
    try:
        return {name: Cost(**entry) for name, entry in json.loads((home / RECORD).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
