"""The table of claims, and the README's result block."""

import html
import math
import re
from collections.abc import Iterable, Iterator

from t0qat.exhibits import answers, benchmark, language, vision
from t0qat.exhibits.labels import QUANTITY_LABELS, macros, network_label
from t0qat.exhibits.rows import Results, rows_of
from t0qat.exhibits.table1 import reported, table1
from t0qat.experiments.arms import method_label, model_label
from t0qat.pipeline import claims
from t0qat.pipeline.latex import Raw, grouped, tex
from t0qat.pipeline.words import NOTHING, Row, fixed, number, span, thousands, with_interval

VERDICTS = {
    "Supported": claims.SUPPORTED,
    "Contradicted": claims.CONTRADICTED,
    "Unclear": claims.UNCLEAR,
    "Untestable": claims.UNTESTABLE,
}
SCORES = {"loss": "test loss, nats", "bits_per_character": "bits per character"}
SHOWN = {"T0-QAT as published": "t0_qat", "T0-QAT tuned": "t0_qat_tuned", "Plain training": "no_noise"}


def claims_table(results: Results) -> tuple[str, dict[str, str]]:
    """Each test below its claim."""
    table, groups = results["claims"], []
    for (id, claim), mine in table.groupby(["id", "claim"], sort=False):
        groups.append([[Raw(rf"\multicolumn{{4}}{{@{{}}l}}{{{tex(f'{id}: {claim}')}}}")]])
        groups[-1] += [[row["statistic"], *_verdict(row)] for row in rows_of(mine)]
    header = ["Decided by", "Estimate [95 %]", Raw("$n$"), "Verdict"]
    decided, verdict = (
        rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in (0.49, 0.18)
    )
    # Longer than a page; the star leaves numbering to the caption, which stands before it.
    body = grouped(groups, header, rf"@{{\quad}}{decided}rr{verdict}@{{}}", kind="longtable*")
    counts = {name: (table.verdict == verdict).sum() for name, verdict in VERDICTS.items()}
    return body, macros("Claims", counts)


def claim_cells(results: Results) -> list[tuple[str, ...]]:
    """The same in plain text: claim, decided by, estimate, n and verdict of each row."""
    rows = rows_of(results["claims"])
    return [(f"{row['id']} {row['claim']}", row["statistic"], *_verdict(row)) for row in rows]


def _verdict(row: Row) -> tuple[str, str, str]:
    """Estimate, n and verdict of a claim's row, as cells."""
    verdict = row["verdict"]
    if math.isnan(row["estimate"]):
        unmeasured = " (this run did not measure it)" if verdict == claims.UNTESTABLE else ""
        return NOTHING, NOTHING, verdict + unmeasured
    if verdict == claims.UNCLEAR:
        verdict += f" (would see {number(row['detectable'], 2)})"
    elif verdict == claims.UNTESTABLE:
        verdict += " (no two paired results differ)"
    return with_interval(row), thousands(row["n"]), verdict


def _markdown(header: Iterable[str], rows: Iterable[Iterable[str]], rule: str = "---") -> list[str]:
    """The lines of a Markdown table with literal cells; rule: of all but the first column."""
    first, *others = header
    lines = [f"| {' | '.join([first, *others])} |", f"|---{f'|{rule}' * len(others)}|"]
    for cells in rows:
        literal = (re.sub(r"([\\`*{}\[\]|$])", r"\\\1", html.escape(c, quote=False)) for c in cells)
        lines.append(f"| {' | '.join(literal)} |")
    return lines


def _use(results: Results) -> Iterator[list[str]]:
    """What to use at which bit-width: cells of a network and width."""
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
    """The README's result block, in Markdown: what `result` shows, and how many tests say what."""
    table = results["claims"]
    rows = [
        [
            " ".join(key),
            *(str((mine.verdict == verdict).sum() or NOTHING) for verdict in VERDICTS.values()),
        ]
        for key, mine in table.groupby(["id", "claim"], sort=False)
    ]
    tests = (
        f"What {len(table)} tests say of the paper's claims, by one rule and corrected"
        " together; [99_claims](notebooks/99_claims.ipynb) shows each:"
    )
    counts = _markdown(["Claim", *map(str.capitalize, VERDICTS.values())], rows, "---:")
    return "\n".join([result(results), "", tests, "", *counts, ""])


def result(results: Results) -> str:
    """The result in Markdown: Table 1 with its figure, what the pairs say, and what to use."""
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
    header = ["Method", "Loss", "Reported", "Reproduced mean [95 %]", "Middle 95 % of single runs"]
    return "\n".join(
        [
            "![Distributions of the three losses over replicates](figures/table1.png)",
            "",
            *_markdown(header, losses),
            "",
            answers.fill("table1", table1(results)[1], results.__getitem__),
            "",
            f"What to use at which bit-width: means over {span(results['vision'].n)} paired seeds of"
            f" image networks and {span(results['language'].n)} of language models, weights rounded,"
            " with 95 % intervals; fewer nats or bits are better. The best of the others is, at each"
            " width, the arm not under test that lost least in tuning; the PDF says what is shown of the"
            " differences.",
            "",
            *_markdown(["Network", "Weights", "Best of the others, by tuning", *SHOWN], _use(results)),
        ]
    )
