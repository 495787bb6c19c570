"""Comparison of arms, from one value an arm, replicate and evaluation: what a table or a claim needs.

Rows hold KEYS, replicate, eval_bits, scale_rule, metric and value. Nothing here looks at test values to
choose what is compared.
"""

import math
import warnings
from typing import NamedTuple

import pandas as pd
from scipy import stats

from t0qat.experiments.arms import FLOAT, KEYS, NO_WIDTH
from t0qat.pipeline import claims, planning, statistics
from t0qat.quantization.quantizers import SCALES
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training.methods import REGISTRY

PLACE = ["dataset", "model", "layout"]  # where arms are compared with one another
ARM = ["method", "train_bits"]
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

    @property
    def sign(self) -> int:
        """1: the more the better, -1: the less."""
        return -1 if self.less_is_better else 1

    @property
    def margin(self) -> float:
        """What may be lost and count as nothing, at least. Raises ClaimsError."""
        return claims.margins()[self.name]


def is_rival(method: str) -> bool:
    """Whether it is no form of the method under study, and trains no longer than that."""
    return not REGISTRY[method].studied and REGISTRY[method].length <= 1


def own_width(rows: pd.DataFrame) -> pd.Series:
    """Whether each row's arm was trained for the bits at hand, or for none in particular."""
    return (rows.train_bits == NO_WIDTH) | (rows.train_bits == rows.eval_bits)


