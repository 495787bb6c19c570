"""What to use at each bit-width: a rule that reads tuning seeds alone, and what test seeds say of it.

The rule, written down before the results that it reads. A family of tasks (image networks, language
models) is judged on the networks on which most arms were tuned. Its arms are the methods, each at the
width that it trains for or at none, by its own scale rule and with a step for each output channel;
controls that train longer or less than the others are none of them. What an arm lost in tuning is, at
a width, the loss of its chosen candidate after rounding, on validation parts, in mean over tuning seeds
and then over networks.

- Recommended is the arm that lost least at that width; of equals the one that costs less.
- The margin is the metric's own or, where that is more, a tenth of what rounding costs plain training
  there (planning.margin): in tuning, in mean over networks.
- An arm costs the gradient evaluations of its training at the benchmark's full length, in mean over
  networks: a budget, which no seed changes. Without a width of its own, one training serves every
  width, and each pays its share.
- The cheaper one, where there is one, costs less than the recommended arm and lost at most the margin
  more: of these the one that costs least, and of equals the one that lost least.
- One training for all widths: of the arms without a width the one of the least mean over widths.

What test seeds measure is reported and chooses nothing. Room `transfer` tries what is recommended where
nothing was chosen.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from t0qat.experiments import language, vision
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH
from t0qat.experiments.compare import ARM, OWN, Metric, own_width
from t0qat.pipeline.planning import margin
from t0qat.training.methods import REGISTRY

Results = Mapping[str, pd.DataFrame]
PLAIN = "no_noise"
PICKS = RECOMMENDED, CHEAPER, ONE_FOR_ALL = "recommended", "cheaper", "one_for_all"
LOSS = "loss"  # in the column quantity


class Family(NamedTuple):
    """Tasks for which one arm is recommended at a width."""

    file: str  # the names of its benchmark's results files start with this
    metric: Metric


FAMILIES = {"images": Family("vision", vision.LOSS), "text": Family("language", language.METRIC)}
ENDINGS = ("_tuned", "_tuning", "", "_paired", "_kept")  # the second for room `transfer`


def read_by() -> list[str]:
    """The results files that this experiment needs."""
    return [family.file + ending for family in FAMILIES.values() for ending in ENDINGS]


def networks(tuned: pd.DataFrame) -> list[str]:
    """The models on which most arms were tuned, in order. tuned: as benchmark.files gives it."""
    sizes = tuned.drop_duplicates(["model", *ARM]).groupby("model", sort=False).size()
    return [*sizes.index[sizes == sizes.max()]]


def arms(tuned: pd.DataFrame, scores: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """A family's arms at each width: eval_bits, ARM, loss, behind, margin, cost and serves.

    tuned, scores: as benchmark.files gives them, the second read for the cost alone. loss: in tuning;
    behind: how much more than the least there; cost: gradient evaluations of one training; serves: how
    many widths share it. An arm counts where all of the `networks` have it.
    """
    tuned, scores = (table[table.layout == CHANNELS] for table in (tuned, scores))
    models = networks(tuned)
    tuned, scores = (table[table.model.isin(models)] for table in (tuned, scores))
    plain = tuned[tuned.method == PLAIN].groupby("eval_bits")["mean"].mean()
    cost = scores[scores.metric == "gradients"].groupby(ARM)["mean"].mean().rename("cost")
    rows = tuned[own_width(tuned) & (tuned.eval_bits != FLOAT)]
    rows = rows[[REGISTRY[method].length == 1 for method in rows.method]]
    by = rows.groupby(["eval_bits", *ARM], sort=False)["mean"]
    found = by.agg(loss="mean", on="size").reset_index()
    found = found[found.on == len(models)]
    found["loss"] = found["loss"].round(12)
    found["behind"] = found["loss"] - found.groupby("eval_bits")["loss"].transform("min")
    found["margin"] = [margin(metric.margin, plain[bits] - plain[FLOAT]) for bits in found.eval_bits]
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
        best = _first(here, ["behind", "share"])
        near = here[(here.behind <= here.margin) & (here.share < best.share.item())]
        cheaper = _first(near, ["share", "behind"])
        chosen += [best.assign(pick=RECOMMENDED), cheaper.assign(pick=CHEAPER)]
    best = _first(_for_all(found), ["behind"])
    chosen.append(found.merge(best[ARM]).assign(pick=ONE_FOR_ALL))
    return pd.concat(chosen, ignore_index=True).drop(columns="share")


def _for_all(found: pd.DataFrame) -> pd.DataFrame:
    """Arms without a width in mean over widths: the columns of `arms` but for cost. found: its rows."""
    free = found[found.train_bits == NO_WIDTH]
    by = free.groupby(ARM, sort=False)[["loss", "margin"]].mean().reset_index()
    by["loss"] = by["loss"].round(12)
    return by.assign(eval_bits=NO_WIDTH, behind=by["loss"] - by["loss"].min())


def _first(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The first row in this order, of equals the first that there is; none of none."""
    return rows.sort_values(by, kind="stable").iloc[:1]


