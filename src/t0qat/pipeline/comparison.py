"""Committed results files held against a re-run's, cell by cell, by the rules of room `verify`."""

from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from t0qat.pipeline import places, results
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.places import Run
from t0qat.pipeline.statistics import LEVEL

FALSE_ALARM = 0.001
Z = stats.norm.ppf((1 + LEVEL) / 2)
NEAR = 1e-4  # relative: sums in another order, seen through means and tests
EQUAL, WITHIN, DIFFERS, NOT_COMPARED = "equal", "within tolerance", "DIFFERS", "not compared"


def _half(row: pd.DataFrame) -> pd.Series:
    return (row["ci_high"] - row["ci_low"]) / (2 * Z)


def _relative(row: pd.DataFrame) -> pd.Series:
    """Relative standard error of a standard deviation, allowing for a kurtosis of up to 9."""
    return np.sqrt(8 / (4 * row["n"]))


def _end(row: pd.DataFrame) -> pd.Series:
    """An interval's end moves with its centre and with its width."""
    return _half(row) * np.sqrt(1 + (Z * _relative(row)) ** 2)


def _quantile(p: float) -> Callable[[pd.DataFrame], pd.Series]:
    """Of a sample quantile, by the density of a normal distribution there."""
    density = stats.norm.pdf(stats.norm.ppf(p))
    return lambda row: row["std"] * np.sqrt(p * (1 - p) / row["n"]) / density


# How a column's standard error follows from its row; other columns have none.
ERRORS = {
    "mean": _half,
    "estimate": _half,
    "ci_low": _end,
    "ci_high": _end,
    "std": lambda row: row["std"] * _relative(row),
    "detectable": lambda row: row["detectable"] * _relative(row),
    "median": _quantile(0.5),
    "q025": _quantile(0.025),
    "q975": _quantile(0.975),
    "exact": lambda row: 1e-6 * row["exact"].abs() + 1e-9,  # the same weights but for rounding
    "z": lambda row: 1.0 + 0 * row["z"],
    "reported_percentile": lambda row: 100 * np.sqrt(0.25 / row["n"]),
}
GIVEN = {"reported", "n"}  # not measured: compared to the digit under both rules
GROW_WITH_N = {"ci_low", "ci_high", "detectable"}  # of another quantity where n differs
COLUMNS = ["file", "row", "quantity", "committed", "rerun", "difference", "tolerance", "verdict"]
FORMATS = {"difference": "{:.3g}".format, "tolerance": "{:.3g}".format}


def compare(paper: Paper, run: Run, identical: bool, skipped: Collection[str] = ()) -> pd.DataFrame:
    """Every cell of every results file but the skipped ones, committed against re-run: COLUMNS."""
    files = sorted(path.stem for path in (places.ROOT / "paper" / "results").glob("*.csv"))
    cells = [_cells(paper, f, run) for f in files if f in paper.results and f not in skipped]
    if not cells:
        return pd.DataFrame(columns=COLUMNS)
    cells = pd.concat(cells, ignore_index=True)
    old, new, is_n = cells.committed, cells.rerun, cells.quantity == "n"
    difference = pd.to_numeric(new, errors="coerce") - pd.to_numeric(old, errors="coerce")
    chance = FALSE_ALARM / max(cells.error.notna().sum(), 1)
    tolerance = stats.t.isf(chance / 2, np.maximum(cells.n - 1, 1)) * cells.error
    empty = (old == "") | (new == "")
    halved = cells.file.isin(paper.adaptive.split()) & (is_n | empty) & (not identical)
    exactly = ~cells.file.isin(paper.unpinned.split()) & identical
    near = difference.abs() <= NEAR * pd.to_numeric(old, errors="coerce").abs() + NEAR**2
    judged = [  # the first that holds decides; where none does, the tolerance
        (cells.file.isin(paper.timed.split()) | _needs(cells.row, missing(paper)), NOT_COMPARED),
        (old == new, EQUAL),
        (halved | (is_n & (run.profile != "paper")), NOT_COMPARED),
        (cells.file.isin(paper.derived.split()) & near & identical, WITHIN),
        (empty | cells.quantity.isin({*GIVEN, "the row"}) | exactly, DIFFERS),
        (cells.error.isna(), NOT_COMPARED),
    ]
    certain, verdicts = zip(*judged, strict=True)
    verdict = np.select([*certain, difference.abs() <= tolerance], [*verdicts, WITHIN], DIFFERS)
    tolerance = tolerance.mask(np.any(certain, axis=0))
    return cells.assign(difference=difference, tolerance=tolerance, verdict=verdict)[COLUMNS]


def missing(paper: Paper) -> list[str]:
    """Names in results files whose module is not installed here."""
    return [name for name, module in paper.optional.items() if find_spec(module) is None]


def _needs(rows: pd.Series, names: Collection[str]) -> pd.Series:
    """Whether one of these names is among what says which row it is."""
    return rows.map(lambda row: any(name in row.split(" ") for name in names)).astype(bool)


def _cells(paper: Paper, file: str, run: Run) -> pd.DataFrame:
    """Columns file, row, quantity, committed, rerun, n (the smaller), error (nan: none is known)."""
    old, new = (_read(paper, file, home) for home in (places.ROOT, run.home))
    names = [c for c in old if paper.columns[c].says_which or c == "condition"]
    if "against" in names:  # says with what the row compares, whatever was chosen for it
        names = [c for c in names if not paper.columns[c].chosen]
    old, new = (table.drop_duplicates(names).set_index(names) for table in (old, new))
    keys = old.index.union(new.index, sort=False)
    there = pd.DataFrame({"committed": keys.isin(old.index), "rerun": keys.isin(new.index)})
    rows = pd.DataFrame({"file": file, "row": keys.to_frame(index=False).agg(" ".join, axis=1)})
    old, new = (table.reindex(keys).reset_index(drop=True) for table in (old, new))
    numbers = [t.assign(n=t.get("n")).apply(pd.to_numeric, errors="coerce") for t in (old, new)]
    first, second = (table.n for table in numbers)
    rows["n"] = np.minimum(first, second)
    missing = rows.assign(
        quantity="the row", error=np.nan, **there.replace({True: "there", False: "missing"})
    )
    parts = [missing[~there.all(axis=1)]]
    for column in old:
        error = pd.Series(np.nan, rows.index)
        if column in ERRORS:
            measured = numbers[0][column].notna() & numbers[1][column].notna()
            if column in GROW_WITH_N:
                measured &= first == second
            error = np.hypot(*map(ERRORS[column], numbers)).where(measured)
        part = rows.assign(quantity=column, error=error, committed=old[column], rerun=new[column])
        parts.append(part[there.all(axis=1)])
    return pd.concat(parts).sort_index(kind="stable")  # row by row


def _read(paper: Paper, file: str, home: Path) -> pd.DataFrame:
    """The file as text, so that printed digits are compared."""
    results.read(paper, file, home)  # raises in one line where it is malformed
    return pd.read_csv(home / "paper" / "results" / f"{file}.csv", dtype=str, keep_default_na=False)
