"""What to use at which bit-width: the table, its sentences, and how it did on other networks."""

from collections.abc import Callable

import pandas as pd

from t0qat.exhibits.benchmark import DECIMALS
from t0qat.exhibits.labels import at, listed, macros, name, on_models, together, width
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import model_label
from t0qat.experiments.recommendation import CHEAPER, LOSS, ONE_FOR_ALL, PLAIN, RECOMMENDED
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import NOTHING, Row, number, plus_minus, span, thousands

TASKS = {"images": "Image networks", "text": "Language models"}
PLAIN_ON = {"images": "plain training", "text": "plain fine-tuning"}
QUANTITIES = (LOSS, "minus_plain", "minus_unrounded")
# What a difference from plain training is, by its whole interval.
HOLDS, HOLDS_NOT, UNDECIDED, ITSELF = "holds", "does not hold", "is undecided", "is plain training"


def recommendation(results: Results) -> tuple[str, dict[str, str]]:
    """Every pick with what the test seeds say of it, by family, width and network."""
    table, groups = results["recommendation"], []
    for _, mine in table.groupby("family", sort=False):
        for some in (mine[mine.pick != ONE_FOR_ALL], mine[mine.pick == ONE_FOR_ALL]):
            by = some.groupby(["eval_bits", "pick", "model"], sort=False)
            groups.append([_line(rows_of(here)) for _, here in by])
    header = ["Task", "Weights", "Pick", "Method", "Gradients", "Network", "Loss"]
    header += ["minus plain, rounded", "minus plain, float"]
    recommended, one = (table[table.pick == pick] for pick in (RECOMMENDED, ONE_FOR_ALL))
    arms = results["recommendation_arms"]
    said = {
        "Use": _of_families(recommended, lambda mine: listed(_by_method(mine))),
        "Near": _of_families(arms, _near),
        "NearSpan": _of_families(arms, _near_span),
        "Cheaper": _of_families(table, _cheaper),
        "One": _of_families(one, lambda mine: called(rows_of(mine)[0])),
        "Plain": _against_plain(recommended, direction),
        "OnePlain": _against_plain(one, direction),
        "Lower": _where(recommended, "minus_plain", lambda rows: rows.ci_high < 0),
        "Kept": _where(recommended, "minus_unrounded", lambda rows: rows.ci_high < rows.margin),
    }
    return grouped(groups, header, "llllrlrrr", leads=5), macros("Recommendation", said)


def transfer(results: Results) -> tuple[str, dict[str, str]]:
    """What is recommended, and one training for all, where nothing was chosen: do they hold there?"""
    table, groups = results["recommendation_transfer"], []
    for _, mine in table.groupby("model", sort=False):
        for pick in (RECOMMENDED, ONE_FOR_ALL):
            by = mine[mine.pick == pick].groupby("eval_bits", sort=False)
            groups.append([_tried(rows_of(here)) for _, here in by])
    header = ["Network", "Pick", "Weights", "Method", "Loss"]
    header += ["minus plain, rounded", "minus plain, float"]
    said = {
        key: _against_plain(table[table.pick == pick], outcome)
        for key, pick in {"Held": RECOMMENDED, "OneHeld": ONE_FOR_ALL}.items()
    }
    table = grouped(groups, [*header, "Margin", "Recommendation"], "llllrrrrl", leads=2)
    return table, macros("RecommendationTransfer", said)


def called(row: Row) -> str:
    """A method by its name; plain training by what is then done with it."""
    plain = row["method"] == PLAIN
    return f"{PLAIN_ON[row['family']]} (rounded to nearest)" if plain else name(row["method"])


def _method(row: Row) -> str:
    """The same in a table's cell."""
    return PLAIN_ON[row["family"]].capitalize() if row["method"] == PLAIN else name(row["method"])


def _counted(arms: pd.DataFrame) -> pd.DataFrame:
    """By width, how many of one family's arms lie within the margin of the first, and of how many."""
    by = arms.assign(near=arms.behind <= arms.margin).groupby("eval_bits", sort=False).near
    return by.agg(near="sum", of="size")


def _near(arms: pd.DataFrame) -> str:
    """`7 of 17 arms at INT8 and 3 of 27 at INT2`."""
    (bits, near, of), *others = _counted(arms).itertuples()
    first = f"{near} of {of} arms {at([bits])}"
    return listed([first, *(f"{near} of {of} {at([bits])}" for bits, near, of in others)])


