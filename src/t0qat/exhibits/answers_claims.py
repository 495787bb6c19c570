"""What is said of circuits, and of the verdicts on all claims."""

from t0qat.exhibits.rows import rows_of
from t0qat.exhibits.sentences import NOT_RUN, Chosen, of_all, verdict
from t0qat.exhibits.verdicts import IN_PART, kind_of
from t0qat.experiments.circuits import ALL, GUESS
from t0qat.experiments.on_circuits import PLAIN, PUBLISHED, TUNED
from t0qat.pipeline import claims, decision
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import fixed, thousands


def in_circuits(read: Read) -> Chosen:
    pairs = read("circuits_paired")
    rows = rows_of(pairs, way=TUNED, other_way=PLAIN, channel=ALL)
    shares = [100 * row["estimate"] for row in rows] or [0.0]
    ends = {"low": fixed(min(shares), 1), "high": fixed(max(shares), 1)}
    return verdict("C13", "scale_tuned", read), ends


def as_published(read: Read) -> Chosen:
    rows = rows_of(read("circuits_paired"), way=PUBLISHED, other_way=GUESS)
    learned = [row for row in rows if row["estimate"] > 0 and row["p_holm"] < ERROR_RATE]
    return (of_all(len(learned), len(rows)) if rows else NOT_RUN), {
        "learned": thousands(len(learned)),
        "n": thousands(len(rows)),
    }


def verdicts(read: Read) -> list[str]:
    """All of them, without columns that a claim does not have."""
    table = read("verdicts")
    return [cell for column in claims.load().columns for cell in table[column] if cell]


def holding(read: Read) -> Chosen:
    every = verdicts(read)
    held = every.count(decision.SUPPORTED)
    failed = [*map(kind_of, every)].count(decision.CONTRADICTED)
    shown = {key: thousands(n) for key, n in {"held": held, "failed": failed, "n": len(every)}.items()}
    if held != 1:
        return of_all(held, len(every)), shown
    columns, table = claims.load().columns, read("verdicts")
    ((claim, column),) = (
        (row["claim"], columns[column])
        for row in rows_of(table)
        for column in columns
        if row[column] == decision.SUPPORTED
    )
    return "one", shown | {"claim": claim, "column": column}


def remaining(read: Read) -> Chosen:
    kinds = [*map(kind_of, verdicts(read))]
    equal = kinds.count(decision.NO_EFFECT)
    decided = sum(map(kinds.count, (decision.SUPPORTED, decision.CONTRADICTED, IN_PART)))
    shown = {"equal": equal, "open": len(kinds) - decided - equal}
    form = " and ".join(key for key, n in shown.items() if n) or "decided"
    return form, {key: thousands(n) for key, n in shown.items()}


CHOOSE = {
    "circuits/1": in_circuits,
    "circuits/2": as_published,
    "claims/1": holding,
    "claims/2": remaining,
}
