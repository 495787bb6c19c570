"""How many arms of a benchmark chose an end of what they could choose from, and where that matters."""

import pandas as pd

from t0qat.experiments.arms import KEYS
from t0qat.pipeline.words import NOTHING, Row


def at_an_edge(tried: pd.DataFrame, setting: str) -> str:
    """How many arms chose the least or the greatest of the values of a setting: `3 of 12`.

    tried: as of tuning.tune. Counted are arms that had more than one value to choose from.
    """
    chosen = choices(tried, setting)
    chosen = chosen[chosen.least < chosen.most]
    return _of(chosen.end != "")


def at_an_open_edge(tried: pd.DataFrame, setting: str, margin: float) -> str:
    """The same, of arms that chose an end although every value inside costs more than the margin.

    Counted are arms with a value inside: three or more.
    """
    chosen = choices(tried, setting).dropna(subset="inside")
    return _of((chosen.end != "") & (chosen.inside - chosen["mean"] > margin))


def chosen_end(row: Row) -> str:
    """Where a choice lies among the values that it was made from. row: of `choices`."""
    if row["least"] == row["most"]:
        return "the only one"
    return row["end"] or "inside"


def choices(tried: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The candidate that each arm chose, beside the values of a setting that it chose from.

    least, most: these values' ends; end: at which of them the choice lies, "lowest", "highest" or "";
    inside: the least mean at a value between them, whatever else is set; nan where there is none. Where
    short trainings made the first cut, they alone are there for all: inside and mean are of these.
    """
    values = tried.groupby(KEYS)[setting]
    tried = tried.assign(mean=tried["short"].fillna(tried["mean"]))
    tried = tried.assign(least=values.transform("min"), most=values.transform("max"), end="")
    between = (tried.least < tried[setting]) & (tried[setting] < tried.most)
    tried["inside"] = tried["mean"].where(between)
    tried["inside"] = tried.groupby(KEYS).inside.transform("min")
    tried.loc[tried[setting] == tried.most, "end"] = "highest"
    tried.loc[tried[setting] == tried.least, "end"] = "lowest"
    return tried[tried.chosen == 1]


def _of(found: pd.Series) -> str:
    return f"{found.sum()} of {len(found)}" if len(found) else NOTHING
