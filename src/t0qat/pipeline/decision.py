"""The rule by which paired differences decide claims: one verdict for each column of a claim.

A column makes a statement that all its conditions must bear out. A family has a fixed number of columns,
N, and each is tested at level l = ERROR_RATE / N, whatever the others show: a column that is not
measured yet, or cannot be tested, is one that decides nothing, and measuring it later changes no other.
The chance of one wrong decided verdict or more is at most ERROR_RATE under any dependence of columns,
as that of each is at most l. With m the margin, d the true differences and p exact:

- One condition, entry min(2 p_better, 2 p_worse, p_equal). At d = 0 both directions are wrong: l / 2
  each. At 0 < d < m only "contradicted" is: l / 2. At d >= m "no effect" is too, but where p_worse is at
  most l / 2 the test against m rejects at l as well: l together.
- Several, entry 3 min(p_better, p_worse, p_equal): one may have d = 0 and another d = m, and then all
  three words are wrong. Each has chance l / 3: p_better and p_equal, maxima over conditions, by
  intersection-union (Berger 1982), p_worse by Bonferroni over them. Where one of them has no equality,
  "no effect" does not exist, and 2 does.
- A sequence: step j is supported if the steps before it are and p_better <= l / 2. It is wrong first at
  the first step that does not hold, with chance l / 2. "Contradicted" may be wrong at every step, before
  that too, so p_worse is times the number of all conditions of the sequence: l / 2 for all of them. A
  sequence that stops in either direction, each at full level, is too liberal (Grandhi, Guo and Romano
  2019, Statistica Sinica 29:1047).

Where "no effect" and a direction both pass, the verdict is "no effect". A condition that needs no test,
an identity, has p of 0 or 1 and is never wrong. Margins are taken as known.

Holm's method does not hold this. It takes a decided column out of N, as nothing false can be said of it
any more. Here something false can be said of every column, decided or not: where d = 0, "no effect" is
right and both directions are wrong. So right verdicts lower N while as much as before can go wrong;
bench/rule.py shows it. (Steps with directions alone: Finner 1999, Annals of Statistics 27:274.) And p is
exact for normal differences: heavy tails cost power, skewed ones at small n cost the error rate, so
the skewness of each condition's differences stands beside its p-values where n is small.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.power import TTestPower

from t0qat.pipeline.statistics import ERROR_RATE, LEVEL, POWER

SUPPORTED, CONTRADICTED, NO_EFFECT = "supported", "contradicted", "no effect"
UNDECIDED, UNTESTABLE, UNMEASURED = "undecided", "not testable here", "not measured yet"
DIFFERENCE, NON_INFERIORITY, EQUIVALENCE = "difference", "non_inferiority", "equivalence"
IDENTITY = "identity"
KINDS = (DIFFERENCE, NON_INFERIORITY, EQUIVALENCE, IDENTITY)
ROUNDING = 1e-9  # relative; differences this close are the same
WORDS = "id column condition"
NUMBERS = "estimate ci_low ci_high n margin p_better p_worse p_equal p_corrected detectable skewness"


class Sample(NamedTuple):
    """What the rule needs of n differences, of pairs, in the units of the metric; better is positive."""

    mean: np.ndarray | float  # (...)
    deviation: np.ndarray | float  # (...), with n - 1
    n: int

    @classmethod
    def of(cls, differences: np.ndarray) -> "Sample":
        """Of differences (..., n), n >= 2."""
        mean, deviation = np.mean(differences, -1), np.std(differences, -1, ddof=1)
        return cls(mean, deviation, np.shape(differences)[-1])

    @property
    def error(self) -> np.ndarray | float:
        return self.deviation / math.sqrt(self.n)


class Condition(NamedTuple):
    """One comparison that a column rests on."""

    name: str
    sample: Sample
    margin: float = 0.0  # >= 0, in the same units; of a difference, 0: equality is not asked
    kind: str = DIFFERENCE  # one of KINDS
    value: float = 0.0  # what the differences are held against
    hindrance: str = ""  # why it cannot be tested, with the number; empty where it can
    planned: float = math.nan  # the deviation that n is planned by, of differences seen before
    skewness: float = math.nan  # of the differences, where it was measured

    @property
    def untestable(self) -> str:
        """Why it cannot be tested: as given, or since no two differences differ; else empty."""
        mean, deviation, n = self.sample
        if self.hindrance or self.kind == IDENTITY:
            return self.hindrance
        same = n < 2 or deviation <= ROUNDING * abs(mean)
        return f"{self.name}: no two pairs differ" if same else ""


class Step(NamedTuple):
    """Conditions of which all must hold."""

    conditions: tuple[Condition, ...]
    name: str = ""  # what the verdict of a sequence says: "INT4"


class Column(NamedTuple):
    """One column of a claim. Several steps are a sequence; none: its experiment does not exist yet."""

    id: str  # of the claim
    name: str  # of the column
    steps: tuple[Step, ...] = ()

    @property
    def conditions(self) -> list[Condition]:
        return [condition for step in self.steps for condition in step.conditions]


class P(NamedTuple):
    """P-values of three statements, each (...); equal is nan where "no effect" does not exist."""

    better: np.ndarray
    worse: np.ndarray
    equal: np.ndarray


class Decision(NamedTuple):
    """A column's verdict, and of each step its word and its p-value, corrected for the family."""

    verdict: str
    words: tuple[str, ...] = ()
    p_corrected: tuple[float, ...] = ()


