"""The table of claims, and the README's result block."""

import html
import math
import re
from collections.abc import Callable

from t0qat import claims
from t0qat.exhibits import answers, vision
from t0qat.exhibits.published import _reported, table1
from t0qat.exhibits.words import (
    QUANTITY_LABELS,
    Results,
    Row,
    in_plain_text,
    rows_of,
    thousands,
    with_interval,
    with_power,
)
from t0qat.latex import escape, scientific, tabular
from t0qat.methods import METHODS


def claims_table(results: Results) -> tuple[str, dict[str, str]]:
    table = results["claims"]
    rows, breaks = [], []
    for i, row in enumerate(rows_of(table)):
        if i == 0 or row["id"] != table.id[i - 1]:
            breaks += [len(rows)] * (i > 0)
            rows.append([rf"\multicolumn{{4}}{{@{{}}l}}{{{row['id']}: {escape(row['claim'])}}}"])
        rows.append([escape(row["statistic"]), *_verdict(row, with_power, scientific)])
    header = ["Decided by", "Estimate [95\\,\\%]", "$n$", "Verdict"]
    decided, verdict = (
        rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in (0.49, 0.18)
    )
    # Longer than a page; the star leaves numbering to the caption, which stands before it.
    body = tabular(rows, header, f"@{{\\quad}}{decided}rr{verdict}@{{}}", breaks, "longtable*")
    counts = {
        "Supported": (table.verdict == claims.SUPPORTED).sum(),
        "Contradicted": (table.verdict == claims.CONTRADICTED).sum(),
        "Unclear": (table.verdict == claims.UNCLEAR).sum(),
        "Untestable": (table.verdict == claims.UNTESTABLE).sum(),
        "Decided": len(table),
    }
    return body, {f"Claims{name}": str(count) for name, count in counts.items()}


def _markdown(text: str) -> str:
    """Text as a cell of a Markdown table shows it literally."""
    return re.sub(r"([\\`*{}\[\]|$])", r"\\\1", html.escape(text, quote=False))


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


def _plain(row: Row) -> str:
    """An estimate with its interval in plain text."""
    return in_plain_text(row | {"mean": row["estimate"]})


def readme(results: Results) -> str:
    """The README's result block, in Markdown: Table 1, its figure, and what the pairs say."""
    lines = ["| Method | Loss | Reported | Reproduced mean [95 %] | Middle 95 % of single runs |"]
    lines += ["|---|---|---|---|---|"]
    for row in rows_of(results["table1"]):
        cells = [
            _markdown(METHODS[row["method"]].label),
            QUANTITY_LABELS[row["quantity"]],
            _reported(row).replace("--", "–"),
            with_interval(row),
            f"{row['q025']:.2f} to {row['q975']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    images = vision.vision(results)[1] | vision.differences(results)[1]
    return "\n".join(
        [
            "![Distributions of the three losses over replicates](figures/table1.png)",
            "",
            *lines,
            "",
            answers.fill("table1", table1(results)[1]),
            "",
            answers.fill("vision", images),
            "",
            "| Claim | Decided by | Estimate [95 %] | n | Verdict |",
            "|---|---|---|---|---|",
            *(
                f"| {' | '.join(map(_markdown, cells))} |"
                for row in rows_of(results["claims"])
                for cells in [
                    (
                        f"{row['id']} {row['claim']}",
                        row["statistic"],
                        *_verdict(row, _plain, "{:.2g}".format),
                    )
                ]
            ),
            "",
        ]
    )
