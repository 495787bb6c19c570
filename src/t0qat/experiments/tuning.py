"""Learning rate and strength of every arm, by successive halving on replicates of their own.

Every candidate starts on a few replicates; the better part goes on to more, until the last two have most
(Jamieson & Talwalkar 2016, arXiv 1502.07943; the schedule is that of scikit-learn's halving search, with
replicates as the resource). Of many candidates the first cut is made by one short training of each, with
the length as the resource. All arms take the gradients of the same number of trainings: one with fewer
candidates starts on more replicates. Candidates that are compared share their replicates.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from t0qat.experiments.arms import FLOAT, KEYS, LOUD_RATES, LOUD_REPLICATES, Arm
from t0qat.pipeline import grid, statistics
from t0qat.pipeline.parameters import ParameterError

FIRST = 10**9  # the first replicate of tuning: those of tests lie below
FACTOR, LAST = 4, 2  # each round keeps one candidate in four, and the last decides between two
SHORT = 0.333  # of a training's length, where more than FACTOR * LAST candidates are tried

Setting = tuple[float, float]  # learning rate, strength


class Rivals(NamedTuple):
    """An arm's candidates, and how its trainings are spent on them."""

    arm: Arm
    candidates: list[Setting]
    # Of each round of whole trainings: candidates, and replicates that each has had after it.
    rounds: list[tuple[int, int]]

    @property
    def cut(self) -> bool:
        """Whether a short training of each candidate comes first."""
        return len(self.candidates) > self.rounds[0][0]


def rivals_of(
    arms: list[Arm],
    trainings: int,
    rates: int,
    lowest_rate: float,
    highest_rate: float,
    loud: bool = False,
) -> list[Rivals]:
    """Every arm with its candidates, and rounds of so many trainings. Raises ParameterError.

    loud: whether methods that are get LOUD_RATES on LOUD_REPLICATES, since there is nothing to tune.
    """
    if not lowest_rate < highest_rate:
        raise ParameterError(f"lowest_rate = {lowest_rate}: must be below highest_rate = {highest_rate}")
    found = []
    for arm in arms:
        candidates = arm.candidates(rates, lowest_rate, highest_rate)
        if loud and arm.registered.loud:
            candidates = candidates[:LOUD_RATES]
            rounds = [(len(candidates), LOUD_REPLICATES)]
        else:
            rounds = halving(len(candidates), trainings)
        found.append(Rivals(arm, candidates, rounds))
    return found


