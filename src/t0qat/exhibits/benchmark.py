"""Tables and words that the benchmarks of image networks and of language models share.

Values are at the scale rule that each method fixes ("own") unless said otherwise. Every phrase lists the
models of the run, whichever they are.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd
from scipy import stats

from t0qat.exhibits.words import (
    Results,
    Row,
    corrected_direction,
    one,
    plus_minus,
    rows_of,
    thousands,
    with_interval,
)
from t0qat.experiments.arms import CHANNELS, FLOAT, KEYS, NO_WIDTH, method_label, model_label
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline.claims import standard_error
from t0qat.pipeline.latex import escape, scientific, tabular, thin
from t0qat.pipeline.statistics import LEVEL
from t0qat.training.constants import XI
from t0qat.training.methods import REGISTRY
from t0qat.training.views import FAMILIES

PLACEBO = "xi_alone"
UNDER_TEST = {"Published": "t0_qat", "Tuned": "t0_qat_tuned", "Placebo": PLACEBO}
AGAINST = {"Plain": "plain", "Random": "random_bits", "Best": "best_baseline"}
WORDS = {"larger than": "higher", "smaller than": "lower"}
NOTHING = "--"
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

    def points(self, row: Row) -> Row:
        """As it is shown; `mean` is the estimate where there is one."""
        mean = row["estimate"] if "estimate" in row else row["mean"]
        shown = {"mean": mean} | {key: row[key] for key in ("ci_low", "ci_high")}
        return {key: self.times * value for key, value in shown.items()}

    def interval(self, row: Row) -> str:
        return with_interval(self.points(row))

    def cell(self, rows: list[Row]) -> str:
        """The one row as mean and half-width, or `--`."""
        return plus_minus(self.points(rows[0])) if rows else NOTHING

    def table(self, results: Results, ending: str = "") -> pd.DataFrame:
        """The rows of a results file in which each output channel has a step of its own."""
        table = results[self.file + ending]
        return table[table.layout == CHANNELS]

    def values(self, table: pd.DataFrame) -> pd.DataFrame:
        """The metric at the own rule and before rounding, of arms without a width or at their own."""
        rows = table[(table.metric == self.metric.name) & table.scale_rule.isin(["own", "none"])]
        return rows[own_width(rows)]

    def best(self, rows: Iterable[Row]) -> Row:
        return max(rows, key=lambda row: self.sign * row["mean"])


def models(table: pd.DataFrame) -> list[str]:
    """Every model, in order."""
    return [*table.model.unique()]


def listed(parts: Iterable[str], comma: str = ", ", last: str = " and ") -> str:
    """`a, b and c`; `--` where there is nothing."""
    parts = list(parts)
    return comma.join(parts[:-1]) + last * bool(parts[:-1]) + parts[-1] if parts else NOTHING


def network(model: str) -> str:
    """The same for LaTeX."""
    return escape(model_label(model))


def name(method: str) -> str:
    """The method's label for LaTeX, without commas, for lists."""
    return escape(method_label(method).replace(",", ""))


def width(bits: float) -> str:
    return f"INT{bits:.0f}"


def widths_of(table: pd.DataFrame) -> list[int]:
    return sorted({*table.eval_bits} - {FLOAT}, reverse=True)


def count(n: float) -> str:
    return thin(thousands(n))


def on_networks(models: Iterable[str], show) -> str:
    """`<show(model)> on the small CNN, and <...> on the deep CNN`."""
    return listed((f"{show(model)} on the {network(model)}" for model in models), "; ", "; and ")


def grouped(models: Iterable[str], show) -> str:
    """The same, with the networks of equal words together: `lower on the small CNN and the deep CNN`."""
    words = {}
    for model in models:
        words.setdefault(show(model), []).append(f"the {network(model)}")
    return listed(f"{word} on {listed(where)}" for word, where in words.items())


def reference(rivals: Rivals) -> tuple[str, int]:
    """The arm that is not under test and lost least in tuning."""
    row = rivals["t0_qat", NO_WIDTH]
    return row["other"], row["other_bits"]


