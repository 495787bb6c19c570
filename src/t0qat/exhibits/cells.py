"""Numbers as cells of tables and as macros."""

import math
from collections.abc import Iterable

from t0qat.exhibits.rows import Row, numbers, times
from t0qat.pipeline.latex import thin

NOTHING = "--"


def estimate(mean: float, low: float, high: float, most: int = 99) -> tuple[str, str, str]:
    """Three numbers with as many decimals as show the interval's half-width to two digits.

    most: decimals at most.
    """
    half = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 3
    decimals = min(decimals, most)
    shown = (f"{value:.{decimals}f}" for value in (mean, low, high))
    return tuple(text.removeprefix("-") if float(text) == 0 else text for text in shown)


def with_interval(row: Row, most: int = 99) -> str:
    """A table cell: the mean or estimate and its interval, as in `2.18 [2.16, 2.20]`.

    most: decimals at most.
    """
    mean, low, high = estimate(*numbers(row), most)
    return f"{mean} [{low}, {high}]"


def in_plain_text(row: Row, most: int = 99) -> str:
    """The same with exponents, as Python prints them, where all of it is small."""
    if 0 < max(map(abs, numbers(row))) < 1e-3:
        mean, low, high = (f"{value:.2g}" for value in numbers(row))
        return f"{mean} [{low}, {high}]"
    return with_interval(row, most)


def _power(largest: float) -> int:
    """The power of ten of a number below 0.001, of others 0."""
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    return power if power < -3 else 0


def with_power(row: Row) -> str:
    """What `with_interval` shows, times a power of ten where it is small."""
    power = _power(max(map(abs, numbers(row))))
    cell = with_interval(times(row, 10.0**-power))
    return rf"{cell} $\cdot 10^{{{power}}}$" if power else cell


def plus_minus(row: Row) -> str:
    """A narrower table cell: mean and half-width of the interval, as in `$2.18 \\pm 0.02$`."""
    mean, *_ = estimate(*numbers(row))
    decimals = len(mean.partition(".")[2])
    return rf"${mean} \pm {(row['ci_high'] - row['ci_low']) / 2:.{decimals}f}$"


def plus_minus_power(row: Row) -> str:
    """The same, times a power of ten where both are small."""
    centre, low, high = numbers(row)
    power = _power(max(abs(centre), (high - low) / 2))
    cell = plus_minus(times(row, 10.0**-power))
    return rf"$({{{cell.strip('$')}}}) \cdot 10^{{{power}}}$" if power else cell


def percent(value: float, decimals: int | None = None) -> str:
    """A probability as a percentage; more decimals near 0 and 1, never rounded to either.

    decimals: how many to show at least; by default 1, and 2 below 1 and above 99 percent.
    """
    if decimals is None:
        decimals = 1 if 0.01 <= value <= 0.99 else 2
    shown = f"{100 * value:.{decimals}f}"
    while 0 < value < 1 and float(shown) in (0, 100) and decimals < 12:
        decimals += 1
        shown = f"{100 * value:.{decimals}f}"
    return shown


def thousands(n: float) -> str:
    """A count with commas."""
    return f"{n:,.0f}"


def count(n: float) -> str:
    """The same for LaTeX."""
    return thin(thousands(n))


def span(counts: Iterable[float]) -> str:
    """A count with commas, or the least and the most of several."""
    least, most = thousands(min(counts)), thousands(max(counts))
    return most if least == most else f"{least} to {most}"


def three(name: str, shown: Iterable[str]) -> dict[str, str]:
    """Macros of what three numbers are shown as: a value and the ends of its interval."""
    return dict(zip((name, f"{name}Low", f"{name}High"), shown, strict=True))
