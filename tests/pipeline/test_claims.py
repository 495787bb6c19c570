"""What claims.toml declares, and how it finds its numbers in results files."""

import numpy as np
import pandas as pd
import pytest
from rule import SIZE
from scipy import stats

from t0qat.paper import PAPER, read
from t0qat.pipeline import claims, statistics
from t0qat.pipeline.decision import CONTRADICTED, NO_EFFECT, SUPPORTED, UNMEASURED, Condition, Sample

DECLARED = """
family = 4
[columns]
now = "as it is"
tuned = "as it might be"
[margins]
loss = 0.5
[bars]
accuracy = 0.6
[words]
b = "the other"
[[claims]]
id = "C1"
section = "1"
statement = "It is so"
tuned = []
[[claims.now]]
statistic = "loss of {method} at {bits}"
file = "f"
row = { method = ["a", "b"], bits = [4, 2] }
better = "below"
margin = { fixed = "loss", share = 0.1, file = "g", row = { method = "{method}" } }
learned = { file = "g", row = { method = "{method}" }, above = "accuracy", skip = true }
[[claims.exploratory]]
statistic = "loss of {method} at {bits}"
file = "f"
row = { method = { all_but = ["a"] }, bits = 4 }
better = "above"
value = 1.0
"""


def made(estimates, accuracy=(0.9, 9.0), error=0.1, n=30) -> dict[str, pd.DataFrame]:
    """Estimates of a at 4 and 2 bits and of b, each with this standard error; means by method."""
    half = stats.t.ppf(0.975, n - 1) * error
    keys = [(method, bits) for method in "ab" for bits in (4, 2)]
    rows = [
        {"method": m, "bits": b, "estimate": e, "ci_low": e - half, "ci_high": e + half, "n": n}
        for (m, b), e in zip(keys, estimates, strict=True)
    ]
    means = [{"method": m, "mean": v} for m, v in zip("ab", accuracy, strict=True)]
    return {"f": pd.DataFrame(rows), "g": pd.DataFrame(means)}


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Let the paper's claims be these."""

    def put(text=DECLARED):
        path = tmp_path / "claims.toml"
        path.write_text(text)
        found = claims.load(path)
        monkeypatch.setattr(claims, "load", lambda: found)
        return found

    return put


def test_a_sample_is_what_the_replicates_were():
    values = np.random.default_rng(1).normal(-2, 3, 12)
    row = statistics.paired_difference(values, np.zeros(12))
    one = claims.Declared("s", "f", {}, "below", value=1.0)
    expected = Sample.of(1 - values)
    assert claims.sample(row, one) == pytest.approx(expected, rel=1e-12)


def test_lists_margins_and_words(declare):
    declare()
    (column, empty) = claims.family(made([-1, -2, -3, -4]))
    assert [(c.name, c.margin, c.sample.mean) for c in column.conditions] == [
        ("loss of a at 4", 0.5, 1),
        ("loss of a at 2", 0.5, 2),
        ("loss of the other at 4", pytest.approx(0.9), 3),
        ("loss of the other at 2", pytest.approx(0.9), 4),
    ]
    assert not empty.steps


@pytest.mark.parametrize(
    ("estimates", "accuracy", "verdict"),
    [
        ([-2, -2, -2, -2], (0.9, 0.9), SUPPORTED),
        ([2, -2, -2, -2], (0.9, 0.9), CONTRADICTED),
        ([0, 0, 0, 0], (0.9, 0.9), NO_EFFECT),
        ([2, 2, -2, -2], (0.6, 0.9), SUPPORTED),  # a has learned nothing, so the claim is about b
        ([-2, -2, -2, -2], (0.6, 0.5), "not testable here (a has learned nothing: accuracy 0.6, not"),
    ],
)
def test_a_claims_verdict(declare, estimates, accuracy, verdict):
    declare()
    (row,) = claims.decide(made(estimates, accuracy))["verdicts"].to_dict("records")
    assert row["now"].startswith(verdict) and row["tuned"] == UNMEASURED


def test_without_skip_one_model_that_learned_nothing_is_enough(declare):
    declare(DECLARED.replace(", skip = true", ""))
    found = claims.decide(made([-2, -2, -2, -2], (0.9, 0.5)))
    why = "not testable here (the other has learned nothing: accuracy 0.5, not above 0.6)"
    assert found["verdicts"].now[0] == why
    assert found["claims"].p_corrected.isna().all() and found["claims"].p_better.notna().sum() == 2


def test_what_a_run_did_not_measure(declare):
    declare()
    tables = made([-2, -2, -2, -2])
    for file in ("f", "g"):
        fewer = tables | {file: tables[file][tables[file].method == "a"]}
        found = claims.decide(fewer)
        assert found["verdicts"].now[0] == "not testable here (this run did not measure it)"
    none = claims.decide(tables | {"f": tables["f"].head(0)})
    assert none["verdicts"].now[0] == UNMEASURED and none["claims_exploratory"].empty


