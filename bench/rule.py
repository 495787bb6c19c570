"""The rule for claims on families of known truth: how often a decided verdict is wrong, and its power.

A family has SIZE columns, which depend on each other as all share the plain arm. `make bench` prints the
share of families in which one decided verdict or more is wrong, by the rule and, as_written, by Holm's
method over min(2 p_better, 2 p_worse, p_equal) with later steps of a sequence at the level of its first,
which does not hold; then the columns that are wrong most often of many drawn ones; then power.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from t0qat.pipeline import decision, planning
from t0qat.pipeline.decision import (
    CONTRADICTED,
    DIFFERENCE,
    EQUIVALENCE,
    NO_EFFECT,
    NON_INFERIORITY,
    SUPPORTED,
    UNDECIDED,
    P,
    Sample,
)
from t0qat.pipeline.statistics import ERROR_RATE

SIZE = 20
FAMILIES = 20_000
BAR = -0.2  # of the plain arm's mean; a column with a bar cannot be tested below it


class Truth(NamedTuple):
    """One condition: its true difference and its margin, in standard errors."""

    difference: float
    margin: float
    kind: str = DIFFERENCE


class Kind(NamedTuple):
    """A column of known truth: steps of conditions; none is measured where there is no step."""

    steps: tuple[tuple[Truth, ...], ...] = ()
    bar: bool = False


class Noise(NamedTuple):
    """n pairs, the share of their variance that all columns have in common, and their distribution."""

    n: int
    common: float
    tails: str = "normal"


TAILS: dict[str, Callable] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed": lambda rng, shape: (rng.standard_gamma(16, shape) - 16) / 4,  # skewness 0.5
}
Rule = Callable[[list[list[list[P]]], list[np.ndarray]], list[np.ndarray]]


def right(word: str, step: Sequence[Truth]) -> bool:
    """Whether a word is true of a step."""
    if word == NO_EFFECT:
        return all(abs(t.difference) < t.margin for t in step)
    distances = {
        DIFFERENCE: lambda t: t.difference,
        NON_INFERIORITY: lambda t: t.difference + t.margin,
        EQUIVALENCE: lambda t: t.margin - abs(t.difference),
    }
    found = [distances[t.kind](t) for t in step]
    return {SUPPORTED: min(found) > 0, CONTRADICTED: min(found) < 0, UNDECIDED: True}[word]


def the_rule(columns: list[list[list[P]]], testable: list[np.ndarray]) -> list[np.ndarray]:
    """Words (steps, families) of each column that is measured."""
    words = [decision.decided(list(decision.entries(c)), ERROR_RATE / SIZE)[0] for c in columns]
    return [np.where(can, w, UNDECIDED) for w, can in zip(words, testable, strict=True)]


def as_written(columns: list[list[list[P]]], testable: list[np.ndarray]) -> list[np.ndarray]:
    """The same by Holm's method: columns all of whose steps are decided are counted out of SIZE."""
    found = []
    for steps, can in zip(columns, testable, strict=True):
        found.append([])
        for tests in steps:
            better, worse, equal = zip(*tests, strict=True)
            worse = len(tests) * np.minimum.reduce(worse)
            entry = P(2 * np.maximum.reduce(better), 2 * worse, np.maximum.reduce(equal))
            found[-1].append(P(*(np.where(can, p, 1) for p in entry)))
    words = [
        np.full((len(steps), len(can)), UNDECIDED) for steps, can in zip(found, testable, strict=True)
    ]
    done = np.zeros(len(testable[0]), int)
    while True:
        level = ERROR_RATE / np.maximum(1, SIZE - done)
        for i, steps in enumerate(found):
            now = _in_order(steps, level)
            words[i] = np.where(words[i] == UNDECIDED, now, words[i])
        over = [(w[-1] != UNDECIDED) | (w == CONTRADICTED).any(0) for w in words]
        if (done == (done := np.sum(over, 0))).all():
            return words


def _in_order(steps: list[P], level: np.ndarray) -> np.ndarray:
    """Each step's word in either direction or of equality, as long as those before are supported."""
    words, alive = [], True
    for step in steps:
        passes = [step.equal <= level, step.better <= level, step.worse <= level]
        words.append(
            np.where(
                alive, np.select(passes, [NO_EFFECT, SUPPORTED, CONTRADICTED], UNDECIDED), UNDECIDED
            )
        )
        alive = words[-1] == SUPPORTED
    return np.array(words)


