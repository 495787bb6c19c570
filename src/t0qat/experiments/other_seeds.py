"""Whether another run of the paper, as on other seeds, decides and recommends as this one does."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from t0qat.experiments import recommendation
from t0qat.experiments.arms import NO_WIDTH
from t0qat.pipeline import places, results
from t0qat.pipeline.agreement import decided, flips
from t0qat.pipeline.paper import Paper

STEPS = [f"INT{bits}" for bits in range(16, 0, -1)]  # of sequences over bit-widths


def compared(paper: Paper, other: Path) -> Iterator[str]:
    """One line a verdict that is decided otherwise there, and one a recommendation; then the counts.

    other: another checkout, in which the paper was run. Raises ResultsError.
    """
    verdicts, arms = (
        [results.read(paper, name, home) for home in (places.ROOT, other)]
        for name in ("verdicts", "recommendation_arms")
    )
    changed = flips(*verdicts, STEPS)
    for row in changed.itertuples():
        yield f"{row.id}, {row.column}: {row.step} {row.first} here, {row.second} there".replace(
            "  ", " "
        )
    both = recommendation.agreement(*arms)
    for row in both.to_dict("records"):
        here, there = (
            f"{row[m]} ({row[b]})" for m, b in (("method", "train_bits"), ("other", "other_bits"))
        )
        found = "the same" if here == there else f"{there} there, {_behind(row)}"
        for_all = row["eval_bits"] == NO_WIDTH
        where = "with one training for all widths" if for_all else f"at INT{row['eval_bits']}"
        yield f"{row['family']} {where}: {here} here, {found}"
    here, there = (_columns(table) for table in verdicts)
    alike = [key for key in here if key in there and here[key] and there[key]]
    yield f"{len(changed)} of {len(alike)} columns that both decide are decided otherwise"
    beyond = len(both) - both.holds.sum()
    yield f"{beyond} of {len(both)} recommendations lie beyond the margin in the other run"


def _behind(row: dict) -> str:
    """How far each run's choice lies behind in the other, and whether that is within the margin."""
    ends = f"{row['behind_first']:.3g} behind here, {row['behind_second']:.3g} the other way"
    return f"{ends}, {'within' if row['holds'] else 'beyond'} the margin"


def _columns(verdicts: pd.DataFrame) -> dict[tuple[str, str], dict[str, str]]:
    """(id, column) -> the words of its decided steps."""
    columns = verdicts.columns.drop(["id", "claim"])
    return {
        (row["id"], name): decided(str(row[name]), STEPS)
        for row in verdicts.to_dict("records")
        for name in columns
    }
