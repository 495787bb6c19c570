"""What all benchmarks share: arms tuned on replicates of their own, run on others, and compared.

Values are compared by the metric that the caller names, and by whether less of it is better.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd

from t0qat import grid, statistics
from t0qat.arms import FLOAT, KEYS, Arm
from t0qat.compare import Metric, differences, kept, over_bits, own_width, with_chosen

TUNING = 10**9  # the first replicate of tuning: no other use of replicates comes so far
NUMBERS = ("eval_bits", "scale_rule", "metric", "value")
Setting = tuple[float, float]  # learning rate, strength


class Jobs(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    arms: list[Arm]
    candidates: list[list[Setting]]  # of each arm
    shared: dict[str, Any]  # arguments of every cell
    tuning_replicates: int
    replicates: int
    cell: Callable[..., grid.Cell]  # takes arm, learning rate, strength, replicate, part and `shared`

    def tuning(self) -> list[tuple[dict, grid.Cell]]:
        """Every arm's candidates on all tuning replicates, each cell with what it is."""
        return [
            (arm._asdict() | {"candidate": number, "replicate": i}, self.cell(arm, *tried, i, **own))
            for arm, candidates in zip(self.arms, self.candidates, strict=True)
            for number, tried in enumerate(candidates)
            for i in range(TUNING, TUNING + self.tuning_replicates)
            for own in [self.shared | {"part": "validation"}]
        ]

    def final(self, chosen: list[Setting]) -> list[tuple[dict, grid.Cell]]:
        """Every arm at its chosen candidate on all replicates."""
        return [
            (arm._asdict() | {"replicate": i}, self.cell(arm, *candidate, i, **self.shared, part="test"))
            for arm, candidate in zip(self.arms, chosen, strict=True)
            for i in range(self.replicates)
        ]


class Run(NamedTuple):
    """What was measured: rows of KEYS, replicate, eval_bits, scale_rule, metric and value."""

    tuning: pd.DataFrame  # one row a candidate
    validation: pd.DataFrame  # of the chosen candidates, on what they were chosen on
    test: pd.DataFrame


def measured(
    jobs: list[tuple[dict, grid.Cell]], words: str, numbers: tuple[str, ...] = NUMBERS
) -> pd.DataFrame:
    """What the cells give, one row a number: what the cell is, and the columns `numbers`."""
    found = grid.run([cell for _, cell in jobs], words)
    return pd.DataFrame(
        label | dict(zip(numbers, row, strict=True))
        for (label, _), rows in zip(jobs, found, strict=True)
        for row in rows
    )


def ranked(jobs: Jobs, tried: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """KEYS, learning_rate, strength, mean, ci_low, ci_high, n, gradients (of all n), chosen, candidate.

    A candidate's score on a tuning replicate is its value at the best scale rule of each bit-width,
    averaged over bit-widths: the arm's own, or all for an arm without one. mean: of these scores; the
    best is chosen, of equals the first. strength is nan where the method has none.
    """
    one = [*KEYS, "candidate"]
    values = tried[own_width(tried) & (tried.metric == metric.name) & (tried.eval_bits != FLOAT)]
    best = values.groupby([*one, "replicate", "eval_bits"], sort=False)["value"].agg(metric.best)
    scores = best.groupby([*one, "replicate"], sort=False).mean()
    gradients = tried[tried.metric == "gradients"].groupby(one, sort=False)["value"].sum()
    settings = dict(zip(jobs.arms, jobs.candidates, strict=True))
    rows = []
    for key, group in scores.groupby(one, sort=False):
        rate, strength = settings[Arm(*key[:-1])][key[-1]]
        row = {"learning_rate": rate, "strength": strength, "gradients": int(gradients[key])}
        rows.append(dict(zip(one, key, strict=True)) | row | statistics.mean_interval(group))
    table = pd.DataFrame(rows)
    means = table["mean"].round(12).groupby([table[key] for key in KEYS], sort=False)
    return table.assign(chosen=table.index.isin(means.agg(f"idx{metric.best}")).astype(int))


def settings(tuning: pd.DataFrame) -> dict[Arm, Setting]:
    """Each arm's chosen candidate, from what `ranked` gave."""
    chosen = tuning[tuning.chosen == 1]
    pairs = zip(chosen.learning_rate, chosen.strength, strict=True)
    return {
        Arm(*key): pair for key, pair in zip(chosen[KEYS].itertuples(index=False), pairs, strict=True)
    }


def files(name: str, run: Run, metric: Metric) -> dict[str, pd.DataFrame]:
    """Six results files: name, name_any and name_tuning of means, the other three of differences.

    name: KEYS, eval_bits (FLOAT: not rounded), scale_rule (absmax, mse, learned, none, or chosen: the
    one that validated best), metric (all that were measured), mean, ci_low, ci_high, n.
    name_any: KEYS, scale_rule, quantity (mean or worst over the bit-widths), mean, ci_low, ci_high, n.
    name_paired: arms without a width and those trained for the width at hand, see `differences`.
    """
    test, known = (with_chosen(rows, run.validation, metric) for rows in (run.test, run.validation))
    anywhere = over_bits(test, metric), over_bits(known, metric)
    here = test[own_width(test)], known[own_width(known)]
    everything = pd.concat([test, run.test[run.test.metric != metric.name]])
    return {
        name: statistics.means(everything, [*KEYS, "eval_bits", "scale_rule", "metric"]),
        f"{name}_any": statistics.means(anywhere[0], [*KEYS, "scale_rule", "quantity"]),
        f"{name}_kept": kept(here[0]),
        f"{name}_paired": differences(*here, ["eval_bits", "scale_rule"], metric),
        f"{name}_any_paired": differences(*anywhere, ["scale_rule", "quantity"], metric),
        f"{name}_tuning": run.tuning,
    }