def simulated(family: Sequence[Kind], noise: Noise, rng: np.random.Generator, families: int) -> tuple:
    """P-values of all measured columns, by column, step and condition; and where each can be tested."""
    draw, shape = TAILS[noise.tails], (families, noise.n)
    plain = draw(rng, shape)
    columns, testable, unit = [], [], 1 / np.sqrt(noise.n)
    for column in family:
        if not column.steps:
            continue
        columns.append([])
        testable.append(~column.bar | (plain.mean(-1) > BAR))
        for step in column.steps:
            columns[-1].append([])
            for t in step:
                own = draw(rng, shape)
                sample = np.sqrt(noise.common) * plain + np.sqrt(1 - noise.common) * own
                sample += t.difference * unit
                columns[-1][-1].append(decision.p_values(Sample.of(sample), t.margin * unit, t.kind))
    return columns, testable


def wrong(family: Sequence[Kind], words: list[np.ndarray]) -> np.ndarray:
    """Whether one decided verdict or more is wrong, (families,)."""
    found = np.zeros(words[0].shape[-1], bool)
    for column, mine in zip([c for c in family if c.steps], words, strict=True):
        for step, here in zip(column.steps, mine, strict=True):
            for word in (SUPPORTED, CONTRADICTED, NO_EFFECT):
                if not right(word, step):
                    found |= here == word
    return found


def planned_margin(n: int) -> float:
    """In standard errors: within it, equality is seen at the power that n is planned for."""
    low, high = 1.0, 40.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        enough = planning.equivalence_power(n, middle / np.sqrt(n), ERROR_RATE / SIZE) >= 0.9
        low, high = (low, middle) if enough else (middle, high)
    return high


