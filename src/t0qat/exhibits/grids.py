"""Table and macros of the integer grids."""

from t0qat.exhibits.labels import dataset_label, macros, on_each, width
from t0qat.exhibits.rows import Results, rows_of, tally
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import number, plus_minus, span, with_interval


def integer_grids(results: Results) -> tuple[str, dict[str, str]]:
    """The quantized loss of each method at each bit-width."""
    table, overall = results["integer_grids"], results["integer_grids_overall"]
    widths = table.bits.unique()
    groups = []
    for dataset, part in table.groupby("dataset", sort=False):
        groups.append([])
        for method, mine in part.groupby("method", sort=False):
            shown = rows_of(mine, bits=widths[0], quantity="full_precision")
            shown += rows_of(mine, quantity="quantized")
            groups[-1].append([dataset_label(dataset), method_label(method), *map(plus_minus, shown)])
    header = ["Data", "Method", "Full precision", *map(width, widths)]
    paired = results["integer_grids_paired"]
    rival = paired[paired.other == "standard_qat"]
    said = {}
    for quantity, name in (("drop", "Drop"), ("quantized", "Quantized")):
        told = tally(rival[rival.quantity == quantity])
        said |= {f"{name}{key}": n for key, n in told.items()}
        said[f"Overall{name}"] = on_each(rows_of(overall, quantity=quantity), with_interval)
    said["DropDetectable"] = span(
        rival[rival.quantity == "drop"].detectable, lambda difference: number(difference, 2)
    )
    return grouped(groups, header, "ll"), macros("Grids", said)
