"""Tables of where arms stand at each width: what is shown of them, and who keeps the metric."""

import pandas as pd

from t0qat.exhibits.benchmark import (
    CONTROL,
    HIGHER,
    LOWER,
    PLACEBO,
    PLAIN,
    REFERENCE,
    UNDECIDED,
    UNDER_TEST,
    WITHIN,
    Benchmark,
    at_each_width,
    decided,
    is_reference,
    paired_cell,
    stands,
)
from t0qat.exhibits.labels import name, width
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import FLOAT, model_label
from t0qat.experiments.compare import own_width
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import NOTHING, number, span
from t0qat.training.methods import REGISTRY

KINDS = ("noise", "rounding", "other")  # as families are counted
REPLICAS = (("ring", "star"), ("ring", "ste"), ("star", "ste"))


def kind(method: str) -> str:
    family = REGISTRY[method].family
    return family if family in KINDS else "other"


def shown(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """How many arms are lower, within the margin, higher and undecided, by network, rival and width.

    Of those meant for the width, without placebo, control and the reference itself; beside them, what
    T0-QAT is.
    """
    pairs = at_each_width(b, results)
    pairs = decided(pairs[own_width(pairs)])
    itself = (pairs.against == REFERENCE) & is_reference(pairs, pairs, ["model", "eval_bits"])
    counted = pairs[~pairs.method.isin([PLACEBO, CONTROL]) & ~itself]
    counted = counted.assign(kind=counted.method.map(kind))

    def line(model, rival, bits):
        place = {"model": model, "against": rival, "eval_bits": bits}
        by_kind = (rows_of(counted, **place, kind=kind) for kind in KINDS)
        under_test = (rows_of(pairs, **place, method=method) for method in UNDER_TEST)
        lead = [model_label(model), "reference" if rival == REFERENCE else "plain", width(bits)]
        return [
            *lead,
            *map(_counts, by_kind),
            *(stands(rows[0]) if rows else NOTHING for rows in under_test),
        ]

    groups = [
        [line(model, rival, bits) for rival in (PLAIN, REFERENCE) for bits in _widths(mine)]
        for model, mine in pairs.groupby("model", sort=False)
    ]
    header = ["Network", "Minus", "Weights", *map(str.capitalize, KINDS), *map(name, UNDER_TEST)]
    return grouped(groups, header, "llllllll", leads=2), {}


def _widths(pairs: pd.DataFrame) -> list[int]:
    return sorted(pairs.eval_bits.unique(), reverse=True)


def _counts(rows: list[dict]) -> str:
    """`2 / 0 / 3 / 5`, or a dash where nothing is compared."""
    found = [row["shown"] for row in rows]
    return (
        " / ".join(str(found.count(word)) for word in (LOWER, WITHIN, HIGHER, UNDECIDED))
        if found
        else NOTHING
    )


def keeps(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """Who stays within the margin of plain training that is not rounded, by uncorrected intervals."""
    rows = b.table(results, "_kept")
    rows = rows[(rows.scale_rule == "own") & own_width(rows)]
    lost = rows.ci_high if b.metric.less_is_better else -rows.ci_low
    rows = rows.assign(kept=lost < rows.margin)
    methods = ("no_noise", *UNDER_TEST)
    sizes = b.table(results)
    sizes = sizes[sizes.metric == "bytes"]
    header = ["Network", "Weights", "Margin", "Arms that keep it", *map(name, methods)]

    def line(model, bits, here):
        margin = number(here.margin.iloc[0], 2)
        of = {row["method"]: "yes" if row["kept"] else "no" for row in rows_of(here)}
        lead = [model_label(model), width(bits), margin, f"{here.kept.sum()} of {len(here)}"]
        size = span(sizes[(sizes.model == model) & (sizes.eval_bits == bits)]["mean"])
        return [*lead, *(of.get(method, NOTHING) for method in methods), *([size] if len(sizes) else [])]

    groups = [
        [line(model, bits, mine[mine.eval_bits == bits]) for bits in _widths(mine)]
        for model, mine in rows.groupby("model", sort=False)
    ]
    return grouped(groups, header + ["Bytes"] * bool(len(sizes)), "llrrlll", leads=1), {}


def replicas(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """Coupled replicas against each other and against the rounding of each, by network and width."""
    pairs = at_each_width(b, results)
    pairs = pairs[own_width(pairs) & (pairs.eval_bits != FLOAT)]
    coupled = pairs[pairs.method.isin(["ring", "star"])]

    def line(model, bits):
        place = {"model": model, "eval_bits": bits}
        rows = (rows_of(pairs, **place, method=one, against=other) for one, other in REPLICAS)
        return [
            model_label(model),
            width(bits),
            *(paired_cell(row[0]) if row else NOTHING for row in rows),
        ]

    groups = [
        [line(model, bits) for bits in _widths(mine)]
        for model, mine in coupled.groupby("model", sort=False)
    ]
    header = ["Network", "Weights", *(f"{name(one)} minus {name(other)}" for one, other in REPLICAS)]
    return grouped(groups, header, "llrrr", leads=1), {}
