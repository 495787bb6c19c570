"""Tables and the sentence of the integer grids."""

from t0qat.exhibits.labels import QUANTITY_LABELS, dataset_label, macros, width
from t0qat.exhibits.rows import Results, one, rows_of, tally
from t0qat.experiments.arms import method_label
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import number, plus_minus, span, thousands

RIVAL = "standard_qat"


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
            groups[-1].append([dataset_label(dataset), method_label(method), *map(plus_minus, shown)])
    header = ["Data", "Method", "Full precision", *map(width, widths)]
    return grouped(groups, header, "ll"), {}


def counts(results: Results) -> tuple[str, dict[str, str]]:
    """T0-QAT minus Standard QAT: in mean over widths and conventions, and at how many it differs."""
    pairs, overall = results["integer_grids_paired"], results["integer_grids_overall"]
    pairs = pairs[pairs.other == RIVAL]

    def row(dataset: str, quantity: str) -> list[str]:
        mine = pairs[(pairs.dataset == dataset) & (pairs.quantity == quantity)]
        seen = span(mine.detectable, lambda difference: number(difference, 2))
        mean = one(overall, dataset=dataset, quantity=quantity)
        found = map(thousands, tally(mine).values())
        return [dataset_label(dataset), QUANTITY_LABELS[quantity], plus_minus(mean), *found, seen]

    groups = [
        [row(dataset, quantity) for quantity in ("quantized", "drop")]
        for dataset in overall.dataset.unique()
    ]
    header = ["Data", "Loss", "Mean difference", "smaller", "larger", "not decided", "would see"]
    said = tally(pairs[pairs.quantity == "quantized"])
    return grouped(groups, header, "ll", leads=1), macros("Grids", {"Sentence": rounded(said)})


def rounded(found: dict[str, int]) -> str:
    """How T0-QAT's loss after rounding compares with Standard QAT's. found: as `tally` counts it."""
    smaller, larger, every = found["Smaller"], found["Larger"], sum(found.values())
    lead = "After rounding, the method's loss is"
    if larger == every:
        return f"{lead} larger than the baseline's in all {every} comparisons."
    if smaller == every:
        return f"{lead} smaller than the baseline's in all {every} comparisons."
    if not smaller and not larger:
        return f"{lead} not shown to differ from the baseline's in any of {every} comparisons."
    return (
        f"{lead} smaller than the baseline's in {smaller} of {every} comparisons and larger in {larger}."
    )
