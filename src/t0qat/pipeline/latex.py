"""The little LaTeX that the project writes: escaped text, macros, booktabs tables."""

import re
from collections.abc import Iterable

SIGNS = {"−": "$-$", "–": "--", " ± ": r"$\:\pm\:$", "×": r"$\times$", "ξ": r"$\xi$", "σ": r"$\sigma$"}
SUPERSCRIPTS = "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"


def escape(text: str) -> str:
    """Text as LaTeX shows it literally."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)


class Raw(str):
    """A cell or a macro that is LaTeX already."""


def tex(text: str) -> str:
    """Plain text as LaTeX shows it: escaped, and numbers as words.py writes them with LaTeX's signs."""
    if isinstance(text, Raw):
        return text
    text = re.sub(r"(?<=\d),(?=\d{3})", r"\\,", escape(text))  # 1,000
    text = re.sub(r"(?<=\d) \\%", r"\\,\\%", text)
    text = re.sub(r"(?<![\w.-])-(?=\d)", "−", text)  # of a number, not of a name
    text = re.sub(rf" · 10([{SUPERSCRIPTS}]+)", _ten, text)
    for plain, shown in SIGNS.items():
        text = text.replace(plain, shown)
    return text


def _ten(found: re.Match) -> str:
    power = found[1].translate(str.maketrans(SUPERSCRIPTS, "-0123456789"))
    return rf"$\:\cdot\:10^{{{power}}}$"


def macro_lines(macros: dict[str, str]) -> str:
    """One \\newcommand a line."""
    return "".join(rf"\newcommand{{\{name}}}{{{tex(value)}}}" + "\n" for name, value in macros.items())


def lookup_lines(command: str, values: dict[str, str]) -> str:
    """`\\Command{name}` gives the value of that name; an unknown name stops LaTeX."""
    lines = [
        rf"\newcommand{{\{command}}}[1]{{\ifcsname {command}/#1\endcsname\csname {command}/#1\endcsname"
        rf"\else\errmessage{{no {command} is named #1}}\fi}}"
    ]
    for name, value in values.items():
        lines.append(rf"\expandafter\def\csname {command}/{name}\endcsname{{{tex(value)}}}")
    return "\n".join([*lines, ""])


def spanning(columns: int, text: str) -> Raw:
    """A cell over several columns, its text in the middle."""
    return Raw(rf"\multicolumn{{{columns}}}{{c}}{{{tex(text)}}}")


def tabular(
    rows: Iterable[list[str]],
    header: list[str],
    alignment: str = "l",
    rules_before=(),
    over: Iterable[str] = (),
    kind: str = "tabular",
) -> str:
    """A booktabs table from cells of plain text, a thin rule before the given rows.

    alignment: as LaTeX has it, or letters alone, to which an r is added for each column without one.
    over: cells of a line above the header. kind: the environment; of a longtable, every page repeats
    the header.
    """

    def line(cells):
        return " & ".join(map(tex, cells)) + r" \\"

    if alignment.isalpha():
        alignment = f"@{{}}{alignment.ljust(len(header), 'r')}@{{}}"
    lines = [rf"\begin{{{kind}}}{{{alignment}}}", r"\toprule", *[line(over)] * bool(over)]
    lines += [line(header), r"\midrule", *[r"\endhead"] * kind.startswith("longtable")]
    for i, row in enumerate(rows):
        lines += [r"\midrule"] * (i in rules_before) + [line(row)]
    return "\n".join([*lines, r"\bottomrule", rf"\end{{{kind}}}", ""])


def grouped(
    groups: Iterable[list[list[str]]], header: list[str], alignment: str = "l", leads: int = 0, **how
) -> str:
    """The same from groups of rows, with a thin rule between groups.

    leads: so many cells at the start of a row are left empty where the row before in its group has
    the same there. how: more arguments of `tabular`.
    """
    rows, breaks = [], []
    for group in groups:
        breaks.append(len(rows))
        above = []
        for row in group:
            same = [i < leads and row[: i + 1] == above[: i + 1] for i in range(len(row))]
            rows.append(["" if hidden else cell for hidden, cell in zip(same, row, strict=True)])
            above = row
    return tabular(rows, header, alignment, breaks[1:], **how)
