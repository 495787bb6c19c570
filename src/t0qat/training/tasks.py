"""Tasks: the data of each replicate. A new one is a function and its line in TASKS or IMAGES."""

import functools
from collections import ChainMap
from typing import NamedTuple

import numpy as np

from t0qat.training.constants import FEATURES, SAMPLES
from t0qat.training.streams import stream


class Data(NamedTuple):
    """One replicate's data: inputs (n, features), float32, and target (n,), in two parts.

    The target is float32, or, where it is a class, int64.

    Loss is reported on the test part, which may be the training part itself (as the paper does it).
    """

    inputs: np.ndarray
    target: np.ndarray
    test_inputs: np.ndarray
    test_target: np.ndarray


# Coefficients of the synthetic target, from the replicate's draws.
TARGETS = {
    "sum": lambda draws: np.ones(FEATURES),
    "normal": lambda draws: draws.standard_normal(FEATURES),
}


def synthetic(replicate: int, seed: int = 0, target: str = "sum", target_noise: float = 0.1) -> Data:
    """The paper's task: 1000 standard normal samples of 10 features, one part for both uses.

    The paper does not publish the target. target: a name in TARGETS, of its coefficients; "sum": the sum
    of the features, plus Gaussian noise of standard deviation target_noise.
    """
    draws = stream("data", replicate, seed)
    inputs = draws.standard_normal((SAMPLES, FEATURES), np.float32)
    noise = draws.standard_normal(SAMPLES, np.float32)
    y = (inputs @ TARGETS[target](draws) + target_noise * noise).astype(np.float32)
    return Data(inputs, y, inputs, y)


def quarter(purpose: str, n: int, replicate: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers 0 ... n - 1 in two random parts: the rest, and a quarter to hold out."""
    order = stream(purpose, replicate, seed).permutation(n)
    return order[round(n / 4) :], order[: round(n / 4)]


def split(inputs, target, purpose: str, replicate: int, seed: int = 0) -> Data:
    """Data whose test part is the quarter."""
    rest, held_out = quarter(purpose, len(target), replicate, seed)
    return Data(inputs[rest], target[rest], inputs[held_out], target[held_out])


def held_out_quarter(data: Data, replicate: int, seed: int = 0) -> Data:
    """The training part alone, in two: what is left to train on, and a quarter to tune on."""
    return split(data.inputs, data.target, "validation_split", replicate, seed)


@functools.cache
def loaded(name: str, **options) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and target of scikit-learn's data set of this name, which takes seconds to import."""
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(return_X_y=True, **options)


def diabetes(replicate: int, seed: int = 0) -> Data:
    """Disease progression of 442 patients from 10 measurements (Efron et al. 2004), by scikit-learn.

    Each replicate holds out its own random quarter; features and target are standardized with the
    mean and standard deviation of the rest, so a loss of 1 is about that of predicting the mean.
    """
    inputs, target = loaded("diabetes", scaled=False)
    train, test = quarter("split", len(target), replicate, seed)

    def standardize(values):
        scaled = (values - values[train].mean(0)) / values[train].std(0)
        return scaled.astype(np.float32)

    inputs, target = standardize(inputs), standardize(target)
    return Data(inputs[train], target[train], inputs[test], target[test])


def digits(replicate: int, seed: int = 0) -> Data:
    """1797 handwritten digits of 8 x 8 pixels (Alpaydin & Kaynak 1998), by scikit-learn; ten classes.

    Each replicate holds out its own random quarter. Pixels, 0 to 16, are scaled to -1 ... 1.
    """
    pixels, classes = loaded("digits")
    return split((pixels / 8 - 1).astype(np.float32), classes, "split", replicate, seed)


TASKS = {"synthetic": synthetic, "diabetes": diabetes}  # regression: for the linear engine
IMAGES = {"digits": digits}  # classification
DATASETS = ChainMap(TASKS, IMAGES)
