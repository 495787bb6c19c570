"""Numbers and rows as words and cells."""

import math
from collections.abc import Callable, Iterable

import pandas as pd

from t0qat.experiments.arms import LINEAR, model_label
from t0qat.pipeline.latex import escape, thin
from t0qat.pipeline.statistics import ERROR_RATE

Results = dict[str, pd.DataFrame]
Row = dict  # of a results file, by column
NOTHING = "--"
QUANTITY_LABELS = {"full_precision": "Full precision", "quantized": "Quantized", "drop": "Drop"}
DATASET_LABELS = {"synthetic": "Synthetic", "diabetes": "Diabetes", "digits": "Digits"}
DATASET_LABELS |= {"pydoc_topics": "Text"}


def dataset_label(dataset: str) -> str:
    return DATASET_LABELS.get(dataset, dataset)


def data_label(row: Row) -> str:
    """What a row is about: its data set and, where that is a network, its model."""
    label = dataset_label(row["dataset"])
    network = row.get("model", LINEAR) != LINEAR
    return f"{label} ({model_label(row['model'])})" if network else label


def estimate(mean: float, low: float, high: float, most: int = 99) -> tuple[str, str, str]:
    """Three numbers with as many decimals as show the interval's half-width to two digits.

    most: decimals at most.
    """
    half = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 3
    decimals = min(decimals, most)
    shown = (f"{value:.{decimals}f}" for value in (mean, low, high))
    return tuple(text.removeprefix("-") if float(text) == 0 else text for text in shown)


def numbers(row: Row) -> tuple[float, float, float]:
    """Its mean or estimate, and the ends of its interval."""
    return row["estimate" if "estimate" in row else "mean"], row["ci_low"], row["ci_high"]


def times(row: Row, factor: float) -> Row:
    """These numbers so many times as large, the first as `mean`."""
    return dict(zip(("mean", "ci_low", "ci_high"), (factor * n for n in numbers(row)), strict=True))


def three(name: str, shown: Iterable[str]) -> dict[str, str]:
    """Macros of what three numbers are shown as: a value and the ends of its interval."""
    return dict(zip((name, f"{name}Low", f"{name}High"), shown, strict=True))


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


def direction(low: float, high: float) -> str:
    """What an interval of a difference says of its direction."""
    return "larger than" if low > 0 else "smaller than" if high < 0 else "not detectably different from"


def corrected_direction(row: Row) -> str:
    """The words of `direction`, by the corrected p-value."""
    decided = row["p_holm"] < ERROR_RATE
    return direction(*([row["estimate"]] * 2 if decided else [0.0, 0.0]))


def tally(rows: pd.DataFrame) -> dict[str, str]:
    """How many differences are smaller, larger and not decided, by the corrected p-values."""
    clear = rows.p_holm < ERROR_RATE
    counts = {"Smaller": clear & (rows.estimate < 0), "Larger": clear & (rows.estimate > 0)}
    return {name: str(which.sum()) for name, which in (counts | {"Unclear": ~clear}).items()}


def rows_of(table: pd.DataFrame, **keys) -> list[Row]:
    """The rows with these keys, in order."""
    for column, value in keys.items():
        table = table[table[column] == value]
    return table.to_dict("records")


def one(table: pd.DataFrame, **keys) -> Row:
    """The one row with these keys."""
    (row,) = rows_of(table, **keys)
    return row


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


def listed(parts: Iterable[str], comma: str = ", ", last: str = " and ") -> str:
    """`a, b and c`; `--` where there is nothing."""
    parts = list(parts)
    return comma.join(parts[:-1]) + last * bool(parts[:-1]) + parts[-1] if parts else NOTHING


def on_each(rows: list[Row], show: Callable[[Row], str]) -> str:
    """What rows of different data sets show, as `1 on the synthetic and 2 on the digits data`."""
    labels = [escape(label[:1].lower() + label[1:]) for label in map(data_label, rows)]
    said = [f"{show(row)} on the {label}" for row, label in zip(rows, labels, strict=True)]
    return f"{listed(said)} data"
