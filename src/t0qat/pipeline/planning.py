"""Before a test: which difference counts as nothing, and how many pairs decide the rest."""

import math

import numpy as np
from scipy import stats
from statsmodels.stats.power import TTestPower

from t0qat.pipeline.decision import DIFFERENCE, EQUIVALENCE, NON_INFERIORITY, Column, factors
from t0qat.pipeline.statistics import ERROR_RATE, POWER

SHARE_OF_COST = 0.1  # of what rounding costs plain training, which may be lost and counts as nothing


def margin(fixed: float, cost: float) -> float:
    """What may be lost and counts as nothing: fixed, or a tenth of what rounding costs, if that is more.

    cost: of plain training, in the units of fixed, from seeds that no test reads; a gain counts as none.
    """
    return max(fixed, SHARE_OF_COST * cost)


def equivalence_power(n: int, margin: float, level: float, nodes: int = 2000) -> float:
    """Power of the two one-sided tests at a true difference of 0; margin in standard deviations.

    Given the sample's deviation s both pass where |mean| < margin - t s / sqrt(n); averaged over s, by
    the midpoint rule in its quantiles.
    """
    quantiles = (np.arange(nodes) + 0.5) / nodes
    s = np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))
    room = math.sqrt(n) * margin - stats.t.isf(level, n - 1) * s
    return np.clip(2 * stats.norm.cdf(room) - 1, 0, None).mean()


def pairs(
    deviation: float,
    margin: float,
    *,
    size: int,
    conditions: int = 1,
    kind: str = DIFFERENCE,
    error_rate: float = ERROR_RATE,
    power: float = POWER,
) -> int:
    """How many one condition of a column takes, of the paired deviation that tuning saw.

    With the power asked the column sees true differences as large as the margin, and equality where
    there are none; non-inferiority and equivalence have one of the two. conditions: of the column; each
    may fail in its part of what power leaves.
    """
    direction, equality = factors(conditions, kind == DIFFERENCE)
    level, effect = error_rate / size, margin / deviation
    each = 1 - (1 - power) / conditions

    def enough(n: int) -> bool:
        sees = TTestPower().power(effect, n, level / direction, alternative="larger") >= each
        equal = level / (direction if kind == EQUIVALENCE else equality)
        if kind == EQUIVALENCE:
            return equivalence_power(n, effect, equal) >= each
        return sees and (kind == NON_INFERIORITY or equivalence_power(n, effect, equal) >= each)

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def wanted(column: Column, size: int, error_rate: float = ERROR_RATE) -> list[float]:
    """The `pairs` of each of its conditions; nan where no deviation was seen, or there is no margin."""
    return [
        pairs(
            c.planned, c.margin, size=size, conditions=len(column.conditions), kind=c.kind,
            error_rate=error_rate,
        )
        if c.planned > 0 and c.margin
        else math.nan
        for c in column.conditions
    ]  # fmt: skip