def test_a_condition_of_all_others_is_not_dropped_where_there_is_none(declare):
    """Else a column would be decided by what is left of it."""
    here, more = DECLARED.index("[[claims.now]]"), DECLARED.index("[[claims.expl")
    others = DECLARED[here:more].replace('["a", "b"]', '{ all_but = ["a"] }')
    declare(DECLARED.replace('["a", "b"]', '"a"') + others)
    tables = made([-2, -2, -2, -2])
    assert claims.decide(tables)["verdicts"].now[0] == "supported"
    found = claims.decide(tables | {"f": tables["f"][tables["f"].method == "a"]})
    assert found["verdicts"].now[0] == "not testable here (this run did not measure it)"


def test_a_margin_of_the_row_and_a_sequence(declare):
    margin = DECLARED[DECLARED.index("margin = { fixed") : DECLARED.index("[[claims.expl")]
    own = 'margin = { column = "m" }\nkind = "non_inferiority"\nstep = "INT{bits}"\n'
    declare(DECLARED.replace(margin, own))
    tables = made([0, 3, 0, 0])
    tables["f"]["m"] = [1.0, 2.0, 1.0, 2.0]
    found = claims.decide(tables)
    assert found["verdicts"].now[0] == "supported to INT4; contradicted at INT2"
    assert found["claims"].margin.tolist() == [1, 1, 2, 2]


def test_exploratory_rows_are_two_sided_and_corrected_together(declare):
    declare(DECLARED.replace('"a"]}, bits = 4', '"a"]}, bits = [4, 2]').replace(
        '["a"] }, bits = 4', '["a"] }, bits = [4, 2]'))  # fmt: skip
    table = claims.decide(made([0, 0, 1.2, 0.9]))["claims_exploratory"]
    p = 2 * stats.t.sf([2, 1], 29)
    np.testing.assert_allclose(table.estimate, [0.2, -0.1], atol=1e-12)
    np.testing.assert_allclose(table.p_bh, [min(2 * p[0], p[1]), p[1]])


def test_the_numbers_of_a_condition_are_its_rows(declare):
    declare()
    tables = made([-1, -2, -3, -4])
    table = claims.decide(tables)["claims"]
    np.testing.assert_allclose(table.estimate, -tables["f"].estimate)
    np.testing.assert_allclose(table.ci_low, -tables["f"].ci_high)
    np.testing.assert_allclose(table.p_better[0], stats.t.sf(10, 29), rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('better = "below"', 'better = "between"', ", C1: .*'between'.*; allowed are below, above"),
        ('fixed = "loss"', 'fixed = "gain"', ", C1: .*margin = 'gain'.*; allowed are loss"),
        ('above = "accuracy"', 'above = "gain"', ", C1: .*bar = 'gain'.*; allowed are accuracy"),
        ('{ fixed = "loss"', '{ fixd = "loss"', ", C1: .*margin = 'fixd'.*; allowed are fixed, share"),
        ("skip = true", "skp = true", ", C1: .*learned = 'skp'.*; allowed are "),
        ('better = "below"', 'better = "below"\nkind = "k"', ", C1: .*kind = 'k'.*; allowed are diff"),
        ("{bits}", "{width}", ", C1: .*width"),
        ('file = "f"', "", ", C1: .*file"),
        ('section = "1"', "", ", C1: .*section"),
        ('id = "C1"', 'id = "C1', ": "),
        ('better = "below"', 'better = "below"\nneed = "above"', ", C1: .*need"),
        ("family = 4", "family = 1", ": .*family = 1: it has 2 columns"),
        ("family = 4", "", ": .*family"),
    ],
)
def test_a_declaration_that_is_not_as_it_must_be_is_one_line(tmp_path, old, new, told):
    path = tmp_path / "claims.toml"
    path.write_text(DECLARED.replace(old, new, 1))
    with pytest.raises(claims.ClaimsError, match=rf"^claims\.toml{told}") as caught:
        claims.load(path)
    assert "\n" not in str(caught.value)


def test_the_papers_family_is_the_one_that_is_simulated_and_each_claim_has_a_column():
    found = claims.load()
    assert found.family == SIZE == sum(len(claim.columns) for claim in found.claims)
    assert [claim.id for claim in found.claims] == [f"C{i}" for i in range(1, 14)]
    assert [*found.columns] == PAPER.columns_of("verdicts")[2:]


def test_the_committed_verdicts_are_those_of_the_committed_results():
    found = claims.decide({name: read(name) for name in claims.read_by()})
    for name, table in found.items():
        committed = read(name)
        assert list(table.columns) == list(committed.columns)
        words = [column for column in committed if not PAPER.columns[column].is_number]
        pd.testing.assert_frame_equal(
            table[words].replace("", None), committed[words].replace("", None), check_dtype=False
        )


def test_a_condition_that_is_not_there_is_in_the_table_without_numbers(declare):
    declare()
    tables = made([-2, -2, -2, -2])
    table = claims.decide(tables | {"f": tables["f"].head(3)})["claims"]
    assert table.estimate.isna().tolist() == [False, False, False, True]
    assert table["n"].isna().tolist() == [False, False, False, True]
    assert Condition("x", Sample(np.nan, np.nan, 0)).untestable
