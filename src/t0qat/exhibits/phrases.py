"""What is said of a benchmark: its size, who is best, who keeps the metric, what noise does, and more.

Values are at the scale rule that each method fixes ("own"). Every phrase lists the models of the run,
whichever they are.
"""

from scipy import stats

from t0qat.exhibits.benchmark import (
    CONTROL,
    HIGHER,
    LOWER,
    NOT_ASKED,
    PLACEBO,
    UNDECIDED,
    WITHIN,
    Benchmark,
    cells,
    decided,
    direction,
    has_all_methods,
    longer,
    tally,
)
from t0qat.exhibits.deviations import left_out
from t0qat.exhibits.edges import at_an_edge, at_an_open_edge, choices, chosen_end, for_width
from t0qat.exhibits.labels import at, listed, name, on_models, the_models, together, width, widths_of
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments import tuning
from t0qat.experiments.arms import KEYS, NO_WIDTH
from t0qat.experiments.compare import is_rival, own_width
from t0qat.pipeline.statistics import ERROR_RATE, discovery_level
from t0qat.pipeline.words import NOTHING, Row, number, percent, span, thousands
from t0qat.training.constants import XI
from t0qat.training.methods import REGISTRY

SHORT, LONG, OPEN = "too short", "long enough", "open"  # a budget of training
Said = dict[str, str | int]


def phrases(b: Benchmark, results: Results) -> Said:
    """All of them."""
    every = (size, ranking, keeping, noise, replicas, left_out)
    return {key: v for said in every for key, v in said(b, results).items()}


def size(b: Benchmark, results: Results) -> Said:
    """How much was run, and how finely the pairs see."""
    table, tried = b.table(results), b.table(results, "_tuning")
    arms = table.drop_duplicates(KEYS)
    pairs = results[b.file + "_paired"]
    level = discovery_level(pairs.p_bh)
    arm = tried.groupby(KEYS, sort=False)
    each = arm.n.agg(["size", "max"]).assign(spent=arm.n.sum() + tuning.SHORT * arm.short.count())
    full = each[each.spent > each.spent.max() / 2]  # those of loud noise get far less
    models, own = has_all_methods(table), b.table(results, "_paired")
    seen = own[(own.scale_rule == "own") & (own.detectable > 0)].detectable
    return {
        "Replicates": table.n.max(),
        "Arms": len(arms),
        "Networks": arms.n.sum(),
        "TuningMany": tuning.FACTOR * tuning.LAST,
        "TuningShort": percent(tuning.SHORT),
        "TuningSeeds": span(full["max"]),
        "TuningEach": span(full.spent.round()),
        "Candidates": listed(map(thousands, sorted({*full["size"]})), last=" or "),
        "Rates": listed(map(number, sorted({*tried.learning_rate}))),
        "TuningNetworks": int(tried.n.sum()),
        "TuningTrials": tried.short.count(),
        "EdgeRate": at_an_edge(tried, "learning_rate"),
        "OpenEdge": at_an_open_edge(tried, "learning_rate", b.metric.margin),
        "EdgeStrength": at_an_edge(tried, "strength"),
        "OpenStrength": at_an_open_edge(tried, "strength", b.metric.margin),
        "Full": the_models(models),
        "Methods": table.method.nunique(),
        "FewMethods": table[~table.model.isin(models)].method.nunique(),
        "Widths": listed(map(width, widths_of(table))),
        "Trained": listed(map(width, sorted({*table.train_bits} - {NO_WIDTH}, reverse=True))),
        "Lowest": width(min(widths_of(table))),
        "Comparisons": len(pairs) + len(results[b.file + "_any_paired"]),
        "Threshold": number(stats.t.isf(level / 2, pairs.n.max() - 1), 2),
        "ErrorRate": f"{100 * ERROR_RATE:g}",
        "Detectable": span(seen, lambda difference: number(difference, 2)),
    }


def ranking(b: Benchmark, results: Results) -> Said:
    """The best means, the references, and what is shown of the other arms against these."""
    rows = cells(b, results)
    rows = rows[rows.column.str.startswith("INT")]

    def at_widths(which, show) -> str:
        """What is shown of these rows, by network and width."""

        def on(mine):
            by_width = mine.groupby("column", observed=True)
            return listed(f"{listed(map(show, rows_of(here)))} at {bits}" for bits, here in by_width)

        return on_models((model, on(mine)) for model, mine in which.groupby("model", sort=False))

    compared = rows[(rows.shown != "") & ~rows.method.isin([PLACEBO, CONTROL])]
    family = compared.method.map(lambda method: REGISTRY[method].family)
    return {
        "Best": at_widths(rows[rows.best], lambda row: f"{name(row['method'])} ({b.interval(row)})"),
        "Reference": at_widths(rows[rows.reference], lambda row: name(row["method"])),
        "Against": tally(compared),
        "AgainstNoise": tally(compared[family == "noise"]),
        "AgainstRounds": tally(compared[family == "rounding"]),
        "AgainstOthers": tally(compared[~family.isin(["noise", "rounding"])]),
    }


def replicas(b: Benchmark, results: Results) -> Said:
    """What is shown of coupled replicas against each other and against the rounding of each."""
    pairs = b.table(results, "_paired")
    pairs = decided(pairs[(pairs.scale_rule == "own") & own_width(pairs)])

    def against(method: str, other: str) -> str:
        return tally(pairs[(pairs.method == method) & (pairs.against == other)])

    return {
        "RingStar": against("ring", "star"),
        "RingSte": against("ring", "ste"),
        "StarSte": against("star", "ste"),
    }


