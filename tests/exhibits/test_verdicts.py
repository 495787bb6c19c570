"""The verdicts' tables: what each hangs on, how many there are, and what changed."""

import re

import numpy as np
import pandas as pd
import pytest
from made_up import frames

from t0qat.exhibits import verdicts
from t0qat.pipeline import claims


def claimed(verdict: str, **conditions) -> dict[str, pd.DataFrame]:
    """One claim with this verdict, and p-values (better, worse, equal) by names of conditions."""
    said = {"id": "C1", "claim": "It is so", "as_published": verdict, "scale_tuned": ""}
    rows = [
        {"id": "C1", "column": "as_published", "condition": name, "estimate": i, "ci_low": i - 0.1}
        | {"ci_high": i + 0.1, "n": 9, "margin": 0.5, "p_corrected": 0.2, "detectable": 1.0}
        | dict(zip(("p_better", "p_worse", "p_equal"), p, strict=True))
        for i, (name, p) in enumerate(conditions.items(), 1)
    ]
    return {"verdicts": pd.DataFrame([said]), "claims": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("verdict", "hangs"),
    [
        ("supported", 2),  # the least clear of what holds
        ("contradicted", 1),  # the clearest of what fails
        ("no effect", 3),
        ("undecided", 2),
        ("supported to INT4; contradicted at INT3", 1),
        ("not testable here (accuracy 0.1, not above 0.5)", None),
        ("not measured yet", None),
    ],
)
def test_the_number_that_a_verdict_hangs_on(verdict, hangs):
    p = {"a": (0.1, 0.01, 0.2), "b": (0.9, 0.3, 0.1), "c": (0.2, 0.8, 0.6), "d": (np.nan,) * 3}
    tables = claimed(verdict, **({} if verdict == "not measured yet" else p))
    if verdict == "not measured yet":
        tables["claims"] = claimed(verdict, **p)["claims"].head(0)
    ((_, shown, empty),) = verdicts.deciding_cells(tables)
    number = f": {'abcd'[hangs - 1]}: {hangs}.00 [{hangs - 0.1:.2f}, {hangs + 0.1:.2f}]" if hangs else ""
    number += ", margin 0.5" if hangs else ""
    assert shown == verdict + number and empty == "–"


def test_verdicts_are_counted_by_kind_and_each_column_once():
    tables = frames()
    found = verdicts.counts(tables)
    cells = tables["verdicts"][["as_published", "scale_tuned"]].to_numpy().ravel()
    assert sum(found.values()) == sum(bool(cell) for cell in cells) == claims.load().family
    kinds = {verdicts.kind_of(w) for w in ("supported", "supported to INT4", "contradicted at INT2")}
    assert kinds == {"supported", "supported to", "contradicted"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["supported"], "1 is supported"),
        (["undecided", "undecided", "no effect"], "1 shows no effect and 2 are undecided"),
        (
            ["contradicted", "contradicted at INT2", "supported to INT4", "not measured yet"],
            "1 is supported to a bit-width, 2 are contradicted and 1 is not measured yet",
        ),
        (["supported to INT4; contradicted at INT2"] * 2, "2 are supported to a bit-width"),
        (["no effect"] * 11 + ["supported"] * 12, "12 are supported and 11 show no effect"),
        (
            ["not testable here (a has learned nothing)"] * 2 + ["not measured yet"] * 3,
            "2 are not testable here and 3 are not measured yet",
        ),
    ],
)
def test_counts_of_verdicts_make_a_sentence_without_those_of_none(cells, said):
    table = pd.DataFrame({"id": "C1", "claim": "words", "as_published": cells, "scale_tuned": ""})
    counts = verdicts.counts({"verdicts": table})
    assert verdicts.tally(counts) == said
    assert sum(counts.values()) == len(cells)


def test_what_changed_is_what_has_other_words_than_the_first_tests():
    """C6 was contradicted by every test, C11 supported by none; C13 was not there."""
    said = pd.DataFrame(
        {"id": id, "claim": "words", "as_published": word, "scale_tuned": ""}
        for id, word in (
            ("C6", "contradicted"),
            ("C11", "undecided"),
            ("C13", "no effect"),
            ("C9", "undecided"),
        )
    )
    body, macros = verdicts.changed_table({"verdicts": said, "claims": frames()["claims"]})
    assert macros == {"ClaimsChanged": "2"}
    (new, mixed) = [line for line in body.splitlines() if re.match("C", line)]
    assert new.startswith("C13 & --") and "a new claim; equality is tested" in new
    assert mixed.startswith("C9 & 2 supported, 2 not supported & undecided & --")
    assert "one verdict a column in place of 4 tests; all conditions must hold" in mixed
