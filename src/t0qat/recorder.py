"""Note every file of the project that a process reads: modules it imports and data it opens.

The pipeline starts this in a notebook's kernel, and t0qat itself in worker processes, so that a
receipt can say what a result was made from. Files opened below Python (by a C library) are not seen.
"""

import importlib.util
import os
import sys
from pathlib import Path

SKIPPED = ("build", ".venv", ".git")  # generated or installed: not what a result is made from


def start(log: Path, root: Path) -> None:
    """Append to log one line a file below root, as it is first read; cannot be undone in a process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    root_text = os.path.join(os.path.realpath(root), "")
    seen = set()

    def note(path: str) -> None:
        path = os.path.realpath(path)
        if path.startswith(root_text) and path.endswith(".pyc"):
            path = importlib.util.source_from_cache(path)
        if path in seen or not path.startswith(root_text) or not os.path.isfile(path):
            return
        seen.add(path)
        inside = path[len(root_text) :]
        if inside.split(os.sep)[0] not in SKIPPED:
            os.write(descriptor, f"{inside}\n".encode())

    def hook(event: str, details: tuple) -> None:
        if event != "open" or not isinstance(details[0], str | bytes | os.PathLike):
            return
        path, mode, flags = details
        writes = set(mode) & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
        if not writes:
            note(os.fsdecode(path))

    sys.addaudithook(hook)
    for module in list(sys.modules.values()):  # what was imported before the hook was there
        if getattr(module, "__file__", None):
            note(module.__file__)
