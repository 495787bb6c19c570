"""Which arms of a benchmark chose an end of what they could choose from, and where that matters."""

import pandas as pd

from t0qat.exhibits.labels import listed, name, the_models, width
from t0qat.exhibits.rows import rows_of
from t0qat.experiments.arms import KEYS, NO_WIDTH
from t0qat.pipeline.words import Row, percent

FEW = 6  # arms that a sentence names, at most


def for_width(train_bits: int) -> str:
    return f" trained for {width(train_bits)}" * (train_bits != NO_WIDTH)


def at_an_edge(tried: pd.DataFrame, setting: str) -> str:
    """How many arms chose the least or the greatest of the values of a setting, and which if few.

    tried: as of tuning.tune. Counted are arms that had more than one value to choose from.
    """
    chosen = choices(tried, setting)
    chosen = chosen[chosen.least < chosen.most]
    if chosen.empty:
        return "no arm, since none had a choice"
    return _which(chosen[chosen.end != ""], len(chosen))


def at_an_open_edge(tried: pd.DataFrame, setting: str, margin: float) -> str:
    """The same, of arms that chose an end although every value inside costs more than the margin.

    Counted are arms with a value inside: three or more.
    """
    chosen = choices(tried, setting).dropna(subset="inside")
    if chosen.empty:
        return "no arm, since none had a value inside"
    return _which(chosen[(chosen.end != "") & (chosen.inside - chosen["mean"] > margin)], len(chosen))


def chosen_end(row: Row) -> str:
    """Where a choice lies among the values that it was made from. row: of `choices`."""
    if row["least"] == row["most"]:
        return "the only one"
    return f"the {row['end']}" if row["end"] else "one inside"


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


def _which(found: pd.DataFrame, every: int) -> str:
    """How many of so many arms these choices are, and at which end each lies if they are few."""
    if found.empty:
        return f"none of {every} arms"
    share = f"{len(found)} of {every} arms, {percent(len(found) / every, 1)} %"
    which = [
        f"{name(row['method'])}{for_width(row['train_bits'])} on {the_models([row['model']])}"
        f" ({row['end']})"
        for row in rows_of(found)
    ]
    return f"{share}: {listed(which)}" if len(which) <= FEW else share
