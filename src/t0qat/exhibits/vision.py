"""Tables and macros of the image networks: accuracies in percent, differences in points."""

import functools
import itertools

import pandas as pd

from t0qat.exhibits import benchmark, phrases
from t0qat.exhibits.benchmark import Benchmark, name, network, on_networks, width, widths_of
from t0qat.exhibits.cells import NOTHING, count, plus_minus, span, with_interval
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.exhibits.words import listed
from t0qat.experiments.arms import FLOAT, LOUD_RATES, LOUD_REPLICATES
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline.latex import escape, grouped, spanning, thin
from t0qat.quantization.quantizers import SCALES
from t0qat.training.methods import named

WIDE = 0.05  # half-width of an interval that hints at trainings that failed


def has_all_methods(table: pd.DataFrame) -> list[str]:
    """Networks on which more than the few methods were run, in order."""
    few = {*named(lambda method: method.few)}
    return [model for model, rows in table.groupby("model", sort=False) if {*rows.method} - few]


ACCURACY = Metric("accuracy", less_is_better=False)
IMAGES = Benchmark("vision", ACCURACY, 100, has_all_methods)
differences = functools.partial(benchmark.differences, IMAGES)


def vision(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, on the networks with all methods."""
    macros = phrases.size(IMAGES, results) | _more_of_size(results["vision"])
    for words in (phrases.ranking, phrases.keeping, phrases.noise):
        macros |= words(IMAGES, results)
    macros |= _costs(results["vision"])
    return benchmark.main_table(IMAGES, results), {f"Vision{key}": v for key, v in macros.items()}


def _more_of_size(table: pd.DataFrame) -> dict[str, str]:
    """Networks with few methods, wide intervals, and how many networks were exported."""
    full = has_all_methods(table)
    own = IMAGES.values(table[table.model.isin(full)])
    wide = own.ci_high - own.ci_low > 2 * WIDE
    checked = table[table.metric == "differing"]
    checked = checked[checked.scale_rule != "own"]
    return {
        "FewReplicates": count(table.n.min()),
        "LoudRates": str(LOUD_RATES),
        "LoudReplicates": str(LOUD_REPLICATES),
        "Few": listed(f"the {network(m)}" for m in table.model.unique() if m not in full),
        "Wide": f"{wide.sum()} of {len(wide)}",
        "Rounded": count(checked.n.sum()),
        "Differing": count((checked["mean"] * checked.n).sum()),
    }


def _costs(table: pd.DataFrame) -> dict[str, str]:
    """Gradient evaluations of a training, and bytes of an exported network."""
    gradients = table[table.metric == "gradients"]["mean"].max()
    sizes = table[(table.metric == "bytes") & table.model.isin(has_all_methods(table))]
    by = sizes.groupby(["model", "eval_bits"], sort=False)["mean"].agg(["min", "max"])

    def on(model):
        def size(bits):
            return thin(span(by.loc[model, bits]))

        widths = [f"{size(bits)} at {width(bits)}" for bits in widths_of(sizes)]
        return f"the {network(model)} takes {listed([f'{size(FLOAT)} unrounded', *widths])}"

    return {
        "Gradients": count(gradients),
        "Bytes": listed(map(on, sizes.model.unique()), "; ", "; "),
        "BytesSpread": count((by["max"] - by["min"]).max() if len(by) else 0),
    }


def few(results: Results) -> tuple[str, dict[str, str]]:
    """The few methods on the other networks, with the size of the weights."""
    table = results["vision"]
    full, rows_shown = has_all_methods(table), IMAGES.values(table)
    widths = widths_of(table)
    norms = table[table.metric == "weight_norm"]

    def row(model, method):
        first, *more = rows_of(norms, model=model, method=method)
        means = [norm["mean"] for norm in (first, *more)]
        size = f"{min(means):.3g} to {max(means):.3g}" if more else plus_minus(first)
        key = {"model": model, "method": method}
        cells = [IMAGES.cell(rows_shown, **key, eval_bits=bits) for bits in (FLOAT, *widths)]
        return [network(model), name(method), size, *cells]

    groups = [
        [row(model, method) for method in mine.method.unique()]
        for model, mine in table.groupby("model", sort=False)
        if model not in full
    ]
    header = ["Network", "Method", "Weight norm", "Full precision", *map(width, widths)]
    body = grouped(groups, header, "ll", leads=1)

    def sizes(method):
        def on(model):
            return with_interval(one(norms, model=model, method=method))

        return on_networks(table.model.unique(), on)

    macros = {"Plain": "no_noise", "Published": "t0_qat", "Tuned": "t0_qat_tuned"}
    return body, {f"VisionFewNorm{key}": sizes(method) for key, method in macros.items()}


def rules(results: Results) -> tuple[str, dict[str, str]]:
    """The same networks at each rule for the grid's step."""
    table = results["vision"]
    table = table[(table.metric == "accuracy") & own_width(table) & (table.eval_bits != FLOAT)]
    models, every = has_all_methods(results["vision"]), widths_of(table)
    widths = [bits for bits in every if bits < 8] or every

    def row(rule, method):
        key = {"method": method, "scale_rule": rule}
        at = itertools.product(models, widths)
        cells = [IMAGES.cell(table, model=model, eval_bits=bits, **key) for model, bits in at]
        return ["MSE" if rule == "mse" else escape(rule), name(method), *cells]

    methods = named(lambda method: method.few and not method.loud)
    groups = [[row(rule, method) for method in methods] for rule in (*SCALES, "learned")]
    groups = [[cells for cells in group if {*cells[2:]} != {NOTHING}] for group in groups]
    header = ["Step", "Method", *[width(bits) for _ in models for bits in widths]]
    over = " & ".join(["", "", *(spanning(len(widths), network(model)) for model in models)])
    body = grouped(groups, header, "ll", leads=1, over=over)

    def plain(model):
        key = {"model": model, "method": "no_noise", "eval_bits": min(every)}
        shown = (IMAGES.interval(one(table, scale_rule=rule, **key)) for rule in ("absmax", "mse"))
        return "{} (absmax) and {} (MSE)".format(*shown)

    return body, {"VisionRulesPlain": on_networks(models, plain)}
