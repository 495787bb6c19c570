"""Learning rate and strength of every arm, by successive halving on replicates of their own.

Every candidate starts on a few replicates; the better part goes on to more, until the last two have most
(Jamieson & Talwalkar 2016, arXiv 1502.07943; the schedule is that of scikit-learn's halving search, with
replicates as the resource). All arms take the same number of trainings: one with fewer candidates starts
on more replicates. Candidates that are compared share their replicates.
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

Setting = tuple[float, float]  # learning rate, strength


class Rivals(NamedTuple):
    """An arm's candidates, and how its trainings are spent on them."""

    arm: Arm
    candidates: list[Setting]
    rounds: list[tuple[int, int]]  # of each round: candidates, and replicates that each has had after it


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
    """Rounds that take so many trainings, or a few less: halving(20, 40) is [(20, 1), (5, 3), (2, 8)].

    Every round takes an equal share of what is left, but at least one replicate more for each candidate.
    Raises ParameterError where that is not enough for the first.
    """
    if trainings < candidates:
        raise ParameterError(f"trainings = {trainings}: fewer than {candidates} candidates to tune")
    sizes = [candidates]
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
    rivals: list[Rivals], ask: Callable[[Arm, Setting, int], grid.Cell]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All candidates, and what was read of the chosen ones.

    ask(arm, setting, replicate): a cell that gives rows of trained.criterion. A candidate's score on a
    replicate is the mean loss over the widths read; the lowest mean over replicates is the best, of
    equals the first. First table: KEYS, learning_rate, strength (nan where there is none), mean, ci_low,
    ci_high, n, gradients (of all n), chosen (1 or 0). Second: KEYS, replicate, eval_bits, loss.
    """
    read: dict[tuple[int, int], list] = defaultdict(list)  # (rival, candidate) -> one answer a replicate

    def mean(which: tuple[int, int]) -> float:
        scores = [score(rows) for rows in read[which]]
        return round(sum(scores) / len(scores), 12) if scores else 0.0

    left = [[(i, k) for k in range(len(one.candidates))] for i, one in enumerate(rivals)]
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
                    cells.append(ask(one.arm, one.candidates[which[1]], replicate))
        for which, rows in zip(jobs, grid.run(cells, f"tuning, round {number + 1}"), strict=True):
            read[which].append(rows)
    table, losses = [], []
    for i, one in enumerate(rivals):
        best = min(left[i], key=mean)
        for k, (rate, strength) in enumerate(one.candidates):
            answers = read[i, k]
            row = one.arm._asdict() | {"learning_rate": rate, "strength": strength}
            row |= _mean([score(rows) for rows in answers])
            row["gradients"] = sum(n for rows in answers for *_, m, n in rows if m == "gradients")
            table.append(row | {"chosen": int((i, k) == best)})
        losses += [
            one.arm._asdict() | {"replicate": FIRST + number, "eval_bits": bits, "loss": loss}
            for number, rows in enumerate(read[best])
            for bits, _, metric, loss in rows
            if metric == "loss"
        ]
    return pd.DataFrame(table), pd.DataFrame(losses)


def _mean(scores: list[float]) -> dict[str, float]:
    """As statistics.mean_interval; of one score without an interval."""
    if len(scores) > 1:
        return statistics.mean_interval(scores)
    return {"mean": scores[0], "ci_low": math.nan, "ci_high": math.nan, "n": 1}


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
