"""The tables of claims, and what they are counted by."""

import math
import tomllib
from collections.abc import Iterator

import pandas as pd

from t0qat.exhibits.labels import listed, macros
from t0qat.exhibits.rows import Results, rows_of
from t0qat.pipeline import claims, decision, places
from t0qat.pipeline.latex import Raw, grouped, tabular, tex
from t0qat.pipeline.words import NOTHING, Row, fixed, number, span, thousands, with_interval

IN_PART = "supported to"  # a width, of a sequence
VERDICTS = {  # and what is said where there is one, or more
    decision.SUPPORTED: ("is supported", "are supported"),
    IN_PART: ("is supported to a bit-width", "are supported to a bit-width"),
    decision.CONTRADICTED: ("is contradicted", "are contradicted"),
    decision.NO_EFFECT: ("shows no effect", "show no effect"),
    decision.UNDECIDED: ("is undecided", "are undecided"),
    decision.UNTESTABLE: ("is not testable here", "are not testable here"),
    decision.UNMEASURED: ("is not measured yet", "are not measured yet"),
}


def columns() -> dict[str, str]:
    """The columns that a claim may have, and their names."""
    return claims.load().columns


def kind_of(verdict: str) -> str:
    """Which of VERDICTS it is, or itself where it is none."""
    return next((word for word in reversed(VERDICTS) if verdict.startswith(word)), verdict)


def counts(results: Results) -> dict[str, int]:
    """How many columns have each of VERDICTS."""
    table = results["verdicts"]
    every = [kind_of(cell) for name in columns() for cell in table[name] if cell]
    return {word: every.count(word) for word in VERDICTS}


def tally(found: dict[str, int]) -> str:
    """Counts of VERDICTS in words, without those of none: `1 is supported and 3 show no effect`."""
    return listed(f"{thousands(n)} {VERDICTS[word][n > 1]}" for word, n in found.items() if n)


def _deciding(mine: pd.DataFrame, verdict: str) -> Row | None:
    """The condition that a verdict hangs on: what fails most clearly, or holds least clearly."""
    tested = mine[mine.p_better.notna()]
    if tested.empty or kind_of(verdict) == decision.UNTESTABLE:
        return None
    if decision.CONTRADICTED in verdict:
        at = tested.p_worse.idxmin()
    else:
        at = tested["p_equal" if verdict == decision.NO_EFFECT else "p_better"].idxmax()
    return tested.loc[at].to_dict()


def deciding_cells(results: Results) -> list[list[str]]:
    """Of each claim: its words, and of each column the verdict with the condition that it hangs on."""
    table, rows = results["claims"], []
    for claim in rows_of(results["verdicts"]):
        rows.append([f"{claim['id']}: {claim['claim']}"])
        for name in columns():
            verdict = claim[name] or NOTHING
            mine = table[(table.id == claim["id"]) & (table.column == name)]
            row = _deciding(mine, verdict) if claim[name] else None
            rows[-1].append(f"{verdict}: {row['condition']}: {_numbers(row)}" if row else verdict)
    return rows


def _numbers(row: Row) -> str:
    """The estimate, and what it is to be read beside."""
    more = f", margin {number(row['margin'], 2)}" if row["margin"] else ""
    return f"{with_interval(row)}{more}"


def condition_cells(mine: pd.DataFrame) -> list[list[str]]:
    """Of each condition: its words, estimate, n, n wanted, margin, corrected p, what would be seen."""
    return [
        [
            row["condition"],
            NOTHING if math.isnan(row["estimate"]) else with_interval(row),
            *(NOTHING if pd.isna(row[n]) else thousands(row[n]) for n in ("n", "wanted")),
            number(row["margin"], 2) if row["margin"] else NOTHING,
            _p(row["p_corrected"]),
            NOTHING if math.isnan(row["detectable"]) else number(row["detectable"], 2),
        ]
        for row in rows_of(mine)
    ]


def _p(value: float) -> str:
    return NOTHING if math.isnan(value) else "< 0.001" if value < 0.001 else fixed(value, 3)


def conditions_of(results: Results) -> Iterator[tuple[str, str, list[list[str]]]]:
    """Each claim, each column with its verdict in words, and the cells of its conditions."""
    said = results["verdicts"].set_index("id")
    for (id, name), mine in results["claims"].groupby(["id", "column"], sort=False):
        yield f"{id}: {said.claim[id]}", f"{columns()[name]}: {said[name][id]}", condition_cells(mine)


def wide(*shares: float) -> list[str]:
    """LaTeX columns of these shares of the line, their text broken."""
    return [rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}" for share in shares]