def _near_span(arms: pd.DataFrame) -> str:
    """The same over the widths: `3 to 7 of 17 to 27 arms`."""
    counted = _counted(arms)
    return f"{span(counted.near)} of {span(counted.of)} arms"


def _line(rows: list[Row]) -> list[str]:
    """The cells of one pick at one width on one network."""
    first = rows[0]
    lead = [TASKS[first["family"]], width(first["eval_bits"]), first["pick"].replace("_", " ")]
    lead += [_method(first), _cost(first), model_label(first["model"])]
    return [*lead, *_shown(rows)]


def _tried(rows: list[Row]) -> list[str]:
    """The cells of one pick at one width, on one network that chose nothing."""
    first, of = rows[0], {row["quantity"]: row for row in rows}
    lead = [model_label(first["model"]), first["pick"].replace("_", " ")]
    lead += [width(first["eval_bits"]), _method(first)]
    margin = number(of["minus_unrounded"]["margin"], 2)
    return [*lead, *_shown(rows), margin, outcome(of.get("minus_plain"))]


def _shown(rows: list[Row]) -> list[str]:
    """The metric and the differences from plain training, with half-widths."""
    of = {row["quantity"]: row for row in rows}
    return [plus_minus(of[what], DECIMALS) if what in of else NOTHING for what in QUANTITIES]


def _cost(row: Row) -> str:
    """Gradient evaluations; `264 for all` of a training that serves every width."""
    return thousands(row["cost"]) + " for all" * (row["serves"] > 1)


def _of_families(table: pd.DataFrame, say: Callable[[pd.DataFrame], str]) -> str:
    """`LSQ at INT4 and GPTQ at INT8 on image networks; and ... on language models`."""
    by = table.groupby("family", sort=False)
    return listed((f"{say(mine)} on {TASKS[family].lower()}" for family, mine in by), "; ", "; and ")


def _by_method(table: pd.DataFrame) -> list[str]:
    """`LSQ at INT4 and INT3`, for each method."""
    by = table.groupby("method", sort=False)
    return [f"{called(rows_of(mine)[0])} {at(mine.eval_bits.unique())}" for _, mine in by]


def _cheaper(mine: pd.DataFrame) -> str:
    """The cheaper picks of one family, and the widths without one."""
    found = mine[mine.pick == CHEAPER]
    left = [bits for bits in mine.eval_bits.unique() if bits not in {*found.eval_bits}]
    return listed([*_by_method(found), *([f"none {at(left)}"] if left else [])])


def direction(row: Row | None) -> str:
    """What a difference from plain training is by its interval, uncorrected; None: it is that itself."""
    if row is None:
        return "that of plain training itself"
    within = -row["margin"] < row["ci_low"] and row["ci_high"] < row["margin"]
    for word, shown in {"lower": row["ci_high"] < 0, "higher": row["ci_low"] > 0}.items():
        if shown:
            return word + " by less than the margin" * within
    return "within the margin" if within else "not shown to differ"


def outcome(row: Row | None) -> str:
    """Whether a recommendation holds, by its difference from plain training; None: it is that itself."""
    if row is None:
        return ITSELF
    if row["ci_high"] < row["margin"]:
        return HOLDS
    return HOLDS_NOT if row["ci_low"] > row["margin"] else UNDECIDED


def _against_plain(rows: pd.DataFrame, say: Callable[[Row | None], str]) -> str:
    """Of one pick, on each network: `lower at INT4 and INT3 and not decided at INT8 on the MLP`."""

    def on_one(mine):
        found = {row["eval_bits"]: row for row in rows_of(mine, quantity="minus_plain")}
        widths: dict[str, list[int]] = {}
        for bits in dict.fromkeys(mine.eval_bits):
            widths.setdefault(say(found.get(bits)), []).append(bits)
        return listed(f"{word} {at(where)}" for word, where in widths.items())

    return on_models((model, on_one(mine)) for model, mine in rows.groupby("model", sort=False))


def _where(rows: pd.DataFrame, quantity: str, holds: Callable[[pd.DataFrame], pd.Series]) -> str:
    """The widths at which a quantity's interval holds, by network."""
    by = rows.groupby("model", sort=False)
    of = {model: mine[mine.quantity == quantity] for model, mine in by}
    return together((model, at(mine[holds(mine)].eval_bits)) for model, mine in of.items())