def families(n: int) -> dict[str, list[Kind]]:
    """Truths to be wrong about, each of SIZE columns; margins as n is planned for, unless said."""
    m = planned_margin(n)

    def step(*differences: float, kind: str = DIFFERENCE, margin: float = m) -> tuple[Truth, ...]:
        return tuple(Truth(d, margin, kind) for d in differences)

    def sequence(*differences: float, pair: bool = False) -> Kind:
        return Kind(tuple(step(*[d] * (1 + pair), kind=NON_INFERIORITY) for d in differences))

    def all_of(kind: Kind) -> list[Kind]:
        return [kind] * SIZE

    far = 3 * m
    mixed = [Kind((step(d),)) for d in (0, m, -m, far, -far, m / 2)]
    mixed += [
        Kind((step(0, m),)),
        Kind((step(0, 0, 0, 0, 0),)),
        Kind((step(far, -far),)),
        Kind((step(far, 0),)),
    ]
    mixed += [
        sequence(far, -m, -m),
        sequence(0, -m, -far),
        sequence(-m, -m, -m),
        sequence(0, 0, -far, pair=True),
    ]
    mixed += [Kind((step(m, 0, kind=EQUIVALENCE),)), Kind((step(-m, far, kind=NON_INFERIORITY),))]
    mixed += [Kind((step(0),), bar=True), Kind((step(m, 0),), bar=True), Kind(), Kind()]
    return {
        "no difference": all_of(Kind((step(0),))),
        "no difference, margin 4.2": all_of(Kind((step(0, margin=4.2),))),
        "at a margin of 4.2": all_of(Kind((step(4.2, margin=4.2),))),
        "at the margin": all_of(Kind((step(m),))),
        "half the margin": all_of(Kind((step(m / 2),))),
        "half of them better": [Kind((step(far),)), Kind((step(0),))] * (SIZE // 2),
        "none and the margin": all_of(Kind((step(0, m),))),
        "none twice and the margin": all_of(Kind((step(0, 0, m),))),
        "five conditions, none": all_of(Kind((step(0, 0, 0, 0, 0),))),
        "non-inferior, at the bound": all_of(Kind((step(-m, kind=NON_INFERIORITY),))),
        "sequence, breaks at 2": all_of(sequence(far, -m, -m)),
        "sequence, just above": all_of(sequence(*[0.05 - m] * 4, -m)),
        "equivalence, at the margin": all_of(Kind((step(m, 0, kind=EQUIVALENCE),))),
        "untestable at times": all_of(Kind((step(0),), bar=True)),
        "mixture": mixed,
    }


NOISES = [
    Noise(8, 0.0),
    Noise(8, 0.5),
    Noise(8, 0.5, "t3"),
    Noise(30, 0.0),
    Noise(30, 0.5, "t3"),
    Noise(8, 0.0, "skewed"),  # not normal, and it shows
    Noise(30, 0.0, "skewed"),
]
RULES = {"rule": the_rule, "as written": as_written}


def wrong_shares(noises: Sequence[Noise], count: int, rules: dict[str, Rule] = RULES) -> pd.DataFrame:
    """One wrong decided verdict or more, % of `count` families: family, noise, each rule."""
    rows = []
    for i, noise in enumerate(noises):
        for j, (name, family) in enumerate(families(noise.n).items()):
            found = simulated(family, noise, np.random.default_rng([i, j]), count)
            row = {"family": name} | noise._asdict()
            rows.append(row | {r: 100 * wrong(family, f(*found)).mean() for r, f in rules.items()})
    return pd.DataFrame(rows)


def drawn(rng: np.random.Generator) -> Kind:
    """A column of one to four steps, or of one to five conditions, at and around what is wrong there."""
    m, kind = rng.uniform(1, 9), str(rng.choice([DIFFERENCE, NON_INFERIORITY, EQUIVALENCE]))
    near = [0, 0.5, m / 2, m - 0.5, m, m + 0.5, 3 * m]

    def truth() -> Truth:
        return Truth(float(rng.choice(near) * rng.choice([-1, 1])), m, kind)

    if kind == NON_INFERIORITY and rng.random() < 0.7:
        return Kind(tuple((truth(),) * rng.integers(1, 3) for _ in range(rng.integers(2, 5))))
    return Kind((tuple(truth() for _ in range(rng.integers(1, 6))),))


def least_favourable(columns: int, count: int, level: float = ERROR_RATE) -> pd.DataFrame:
    """Drawn columns alone at a level, those most often wrong first: wrong (%), noise, steps."""
    rows = []
    for i in range(columns):
        rng = np.random.default_rng([len(NOISES), i])
        column, noise = drawn(rng), Noise(int(rng.choice([8, 30])), float(rng.choice([0, 0.5, 0.95])))
        (found,), _ = simulated([column], noise, rng, count)
        words = [decision.decided(list(decision.entries(found)), level)[0]]
        rows.append(
            {"wrong": 100 * wrong([column], words).mean(), "noise": noise, "steps": column.steps}
        )
    return pd.DataFrame(rows).sort_values("wrong", ascending=False)


def powers(count: int, margin: float = 0.5) -> pd.DataFrame:
    """What is decided rightly at the n planned for a margin in standard deviations: n, decided (%)."""
    rows = []
    for kind, conditions, true, word in [
        (DIFFERENCE, 1, margin, SUPPORTED),
        (DIFFERENCE, 1, -margin, CONTRADICTED),
        (DIFFERENCE, 1, 0, NO_EFFECT),
        (DIFFERENCE, 2, margin, SUPPORTED),
        (DIFFERENCE, 2, 0, NO_EFFECT),
        (NON_INFERIORITY, 1, 0, SUPPORTED),
        (NON_INFERIORITY, 1, -2 * margin, CONTRADICTED),
        (EQUIVALENCE, 1, 0, SUPPORTED),
    ]:
        n = planning.pairs(1, margin, size=SIZE, conditions=conditions, kind=kind)
        unit = 1 / np.sqrt(n)
        family = [Kind(((Truth(true / unit, margin / unit, kind),) * conditions,))]
        found = simulated(
            family, Noise(n, 0.0), np.random.default_rng([len(NOISES) + 1, len(rows)]), count
        )
        row = {"kind": kind, "conditions": conditions, "true": true, "verdict": word, "n": n}
        rows.append(row | {"decided": 100 * (the_rule(*found)[0] == word).mean()})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the three tables."""
    show = partial(pd.DataFrame.to_string, float_format="%.2f", index=False)
    print(f"One wrong decided verdict or more, % of {FAMILIES} families of {SIZE} columns:")
    print(show(wrong_shares(NOISES, FAMILIES)))
    print(f"\nDrawn columns alone at {ERROR_RATE:.0%}, those most often wrong, in %:")
    print(show(least_favourable(400, FAMILIES).head(5)))
    print("\nPower at the n planned for a margin of half a standard deviation, in %:")
    print(show(powers(FAMILIES)))


if __name__ == "__main__":
    main()