def verdict_table(results: Results) -> tuple[str, dict[str, str]]:
    """One row a claim, and how many verdicts there are, of each kind and in all."""
    found = counts(results)
    claim, *others = wide(0.2, 0.38, 0.38)
    header = ["Claim", *map(str.capitalize, columns().values())]
    body = tabular(deciding_cells(results), header, f"@{{}}{claim}{''.join(others)}@{{}}")
    return body, macros("Claims", {"Columns": sum(found.values())})


def condition_table(results: Results) -> tuple[str, dict[str, str]]:
    """Each condition below its claim and column."""
    groups = []
    for claim, said, cells in conditions_of(results):
        groups.append([[Raw(rf"\multicolumn{{7}}{{@{{}}l}}{{{tex(f'{claim}')}}}")]])
        groups[-1] += [[Raw(rf"\multicolumn{{7}}{{@{{}}l}}{{{tex(said)}}}")], *cells]
    # Longer than a page; the star leaves numbering to the caption, which stands before it.
    (first,) = wide(0.34)
    body = grouped(groups, HEADER, rf"@{{\quad}}{first}rrrrrr@{{}}", kind="longtable*")
    return body, macros("Claims", {"Conditions": thousands(len(results["claims"]))} | planned(results))


def planned(results: Results) -> dict[str, str | int]:
    """How many conditions have the pairs that planning wants, what the others lack, and skewness."""
    table = results["claims"]
    asked, skewed = table[table.wanted.notna()], table.skewness.dropna()
    more = (asked.wanted / asked.n)[asked.wanted > asked.n]
    return {
        "Planned": len(asked),
        "Reached": len(asked) - len(more),
        "More": number(more.median(), 2) if len(more) else NOTHING,
        "Skewness": span(skewed, lambda value: fixed(value, 1)),
        "SkewnessMedian": fixed(skewed.abs().median(), 1) if len(skewed) else NOTHING,
    }


HEADER = ["Condition", "How much better [95 %]", Raw("$n$"), "Wanted", "Margin", Raw("$p$"), "Would see"]


def exploratory_table(results: Results) -> tuple[str, dict[str, str]]:
    """Comparisons that set no verdict."""
    table = results["claims_exploratory"]
    groups = [
        [
            [id, row["condition"], with_interval(row), thousands(row["n"]), _p(row["p_bh"])]
            for row in rows
        ]
        for id, rows in ((id, rows_of(mine)) for id, mine in table.groupby("id", sort=False))
    ]
    header = ["", "Comparison", "How much better [95 %]", Raw("$n$"), Raw("$p$")]
    (share,) = wide(0.56)
    body = grouped(groups, header, f"@{{}}l{share}rrr@{{}}", leads=1, kind="longtable*")
    return body, {"ClaimsExploratory": thousands(len(table))}


def changed_table(results: Results) -> tuple[str, dict[str, str]]:
    """Claims that the first version's tests left with other words, and why."""
    first = tomllib.loads((places.ROOT / "paper" / "first_verdicts.toml").read_text())
    rows, table = [], results["claims"]
    for claim in rows_of(results["verdicts"]):
        before = first.get(claim["id"], {})
        now = [claim[name] for name in columns() if claim[name]]
        words = [word.replace("_", " ") for word, n in before.items() if n]
        if set(map(kind_of, now)) != {decision.UNDECIDED if w == FIRST_OPEN else w for w in words}:
            said = ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in before.items() if n)
            mine = table[table.id == claim["id"]].condition
            why = _why(before, now, mine.str.contains("test loss").any())
            cells = [claim[name] or NOTHING for name in columns()]
            rows.append([claim["id"], said or NOTHING, *cells, why])
    header = ["", "First version", *map(str.capitalize, columns().values()), "Why"]
    body = tabular(rows, header, "@{}l" + "".join(wide(0.16, 0.23, 0.2, 0.26)) + "@{}")
    return body, macros("Claims", {"Changed": len(rows)})


FIRST_OPEN = "not supported"  # what the first version called undecided


def _why(before: dict[str, int], now: list[str], loss: bool) -> str:
    """What of the rule makes the difference, by what there was and is."""
    tests, kinds = sum(before.values()), set(map(kind_of, now))
    hindered = [word for word in now if kind_of(word) == decision.UNTESTABLE]
    reasons = {
        f"one verdict a column in place of {tests} tests": tests > 1,
        "a new claim": tests == 0,
        "equality is tested": decision.NO_EFFECT in kinds,
        "all conditions must hold, at the level of the whole family": decision.UNDECIDED in kinds,
        "a model that has learned nothing decides nothing": any("learned" in w for w in hindered),
        "a sequence stops where it no longer holds": IN_PART in kinds,
        "loss in place of accuracy, other networks and budgets": loss,
        "an experiment is still to come": decision.UNMEASURED in kinds,
    }
    return "; ".join(reason for reason, holds in reasons.items() if holds)