def near(arm: tuple[str, int], rivals: Rivals, sign: int) -> bool:
    """Whether an arm is the reference, or not detectably worse than it."""
    row = rivals.get(arm)
    return arm == reference(rivals) or row["p_holm"] >= 0.05 or sign * row["estimate"] >= 0


def columns(b: Benchmark, results: Results, model: str) -> dict[str, tuple[dict[str, Row], Rivals]]:
    """Header -> (method -> its row, the arms there against the reference), as the main table shows them.

    Of methods that train for a width, the any-precision columns hold the width of the best mean.
    """
    rows, scores = b.values(b.table(results)), b.table(results, "_any")
    rows, scores = rows[rows.model == model], scores[scores.model == model]
    shown = {"Float": (rows, "_paired", {"eval_bits": FLOAT, "scale_rule": "none"})}
    for bits in widths_of(rows):
        shown[width(bits)] = rows, "_paired", {"eval_bits": bits, "scale_rule": "own"}
    for quantity in ("mean", "worst"):
        place = {"scale_rule": "own", "quantity": quantity}
        shown[quantity.capitalize()] = scores, "_any_paired", place
    found = {}
    for header, (table, file, place) in shown.items():
        here = sorted(rows_of(table, **place), key=lambda row: b.sign * row["mean"])
        pairs = rows_of(b.table(results, file), model=model, against="best_baseline", **place)
        rivals = {(row["method"], row["train_bits"]): row for row in pairs}
        found[header] = {row["method"]: row for row in here}, rivals
    return found


def main_table(b: Benchmark, results: Results) -> str:
    """What to use at which bit-width, on the models with all methods."""
    table = b.table(results)
    header, rows, breaks = ["Float"], [], []
    for model in b.full(table):
        shown = columns(b, results, model)
        header = list(shown)
        breaks.append(len(rows))
        rows.append([rf"\emph{{{network(model)}}}", *[""] * len(header)])
        for method in table[table.model == model].method.unique():
            cells = [
                _marked(b, column[method], column, rivals) if method in column else NOTHING
                for column, rivals in shown.values()
            ]
            rows.append([name(method), *cells])
    return tabular(rows, ["Method", *header], "@{}l" + "r" * len(header) + r"@{\enspace}", breaks[1:])


def _marked(b: Benchmark, row: Row, column: dict[str, Row], rivals: Rivals) -> str:
    arm = row["method"], row["train_bits"]
    shown = plus_minus(b.points(row))
    if row["mean"] == b.best(column.values())["mean"]:
        mean, half = shown.split(" ", 1)
        shown = rf"$\mathbf{{{mean[1:]}}} {half}"
    if "quantity" in row and row["train_bits"] != NO_WIDTH:
        shown = f"({row['train_bits']}) {shown}"
    mark = r"\star" if arm == reference(rivals) else r"\circ" * near(arm, rivals, b.sign)
    return shown + rf"\rlap{{$^{{{mark}}}$}}" * bool(mark)


def size(b: Benchmark, results: Results) -> dict[str, str]:
    """How much was run, and how finely the pairs see."""
    table, tried = b.table(results), b.table(results, "_tuning")
    arms = table.drop_duplicates(KEYS)
    here = b.table(results, "_paired")
    compared = len(here) + len(b.table(results, "_any_paired"))
    # Of the smallest p-value, which Holm's method multiplies by the number of its family.
    threshold = stats.t.isf((1 - LEVEL) / len(here) / 2, here.n.max() - 1)
    each = tried.groupby(KEYS, sort=False)["n"].agg(["size", "max", "sum"])
    full = each[each["sum"] == each["sum"].max()]
    seen = b.times * here[(here.scale_rule == "own") & (here.detectable > 0)].detectable

    def at_an_end(setting):
        """How many arms chose the least or the greatest of more than two values."""
        values = tried.groupby(KEYS)[setting].agg(["min", "max", "nunique"]).reset_index()
        ends = tried[tried.chosen == 1].merge(values[values["nunique"] > 2])
        return (
            f"{((ends[setting] == ends['min']) | (ends[setting] == ends['max'])).sum()} of {len(ends)}"
        )

    return {
        "Replicates": count(table.n.max()),
        "Arms": str(len(arms)),
        "Networks": count(arms.n.sum()),
        "TuningLeast": count(full["max"].min()),
        "TuningMost": count(full["max"].max()),
        "TuningEach": count(full["sum"].max()),
        "Candidates": listed(map(count, sorted({*full["size"]})), last=" or "),
        "Rates": listed(scientific(rate, 3) for rate in sorted({*tried.learning_rate})),
        "TuningNetworks": count(tried.n.sum()),
        "EdgeRate": at_an_end("learning_rate"),
        "EdgeStrength": at_an_end("strength"),
        "Full": listed(f"the {network(model)}" for model in b.full(table)),
        "Methods": str(table.method.nunique()),
        "Widths": listed(map(width, widths_of(table))),
        "Trained": listed(map(width, sorted({*table.train_bits} - {NO_WIDTH}, reverse=True))),
        "Lowest": width(min(widths_of(table))),
        "Comparisons": count(compared),
        "Threshold": f"{threshold:.2g}",
        "DetectableLeast": scientific(seen.min()),
        "DetectableMost": scientific(seen.max()),
    }


