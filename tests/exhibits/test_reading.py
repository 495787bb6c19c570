"""Tables as a notebook shows them: the same numbers, in words."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t0qat.exhibits import reading

ROWS = pd.DataFrame(
    [
        ("t0_qat", "small_cnn", 4, 0.91234, 0.90234, 0.92234, 0.0004, 20),
        ("t0_qat", "small_cnn", 32, -0.5, -0.75, -0.25, 0.5, 20),
        ("random_bits", "mlp", 4, 1.5e-5, 1e-5, 2e-5, math.nan, 1234),
    ],
    columns=["method", "model", "eval_bits", "mean", "ci_low", "ci_high", "p_holm", "n"],
)


def test_rows_keep_their_order_and_say_everything_in_words():
    shown = reading.table(ROWS, ["model", "method", "eval_bits"], also=["p_holm", "n"])
    assert shown.index.names == ["model", "method", "read at"]
    assert shown.index.tolist() == [
        ("small CNN", "T0-QAT", "INT4"),
        ("small CNN", "T0-QAT", "float"),
        ("MLP", "Random-bit STE", "INT4"),
    ]
    assert shown.columns.tolist() == ["mean [95 % interval]", "p, corrected", "replicates"]
    assert shown.to_numpy().tolist() == [
        ["0.912 [0.902, 0.922]", "< 0.001", "20"],
        ["−0.50 [−0.75, −0.25]", "0.500", "20"],
        ["1.50 [1.00, 2.00] · 10⁻⁵", "", "1,234"],
    ]


def test_what_goes_across_stands_in_the_order_of_the_rows_and_leaves_gaps_empty():
    rows = ROWS.drop(columns="ci_low").iloc[[1, 0, 2]]
    shown = reading.table(rows, ["method"], across=["eval_bits"], also=["n"])
    assert shown.columns.tolist() == ["float", "INT4"]
    assert shown.index.tolist() == ["T0-QAT", "Random-bit STE"]
    assert shown.loc["T0-QAT"].tolist() == ["20", "20"]
    assert shown.loc["Random-bit STE"].tolist() == ["", "1,234"]


@pytest.mark.parametrize(("mean", "half", "said"), [
    (13.81191, 0.0082, "13.81 [13.80, 13.82]"),
    (0.99999969, 2e-7, "1.000 [1.000, 1.000]"),
    (0.301029998078150951, 1e-17, "0.301 [0.301, 0.301]"),
    (0.0089, 0.0081, "0.0089 [0.0008, 0.0170]"),
    (math.nan, math.nan, ""),
])  # fmt: skip
def test_a_mean_has_no_more_digits_than_a_reader_wants(mean, half, said):
    row = {"method": "t0_qat", "mean": mean, "ci_low": mean - half, "ci_high": mean + half}
    assert reading.table(pd.DataFrame([row]), ["method"]).iat[0, 0] == said


def plain(shown: str) -> float:
    mantissa, _, power = shown.replace(",", "").replace("−", "-").partition(" · 10")
    return float(mantissa) * 10.0 ** int(
        power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or 0
    )


@given(st.floats(-1e8, 1e8).filter(lambda v: v == 0 or abs(v) > 1e-8))
def test_a_number_is_shown_within_half_a_percent(value):
    assert plain(reading.word("detectable", value)) == pytest.approx(value, rel=5e-3)


def test_long_and_hostile_texts_are_whole_and_stay_text():
    written = '"<script>alert(1)</script>\\n' + "a" * 200 + '"'
    rows = pd.DataFrame([{"method": "t0_qat", "text": written}])
    page = reading.scrolling(reading.table(rows, ["method"], also=["text"])).data
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; " + "a" * 200 in page


def test_no_rows_are_an_empty_table():
    assert reading.table(ROWS[:0], ["method"], across=["eval_bits"]).empty


def test_the_papers_baseline_is_called_what_it_is_on_a_network():
    rows = pd.DataFrame({"method": "standard_qat", "model": ["linear", "mlp"], "n": 2})
    shown = reading.table(rows, ["method"], also=["n"])
    assert shown.index.tolist() == ["Standard QAT", "Gaussian noise, 0.4"]
    shown = reading.table(rows.drop(columns="model"), ["method"], also=["n"])
    assert shown.index.tolist() == ["Standard QAT", "Standard QAT"]


def test_truth_is_shown_as_yes_or_no():
    shown = reading.table(ROWS.assign(decided=ROWS.n > 20), ["model"], also=["decided"])
    assert shown["decided"].tolist() == ["no", "no", "yes"]
