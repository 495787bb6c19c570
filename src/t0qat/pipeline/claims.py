"""What decides the paper's claims: paper/claims.toml, read, and held against results.

The rule itself is in room `decision`. Here a declared condition finds its row of a results file, its
margin, and whether the model behind it has learned anything; a row's standard error is read off its
95 % interval.
"""

import functools
import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from t0qat.pipeline import decision, places, planning
from t0qat.pipeline.decision import DIFFERENCE, KINDS, Column, Condition, Sample, Step
from t0qat.pipeline.statistics import ERROR_RATE, LEVEL, benjamini_hochberg

DECLARED = places.ROOT / "paper" / "claims.toml"
NOT_MEASURED = "this run did not measure it"
UNKNOWN = "others"  # of a file that has none: a condition that is not measured, not none
SIDES = "above", "below"  # of a bar
SEEN = {"planned": "planned_deviation", "skewness": "skewness"}  # columns that a row may have
Tables = Mapping[str, pd.DataFrame]  # results files by name
Row = dict[str, Any]


class ClaimsError(ValueError):
    """Declared claims that are not as they must be, in one line."""


class Declared(NamedTuple):
    """A condition as it is declared; what each field means stands at the top of claims.toml."""

    statistic: str
    file: str
    row: Row
    better: str
    value: float = 0.0
    kind: str = DIFFERENCE
    margin: Mapping[str, Any] = {}
    learned: Mapping[str, Any] = {}
    step: str = ""
    estimate: str = "estimate"  # the column that holds it

    @property
    def files(self) -> set[str]:
        """The results files that it reads."""
        others = self.margin.get("file"), self.learned.get("file")
        return {self.file, *filter(None, others)}


class Claim(NamedTuple):
    """A claim in our own words, the section that makes it, and what decides it."""

    id: str
    section: str
    statement: str
    columns: dict[str, tuple[Declared, ...]]  # none: its experiment does not exist yet
    exploratory: tuple[Declared, ...] = ()

    @property
    def every(self) -> list[Declared]:
        return [*itertools.chain(*self.columns.values()), *self.exploratory]


class Claims(NamedTuple):
    """All that the file declares."""

    claims: tuple[Claim, ...]
    family: int  # columns, whether measured or not
    columns: dict[str, str]  # name -> in words
    margins: dict[str, float]
    bars: dict[str, float]
    words: dict[str, str]


