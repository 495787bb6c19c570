"""Tables and sentences of where weight noise helps: losses on validation parts, lower is better."""

from fractions import Fraction
from typing import NamedTuple

import pandas as pd

from t0qat.exhibits.labels import macros, the_models, width
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import method_label, model_label
from t0qat.experiments.response import ABSOLUTE, PLAIN, RELATIVE, STE
from t0qat.pipeline.latex import grouped, spanning, tabular
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, Row, number, plus_minus, span, thousands
from t0qat.training.models import MODELS

NOISES = {ABSOLUTE: "ξ × {:g}", RELATIVE: "relative {:g}"}  # a method that adds noise -> its strength
LEADERS = "noise", "STE", "plain"


def curve_label(method: str, strength: float) -> str:
    """A curve as figures and texts name it: `ξ × 30`, `relative 0.1`, `Random-bit STE`."""
    return NOISES[method].format(strength) if method in NOISES else method_label(method)


def budget_label(budget: float) -> str:
    """`1/3` of 0.333: the nearest fraction with a small denominator, where that is near."""
    near = Fraction(budget).limit_denominator(10)
    return str(near) if abs(near - budget) < 0.01 * budget else f"{budget:g}"


def response(results: Results) -> tuple[str, dict[str, str]]:
    """The best noise and STE beside plain training, by network, bit-width and budget."""
    table, every = results["response_best"], results["response"]

    def row(model, case):
        noise, ste = best_noise(case), one(case, method=STE)
        shown = curve_label(noise["method"], noise["strength"])
        lead = [model_label(model), width(ste["eval_bits"]), budget_label(ste["budget"])]
        plain = number(one(case, method=PLAIN)["loss"])
        return [*lead, plain, shown, plus_minus(noise), plus_minus(ste)]

    groups = [
        [row(model, case) for case in in_order(mine)]
        for model, mine in table.groupby("model", sort=False)
    ]
    header = ["Network", "Read at", "Budget", "Plain", "Best noise", "minus plain", "STE minus plain"]
    said = {
        "Rates": span(every.groupby("model").learning_rate.nunique()),
        "Edges": at_an_end(every, table),
    }
    return grouped(groups, header, "lllrlrr", leads=2), macros("Response", said)


def counts(results: Results) -> tuple[str, dict[str, str]]:
    """By network: in how many cases some noise lies below plain training, and who has the least mean."""
    table = results["response_best"]
    budgets = sorted({*table.budget})

    def row(model: str, mine: pd.DataFrame) -> list[str]:
        cases, found, ahead = in_order(mine), below(mine), before_ste(mine)
        helped = len(found.rows.drop_duplicates(["eval_bits", "budget"]))
        least = leads(cases)
        cells = [model_label(model), thousands(mine.n.max()), f"{helped} of {len(cases)}"]
        cells += [f"{len(found.rows)} of {found.every}", number(found.by_chance, 2)]
        cells += [thousands(least[name]) for name in LEADERS]
        return [*cells, *(_of(ahead[b]) if b in ahead else NOTHING for b in budgets)]

    rows = [row(model, mine) for model, mine in table.groupby("model", sort=False)]
    header = [
        "Network",
        "Seeds",
        "cases",
        "intervals",
        "by chance",
        *LEADERS,
        *map(budget_label, budgets),
    ]
    over = ["", "", spanning(3, "Noise below plain"), spanning(len(LEADERS), "Least mean")]
    over.append(spanning(len(budgets), "Noise before STE, by budget"))
    image = table.model.isin([*MODELS])
    said = {"ImagesSentence": helps(table[image]), "TextSentence": helps(table[~image])}
    return tabular(rows, header, over=over), macros("Response", said)


def helps(table: pd.DataFrame) -> str:
    """Whether some noise is below plain training, and below STE. table: rows of response_best."""
    if table.empty:
        return "This was not part of the run."
    where = the_models(table.model.unique())
    found = below(table)
    shown = f"{len(found.rows) or 'none'} of {found.every} comparisons"
    said = f"On {where}, the interval of noise lies below plain training in {shown}."
    if len(found.rows):
        said += f" Chance alone would give about {number(found.by_chance, 2)}."
    ahead = [before_ste(mine).to_numpy().ravel() for _, mine in table.groupby("model", sort=False)]
    won, cases = sum(map(sum, ahead)), sum(map(len, ahead))
    if won == cases:
        return f"{said} By means alone, the best noise is below STE in every case."
    if not won:
        return f"{said} By means alone, the best noise is below STE in no case."
    return f"{said} By means alone, the best noise is below STE in {won} of {cases} cases."


class Below(NamedTuple):
    """The intervals of single curves with noise that lie below plain training."""

    rows: pd.DataFrame
    every: int  # curves with noise
    by_chance: float  # how many would lie below if no noise had an effect


def below(table: pd.DataFrame) -> Below:
    every = table[table.method.isin(NOISES)]
    return Below(every[every.ci_high < 0], len(every), ERROR_RATE / 2 * len(every))


def in_order(mine: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each bit-width and budget of a network, the most bits first, budgets rising."""
    keys = ["eval_bits", "budget"]
    rows = mine.sort_values(keys, ascending=[False, True], kind="stable")
    return [case for _, case in rows.groupby(keys, sort=False)]


def at_an_end(every: pd.DataFrame, best: pd.DataFrame) -> str:
    """How many curves are best at the lowest or the highest rate that was tried: `3 of 12`."""
    tried = every.groupby("model").learning_rate.agg(["min", "max"]).loc[best.model]
    ends = tried.eq(best.best_rate.to_numpy(), axis=0).any(axis=1)
    return f"{ends.sum()} of {len(ends)}"


def best_noise(case: pd.DataFrame) -> Row:
    """Of the curves with noise, the one of the least mean."""
    return min(rows_of(case[case.method.isin(NOISES)]), key=lambda row: row["loss"])


def leads(cases: list[pd.DataFrame]) -> dict[str, int]:
    """LEADERS -> in how many of a network's cases its mean loss is the least; equals each count."""
    counted = dict.fromkeys(LEADERS, 0)
    for case in cases:
        of = (best_noise(case), one(case, method=STE), one(case, method=PLAIN))
        least = min(row["loss"] for row in of)
        for name, row in zip(LEADERS, of, strict=True):
            counted[name] += row["loss"] == least
    return counted


def before_ste(table: pd.DataFrame) -> pd.DataFrame:
    """Whether the mean of the best noise lies below that of STE: widths down, budgets across, rising."""
    found = {
        at: best_noise(case)["loss"] < one(case, method=STE)["loss"]
        for at, case in table.groupby(["eval_bits", "budget"])
    }
    return pd.Series(found).unstack().iloc[::-1]


def _of(before: pd.Series) -> str:
    """`3 of 4` widths."""
    return f"{before.sum()} of {len(before)}"
