"""Tables and macros of the image networks: test loss in nats, less is better."""

import itertools
from functools import partial

import pandas as pd

from t0qat.exhibits import benchmark, standing, tuned
from t0qat.exhibits.benchmark import (
    HIGHER,
    LOWER,
    PLACEBO,
    PLAIN,
    Benchmark,
    Words,
    at_each_width,
    decided,
    has_all_methods,
    over_widths,
)
from t0qat.exhibits.labels import macros, name, width, widths_of
from t0qat.exhibits.phrases import phrases, placebo
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import FLOAT, LOUD_RATES, LOUD_REPLICATES, model_label
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline.claims import standard_error
from t0qat.pipeline.latex import grouped, spanning
from t0qat.pipeline.words import NOTHING, number, plus_minus, span, times
from t0qat.quantization.quantizers import SCALES
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training.methods import named

LOSS = Metric("loss", less_is_better=True)
WORDS = Words("lose less", "lose more", "lose as much", "plain training", "network", "nats")
IMAGES = Benchmark("vision", LOSS, Metric("accuracy", less_is_better=False), WORDS)
shown, keeps = partial(standing.shown, IMAGES), partial(standing.keeps, IMAGES)
size, scalings = partial(tuned.size, IMAGES), partial(tuned.scalings, IMAGES)
replicas, few = partial(standing.replicas, IMAGES), partial(benchmark.few, IMAGES)
differences = partial(benchmark.differences, IMAGES)
convergence = partial(benchmark.convergence, IMAGES)


def vision(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, on the networks with all methods."""
    said = phrases(IMAGES, results) | _of_networks(results)
    said |= {
        "PlaceboSpread": _spread(results),
        "PlaceboSentence": _marked_by_chance(results),
        "ScaleSentence": placebo(IMAGES, results),
    }
    return benchmark.main_table(IMAGES, results), macros("Vision", said)


def _marked_by_chance(results: Results) -> str:
    """How many differences between the placebo and plain training carry the mark of a direction."""
    rows = pd.concat([at_each_width(IMAGES, results), over_widths(IMAGES, results)])
    rows = decided(rows[(rows.method == PLACEBO) & (rows.against == PLAIN)])
    if rows.empty:
        return "This run has no placebo."
    marked = rows.shown.isin([LOWER, HIGHER]).sum()
    of = f"of its {len(rows)} comparisons with plain training"
    if not marked:
        return f"None {of} is marked by a direction."
    return f"A direction is marked in {marked} {of}, a caution for other marks."


def _spread(results: Results) -> str:
    """The size of chance: the standard deviation of single pairs of the placebo and plain training."""
    pairs = at_each_width(IMAGES, results)
    lowest = min(widths_of(IMAGES.table(results)))
    rows = rows_of(pairs, eval_bits=lowest, method=PLACEBO, against=PLAIN)
    return span((standard_error(row) * row["n"] ** 0.5 for row in rows), lambda sd: number(sd, 2))


def _of_networks(results: Results) -> dict[str, str | int]:
    """How loud noise was tuned, how many intervals are wide, and what exported networks did."""
    table = results["vision"]
    full = has_all_methods(table)
    own = IMAGES.values(table[table.model.isin(full)])
    at_width = results["vision_kept"].set_index(["model", "eval_bits"]).margin.to_dict()
    places = zip(own.model, own.eval_bits, strict=True)
    margin = pd.Series([at_width.get(place, LOSS.margin) for place in places], own.index, float)
    checked = table[(table.metric == "differing") & (table.scale_rule != "own")]
    sizes = table[table.metric == "bytes"]
    by = sizes.groupby(["model", "eval_bits"], sort=False)["mean"]
    return {
        "FewReplicates": table.n.min(),
        "Lowest": width(min(widths_of(table))),
        "LoudRates": LOUD_RATES,
        "LoudReplicates": LOUD_REPLICATES,
        "Wide": f"{(own.ci_high - own.ci_low > 2 * margin).sum()} of {len(own)}",
        "Rounded": checked.n.sum(),
        "Differing": (checked["mean"] * checked.n).sum(),
        "BytesSpread": (by.max() - by.min()).max() if len(by) else 0,
    }


def accuracy(results: Results) -> tuple[str, dict[str, str]]:
    """The few methods' accuracy on every network, in percent, beside the loss of the other tables."""
    table = results["vision"]
    shares, widths = IMAGES.values(table, "accuracy"), widths_of(table)
    methods = named(lambda method: method.few)

    def cell(**keys):
        rows = rows_of(shares, **keys)
        return plus_minus(times(rows[0], 100)) if rows else NOTHING

    def row(model, method):
        key = {"model": model, "method": method}
        cells = (cell(**key, eval_bits=bits) for bits in (FLOAT, *widths))
        return [model_label(model), name(method), benchmark.gradients(table, **key), *cells]

    groups = [
        [row(model, method) for method in methods if method in {*mine.method}]
        for model, mine in shares.groupby("model", sort=False)
    ]
    header = ["Network", "Method", "Grad.", "Float", *map(width, widths)]
    return grouped(groups, header, "ll", leads=1), {}


def rules(results: Results) -> tuple[str, dict[str, str]]:
    """The same networks at each rule for the grid's step."""
    table = results["vision"]
    table = table[(table.metric == LOSS.name) & own_width(table) & (table.eval_bits != FLOAT)]
    models, every = has_all_methods(results["vision"]), widths_of(table)
    widths = [bits for bits in every if bits < 8] or every

    def row(rule, method):
        key = {"method": method, "scale_rule": rule}
        at = itertools.product(models, widths)
        cells = [IMAGES.cell(table, model=model, eval_bits=bits, **key) for model, bits in at]
        return ["MSE" if rule == "mse" else rule, name(method), *cells]

    methods = named(lambda method: method.few and not method.loud)
    groups = [[row(rule, method) for method in methods] for rule in (*SCALES, *OWN_GRIDS)]
    groups = [[cells for cells in group if {*cells[2:]} != {NOTHING}] for group in groups]
    groups = [group for group in groups if group]
    header = ["Step", "Method", *[width(bits) for _ in models for bits in widths]]
    over = ["", "", *(spanning(len(widths), model_label(model)) for model in models)]
    return grouped(groups, header, "ll", leads=1, over=over), {}
