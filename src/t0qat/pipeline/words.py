"""Numbers and directions as plain text, such as `1,000`, `−9.3 · 10⁻⁵` and `2.18 [2.16, 2.20]`."""

import math
from collections.abc import Iterable

from t0qat.pipeline.statistics import ERROR_RATE

Row = dict  # of a results file, by column
NOTHING = "–"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def numbers(row: Row) -> tuple[float, float, float]:
    """Its mean or estimate, and the ends of its interval."""
    return row["estimate" if "estimate" in row else "mean"], row["ci_low"], row["ci_high"]


def times(row: Row, factor: float) -> Row:
    """These numbers so many times as large, the first as `mean`."""
    mean, *ends = (factor * n for n in numbers(row))
    return {"mean": mean, "ci_low": min(ends), "ci_high": max(ends)}


def fixed(value: float, decimals: int) -> str:
    """With so many decimals; nothing is minus zero."""
    shown = f"{value:.{decimals}f}"
    return (shown if float(shown) else shown.lstrip("-")).replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """So many digits, and a power of ten where Python prints an exponent."""
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return mantissa.replace("-", "−") + _ten(int(exponent or 0))


def thousands(n: float) -> str:
    """A count with commas."""
    return f"{n:,.0f}"


def span(values: Iterable[float], show=thousands) -> str:
    """The least and the greatest; a single one where all are the same, a dash where there is none."""
    values = [*values]
    if not values:
        return NOTHING
    least, most = show(min(values)), show(max(values))
    return most if least == most else f"{least} to {most}"


def percent(value: float, decimals: int | None = None) -> str:
    """A share as a percentage; more decimals near 0 and 1, never rounded to either.

    decimals: how many to show at least; by default 1, and 2 below 1 and above 99 percent.
    """
    if decimals is None:
        decimals = 1 if 0.01 <= value <= 0.99 else 2
    shown = fixed(100 * value, decimals)
    while 0 < value < 1 and float(shown) in (0, 100) and decimals < 12:
        decimals += 1
        shown = fixed(100 * value, decimals)
    return shown


def percent_interval(row: Row) -> str:
    """As `21.1 % (19.0 to 23.2 %)`."""
    return "{} % ({} to {} %)".format(*map(percent, numbers(row)))


def estimate(mean: float, low: float, high: float, most: int = 99) -> tuple[str, str, str]:
    """Three numbers with as many decimals as show the interval's half-width to two digits.

    most: decimals at most.
    """
    half = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 3
    return tuple(fixed(value, min(decimals, most)) for value in (mean, low, high))


def with_interval(row: Row, most: int = 99) -> str:
    """The mean or estimate and its interval, times a power of ten where all of it is small.

    most: decimals at most.
    """
    power = _power(max(map(abs, numbers(row))))
    mean, low, high = estimate(*numbers(times(row, 10.0**-power)), most)
    return f"{mean} [{low}, {high}]{_ten(power)}"


def plus_minus(row: Row, most: int = 99) -> str:
    """The same, narrower: mean and half-width of the interval, as `2.18 ± 0.02`."""
    centre, low, high = numbers(row)
    power = _power(max(abs(centre), (high - low) / 2))
    centre, low, high = numbers(times(row, 10.0**-power))
    mean, *_ = estimate(centre, low, high, most)
    shown = f"{mean} ± {fixed((high - low) / 2, len(mean.partition('.')[2]))}"
    return f"({shown}){_ten(power)}" if power else shown


def direction(row: Row) -> str:
    """What a difference is: by its corrected p-value where it has one, else by its interval."""
    centre, low, high = numbers(row)
    corrected = row.get("p_holm", row.get("p_bh"))
    if corrected is not None:
        low = high = centre if corrected < ERROR_RATE else 0
    return "larger than" if low > 0 else "smaller than" if high < 0 else "not detectably different from"


def _power(largest: float) -> int:
    """The power of ten of a number below 0.001, of others 0."""
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    return power if power < -3 else 0


def _ten(power: int) -> str:
    return f" · 10{str(power).translate(SUPERSCRIPTS)}" if power else ""
