"""What to use at which bit-width: tables, sentences, and how it did on other networks."""

import pandas as pd

from t0qat.exhibits.benchmark import DECIMALS, by_interval
from t0qat.exhibits.labels import macros, name, width
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import model_label
from t0qat.experiments.recommendation import LOSS, ONE_FOR_ALL, PLAIN, RECOMMENDED
from t0qat.pipeline.latex import Raw, grouped, spanning, tex
from t0qat.pipeline.words import NOTHING, Row, number, plus_minus, thousands

TASKS = {"images": "Image networks", "text": "Language models"}
PLAIN_ON = {"images": "plain training", "text": "plain fine-tuning"}
QUANTITIES = (LOSS, "minus_plain", "minus_unrounded")
# What a difference from plain training is, by its whole interval.
HOLDS, HOLDS_NOT, UNDECIDED, ITSELF = "holds", "does not hold", "is undecided", "is plain training"


def recommendation(results: Results) -> tuple[str, dict[str, str]]:
    """Every pick with what the test seeds say of it, by family, width and network."""
    table, arms, groups = results["recommendation"], results["recommendation_arms"], []
    for family, mine in table.groupby("family", sort=False):
        near = _counted(arms[arms.family == family])
        for some in (mine[mine.pick != ONE_FOR_ALL], mine[mine.pick == ONE_FOR_ALL]):
            by = some.groupby(["eval_bits", "pick", "model"], sort=False)
            groups.append([_line(rows_of(here), near) for _, here in by])
    header = ["Task", "Weights", "Pick", "Method", "Gradients", "Within", "Network", "Loss"]
    header += ["rounded", "shown to be", "float"]
    over = [*8 * [""], spanning(3, "Minus plain training")]
    recommended = table[table.pick == RECOMMENDED]
    said = {"Sentence": gains(recommended), "KeptSentence": keeps(recommended)}
    body = grouped(groups, header, "llllrrlrrlr", leads=6, over=over)
    return body, macros("Recommendation", said)


def gains(rows: pd.DataFrame) -> str:
    """Whether what is recommended beats plain training on the test seeds. rows: of that pick."""
    minus = rows[rows.quantity == "minus_plain"]
    better, worse, every = (minus.ci_high < 0).sum(), (minus.ci_low > 0).sum(), len(minus)
    lead = "On the test seeds, what is recommended loses"
    if not every:
        return "What is recommended is plain training itself, rounded to nearest."
    if not better and not worse:
        return f"{lead} neither more nor less than plain training, as far as {every} comparisons show."
    less = f"less than plain training in {better} of {every} comparisons"
    more = f"more than plain training in {worse} of {every} comparisons"
    if better and worse:
        return f"{lead} {less} and more in {worse}."
    return f"{lead} {less if better else more}, and {'more' if better else 'less'} in none."


def keeps(rows: pd.DataFrame) -> str:
    """Whether it keeps the loss of plain training that is not rounded, up to the margin."""
    minus = rows[rows.quantity == "minus_unrounded"]
    kept, every = (minus.ci_high < minus.margin).sum(), len(minus)
    lead = "What is recommended keeps the loss of plain training that is not rounded"
    return f"{lead} in {kept or 'none'} of {every} cases."


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
        "Sentence": held("the recommendation", table[table.pick == RECOMMENDED]),
        "OneSentence": held("one training for all widths", table[table.pick == ONE_FOR_ALL]),
    }
    table = grouped(groups, [*header, "Margin", "Recommendation"], "llllrrrrl", leads=2)
    return table, macros("Transfer", said)


def held(what: str, rows: pd.DataFrame) -> str:
    """In how many cases a pick holds where nothing was chosen; where it is plain training is no case."""
    found = [outcome(row) for row in rows_of(rows, quantity="minus_plain")]
    every, good, bad = len(found), found.count(HOLDS), found.count(HOLDS_NOT)
    lead = f"On networks not used for choosing, {what}"
    if not every:
        return f"{lead} is plain training itself."
    holds = f"{lead} loses no more than rounded plain training, within a margin, in {good or 'none'}"
    if bad:
        return f"{holds} of {every} cases, and more in {bad}."
    return (
        f"{holds} of {every} cases; the others are open."
        if good < every
        else f"{holds} of {every} cases."
    )


def lower_on(here: pd.DataFrame) -> list[str]:
    """The networks on which a pick is shown to lose less than plain training rounded the same way."""
    return [row["model"] for row in rows_of(here, quantity="minus_plain") if row["ci_high"] < 0]


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


def _line(rows: list[Row], near: pd.DataFrame) -> list[str]:
    """The cells of one pick at one width on one network. near: as of `_counted`."""
    first, of = rows[0], {row["quantity"]: row for row in rows}
    bits = first["eval_bits"]
    counted = f"{near.near[bits]} of {near.of[bits]}" * (first["pick"] == RECOMMENDED)
    lead = [TASKS[first["family"]], width(bits), first["pick"].replace("_", " ")]
    lead += [_method(first), _cost(first), counted, model_label(first["model"])]
    loss, plain, whole = _shown(rows)
    kept = r"$^\circ$" * (of["minus_unrounded"]["ci_high"] < of["minus_unrounded"]["margin"])
    whole = Raw(tex(whole) + rf"\makebox[0.6em][l]{{{kept}}}")
    return [*lead, loss, plain, direction(of.get("minus_plain")), whole]


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


def direction(row: Row | None) -> str:
    """What a difference from plain training is by its interval, uncorrected; None: it is that itself."""
    if row is None:
        return "that itself"
    way, within = by_interval(row["ci_low"], row["ci_high"], row["margin"])
    return ", ".join(filter(None, [way, "within" if within else ""])) or "open"


def outcome(row: Row | None) -> str:
    """Whether a recommendation holds, by its difference from plain training; None: it is that itself."""
    if row is None:
        return ITSELF
    if row["ci_high"] < row["margin"]:
        return HOLDS
    return HOLDS_NOT if row["ci_low"] > row["margin"] else UNDECIDED