def halving(candidates: int, trainings: int) -> list[tuple[int, int]]:
    """Rounds of so many trainings in all, or a few less: halving(20, 40) is [(5, 3), (2, 12)].

    More than FACTOR * LAST candidates have taken SHORT of a training each before, and one in FACTOR is
    left. Every round takes an equal share of what is left, but at least one replicate more for each
    candidate. Raises ParameterError where that is not enough for the first.
    """
    first, left = candidates, trainings
    if candidates > FACTOR * LAST:
        first, left = math.ceil(candidates / FACTOR), math.floor(trainings - SHORT * candidates)
    if left < first:
        least = trainings + first - left
        raise ParameterError(f"trainings = {trainings}: {candidates} candidates take {least} or more")
    sizes, trainings = [first], left
    while sizes[-1] > LAST:
        sizes.append(max(LAST, math.ceil(sizes[-1] / FACTOR)))
    rounds, seen = [], 0
    for number, size in enumerate(sizes):
        more = max(trainings // (len(sizes) - number) // size, number == 0)
        seen, trainings = seen + more, trainings - more * size
        if more:
            rounds.append((size, seen))
    return rounds


def tune(
    rivals: list[Rivals], ask: Callable[[Arm, Setting, int, float], grid.Cell]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All candidates, and what was read of the chosen ones.

    ask(arm, setting, replicate, budget): a cell that gives rows of trained.criterion; budget: as
    Jobs.lasting takes it. A candidate's score on a replicate is the mean loss over the widths read; the
    lowest mean over replicates is the best, of equals the first. First table: KEYS, learning_rate,
    strength (nan where there is none), short (the score of a short training, nan without one), mean,
    ci_low, ci_high, n (of whole trainings; all nan without one), gradients (of all trainings), chosen
    (1 or 0). Second: KEYS, replicate, eval_bits, loss.
    """
    read: dict[tuple[int, int], list] = defaultdict(list)  # (rival, candidate) -> one answer a replicate
    short: dict[tuple[int, int], list] = {}  # likewise, of short trainings

    def mean(which: tuple[int, int]) -> float:
        scores = [score(rows) for rows in read[which]]
        return round(sum(scores) / len(scores), 12) if scores else 0.0

    left = [[(i, k) for k in range(len(one.candidates))] for i, one in enumerate(rivals)]
    jobs = [which for i, one in enumerate(rivals) if one.cut for which in left[i]]
    cells = [ask(rivals[i].arm, rivals[i].candidates[k], FIRST, SHORT) for i, k in jobs]
    if cells:
        short.update(zip(jobs, grid.run(cells, "tuning, short"), strict=True))
    for i, one in enumerate(rivals):
        if one.cut:
            left[i] = sorted(left[i], key=lambda which: score(short[which]))[: one.rounds[0][0]]
    for number in range(max(len(one.rounds) for one in rivals)):
        jobs, cells = [], []
        for i, one in enumerate(rivals):
            if number >= len(one.rounds):
                continue
            size, seen = one.rounds[number]
            left[i] = sorted(left[i], key=mean)[:size]
            for which in left[i]:
                for replicate in range(FIRST + len(read[which]), FIRST + seen):
                    jobs.append(which)
                    cells.append(ask(one.arm, one.candidates[which[1]], replicate, 1.0))
        for which, rows in zip(jobs, grid.run(cells, f"tuning, round {number + 1}"), strict=True):
            read[which].append(rows)
    table, losses = [], []
    for i, one in enumerate(rivals):
        best = min(left[i], key=mean)
        for k, (rate, strength) in enumerate(one.candidates):
            first = [short[i, k]] if one.cut else []
            row = one.arm._asdict() | {"learning_rate": rate, "strength": strength}
            row |= {"short": score(*first) if first else math.nan}
            row |= _mean([score(rows) for rows in read[i, k]])
            every = [*first, *read[i, k]]
            row["gradients"] = sum(n for rows in every for *_, m, n in rows if m == "gradients")
            table.append(row | {"chosen": int((i, k) == best)})
        losses += [
            one.arm._asdict() | {"replicate": FIRST + number, "eval_bits": bits, "loss": loss}
            for number, rows in enumerate(read[best])
            for bits, _, metric, loss in rows
            if metric == "loss"
        ]
    return pd.DataFrame(table), pd.DataFrame(losses)


def _mean(scores: list[float]) -> dict[str, float]:
    """As statistics.mean_interval; of one score without an interval, of none nothing."""
    if len(scores) > 1:
        return statistics.mean_interval(scores)
    only = {"mean": scores[0], "n": 1} if scores else {"mean": math.nan, "n": math.nan}
    return only | {"ci_low": math.nan, "ci_high": math.nan}


def lost(losses: pd.DataFrame) -> pd.DataFrame:
    """KEYS, eval_bits, mean, ci_low, ci_high, n, of the second table of `tune`."""
    keys = [*KEYS, "eval_bits"]
    return pd.DataFrame(
        dict(zip(keys, key, strict=True)) | _mean([*values])
        for key, values in losses.groupby(keys, sort=False)["loss"]
    )


def score(rows: list[list]) -> float:
    """Mean loss over the widths that were read."""
    losses = [loss for bits, _, metric, loss in rows if bits != FLOAT and metric == "loss"]
    return sum(losses) / len(losses)


def chosen(tuning: pd.DataFrame) -> dict[Arm, Setting]:
    """Each arm's chosen candidate, from the first table of `tune`."""
    rows = tuning[tuning.chosen == 1]
    pairs = zip(rows.learning_rate, rows.strength, strict=True)
    return {Arm(*key): pair for key, pair in zip(rows[KEYS].itertuples(index=False), pairs, strict=True)}