@functools.cache
def load(path: Path = DECLARED) -> Claims:
    """Raises ClaimsError, which names the claim."""
    found, where = [], path.name
    try:
        content = tomllib.loads(path.read_text())
        for claim in content.pop("claims"):
            where = f"{path.name}, {claim['id']}"
            columns = {name: claim.pop(name) for name in content["columns"] if name in claim}
            conditions = {
                name: tuple(_checked(content, **each) for each in declared)
                for name, declared in columns.items()
            }
            more = tuple(_checked(content, **each) for each in claim.pop("exploratory", []))
            found.append(Claim(**claim, columns=conditions, exploratory=more))
        where = path.name
        columns = sum(len(claim.columns) for claim in found)
        if columns > content["family"]:
            raise ValueError(f"family = {content['family']}: it has {columns} columns")
        return Claims(tuple(found), **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClaimsError(f"{where}: {type(error).__name__}: {error}") from None


def _checked(content: Row, **given: Any) -> Declared:
    """Raises ValueError, TypeError or KeyError."""
    one = Declared(**given)
    names = [("better", one.better, ("below", "above")), ("kind", one.kind, KINDS)]
    if isinstance(one.margin.get("fixed"), str):
        names.append(("margin", one.margin["fixed"], content["margins"]))
    names += [("bar", one.learned[side], content["bars"]) for side in SIDES if side in one.learned]
    names += [("margin", key, ("fixed", "share", "file", "row", "column")) for key in one.margin]
    names += [("learned", key, (*SIDES, "file", "row", "skip")) for key in one.learned]
    for what, name, known in names:
        if name not in known:
            raise ValueError(f"{what} = {name!r} of {one.file}; allowed are {', '.join(known)}")
    for text in (one.statistic, one.step):
        text.format(**one.row)
    return one


def declared() -> tuple[Claim, ...]:
    """The paper's claims. Raises ClaimsError."""
    return load().claims


def margins() -> dict[str, float]:
    """What may be lost and count as nothing, by name. Raises ClaimsError."""
    return load().margins


def read_by() -> list[str]:
    """The results files that are needed."""
    return sorted({file for claim in declared() for one in claim.every for file in one.files})


def standard_error(row: Row) -> float:
    """Of an estimate, from its interval."""
    return (row["ci_high"] - row["ci_low"]) / (2 * stats.t.ppf((1 + LEVEL) / 2, row["n"] - 1))


def sample(row: Row, one: Declared) -> Sample:
    """How much better than `value` the row is; without an interval it has no deviation."""
    sign = 1 if one.better == "above" else -1
    deviation = standard_error(row) * math.sqrt(row["n"]) if "ci_low" in row else 0.0
    return Sample(sign * (row[one.estimate] - one.value), deviation, int(row["n"]))


def rows(table: pd.DataFrame, keys: Row) -> pd.DataFrame:
    """Those with these keys; a list stands for each of its values."""
    mine = np.ones(len(table), bool)
    for column, value in keys.items():
        mine &= table[column].isin(value if isinstance(value, list) else [value]).to_numpy()
    return table[mine]


def each(one: Declared, table: pd.DataFrame) -> Iterator[Row]:
    """The keys of each row that it stands for."""
    choices = []
    for column, value in one.row.items():
        if isinstance(value, dict):
            there = table[column].unique().tolist()
            value = [name for name in there if name not in value["all_but"]] or [UNKNOWN]
        choices.append(value if isinstance(value, list) else [value])
    for values in itertools.product(*choices):
        yield dict(zip(one.row, values, strict=True))


def _filled(row: Row, keys: Row) -> Row:
    """A row with what a condition's row has where it asks for that."""
    named = {f"{{{key}}}": value for key, value in keys.items()}
    return {column: named.get(value, value) if isinstance(value, str) else value
            for column, value in row.items()}  # fmt: skip


def _mean(tables: Tables, spec: Mapping[str, Any], keys: Row) -> float:
    """The mean of what the rows say that a margin or a bar asks for; nan where there are none."""
    found = rows(tables[spec["file"]], _filled(spec["row"], keys))
    return found["estimate" if "estimate" in found else "mean"].mean()


def _margin(spec: Mapping[str, Any], row: Row, keys: Row, tables: Tables) -> float:
    """nan where it is not measured."""
    if "column" in spec:
        return row[spec["column"]]
    fixed = spec.get("fixed", 0.0)
    fixed = margins()[fixed] if isinstance(fixed, str) else fixed
    if "share" not in spec:
        return fixed
    share = spec["share"] * _mean(tables, spec, keys)
    return share if math.isnan(share) else max(fixed, share)


def _hindrance(spec: Mapping[str, Any], keys: Row, tables: Tables) -> str:
    """Why a model that has learned nothing decides nothing, with the number; empty where it has."""
    (side,) = {*SIDES} & {*spec}
    bar, found = load().bars[spec[side]], _mean(tables, spec, keys)
    if math.isnan(found):
        return NOT_MEASURED
    if found > bar if side == "above" else found < bar:
        return ""
    asked = [in_words(keys[value[1:-1]]) for value in spec["row"].values() if f"{value}".startswith("{")]
    who = f"{', '.join(asked)} has" if asked else "it has"
    return f"{who} learned nothing: {in_words(spec[side])} {found:.3g}, not {side} {bar:g}"


def in_words(value: Any) -> str:
    """A value of a row, as a statistic names it."""
    return load().words.get(str(value), str(value).replace("_", " "))


def _shown(text: str, keys: Row) -> str:
    return text.format(**{key: in_words(value) for key, value in keys.items()})


def conditions(one: Declared, tables: Tables) -> Iterator[tuple[str, Condition, bool]]:
    """Its step, the condition, and whether the claim is about it, of each row that it stands for."""
    for keys in each(one, tables[one.file]):
        name, found = _shown(one.statistic, keys), rows(tables[one.file], keys)
        bare, asked, why = Sample(math.nan, math.nan, 0), True, NOT_MEASURED
        margin, seen = 0.0, {}
        if len(found) == 1:
            (row,) = found.to_dict("records")
            bare, why = sample(row, one), ""
            seen = {name: row.get(key, math.nan) for name, key in SEEN.items()}
            margin = _margin(one.margin, row, keys, tables)
            if math.isnan(margin):
                margin, why = 0.0, NOT_MEASURED
            elif one.learned:
                why = _hindrance(one.learned, keys, tables)
                asked = why in ("", NOT_MEASURED) or not one.learned.get("skip", False)
        yield (
            _shown(one.step, keys),
            Condition(name, bare, margin, one.kind, hindrance=why, **seen),
            asked,
        )


def column(id: str, name: str, asked: tuple[Declared, ...], tables: Tables) -> Column:
    """One column of a claim. Not measured at all, it has no step."""
    found = [each for one in asked for each in conditions(one, tables)]
    if all(condition.hindrance == NOT_MEASURED for _, condition, _ in found):
        return Column(id, name)
    kept = [each for each in found if each[2]] or found
    steps: dict[str, list[Condition]] = {}
    for step, condition, _ in kept:
        steps.setdefault(step, []).append(condition)
    return Column(id, name, tuple(Step(tuple(c), step) for step, c in steps.items()))


def family(tables: Tables) -> list[Column]:
    """Every column of every claim."""
    return [
        column(claim.id, name, asked, tables)
        for claim in declared()
        for name, asked in claim.columns.items()
    ]


def exploratory(tables: Tables) -> pd.DataFrame:
    """Comparisons that decide nothing: id, condition, estimate, ci_low, ci_high, n, p_bh.

    estimate: how much better; p_bh: two-sided, after Benjamini and Hochberg's correction over all rows.
    What a run did not measure is left out.
    """
    found = []
    for claim in declared():
        for one in claim.exploratory:
            for _, condition, _ in conditions(one, tables):
                if not condition.untestable:
                    mean, _, n = condition.sample
                    half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * condition.sample.error
                    row = {"id": claim.id, "condition": condition.name, "estimate": mean}
                    row |= {"ci_low": mean - half, "ci_high": mean + half, "n": n}
                    found.append(row | {"p": 2 * stats.t.sf(abs(mean) / condition.sample.error, n - 1)})
    table = pd.DataFrame(found, columns=["id", "condition", "estimate", "ci_low", "ci_high", "n", "p"])
    table["p_bh"] = benjamini_hochberg(table.pop("p")) if len(table) else []
    return table


def decide(tables: Tables, error_rate: float = ERROR_RATE) -> dict[str, pd.DataFrame]:
    """The results files claims, verdicts and claims_exploratory, see decision and `exploratory`.

    claims has one column more, wanted: the pairs that planning.wanted asks for, by what tuning saw.
    error_rate: the chance of one wrong decided verdict or more.
    """
    columns, size = family(tables), load().family
    statements = {claim.id: claim.statement for claim in declared()}
    table = decision.condition_table(columns, size, error_rate)
    table["n"] = table["n"].where(table["n"] > 0).astype("Int64")
    table["wanted"] = [n for column in columns for n in planning.wanted(column, size, error_rate)]
    table["wanted"] = table["wanted"].astype("Int64")
    verdicts = decision.verdict_table(statements, columns, size, error_rate)
    return {"claims": table, "verdicts": verdicts, "claims_exploratory": exploratory(tables)}