def ranking(b: Benchmark, results: Results) -> dict[str, str]:
    """The best means, the references, and how many are not detectably worse."""
    models = b.full(b.table(results))
    shown = {model: columns(b, results, model) for model in models}

    def at_widths(show) -> str:
        def on(model):
            at = {key: c for key, c in shown[model].items() if key.startswith("INT")}
            return listed(f"{show(*column)} at {key}" for key, column in at.items())

        return on_networks(models, on)

    def foremost(column, rivals) -> str:
        top = b.best(column.values())["mean"]
        best = [row for row in column.values() if row["mean"] == top]
        return listed(f"{name(row['method'])} ({b.interval(row)})" for row in best)

    def among(families=FAMILIES, but="") -> str:
        """How many cells at a width, of methods of these families, are near the reference."""
        found = [
            near((method, row["train_bits"]), rivals, b.sign)
            for each in shown.values()
            for key, (column, rivals) in each.items()
            if key.startswith("INT")
            for method, row in column.items()
            if REGISTRY[method].family in families and method != but
        ]
        return f"{sum(found)} of {len(found)}"

    return {
        "Best": at_widths(foremost),
        "Reference": at_widths(lambda column, rivals: name(reference(rivals)[0])),
        "Near": among(),
        "NearNoise": among(["noise"]),
        "NearRounds": among(["rounding"]),
        "NearOthers": among({*FAMILIES} - {"noise", "rounding"}, PLACEBO),
    }


def keeping(b: Benchmark, results: Results) -> dict[str, str]:
    """Who stays within the margin of plain training that is not rounded, by uncorrected intervals."""
    rows = b.table(results, "_kept")
    rows = rows[(rows.scale_rule == "own") & own_width(rows)]
    worst_end = rows.ci_low if b.sign > 0 else -rows.ci_high
    rows = rows.assign(keeps=worst_end > -b.margin)
    models = b.full(b.table(results))

    def keepers(model, bits):
        here = rows[(rows.model == model) & (rows.eval_bits == bits)]
        found = here[here.keeps].method
        if 0 < len(found) <= 3:
            return f"{listed(map(name, found))} at {width(bits)}"
        return f"{len(found) or 'none'} of {len(here)} at {width(bits)}"

    def widths(method):
        def on(model):
            mine = rows[(rows.model == model) & (rows.method == method) & rows.keeps]
            return f"at {listed(map(width, mine.eval_bits))}" if len(mine) else "at no width"

        return grouped(models, on)

    low = [bits for bits in widths_of(rows) if bits < 8]
    return {
        "Margin": f"{b.times * b.margin:g}",
        "Kept": on_networks(models, lambda model: listed(keepers(model, bits) for bits in low)),
        "KeptPublished": widths("t0_qat"),
        "KeptTuned": widths("t0_qat_tuned"),
        "KeptPlain": widths("no_noise"),
    }


