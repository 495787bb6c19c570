"""The table of claims, and the README's result block."""

import html
import math
import re
from collections.abc import Callable

import pandas as pd

from t0qat.exhibits import answers, benchmark, language, vision
from t0qat.exhibits.cells import in_plain_text, span, thousands, with_interval, with_power
from t0qat.exhibits.rows import Results, Row, rows_of
from t0qat.exhibits.table1 import reported, table1
from t0qat.exhibits.words import QUANTITY_LABELS
from t0qat.experiments import arms
from t0qat.pipeline import claims
from t0qat.pipeline.latex import escape, grouped, scientific

VERDICTS = {
    "Supported": claims.SUPPORTED,
    "Contradicted": claims.CONTRADICTED,
    "Unclear": claims.UNCLEAR,
    "Untestable": claims.UNTESTABLE,
}
SCORES = {"accuracy": "accuracy, %", "bits_per_character": "bits per character"}
SHOWN = {"T0-QAT as published": "t0_qat", "T0-QAT tuned": "t0_qat_tuned", "Plain training": "no_noise"}


def claims_table(results: Results) -> tuple[str, dict[str, str]]:
    """Each test below its claim."""
    table = results["claims"]
    groups = []
    for (id, claim), mine in table.groupby(["id", "claim"], sort=False):
        groups.append([[rf"\multicolumn{{4}}{{@{{}}l}}{{{id}: {escape(claim)}}}"]])
        for row in rows_of(mine):
            groups[-1].append([escape(row["statistic"]), *_verdict(row, with_power, scientific)])
    header = ["Decided by", "Estimate [95\\,\\%]", "$n$", "Verdict"]
    decided, verdict = (
        rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in (0.49, 0.18)
    )
    # Longer than a page; the star leaves numbering to the caption, which stands before it.
    body = grouped(groups, header, rf"@{{\quad}}{decided}rr{verdict}@{{}}", kind="longtable*")
    macros = {name: str((table.verdict == verdict).sum()) for name, verdict in VERDICTS.items()}
    return body, {f"Claims{name}": n for name, n in (macros | {"Decided": str(len(table))}).items()}


def _literally(text: str) -> str:
    """Text as a cell of a Markdown table shows it literally."""
    return re.sub(r"([\\`*{}\[\]|$])", r"\\\1", html.escape(text, quote=False))


def _line(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def _verdict(
    row: Row, show: Callable[[Row], str], number: Callable[[float], str]
) -> tuple[str, str, str]:
    """Estimate, n and verdict of a claim's row, as cells."""
    verdict = row["verdict"]
    if math.isnan(row["estimate"]):
        unmeasured = " (this run did not measure it)" if verdict == claims.UNTESTABLE else ""
        return "--", "--", verdict + unmeasured
    if verdict == claims.UNCLEAR:
        verdict += f" (would see {number(row['detectable'])})"
    elif verdict == claims.UNTESTABLE:
        verdict += " (no two paired results differ)"
    return show(row), thousands(row["n"]), verdict


def _use(results: Results) -> list[str]:
    """What to use at which bit-width: one row a network and width."""
    lines = [_line("Network", "Weights", "Best of the others, by tuning", *SHOWN)]
    lines += ["|---" * (3 + len(SHOWN)) + "|"]
    for b in (vision.IMAGES, language.MODELS):
        for model in b.full(b.table(results)):
            lead = f"{arms.model_label(model)}, {SCORES[b.metric.name]}"
            for header, (column, rivals) in benchmark.columns(b, results, model).items():
                if not header.startswith("INT"):
                    continue
                best, _ = benchmark.reference(rivals)
                cells = [b.interval(column[m]) if m in column else "–" for m in (best, *SHOWN.values())]
                cells[0] = f"{arms.method_label(best)}: {cells[0]}"
                lines.append(_line(*map(_literally, (lead, header, *cells))))
                lead = ""
    return lines


def _counts(table: pd.DataFrame) -> list[str]:
    """How many tests of each claim have which verdict."""
    lines = [_line("Claim", *map(str.capitalize, VERDICTS.values())), "|---|---:|---:|---:|---:|"]
    for key, rows in table.groupby(["id", "claim"], sort=False):
        counts = [str((rows.verdict == verdict).sum() or "–") for verdict in VERDICTS.values()]
        lines.append(_line(_literally(" ".join(key)), *counts))
    return lines


def claim_cells(results: Results) -> list[tuple[str, str, str, str, str]]:
    """The claims table in plain text: claim, decided by, estimate, n and verdict of each row."""
    return [
        (f"{row['id']} {row['claim']}", row["statistic"], *_verdict(row, in_plain_text, "{:.2g}".format))
        for row in rows_of(results["claims"])
    ]


def readme(results: Results) -> str:
    """The README's result block, in Markdown: what `result` shows, and how many tests say what."""
    tests = (
        f"What {len(results['claims'])} tests say of the paper's claims, by one rule and corrected"
        " together; [99_claims](notebooks/99_claims.ipynb) shows each:"
    )
    return "\n".join([result(results), "", tests, "", *_counts(results["claims"]), ""])


def result(results: Results) -> str:
    """The result in Markdown: Table 1 with its figure, what the pairs say, and what to use."""
    lines = ["| Method | Loss | Reported | Reproduced mean [95 %] | Middle 95 % of single runs |"]
    lines += ["|---|---|---|---|---|"]
    for row in rows_of(results["table1"]):
        cells = [
            _literally(arms.method_label(row["method"])),
            QUANTITY_LABELS[row["quantity"]],
            reported(row).replace("--", "–"),
            with_interval(row),
            f"{row['q025']:.2f} to {row['q975']:.2f}",
        ]
        lines.append(_line(*cells))
    return "\n".join(
        [
            "![Distributions of the three losses over replicates](figures/table1.png)",
            "",
            *lines,
            "",
            answers.fill("table1", table1(results)[1], results.__getitem__),
            "",
            f"What to use at which bit-width: means over {span(results['vision'].n)} paired seeds of"
            f" image networks and {span(results['language'].n)} of language models, weights rounded,"
            " with 95 % intervals. The best of the others is, at each width, the arm not under test"
            " that lost least in tuning; the PDF says which differences chance explains.",
            "",
            *_use(results),
        ]
    )
