"""Tables that the benchmarks of image networks and of language models share.

Values are at the scale rule that each method fixes ("own") unless said otherwise.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from t0qat.exhibits.labels import name, together, width, widths_of
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH, model_label
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline import claims
from t0qat.pipeline.latex import Raw, grouped, tex
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, Row, direction, number, plus_minus, times, with_interval

PLACEBO = "xi_alone"
UNDER_TEST = {"Published": "t0_qat", "Tuned": "t0_qat_tuned", "Placebo": PLACEBO}
AGAINST = {"Plain": "plain", "Random": "random_bits", "Best": "best_baseline"}
WORDS = {"larger than": "higher", "smaller than": "lower"}


class Benchmark(NamedTuple):
    """What a benchmark measures, and how its numbers are shown."""

    file: str  # the names of its results files start with this
    metric: Metric
    times: int  # 100: shown in hundredths
    full: Callable[[pd.DataFrame], list[str]]  # models with all methods, in order

    @property
    def margin(self) -> float:
        """What may be lost and count as nothing, as the files hold it. Raises ClaimsError."""
        return claims.margins()[self.metric.name]

    @property
    def sign(self) -> int:
        """1: the more the better, -1: the less."""
        return -1 if self.metric.less_is_better else 1

    def interval(self, row: Row) -> str:
        return with_interval(times(row, self.times))

    def plus_minus(self, row: Row) -> str:
        return plus_minus(times(row, self.times))

    def cell(self, table: pd.DataFrame, **keys) -> str:
        """The row with these keys as mean and half-width, or a dash."""
        rows = rows_of(table, **keys)
        return self.plus_minus(rows[0]) if rows else NOTHING

    def table(self, results: Results, ending: str = "") -> pd.DataFrame:
        """The rows of a results file in which each output channel has a step of its own."""
        table = results[self.file + ending]
        return table[table.layout == CHANNELS]

    def models(self, results: Results) -> list[str]:
        """Those with all methods."""
        return self.full(self.table(results))

    def values(self, table: pd.DataFrame) -> pd.DataFrame:
        """The metric at the own rule and before rounding, of arms without a width or at their own."""
        rows = table[(table.metric == self.metric.name) & table.scale_rule.isin(["own", "none"])]
        return rows[own_width(rows)]

    def best(self, rows: Iterable[Row]) -> Row:
        return max(rows, key=lambda row: self.sign * row["mean"])


def cells(b: Benchmark, results: Results) -> pd.DataFrame:
    """The rows of the main table, in its order: one a model with all methods, column and method.

    Beside the columns of the files: `column`; `reference`, whether it is the arm that is not under test
    and lost least in tuning; `near`, whether it is that or not detectably worse; `best`, whether no mean
    is better. Of methods that train for a width, Mean and Worst hold the width of the best one.
    """
    scores, pairs = b.table(results, "_any"), b.table(results, "_any_paired")
    scores = scores.sort_values("mean", ascending=b.sign > 0, kind="stable")
    rows = pd.concat([b.values(b.table(results)), scores])
    pairs = pd.concat([b.table(results, "_paired"), pairs])
    rows, pairs = (table[table.scale_rule.isin(["own", "none"])].copy() for table in (rows, pairs))
    for table in (rows, pairs):
        table["column"] = table.quantity.str.capitalize().fillna(table.eval_bits.map(width))
    where, arm = ["model", "column"], ["method", "train_bits"]
    rows = rows[rows.model.isin(b.models(results))].drop_duplicates([*where, "method"], keep="last")
    pairs = pairs[pairs.against == "best_baseline"]
    rows = rows.merge(pairs[[*where, *arm, "estimate", "p_holm"]], how="left", on=[*where, *arm])
    tested = pairs[pairs.method == "t0_qat"]
    rows = rows.merge(tested[[*where, "other", "other_bits"]], how="left", on=where)
    rows["reference"] = (rows.method == rows.other) & (rows.train_bits == rows.other_bits)
    not_less = b.sign * rows.pop("estimate") >= 0
    rows["near"] = rows.reference | (rows.p_holm >= ERROR_RATE) | not_less
    top = rows.groupby(where)["mean"].transform("min" if b.metric.less_is_better else "max")
    columns = [*map(width, (FLOAT, *widths_of(b.table(results)))), "Mean", "Worst"]
    rows["column"] = pd.Categorical(rows.column, columns, ordered=True)
    return rows.assign(best=rows["mean"] == top)


def main_table(b: Benchmark, results: Results) -> str:
    """What to use at which bit-width, on the models with all methods."""
    table, shown, groups = b.table(results), cells(b, results), []
    columns = shown.column.cat.categories
    header = ["Method", "Float", *columns[1:]]
    for model, mine in shown.groupby("model", sort=False):
        found = {(row["method"], row["column"]): _marked(b, row) for row in rows_of(mine)}
        groups.append([[Raw(rf"\emph{{{tex(model_label(model))}}}"), *[""] * len(columns)]])
        for method in table[table.model == model].method.unique():
            groups[-1].append([name(method), *(found.get((method, c), NOTHING) for c in columns)])
    return grouped(groups, header, rf"@{{}}l{'r' * len(columns)}@{{\enspace}}")


def _marked(b: Benchmark, row: Row) -> Raw:
    """A cell: in bold what is best, with a star the reference, with a circle what is near it."""
    mean, sign, half = map(tex, b.plus_minus(row).partition(" ± "))
    if row["best"]:
        mean = rf"\textbf{{{mean}}}"
    over_widths = row["column"] in ("Mean", "Worst") and row["train_bits"] != NO_WIDTH
    trained = f"({row['train_bits']}) " * over_widths
    mark = r"\star" if row["reference"] else r"\circ" * row["near"]
    return Raw(f"{trained}{mean}{sign}{half}" + rf"\rlap{{$^{{{mark}}}$}}" * bool(mark))


def differences(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """T0-QAT as published, tuned and at scaling 1, against three others, over the bit-widths."""
    pairs, models = b.table(results, "_any_paired"), b.models(results)
    pairs = pairs[(pairs.scale_rule == "own") & pairs.model.isin(models)]

    def against(rival: str, **which) -> list[str]:
        """The difference, what would be seen, and which arm a best other is."""
        for row in rows_of(pairs, against=rival, **which):
            star = r"\rlap{$^{\ast}$}" * (row["p_holm"] < ERROR_RATE)
            trained = f" ({width(row['other_bits'])})" * (row["other_bits"] != NO_WIDTH)
            seen = number(b.times * row["detectable"], 2)
            return [Raw(tex(b.plus_minus(row)) + star), seen, name(row["other"]) + trained]
        return [NOTHING] * 3

    def row(model, method, quantity) -> list[str]:
        which = {"model": model, "method": method, "quantity": quantity}
        plain, random, best = (against(rival, **which) for rival in AGAINST.values())
        return [model_label(model), name(method), quantity, *plain[:2], *random[:2], *best]

    def word(method, rival):
        rows = rows_of(pairs, method=method, against=rival, quantity="mean")
        none = "not detectably different"
        return together((row["model"], WORDS.get(direction(row), none)) for row in rows)

    arms = [*itertools.product(UNDER_TEST.values(), ("mean", "worst"))]
    groups = [[row(model, *arm) for arm in arms] for model in models]
    header = ["Network", "Method", "", "Minus plain", "seen", "Minus random bits", "seen"]
    header += ["Minus best other", "seen", "which is"]
    return grouped(groups, header, "lllrrrrrrl", leads=2), {
        f"{b.file.capitalize()}Differences{arm}{other}": word(method, rival)
        for arm, method in UNDER_TEST.items()
        for other, rival in AGAINST.items()
    }
