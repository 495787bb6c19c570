"""Tables that the benchmarks of image networks and of language models share.

Values are at the scale rule that each method fixes ("own") unless said otherwise.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from t0qat.exhibits.rows import Results, rows_of
from t0qat.exhibits.words import name, together, width, widths_of
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH, model_label
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline.latex import Raw, grouped, tex
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, Row, direction, number, plus_minus, times, with_interval

PLACEBO = "xi_alone"
UNDER_TEST = {"Published": "t0_qat", "Tuned": "t0_qat_tuned", "Placebo": PLACEBO}
AGAINST = {"Plain": "plain", "Random": "random_bits", "Best": "best_baseline"}
WORDS = {"larger than": "higher", "smaller than": "lower"}
Rivals = dict[tuple[str, int], Row]  # method and its training bits -> that arm minus the reference


class Benchmark(NamedTuple):
    """What a benchmark measures, and how its numbers are shown."""

    file: str  # the names of its results files start with this
    metric: Metric
    times: int  # 100: shown in hundredths
    margin: float  # what may be lost and count as nothing, as the files hold it
    full: Callable[[pd.DataFrame], list[str]]  # models with all methods, in order

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


def models(table: pd.DataFrame) -> list[str]:
    """Every model, in order."""
    return [*table.model.unique()]


def reference(rivals: Rivals) -> tuple[str, int]:
    """The arm that is not under test and lost least in tuning."""
    row = rivals["t0_qat", NO_WIDTH]
    return row["other"], row["other_bits"]


def near(arm: tuple[str, int], rivals: Rivals, sign: int) -> bool:
    """Whether an arm is the reference, or not detectably worse than it."""
    row = rivals.get(arm)
    return arm == reference(rivals) or row["p_holm"] >= ERROR_RATE or sign * row["estimate"] >= 0


def columns(b: Benchmark, results: Results, model: str) -> dict[str, tuple[dict[str, Row], Rivals]]:
    """Header -> (method -> its row, the arms there against the reference), as the main table shows them.

    Of methods that train for a width, the any-precision columns hold the width of the best mean.
    """
    rows, scores = b.values(b.table(results)), b.table(results, "_any")
    shown = {"Float": (rows, "_paired", {"eval_bits": FLOAT, "scale_rule": "none"})}
    for bits in widths_of(rows[rows.model == model]):
        shown[width(bits)] = rows, "_paired", {"eval_bits": bits, "scale_rule": "own"}
    for quantity in ("mean", "worst"):
        place = {"scale_rule": "own", "quantity": quantity}
        shown[quantity.capitalize()] = scores, "_any_paired", place
    found = {}
    for header, (table, file, place) in shown.items():
        here = sorted(rows_of(table, model=model, **place), key=lambda row: b.sign * row["mean"])
        pairs = rows_of(b.table(results, file), model=model, against="best_baseline", **place)
        rivals = {(row["method"], row["train_bits"]): row for row in pairs}
        found[header] = {row["method"]: row for row in here}, rivals
    return found


def main_table(b: Benchmark, results: Results) -> str:
    """What to use at which bit-width, on the models with all methods."""
    table = b.table(results)
    header, groups = ["Float"], []
    for model in b.full(table):
        shown = columns(b, results, model)
        header = list(shown)
        rows = [
            [name(method), *(_marked(b, method, *column) for column in shown.values())]
            for method in table[table.model == model].method.unique()
        ]
        groups.append([[Raw(rf"\emph{{{tex(model_label(model))}}}"), *[""] * len(header)], *rows])
    return grouped(groups, ["Method", *header], rf"@{{}}l{'r' * len(header)}@{{\enspace}}")


def _marked(b: Benchmark, method: str, column: dict[str, Row], rivals: Rivals) -> str:
    """A cell: in bold what is best, with a star the reference, with a circle what is near it."""
    if method not in column:
        return NOTHING
    row = column[method]
    arm = row["method"], row["train_bits"]
    mean, sign, half = map(tex, b.plus_minus(row).partition(" ± "))
    if row["mean"] == b.best(column.values())["mean"]:
        mean = rf"\textbf{{{mean}}}"
    trained = f"({row['train_bits']}) " * ("quantity" in row and row["train_bits"] != NO_WIDTH)
    mark = r"\star" if arm == reference(rivals) else r"\circ" * near(arm, rivals, b.sign)
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
