"""Comparison of arms, from one value an arm, replicate and evaluation: what a table or a claim needs.

Rows hold KEYS, replicate, eval_bits, scale_rule, metric and value. Nothing here looks at test values to
choose what is compared.
"""

import warnings
from typing import NamedTuple

import pandas as pd

from t0qat.experiments.arms import FLOAT, KEYS, NO_WIDTH
from t0qat.pipeline import statistics
from t0qat.quantization.quantizers import SCALES
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training.methods import REGISTRY

PLACE = ["dataset", "model", "layout"]  # where arms are compared with one another
OWN = "own"  # the scale rule that a method is judged by, see methods.Method.rule
SCALE_RULES = (*SCALES, *OWN_GRIDS, OWN, "none")  # in results files


class Metric(NamedTuple):
    """What networks are compared by."""

    name: str  # in the column metric
    less_is_better: bool

    @property
    def worst(self) -> str:
        """The pandas word for the worst of several values."""
        return "max" if self.less_is_better else "min"


def own_width(rows: pd.DataFrame) -> pd.Series:
    """Whether each row's arm was trained for the bits at hand, or for none in particular."""
    return (rows.train_bits == NO_WIDTH) | (rows.train_bits == rows.eval_bits)


def with_own_rule(rows: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The metric's rows, and again as scale rule OWN: at the rule that the method fixes beforehand."""
    rows = rows[rows.metric == metric.name]
    places = zip(rows.method, rows.eval_bits, rows.train_bits, strict=True)
    fixed = [REGISTRY[method].rule(bits, trained) for method, bits, trained in places]
    return pd.concat([rows, rows[rows.scale_rule == fixed].assign(scale_rule=OWN)], ignore_index=True)


def over_bits(rows: pd.DataFrame, worst: str, value: str = "value") -> pd.DataFrame:
    """Each network's mean and worst over the evaluated bit-widths: KEYS, ..., quantity, and the value.

    worst: the pandas word for the worst of several values.
    """
    keys = [*KEYS, "scale_rule", "replicate"]
    by = rows[rows.scale_rule.isin([*SCALES, OWN])].groupby(keys, sort=False)[value]
    wide = by.agg(mean="mean", worst=worst).reset_index()
    return wide.melt(keys, ["mean", "worst"], var_name="quantity", value_name=value)


def kept(rows: pd.DataFrame) -> pd.DataFrame:
    """Each arm at each bit-width minus plain training that is not rounded, replicate by replicate.

    rows: as of Run.test, each by its own rule. Columns dataset, model, eval_bits, scale_rule, method,
    train_bits, against (unrounded), other, other_bits, estimate, ci_low, ci_high, n, p_holm (of no
    difference, paired t-test, Holm over all rows), detectable.
    """
    plain = rows[(rows.method == "no_noise") & (rows.eval_bits == FLOAT)]
    values = {place: v.set_index("replicate")["value"] for place, v in plain.groupby(PLACE)}
    keys = [*PLACE, "eval_bits", "scale_rule", "method", "train_bits"]
    found = []
    for key, group in rows[rows.eval_bits != FLOAT].groupby(keys, sort=False):
        mine = group.set_index("replicate")["value"]
        names = {"against": "unrounded", "other": "no_noise", "other_bits": NO_WIDTH}
        difference = _paired(mine, values[key[: len(PLACE)]])
        found.append(dict(zip(keys, key, strict=True)) | names | difference)
    return statistics.corrected(found)


def _paired(first: pd.Series, second: pd.Series) -> dict[str, float]:
    """Of the replicates that both have."""
    both = first.index.intersection(second.index)
    first, second = first[both].to_numpy(), second[both].to_numpy()
    with warnings.catch_warnings():  # equal differences, as a few replicates may have
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        return statistics.paired_difference(first, second)


def differences(rows: pd.DataFrame, known: pd.DataFrame, measure: list[str]) -> pd.DataFrame:
    """Each arm minus another on the same replicates: positive where `method` has more of the metric.

    rows: KEYS, the columns of `measure`, replicate and value; known: KEYS, those columns, and the loss
    in tuning, of every arm that may be a rival there. Columns dataset, model, *measure, method,
    train_bits, against (plain, random_bits or best_baseline), other, other_bits, estimate, ci_low,
    ci_high, n, p_holm (paired t-test, Holm over all rows), detectable (with 90 % power, uncorrected).
    best_baseline: the other arm, not one of those studied, of the least mean loss in tuning.
    """
    found, arm = [], ["method", "train_bits"]
    place = [*PLACE, *measure]
    lost = known.groupby([*place, *arm], sort=False)["loss"].mean().round(12)
    for where, group in rows.groupby(place, sort=False):
        paired = group.set_index("replicate").sort_index().groupby(arm, sort=False)["value"]
        values = dict(iter(paired))
        baselines = [key for key in values if not REGISTRY[key[0]].studied and (*where, *key) in lost]
        for key, mine in values.items():
            rivals = [b for b in baselines if b != key]
            best = min(rivals, key=lambda b: lost[*where, *b], default=key)
            others = {"plain": ("no_noise", 0), "random_bits": ("random_bits", 0), "best_baseline": best}
            for against, other in others.items():
                if other != key and other in values:
                    row = dict(zip([*place, *arm], (*where, *key), strict=True)) | {"against": against}
                    row |= {"other": other[0], "other_bits": other[1]}
                    found.append(row | _paired(mine, values[other]))
    return statistics.corrected(found)
