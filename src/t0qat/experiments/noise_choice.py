"""How the scale of the training noise may be chosen: tuned, the grid's own, or another constant's."""

import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from t0qat.experiments import scale
from t0qat.experiments.published import AVERAGED, all_grids
from t0qat.experiments.scale import in_batches, scalings, unexplained
from t0qat.experiments.settings import set_up
from t0qat.pipeline import statistics
from t0qat.quantization.quantizers import Grid, absmax_scale
from t0qat.training import linear
from t0qat.training.constants import BASELINE_NOISE, CONSTANTS, XI, XI_SCALING
from t0qat.training.linear import Setup
from t0qat.training.tasks import TASKS, held_out_quarter

ARMS = ("published", "xi_alone", "tuned", "matched", "plain", "standard_qat")
MEASURED = ("unexplained", "drop")  # of an arm, shares of the target's variance
# What the cells of this module's grids depend on.
CODE = sys.modules[__name__], *scale.CODE


class Arm(NamedTuple):
    """One way to set the noise: its standard deviation, and what is MEASURED: arrays (replicates,)."""

    noise: np.ndarray
    unexplained: np.ndarray  # what is left after rounding
    drop: np.ndarray  # that minus what is left before


@set_up()
def tuning(
    *, replicates: int, setup: Setup, tuning_points: int = 20, bits: Sequence[int] = (8, 4, 3, 2)
) -> dict[str, dict[str, Arm]]:
    """What xi leaves unexplained after rounding, and how much of it rounding adds, beside other noise.

    By data set and arm. plain: no noise; xi_alone: scaling 1; published: 80000; standard_qat: the
    paper's baseline, of standard deviation BASELINE_NOISE, on the same draws. tuned: each replicate
    by itself trains every scaling of `scalings(tuning_points)` on three quarters of its training part,
    takes the one that leaves least on the held-out quarter (ties: the smaller), and trains with it on
    the whole. matched: Gaussian noise that ignores xi, of standard deviation step / sqrt(12), that of
    a uniform rounding error, with the step of the INT4 full absmax grid of the plainly trained weights.
    Rounding and test part as in published.integer_grids. Raises ParameterError before computing.
    """
    scales = (XI * scalings(tuning_points)).tolist()
    more = {"scales": scales, "bits": list(bits)}
    parts = in_batches(_tuned, CODE, replicates, setup, len(scales), **more)
    joined = np.concatenate(parts, -1)  # (data sets, fields of Arm, arms, replicates)
    return {
        dataset: {arm: Arm(*found) for arm, found in zip(ARMS, each.swapaxes(0, 1), strict=True)}
        for dataset, each in zip(TASKS, joined, strict=True)
    }


def _tuned(first, stop, setup, scales, bits) -> list[list]:
    """For each of TASKS: the fields of Arm, each (arms, replicates)."""
    chunk, grids, setup = range(first, stop), all_grids(bits, AVERAGED), Setup(**setup)
    arms = []
    for dataset in TASKS:
        data = [*setup.data(dataset, chunk)]
        runs = linear.Runs.of(data, chunk, setup)
        noise = runs.noise()
        parts = map(held_out_quarter, data, chunk, itertools.repeat(setup.seed))
        rest, held_out = linear.moments(parts)
        score = unexplained(held_out, runs._replace(train=rest).trained_at(scales, noise), grids)
        plain = runs.trained_at([0.0], noise)
        step = absmax_scale(plain[:-1, 0].T.contiguous(), Grid(4))[:, 0]
        own = {
            "published": torch.full_like(step, XI * XI_SCALING),
            "xi_alone": torch.full_like(step, XI),
            "tuned": torch.tensor(scales)[score.argmin(0)],
            "matched": step / 12**0.5,
            "plain": torch.zeros_like(step),
            "standard_qat": torch.full_like(step, BASELINE_NOISE),
        }
        used = torch.stack([own[arm] for arm in ARMS])
        trained = runs.trained_at(used, noise)
        left = unexplained(runs.test, trained, grids)
        drop = left - runs.test.beside.loss(trained) / runs.test.variance
        arms.append([used.tolist(), left.tolist(), drop.tolist()])
    return arms