def with_own_rule(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and again as scale rule OWN: at the rule that the method fixes beforehand."""
    places = zip(rows.method, rows.eval_bits, rows.train_bits, strict=True)
    fixed = [REGISTRY[method].rule(bits, trained) for method, bits, trained in places]
    return pd.concat([rows, rows[rows.scale_rule == fixed].assign(scale_rule=OWN)], ignore_index=True)


def over_bits(rows: pd.DataFrame, worst: str) -> pd.DataFrame:
    """Each network's mean and worst over the evaluated bit-widths.

    Columns KEYS, scale_rule, replicate, quantity (mean, worst) and value. worst: the pandas word for the
    worst of several values.
    """
    keys = [*KEYS, "scale_rule", "replicate"]
    by = rows[rows.scale_rule.isin([*SCALES, OWN])].groupby(keys, sort=False)["value"]
    wide = by.agg(mean="mean", worst=worst).reset_index()
    return wide.melt(keys, ["mean", "worst"], var_name="quantity", value_name="value")


def unrounded(rows: pd.DataFrame) -> pd.Series:
    """(dataset, model, layout, replicate) -> the value of plain training that is not rounded."""
    plain = rows[(rows.method == "no_noise") & (rows.eval_bits == FLOAT)]
    return plain.set_index([*PLACE, "replicate"])["value"].sort_index()


def margins(known: pd.DataFrame, whole: pd.Series, metric: Metric, measure: list[str]) -> pd.Series:
    """(dataset, model, layout, *measure) -> what may be lost there and counts as nothing.

    The metric's margin, or a share of what rounding costs plain training there if that is more (see
    planning.margin): its mean loss in tuning less that in `whole`, as of `unrounded`, on the same
    replicates. No test reads them, so a margin is known before any test. known: as `differences`
    takes it.
    """
    plain = known[known.method == "no_noise"].set_index([*PLACE, "replicate"])
    cost = plain["value"] - whole.reindex(plain.index)
    mean = cost.groupby([cost.index.get_level_values(c) for c in PLACE] + [plain[c] for c in measure])
    return mean.mean().map(lambda cost: planning.margin(metric.margin, cost))


def kept(rows: pd.DataFrame, known: pd.DataFrame, margin: pd.Series) -> pd.DataFrame:
    """Each arm at each bit-width minus plain training that is not rounded, replicate by replicate.

    rows: as of Run.test, each by its own rule; known, margin: as `differences` takes them. Columns
    dataset, model, eval_bits, scale_rule, method, train_bits, against (unrounded), other, other_bits,
    and those of `differences` from estimate on.
    """
    keys, found = [*PLACE, "eval_bits", "scale_rule"], []
    whole, before = unrounded(rows), unrounded(known)
    tuned = _by_arm(known, keys)
    for (*key, method, bits), mine in _by_arm(rows[rows.eval_bits != FLOAT], keys).items():
        place, here = tuple(key[: len(PLACE)]), tuple(key)
        names = dict(zip([*keys, *ARM], (*here, method, bits), strict=True))
        names |= {"against": "unrounded", "other": "no_noise", "other_bits": NO_WIDTH}
        planned = _deviation(tuned.get((*here, method, bits)), before.get(place))
        found.append(names | _paired(mine, whole[place], margin[here]) | planned)
    return statistics.explored(found)


def _by_arm(rows: pd.DataFrame, place: list[str]) -> dict[tuple, pd.Series]:
    """(*place, method, train_bits) -> its values by replicate."""
    by = rows.set_index("replicate").sort_index().groupby([*place, *ARM], sort=False)["value"]
    return dict(iter(by))


def _paired(first: pd.Series, second: pd.Series, margin: float) -> dict[str, float]:
    """Of the replicates that both have."""
    both = first.index.intersection(second.index)
    first, second = first[both].to_numpy(), second[both].to_numpy()
    with warnings.catch_warnings():  # equal differences, as a few replicates may have
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        equal = statistics.equivalence(first, second, margin)
        skewness = stats.skew(first - second, bias=False)
        found = statistics.paired_difference(first, second)
    return found | {"margin": margin, "p_equal": equal, "skewness": skewness}


def _deviation(first: pd.Series | None, second: pd.Series | None) -> dict[str, float]:
    """Of the paired differences in tuning; nan of fewer than two."""
    both = None if first is None or second is None else first - second.reindex(first.index)
    return {"planned_deviation": math.nan if both is None else both.std()}


def differences(
    rows: pd.DataFrame, known: pd.DataFrame, margin: pd.Series, measure: list[str]
) -> pd.DataFrame:
    """Each arm minus another on the same replicates: positive where `method` has more of the metric.

    rows: KEYS, the columns of `measure`, replicate and value; known: the same in tuning, the value a
    loss, of every arm that may be a rival there; margin: as of `margins`. Columns dataset, model,
    *measure, method, train_bits, against (plain, random_bits, best_baseline, or one of the method's
    controls), other, other_bits,
    estimate, ci_low, ci_high, n, margin, p_bh (of no difference, paired t-test), p_equal (of the margin
    or more), both corrected as statistics.explored says, detectable, as that says too, skewness (of the
    paired differences, bias corrected, nan of two) and planned_deviation (theirs in tuning, nan where
    the two arms have less than two replicates there in common). best_baseline: the other arm of the
    least mean loss in tuning, among those that is_rival allows.
    """
    found, place = [], [*PLACE, *measure]
    tuned = _by_arm(known, place)
    lost = {key: round(values.mean(), 12) for key, values in tuned.items()}
    for where, group in rows.groupby(place, sort=False):
        values = {key[-len(ARM) :]: mine for key, mine in _by_arm(group, place).items()}
        baselines = [key for key in values if is_rival(key[0]) and (*where, *key) in lost]
        for key, mine in values.items():
            rivals = [b for b in baselines if b != key]
            best = min(rivals, key=lambda b: lost[*where, *b], default=key)
            others = {"plain": ("no_noise", 0), "random_bits": ("random_bits", 0), "best_baseline": best}
            others |= {name: (name, key[1]) for name in REGISTRY[key[0]].controls}
            for against, other in others.items():
                if other != key and other in values:
                    row = dict(zip([*place, *ARM], (*where, *key), strict=True)) | {"against": against}
                    row |= {"other": other[0], "other_bits": other[1]}
                    row |= _deviation(tuned.get((*where, *key)), tuned.get((*where, *other)))
                    found.append(row | _paired(mine, values[other], margin[where]))
    return statistics.explored(found)
