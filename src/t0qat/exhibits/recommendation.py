"""What to use at which bit-width: the table, its sentences, and how it did on other networks."""

from collections.abc import Callable

import pandas as pd

from t0qat.exhibits.benchmark import DECIMALS
from t0qat.exhibits.labels import at, listed, macros, name, on_models, together, width
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import model_label
from t0qat.experiments.recommendation import CHEAPER, LOSS, ONE_FOR_ALL, RECOMMENDED
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import NOTHING, Row, number, plus_minus, thousands, with_interval

TASKS = {"images": "Image networks", "text": "Language models"}
QUANTITIES = (LOSS, "minus_plain", "minus_unrounded")
HEADER = ["Task", "Weights", "Use", "Gradients", "Loss", "Minus plain, rounded", "Or, cheaper"]
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
    whole = recommended[recommended.quantity == "minus_unrounded"]
    said = {
        "Use": _of_families(recommended, lambda mine: listed(_by_method(mine))),
        "Cheaper": _of_families(table, _cheaper),
        "One": _of_families(one, lambda mine: name(mine.method.iloc[0])),
        "Plain": _against_plain(recommended, direction),
        "Kept": together((model, _kept(mine)) for model, mine in whole.groupby("model", sort=False)),
    }
    return grouped(groups, header, "llllrlrrr", leads=5), macros("Recommendation", said)


def transfer(results: Results) -> tuple[str, dict[str, str]]:
    """The recommended arms where nothing was chosen, and whether they hold there."""
    table, groups = results["recommendation_transfer"], []
    for _, mine in table.groupby("model", sort=False):
        by = mine[mine.pick == RECOMMENDED].groupby("eval_bits", sort=False)
        groups.append([_tried(rows_of(here)) for _, here in by])
    header = ["Network", "Weights", "Method", "Loss", "minus plain, rounded", "minus plain, float"]
    said = {
        key: _against_plain(table[table.pick == pick], outcome)
        for key, pick in {"Held": RECOMMENDED, "OneHeld": ONE_FOR_ALL}.items()
    }
    table = grouped(groups, [*header, "Margin", "It"], "lllrrrrl", leads=1)
    return table, macros("RecommendationTransfer", said)


def answer(results: Results) -> list[list[str]]:
    """What to use, as cells below HEADER: one row a family and width, for the README and a notebook."""
    table, found = results["recommendation"], []
    for family, mine in table.groupby("family", sort=False):
        lead = TASKS[family]
        for bits, here in mine.groupby("eval_bits", sort=False):
            best = here[here.pick == RECOMMENDED]
            first, *_ = rows_of(best)
            shown = [_on_each(best, what) for what in QUANTITIES[:2]]
            cheaper = here[here.pick == CHEAPER].method.unique()
            use = [width(bits), name(first["method"]), _cost(first)]
            found.append([lead, *use, *shown, listed(map(name, cheaper))])
            lead = ""
    return found


def _on_each(rows: pd.DataFrame, quantity: str) -> str:
    """A quantity with its interval, by network where there is more than one."""
    shown = [(row["model"], with_interval(row, DECIMALS)) for row in rows_of(rows, quantity=quantity)]
    if len(shown) < 2:
        return shown[0][1] if shown else NOTHING
    return listed((f"{text} ({model_label(model)})" for model, text in shown), last=", ")


def _line(rows: list[Row]) -> list[str]:
    """The cells of one pick at one width on one network."""
    first = rows[0]
    lead = [TASKS[first["family"]], width(first["eval_bits"]), first["pick"].replace("_", " ")]
    lead += [name(first["method"]), _cost(first), model_label(first["model"])]
    return [*lead, *_shown(rows)]


def _tried(rows: list[Row]) -> list[str]:
    """The cells of what is recommended at one width, on one network that chose nothing."""
    first, of = rows[0], {row["quantity"]: row for row in rows}
    lead = [model_label(first["model"]), width(first["eval_bits"]), name(first["method"])]
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
    by = table.groupby("method", sort=False).eval_bits
    return [f"{name(method)} {at(dict.fromkeys(bits))}" for method, bits in by]


def _cheaper(mine: pd.DataFrame) -> str:
    """The cheaper picks of one family, and the widths without one."""
    found = mine[mine.pick == CHEAPER]
    left = [bits for bits in mine.eval_bits.unique() if bits not in {*found.eval_bits}]
    return listed([*_by_method(found), *([f"none {at(left)}"] if left else [])])


def direction(row: Row | None) -> str:
    """What a difference from plain training is by its interval, uncorrected; None: it is that itself."""
    if row is None:
        return "that of plain training itself"
    return "lower" if row["ci_high"] < 0 else "higher" if row["ci_low"] > 0 else "not decided"


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


def _kept(rows: pd.DataFrame) -> str:
    """The widths at which the whole interval lies below the margin."""
    return at(rows[rows.ci_high < rows.margin].eval_bits)