def arm_means(arms: dict[str, dict[str, Arm]]) -> pd.DataFrame:
    """Each arm's noise and what is MEASURED of it, over replicates.

    Columns dataset, arm, quantity, mean, ci_low, ci_high, std, q025, median, q975, n. quantity is one
    of MEASURED, or "log_scaling", the decimal logarithm of 1 + noise / xi: tuned scalings span decades,
    and the few largest would make up their mean.
    """
    return pd.DataFrame(
        {"dataset": dataset, "arm": arm, "quantity": quantity}
        | statistics.mean_interval(values)
        | statistics.spread(values)
        for dataset, each in arms.items()
        for arm, found in each.items()
        for quantity, values in (
            ("log_scaling", np.log10(1 + found.noise / XI)),
            *((name, getattr(found, name)) for name in MEASURED),
        )
    )


def arm_differences(arms: dict[str, dict[str, Arm]]) -> pd.DataFrame:
    """What is MEASURED of one arm minus that of another, paired, all pairs of ARMS.

    Columns dataset, quantity, arm, other_arm, estimate, ci_low, ci_high, n, p_holm, detectable.
    p_holm: Holm's correction over the rows of the same quantity.
    """
    families = (
        [
            {"dataset": dataset, "quantity": quantity, "arm": arm, "other_arm": other}
            | statistics.paired_difference(*(getattr(each[a], quantity) for a in (arm, other)))
            for dataset, each in arms.items()
            for arm, other in itertools.combinations(ARMS, 2)
        ]
        for quantity in MEASURED
    )
    return pd.concat(map(statistics.corrected, families), ignore_index=True)


@set_up()
def constants(
    *, replicates: int, setup: Setup, bits: Sequence[int] = (8, 4, 3, 2)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every constant of CONSTANTS in xi's place, at scaling 1 and at the published product.

    First table: columns dataset, constant, quantity, estimate, ci_low, ci_high, n, p_holm, detectable;
    quantity is "unexplained_added", what training at scaling 1 leaves unexplained after rounding (as in
    `tuning`) minus what training without noise leaves, or "unexplained_added_published", the same with
    the scaling that makes the product the published one, p_holm corrected over both; or, of constants
    other than xi and a family of its own, "unexplained_from_xi", what is left at scaling 1 minus what
    xi leaves at scaling 1. Second table: columns dataset, constant, magnitude, multiplier (that
    scaling), largest_difference (largest absolute difference of a trained parameter from the same
    replicate trained with xi and 80000), n. Raises ParameterError first.
    """
    magnitudes = np.array(list(CONSTANTS.values()))
    multipliers = XI * XI_SCALING / magnitudes
    products = [XI * XI_SCALING, *(magnitudes * multipliers)]
    scales = [0.0, *magnitudes, *products]
    more = {"scales": scales, "bits": list(bits), "products": len(products)}
    parts = in_batches(_at_constants, CODE, replicates, setup, len(scales), **more)
    added, from_xi, same = [], [], []
    for dataset, batches in zip(TASKS, zip(*parts, strict=True), strict=True):
        each, differences = zip(*batches, strict=True)
        left, largest = np.concatenate(each, -1), np.max(differences, 0)
        plain, alone, product = left[0], left[1 : len(CONSTANTS) + 1], left[len(CONSTANTS) + 2 :]
        xi = alone[list(CONSTANTS).index("xi")]
        for i, constant in enumerate(CONSTANTS):
            keys = {"dataset": dataset, "constant": constant}
            for quantity, arm in (
                ("unexplained_added", alone[i]),
                ("unexplained_added_published", product[i]),
            ):
                added.append(keys | {"quantity": quantity} | statistics.paired_difference(arm, plain))
            if constant != "xi":
                apart = statistics.paired_difference(alone[i], xi)
                from_xi.append(keys | {"quantity": "unexplained_from_xi"} | apart)
            numbers = {"magnitude": magnitudes[i], "multiplier": multipliers[i]}
            same.append(keys | numbers | {"largest_difference": largest[i], "n": replicates})
    families = map(statistics.corrected, (added, from_xi))
    return pd.concat(families, ignore_index=True), pd.DataFrame(same)


def _at_constants(first, stop, setup, scales, bits, products) -> list[list]:
    """For each of TASKS: what is left unexplained, (scales, replicates), and largest differences.

    The differences are those of parameters at the last `products` scales from the first of these.
    """
    grids, setup = all_grids(bits, AVERAGED), Setup(**setup)
    # Equal scales are rounded once.
    _, once, back = np.unique(np.float32(scales), return_index=True, return_inverse=True)
    found = []
    for dataset in TASKS:
        runs = setup.runs(dataset, range(first, stop))
        trained = runs.trained_at(scales, runs.noise())
        left = unexplained(runs.test, trained[:, once], grids)[back]
        published, *others = trained[:, -products:].unbind(1)
        largest = [(other - published).abs().max().item() for other in others]
        found.append([left.tolist(), largest])
    return found
