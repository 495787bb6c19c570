"""Images with their classes, split anew in each replicate."""

import functools
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from t0qat.pipeline import places
from t0qat.pipeline.parameters import ParameterError
from t0qat.training.tasks import IMAGES, Data, split


class Loaded(NamedTuple):
    """Images of one data set."""

    split: Callable[[int, int], Data]  # (replicate, seed) -> parts with flat pixels in -1 ... 1
    shape: tuple[int, int, int]  # channels, height, width
    classes: int


@functools.cache
def load(dataset: str) -> Loaded:
    """A name in tasks.IMAGES, the path of an .npz file with arrays X and y, or a name on OpenML.

    X: (n, height, width), (n, channels, height, width) or flat (n, pixels) of square images, colours one
    after the other; a path is relative to the project. y: (n,), any labels. OpenML needs a network once
    (version 1 of the name, by scikit-learn, which keeps it). Raises ParameterError, in one line.
    """
    if dataset in IMAGES:
        part = IMAGES[dataset](0, 0)
        flat = part.inputs.shape[1]
        return Loaded(IMAGES[dataset], _shape((flat,)), 1 + int(part.target.max()))
    shown = f"dataset = {dataset!r}:"
    try:
        pixels, labels = (_npz if dataset.endswith(".npz") else _openml)(dataset)
        pixels, labels = np.asarray(pixels, np.float32), np.asarray(labels)
        shape = _shape(pixels.shape[1:])
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ParameterError(f"{shown} no images there ({' '.join(str(error).split())})") from None
    names, classes = np.unique(labels, return_inverse=True)
    if labels.shape != pixels.shape[:1] or len(labels) < 8 or len(names) < 2:
        raise ParameterError(f"{shown} needs 8 images or more, a label for each, and two labels")
    low, high = pixels.min(), pixels.max()
    if not low < high < math.inf or low == -math.inf:
        raise ParameterError(f"{shown} pixels must be finite and not all equal")
    inputs = (2 * (pixels - low) / (high - low) - 1).reshape(len(pixels), -1)
    return Loaded(functools.partial(split, inputs, classes, "split"), shape, len(names))


def files(dataset: str, *_: str) -> list[Path]:
    """What it is read from, if that is a file."""
    return [Path(dataset)] if dataset.endswith(".npz") else []


def _npz(path: str):
    with np.load(places.ROOT / path) as file:
        return file["X"], file["y"]


def _openml(name: str):
    from sklearn.datasets import fetch_openml  # only now: it takes seconds

    return fetch_openml(name, version=1, return_X_y=True, parser="auto")


def _shape(size: tuple[int, ...]) -> tuple[int, int, int]:
    match size:
        case (flat,):
            for channels in (1, 3):
                side = math.isqrt(flat // channels)
                if side and channels * side**2 == flat:
                    return channels, side, side
            raise ValueError(f"{flat} pixels are no square")
        case (height, width):
            return 1, height, width
        case (channels, height, width):
            return channels, height, width
    raise ValueError("X needs 2 to 4 dimensions")
