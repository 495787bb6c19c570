"""Results files: reading and writing that hold to what the paper says of their columns."""

import csv
import functools
import re
from pathlib import Path
from pkgutil import resolve_name

import pandas as pd

from t0qat.pipeline import places
from t0qat.pipeline.paper import Paper


class ResultsError(ValueError):
    """A results file that is missing or malformed, in one line."""


def text(paper: Paper, name: str, table: pd.DataFrame) -> str:
    """The table as its file holds it: columns in order, nine significant digits."""
    columns = paper.columns_of(name)
    return table[columns].to_csv(index=False, float_format="%.9g", lineterminator="\n")


def read(paper: Paper, name: str, home: Path = places.ROOT) -> pd.DataFrame:
    """The results file of that name; raises ResultsError where it is missing, cut short or malformed."""
    if name not in paper.results:
        raise ResultsError(f"no results file is named {name!r}; there are {', '.join(paper.results)}")
    path = home / "paper" / "results" / f"{name}.csv"
    shown = f"paper/results/{name}.csv"
    columns = paper.columns_of(name)
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
    marked = paper.results[name].split()
    fits = functools.cache(functools.partial(_fits, paper))  # names come again and again
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise ResultsError(
                f"{shown}, line {number}: {len(columns)} fields are needed, not {len(line)}"
            )
        for column, cell in zip(marked, line, strict=True):
            if not fits(column, cell):
                shown_column = column.rstrip("?*")
                raise ResultsError(
                    f"{shown}, line {number}: {shown_column} = {cell!r} is not as it must be"
                )
    table = pd.DataFrame(lines[1:], columns=columns)
    numbers = [column for column in columns if paper.columns[column].is_number]
    return table.assign(**{column: pd.to_numeric(table[column].replace("", None)) for column in numbers})


def _fits(paper: Paper, marked: str, cell: str) -> bool:
    name = marked.rstrip("?*")
    column = paper.columns[name]
    if cell == "":
        return marked.endswith("?")
    if column.kind == "prose" or (column.kind == "name" and marked.endswith("*")):
        return bool(cell.strip())
    if column.kind == "name":
        return cell in resolve_name(column.among) if column.among else cell.isidentifier()
    if name == "bits":
        return cell.isdecimal() and 1 <= int(cell) <= 16
    if name == "n":
        return cell.isascii() and cell.isdecimal() and int(cell) >= 1
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", cell, re.ASCII) is not None
