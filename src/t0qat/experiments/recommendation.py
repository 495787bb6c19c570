"""What to use at each bit-width: a rule that reads tuning seeds alone, and what test seeds say of it.

The rule, written down before the results that it reads. A family of tasks (image networks, language
models) is judged on the networks on which most arms were tuned. Its arms are the methods, each at the
width that it trains for or at none, by its own scale rule and with a step for each output channel;
controls that train longer or less than the others are none of them. What an arm lost in tuning is, at
a width, the loss of its chosen candidate after rounding, on validation parts, in mean over tuning seeds
and then over networks.

- Recommended is the arm that lost least at that width; of equals the one that costs less.
- The margin is the metric's own or, where that is more, compare.SHARE of what rounding costs plain
  training there: both in tuning, in mean over networks.
- An arm costs the gradient evaluations of its training. Without a width of its own, one training serves
  every width, and each pays its share.
- The cheaper one, where there is one, costs less than the recommended arm and lost at most the margin
  more: of these the one that costs least, and of equals the one that lost least.
- One training for all widths: of the arms without a width the one of the least mean over widths.

Test seeds report and choose nothing. What is recommended is then trained once more, at the settings that
tuning chose on the family's first network, where nothing was chosen: on another network.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from t0qat.experiments import language, vision
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH
from t0qat.experiments.compare import SHARE, Metric, own_width
from t0qat.training.methods import REGISTRY

Results = Mapping[str, pd.DataFrame]
ARM = ["method", "train_bits"]
RECOMMENDED, CHEAPER, ONE_FOR_ALL = "recommended", "cheaper", "one_for_all"  # in the column pick


class Family(NamedTuple):
    """Tasks for which one arm is recommended at a width."""

    file: str  # the names of its benchmark's results files start with this
    metric: Metric


FAMILIES = {"images": Family("vision", vision.LOSS), "text": Family("language", language.METRIC)}


def networks(tuned: pd.DataFrame) -> list[str]:
    """The models on which most arms were tuned, in order. tuned: as benchmark.files gives it."""
    sizes = tuned.drop_duplicates(["model", *ARM]).groupby("model", sort=False).size()
    return [*sizes.index[sizes == sizes.max()]]


def arms(tuned: pd.DataFrame, tuning: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """A family's arms at each width: eval_bits, ARM, loss, behind, margin, cost and serves.

    tuned, tuning: as benchmark.files gives them. loss: in tuning; behind: how much more than the least
    there; cost: gradient evaluations of one training; serves: how many widths share it. An arm counts
    where all of the `networks` have it.
    """
    tuned, tuning = (table[table.layout == CHANNELS] for table in (tuned, tuning))
    models = networks(tuned)
    tuned, tuning = (table[table.model.isin(models)] for table in (tuned, tuning))
    plain = tuned[tuned.method == "no_noise"].groupby("eval_bits")["mean"].mean()
    spent = tuning[tuning.chosen == 1]
    cost = (spent.gradients / spent.n).groupby([spent[c] for c in ARM]).mean().rename("cost")
    rows = tuned[own_width(tuned) & (tuned.eval_bits != FLOAT)]
    rows = rows[[REGISTRY[method].length == 1 for method in rows.method]]
    by = rows.groupby(["eval_bits", *ARM], sort=False)["mean"]
    found = by.agg(loss="mean", on="size").reset_index()
    found = found[found.on == len(models)]
    found["loss"] = found["loss"].round(12)
    found["behind"] = found["loss"] - found.groupby("eval_bits")["loss"].transform("min")
    lost = SHARE * (found.eval_bits.map(plain) - plain[FLOAT])
    found["margin"] = lost.clip(lower=metric.margin)
    found = found.join(cost, on=ARM)
    found["serves"] = found.eval_bits.nunique()
    found["serves"] = found.serves.where(found.train_bits == NO_WIDTH, 1)
    found = found.sort_values("eval_bits", ascending=False, kind="stable")
    return found.drop(columns="on").reset_index(drop=True)


def picks(found: pd.DataFrame) -> pd.DataFrame:
    """The rule: rows of `arms` with the column pick, the widest first.

    One a width is RECOMMENDED, at most one CHEAPER; one arm is ONE_FOR_ALL, at every width.
    """
    chosen = []
    found = found.assign(share=found.cost / found.serves)
    for _, here in found.groupby("eval_bits", sort=False):
        best = here.sort_values(["loss", "share"], kind="stable").iloc[[0]]
        near = here[(here.behind <= here.margin) & (here.share < best.share.item())]
        near = near.sort_values(["share", "loss"], kind="stable").iloc[:1]
        chosen += [best.assign(pick=RECOMMENDED), near.assign(pick=CHEAPER)]
    free = found[found.train_bits == NO_WIDTH]
    method = free.groupby("method", sort=False)["loss"].mean().round(12).idxmin()
    chosen.append(free[free.method == method].assign(pick=ONE_FOR_ALL))
    return pd.concat(chosen, ignore_index=True).drop(columns="share")
