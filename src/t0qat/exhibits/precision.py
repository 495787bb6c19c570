"""Tables and sentences of the metric against bits."""

import pandas as pd

from t0qat.exhibits.labels import data_label, label_on, macros, name, starred
from t0qat.exhibits.rows import Results, one, rows_of, tally
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import NOTHING, number, plus_minus, span, thousands

UNDER_TEST = "t0_qat"


def precision(results: Results) -> tuple[str, dict[str, str]]:
    """Where each method's metric starts to fall, and where the step equals xi."""
    full, knees = results["precision_full"], results["precision_knee"]
    conventions = [*dict.fromkeys(zip(knees.range, knees.scale, strict=True))]

    def rows(row):
        key = {key: row[key] for key in ("dataset", "model", "method")}
        for quantity, label in (("knee", "knee"), ("xi_bits", "step = ξ")):
            mine = [
                one(knees, range=codes, scale=scale, quantity=quantity, **key)
                for codes, scale in conventions
            ]
            lead = [f"{data_label(row)}, n = {thousands(row['n'])}"]
            lead += [label_on(row["method"], row["model"]), plus_minus(row), label]
            yield [*lead, *map(plus_minus, mine)]

    groups = [
        [line for row in rows_of(mine) for line in rows(row)]
        for _, mine in full.groupby(["dataset", "model"], sort=False)
    ]
    header = ["Data", "Method", "Full precision", "Bits", *map(", ".join, conventions)]
    between = r"@{\hspace{5pt}}".join("llll" + "r" * len(conventions))
    body = grouped(groups, header, f"@{{}}{between}@{{}}", leads=3)
    return body, macros("Precision", {"Sentence": limit(knees[knees.quantity == "distance"])})


def limit(distances: pd.DataFrame) -> str:
    """Whether xi marks where accuracy starts to fall. distances: from knee to there, in bits."""
    near, every = (distances.ci_high < 1).sum(), len(distances)
    if near:
        return (
            f"Accuracy starts to fall within one bit of where the step equals ξ in {near} of"
            f" {every} cases."
        )
    least = number(distances.estimate.min(), 2)
    return (
        f"In none of {every} cases is accuracy shown to start to fall within one bit of where the step"
        f" equals ξ; on average at least {least} bits lie between."
    )


def flips(results: Results) -> tuple[str, dict[str, str]]:
    """What inverting low bits adds to the metric: T0-QAT minus each other method."""
    table = results["precision_flips"]
    table = table[table.method == UNDER_TEST]
    others = table.other.unique()

    def line(case: pd.DataFrame) -> list[str]:
        row = case.iloc[0]
        found = {row["other"]: starred(row) for row in rows_of(case)}
        lead = [data_label(row), thousands(row["bits"]), thousands(row["flipped"])]
        seen = span(case.detectable[case.detectable > 0], lambda value: number(value, 2))
        return [*lead, *(found.get(other, NOTHING) for other in others), seen]

    groups = [
        [line(case) for _, case in mine.groupby(["bits", "flipped"], sort=False)]
        for _, mine in table.groupby(["dataset", "model"], sort=False)
    ]
    header = ["Data", "Bits", "flipped", *(f"minus {name(other)}" for other in others), "would see"]
    said = macros("PrecisionFlips", {"Sentence": ignored(tally(table))})
    return grouped(groups, header, "lll", leads=2), said


def ignored(found: dict[str, int]) -> str:
    """Whether flipped bits cost T0-QAT less than other methods. found: as `tally` counts it."""
    less, more, every = found["Smaller"], found["Larger"], sum(found.values())
    lead = "Inverted low bits cost the published method"
    if less and more:
        return f"{lead} less than another in {less} of {every} comparisons, and more in {more}."
    if less:
        return f"{lead} less than another in {less} of {every} comparisons, and more in none."
    if more:
        return f"{lead} more than another in {more} of {every} comparisons, and less in none."
    return f"{lead} neither less nor more than another, as far as {every} comparisons show."
