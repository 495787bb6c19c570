"""Estimates with their intervals, each from one value a replicate. Thin over scipy and statsmodels."""

import functools
import math

import numpy as np
import pandas as pd
from scipy import integrate, optimize, special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

ERROR_RATE = 0.05  # of every family of tests
LEVEL = 1 - ERROR_RATE  # of every interval
POWER = 0.9  # at which detectable effects are stated


def mean_interval(values) -> dict[str, float]:
    """Mean of independent replicates (n >= 2) with Student's t interval: mean, ci_low, ci_high, n."""
    values = np.asarray(values, float)
    mean, error = values.mean(), stats.sem(values)
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * error
    return {"mean": mean, "ci_low": mean - half, "ci_high": mean + half, "n": len(values)}


def variance_interval(values) -> dict[str, float]:
    """Variance of independent values with its normal interval: mean (of it), ci_low, ci_high, n.

    The estimate's own variance is (m4 - (n - 3) / (n - 1) * s^4) / n, with m4 the fourth central moment.
    """
    n, variance = len(values), np.var(values, ddof=1)
    error = np.sqrt((stats.moment(values, 4) - (n - 3) / (n - 1) * variance**2) / n)
    half = stats.norm.ppf((1 + LEVEL) / 2) * error
    return {"mean": variance, "ci_low": variance - half, "ci_high": variance + half, "n": n}


def spread(values) -> dict[str, float]:
    """How single replicates scatter: std (n - 1), q025, median, q975 (linear interpolation)."""
    q025, median, q975 = np.quantile(values, [0.025, 0.5, 0.975])
    return {"std": np.std(values, ddof=1), "q025": q025, "median": median, "q975": q975}


def percentile(values, reported: float) -> float:
    """Percentage of replicates below the reported value, ties counted half (0 to 100)."""
    return stats.percentileofscore(values, reported, kind="mean")


def paired_difference(first, second) -> dict[str, float]:
    """Mean of first - second over pairs: estimate, ci_low, ci_high, n, p (two-sided paired t-test).

    detectable: what detectable_effect says of these pairs, uncorrected.
    """
    difference = mean_interval(np.subtract(first, second))
    difference["estimate"] = difference.pop("mean")
    difference["detectable"] = detectable_effect(first, second)
    if np.array_equal(first, second):  # 0 / 0 for the t-test; nothing speaks against no difference
        return difference | {"p": 1.0}
    return difference | {"p": stats.ttest_rel(first, second).pvalue}


def equivalence(first, second, margin: float) -> float:
    """p-value of a mean paired difference of the margin or more, to either side (margin > 0).

    The larger of two one-sided paired t-tests (TOST, Schuirmann 1987).
    """
    difference = np.subtract(first, second)
    above = stats.ttest_1samp(difference, -margin, alternative="greater")
    below = stats.ttest_1samp(difference, margin, alternative="less")
    return max(above.pvalue, below.pvalue)


def chance(events) -> dict[str, float]:
    """Probability of an event with Wilson's (1927) score interval: estimate, ci_low, ci_high, n."""
    events = np.asarray(events, bool)
    low, high = proportion_confint(events.sum(), events.size, alpha=1 - LEVEL, method="wilson")
    return {"estimate": events.mean(), "ci_low": low, "ci_high": high, "n": events.size}


def holm(p_values) -> np.ndarray:
    """Holm's step-down correction: p-values that hold for the whole family at once."""
    return multipletests(p_values, method="holm")[1]


def corrected(rows) -> pd.DataFrame:
    """A table of the rows with p_holm, Holm's correction over all of them, in place of p."""
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table.pop("p"))
    return table


def benjamini_hochberg(p_values) -> np.ndarray:
    """p-values after the correction of Benjamini and Hochberg (1995), for the false discovery rate."""
    return multipletests(p_values, method="fdr_bh")[1]


def discovery_level(corrected) -> float:
    """The uncorrected p-value up to which Benjamini and Hochberg's method rejects, of corrected ones.

    Of k rejected among m it is ERROR_RATE * k / m; where none is, ERROR_RATE / m, what the first needs.
    """
    rejected = np.count_nonzero(np.asarray(corrected) < ERROR_RATE)
    return ERROR_RATE * max(rejected, 1) / len(corrected)


def explored(rows) -> pd.DataFrame:
    """A table of the rows, which nothing decided beforehand, with p_bh in place of p.

    p_bh and p_equal: after Benjamini and Hochberg's correction, each over all rows. detectable: what is
    seen with power POWER at discovery_level of p_bh.
    """
    table = pd.DataFrame(rows)
    table["p_bh"] = benjamini_hochberg(table.pop("p"))
    table["p_equal"] = benjamini_hochberg(table["p_equal"])
    level = 1 - discovery_level(table.p_bh)
    grown = {n: standardized_effect(n, level=level) / standardized_effect(n) for n in table.n.unique()}
    table["detectable"] *= table.n.map(grown)
    return table


def means(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The mean of the column `value` in each group: keys, mean, ci_low, ci_high, n. nan is a key too."""
    return pd.DataFrame(
        dict(zip(keys, key, strict=True)) | mean_interval(values)
        for key, values in rows.groupby(keys, sort=False, dropna=False)["value"]
    )


@functools.cache
def standardized_effect(n: int, power: float = POWER, level: float = LEVEL) -> float:
    """Smallest mean, in standard deviations, that a two-sided t-test of n values sees at this power.

    By the chance that |z + root| > critical * s, z standard normal, s**2 chi-squared over its degrees of
    freedom: where level is near 1 and n small, distributions of the noncentral t lose all digits.
    """
    freedom = n - 1
    critical = stats.t.isf((1 - level) / 2, freedom)

    def missed(root: float) -> float:
        def seen(z: float) -> float:  # stats.norm and stats.chi2 check their arguments, 40 times as slow
            inside = special.gammainc(freedom / 2, freedom * ((z + root) / critical) ** 2 / 2)
            return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * inside

        return integrate.quad(seen, -9, 9, epsabs=1e-12, limit=200)[0] - power

    most = critical * np.sqrt(stats.chi2.isf((1 - power) / 2, freedom) / freedom) + 9
    return optimize.brentq(missed, 0, most) / np.sqrt(n)


def detectable_effect(first, second) -> float:
    """Smallest mean paired difference that a paired t-test at this n sees with power POWER.

    With the observed standard deviation of the differences, and in their units.
    """
    return standardized_effect(len(first)) * np.std(np.subtract(first, second), ddof=1)
