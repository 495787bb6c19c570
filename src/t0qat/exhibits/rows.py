"""Rows of results files, by their keys."""

import numpy as np
import pandas as pd

from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import Row

Results = dict[str, pd.DataFrame]


def rows_of(table: pd.DataFrame, **keys) -> list[Row]:
    """The rows with these keys, in order."""
    mine = np.ones(len(table), bool)
    for column, value in keys.items():
        mine &= (table[column] == value).to_numpy()
    return table[mine].to_dict("records")


def one(table: pd.DataFrame, **keys) -> Row:
    """The one row with these keys."""
    (row,) = rows_of(table, **keys)
    return row


def tally(rows: pd.DataFrame) -> dict[str, int]:
    """How many differences are smaller, larger and not decided, by the corrected p-values."""
    clear = rows.p_holm < ERROR_RATE
    smaller, larger = clear & (rows.estimate < 0), clear & (rows.estimate > 0)
    return {"Smaller": smaller.sum(), "Larger": larger.sum(), "Unclear": (~clear).sum()}
