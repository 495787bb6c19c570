"""The rule by which results decide the paper's claims, which paper/claims.toml declares.

A test compares an estimate with a value that the claim needs it to lie below or above.
Its standard error is read off its 95 % interval, its two-sided p-value is that of Student's t, and the
p-values of all tests are corrected together by Holm's method. Where the corrected p-value is below
the error rate, the claim is supported if the estimate lies on the side it needs, contradicted if on the
other; elsewhere it is not supported: the data cannot tell it from no effect, and `detectable` says which
distance from the compared value would have been seen with 90 % power. Where every replicate gives the
compared value itself, to the last bit, there is nothing to test, nor where a run with other parameters
did not measure what is asked: not testable here.
"""

import functools
import itertools
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from scipy import stats

from t0qat.pipeline import places
from t0qat.pipeline.statistics import ERROR_RATE, LEVEL, holm, standardized_effect

SUPPORTED, CONTRADICTED, UNCLEAR = "supported", "contradicted", "not supported"
UNTESTABLE = "not testable here"
DECLARED = places.ROOT / "paper" / "claims.toml"


class ClaimsError(ValueError):
    """Declared claims that are not as they must be, in one line."""


class Comparison(NamedTuple):
    """One estimate in a results file, and where a claim needs it to lie."""

    statistic: str
    file: str
    keys: dict[str, str | float]  # which row
    needs: str  # "below" or "above"
    value: float = 0.0


class Claim(NamedTuple):
    """A claim in our own words, the section that makes it, and its tests."""

    id: str
    section: str
    statement: str
    tests: tuple[Comparison, ...]


@functools.cache
def load(path: Path = DECLARED) -> tuple[tuple[Claim, ...], dict[str, float]]:
    """The claims, and the margins by name. Raises ClaimsError, which names the claim."""
    claims, where = [], path.name
    try:
        content = tomllib.loads(path.read_text())
        for claim in content["claims"]:
            where = f"{path.name}, {claim['id']}"
            tests = [test for each in claim.pop("tests") for test in _tests(content, **each)]
            claims.append(Claim(**claim, tests=tuple(tests)))
        return tuple(claims), content["margins"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClaimsError(f"{where}: {type(error).__name__}: {error}") from None


def _tests(
    content: dict, statistic: str, file: str, row: dict, needs: str, value: float = 0.0, margin: str = ""
) -> Iterator[Comparison]:
    """What a declared test stands for: one for each of the values that stand in a list of its row."""
    if needs not in ("below", "above"):
        raise ValueError(f"a test of {file} needs {needs!r}; allowed are 'below' and 'above'")
    if margin:
        if margin not in content["margins"]:
            known = ", ".join(content["margins"])
            raise ValueError(f"a test of {file} has the margin {margin!r}; known are {known}")
        value = content["margins"][margin] * (1 if needs == "below" else -1)
    for values in itertools.product(*(v if isinstance(v, list) else [v] for v in row.values())):
        keys = dict(zip(row, values, strict=True))
        shown = {key: content["words"].get(str(v), v) for key, v in keys.items()} | {
            "value": f"{value:g}"
        }
        yield Comparison(statistic.format(**shown), file, keys, needs, value)


def declared() -> tuple[Claim, ...]:
    """The paper's claims. Raises ClaimsError."""
    return load()[0]


def margins() -> dict[str, float]:
    """What may be lost and count as nothing, by name. Raises ClaimsError."""
    return load()[1]


def read_by() -> list[str]:
    """The results files that the tests need."""
    return sorted({test.file for claim in declared() for test in claim.tests})


def standard_error(row: dict[str, float]) -> float:
    """Of an estimate, from its interval."""
    return (row["ci_high"] - row["ci_low"]) / (2 * stats.t.ppf((1 + LEVEL) / 2, row["n"] - 1))


def judge(row: dict[str, float], test: Comparison) -> tuple[str, float]:
    """The side on which an estimate lies, SUPPORTED or CONTRADICTED, and its uncorrected p-value.

    UNTESTABLE and nan where every replicate gives the compared value itself.
    """
    error, distance = standard_error(row), abs(row["estimate"] - test.value)
    if error == distance == 0:
        return UNTESTABLE, math.nan
    below = row["estimate"] < test.value
    side = SUPPORTED if below == (test.needs == "below") else CONTRADICTED
    return side, 2 * stats.t.sf(distance / error if error else math.inf, row["n"] - 1)


def decide(results: dict[str, pd.DataFrame], error_rate: float = ERROR_RATE) -> pd.DataFrame:
    """Every claim's verdict: one row a test.

    Columns: id, claim, statistic, verdict, value (what the estimate is compared with), estimate, ci_low,
    ci_high, n, p_holm, detectable. error_rate: the chance of one wrong decided verdict or more, if
    no claim and no opposite held.
    """
    rows = []
    for claim, test in [(c, test) for c in declared() for test in c.tests]:
        row = _row(results[test.file], test.keys)
        verdict, p = judge(row, test) if row else (UNTESTABLE, math.nan)
        if verdict != UNTESTABLE:
            deviation = standard_error(row) * math.sqrt(row["n"])
            row["detectable"] = deviation * standardized_effect(row["n"])
        words = {"id": claim.id, "claim": claim.statement, "statistic": test.statistic}
        rows.append(words | {"verdict": verdict, "value": test.value, "p_holm": p} | row)
    table = pd.DataFrame(rows)
    tested = table.p_holm.notna()
    table.loc[tested, "p_holm"] = holm(table.p_holm[tested])
    table.loc[tested & (table.p_holm >= error_rate), "verdict"] = UNCLEAR
    table["n"] = table["n"].astype("Int64")
    return table


def _row(table: pd.DataFrame, keys: dict[str, str | float]) -> dict[str, float]:
    """Estimate, interval and n of the one row with these keys; empty where there is none."""
    for column, value in keys.items():
        table = table[table[column] == value]
    (row,) = table[["estimate", "ci_low", "ci_high", "n"]].to_dict("records") or [{}]
    return row
