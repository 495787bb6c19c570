"""Tables that the benchmarks of image networks and of language models share.

Values are at the scale rule that each method fixes ("own") unless said otherwise.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from t0qat.exhibits.labels import name, width, widths_of
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH, model_label
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline.latex import Raw, grouped, tex
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, Row, number, plus_minus, span
from t0qat.training.methods import REGISTRY, named

PLACEBO = "xi_alone"
CONTROL = "longer"  # plain training with twice the budget
PUBLISHED, TUNED = UNDER_TEST = ("t0_qat", "t0_qat_tuned")
PLAIN, _, REFERENCE = AGAINST = ("plain", "random_bits", "best_baseline")
# What a paired difference may be shown to be.
WITHIN, LOWER, HIGHER, UNDECIDED = "within the margin", "lower", "higher", "undecided"
SHORT, LONG, OPEN = "too short", "long enough", "open"  # a budget of training
DECIMALS = 3  # of a score, at most


def has_all_methods(table: pd.DataFrame) -> list[str]:
    """Models on which more than the few methods were run, in order."""
    few = {*named(lambda method: method.few)}
    return [model for model, rows in table.groupby("model", sort=False) if {*rows.method} - few]


class Words(NamedTuple):
    """How sentences speak of a benchmark."""

    less: str  # "lose less"
    more: str  # "lose more"
    same: str  # "lose as much"
    plain: str  # "plain training"
    network: str  # what is trained, in the singular
    unit: str  # behind the size of a difference


class Benchmark(NamedTuple):
    """What a benchmark measures, and how its numbers are shown."""

    file: str  # the names of its results files start with this
    metric: Metric
    # Of the bar (claims.Claims.bars) that a network passes before rounding if it has learned anything.
    learned: Metric
    words: Words

    def cell(self, table: pd.DataFrame, **keys) -> str:
        """The row with these keys as mean and half-width, or a dash."""
        rows = rows_of(table, **keys)
        return plus_minus(rows[0], DECIMALS) if rows else NOTHING

    def table(self, results: Results, ending: str = "") -> pd.DataFrame:
        """The rows of a results file in which each output channel has a step of its own."""
        table = results[self.file + ending]
        return table[table.layout == CHANNELS]

    def models(self, results: Results) -> list[str]:
        """Those with all methods."""
        return has_all_methods(self.table(results))

    def values(self, table: pd.DataFrame, metric: str = "") -> pd.DataFrame:
        """A metric at the own rule and before rounding, of arms without a width or at their own.

        metric: the benchmark's own where it is not named.
        """
        of = table.metric == (metric or self.metric.name)
        rows = table[of & table.scale_rule.isin(["own", "none"])]
        return rows[own_width(rows)]

    def best(self, rows: Iterable[Row]) -> Row:
        return max(rows, key=lambda row: self.metric.sign * row["mean"])


def decision(row: Row) -> str:
    """What is shown of a paired difference, at 5 % after correction; small and certain is WITHIN."""
    return WITHIN if row["p_equal"] < ERROR_RATE else direction(row) or UNDECIDED


def direction(row: Row) -> str:
    """LOWER or HIGHER where that is shown, within the margin or not; else nothing."""
    found = HIGHER if row["estimate"] > 0 else LOWER
    return found if row["p_bh"] < ERROR_RATE else ""


def stands(row: Row) -> str:
    """`decision` in a table's cell: `undecided`, `within`, or `within, lower` where shown too."""
    found = decision(row)
    return ", ".join(filter(None, ["within", direction(row)])) if found == WITHIN else found


def by_interval(low: float, high: float, margin: float) -> tuple[str, bool]:
    """LOWER, HIGHER or "", by a difference's uncorrected interval, and if that is within the margin."""
    way = LOWER if high < 0 else HIGHER if low > 0 else ""
    return way, -margin < low and high < margin


def decided(pairs: pd.DataFrame) -> pd.DataFrame:
    """Paired differences with the column `shown`, of decisions."""
    return pairs.assign(shown=[decision(row) for row in rows_of(pairs)])


def gradients(table: pd.DataFrame, **keys) -> str:
    """Gradient evaluations of a method's training; `3 × 264` of one that trains for each width anew."""
    rows = rows_of(table, metric="gradients", **keys)
    each = span(row["mean"] for row in rows)
    trainings = len({row["train_bits"] for row in rows})
    return f"{trainings} × {each}" if trainings > 1 else each


