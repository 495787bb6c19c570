"""Trained weights, kept for whoever asks something of them later: build/weights, safetensors.

A file that is gone or damaged only costs its training again, so the folder may be emptied at any time.
torch takes seconds to import and most grids need none, so it is imported where there are weights.
"""

import contextlib
import hashlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from t0qat.pipeline import places

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = places.BUILD / "weights"
LIMIT = 10**9  # bytes of all files together; those read or written longest ago are dropped first


def keep(store: str, key: str, weights: "dict[str, Tensor]") -> None:
    """Keep the weights under a key of this store, where the disk lets it."""
    from safetensors.torch import save

    held = {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
    with contextlib.suppress(OSError):
        places.write(_path(store, key), save(held, {"check": _check(held)}))
        _drop_oldest()


def kept(store: str, key: str) -> "dict[str, Tensor] | None":
    """The weights under this key; None where there are none or the file is not as it was written."""
    from safetensors import SafetensorError, safe_open

    path = _path(store, key)
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            sound = file.metadata()["check"] == _check(weights)
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return weights if sound else None


def _path(store: str, key: str) -> Path:
    return FOLDER / store / f"{key}.safetensors"


def _check(weights: "dict[str, Tensor]") -> str:
    """SHA-256 of names, shapes and numbers."""
    from safetensors.torch import save

    return hashlib.sha256(save(weights)).hexdigest()


def _drop_oldest() -> None:
    # Looked at once: another process may drop the same ones meanwhile.
    files = [(path, path.stat()) for path in FOLDER.glob("*/*.safetensors")]
    files.sort(key=lambda file: file[1].st_mtime_ns, reverse=True)
    sizes = itertools.accumulate(stat.st_size for _, stat in files)
    for (path, _), size in zip(files, sizes, strict=True):
        if size > LIMIT:
            path.unlink(missing_ok=True)
