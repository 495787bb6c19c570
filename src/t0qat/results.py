"""The results files: what each column means, and reading and writing that hold to it."""

import csv
import re
from pathlib import Path

import pandas as pd

from t0qat import places
from t0qat.methods import NAMED
from t0qat.quantizers import CODES, SCALES
from t0qat.tasks import IMAGES, TASKS

# Losses are mean squared errors: of the synthetic target in its own units, of the diabetes target
# in units of its variance. Intervals are 95 %.
COLUMNS = {
    "method": "a name in methods.METHODS or VARIANTS",
    "other": "the method it is compared with",
    "dataset": "a name in tasks.TASKS or tasks.IMAGES",
    "quantity": "what the row is about",
    "range": "integer codes used: full or narrow",
    "scale": "rule for the grid's step: absmax or mse",
    "bits": "bit-width of the integer grid, 1 to 16",
    "flipped": "how many of the lowest bits of every integer code are inverted",
    "id": "of a claim, as in claims.CLAIMS",
    "claim": "in our own words",
    "statistic": "what decides it",
    "verdict": "supported, not supported, contradicted, not testable here, or pending",
    "value": "what the estimate is compared with",
    "n": "independent replicates behind the row",
    "reported": "the paper's number; empty where it has none",
    "reported_percentile": "percentage of single runs below the reported number",
    "mean": "mean over replicates",
    "std": "standard deviation over replicates",
    "ci_low": "lower end of the interval of the mean or estimate",
    "ci_high": "upper end of the interval of the mean or estimate",
    "q025": "2.5 % point of single runs",
    "median": "median of single runs",
    "q975": "97.5 % point of single runs",
    "estimate": "mean paired difference, probability of an event, or what Monte Carlo gives",
    "target": "of the synthetic task: sum or normal",
    "noise_scale": "standard deviation of the weight noise, in units of the weights unless relative",
    "weights": "whose: those at the start, or those trained by a method",
    "exact": "the same by theory",
    "z": "estimate minus exact, in standard errors",
    "reduction": "fraction by which the drop of `other` is smaller than that of `method`",
    "network": "a name in theory.NETWORKS",
    "schedule": "of the learning rate, a name in theory.SCHEDULES",
    "epoch": "after how many",
    "p_holm": "two-sided p-value after Holm's correction over the file",
    "detectable": "smallest difference that this n sees with 90 % power",
}
# Names, and which there are where a registry says so.
NAMES = {
    "method": NAMED,
    "other": NAMED,
    "dataset": TASKS | IMAGES,
    "range": CODES,
    "scale": SCALES,
    "quantity": None,
    "id": None,
    "target": None,
    "weights": None,
    "network": None,
    "schedule": None,
}
PROSE = {"claim", "statistic", "verdict"}
SETTINGS = {
    "bits",
    "flipped",
    "factor",
    "noise_scale",
    "reduction",
    "epoch",
}  # numbers that were set, not measured: they say which row it is
MAY_BE_EMPTY = {
    "table1": {"reported", "reported_percentile"},  # where the paper has no number
    "claims": {"estimate", "ci_low", "ci_high", "n", "value", "p_holm", "detectable"},  # where pending
}

FILES = {
    "table1": "method quantity reported mean std ci_low ci_high q025 median q975 reported_percentile n",
    "table1_same_method": "method estimate ci_low ci_high n",
    "table1_paired": "quantity estimate ci_low ci_high n",
    "integer_grids": "dataset method bits quantity mean ci_low ci_high n",
    "integer_grids_conventions": "dataset method bits range scale quantity mean ci_low ci_high n",
    "integer_grids_paired": "dataset bits range scale quantity method other"
    " estimate ci_low ci_high n p_holm detectable",
    "integer_grids_overall": "dataset quantity method other estimate ci_low ci_high n detectable",
    "theory": "target noise_scale weights quantity exact estimate ci_low ci_high n z",
    "theory_reduction": "target noise_scale method other reduction exact estimate ci_low ci_high n z",
    "theory_expansion": "network noise_scale quantity mean ci_low ci_high n",
    "theory_norms": "network noise_scale quantity mean ci_low ci_high n",
    "theory_training": "method schedule epoch quantity mean ci_low ci_high n",
    "precision": "dataset method bits range scale quantity mean ci_low ci_high n",
    "precision_full": "dataset method mean ci_low ci_high n",
    "precision_knee": "dataset method range scale quantity estimate ci_low ci_high n",
    "precision_flips": "dataset bits flipped method other estimate ci_low ci_high n p_holm detectable",
    "precision_flips_added": "dataset method bits flipped mean ci_low ci_high n",
    "claims": "id claim statistic estimate ci_low ci_high n verdict value p_holm detectable",
}


class ResultsError(ValueError):
    """A results file that is missing or malformed, in one line."""


def text(name: str, table: pd.DataFrame) -> str:
    """The table as its file holds it: columns in order, nine significant digits."""
    return table[FILES[name].split()].to_csv(index=False, float_format="%.9g", lineterminator="\n")


def read(name: str, home: Path = places.ROOT) -> pd.DataFrame:
    """The results file of that name; raises ResultsError where it is missing, cut short or malformed."""
    path = home / "paper" / "results" / f"{name}.csv"
    shown = f"paper/results/{name}.csv"
    columns = FILES[name].split()
    if not path.is_file():
        raise ResultsError(f"{shown} is missing; `make paper` makes it")
    try:
        content = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ResultsError(f"{shown}: byte {error.start} is not text") from None
    *whole, rest = content.split("\n")
    for number, line in enumerate(whole, 1):
        if not line.isprintable():
            raise ResultsError(f"{shown}, line {number}: {line!r} holds a character that is not text")
    lines = [next(csv.reader([line]), []) for line in whole]
    if lines[:1] != [columns]:
        raise ResultsError(f"{shown}, line 1: the columns must be {','.join(columns)}")
    if len(lines) < 2 or rest:
        raise ResultsError(f"{shown} is cut short at line {len(lines) + bool(rest)}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise ResultsError(
                f"{shown}, line {number}: {len(columns)} fields are needed, not {len(line)}"
            )
        for column, cell in zip(columns, line, strict=True):
            if not _fits(column, cell, column in MAY_BE_EMPTY.get(name, ())):
                raise ResultsError(f"{shown}, line {number}: {column} = {cell!r} is not as it must be")
    table = pd.DataFrame(lines[1:], columns=columns)
    numbers = [column for column in columns if column not in {*NAMES, *PROSE}]
    return table.assign(**{column: pd.to_numeric(table[column].replace("", None)) for column in numbers})


def _fits(column: str, cell: str, may_be_empty: bool) -> bool:
    if column in PROSE:
        return bool(cell.strip())
    if column in NAMES:
        return cell in NAMES[column] if NAMES[column] else cell.isidentifier()
    if cell == "":
        return may_be_empty
    if column == "bits":
        return cell.isdecimal() and 1 <= int(cell) <= 16
    if column == "n":
        return cell.isascii() and cell.isdecimal() and int(cell) >= 1
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", cell, re.ASCII) is not None
