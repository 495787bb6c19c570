"""Table and macros of the published experiment."""

import math

from t0qat.exhibits.labels import QUANTITY_LABELS, macros
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import NOTHING, Row, fixed, percent, span, with_interval
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
    fitted = math.isclose(noise, reported_evaluation_noise(), rel_tol=1e-6)
    known = table[table.reported.notna()]
    inside = known.reported.between(known.q025, known.q975)
    said = {
        "EvaluationNoise": f"{noise:.4g}",
        "NoiseSource": "fitted to the mean of the two reported drops" if fitted else "set by hand",
        "ReportedReduction": percent(REPORTED_REDUCTION),
        "ReportedInside": f"{inside.sum()} of {len(inside)}",
        "ReportedPercentiles": span(known.reported_percentile / 100, lambda p: percent(p, 0)),
    }
    return grouped(groups, header, "ll", leads=1), macros("TableOne", said)
