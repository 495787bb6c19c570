"""What is said of a benchmark: its size, who is best, who keeps the metric, and what noise does.

Values are at the scale rule that each method fixes ("own"). Every phrase lists the models of the run,
whichever they are.
"""

from scipy import stats

from t0qat.exhibits.benchmark import (
    PLACEBO,
    Benchmark,
    at,
    columns,
    name,
    near,
    network,
    on_networks,
    reference,
    together,
    width,
    widths_of,
)
from t0qat.exhibits.cells import NOTHING, count
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.exhibits.words import listed
from t0qat.experiments.arms import KEYS, NO_WIDTH
from t0qat.experiments.compare import own_width
from t0qat.pipeline.claims import standard_error
from t0qat.pipeline.latex import scientific
from t0qat.pipeline.statistics import ERROR_RATE, LEVEL
from t0qat.training.constants import XI
from t0qat.training.methods import REGISTRY
from t0qat.training.views import FAMILIES


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
            here = {key: c for key, c in shown[model].items() if key.startswith("INT")}
            return listed(f"{show(*column)} at {key}" for key, column in here.items())

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
        mine = rows[(rows.method == method) & rows.keeps]
        return together(models, lambda model: at(mine[mine.model == model].eval_bits))

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
        rows = rows[(rows.scale_rule == "own") & (rows.p_holm < ERROR_RATE) & (sign * rows.estimate > 0)]
        return together(models, lambda model: at(rows[rows.model == model].eval_bits))

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
        "Scalings": together(chosen.index, lambda model: f"{chosen[model]:g}"),
        "Sigmas": together(chosen.index, lambda model: f"{XI * chosen[model]:.2g}"),
        "PlaceboSpread": on_networks(models, spread),
        "Gains": decided(b.sign),
        "Losses": decided(-b.sign),
        "AnyNoise": foremost(free & noisy),
        "AnyOthers": foremost(free & ~noisy & (scores.method != PLACEBO)),
        "AnyFixed": foremost(~free),
    }