def cells(b: Benchmark, results: Results) -> pd.DataFrame:
    """The rows of the main table, in its order: one a model with all methods, column and method.

    Beside the columns of the files: `column`; `reference`, whether it is the arm that is not under test
    and lost least in tuning; of the difference from that, `detectable` and, as decided,
    `shown`; `best`, whether no mean is better. Of methods that train for a width, Mean and Worst
    hold the width of the best one.
    """
    scores, pairs = b.table(results, "_any"), b.table(results, "_any_paired")
    scores = scores.sort_values("mean", ascending=not b.metric.less_is_better, kind="stable")
    rows = pd.concat([b.values(b.table(results)), scores])
    pairs = pd.concat([b.table(results, "_paired"), pairs])
    rows, pairs = (table[table.scale_rule.isin(["own", "none"])].copy() for table in (rows, pairs))
    for table in (rows, pairs):
        table["column"] = table.quantity.str.capitalize().fillna(table.eval_bits.map(width))
    where, arm = ["model", "column"], ["method", "train_bits"]
    rows = rows[rows.model.isin(b.models(results))].drop_duplicates([*where, "method"], keep="last")
    pairs = decided(pairs[pairs.against == REFERENCE])
    rows = rows.merge(pairs[[*where, *arm, "shown", "detectable"]], how="left", on=[*where, *arm])
    rows["reference"] = is_reference(rows, pairs, where)
    rows["shown"] = rows.shown.where(~rows.reference, "").fillna("")
    top = rows.groupby(where)["mean"].transform("min" if b.metric.less_is_better else "max")
    columns = [*map(width, (FLOAT, *widths_of(b.table(results)))), "Mean", "Worst"]
    rows["column"] = pd.Categorical(rows.column, columns, ordered=True)
    return rows.assign(best=rows["mean"] == top)


def is_reference(rows: pd.DataFrame, pairs: pd.DataFrame, where: list[str]) -> pd.Series:
    """Whether each row is of the reference at its place. where: columns of both that say which."""
    studied = pairs.method.map(lambda method: REGISTRY[method].studied).astype(bool)
    studied = pairs[studied & (pairs.against == REFERENCE)].drop_duplicates(where)
    arms = [*where, "method", "train_bits"], [*where, "other", "other_bits"]
    of_rows, chosen = (map(tuple, t[c].to_numpy()) for t, c in zip((rows, studied), arms, strict=True))
    chosen = {*chosen}
    return pd.Series([arm in chosen for arm in of_rows], rows.index, bool)


def main_table(b: Benchmark, results: Results) -> str:
    """What to use at which bit-width, on the models with all methods."""
    table, shown, groups = b.table(results), cells(b, results), []
    columns = shown.column.cat.categories
    header = ["Method", "Grad.", "Float", *columns[1:]]
    for model, mine in shown.groupby("model", sort=False):
        found = {(row["method"], row["column"]): _marked(row) for row in rows_of(mine)}
        groups.append([[Raw(rf"\emph{{{tex(model_label(model))}}}"), *[""] * (len(header) - 1)]])
        for method in table[table.model == model].method.unique():
            lead = [name(method), gradients(table, model=model, method=method)]
            groups[-1].append([*lead, *(found.get((method, c), NOTHING) for c in columns)])
    return grouped(groups, header, rf"@{{}}l{'r' * (len(header) - 1)}@{{\enspace}}")


def _marked(row: Row) -> Raw:
    """A cell: in bold what is best, with a star the reference, with a circle what equals it."""
    mean, sign, half = map(tex, plus_minus(row, DECIMALS).partition(" ± "))
    if row["best"]:
        mean = rf"\textbf{{{mean}}}"
    over_widths = row["column"] in ("Mean", "Worst") and row["train_bits"] != NO_WIDTH
    trained = f"({row['train_bits']}) " * over_widths
    mark = r"\star" if row["reference"] else r"\circ" * (row["shown"] == WITHIN)
    return Raw(f"{trained}{mean}{sign}{half}" + rf"\rlap{{$^{{{mark}}}$}}" * bool(mark))