def recommend(results: Results) -> dict[str, pd.DataFrame]:
    """Results files from those of `read_by`; nothing that test seeds measured is chosen by.

    recommendation_arms: family and the columns of `arms`. recommendation: family, pick, eval_bits,
    dataset, model, ARM, cost, serves, quantity, estimate, ci_low, ci_high, n, margin. quantity: on test
    seeds, the loss after rounding (nats, or bits per character), or its paired difference from plain
    training, rounded the same way (minus_plain, but of plain training itself) or not rounded
    (minus_unrounded): below zero is better.
    """
    found, said = [], []
    for name, family in FAMILIES.items():
        mine = {ending: results[family.file + ending] for ending in ENDINGS}
        every = arms(mine["_tuned"], mine[""], family.metric)
        models = networks(mine["_tuned"])
        seen = _tested(mine, family.metric)
        chosen = picks(every).drop(columns="margin")  # that of tuning
        rows = chosen.merge(seen[seen.model.isin(models)], on=["eval_bits", *ARM])
        found.append(every.assign(family=name))
        said.append(rows.assign(family=name))
    tables = {"recommendation": said, "recommendation_arms": found}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def _tested(mine: Results, metric: Metric) -> pd.DataFrame:
    """What test seeds say of every arm at the widths it is meant for. mine: by ENDINGS."""
    score, pairs = mine[""], mine["_paired"]
    score = score[score.metric == metric.name].rename(columns={"mean": "estimate"})
    said = {LOSS: score, "minus_unrounded": mine["_kept"]}
    said["minus_plain"] = pairs[pairs.against == "plain"]
    rows = pd.concat(table.assign(quantity=quantity) for quantity, table in said.items())
    rows = rows[(rows.scale_rule == OWN) & (rows.layout == CHANNELS)]
    columns = ["dataset", "model", "quantity", "estimate", "ci_low", "ci_high", "n", "margin"]
    return rows[["eval_bits", *ARM, *columns]]


def agreement(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Whether two runs, as on other seeds, recommend the same, or what the other holds for as good.

    first, second: recommendation_arms of each. One row a family and width, eval_bits NO_WIDTH where one
    training serves all, in mean over widths: the arms recommended (method, train_bits, other,
    other_bits), behind_first (how far the second's lies behind in the first run, nan where that lacks
    it), behind_second (the reverse), and holds: both lie within the margin there.
    """
    place, found = ["family", "eval_bits"], []
    runs = [dict(iter(_with_all(run).groupby(place, sort=False))) for run in (first, second)]
    for where in dict.fromkeys([*runs[0], *runs[1]]):
        one, other = (run[where] for run in runs)
        mine, theirs = (_best(rows) for rows in (one, other))
        row = dict(zip([*place, *ARM], (*where, *mine), strict=True))
        row |= {"other": theirs[0], "other_bits": theirs[1]}
        row["behind_first"], near = _behind(one, theirs)
        row["behind_second"], close = _behind(other, mine)
        found.append(row | {"holds": near and close})
    return pd.DataFrame(found)


def _with_all(run: pd.DataFrame) -> pd.DataFrame:
    """recommendation_arms, and below them those of one training for all widths."""
    for_all = [
        _for_all(mine).assign(family=family) for family, mine in run.groupby("family", sort=False)
    ]
    return pd.concat([run, *for_all], ignore_index=True)


def _best(here: pd.DataFrame) -> tuple[str, int]:
    """The recommended arm of one family and width, or of one training for all, which has no cost."""
    best = _first(here.assign(share=here.cost / here.serves), ["behind", "share"])
    return best.method.item(), best.train_bits.item()


def _behind(here: pd.DataFrame, arm: tuple[str, int]) -> tuple[float, bool]:
    """How far this arm lies behind, and whether that is within the margin."""
    row = here.set_index(ARM).reindex([arm]).iloc[0]
    return row.behind, bool(row.behind <= row.margin)
