"""The scale of the training noise: swept, tuned, taken from other constants, and calibrated.

Training sees only the product xi * xi_scaling, so a scaling is a standard deviation of the noise. Many
are trained at once, on an axis between the parameters and the replicates: each replicate has the same
data and draws at every scale, and the bits that it would have alone.
"""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from t0qat import claims, linear, statistics
from t0qat.constants import CONSTANTS, FEATURES, REPORTED, XI, XI_SCALING, reported_evaluation_noise
from t0qat.experiments import QUANTITIES, Losses, all_grids, rounded, table1_paired
from t0qat.linear import Moments
from t0qat.methods import additive_noise
from t0qat.parameters import checked, number_list
from t0qat.quantizers import Grid, absmax_scale
from t0qat.streams import stream
from t0qat.tasks import TASKS, Data

SCALINGS = {"published": XI_SCALING, "xi_alone": 1.0}  # those with a name
FACTORS = (0.5, 2.0)  # their neighbours
LOWEST, HIGHEST = 0.1, 1e6  # of a sweep, besides 0
WIDTH = 8192  # scales x replicates a batch, at most: keeps the work in cache
RESAMPLES = 2000  # of a bootstrap
TESTED = ("quantized", "full_precision")  # losses whose best scaling is sought
ARMS = ("published", "xi_alone", "tuned", "matched", "plain")
HELD_OUT = 0.25  # of a training part, to tune on
RULED_OUT = 0.05  # p-value below which a calibration setting is


def scalings(points: int) -> np.ndarray:
    """0, log-spaced values to four digits, and the named ones with their neighbours, ascending."""
    spaced = [float(f"{value:.4g}") for value in np.geomspace(LOWEST, HIGHEST, points)]
    named = [factor * scaling for scaling in SCALINGS.values() for factor in (1, *FACTORS)]
    return np.unique([0.0, *spaced, *named])


def train_at(
    moments: Moments, start: Tensor, noise: Tensor, scales: Tensor, learning_rate: float
) -> Tensor:
    """Parameters trained under weight noise of each scale: (d, scales, replicates), float32.

    scales: standard deviations in units of the weights, (scales, 1) or (scales, replicates), float32.
    start and noise as linear.train takes them, the same for every scale.
    """
    start = start[:, None].repeat(1, len(scales), 1)
    return linear.train(
        _beside(moments), start, additive_noise(scales), noise[:, :, None], learning_rate
    )


def _beside(moments: Moments) -> Moments:
    """The same moments with room for the axis of scales."""
    return Moments(moments.a[:, :, None], moments.b[:, None], moments.c)


def variance(part: Moments) -> Tensor:
    """Variance of the target over a part's samples: (replicates,)."""
    return part.c - part.b[-1] ** 2


def unexplained(part: Moments, parameters: Tensor, grids: list[Grid]) -> Tensor:
    """Loss after rounding in units of the target's variance, mean over grids: (scales, replicates).

    1 is what predicting the mean of the part would leave.
    """
    exact = parameters.double()
    total = sum(_beside(part).loss(rounded(exact, grid)) for grid in grids)
    return total / len(grids) / variance(part)


class Sweep(NamedTuple):
    """Losses at every scaling: arrays (scalings, replicates); the target's variance: (replicates,)."""

    scalings: np.ndarray
    losses: Losses
    variance: np.ndarray

    def at(self, scaling: float) -> Losses:
        """The losses at one of the scalings."""
        (i,) = np.flatnonzero(self.scalings == scaling)
        return Losses(*(loss[i] for loss in self.losses))

    def quantity(self, name: str) -> np.ndarray:
        """One of SHOWN, (scalings, replicates): a loss, or 1 - loss / variance of the target."""
        if name.startswith("explained_"):
            return 1 - getattr(self.losses, name.removeprefix("explained_")) / self.variance
        return getattr(self.losses, name)


SHOWN = (*QUANTITIES, "explained_full_precision", "explained_quantized")


