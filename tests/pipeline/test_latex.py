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
        ("-0.02 [-0.05, 0.01]", "$-$0.02 [$-$0.05, 0.01]"),
        ("-2.52 / 2.10 / 8.03", "$-$2.52 / 2.10 / 8.03"),
        (r"$-3 \pm 1$", r"$-3 \pm 1$"),
        ("T0-QAT", "T0-QAT"),
        ("2-4", "2-4"),
        ("--", "--"),
    ],
)
def test_only_minus_signs_become_minus_signs(plain, typeset):
    assert latex.minus(plain) == typeset


@PROPERTY
@given(st.floats(1e-12, 1e12))
def test_powers_of_ten_are_typeset_as_such(value):
    shown = latex.scientific(value)
    assert "e" not in shown
    mantissa, power = re.fullmatch(r"\$?([\d.]+)(?: \\cdot 10\^\{(-?\d+)\}\$)?", shown).groups("0")
    assert float(mantissa) * 10.0 ** int(power) == pytest.approx(value, rel=0.0501)
