"""What is said of a benchmark: its size, who is best, who keeps the metric, and what noise does.

Values are at the scale rule that each method fixes ("own"). Every phrase lists the models of the run,
whichever they are.
"""

from scipy import stats

from t0qat.exhibits.benchmark import PLACEBO, Benchmark, cells
from t0qat.exhibits.labels import at, listed, name, on_models, the_models, together, width, widths_of
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import KEYS, NO_WIDTH
from t0qat.experiments.compare import own_width
from t0qat.pipeline.claims import standard_error
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, number, span, thousands
from t0qat.training.constants import XI
from t0qat.training.methods import REGISTRY

Said = dict[str, str | int]


def phrases(b: Benchmark, results: Results) -> Said:
    """All of them."""
    return {key: v for said in (size, ranking, keeping, noise) for key, v in said(b, results).items()}


def size(b: Benchmark, results: Results) -> Said:
    """How much was run, and how finely the pairs see."""
    table, tried, pairs = (b.table(results, ending) for ending in ("", "_tuning", "_paired"))
    arms = table.drop_duplicates(KEYS)
    # Of the smallest p-value, which Holm's method multiplies by the number of its family.
    threshold = stats.t.isf(ERROR_RATE / len(pairs) / 2, pairs.n.max() - 1)
    each = tried.groupby(KEYS, sort=False)["n"].agg(["size", "max", "sum"])
    full = each[each["sum"] == each["sum"].max()]
    seen = b.times * pairs[(pairs.scale_rule == "own") & (pairs.detectable > 0)].detectable

    def at_an_end(setting):
        """How many arms chose the least or the greatest of more than two values."""
        values = tried.groupby(KEYS)[setting].agg(["min", "max", "nunique"]).reset_index()
        ends = tried[tried.chosen == 1].merge(values[values["nunique"] > 2])
        return f"{ends[['min', 'max']].eq(ends[setting], axis=0).any(axis=1).sum()} of {len(ends)}"

    return {
        "Replicates": table.n.max(),
        "Arms": len(arms),
        "Networks": arms.n.sum(),
        "TuningSeeds": span(full["max"]),
        "TuningEach": full["sum"].max(),
        "Candidates": listed(map(thousands, sorted({*full["size"]})), last=" or "),
        "Rates": listed(map(number, sorted({*tried.learning_rate}))),
        "TuningNetworks": tried.n.sum(),
        "EdgeRate": at_an_end("learning_rate"),
        "EdgeStrength": at_an_end("strength"),
        "Full": the_models(b.full(table)),
        "Methods": table.method.nunique(),
        "Widths": listed(map(width, widths_of(table))),
        "Trained": listed(map(width, sorted({*table.train_bits} - {NO_WIDTH}, reverse=True))),
        "Lowest": width(min(widths_of(table))),
        "Comparisons": len(pairs) + len(b.table(results, "_any_paired")),
        "Threshold": number(threshold, 2),
        "Detectable": span(seen, lambda difference: number(difference, 2)),
    }


def ranking(b: Benchmark, results: Results) -> Said:
    """The best means, the references, and how many are not detectably worse."""
    rows = cells(b, results)
    rows = rows[rows.column.str.startswith("INT")]
    family = rows.method.map(lambda method: REGISTRY[method].family)

    def at_widths(which, show) -> str:
        """What is shown of these rows, by network and width."""

        def on(mine):
            by_width = mine.groupby("column", observed=True)
            return listed(f"{listed(map(show, rows_of(here)))} at {bits}" for bits, here in by_width)

        return on_models((model, on(mine)) for model, mine in which.groupby("model", sort=False))

    def among(which) -> str:
        return f"{which.near.sum()} of {len(which)}"

    return {
        "Best": at_widths(rows[rows.best], lambda row: f"{name(row['method'])} ({b.interval(row)})"),
        "Reference": at_widths(rows[rows.reference], lambda row: name(row["method"])),
        "Near": among(rows),
        "NearNoise": among(rows[family == "noise"]),
        "NearRounds": among(rows[family == "rounding"]),
        "NearOthers": among(rows[~family.isin(["noise", "rounding"]) & (rows.method != PLACEBO)]),
    }


