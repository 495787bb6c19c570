"""How far arms lie from plain training that is rounded the same way, and where that is drawn."""

import numpy as np
import pandas as pd

from t0qat.exhibits.benchmark import Benchmark
from t0qat.exhibits.rows import Results
from t0qat.experiments.arms import FLOAT
from t0qat.pipeline import claims

MARGINS = (
    12  # that an axis reaches at most: one that recovers all that rounding costs is at ten, or less
)
DRAWN, CHANCE, BEYOND = "drawn", "at chance", "beyond the axis"


def deviations(b: Benchmark, results: Results) -> pd.DataFrame:
    """Each arm minus plain training at each width, on the models with all methods, or on every one.

    The rows of the file of differences, and `low` and `high`, the ends of the axis of the row's model
    and width; and `place`: CHANCE, where the arm has not passed the bar of Benchmark.learned, BEYOND
    where the mean is more than MARGINS margins from zero, else DRAWN. Up to there an axis holds all that
    is drawn.
    """
    rows = b.table(results, "_paired")
    models = b.models(results) or [*rows.model.unique()]
    rows = rows[(rows.against == "plain") & rows.model.isin(models) & (rows.eval_bits != FLOAT)]
    arm, panel = ["model", "method", "train_bits"], ["model", "eval_bits"]
    lost = at_chance(b, results)
    chance = pd.MultiIndex.from_frame(rows[arm]).isin(pd.MultiIndex.from_frame(lost[arm]))
    far = rows.estimate.abs() > MARGINS * rows.margin
    ends = rows[["ci_low", "ci_high"]].where(~chance & ~far).mul(1.05)
    by = ends.groupby([rows[column] for column in panel])
    least, most = 1.5 * rows.margin, MARGINS * rows.margin
    rows = rows.assign(
        low=-(-by.ci_low.transform("min").fillna(0)).clip(least, most),
        high=by.ci_high.transform("max").fillna(0).clip(least, most),
        place=np.select([chance, far], [CHANCE, BEYOND], DRAWN),
    )
    return rows


def at_chance(b: Benchmark, results: Results) -> pd.DataFrame:
    """Rows of the arms that have not passed the bar of Benchmark.learned, before rounding."""
    metric, bar = b.learned, claims.load().bars[b.learned.name]
    whole = b.table(results)
    whole = whole[(whole.metric == metric.name) & (whole.eval_bits == FLOAT)]
    return whole[metric.sign * (whole["mean"] - bar) <= 0]


def undrawn(b: Benchmark, results: Results) -> pd.DataFrame:
    """The rows of `deviations` that the figure leaves out, since their arms are at chance."""
    rows = deviations(b, results)
    return rows[rows.place == CHANCE]
