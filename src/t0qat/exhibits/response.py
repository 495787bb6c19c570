"""Table and macros of where weight noise helps: losses on validation parts, lower is better."""

from fractions import Fraction

import pandas as pd

from t0qat.exhibits.labels import listed, macros, on_models, width
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import method_label, model_label
from t0qat.experiments.response import ABSOLUTE, PLAIN, RELATIVE, STE
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import Row, number, plus_minus, span, thousands, with_interval

NOISES = {ABSOLUTE: "ξ × {:g}", RELATIVE: "relative {:g}"}  # a method that adds noise -> its strength


def curve_label(method: str, strength: float) -> str:
    """A curve as figures and texts name it: `ξ × 30`, `relative 0.1`, `Random-bit STE`."""
    return NOISES[method].format(strength) if method in NOISES else method_label(method)


def budget_label(budget: float) -> str:
    """`1/3` of 0.333: the nearest fraction with a small denominator, where that is near."""
    near = Fraction(budget).limit_denominator(10)
    return str(near) if abs(near - budget) < 0.01 * budget else f"{budget:g}"


def response(results: Results) -> tuple[str, dict[str, str]]:
    """The best noise and STE beside plain training, by network, bit-width and budget."""
    table = results["response_best"]
    every, models = results["response"], [*dict.fromkeys(table.model)]
    of = dict(iter(table.groupby("model", sort=False)))
    cases = {model: in_order(mine) for model, mine in of.items()}

    def on_each_model(say, what):
        return on_models((model, say(what[model])) for model in models)

    def row(model, case):
        noise, ste = best_noise(case), one(case, method=STE)
        shown = curve_label(noise["method"], noise["strength"])
        lead = [model_label(model), width(ste["eval_bits"]), budget_label(ste["budget"])]
        plain = number(one(case, method=PLAIN)["loss"])
        return [*lead, plain, shown, plus_minus(noise), plus_minus(ste)]

    groups = [[row(model, case) for case in cases[model]] for model in models]
    header = ["Network", "Read at", "Budget", "Plain", "Best noise", "minus plain", "STE minus plain"]
    of_each = every.drop_duplicates("model")
    return grouped(groups, header, "lllrlrr", leads=2), macros(
        "Response",
        {
            "Replicates": on_models((row["model"], thousands(row["n"])) for row in rows_of(of_each)),
            "Rates": span(every.groupby("model").learning_rate.nunique()),
            "Budgets": listed(map(budget_label, sorted({*table.budget}))),
            "Edges": at_an_end(every, table),
            "Helps": on_each_model(helps, cases),
            "Chance": on_each_model(by_chance, cases),
            "Leads": on_each_model(leads, cases),
            "Ahead": on_each_model(ahead, of),
            "Moves": on_each_model(moves, of),
        },
    )


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


def helps(cases: list[pd.DataFrame]) -> str:
    """In how many of a network's cases some noise's interval lies below plain training, and most.

    Where there is none, the lowest estimate.
    """
    every = pd.concat([case[case.method.isin(NOISES)] for case in cases])
    lower = every[every.ci_high < 0]
    found = len(lower.drop_duplicates(["eval_bits", "budget"]))
    most = min(rows_of(lower if found else every), key=lambda row: row["estimate"])
    where = f"{width(most['eval_bits'])} and {budget_label(most['budget'])} times the budget"
    shown = f"{curve_label(most['method'], most['strength'])} at {where}: {with_interval(most)}"
    lead = "most with" if found else "the lowest estimate with"
    return f"in {_of(found, len(cases))} cases ({lead} {shown})"


def by_chance(cases: list[pd.DataFrame]) -> str:
    """How many intervals of noise lie below plain training, and how many would if none had an effect."""
    every = pd.concat([case[case.method.isin(NOISES)] for case in cases])
    found, alone = (every.ci_high < 0).sum(), ERROR_RATE / 2 * len(every)
    lead = f"{found or 'none'} of {len(every)} lie below zero"
    return f"{lead} (about {number(alone, 2)} would by chance alone)"


def _of(found: int, every: int) -> str:
    """`none of 12`, `5 of 12` or `all 12`."""
    return f"all {every}" if found == every else f"{found or 'none'} of {every}"


def leads(cases: list[pd.DataFrame]) -> str:
    """Whose mean loss is least in how many of a network's cases; equals each count."""
    counts: dict[str, int] = {}
    for case in cases:
        of = {"noise": best_noise(case), "STE": one(case, method=STE)}
        of["plain training"] = one(case, method=PLAIN)
        least = min(row["loss"] for row in of.values())
        for name, row in of.items():
            counts[name] = counts.get(name, 0) + (row["loss"] == least)
    counted = sorted(counts.items(), key=lambda item: -item[1])
    return f"{listed(f'{name} in {n}' for name, n in counted if n)} of {len(cases)} cases"


def before_ste(table: pd.DataFrame) -> pd.DataFrame:
    """Whether the mean of the best noise lies below that of STE: widths down, budgets across, rising."""
    found = {
        at: best_noise(case)["loss"] < one(case, method=STE)["loss"]
        for at, case in table.groupby(["eval_bits", "budget"])
    }
    return pd.Series(found).unstack().iloc[::-1]


def ahead(table: pd.DataFrame) -> str:
    """At how many widths noise lies below STE, budget by budget: `1, 2 and 2 of 3 widths`."""
    before = before_ste(table)
    return f"{listed(map(thousands, before.sum()))} of {len(before)} widths"


def moves(table: pd.DataFrame) -> str:
    """The widths at which budgets differ in that."""
    before = before_ste(table)
    moved = before.index[before.nunique(axis=1) > 1]
    return f"at {listed(map(width, moved))}" if len(moved) else "at no width"