def noise(b: Benchmark, results: Results) -> dict[str, str]:
    """The tuned scale, what the placebo shows of chance, and one training for every width."""
    table, pairs, scores = (b.table(results, ending) for ending in ("", "_paired", "_any"))
    models = b.full(table)
    tried = b.table(results, "_tuning")
    tried = tried[tried.method == "t0_qat_tuned"]
    chosen = tried[tried.chosen == 1].set_index("model").strength

    def spread(model):
        row = one(pairs, model=model, eval_bits=min(widths_of(table)), method=PLACEBO, against="plain")
        return f"{b.times * standard_error(row) * row['n'] ** 0.5:.2g}"

    def decided(sign):
        rows = pairs[(pairs.method == "t0_qat_tuned") & (pairs.against == "plain")]
        rows = rows[(rows.scale_rule == "own") & (rows.p_holm < 0.05) & (sign * rows.estimate > 0)]

        def on(model):
            found = rows[rows.model == model].eval_bits
            return f"at {listed(map(width, found))}" if len(found) else "at no width"

        return grouped(models, on)

    def foremost(which):
        rows = scores[(scores.scale_rule == "own") & which]

        def on(model):
            here = rows_of(rows, model=model, quantity="mean")
            if not here:
                return NOTHING
            best = b.best(here)
            worst = one(rows, quantity="worst", **{key: best[key] for key in KEYS})
            fixed = best["train_bits"] != NO_WIDTH
            trained = f" trained for {width(best['train_bits'])}" * fixed
            return f"{name(best['method'])}{trained} with {b.interval(best)} ({b.interval(worst)})"

        return on_networks(models, on)

    free = scores.train_bits == NO_WIDTH
    noisy = scores.method.map(lambda method: REGISTRY[method].family) == "noise"
    return {
        "ScalingsTried": listed(f"{value:g}" for value in sorted({*tried.strength})),
        "Scalings": grouped(chosen.index, lambda model: f"{chosen[model]:g}"),
        "Sigmas": grouped(chosen.index, lambda model: f"{XI * chosen[model]:.2g}"),
        "PlaceboSpread": on_networks(models, spread),
        "Gains": decided(b.sign),
        "Losses": decided(-b.sign),
        "AnyNoise": foremost(free & noisy),
        "AnyOthers": foremost(free & ~noisy & (scores.method != PLACEBO)),
        "AnyFixed": foremost(~free),
    }


def differences(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """T0-QAT as published, tuned and at scaling 1, against three others, over the bit-widths."""
    pairs = b.table(results, "_any_paired")
    pairs = pairs[pairs.scale_rule == "own"]
    models = b.full(b.table(results))

    def against(rival: str, **which) -> list[str]:
        (row,) = rows_of(pairs, against=rival, **which) or [None]
        if row is None:
            return [NOTHING] * (3 if rival == "best_baseline" else 2)
        star = r"\rlap{$^{\ast}$}" * (row["p_holm"] < 0.05)
        cells = [b.cell([row]) + star, scientific(b.times * row["detectable"])]
        trained = f" ({width(row['other_bits'])})" * (row["other_bits"] != NO_WIDTH)
        return cells + [name(row["other"]) + trained] * (rival == "best_baseline")

    rows, breaks = [], []
    for model in models:
        breaks.append(len(rows))
        for method in UNDER_TEST.values():
            for quantity in ("mean", "worst"):
                lead = [network(model) if len(rows) == breaks[-1] else ""]
                lead += [name(method) if quantity == "mean" else "", quantity]
                which = {"model": model, "method": method, "quantity": quantity}
                rows.append(lead + [c for rival in AGAINST.values() for c in against(rival, **which)])
    header = ["Network", "Method", "", "Minus plain", "seen", "Minus random bits", "seen"]
    header += ["Minus best other", "seen", "which is"]
    body = tabular(rows, header, "@{}lllrrrrrrl@{}", breaks[1:])

    def word(method, rival):
        def on(model):
            rows = rows_of(pairs, model=model, method=method, against=rival, quantity="mean")
            if not rows:
                return NOTHING
            said = corrected_direction(rows[0])
            return WORDS.get(said, "not detectably different")

        return grouped(models, on)

    macros = {
        f"{b.file.capitalize()}Differences{arm}{other}": word(method, rival)
        for arm, method in UNDER_TEST.items()
        for other, rival in AGAINST.items()
    }
    return body, macros
