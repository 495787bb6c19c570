"""What is said of a benchmark: its settings, and whole sentences that its numbers choose.

Values are at the scale rule that each method fixes ("own").
"""

import pandas as pd

from t0qat.exhibits.benchmark import (
    HIGHER,
    LONG,
    LOWER,
    OPEN,
    PLACEBO,
    PLAIN,
    PUBLISHED,
    SHORT,
    TUNED,
    WITHIN,
    Benchmark,
    at_each_width,
    decided,
    direction,
    enough,
    has_all_methods,
    is_reference,
    longer,
    over_widths,
)
from t0qat.exhibits.deviations import MARGINS, undrawn
from t0qat.exhibits.edges import choices
from t0qat.exhibits.labels import name, the_models, width, widths_of
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments import tuning
from t0qat.experiments.arms import FLOAT, NO_WIDTH
from t0qat.experiments.compare import own_width
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import number, percent, span

Said = dict[str, str | int]
FEW = 3  # methods that a sentence names, at most


def phrases(b: Benchmark, results: Results) -> Said:
    """The settings, and all sentences."""
    return settings(b, results) | {
        f"{key}Sentence": say(b, results)
        for key, say in {
            "Published": published,
            "Tuned": tuned,
            "Low": lowest,
            "Scaling": scaling,
            "Budget": budget,
            "Figure": figure,
            "Undrawn": left_out,
        }.items()
    }


def settings(b: Benchmark, results: Results) -> Said:
    """How much was run, where a sentence needs it."""
    table, tried = b.table(results), b.table(results, "_tuning")
    models = has_all_methods(table)
    few = table[~table.model.isin(models)]
    return {
        "Replicates": table.n.max(),
        "Methods": table.method.nunique(),
        "FewMethods": few.method.nunique(),
        "Full": the_models(models),
        "Few": the_models(few.model.unique()),
        "Trained": between(sorted({*table.train_bits} - {NO_WIDTH}, reverse=True)),
        "Rates": span({*tried.learning_rate}, number),
        "TuningMany": tuning.FACTOR * tuning.LAST,
        "TuningShort": percent(tuning.SHORT),
        "Comparisons": len(results[b.file + "_paired"]) + len(results[b.file + "_any_paired"]),
        "ErrorRate": f"{100 * ERROR_RATE:g}",
        "Margin": f"{b.metric.margin:g}",
        "Axis": MARGINS,
    }


def between(widths: list[int]) -> str:
    """`INT8 to INT2`: the first and the last."""
    return " to ".join(dict.fromkeys(map(width, (*widths[:1], *widths[-1:]))))


def judged(b: Benchmark, rows: pd.DataFrame, subject: str, by: str = "") -> str:
    """What is shown of paired differences from plain training, of one row a network, in a sentence.

    subject: its first words. by: words on the size, said where the loss is lower on every network.
    """
    if rows.empty:
        return f"{subject} was not compared with {b.words.plain} in this run."
    return f"{subject} is shown {_judgement(b, decided(rows), by)}."


def _judgement(b: Benchmark, rows: pd.DataFrame, by: str) -> str:
    """`to lose less than plain training on every network with all methods`. rows: as decided."""
    less, more, same, plain, network, _ = b.words
    less_than, more_than, as_much = (
        f"to {less} than {plain}",
        f"to {more} than {plain}",
        f"to {same} as {plain}",
    )
    lower, higher, within = ((rows.shown == word).sum() for word in (LOWER, HIGHER, WITHIN))
    count, every = len(rows), f"on every {network} with all methods"
    of = f"of {count} {network}s with all methods"
    ways = {direction(row) for row in rows_of(rows)}
    if lower == count:
        return f"{less_than} {every}{by}"
    if higher == count:
        return f"{more_than} {every}"
    if within == count and ways == {LOWER}:
        return f"{less_than} {every}, but within the margin"
    if within == count and ways == {HIGHER}:
        return f"{more_than} {every}, but within the margin"
    if within == count:
        return f"{as_much}, up to the margin, {every}"
    if lower and higher:
        return f"{less_than} on some {network}s with all methods, and to {more} on others"
    if lower:
        return f"{less_than} on {lower} {of}"
    if higher:
        return f"{more_than} on {higher} {of}"
    if within:
        return f"{as_much}, up to the margin, on {within} {of}"
    return f"neither {less_than} nor to {more}, on any {network} with all methods"


def _over(b: Benchmark, results: Results, method: str) -> pd.DataFrame:
    pairs = over_widths(b, results)
    return pairs[(pairs.method == method) & (pairs.against == PLAIN) & (pairs.quantity == "mean")]