def keeping(b: Benchmark, results: Results) -> Said:
    """Who stays within the margin of plain training that is not rounded, by uncorrected intervals."""
    rows = b.table(results, "_kept")
    rows = rows[(rows.scale_rule == "own") & own_width(rows)]
    worst_end = rows.ci_low if b.sign > 0 else -rows.ci_high
    kept = rows[worst_end > -b.margin]
    models = b.models(results)

    def keepers(model, bits):
        every, found = (of[(of.model == model) & (of.eval_bits == bits)].method for of in (rows, kept))
        if 0 < len(found) <= 3:
            return f"{listed(map(name, found))} at {width(bits)}"
        return f"{len(found) or 'none'} of {len(every)} at {width(bits)}"

    def widths(method):
        mine = kept[kept.method == method]
        return together((model, at(mine[mine.model == model].eval_bits)) for model in models)

    low = [bits for bits in widths_of(rows) if bits < 8]
    of_all = ((model, listed(keepers(model, bits) for bits in low)) for model in models)
    return {
        "Margin": f"{b.times * b.margin:g}",
        "Kept": on_models(of_all),
        "KeptPublished": widths("t0_qat"),
        "KeptTuned": widths("t0_qat_tuned"),
        "KeptPlain": widths("no_noise"),
    }


def noise(b: Benchmark, results: Results) -> Said:
    """The tuned scale, what the placebo shows of chance, and one training for every width."""
    table, pairs, scores = (b.table(results, ending) for ending in ("", "_paired", "_any"))
    models, scores = b.full(table), scores[scores.scale_rule == "own"]
    pairs = pairs[(pairs.scale_rule == "own") & pairs.model.isin(models)]
    tried = b.table(results, "_tuning")
    tried = tried[tried.method == "t0_qat_tuned"]
    chosen = [(row["model"], row["strength"]) for row in rows_of(tried, chosen=1)]
    placebo = rows_of(pairs, eval_bits=min(widths_of(table)), method=PLACEBO, against="plain")

    def spread(row):
        return number(b.times * standard_error(row) * row["n"] ** 0.5, 2)

    def decided(sign):
        rows = pairs[(pairs.method == "t0_qat_tuned") & (pairs.against == "plain")]
        rows = rows[(rows.p_holm < ERROR_RATE) & (sign * rows.estimate > 0)]
        return together((model, at(rows[rows.model == model].eval_bits)) for model in models)

    def foremost(rows, model):
        here = rows_of(rows, model=model, quantity="mean")
        if not here:
            return NOTHING
        best = b.best(here)
        worst = one(rows, quantity="worst", **{key: best[key] for key in KEYS})
        trained = f" trained for {width(best['train_bits'])}" * (best["train_bits"] != NO_WIDTH)
        return f"{name(best['method'])}{trained} with {b.interval(best)} ({b.interval(worst)})"

    free = scores.train_bits == NO_WIDTH
    noisy = scores.method.map(lambda method: REGISTRY[method].family) == "noise"
    over_widths = {
        "AnyNoise": scores[free & noisy],
        "AnyOthers": scores[free & ~noisy & (scores.method != PLACEBO)],
        "AnyFixed": scores[~free],
    }
    return {
        "ScalingsTried": listed(f"{value:g}" for value in sorted({*tried.strength})),
        "Scalings": together((model, f"{scaling:g}") for model, scaling in chosen),
        "Sigmas": together((model, number(XI * scaling, 2)) for model, scaling in chosen),
        "PlaceboSpread": on_models((row["model"], spread(row)) for row in placebo),
        "Gains": decided(b.sign),
        "Losses": decided(-b.sign),
    } | {
        key: on_models((model, foremost(rows, model)) for model in models)
        for key, rows in over_widths.items()
    }
