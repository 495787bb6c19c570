"""Whether two runs, as on other seeds, decide the claims alike."""

from collections.abc import Sequence

import pandas as pd

from t0qat.pipeline.decision import CONTRADICTED, NO_EFFECT, SUPPORTED

WHOLE = ""  # the step of a column that is no sequence


def decided(verdict: str, order: Sequence[str]) -> dict[str, str]:
    """Of each step that a verdict decides, its word; none where it decides nothing.

    order: the steps of sequences, the first that must hold first. `supported to INT4; contradicted at
    INT2` supports INT4 and all before it. Raises ValueError: order lacks the step up to which it holds.
    """
    if verdict in (SUPPORTED, CONTRADICTED, NO_EFFECT):
        return {WHOLE: verdict}
    found = {}
    for part in verdict.split("; "):
        if part.startswith(f"{SUPPORTED} to "):
            last = part.removeprefix(f"{SUPPORTED} to ")
            found |= dict.fromkeys(order[: order.index(last) + 1], SUPPORTED)
        if part.startswith(f"{CONTRADICTED} at "):
            steps = part.removeprefix(f"{CONTRADICTED} at ").split(", ")
            found |= dict.fromkeys(steps, CONTRADICTED)
    return found


def flips(first: pd.DataFrame, second: pd.DataFrame, order: Sequence[str] = ()) -> pd.DataFrame:
    """What one run decides in one way and another in another; a verdict that is open is no flip.

    first, second: decision.verdict_table of each; order: as of `decided`. One row a claim, column and
    step: id, column, step, first, second (the words). Raises ValueError.
    """
    both, rows = first.merge(second, on=["id", "claim"], suffixes=("", " again")), []
    for column in first.columns.drop(["id", "claim"]):
        for id, before, after in zip(both.id, both[column], both[f"{column} again"], strict=True):
            one, other = decided(before, order), decided(after, order)
            rows += [
                (id, column, step, word, other[step])
                for step, word in one.items()
                if other.get(step, word) != word
            ]
    return pd.DataFrame(rows, columns=["id", "column", "step", "first", "second"])
