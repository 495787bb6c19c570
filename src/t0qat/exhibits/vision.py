"""Tables and macros of the image networks: test loss in nats, less is better."""

import itertools

import pandas as pd

from t0qat.exhibits import benchmark
from t0qat.exhibits.benchmark import (
    HIGHER,
    LOWER,
    NOT_ASKED,
    PLACEBO,
    Benchmark,
    against_each,
    at_each_width,
    decided,
    has_all_methods,
    over_widths,
)
from t0qat.exhibits.labels import at, listed, macros, name, on_models, the_models, width, widths_of
from t0qat.exhibits.phrases import converging, phrases
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import FLOAT, LOUD_REPLICATES, model_label
from t0qat.experiments.compare import Metric, own_width
from t0qat.pipeline.claims import standard_error
from t0qat.pipeline.latex import grouped, spanning
from t0qat.pipeline.words import NOTHING, number, plus_minus, span, times, with_interval
from t0qat.quantization.quantizers import SCALES
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training.methods import REGISTRY, named

LOSS = Metric("loss", less_is_better=True)
IMAGES = Benchmark("vision", LOSS, learned=Metric("accuracy", less_is_better=False))


def vision(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, on the networks with all methods."""
    said = phrases(IMAGES, results) | _of_networks(results)
    said |= {"PlaceboSpread": _spread(results), "PlaceboShown": _marked_by_chance(results)}
    return benchmark.main_table(IMAGES, results), macros("Vision", said)


def differences(results: Results) -> tuple[str, dict[str, str]]:
    """As of benchmark.differences, and what the placebo shows."""
    table, said = benchmark.differences(IMAGES, results)
    placebo = against_each(over_widths(IMAGES, results), PLACEBO).values()
    asked = {*placebo} != {NOT_ASKED}
    return table, said | {
        "VisionDifferencesPlacebo": listed(placebo, "; ", "; and ") if asked else NOT_ASKED
    }


def _marked_by_chance(results: Results) -> str:
    """Which differences between the placebo and plain training carry the mark of a direction."""
    rows = pd.concat([at_each_width(IMAGES, results), over_widths(IMAGES, results)])
    rows = decided(rows[(rows.method == PLACEBO) & (rows.against == "plain")])
    marked = rows_of(rows[rows.shown.isin([LOWER, HIGHER])])
    if rows.empty:
        return NOT_ASKED
    if not marked:
        return f"none of {len(rows)} is shown to be lower or higher"
    over = {"mean": "in the mean over the widths", "worst": "at the worst width"}
    which = listed(
        f"{row['shown']} {over.get(row['quantity']) or at([row['eval_bits']])} on"
        f" {the_models([row['model']])}"
        for row in marked
    )
    are = "are" if len(marked) > 1 else "is"
    count = f"{len(marked)} of {len(rows)} {are} shown to differ ({which})"
    return f"{count}; marks of this size are to be read with that in mind"


def _spread(results: Results) -> str:
    """The size of chance: the standard deviation of single pairs of the placebo and plain training."""
    pairs = at_each_width(IMAGES, results)
    lowest = min(widths_of(IMAGES.table(results)))
    rows = rows_of(pairs, eval_bits=lowest, method=PLACEBO, against="plain")
    spreads = ((row["model"], standard_error(row) * row["n"] ** 0.5) for row in rows)
    return on_models((model, number(spread, 2)) for model, spread in spreads) if rows else NOT_ASKED


def _of_networks(results: Results) -> dict[str, str | int]:
    """Which have few methods, how many intervals are wide, and what was exported at which cost."""
    table = results["vision"]
    full, tried = has_all_methods(table), results["vision_tuning"]
    loud = tried.method.map(lambda method: REGISTRY[method].loud)
    own = IMAGES.values(table[table.model.isin(full)])
    at_width = results["vision_kept"].set_index(["model", "eval_bits"]).margin.to_dict()
    places = zip(own.model, own.eval_bits, strict=True)
    margin = pd.Series([at_width.get(place, LOSS.margin) for place in places], own.index, float)
    wide = own.ci_high - own.ci_low > 2 * margin
    checked = table[(table.metric == "differing") & (table.scale_rule != "own")]
    sizes = table[(table.metric == "bytes") & table.model.isin(full)]
    by = sizes.groupby(["model", "eval_bits"], sort=False)["mean"]

    def takes(model):
        shown = {width(bits): span(by.get_group((model, bits))) for bits in widths_of(sizes)}
        widths = [f"{size} at {bits}" for bits, size in shown.items()]
        unrounded = f"{span(by.get_group((model, FLOAT)))} unrounded"
        return f"{the_models([model])} takes {listed([unrounded, *widths])}"

    return {
        "FewReplicates": table.n.min(),
        "LoudRates": listed(map(number, sorted({*tried[loud].learning_rate}))),
        "LoudReplicates": LOUD_REPLICATES,
        "Few": the_models(model for model in table.model.unique() if model not in full),
        "Wide": f"{wide.sum()} of {len(wide)}",
        "Rounded": checked.n.sum(),
        "Differing": (checked["mean"] * checked.n).sum(),
        "Gradients": table[table.metric == "gradients"]["mean"].max(),
        "Bytes": listed(map(takes, sizes.model.unique()), "; ", "; "),
        "BytesSpread": (by.max() - by.min()).max() if len(by) else 0,
    }


def few(results: Results) -> tuple[str, dict[str, str]]:
    """The few methods on the other networks, with the size of the weights."""
    norms = results["vision"][results["vision"].metric == "weight_norm"]
    said = {"Plain": "no_noise", "Published": "t0_qat", "Tuned": "t0_qat_tuned"}
    said = {
        key: on_models((row["model"], with_interval(row)) for row in rows_of(norms, method=method))
        for key, method in said.items()
    }
    return benchmark.few(IMAGES, results), macros("VisionFewNorm", said)


def convergence(results: Results) -> tuple[str, dict[str, str]]:
    """Plain training with twice the budget, minus plain training."""
    return benchmark.convergence(IMAGES, results), macros("Vision", converging(IMAGES, results))


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
    plain = rows_of(shares, method="no_noise", eval_bits=min(widths))
    said = on_models((row["model"], with_interval(times(row, 100))) for row in plain)
    return grouped(groups, header, "ll", leads=1), {"VisionAccuracyPlain": said}


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
    body = grouped(groups, header, "ll", leads=1, over=over)

    def plain(model):
        key = {"model": model, "method": "no_noise", "eval_bits": min(every)}
        shown = (IMAGES.interval(one(table, scale_rule=rule, **key)) for rule in ("absmax", "mse"))
        return "{} (absmax) and {} (MSE)".format(*shown)

    return body, {"VisionRulesPlain": on_models((model, plain(model)) for model in models)}
