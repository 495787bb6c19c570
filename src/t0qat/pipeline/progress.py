"""How far a computation has come: on the terminal, below a notebook's cell, or by the pipeline.

In a kernel that the pipeline started, standard error is a log. So the bar's line goes to a file in the
stage, and the pipeline shows it on the terminal.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from t0qat.pipeline import places

FILE = "progress.txt"
EVERY = 0.5  # seconds, at least, between two looks


@contextlib.contextmanager
def bar(words: str, done: int, total: int) -> Iterator[Callable[[], Any]]:
    """A bar with the time left, gone at the end; yields what to call after each step."""
    with contextlib.ExitStack() as stack:
        if places.STAGE in os.environ:
            path = places.stage() / FILE
            stack.callback(path.unlink, missing_ok=True)
            where = {"file": _Lines(lambda line: places.write(path, line)), "ncols": 70}
        elif _in_notebook():
            from IPython import display

            shown = display.display({"text/plain": words}, raw=True, display_id=True)
            stack.callback(display.clear_output)  # emptied only, it would stay in the notebook
            below = _Lines(lambda line: shown.update({"text/plain": line}, raw=True))
            where = {"file": below, "ncols": 70}
        else:
            where = {"disable": None}  # off unless this is a terminal
        how = {"unit": "cell", "leave": False, "mininterval": EVERY, "miniters": 1}
        yield stack.enter_context(tqdm(desc=words, initial=done, total=total, **how, **where)).update


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
    ended = threading.Event()
    shower = threading.Thread(target=_show, args=(stage / FILE, terminal, ended), daemon=True)
    shower.start()
    try:
        yield
    finally:
        ended.set()
        shower.join()


def _show(path: Path, terminal: TextIO, ended: threading.Event) -> None:
    # Below the bar of the notebooks and that of a notebook's cells.
    with tqdm(bar_format="{desc}", leave=False, file=terminal, position=2) as shown:
        while not ended.wait(EVERY):
            line = ""
            with contextlib.suppress(OSError):  # where nothing is at work there is no file
                line = f"    {path.read_text()}"
            shown.set_description_str(line)
