"""The tables of claims, and the README's result block."""

import html
import math
import re
import tomllib
from collections.abc import Iterable, Iterator

import pandas as pd

from t0qat.exhibits import answers, benchmark, language, recommendation, vision
from t0qat.exhibits.labels import QUANTITY_LABELS, listed, macros, network_label
from t0qat.exhibits.rows import Results, rows_of
from t0qat.exhibits.table1 import reported, table1
from t0qat.experiments.arms import method_label, model_label
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
SCORES = {"loss": "test loss, nats", "bits_per_character": "bits per character"}
SHOWN = {"T0-QAT as published": "t0_qat", "T0-QAT tuned": "t0_qat_tuned", "Plain training": "no_noise"}


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


def verdict_cells(results: Results) -> list[list[str]]:
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
    body = tabular(verdict_cells(results), header, f"@{{}}{claim}{''.join(others)}@{{}}")
    return body, macros("Claims", {"Tally": tally(found), "Columns": sum(found.values())})


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


def _markdown(header: Iterable[str], rows: Iterable[Iterable[str]], rule: str = "---") -> list[str]:
    """The lines of a Markdown table with literal cells; rule: of all but the first column."""
    first, *others = header
    lines = [f"| {' | '.join([first, *others])} |", f"|---{f'|{rule}' * len(others)}|"]
    for cells in rows:
        literal = (re.sub(r"([\\`*{}\[\]|$])", r"\\\1", html.escape(c, quote=False)) for c in cells)
        lines.append(f"| {' | '.join(literal)} |")
    return lines


def _compared(results: Results) -> Iterator[list[str]]:
    """How T0-QAT compares at each bit-width: cells of a network and width."""
    for b in (vision.IMAGES, language.MODELS):
        rows = benchmark.cells(b, results)
        for model, mine in rows[rows.column.str.startswith("INT")].groupby("model", sort=False):
            lead = f"{model_label(model)}, {SCORES[b.metric.name]}"
            for column, here in mine.groupby("column", observed=True):
                found = {row["method"]: b.interval(row) for row in rows_of(here)}
                best = here[here.reference].method.item()
                shown = [found.get(method, NOTHING) for method in SHOWN.values()]
                yield [lead, column, f"{network_label(best)}: {found[best]}", *shown]
                lead = ""


def readme(results: Results) -> str:
    """The README's result block, in Markdown: what `result` shows, and the verdict on each claim."""
    said = (
        "What the paper claims, and the verdict of one rule, with the condition that it hangs on and its"
        " number (positive is better); [99_claims](notebooks/99_claims.ipynb) shows the rule and every"
        " number, and the PDF says what had been seen before the rule was fixed:"
    )
    header = ["Claim", *map(str.capitalize, columns().values())]
    return "\n".join([result(results), "", said, "", *_markdown(header, verdict_cells(results)), ""])


def result(results: Results) -> str:
    """The result in Markdown: what to use, Table 1 with its figure, and how T0-QAT compares."""
    shown, short = recommendation.in_short(results)
    losses = [
        [
            method_label(row["method"]),
            QUANTITY_LABELS[row["quantity"]],
            reported(row),
            with_interval(row),
            f"{fixed(row['q025'], 2)} to {fixed(row['q975'], 2)}",
        ]
        for row in rows_of(results["table1"])
    ]
    first = ["Method", "Loss", "Reported", "Reproduced mean [95 %]", "Middle 95 % of single runs"]
    header = ["Network", "Weights", "Reference: least loss in tuning", *SHOWN]
    return "\n".join(
        [
            shown,
            "",
            *_markdown(recommendation.HEADER, recommendation.answer(results)),
            "",
            short,
            "",
            "![Distributions of the three losses over replicates](figures/table1.png)",
            "",
            *_markdown(first, losses),
            "",
            answers.fill("table1", table1(results)[1], results.__getitem__),
            "",
            f"**How T0-QAT compares.** Means over {span(results['vision'].n)} paired seeds of"
            f" image networks and {span(results['language'].n)} of language models, weights rounded,"
            " with 95 % intervals; fewer nats or bits are better. The reference is, at each width, the"
            " arm not under test that lost least in tuning; the PDF says what is shown of the"
            " differences.",
            "",
            *_markdown(header, _compared(results)),
        ]
    )
