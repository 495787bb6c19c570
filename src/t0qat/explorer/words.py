"""A sentence under each picture, made from what the picture shows."""

import math
from html import escape

import numpy as np

from t0qat.experiments.on_circuits import CHANNEL, PLAIN, PUBLISHED
from t0qat.explorer import measure
from t0qat.explorer.measure import Circuits, Linear, Networks
from t0qat.pipeline import statistics
from t0qat.pipeline.words import direction, fixed, number, percent, thousands, with_interval
from t0qat.training.constants import REPORTED
from t0qat.training.methods import REGISTRY

MINE, OTHER = "t0_qat", "standard_qat"
T0, STANDARD = (escape(REGISTRY[name].label) for name in (MINE, OTHER))


def _difference(first, second) -> tuple[str, str]:
    """Words for the direction of first - second, and the numbers behind them."""
    row = statistics.mean_interval(np.subtract(first, second))
    low, high = row["ci_low"], row["ci_high"]
    words, numbers = direction(row), with_interval(row)
    if low <= 0 <= high and high > low:
        numbers += f"; these runs would see {number(statistics.detectable_effect(first, second), 2)}"
    return words, numbers


def drops(found: Linear) -> str:
    mine, other = (found.losses[name].drop for name in (MINE, OTHER))
    if found.setting.disturbance == 0:
        return "Without evaluation noise nothing is disturbed, and no loss drops."
    words, numbers = _difference(mine, other)
    text = (
        f"{T0}'s expected drop is {words} {STANDARD}'s: difference {numbers}"
        f" ({thousands(len(mine))} paired runs)."
    )
    if found.setting.dataset == "synthetic":
        ends = {name: np.quantile(found.losses[name].drop, [0.025, 0.975]) for name in REPORTED}
        inside = sum(low <= REPORTED[name]["drop"] <= high for name, (low, high) in ends.items())
        text += f" {inside} of {len(REPORTED)} reported drops lie in the middle 95 % of single runs."
    return text


def losses(found: Linear) -> str:
    mine, other = (found.losses[name] for name in (MINE, OTHER))
    words, numbers = _difference(mine.quantized, other.quantized)
    worse = statistics.chance(mine.quantized > other.quantized)["estimate"]
    return (
        f"After the disturbance {T0}'s expected loss is {words} {STANDARD}'s: difference {numbers};"
        f" it is the larger in {percent(worse)} % of {thousands(len(mine.drop))} pairs. Before it the"
        f" mean losses are {other.full_precision.mean():.3g} ({STANDARD}) and"
        f" {mine.full_precision.mean():.3g} ({T0})."
    )


def accuracy(found: Networks) -> str:
    setting = found.setting
    at = [grid.bits for grid in setting.grids()].index(setting.bits)
    mine, plain = (found.accuracy[name][:, at] for name in (MINE, "no_noise"))
    lost = found.accuracy["no_noise"][:, -1].mean() - plain.mean()
    text = (
        f"A network of one hidden layer reads digits. Rounded to INT{setting.bits}, {T0}"
        f" with noise {setting.noise:.3g} names {percent(mine.mean())} % of the test images rightly,"
        f" training without noise {percent(plain.mean())} %"
    )
    if found.number < 2:
        return f"{text} (one network each; more are being trained)."
    words, numbers = _difference(100 * mine, 100 * plain)
    moves = "costs" if lost > 0 else "gains"
    return (
        f"{text}: the accuracy is {words} without, difference {numbers} points ({found.number} paired"
        f" networks). Rounding as such {moves} plain training {abs(100 * lost):.1f} points."
    )


def weights(found: Linear) -> str:
    grid = found.setting.grid
    low, high = grid.codes
    each = "; ".join(
        f"{label}: step {mine.step:.3g}, {len(np.unique(mine.codes))} codes used,"
        f" loss {mine.before:.3g} before and {mine.after:.3g} after"
        for label, mine in ((STANDARD, found.rounded[OTHER]), (T0, found.rounded[MINE]))
    )
    return (
        f"One run's ten weights, rounded to INT{grid.bits}: {thousands(high - low + 1)} codes from"
        f" {fixed(low, 0)} to {high} ({grid.range} range, {grid.scale} scale). {each}."
    )


def device(found: Circuits) -> str:
    noise, (one, other) = found.setting.noise, measure.CIRCUIT["digits"]
    means = {way: each.mean(1) for way, each in found.accuracy.items()}  # over the strengths
    plain = percent(means[PLAIN].mean())
    text = f"A quantum circuit tells {one} from {other}. Mean over the strengths of the device,"
    if noise == 0:
        return f"{text} {plain} % of the test images are named rightly: all training is without noise."
    text += (
        f" {T0} with noise {noise:.3g} on its angles names {percent(means[PUBLISHED].mean())} % of the"
        f" test images rightly, training without noise {plain} %"
    )
    if found.number < 2:
        return f"{text} (one circuit each; more are being trained)."
    words, numbers = _difference(100 * means[PUBLISHED], 100 * means[PLAIN])
    return (
        f"{text}: the accuracy is {words} without, difference {numbers} points ({found.number} paired"
        f" circuits). The noise's exact channel, in which each rotation shrinks what it turns to"
        f" {number(math.exp(-(noise**2) / 2), 2)} of its size, gives {percent(means[CHANNEL].mean())} %."
    )
