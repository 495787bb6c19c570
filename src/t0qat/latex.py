"""The little LaTeX that the project writes: escaped text, macros, booktabs tables."""


def escape(text: str) -> str:
    """Text as LaTeX shows it literally."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: "\\" + c for c in "&%$#_{}"}
    return "".join(special.get(c, c) for c in text)


def macro_lines(macros: dict[str, str]) -> str:
    """One \\newcommand a line."""
    return "".join(rf"\newcommand{{\{name}}}{{{value}}}" + "\n" for name, value in macros.items())


def tabular(rows: list[list[str]], header: list[str], alignment: str, rules_before=()) -> str:
    """A booktabs table from cells that are LaTeX already, a thin rule before the given rows."""
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    for i, row in enumerate(rows):
        lines += [r"\midrule"] * (i in rules_before) + [" & ".join(row) + r" \\"]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
