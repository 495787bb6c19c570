"""Note every file of the project that a process reads: modules it imports and data it opens.

The pipeline starts this in a notebook's kernel, so that a receipt can say what a result was made from.
Files opened below Python (by a C library) are not seen, nor is what a worker process reads: the kernel
reads that too, where it hashes the code and data files of each cell (grid.code).
"""

import importlib.util
import os
import sys
from pathlib import Path

# Installed, the run's own, or results under a hash of their sources: not what a result is made from.
SKIPPED = (".git", ".venv", "build/runs", "build/cells")


def start(log: Path, root: Path) -> None:
    """Append to log one line a file below root, as it is first read; cannot be undone in a process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    root = Path(root).resolve()
    skipped = [root / name for name in SKIPPED]
    seen = set()

    def note(name: str) -> None:
        if name in seen or not name.startswith(str(root)):
            return
        seen.add(name)
        path = Path(importlib.util.source_from_cache(name) if name.endswith(".pyc") else name)
        if path.is_relative_to(root) and path.is_file() and not any(map(path.is_relative_to, skipped)):
            os.write(descriptor, f"{path.relative_to(root).as_posix()}\n".encode())

    def hook(event: str, details: tuple) -> None:
        if event != "open" or not isinstance(details[0], str | bytes | os.PathLike):
            return
        path, mode, flags = details
        writes = set(mode) & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
        if not writes:
            note(os.path.realpath(os.fsdecode(path)))

    sys.addaudithook(hook)
    for module in list(sys.modules.values()):  # what was imported before the hook was there
        if getattr(module, "__file__", None):
            note(os.path.realpath(module.__file__))