def published(b: Benchmark, results: Results) -> str:
    """T0-QAT as published against plain training, in mean over the widths."""
    return judged(
        b, _over(b, results, PUBLISHED), "After rounding, averaged over widths, published T0-QAT"
    )


def tuned(b: Benchmark, results: Results) -> str:
    """The same with a tuned scale."""
    return judged(b, _over(b, results, TUNED), "After rounding, averaged over widths, tuned T0-QAT")


def placebo(b: Benchmark, results: Results) -> str:
    """The same at a scaling of one: what ξ does where no scale is tuned."""
    subject = "After rounding, averaged over widths, T0-QAT with ξ alone"
    return judged(b, _over(b, results, PLACEBO), subject)


def lowest(b: Benchmark, results: Results) -> str:
    """The reference at the lowest width against plain training there."""
    pairs = at_each_width(b, results)
    bits = min(widths_of(b.table(results)))
    pairs = pairs[(pairs.eval_bits == bits) & own_width(pairs)]
    chosen = pairs[is_reference(pairs, pairs, ["model", "eval_bits"])]
    arms = chosen.drop_duplicates("model")
    itself = int((arms.method == "no_noise").sum())
    if itself:
        where = f"{itself} of {len(arms)} {b.words.network}s with all methods"
        return f"At {width(bits)}, {b.words.plain} itself lost least in tuning on {where}."
    rows = chosen[chosen.against == PLAIN]
    own = len(rows) > 0 and (rows.train_bits == bits).all()
    how = "training for that width, chosen in tuning," if own else "the method of least loss in tuning"
    size = span(rows.estimate.abs(), lambda size: number(size, 2))
    return judged(b, rows, f"At {width(bits)}, {how}", f", by {size} {b.words.unit}")


def scaling(b: Benchmark, results: Results) -> str:
    """Whether the tuned scaling lies inside the values that were tried."""
    tried = b.table(results, "_tuning")
    chosen = choices(tried[tried.method == TUNED], "strength")
    ends, network = int((chosen.end != "").sum()), b.words.network
    if chosen.empty:
        return "No scaling was tuned in this run."
    if not ends:
        return f"The tuned scaling lies inside the values that were tried on every {network}."
    count = "every" if ends == len(chosen) else f"{ends} of {len(chosen)}"
    network += "s" * (count != "every")
    return f"On {count} {network}, tuning chose an end of the scalings that it tried."


def budget(b: Benchmark, results: Results) -> str:
    """Whether the budget is long enough, by plain training with twice of it."""
    rows = longer(b, results)
    found = [enough(row) for row in rows_of(rows)]
    if not found:
        return "This run does not ask whether the budget is long enough."
    network = b.words.network
    of = f"of {len(found)} comparisons of {network} and width"
    if SHORT in found:
        said = f"too short in {found.count(SHORT)} {of}"
    elif OPEN in found:
        said = f"nowhere too short, and the question is open in {found.count(OPEN)} {of}"
    else:
        said = f"{LONG} on every {network} at every width"
    return f"By {b.words.plain} with twice of it, the budget is {said}."


def figure(b: Benchmark, results: Results) -> str:
    """At which widths anything is shown to lose less than plain training."""
    pairs = at_each_width(b, results)
    pairs = decided(pairs[(pairs.against == PLAIN) & own_width(pairs) & (pairs.eval_bits != FLOAT)])
    lower, least = pairs[pairs.shown == LOWER], width(min(widths_of(b.table(results))))
    than = f"{b.words.less} than {b.words.plain}"
    if lower.empty:
        return f"No method is shown to {than}, rounded the same way, at any width."
    widths = lower.eval_bits.value_counts()
    if {*map(width, widths.index)} == {least}:
        return f"Methods are shown to {than} at {least}, and at no wider width."
    if width(widths.idxmax()) == least and (widths == widths.max()).sum() == 1:
        return f"Methods are shown to {than} at more than one width, most often at {least}."
    return f"Methods are shown to {than}, and not first of all at {least}."


def left_out(b: Benchmark, results: Results) -> str:
    """Which arms the figure does not draw."""
    rows = undrawn(b, results)
    methods = [*dict.fromkeys(map(name, rows.method))]
    if not methods:
        return "Every arm is drawn."
    why = "not above the bar of what counts as learned"
    if len(methods) <= FEW:
        return f"Not drawn, since before rounding they are {why}: {', '.join(methods)}."
    return f"The figure leaves out {len(methods)} methods that before rounding are {why}."
