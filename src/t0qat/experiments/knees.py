"""What is read off the metric against bits: the knee, the step that equals xi, and flipped bits."""

import numpy as np
import pandas as pd

from t0qat.experiments.arms import LINEAR
from t0qat.experiments.precision import BITS, CURVES, FLIPS, GRIDS, Cell, Measured
from t0qat.pipeline import statistics
from t0qat.quantization.quantizers import Grid
from t0qat.training.constants import XI

# What rounding may add to the metric and count as nothing: a hundredth of the variance; nats; bits.
MARGIN, NETWORK_MARGIN = 0.01, 0.02


def metrics(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """Mean metrics: dataset, model, method, bits, range, scale, quantity, mean, ci_low, ci_high, n."""
    return pd.DataFrame(
        cell.row | vars(cell.grid) | {"quantity": cell.metric} | statistics.mean_interval(found.metric)
        for cell, found in cells.items()
    )


def full_precision(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """Mean metric before rounding: columns dataset, model, method, mean, ci_low, ci_high, n."""
    return pd.DataFrame(
        cell.row | statistics.mean_interval(measured.full_precision)
        for cell, measured in cells.items()
        if cell.grid == Grid(16)
    )


def knee(excess: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Fewest bits from which on the metric exceeds full precision by at most the margin: (replicates,).

    excess: (replicates, widths), metric minus that of full precision, bits rising to BITS[-1]. Where the
    widest grid exceeds it too: BITS[-1] + 1.
    """
    from_the_widest = np.cumprod(excess[:, ::-1] <= margin, axis=1)
    return BITS[-1] + 1 - from_the_widest.sum(1)


def bits_of_step(log_step: np.ndarray, step: float) -> np.ndarray:
    """Bits, as a real number, at which a grid's step equals the given one: (replicates,).

    log_step: (replicates, widths), log2 of the steps, bits rising to BITS[-1]. Linear in bits between
    neighbouring widths, of which the last with a step as large is taken; continued beyond both ends.
    """
    widths, wanted = log_step.shape[1], np.log2(step)
    larger = np.where(log_step >= wanted, np.arange(widths), 0).max(1, keepdims=True)
    left = np.minimum(larger, widths - 2)
    here, there = (np.take_along_axis(log_step, at, 1)[:, 0] for at in (left, left + 1))
    return BITS[-1] + 1 - widths + left[:, 0] + (wanted - here) / (there - here)


def knees(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """Where accuracy starts to fall, and where the grid's step equals xi, in bits.

    Columns dataset, model, method, range, scale, quantity, estimate, ci_low, ci_high, n. Quantities,
    each the mean over replicates: knee; xi_bits (bits_of_step at xi); difference (xi_bits - knee), and
    distance, its absolute value in each replicate.
    """
    rows = []
    for whose in dict.fromkeys(cell._replace(grid=GRIDS[0]) for cell in cells):
        for (codes, scale), grids in CURVES.items():
            curve = [cells[whose._replace(grid=grid)] for grid in grids]
            margin = MARGIN if whose.model == LINEAR else NETWORK_MARGIN
            excess = np.stack([point.metric - point.full_precision for point in curve], -1)
            fall = knee(excess, margin)
            at_xi = bits_of_step(np.stack([point.log_step for point in curve], -1), XI)
            values = {"knee": fall, "xi_bits": at_xi, "difference": at_xi - fall}
            values["distance"] = np.abs(values["difference"])
            rows += [
                whose.row
                | {"range": codes, "scale": scale, "quantity": name}
                | statistics.mean_interval(value)
                for name, value in values.items()
            ]
    return pd.DataFrame(rows).rename(columns={"mean": "estimate"})


def added_by_flips(cells: dict[Cell, Measured]) -> dict[tuple[Cell, int], np.ndarray]:
    """(Cell, flipped bits) -> metric with flips minus metric without: (replicates,)."""
    return {
        (cell, k): metric - measured.metric
        for cell, measured in cells.items()
        for k, metric in zip(FLIPS.get(cell.grid, ()), measured.flipped, strict=True)
    }


def flips_added(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """What flips add to the metric: dataset, model, method, bits, flipped, mean, ci_low, ci_high, n."""
    return pd.DataFrame(
        cell.row | {"bits": cell.grid.bits, "flipped": k} | statistics.mean_interval(added)
        for (cell, k), added in added_by_flips(cells).items()
    )


def flips(cells: dict[Cell, Measured]) -> pd.DataFrame:
    """What flips add as published minus what they add with every other method, replicate by replicate.

    With the tuned scale, minus plain training alone. Columns dataset, model, method, bits, flipped,
    other, estimate, ci_low, ci_high, n, p_holm (two-sided paired t-test, Holm's correction over all
    rows), detectable.
    """
    added, rows = added_by_flips(cells), []
    for (cell, k), theirs in added.items():
        for method in ("t0_qat", "t0_qat_tuned"):
            mine = added.get((cell._replace(method=method), k))
            asked = cell.method == "no_noise" or method == "t0_qat" != cell.method
            if asked and mine is not None:
                n = min(len(mine), len(theirs))  # the first replicates, which both have
                row = cell.row | {"bits": cell.grid.bits, "flipped": k}
                row |= {"method": method, "other": cell.method}
                rows.append(row | statistics.paired_difference(mine[:n], theirs[:n]))
    return statistics.corrected(rows)
