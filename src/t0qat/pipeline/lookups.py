"""Single numbers that a text looks up in the results files.

A place is written as `file/column=value, column=value/column`: a results file, which of its rows, and
which number of that row. The kinds, as in \\Number{table1_paired/quantity=drop_difference/ci_low}:

Number: with the digits that its interval allows, or three; without a last column the mean or estimate.
Percent: of a share, likewise.
Count: with thousands; without a last column, how many rows are so, of which there is one at least.
Interval: the mean or estimate and its interval; takes no last column.
PercentInterval: of a share, likewise.
Direction: larger than, smaller than or not detectably different from; likewise.
"""

import math
import re
from collections.abc import Callable, Container

import pandas as pd
from pandas.api.types import is_numeric_dtype

from t0qat.pipeline import words
from t0qat.pipeline.results import ResultsError
from t0qat.pipeline.words import Row

Read = Callable[[str], pd.DataFrame]  # a results file by its name


def _interval(columns: Container[str]) -> list[str]:
    """Those of the three numbers that words.numbers takes."""
    return ["estimate" if "estimate" in columns else "mean", "ci_low", "ci_high"]


def _number(row: Row, column: str) -> str:
    if column in _interval(row):
        return words.estimate(*words.numbers(row))[_interval(row).index(column)]
    return words.number(row[column])


OF_A_COLUMN = {
    "Number": _number,
    "Percent": lambda row, column: words.percent(row[column]),
    "Count": lambda row, column: words.thousands(row[column]),
}
OF_A_ROW = {
    "Interval": words.with_interval,
    "PercentInterval": words.percent_interval,
    "Direction": words.direction,
}
KINDS = (*OF_A_COLUMN, *OF_A_ROW)
ANSWER = "Answer"  # a kind that Paper.answer looks up, as \\Answer{vision/1}


def look_up(kind: str, place: str, read: Read) -> str:
    """The text; raises ResultsError where no file, no column, no single row or no number is meant."""
    file, *parts = (part.strip() for part in place.split("/"))
    columns = [part for part in parts if "=" not in part]
    keys = [key.partition("=") for part in parts if "=" in part for key in part.split(",")]
    keys = {name.strip(): value.strip() for name, _, value in keys}
    rows = table = read(file)
    if kind in ("Number", "Percent") and not columns:
        columns = _interval(table)[:1]
    needed = columns if kind in OF_A_COLUMN else [*columns, *_interval(table)]
    for name in (*keys, *needed):
        if name not in table:
            raise ResultsError(f"{place}: {file} has no column {name!r}; it has {', '.join(table)}")
    for name, value in keys.items():
        as_text = "{:g}".format if is_numeric_dtype(table[name]) else str
        rows = rows[rows[name].map(as_text) == value]
    if kind == "Count" and not columns and len(rows):
        return words.thousands(len(rows))
    if len(rows) != 1:
        there = (f"{name}: {', '.join(map(str, table[name].unique()))}" for name in keys or table)
        raise ResultsError(f"{place}: {len(rows)} rows match; {file} has {'; '.join(there):.300}")
    if len(columns) > (kind in OF_A_COLUMN):
        raise ResultsError(f"{place}: {kind} takes {'one' if kind in OF_A_COLUMN else 'no'} column")
    (row,) = rows.to_dict("records")
    for name in needed:
        if not (isinstance(row[name], int | float) and math.isfinite(row[name])):
            raise ResultsError(f"{place}: {name} = {row[name]!r} is no number")
    return OF_A_COLUMN[kind](row, *columns) if columns else OF_A_ROW[kind](row)


def used(text: str) -> set[tuple[str, str]]:
    """The lookups of a LaTeX source, answers with them: kinds and places."""
    found = re.findall(rf"\\({'|'.join((*KINDS, ANSWER))})\{{([^}}]*)\}}", text)
    return {(kind, re.sub(r"\s+", " ", place)) for kind, place in found}
