"""The little LaTeX that the project writes: escaped text, macros, booktabs tables."""

import re


def escape(text: str) -> str:
    """Text as LaTeX shows it literally."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)


def minus(text: str) -> str:
    """The text with a true minus sign before numbers."""
    return re.sub(r"(?<![\w.${-])-(?=\d)", "$-$", text)


def thin(text: str) -> str:
    """The text with thin spaces in place of the commas between thousands."""
    return text.replace(",", r"\,")


def scientific(value: float, digits: int = 2) -> str:
    """So many digits, and a power of ten where Python prints an exponent: `$9.3 \\cdot 10^{-5}$`."""
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$" if exponent else mantissa


def macro_lines(macros: dict[str, str]) -> str:
    """One \\newcommand a line."""
    return "".join(rf"\newcommand{{\{name}}}{{{minus(value)}}}" + "\n" for name, value in macros.items())


def setting_lines(settings: dict[str, str]) -> str:
    """`\\Setting{name}` gives the value of that name; an unknown name stops LaTeX."""
    lines = [
        r"\newcommand{\Setting}[1]{\ifcsname setting/#1\endcsname\csname setting/#1\endcsname"
        r"\else\errmessage{no setting is named #1}\fi}"
    ]
    for name, value in settings.items():
        lines.append(rf"\expandafter\def\csname setting/{name}\endcsname{{{value}}}")
    return "\n".join([*lines, ""])


def tabular(
    rows: list[list[str]], header: list[str], alignment: str, rules_before=(), kind: str = "tabular"
) -> str:
    """A booktabs table from cells that are LaTeX already, a thin rule before the given rows.

    kind: the environment; of a longtable, every page repeats the header.
    """
    lines = [rf"\begin{{{kind}}}{{{alignment}}}", r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    lines += [r"\endhead"] * kind.startswith("longtable")
    for i, row in enumerate(rows):
        lines += [r"\midrule"] * (i in rules_before) + [" & ".join(map(minus, row)) + r" \\"]
    return "\n".join([*lines, r"\bottomrule", rf"\end{{{kind}}}", ""])
