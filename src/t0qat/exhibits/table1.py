"""Tables and sentences of the published experiment."""

import math

from t0qat.exhibits.labels import QUANTITY_LABELS, macros
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import grouped, tabular
from t0qat.pipeline.words import NOTHING, Row, fixed, percent, percent_interval, with_interval
from t0qat.training.constants import REPORTED_REDUCTION, reported_evaluation_noise


def reported(row: Row) -> str:
    """The paper's number, where it has one."""
    return NOTHING if math.isnan(row["reported"]) else fixed(row["reported"], 4)


def _cells(row: Row) -> list[str]:
    percentile = row["reported_percentile"] / 100
    return [
        method_label(row["method"]),
        QUANTITY_LABELS[row["quantity"]],
        reported(row),
        with_interval(row),
        fixed(row["std"], 2),
        " / ".join(fixed(row[point], 2) for point in ("q025", "median", "q975")),
        NOTHING if math.isnan(percentile) else percent(percentile, 0),
    ]


def table1(results: Results) -> tuple[str, dict[str, str]]:
    """The three losses of each method beside the paper's."""
    table = results["table1"]
    groups = [[*map(_cells, rows_of(mine))] for _, mine in table.groupby("method", sort=False)]
    header = ["Method", "Loss", "Reported", "Reproduced mean [95 %]", "SD", "2.5 / 50 / 97.5 %", "At"]
    noise = table.evaluation_noise.iloc[0]
    known = table[table.reported.notna()]
    inside = known.reported.between(known.q025, known.q975).sum()
    said = {
        "EvaluationNoise": f"{noise:.4g}",
        "NoiseSentence": noise_source(noise),
        "ReportedReduction": percent(REPORTED_REDUCTION),
        "InsideSentence": reproduced(inside, len(known)),
    }
    return grouped(groups, header, "ll", leads=1), macros("TableOne", said)


def noise_source(noise: float) -> str:
    """Where the evaluation noise is from."""
    if math.isclose(noise, reported_evaluation_noise(), rel_tol=1e-6):
        return "Here the noise is fitted to the mean of the two reported drops."
    return "Here the noise is set by hand."


def reproduced(inside: int, known: int) -> str:
    """How many of the paper's numbers its experiment gives again."""
    if inside == known:
        return f"All {known} reported numbers lie in the middle 95 % of our single runs."
    if not inside:
        return f"None of the {known} reported numbers lies in the middle 95 % of our single runs."
    return f"Of {known} reported numbers, {inside} lie in the middle 95 % of our single runs."


def chances(results: Results) -> tuple[str, dict[str, str]]:
    """What two separate runs show: how often the reported reduction or more, and the larger loss."""
    paired, same = results["table1_paired"], results["table1_same_method"]
    reduction = f"the second drop is smaller by {percent(REPORTED_REDUCTION)} % or more"
    standard, t0 = (method_label(method) for method in ("standard_qat", "t0_qat"))
    rows = [
        [standard, t0, reduction, one(paired, quantity="chance_of_reported_reduction")],
        *([label, label, reduction, one(same, method=method)] for method, label in
          (("standard_qat", standard), ("t0_qat", t0))),
        [standard, t0, "the second quantized loss is larger",
         one(paired, quantity="chance_t0_worse_quantized")],
    ]  # fmt: skip
    body = tabular(
        ([*lead, percent_interval(row)] for *lead, row in rows),
        ["First run", "Second run", "What is asked", "Share of pairs [95 %]"], "lll",
    )  # fmt: skip
    said = {
        "DropSentence": drop_differs(one(paired, quantity="drop_difference")),
        "LuckSentence": luck(rows[0][-1]),
    }
    return body, macros("TableOne", said)


def drop_differs(row: Row) -> str:
    """Whether the two methods' expected drops differ. row: T0-QAT minus Standard QAT."""
    shown = with_interval(row)
    if row["ci_low"] > 0:
        return f"T0-QAT's expected drop is larger than the baseline's, by {shown}."
    if row["ci_high"] < 0:
        return f"T0-QAT's expected drop is smaller than the baseline's (difference {shown})."
    return f"The expected drops of the two methods are not shown to differ (difference {shown})."


def luck(row: Row) -> str:
    """How often one pair of runs shows the reported reduction. row: its chance."""
    return (
        f"One pair of runs shows the reported reduction, or more, in {percent_interval(row)} of cases."
    )
