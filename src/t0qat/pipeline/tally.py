"""Which cells of its grids a notebook computed, and which it took from the store: told to the pipeline.

A kernel that the pipeline started appends a line a cell to a file in its stage.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from t0qat.pipeline import places

FILE = "cells.txt"


class Cells(NamedTuple):
    """Keys of cells; one that is computed each time is there as often."""

    computed: list[str]
    taken: list[str]


def note(computed: Iterable[str] = (), taken: Iterable[str] = ()) -> None:
    """Say that these cells were computed or taken; nothing where no pipeline listens.

    Raises OSError where the stage cannot be written.
    """
    if places.STAGE in os.environ:
        lines = [*(f"computed {key}\n" for key in computed), *(f"taken {key}\n" for key in taken)]
        places.stage().mkdir(parents=True, exist_ok=True)
        with (places.stage() / FILE).open("a") as file:
            file.writelines(lines)


def read(stage: Path) -> Cells:
    """What the notebook with this stage said; a cell that it computed itself is not among the taken."""
    cells = Cells([], [])
    if (stage / FILE).is_file():  # a notebook without a grid says nothing
        for line in (stage / FILE).read_text().splitlines():
            what, key = line.split()
            getattr(cells, what).append(key)
    return Cells(cells.computed, sorted(set(cells.taken) - set(cells.computed)))
