"""The rule that turns estimates into verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from t0qat.paper import read
from t0qat.pipeline import claims, statistics
from t0qat.pipeline.claims import CONTRADICTED, SUPPORTED, UNCLEAR, Claim, Comparison


def results(*estimates, error=1.0, n=400) -> dict[str, pd.DataFrame]:
    """One results file with a row an estimate, all with the same standard error."""
    half = stats.t.ppf(0.975, n - 1) * error
    rows = [
        {"quantity": f"q{i}", "estimate": e, "ci_low": e - half, "ci_high": e + half, "n": n}
        for i, e in enumerate(estimates)
    ]
    return {"file": pd.DataFrame(rows)}


def registry(*needs, value=0.0) -> tuple[Claim, ...]:
    tests = [Comparison(f"s{i}", "file", {"quantity": f"q{i}"}, n, value) for i, n in enumerate(needs)]
    return tuple(Claim(f"C{i}", "1", "words", (test,)) for i, test in enumerate(tests))


@pytest.mark.parametrize(
    ("estimate", "needs", "verdict"),
    [
        (-1.97, "below", SUPPORTED),
        (1.97, "below", CONTRADICTED),
        (1.97, "above", SUPPORTED),
        (-1.97, "above", CONTRADICTED),
        (-1.95, "below", UNCLEAR),
        (1.95, "below", UNCLEAR),
        (0.0, "above", UNCLEAR),
    ],
)
def test_one_claim_alone_is_decided_at_two_sided_five_percent(monkeypatch, estimate, needs, verdict):
    monkeypatch.setattr(claims, "declared", lambda: registry(needs))
    assert list(claims.decide(results(estimate)).verdict) == [verdict]


def test_an_estimate_is_held_against_the_value_that_the_claim_names(monkeypatch):
    monkeypatch.setattr(claims, "declared", lambda: registry("below", value=5.0))
    assert list(claims.decide(results(2.0)).verdict) == [SUPPORTED]


def test_many_claims_are_corrected_together_by_holm(monkeypatch):
    estimates = [-2.0, -2.5, -3.5]  # p = 0.046, 0.012, 0.0005; times 1, 2, 3 after Holm's steps
    monkeypatch.setattr(claims, "declared", lambda: registry(*["below"] * 3))
    table = claims.decide(results(*estimates))
    p = 2 * stats.t.cdf(estimates, 399)
    np.testing.assert_allclose(table.p_holm, [p[0], 2 * p[1], 3 * p[2]])
    assert list(table.verdict) == [SUPPORTED] * 3
    monkeypatch.setattr(claims, "declared", lambda: registry(*["below"] * 3))
    assert list(claims.decide(results(-2.0, -2.0, -2.0)).verdict) == [UNCLEAR] * 3


@pytest.mark.parametrize("n", [5, 20, 400])
def test_the_verdict_is_that_of_a_paired_t_test(monkeypatch, n):
    """From single values: the same p-value as scipy's, and nine in ten detectable effects are seen."""
    monkeypatch.setattr(claims, "declared", lambda: registry("below"))
    draws = np.random.default_rng(n)
    values = draws.normal(-0.5, 1, n)
    row = statistics.mean_interval(values)
    file = {"file": pd.DataFrame([row | {"quantity": "q0", "estimate": row["mean"]}])}
    decided = claims.decide(file).iloc[0]
    assert decided.p_holm == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    effect = decided.detectable / values.std(ddof=1)
    seen = stats.ttest_1samp(draws.normal(effect, 1, (4000, n)), 0, axis=1).pvalue < 0.05
    assert abs(seen.mean() - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 4000)


def test_every_claim_of_the_list_has_an_entry_and_each_test_its_row_in_the_committed_results():
    assert [claim.id for claim in claims.declared()] == [f"C{i}" for i in range(1, 13)]
    assert all(claim.tests for claim in claims.declared())
    table = claims.decide({name: read(name) for name in claims.read_by()})
    committed = read("claims")
    assert list(table.verdict) == list(committed.verdict)
    legal = {SUPPORTED, CONTRADICTED, UNCLEAR, "not testable here"}
    assert set(table.verdict) <= legal


def test_equal_results_in_every_pair_are_nothing_to_test(monkeypatch):
    """Neither 0 / 0 nor a verdict, and no part in the correction of the others."""
    monkeypatch.setattr(claims, "declared", lambda: registry(*["below"] * 3))
    tables = results(-2.5, 0.0, -2.6)
    tables["file"].loc[1, ["ci_low", "ci_high"]] = 0.0
    table = claims.decide(tables)
    assert list(table.verdict) == [SUPPORTED, claims.UNTESTABLE, SUPPORTED]
    assert table.p_holm.isna().tolist() == [False, True, False]
    assert table.p_holm[0] == pytest.approx(2 * 2 * stats.t.sf(2.6, 399))  # of two tests, not three
    tables["file"].loc[1, ["estimate", "ci_low", "ci_high"]] = 0.5  # certain, and on the wrong side
    assert claims.decide(tables).verdict[1] == CONTRADICTED


def test_what_a_run_did_not_measure_is_not_testable_and_corrects_nothing(monkeypatch):
    monkeypatch.setattr(claims, "declared", lambda: registry("below", "below"))
    table = claims.decide(results(-2.0))  # one row for two tests
    assert list(table.verdict) == [SUPPORTED, claims.UNTESTABLE]
    assert table.p_holm[0] == pytest.approx(2 * stats.t.cdf(-2, 399)) and table.isna().p_holm[1]


DECLARED = """
[margins]
loss = 0.5
[words]
b = "the other"
[[claims]]
id = "C1"
section = "1"
statement = "It is so"
[[claims.tests]]
statistic = "loss of {method} at {bits}, against {value}"
file = "f"
row = { method = ["a", "b"], bits = [4, 2] }
needs = "above"
margin = "loss"
"""


def test_a_list_in_a_row_stands_for_a_test_of_each_value_and_a_margin_for_what_may_be_lost(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(DECLARED)
    (claim,), margins = claims.load(path)
    assert margins == {"loss": 0.5} and claim[:3] == ("C1", "1", "It is so")
    assert [test.keys for test in claim.tests] == [
        {"method": method, "bits": bits} for method in "ab" for bits in (4, 2)
    ]
    assert {test.value for test in claim.tests} == {-0.5}
    assert claim.tests[3].statistic == "loss of the other at 2, against -0.5"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('needs = "above"', 'needs = "between"', ", C1: .*'between'; allowed are 'below' and 'above'"),
        ('margin = "loss"', 'margin = "gain"', ", C1: .*margin 'gain'; known are loss"),
        ("{bits}", "{width}", ", C1: .*width"),
        ('file = "f"', "", ", C1: .*file"),
        ("row = {", "row = 3 # {", ", C1: "),
        ('section = "1"', "", ", C1: .*section"),
        ('id = "C1"', 'id = "C1', ": "),
        ('needs = "above"', 'needs = "above"\nneed = "above"', ", C1: .*need"),
    ],
)
def test_a_declaration_that_is_not_as_it_must_be_is_one_line(tmp_path, old, new, told):
    path = tmp_path / "claims.toml"
    path.write_text(DECLARED.replace(old, new))
    with pytest.raises(claims.ClaimsError, match=rf"^claims\.toml{told}") as caught:
        claims.load(path)
    assert "\n" not in str(caught.value)