def p_values(sample: Sample, margin: float, kind: str = DIFFERENCE, value: float = 0.0) -> P:
    """One-sided t-tests of paired differences with n >= 2, of which some two differ.

    A difference: above value, below it, and within the margin of it (the larger of two one-sided tests,
    Schuirmann 1987). Non-inferiority: above value - margin, and below that. Equivalence: within the
    margin of value, and outside it on either side, twice the smaller. Identity is a fact, and no test: 0
    or 1.
    """

    def p(alternative: str, bound: float) -> np.ndarray:
        tail = stats.t.sf if alternative == "greater" else stats.t.cdf
        return np.asarray(tail((sample.mean - value - bound) / sample.error, sample.n - 1))

    if kind not in KINDS:
        raise ValueError(f"the kind of a test is {kind!r}; allowed are {', '.join(KINDS)}")
    if kind == IDENTITY:
        other = np.asarray((sample.mean != value) | (sample.deviation > 0), float)
        return P(other, 1 - other, np.full_like(other, np.nan))
    if kind == NON_INFERIORITY:
        above = p("greater", -margin)
        return P(above, p("less", -margin), np.full_like(above, np.nan))
    within = np.maximum(p("greater", -margin), p("less", margin))
    if kind == EQUIVALENCE:
        outside = np.minimum(p("less", -margin), p("greater", margin))
        return P(within, np.minimum(1, 2 * outside), np.full_like(within, np.nan))
    return P(p("greater", 0), p("less", 0), within if margin else np.full_like(within, np.nan))


def factors(conditions: int, equality: bool) -> tuple[int, int]:
    """What a column's p-values of a direction, and of equality, are times."""
    return (3, 3) if conditions > 1 and equality else (2, 1)


def entries(steps: Sequence[Sequence[P]]) -> Iterator[P]:
    """Each step's p-values from those of its conditions, times what they cost; at most 1."""
    conditions = sum(map(len, steps))
    for tests in steps:
        better, worse, equal = zip(*tests, strict=True)
        equal = functools.reduce(np.maximum, equal)  # nan as soon as one is
        direction, equality = factors(conditions, not np.isnan(equal).all())
        better = direction * functools.reduce(np.maximum, better)
        worse = direction * conditions * functools.reduce(np.minimum, worse)
        yield P(np.minimum(1, better), np.minimum(1, worse), np.minimum(1, equality * equal))