def few(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """The few methods on the other models, with the size of the weights; empty where there is none."""
    table, full = b.table(results), b.models(results)
    values, widths = b.values(table), widths_of(table)

    def row(model, method):
        key = {"model": model, "method": method}
        first, *more = rows_of(table, metric="weight_norm", **key)
        size = span((norm["mean"] for norm in (first, *more)), "{:.3g}".format)
        cells = [b.cell(values, **key, eval_bits=bits) for bits in (FLOAT, *widths)]
        lead = [model_label(model), name(method), gradients(table, **key)]
        return [*lead, size if more else plus_minus(first), *cells]

    groups = [
        [row(model, method) for method in mine.method.unique()]
        for model, mine in table.groupby("model", sort=False)
        if model not in full
    ]
    header = ["Network", "Method", "Grad.", "Weight norm", "Float", *map(width, widths)]
    return grouped(groups, header, "ll", leads=1), {}


def longer(b: Benchmark, results: Results) -> pd.DataFrame:
    """CONTROL minus plain training, rounded alike and not rounded, as decided, the widest first."""
    pairs = b.table(results, "_paired")
    pairs = pairs[(pairs.method == CONTROL) & (pairs.against == PLAIN)]
    return decided(pairs.sort_values("eval_bits", ascending=False, kind="stable"))


def convergence(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """What twice the budget changes in plain training, the margin, and what that says of the budget."""
    rows, widths = longer(b, results), [FLOAT, *widths_of(b.table(results))]

    def line(mine, said, show):
        found = {row["eval_bits"]: show(row) for row in rows_of(mine)}
        return [model_label(mine.model.iloc[0]), said, *(found.get(bits, NOTHING) for bits in widths)]

    cells = {"difference": paired_cell, "margin": lambda row: number(row["margin"], 2)}
    cells |= {"budget": enough}
    groups = [
        [line(mine, said, show) for said, show in cells.items()]
        for _, mine in rows.groupby("model", sort=False)
    ]
    return grouped(groups, ["Network", "", *map(width, widths)], "ll", leads=1), {}


def paired_cell(row: Row) -> Raw:
    """A difference, marked by what is shown of it."""
    return marked(plus_minus(row, DECIMALS), row)


def marked(shown: str, pair: Row | None) -> Raw:
    """A cell; a circle: the pair is shown to be within the margin; an asterisk: to differ.

    Every cell has the place of a mark, so that none stands in the next column.
    """
    mark = {WITHIN: r"$^\circ$", UNDECIDED: ""}.get(decision(pair) if pair else UNDECIDED, r"$^\ast$")
    return Raw(tex(shown) + rf"\makebox[0.7em][l]{{{mark}}}")


def enough(row: Row) -> str:
    """Whether a budget is long enough, by what is shown of twice the budget minus it."""
    if row["shown"] in (WITHIN, HIGHER):
        return LONG
    return SHORT if row["shown"] == LOWER and row["estimate"] < -row["margin"] else OPEN


def differences(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """T0-QAT as published, tuned and, where run, at scaling 1, against three others, over the widths."""
    pairs, models = over_widths(b, results), b.models(results)

    def against(rival: str, **which) -> list[str]:
        """The difference, what would be seen, and which arm a best other is."""
        for row in rows_of(pairs, against=rival, **which):
            trained = f" ({width(row['other_bits'])})" * (row["other_bits"] != NO_WIDTH)
            return [paired_cell(row), number(row["detectable"], 2), name(row["other"]) + trained]
        return [NOTHING] * 3

    def row(model, method, quantity) -> list[str]:
        which = {"model": model, "method": method, "quantity": quantity}
        plain, random, best = (against(rival, **which) for rival in AGAINST)
        return [model_label(model), name(method), quantity, *plain[:2], *random[:2], *best]

    methods = [method for method in (*UNDER_TEST, PLACEBO) if method in {*pairs.method}]
    arms = [*itertools.product(methods, ("mean", "worst"))]
    groups = [[row(model, *arm) for arm in arms] for model in models]
    header = ["Network", "Method", "", "Minus plain", "seen", "Minus random bits", "seen"]
    header += ["Minus reference", "seen", "which is"]
    return grouped(groups, header, "lllrrrrrrl", leads=2), {}


def over_widths(b: Benchmark, results: Results) -> pd.DataFrame:
    """Paired differences over the bit-widths, on the models with all methods."""
    return _own(b, results, "_any_paired")


def at_each_width(b: Benchmark, results: Results) -> pd.DataFrame:
    """The same at single widths."""
    return _own(b, results, "_paired")


def _own(b: Benchmark, results: Results, ending: str) -> pd.DataFrame:
    """By each method's own scale rule."""
    pairs = b.table(results, ending)
    return pairs[(pairs.scale_rule == "own") & pairs.model.isin(b.models(results))]