def keeping(b: Benchmark, results: Results) -> Said:
    """Who stays within the margin of plain training that is not rounded, by uncorrected intervals."""
    rows = b.table(results, "_kept")
    rows = rows[(rows.scale_rule == "own") & own_width(rows)]
    lost = rows.ci_high if b.metric.less_is_better else -rows.ci_low
    kept = rows[lost < rows.margin]
    models = b.models(results)

    def keepers(model, bits):
        every, found = (of[(of.model == model) & (of.eval_bits == bits)].method for of in (rows, kept))
        if 0 < len(found) <= 3:
            return f"{listed(map(name, found))} at {width(bits)}"
        return f"{len(found) or 'none'} of {len(every)} at {width(bits)}"

    def widths(method):
        mine = kept[kept.method == method]
        return together((model, at(mine[mine.model == model].eval_bits)) for model in models)

    def margins(model):
        mine = rows[(rows.model == model) & (rows.margin > b.metric.margin)]
        found = rows_of(mine.drop_duplicates("eval_bits"))
        shown = (f"{number(row['margin'], 2)} at {width(row['eval_bits'])}" for row in found)
        return listed(shown) if found else "the first at every width"

    low = [bits for bits in widths_of(rows) if bits < 8]
    of_all = ((model, listed(keepers(model, bits) for bits in low)) for model in models)
    return {
        "Margin": f"{b.metric.margin:g}",
        "Margins": on_models((model, margins(model)) for model in models),
        "Kept": on_models(of_all),
        "KeptPublished": widths("t0_qat"),
        "KeptTuned": widths("t0_qat_tuned"),
        "KeptPlain": widths("no_noise"),
    }


def converging(b: Benchmark, results: Results) -> Said:
    """What twice the budget changes in plain training, and whether the budget is long enough by that."""
    rows = decided(longer(b, results))
    if rows.empty:
        return dict.fromkeys(("Converged", "Budget"), NOT_ASKED)
    rows = rows.assign(budget=[enough(row) for row in rows_of(rows)])

    def difference(row):
        shown = f" ({b.interval(row)}, margin {number(row['margin'], 2)})" * (row["shown"] != WITHIN)
        return width(row["eval_bits"]) + shown

    def on_each(column, words, show):
        """The widths of each word, by network, without words of none."""

        def of(mine):
            found = ((word, rows_of(mine, **{column: word})) for word in words)
            parts = (f"{word} at {listed(map(show, here))}" for word, here in found if here)
            return listed(parts, last=", and ")

        return on_models((model, of(mine)) for model, mine in rows.groupby("model", sort=False))

    return {
        "Converged": on_each("shown", (WITHIN, LOWER, HIGHER, UNDECIDED), difference),
        "Budget": on_each("budget", (SHORT, LONG, OPEN), lambda row: width(row["eval_bits"])),
    }


def enough(row: Row) -> str:
    """Whether a budget is long enough, by what is shown of twice the budget minus it."""
    if row["shown"] in (WITHIN, HIGHER):
        return LONG
    return SHORT if row["shown"] == LOWER and row["estimate"] < -row["margin"] else OPEN


def noise(b: Benchmark, results: Results) -> Said:
    """The tuned scale, and one training for every width."""
    table, pairs, scores = (b.table(results, ending) for ending in ("", "_paired", "_any"))
    models, scores = has_all_methods(table), scores[scores.scale_rule == "own"]
    pairs = pairs[(pairs.scale_rule == "own") & pairs.model.isin(models)]
    tried = b.table(results, "_tuning")
    tried = tried[tried.method == "t0_qat_tuned"]
    ends = [(row["model"], chosen_end(row)) for row in rows_of(choices(tried, "strength"))]
    chosen = [(row["model"], row["strength"]) for row in rows_of(tried, chosen=1)]
    tuned = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain")
    tuned = decided(pairs[tuned]).sort_values("eval_bits", ascending=False, kind="stable")
    tuned = tuned.assign(way=[direction(row) for row in rows_of(tuned)])

    def where(word):
        found = tuned[tuned.shown == word]
        return together((model, widths(found[found.model == model])) for model in models)

    def widths(mine):
        """Where, and of what is within the margin which is lower or higher all the same."""
        inside = mine[mine.shown == WITHIN]
        ways = [(way, inside[inside.way == way].eval_bits) for way in (LOWER, HIGHER)]
        beside = [f"{way} {at(bits)}" for way, bits in ways if len(bits)]
        return at(mine.eval_bits) + f" (of these {listed(beside)})" * bool(beside)

    def foremost(rows, model):
        here = rows_of(rows, model=model, quantity="mean")
        if not here:
            return NOTHING
        best = b.best(here)
        worst = one(rows, quantity="worst", **{key: best[key] for key in KEYS})
        trained = for_width(best["train_bits"])
        return f"{name(best['method'])}{trained} with {b.interval(best)} ({b.interval(worst)})"

    free = scores.train_bits == NO_WIDTH
    noisy = scores.method.map(lambda method: REGISTRY[method].family) == "noise"
    over_widths = {
        "AnyNoise": scores[free & noisy],
        "AnyOthers": scores[free & ~noisy & scores.method.map(is_rival).astype(bool)],
        "AnyFixed": scores[~free],
    }
    return {
        "ScalingsTried": listed(f"{value:g}" for value in sorted({*tried.strength})),
        "Scalings": together((model, f"{scaling:g}") for model, scaling in chosen),
        "ScalingsEnd": together(ends),
        "Sigmas": together((model, number(XI * scaling, 2)) for model, scaling in chosen),
        "Lower": where(LOWER),
        "Higher": where(HIGHER),
        "Within": where(WITHIN),
        "Undecided": where(UNDECIDED),
    } | {
        key: on_models((model, foremost(rows, model)) for model in models)
        for key, rows in over_widths.items()
    }