def decided(steps: Sequence[P], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Words and p-values of the steps of a column, both (steps, ...), from their entries.

    level: of the column; a word stands where the p-value is at most that.
    """
    words, p, before = [], [], 0.0
    for step in steps:
        before = np.maximum(before, step.better)  # supported only as far as all before it are
        passes = [step.equal <= level, before <= level, step.worse <= level]
        words.append(np.select(passes, [NO_EFFECT, SUPPORTED, CONTRADICTED], UNDECIDED))
        p.append(np.fmin(np.minimum(before, step.worse), step.equal))
    return np.array(words), np.array(p)


def decide(column: Column, size: int, error_rate: float = ERROR_RATE) -> Decision:
    """The verdict of one column of a family of that size. Raises ValueError."""
    if not column.steps:
        return Decision(UNMEASURED)
    for condition in column.conditions:
        if why := condition.untestable:
            return Decision(f"{UNTESTABLE} ({why})")
    tests = [[p_values(c.sample, c.margin, c.kind, c.value) for c in s.conditions] for s in column.steps]
    found = list(entries(tests))
    if len(found) > 1 and not np.isnan([step.equal for step in found]).all():
        raise ValueError(
            f"{column.id}, {column.name}: a sequence has tests of equality; allowed are none"
        )
    words, p = decided(found, error_rate / size)
    corrected = np.minimum(1, size * p)
    return Decision(_verdict(column.steps, list(words)), tuple(map(str, words)), tuple(corrected))


def _verdict(steps: Sequence[Step], words: list[str]) -> str:
    """The word of one step, or how far a sequence holds and where it does not."""
    if len(steps) == 1:
        return str(words[0])
    held = [step.name for step, word in zip(steps, words, strict=True) if word == SUPPORTED]
    failed = [step.name for step, word in zip(steps, words, strict=True) if word == CONTRADICTED]
    told = [f"{SUPPORTED} to {held[-1]}"] if held else []
    told += [f"{CONTRADICTED} at {', '.join(failed)}"] if failed else []
    return "; ".join(told) or UNDECIDED


@functools.cache
def standardized(n: int, level: float, power: float = POWER) -> float:
    """Smallest mean, in standard deviations, that a one-sided t-test of n >= 2 sees at this power."""
    return TTestPower().solve_power(nobs=n, alpha=level, power=power, alternative="larger")


def condition_table(
    columns: Sequence[Column], size: int, error_rate: float = ERROR_RATE
) -> pd.DataFrame:
    """One row a condition of every measured column, in their order.

    Columns: id, column, condition, estimate, ci_low, ci_high (95 %, of this condition alone), n, margin,
    p_better, p_worse, p_equal (of this condition alone, not corrected), p_corrected (of its step of the
    column, times size: decided where at most error_rate), detectable (the true distance from what it is
    held against that p_better sees at power POWER, after correction), skewness. nan: not there.
    """
    rows = []
    for column in columns:
        decision = decide(column, size, error_rate)
        p_steps = decision.p_corrected or [math.nan] * len(column.steps)
        everywhere = all(c.kind == DIFFERENCE and c.margin for c in column.conditions)
        level = error_rate / size / factors(len(column.conditions), everywhere)[0]
        for step, p in zip(column.steps, p_steps, strict=True):
            for c in step.conditions:
                row = {"id": column.id, "column": column.name, "condition": c.name} | _estimate(c, level)
                rows.append(row | {"p_corrected": p})
    return pd.DataFrame(rows, columns=f"{WORDS} {NUMBERS}".split())


def _estimate(c: Condition, level: float) -> dict[str, float]:
    """What one condition shows by itself; level: of a direction of its column."""
    mean, deviation, n = c.sample
    row = {"n": n, "margin": c.margin, "skewness": c.skewness}
    if n > 1:
        half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * c.sample.error
        row |= {"estimate": mean, "ci_low": mean - half, "ci_high": mean + half}
    if not c.untestable:
        p = p_values(c.sample, c.margin, c.kind, c.value)
        row |= {f"p_{name}": float(value) for name, value in p._asdict().items()}
        row["detectable"] = standardized(n, level) * deviation
    return row


def verdict_table(
    claims: Mapping[str, str], columns: Sequence[Column], size: int, error_rate: float = ERROR_RATE
) -> pd.DataFrame:
    """One row a claim: id, claim, and the verdict of each column that any claim has; empty where not.

    claims: by id, in our words; size: of the family, at least as many as the columns. Raises ValueError.
    """
    if len(columns) > size:
        raise ValueError(f"the family has {len(columns)} columns; its fixed size is {size}")
    names = list(dict.fromkeys(column.name for column in columns))
    found = {(column.id, column.name): decide(column, size, error_rate).verdict for column in columns}
    return pd.DataFrame(
        {"id": id, "claim": claim} | {name: found.get((id, name), "") for name in names}
        for id, claim in claims.items()
    )
