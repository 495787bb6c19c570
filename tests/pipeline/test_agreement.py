"""What two runs decide differently, step by step."""

import pandas as pd
import pytest

from t0qat.pipeline import agreement

ORDER = ["INT8", "INT4", "INT3", "INT2"]


def verdicts(*words: str) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": f"C{i}", "claim": "words", "as_published": "undecided", "scale_tuned": word}
        for i, word in enumerate(words)
    )


@pytest.mark.parametrize(
    ("first", "second", "steps"),
    [
        ("supported", "contradicted", [""]),
        ("no effect", "supported", [""]),
        ("contradicted", "no effect", [""]),
        ("supported", "supported", []),
        ("supported", "undecided", []),
        ("not testable here (a has learned nothing)", "contradicted", []),
        ("not measured yet", "no effect", []),
        ("", "", []),
        ("supported to INT4", "supported to INT2", []),
        ("supported to INT4", "contradicted at INT2", []),
        ("supported to INT4", "contradicted at INT3, INT2", []),
        ("supported to INT4", "contradicted at INT8, INT2", ["INT8"]),
        ("supported to INT4; contradicted at INT2", "supported to INT3; contradicted at INT2", []),
        ("supported to INT4; contradicted at INT3", "supported to INT2", ["INT3"]),
        ("contradicted at INT3, INT2", "supported to INT2", ["INT3", "INT2"]),
        ("contradicted at INT3, INT2", "undecided", []),
    ],
)
def test_a_flip_is_one_decided_word_for_another_step_by_step(first, second, steps):
    for one, other in ((first, second), (second, first)):
        found = agreement.flips(verdicts("supported", one), verdicts("supported", other), ORDER)
        assert sorted(found.step) == sorted(steps)
        assert {*found.id} <= {"C1"} and {*found.column} <= {"scale_tuned"}
        assert (found["first"] != found["second"]).all()


def test_a_step_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="INT5"):
        agreement.flips(verdicts("supported to INT5"), verdicts("undecided"), ORDER)
