"""Table and macros of the integer grids."""

from t0qat.exhibits.cells import count, plus_minus, with_interval
from t0qat.exhibits.rows import Results, rows_of, tally
from t0qat.exhibits.words import dataset_label
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import escape, grouped, scientific


def integer_grids(results: Results) -> tuple[str, dict[str, str]]:
    """The quantized loss of each method at each bit-width."""
    table = results["integer_grids"]
    widths = table.bits.unique()
    groups = []
    for dataset, part in table.groupby("dataset", sort=False):
        groups.append([])
        for method, mine in part.groupby("method", sort=False):
            shown = rows_of(mine, bits=widths[0], quantity="full_precision")
            shown += rows_of(mine, quantity="quantized")
            lead = [escape(dataset_label(dataset)), escape(method_label(method))]
            groups[-1].append([*lead, *map(plus_minus, shown)])
    header = ["Data", "Method", "Full precision", *(f"INT{b}" for b in widths)]
    body = grouped(groups, header, "ll")

    paired = results["integer_grids_paired"]
    rival = paired[paired.other == "standard_qat"]
    drops = rival[rival.quantity == "drop"]
    counts = {f"Quantized{key}": n for key, n in tally(rival[rival.quantity == "quantized"]).items()}
    counts |= {"DropCells": str(len(drops))} | {f"Drop{key}": n for key, n in tally(drops).items()}
    macros = {
        "Replicates": count(table.n.iloc[0]),
        **counts,
        "DropDetectableLeast": scientific(drops.detectable.min()),
        "DropDetectableMost": scientific(drops.detectable.max()),
    }
    for quantity, name in (("drop", "OverallDrop"), ("quantized", "OverallQuantized")):
        overall = rows_of(results["integer_grids_overall"], quantity=quantity)
        cells = [f"{with_interval(row)} on the {escape(row['dataset'])} data" for row in overall]
        macros[name] = " and ".join(cells)
    return body, {f"Grids{name}": value for name, value in macros.items()}
