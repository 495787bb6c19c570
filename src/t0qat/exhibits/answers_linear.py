"""The sentences of the experiments on the paper's own linear layer."""

import pandas as pd
from scipy import stats

from t0qat.exhibits.rows import one
from t0qat.exhibits.sentences import Chosen, of_all, verdict
from t0qat.exhibits.theory import ALARM, reached
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.words import direction, percent, thousands, with_interval

DATA = ("synthetic", "diabetes")


def published_numbers(read: Read) -> Chosen:
    table = read("table1")
    known = table[table.reported.notna()]
    inside = known.reported.between(known.q025, known.q975).sum()
    return of_all(inside, len(known)), {
        "inside": thousands(inside),
        "of": thousands(len(known)),
        "runs": thousands(table.n.max()),
    }


def expected_drop(read: Read) -> Chosen:
    row = one(read("table1_paired"), quantity="drop_difference")
    return direction(row), {"difference": with_interval(row)}


def on_both(read: Read, quantity: str) -> dict[str, dict]:
    """T0-QAT minus Standard QAT over all grids, by data set."""
    table = read("integer_grids_overall")
    return {dataset: one(table, dataset=dataset, quantity=quantity) for dataset in DATA}


def after_rounding(read: Read) -> Chosen:
    rows = on_both(read, "quantized")
    shown = {dataset: with_interval(row) for dataset, row in rows.items()}
    return verdict("C2", "as_published", read), shown


def what_rounding_adds(read: Read) -> Chosen:
    after, added = on_both(read, "quantized"), on_both(read, "drop")
    pairs = ((added[data]["estimate"], after[data]["estimate"]) for data in DATA)
    most = [2 * part * whole > whole**2 for part, whole in pairs]  # of one sign, and most of it
    return of_all(sum(most), len(most)), {data: with_interval(row) for data, row in added.items()}


def beyond_luck(table: pd.DataFrame) -> int:
    """How many measured numbers lie farther from theory than the largest of so many would by luck."""
    return (table.z.abs() > stats.norm.isf(ALARM / 2 / len(table))).sum()


def same_drop(read: Read) -> Chosen:
    tables = read("theory"), read("theory_reduction")
    apart, every = sum(map(beyond_luck, tables)), sum(map(len, tables))
    return of_all(apart, 0), {"apart": thousands(apart), "n": thousands(every)}


def long_training(read: Read) -> Chosen:
    found = reached(read("theory_training"))
    shown = {name: percent(getattr(found, name)) for name in ("first", "long", "plain")}
    return found.at, shown | {"times": f"{found.times:.0f}"}


CHOOSE = {
    "table1/1": published_numbers,
    "table1/2": expected_drop,
    "integer_grids/1": after_rounding,
    "integer_grids/2": what_rounding_adds,
    "theory/1": same_drop,
    "theory/2": long_training,
}
