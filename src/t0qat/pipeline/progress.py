"""How far a computation has come: on the terminal, below a notebook's cell, or by the pipeline.

In a kernel that the pipeline started, standard error is a log. So the bar's line goes to a file in the
stage, and the pipeline shows it on the terminal. What a process of the grid is at within one long cell
is a line in the stage too, with which the bar's ends.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from t0qat.pipeline import places

FILE, PART = "progress.txt", "part.txt"
EVERY = 0.5  # seconds, at least, between two looks


@contextlib.contextmanager
def bar(words: str, done: int, total: int) -> Iterator[Callable[[], Any]]:
    """A bar with the time left, gone at the end; yields what to call after each step."""
    with contextlib.ExitStack() as stack:
        if places.STAGE in os.environ:
            path = places.stage() / FILE
            stack.callback(path.unlink, missing_ok=True)
            where = {"file": _Lines(lambda text: places.write(path, text)), "ncols": 70}
        elif "TQDM_DISABLE" not in os.environ and _in_notebook():
            from IPython import display

            shown = display.display({"text/plain": words}, raw=True, display_id=True)
            stack.callback(display.clear_output)  # emptied only, it would stay in the notebook
            below = _Lines(lambda text: shown.update({"text/plain": text}, raw=True))
            where = {"file": below, "ncols": 70}
        else:
            where = {"disable": None}  # off unless this is a terminal
        how = {"unit": "cell", "leave": False, "mininterval": EVERY, "miniters": 1}
        line = stack.enter_context(tqdm(desc=words, initial=done, total=total, **how, **where))
        if not line.disable:
            stack.callback((places.stage() / PART).unlink, missing_ok=True)
            stack.enter_context(_beside(_end_with_parts, line))
        yield line.update


def told(items: Collection, words: str, long: bool = True) -> Iterator:
    """The items; where it is long, the bar of whoever waits for this process says how far it is."""
    path = places.stage() / PART
    try:
        for i, item in enumerate(items, 1):
            if long:
                with contextlib.suppress(OSError):  # of two that write at once, one may be heard
                    places.write(path, f"{words} {i}/{len(items)}")
            yield item
    finally:
        if long:
            path.unlink(missing_ok=True)


def _end_with_parts(line: tqdm, ended: threading.Event) -> None:
    before, path = "", places.stage() / PART
    while not ended.wait(EVERY):
        said = ""
        with contextlib.suppress(OSError):
            said = path.read_text()
        if said != before:
            line.set_postfix_str(said)
        before = said


@contextlib.contextmanager
def _beside(work: Callable[..., None], *given: Any) -> Iterator[None]:
    """Runs work(*given, ended) in a thread until the block is left, which sets `ended`."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(*given, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Lines(io.TextIOBase):
    """A file for tqdm that hands on each line it is given."""

    def __init__(self, show: Callable[[str], Any]):
        self.show = show

    def write(self, text: str) -> None:
        if line := text.strip():
            self.show(line)


def _in_notebook() -> bool:
    if "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


@contextlib.contextmanager
def follow(stage: Path, terminal: TextIO) -> Iterator[None]:
    """Show on the terminal what a kernel writes into its stage, below the bars that are there."""
    if not terminal.isatty():
        yield
        return
    with _beside(_show, stage / FILE, terminal):
        yield


def _show(path: Path, terminal: TextIO, ended: threading.Event) -> None:
    # Below the bar of the notebooks and that of a notebook's cells.
    with tqdm(bar_format="{desc}", leave=False, file=terminal, position=2) as shown:
        while not ended.wait(EVERY):
            line = ""
            with contextlib.suppress(OSError):  # where nothing is at work there is no file
                line = f"    {path.read_text()}"
            shown.set_description_str(line)
