"""LaTeX that holds whatever text and number comes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t0qat.pipeline import latex

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)
HOSTILE = r"A & B_1 50% $x$ #2 {y} ~z^ \input{w}"
HOSTILE_ESCAPED = (
    r"A \& B\_1 50\% \$x\$ \#2 \{y\} \textasciitilde{}z\textasciicircum{} \textbackslash{}input\{w\}"
)


def test_escape_covers_every_special_character():
    assert latex.escape(HOSTILE) == HOSTILE_ESCAPED


LITERAL = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^"}
LITERAL |= {"\\" + character: character for character in "&%$#_{}"}


@PROPERTY
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_escaped_text_reads_back_and_leaves_nothing_special(text):
    escaped = latex.escape(text)
    pattern = "|".join(map(re.escape, LITERAL))
    assert re.sub(pattern, lambda found: LITERAL[found[0]], escaped) == text
    assert not set(re.sub(pattern, "", escaped)) & set("\\&%$#_{}~^")


@pytest.mark.parametrize(
    ("plain", "typeset"),
    [
        ("−0.02 [−0.05, 0.01]", "$-$0.02 [$-$0.05, 0.01]"),
        ("2.18 ± 0.02", r"2.18$\:\pm\:$0.02"),
        ("3 × 1,264", r"3 $\times$ 1\,264"),
        ("(−3 ± 1) · 10⁻⁵", r"($-$3$\:\pm\:$1)$\:\cdot\:10^{-5}$"),
        ("9.3 · 10¹²", r"9.3$\:\cdot\:10^{12}$"),
        ("1,000 and 12,345,678 of 1, 200", r"1\,000 and 12\,345\,678 of 1, 200"),
        ("95 % of 3 & 4", r"95\,\% of 3 \& 4"),
        ("T0-QAT, 2-4, –", "T0-QAT, 2-4, --"),
        ("against -0.01, x-1, a--2", "against $-$0.01, x-1, a--2"),
        ("step = ξ", r"step = $\xi$"),
        (latex.Raw(r"\textbf{1,000}"), r"\textbf{1,000}"),
    ],
)
def test_plain_text_has_latexs_signs(plain, typeset):
    assert latex.tex(plain) == typeset


def test_cells_headers_and_macros_are_plain_text():
    table = latex.tabular([["a_b", "1,000"], [latex.Raw("$n$"), "–"]], ["A & B", "%"], over=["", "#"])
    for line in (r"\# \\", r"A \& B & \% \\", r"a\_b & 1\,000 \\", r"$n$ & -- \\"):
        assert line in table
    assert latex.macro_lines({"Drop": "2,000 %"}) == "\\newcommand{\\Drop}{2\\,000\\,\\%}\n"
