"""Rows of results files: by their keys, and their numbers."""

import pandas as pd

from t0qat.pipeline.statistics import ERROR_RATE

Results = dict[str, pd.DataFrame]
Row = dict  # of a results file, by column


def rows_of(table: pd.DataFrame, **keys) -> list[Row]:
    """The rows with these keys, in order."""
    for column, value in keys.items():
        table = table[table[column] == value]
    return table.to_dict("records")


def one(table: pd.DataFrame, **keys) -> Row:
    """The one row with these keys."""
    (row,) = rows_of(table, **keys)
    return row


def numbers(row: Row) -> tuple[float, float, float]:
    """Its mean or estimate, and the ends of its interval."""
    return row["estimate" if "estimate" in row else "mean"], row["ci_low"], row["ci_high"]


def times(row: Row, factor: float) -> Row:
    """These numbers so many times as large, the first as `mean`."""
    return dict(zip(("mean", "ci_low", "ci_high"), (factor * n for n in numbers(row)), strict=True))


def tally(rows: pd.DataFrame) -> dict[str, str]:
    """How many differences are smaller, larger and not decided, by the corrected p-values."""
    clear = rows.p_holm < ERROR_RATE
    counts = {"Smaller": clear & (rows.estimate < 0), "Larger": clear & (rows.estimate > 0)}
    return {name: str(which.sum()) for name, which in (counts | {"Unclear": ~clear}).items()}