@checked
@linear.one_thread()
def sweep(
    *,
    replicates: int,
    seed: int = 0,
    points: int = 43,
    target: str = "sum",
    target_noise: float = 0.1,
    evaluation_noise: float | str = "reported",
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> Sweep:
    """The published experiment at every scaling of `scalings(points)`, data and draws shared.

    At 80000 the losses are those of T0-QAT in the first run of experiments.published, bit for bit.
    Raises ParameterError before computing.
    """
    if evaluation_noise == "reported":
        evaluation_noise = reported_evaluation_noise()
    tried = scalings(points)
    scales = torch.tensor(XI * tried, dtype=torch.float32)[:, None]
    parts = []
    for chunk in linear.chunks(replicates, epochs * (FEATURES + 1), WIDTH // len(tried)):
        train, test = linear.moments(TASKS["synthetic"](i, seed, target, target_noise) for i in chunk)
        noise = linear.noise_draws("training_noise", chunk, (epochs, FEATURES + 1), seed)
        shift = linear.noise_draws("evaluation_noise", chunk, (FEATURES + 1,), seed)
        trained = train_at(train, linear.initial(FEATURES, chunk, seed), noise, scales, learning_rate)
        shaken = trained + evaluation_noise * shift[:, None]
        losses = (_beside(test).loss(v).numpy() for v in (trained, shaken))
        parts.append((*losses, variance(test).numpy()))
    full, quantized, spread = (np.concatenate(part, -1) for part in zip(*parts, strict=True))
    return Sweep(tried, Losses(full, quantized), spread)


def sweep_losses(run: Sweep) -> pd.DataFrame:
    """Means over replicates: columns xi_scaling, quantity (of SHOWN), mean, ci_low, ci_high, n."""
    return pd.DataFrame(
        {"xi_scaling": scaling, "quantity": name} | statistics.mean_interval(values)
        for name in SHOWN
        for scaling, values in zip(run.scalings, run.quantity(name), strict=True)
    )


def best(run: Sweep, seed: int = 0) -> pd.DataFrame:
    """The scaling of least mean loss: columns quantity, estimate, ci_low, ci_high, n.

    Interval: percentiles of the best scaling in bootstrap samples of the replicates, which keep all
    losses of a replicate together (Efron & Tibshirani 1993, chapter 13). Ties go to the smaller.
    """
    n = len(run.variance)
    counts = stream("bootstrap", 0, seed).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    rows = []
    for name in TESTED:
        values = run.quantity(name)
        resampled = run.scalings[np.argmin(counts @ values.T, axis=1)]
        low, high = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf")
        found = run.scalings[np.argmin(values.mean(1))]
        rows.append({"quantity": name, "estimate": found, "ci_low": low, "ci_high": high, "n": n})
    return pd.DataFrame(rows)


def excess(run: Sweep) -> pd.DataFrame:
    """Each scaling's loss minus that at the best one, paired.

    Columns xi_scaling, quantity, estimate, ci_low, ci_high, n, p_holm, detectable. The best is chosen
    on the same replicates, which favours it: p_holm errs towards calling another scaling worse.
    """
    rows = []
    for name in TESTED:
        values = run.quantity(name)
        least = values[np.argmin(values.mean(1))]
        for scaling, loss in zip(run.scalings, values, strict=True):
            rows.append({"xi_scaling": scaling, "quantity": name} | _difference(loss, least))
    return _corrected(rows)


def neighbours(run: Sweep) -> pd.DataFrame:
    """The loss at a named scaling minus that at half and twice of it, paired.

    Columns scaling (in SCALINGS), factor, quantity, estimate, ci_low, ci_high, n, p_holm, detectable.
    """
    return _corrected(
        {"scaling": name, "factor": factor, "quantity": quantity}
        | _difference(getattr(run.at(scaling), quantity), getattr(run.at(factor * scaling), quantity))
        for name, scaling in SCALINGS.items()
        for factor in FACTORS
        for quantity in QUANTITIES
    )


def _difference(first, second) -> dict[str, float]:
    detectable = {"detectable": statistics.detectable_effect(first, second)}
    return statistics.paired_difference(first, second) | detectable


def _corrected(rows) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table["p_holm"] = statistics.holm(table.pop("p"))
    return table


class Arm(NamedTuple):
    """One way to set the noise: its standard deviation, and what it leaves: arrays (replicates,)."""

    noise: np.ndarray
    unexplained: np.ndarray


def validation_split(data: Data, replicate: int, seed: int = 0) -> Data:
    """The training part as (the rest, a random quarter to validate on); the test part stays out."""
    order = stream("validation_split", replicate, seed).permutation(len(data.target))
    held_out = round(HELD_OUT * len(order))
    held, rest = order[:held_out], order[held_out:]
    return Data(data.inputs[rest], data.target[rest], data.inputs[held], data.target[held])


@checked
@linear.one_thread()
def tuning(
    *,
    replicates: int,
    seed: int = 0,
    tuning_points: int = 20,
    bits: str = "8, 4, 3, 2",
    target: str = "sum",
    target_noise: float = 0.1,
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> dict[str, dict[str, Arm]]:
    """What xi leaves unexplained after rounding, beside no noise, tuned noise and the grid's own step.

    By data set and arm. plain: no noise; xi_alone: scaling 1; published: 80000. tuned: each replicate
    by itself trains every scaling of `scalings(tuning_points)` on three quarters of its training part,
    takes the one that leaves least on the held-out quarter (ties: the smaller), and trains with it on
    the whole. matched: Gaussian noise that ignores xi, of standard deviation step / sqrt(12), that of
    a uniform rounding error, with the step of the INT4 full absmax grid of the plainly trained weights.
    Rounding and test part as in experiments.integer_grids. Raises ParameterError before computing.
    """
    tried, grids = scalings(tuning_points), all_grids(bits)
    scales = torch.tensor(XI * tried, dtype=torch.float32)[:, None]
    settings = {"synthetic": {"target": target, "target_noise": target_noise}}
    arms = {}
    for dataset, task in TASKS.items():
        parts = []
        for chunk in linear.chunks(replicates, epochs * (FEATURES + 1), WIDTH // len(tried)):
            data = [task(i, seed, **settings.get(dataset, {})) for i in chunk]
            start = linear.initial(FEATURES, chunk, seed)
            noise = linear.noise_draws("training_noise", chunk, (epochs, FEATURES + 1), seed)
            rest, held_out = linear.moments(map(validation_split, data, chunk, itertools.repeat(seed)))
            score = unexplained(held_out, train_at(rest, start, noise, scales, learning_rate), grids)
            train, test = linear.moments(data)
            plain = train_at(train, start, noise, torch.zeros(1, 1), learning_rate)
            step = absmax_scale(plain[:-1, 0].T.contiguous(), Grid(4))[:, 0]
            own = {
                "published": torch.full_like(step, XI * XI_SCALING),
                "xi_alone": torch.full_like(step, XI),
                "tuned": scales[score.argmin(0), 0],
                "matched": step / 12**0.5,
                "plain": torch.zeros_like(step),
            }
            used = torch.stack([own[arm] for arm in ARMS])
            trained = train_at(train, start, noise, used, learning_rate)
            parts.append((used, unexplained(test, trained, grids)))
        used, left = (torch.cat(part, -1).double().numpy() for part in zip(*parts, strict=True))
        arms[dataset] = {arm: Arm(used[i], left[i]) for i, arm in enumerate(ARMS)}
    return arms


def arm_means(arms: dict[str, dict[str, Arm]]) -> pd.DataFrame:
    """Each arm's noise and what it leaves unexplained, over replicates.

    Columns dataset, arm, quantity, mean, ci_low, ci_high, std, q025, median, q975, n. quantity is
    "unexplained", a share of the target's variance, or "log_scaling", the decimal logarithm of
    1 + noise / xi: tuned scalings span decades, and the few largest would make up their mean.
    """
    return pd.DataFrame(
        {"dataset": dataset, "arm": arm, "quantity": quantity}
        | statistics.mean_interval(values)
        | statistics.spread(values)
        for dataset, each in arms.items()
        for arm, found in each.items()
        for quantity, values in (
            ("log_scaling", np.log10(1 + found.noise / XI)),
            ("unexplained", found.unexplained),
        )
    )


def arm_differences(arms: dict[str, dict[str, Arm]]) -> pd.DataFrame:
    """What one arm leaves unexplained minus what another does, paired, all pairs of ARMS.

    Columns dataset, quantity, arm, other_arm, estimate, ci_low, ci_high, n, p_holm, detectable.
    """
    return _corrected(
        {"dataset": dataset, "quantity": "unexplained", "arm": arm, "other_arm": other}
        | _difference(each[arm].unexplained, each[other].unexplained)
        for dataset, each in arms.items()
        for arm, other in itertools.combinations(ARMS, 2)
    )


@checked
@linear.one_thread()
def constants(
    *,
    replicates: int,
    seed: int = 0,
    bits: str = "8, 4, 3, 2",
    target: str = "sum",
    target_noise: float = 0.1,
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every constant of CONSTANTS in xi's place, at scaling 1 and at the published product.

    First table: columns dataset, constant, quantity, estimate, ci_low, ci_high, n, p_holm, detectable;
    quantity is "unexplained_added", what training at scaling 1 leaves unexplained after rounding (as in
    `tuning`) minus what training without noise leaves, or "unexplained_added_published", the same with
    the scaling that makes the product the published one. Second table: columns dataset, constant,
    magnitude, multiplier (that scaling), largest_difference (largest absolute difference of a trained
    parameter from the same replicate trained with xi and 80000), n. Raises ParameterError first.
    """
    grids = all_grids(bits)
    magnitudes = np.array(list(CONSTANTS.values()))
    multipliers = XI * XI_SCALING / magnitudes
    products = [XI * XI_SCALING, *(magnitudes * multipliers)]
    scales = torch.tensor([0.0, *magnitudes, *products], dtype=torch.float32)[:, None]
    settings = {"synthetic": {"target": target, "target_noise": target_noise}}
    added, same = [], []
    for dataset, task in TASKS.items():
        parts, largest = [], 0.0
        for chunk in linear.chunks(replicates, epochs * (FEATURES + 1), WIDTH // len(scales)):
            data = (task(i, seed, **settings.get(dataset, {})) for i in chunk)
            train, test = linear.moments(data)
            start = linear.initial(FEATURES, chunk, seed)
            noise = linear.noise_draws("training_noise", chunk, (epochs, FEATURES + 1), seed)
            trained = train_at(train, start, noise, scales, learning_rate)
            parts.append(unexplained(test, trained, grids).numpy())
            published, *others = trained[:, len(CONSTANTS) + 1 :].unbind(1)
            difference = [(other - published).abs().max().item() for other in others]
            largest = np.maximum(largest, difference)
        left = np.concatenate(parts, -1)
        plain, alone, product = left[0], left[1 : len(CONSTANTS) + 1], left[len(CONSTANTS) + 2 :]
        for i, constant in enumerate(CONSTANTS):
            keys = {"dataset": dataset, "constant": constant}
            for quantity, arm in (
                ("unexplained_added", alone[i]),
                ("unexplained_added_published", product[i]),
            ):
                added.append(keys | {"quantity": quantity} | _difference(arm, plain))
            numbers = {"magnitude": magnitudes[i], "multiplier": multipliers[i]}
            same.append(keys | numbers | {"largest_difference": largest[i], "n": replicates})
    return _corrected(added), pd.DataFrame(same)


class Setting(NamedTuple):
    """What the paper leaves open, set."""

    target: str
    target_noise: float
    baseline_noise: float
    evaluation_noise: float


@checked
@linear.one_thread()
def calibrate(
    *,
    calibration_replicates: int,
    seed: int = 0,
    target_noises: str = "0, 0.1, 0.4, 0.7",
    baseline_noises: str = "0, 0.2, 0.4, 0.8, 1.2, 2",
    evaluation_noises: str = "0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5",
    epochs: int = 300,
    learning_rate: float = 0.005,
) -> dict[Setting, tuple[dict[str, Losses], dict[str, Losses]]]:
    """The published experiment in every setting of the grid, on both targets.

    Each setting's two runs are those of experiments.published, with the methods that the paper
    reports; trainings are shared by the evaluation noises. Raises ParameterError before computing.
    """
    noises, baselines, shifts = map(number_list, (target_noises, baseline_noises, evaluation_noises))
    scales = torch.tensor([*baselines, XI * XI_SCALING], dtype=torch.float32)[:, None]
    size = WIDTH // len(scales)
    settings = {}
    for target, target_noise in itertools.product(("sum", "normal"), noises):
        parts = []
        for chunk in linear.chunks(calibration_replicates, epochs * (FEATURES + 1), size):
            data = (TASKS["synthetic"](i, seed, target, target_noise) for i in chunk)
            train, test = linear.moments(data)
            start = linear.initial(FEATURES, chunk, seed)
            for prefix in ("", "second_"):
                noise = linear.noise_draws(
                    f"{prefix}training_noise", chunk, (epochs, FEATURES + 1), seed
                )
                draws = linear.noise_draws(f"{prefix}evaluation_noise", chunk, (FEATURES + 1,), seed)
                trained = train_at(train, start, noise, scales, learning_rate)
                shaken = [trained + shift * draws[:, None] for shift in shifts]
                parts.append(torch.stack([_beside(test).loss(v) for v in (trained, *shaken)]).numpy())
        runs = [np.concatenate(parts[i::2], -1) for i in range(2)]  # (losses, scales, replicates)
        for (i, baseline), (j, shift) in itertools.product(enumerate(baselines), enumerate(shifts, 1)):
            setting = Setting(target, target_noise, baseline, shift)
            methods = {"standard_qat": i, "t0_qat": len(baselines)}
            settings[setting] = tuple(
                {name: Losses(run[0, k], run[j, k]) for name, k in methods.items()} for run in runs
            )
    return settings


def compatibility(runs: dict[Setting, tuple[dict[str, Losses], ...]], tolerance: float) -> pd.DataFrame:
    """How each setting agrees with the paper's four independent numbers, and what it says.

    The numbers are loss in full precision and drop of both methods, as two separate runs. Columns
    target, target_noise, baseline_noise, evaluation_noise, quantity, estimate, ci_low, ci_high, n.

    quantity is one of: acceptance_half, acceptance and acceptance_double, how often all four lie within
    that share of their reported value (half, once and twice the tolerance): the acceptance rate of
    approximate Bayesian computation (Pritchard et al. 1999), with Wilson's interval. p_value: twice
    the smaller tail of each number, (b + 1) / (n + 1) with b the count of runs as far out (Davison &
    Hinkley 1997, section 4.2), the least of the four times four (Bonferroni); its interval is Wilson's
    for that tail, times eight. A setting is ruled out where this p-value is below RULED_OUT, which
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


def setting_verdicts(table: pd.DataFrame, error_rate: float = 0.05) -> pd.DataFrame:
    """What each setting would say of the claims that rest on the published experiment.

    The tests and the rule are those of claims.decide, with Holm's correction over settings and claims.
    Columns target, target_noise, baseline_noise, evaluation_noise, id, verdict, p_holm.
    """
    parts = []
    for claim in claims.CLAIMS:
        for test in claim.tests:
            if test.file != "table1_paired":
                continue
            part = table[table.quantity == test.keys["quantity"]].assign(id=claim.id)
            error = (part.ci_high - part.ci_low) / (2 * claims.Z)
            away = (part.estimate - test.value).abs()
            # No width and no distance, as without evaluation noise: nothing speaks against no effect.
            ratio = np.divide(away, error, out=np.zeros(len(part)), where=(away > 0).to_numpy())
            side = (part.estimate < test.value) == (test.needs == "below")
            verdict = np.where(side, claims.SUPPORTED, claims.CONTRADICTED)
            parts.append(part.assign(p=2 * stats.norm.sf(ratio), verdict=verdict))
    found = pd.concat(parts, ignore_index=True)
    found["p_holm"] = statistics.holm(found.p)
    found["verdict"] = found.verdict.where(found.p_holm < error_rate, claims.UNCLEAR)
    return found[[*Setting._fields, "id", "verdict", "p_holm"]]
