"""Numbers that a text looks up: each kind, and one line for what is not there."""

import math

import pandas as pd
import pytest

from t0qat.pipeline.lookups import look_up, used
from t0qat.pipeline.results import ResultsError

TABLES = {
    "losses": pd.DataFrame(
        [
            ("ours", 4, 2.1823, 2.1613, 2.2033, 1.0666, 0.0004),
            ("ours", 8, -1.5e-5, -2e-5, -1e-5, 1.0, 0.4),
            ("theirs", 8, 0.3604, 0.351, 0.3699, 12000.0, 0.06),
        ],
        columns=["method", "bits", "mean", "ci_low", "ci_high", "std", "p_holm"],
    ),
    "text": pd.DataFrame([{"name": "a b", "characters": 465048, "seconds": math.nan}]),
}
OURS, THEIRS = "losses/method=ours, bits=4", "losses/method=theirs"


@pytest.mark.parametrize(
    ("kind", "place", "shown"),
    [
        ("Number", OURS, "2.182"),
        ("Number", f"{OURS}/mean", "2.182"),
        ("Number", f"{OURS}/ci_low", "2.161"),
        ("Number", f"{OURS}/std", "1.07"),
        ("Percent", THEIRS, "36.0"),
        ("Percent", f"{THEIRS}/ci_high", "37.0"),
        ("Count", f"{THEIRS}/std", "12,000"),
        ("Count", "text/characters", "465,048"),
        ("Count", "text/name=a b", "1"),
        ("Count", "losses/method=ours", "2"),
        ("Count", "losses", "3"),
        ("Interval", OURS, "2.182 [2.161, 2.203]"),
        ("Interval", "losses/method = ours,\n  bits=8", "−1.50 [−2.00, −1.00] · 10⁻⁵"),
        ("PercentInterval", THEIRS, "36.0 % (35.1 to 37.0 %)"),
        ("Direction", OURS, "larger than"),
        ("Direction", THEIRS, "not detectably different from"),  # by the corrected p-value
    ],
)
def test_each_kind_shows_its_number(kind, place, shown):
    assert look_up(kind, place, TABLES.__getitem__) == shown


@pytest.mark.parametrize(
    ("kind", "place", "told"),
    [
        ("Number", "losses/method=ours/mean", "2 rows match; losses has method: ours, theirs"),
        ("Number", "losses/bits=5/mean", "0 rows match; losses has bits: 4, 8"),
        ("Number", "losses/bits=four/mean", "0 rows match"),
        ("Count", "losses/method=nobody", "0 rows match"),
        ("Number", "losses/width=4/mean", "losses has no column 'width'; it has method, bits, mean"),
        ("Number", f"{OURS}/median", "losses has no column 'median'"),
        ("Number", "text", "text has no column 'mean'; it has name, characters"),
        ("Interval", "text", "text has no column 'mean'; it has name, characters"),
        ("Direction", "text", "text has no column 'mean'; it has name, characters"),
        ("Count", "text/name", "name = 'a b' is no number"),
        ("Number", "text/seconds", "seconds = nan is no number"),
        ("Number", f"{OURS}/mean/std", "Number takes one column"),
        ("Interval", f"{OURS}/mean", "Interval takes no column"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(kind, place, told):
    with pytest.raises(ResultsError) as error:
        look_up(kind, place, TABLES.__getitem__)
    assert str(error.value).startswith(f"{place}: ")
    assert told in str(error.value) and "\n" not in str(error.value)


def test_the_lookups_of_a_source_are_found_over_its_line_breaks():
    source = (
        "a \\Number{losses/method=ours,\n    bits=4/mean} and \\Count{text}, \\Counted{x}, \\Setting{y}"
        " and \\Answer{losses/1}"
    )
    number = ("Number", "losses/method=ours, bits=4/mean")
    assert used(source) == {number, ("Count", "text"), ("Answer", "losses/1")}
