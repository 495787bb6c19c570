"""What the paper leaves open, searched: which settings agree with its reported numbers."""

import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from t0qat.experiments.published import Losses, table1_paired
from t0qat.experiments.scale import CODE, in_batches
from t0qat.experiments.settings import set_up
from t0qat.pipeline import claims, decision, statistics
from t0qat.pipeline.decision import Column, Condition, Step
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.training.constants import REPORTED, XI, XI_SCALING
from t0qat.training.linear import Setup


class Setting(NamedTuple):
    """What the paper leaves open, set."""

    target: str
    target_noise: float
    baseline_noise: float
    evaluation_noise: float


@set_up("target", "target_noise")
def calibrate(
    *,
    calibration_replicates: int,
    setup: Setup,
    target_noises: Sequence[float] = (0, 0.1, 0.4, 0.7),
    baseline_noises: Sequence[float] = (0, 0.2, 0.4, 0.8, 1.2, 2),
    evaluation_noises: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5),
) -> dict[Setting, tuple[dict[str, Losses], dict[str, Losses]]]:
    """The published experiment in every setting of the grid, on both targets.

    Each setting's two runs are those of experiments.published, with the methods that the paper
    reports; trainings are shared by the evaluation noises. Raises ParameterError before computing.
    """
    lists = target_noises, baseline_noises, evaluation_noises
    noises, baselines, shifts = ([float(value) for value in each] for each in lists)
    scales = [*baselines, XI * XI_SCALING]
    code, more = (*CODE, sys.modules[__name__]), {"scales": scales, "noises": noises, "shifts": shifts}
    parts = in_batches(_calibrated, code, calibration_replicates, setup, len(scales), **more)
    settings = {}
    for (target, target_noise), runs in zip(worlds(noises), np.concatenate(parts, -1), strict=True):
        for (i, baseline), (j, shift) in itertools.product(enumerate(baselines), enumerate(shifts, 1)):
            setting = Setting(target, target_noise, baseline, shift)
            methods = {"standard_qat": i, "t0_qat": len(baselines)}
            settings[setting] = tuple(
                {name: Losses(run[0, k], run[j, k]) for name, k in methods.items()} for run in runs
            )
    return settings


def worlds(noises: list[float]) -> list[tuple[str, float]]:
    """The targets, each with every standard deviation of its noise."""
    return list(itertools.product(("sum", "normal"), noises))


def _calibrated(first, stop, setup, scales, noises, shifts) -> list[list]:
    """Losses before and after each shift: (worlds, 2 runs, 1 + shifts, scales, replicates)."""
    found = []
    for target, target_noise in worlds(noises):
        own = setup | {"target": target, "target_noise": target_noise}
        runs = Setup(**own).runs("synthetic", range(first, stop))
        found.append([])
        for run in ("", "second_"):
            draws = runs.shift(run)[:, None]
            trained = runs.trained_at(scales, runs.noise(run))
            shaken = (trained + shift * draws for shift in shifts)
            found[-1].append([runs.test.beside.loss(v).tolist() for v in (trained, *shaken)])
    return found


def compatibility(runs: dict[Setting, tuple[dict[str, Losses], ...]], tolerance: float) -> pd.DataFrame:
    """How each setting agrees with the paper's four independent numbers, and what it says.

    The numbers are loss in full precision and drop of both methods, as two separate runs. Columns
    target, target_noise, baseline_noise, evaluation_noise, quantity, estimate, ci_low, ci_high, n.

    quantity is one of: acceptance_half, acceptance and acceptance_double, how often all four lie within
    that share of their reported value (half, once and twice the tolerance): the acceptance rate of
    approximate Bayesian computation (Pritchard et al. 1999), with Wilson's interval. p_value: twice
    the smaller tail of each number, (b + 1) / (n + 1) with b the count of runs as far out (Davison &
    Hinkley 1997, section 4.2), the least of the four times four (Bonferroni); its interval is Wilson's
    for that tail, times eight. A setting is ruled out where this p-value is below ERROR_RATE, which
    takes 160 replicates or more. The others are those of experiments.table1_paired.
    """
    return pd.DataFrame(
        setting._asdict() | row
        for setting, (first, second) in runs.items()
        for row in [
            *_agreement(first["standard_qat"], second["t0_qat"], tolerance),
            *table1_paired(first, second).to_dict("records"),
        ]
    )


def _agreement(standard: Losses, t0: Losses, tolerance: float) -> list[dict]:
    simulated = np.stack([standard.full_precision, standard.drop, t0.full_precision, t0.drop])
    numbers = [REPORTED[method][q] for method in REPORTED for q in ("full_precision", "drop")]
    reported = np.array(numbers)[:, None]
    off = (np.abs(simulated - reported) / reported).max(0)
    rows = [
        {"quantity": name} | statistics.chance(off <= factor * tolerance)
        for name, factor in (("acceptance_half", 0.5), ("acceptance", 1), ("acceptance_double", 2))
    ]
    tails = [*(simulated <= reported), *(simulated >= reported)]
    tail = min(tails, key=np.count_nonzero)
    found = statistics.chance(tail)
    found["estimate"] = (tail.sum() + 1) / (len(tail) + 1)
    scaled = {key: min(1.0, 2 * len(numbers) * found[key]) for key in ("estimate", "ci_low", "ci_high")}
    return [*rows, {"quantity": "p_value"} | scaled | {"n": found["n"]}]


def setting_verdicts(table: pd.DataFrame, error_rate: float = ERROR_RATE) -> pd.DataFrame:
    """What each setting would say of the claims that rest on the published experiment.

    Each is one difference of the rule of decision, in a family of all settings and claims. What counts
    as nothing is not declared for other settings: they are decided in a direction, or not at all.
    Columns target, target_noise, baseline_noise, evaluation_noise, id, verdict, p_corrected.
    """
    asked = [
        (claim.id, one)
        for claim in claims.declared()
        for one in claim.every
        if one.file == "table1_paired"
    ]
    rows = []
    for id, one in asked:
        for row in claims.rows(table, one.row).to_dict("records"):
            step = Step((Condition(one.statistic, claims.sample(row, one)),))
            rows.append(row | {"id": id, "column": Column(id, "as_published", (step,))})
    for row in rows:
        found = decision.decide(row["column"], len(rows), error_rate)
        row["verdict"] = found.words[0] if found.words else decision.UNTESTABLE
        row["p_corrected"] = found.p_corrected[0] if found.words else np.nan
    return pd.DataFrame(rows)[[*Setting._fields, "id", "verdict", "p_corrected"]]
