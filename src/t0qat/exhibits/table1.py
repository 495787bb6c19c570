"""Table and macros of the published experiment."""

import math

from t0qat.exhibits.cells import NOTHING, percent, with_interval
from t0qat.exhibits.rows import Results, Row, rows_of
from t0qat.exhibits.words import QUANTITY_LABELS
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import escape, grouped
from t0qat.training.constants import REPORTED_REDUCTION, reported_evaluation_noise


def reported(row: Row) -> str:
    """The paper's number, or `--`."""
    return NOTHING if math.isnan(row["reported"]) else f"{row['reported']:.4f}"


def _cells(row: Row) -> list[str]:
    known = not math.isnan(row["reported"])
    return [
        escape(method_label(row["method"])),
        QUANTITY_LABELS[row["quantity"]],
        reported(row),
        with_interval(row),
        f"{row['std']:.2f}",
        f"{row['q025']:.2f} / {row['median']:.2f} / {row['q975']:.2f}",
        percent(row["reported_percentile"] / 100, 0) if known else NOTHING,
    ]


def table1(results: Results) -> tuple[str, dict[str, str]]:
    """The three losses of each method beside the paper's."""
    table = results["table1"]
    groups = [[*map(_cells, rows_of(mine))] for _, mine in table.groupby("method", sort=False)]
    header = ["Method", "Loss", "Reported", r"Reproduced mean [95\,\%]", "SD"]
    body = grouped(groups, [*header, r"2.5 / 50 / 97.5\,\%", "At"], "ll", leads=1)

    noise = table.evaluation_noise.iloc[0]
    fitted = math.isclose(noise, reported_evaluation_noise(), rel_tol=1e-6)
    known = table[table.reported.notna()]
    inside = known.reported.between(known.q025, known.q975)
    macros = {
        "EvaluationNoise": f"{noise:.4g}",
        "NoiseSource": "fitted to the mean of the two reported drops" if fitted else "set by hand",
        "ReportedReduction": percent(REPORTED_REDUCTION),
        "ReportedInside": f"{inside.sum()} of {len(inside)}",
        "ReportedLowest": percent(known.reported_percentile.min() / 100, 0),
        "ReportedHighest": percent(known.reported_percentile.max() / 100, 0),
    }
    return body, {f"TableOne{name}": value for name, value in macros.items()}
