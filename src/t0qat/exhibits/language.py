"""Tables and macros of the language models: bits per character of held-out text, less is better."""

import functools
import json
import re

import pandas as pd

from t0qat.exhibits import benchmark
from t0qat.exhibits.benchmark import Benchmark
from t0qat.exhibits.labels import listed, macros, name, on_models, the_models, together, width, widths_of
from t0qat.exhibits.phrases import converging, phrases
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import CHANNELS, FLOAT, model_label
from t0qat.experiments.compare import Metric
from t0qat.pipeline.latex import Raw, escape, grouped
from t0qat.pipeline.words import NOTHING, number
from t0qat.training.language_models import GROUP, HEADS, LAYERS, WIDTH

# In words: the weights that are rounded, and those that share a step.
LAYOUTS = {
    CHANNELS: "per channel",
    "groups": f"per group of {GROUP}",
    "everything": "with embeddings and head",
}
SHOWN = 64  # characters of a sample
LIGATURES = "-<>,'`?!\""  # that fonts join with the next character, or bend
BITS = Metric("bits_per_character", less_is_better=True)
MODELS = Benchmark("language", BITS, learned=BITS)
differences = functools.partial(benchmark.differences, MODELS)


def language(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, each output channel with a step of its own."""
    said = {"Layers": LAYERS, "Width": WIDTH, "Heads": HEADS}
    said |= phrases(MODELS, results) | _text(results) | _rates(results["language_tuning"])
    return benchmark.main_table(MODELS, results), macros("Language", said)


def _text(results: Results) -> dict[str, str]:
    """Which text there was, and how the score differs over starts and over blocks of it."""
    table, blocks = MODELS.table(results), results["language_blocks"]
    blocks = blocks[blocks.layout == CHANNELS]
    plain = {"method": "no_noise", "eval_bits": FLOAT}

    def both(seeds):
        over_blocks = one(blocks, model=seeds["model"], **plain)
        return f"{MODELS.interval(seeds)} over seeds and {MODELS.interval(over_blocks)} over blocks"

    rows = rows_of(table, metric=BITS.name, **plain)
    return {
        "Hash": results["language_text"].sha256[0][:12],
        "Spread": on_models((row["model"], both(row)) for row in rows),
    }


def _rates(tried: pd.DataFrame) -> dict[str, str]:
    """How the score in tuning depends on the learning rate, without a strength to tune."""
    models, tried = tried.model.unique(), tried.sort_values("learning_rate", kind="stable")

    def rows(model, method, **keys):
        return rows_of(tried, model=model, method=method, **keys)

    def at_rate(score, row):
        return f"{score} at {number(row['learning_rate'])}"

    def ends(model, method):
        found = rows(model, method)
        shown = (at_rate(f"{row['mean']:.3g}", row) for row in found[:1] + found[-1:])
        return listed(dict.fromkeys(shown))  # one rate once

    def chosen(model):
        order = [row["chosen"] for row in rows(model, "t0_qat")]
        named = {0: "the lowest rate", len(order) - 1: "the highest rate"}
        named |= {0: "the only rate"} if len(order) == 1 else {}
        return named.get(order.index(1), "a rate in between") if order else NOTHING

    def same_rate(model):
        """The tuned scale against plain fine-tuning where that was tried with the rate of its choice."""
        return listed(
            at_rate(f"{row['mean']:.3f} against {plain['mean']:.3f}", row)
            for row in rows(model, "t0_qat_tuned", chosen=1)
            for plain in rows(model, "no_noise", learning_rate=row["learning_rate"])
        )

    return {
        "SameRate": on_models((model, same_rate(model)) for model in models),
        "PublishedRates": on_models((model, ends(model, "t0_qat")) for model in models),
        "PlainRates": on_models((model, ends(model, "no_noise")) for model in models),
        "PublishedChosen": together((model, chosen(model)) for model in models),
    }


def few(results: Results) -> tuple[str, dict[str, str]]:
    """The few methods on the other models, with the size of the weights."""
    table = MODELS.table(results)
    others = [model for model in table.model.unique() if model not in MODELS.models(results)]
    return benchmark.few(MODELS, results), {"LanguageFew": the_models(others)}


def convergence(results: Results) -> tuple[str, dict[str, str]]:
    """Plain training with twice the budget, minus plain training."""
    return benchmark.convergence(MODELS, results), macros("Language", converging(MODELS, results))


def layouts(results: Results) -> tuple[str, dict[str, str]]:
    """A step an output channel, a step a group, and embeddings and head rounded too.

    Of models and methods that have more than one of these layouts, or of all where none has.
    """
    every, pairs = results["language"], results["language_paired"]
    more = every[every.layout != CHANNELS]
    if len(more):
        every = every[every.model.isin(more.model) & every.method.isin(more.method)]
    table = MODELS.values(every)
    widths, models = widths_of(table), table.model.unique()

    def rows(model, layout):
        here = table[(table.model == model) & (table.layout == layout)]
        for method in here.method.unique():
            cells = [MODELS.cell(here, method=method, eval_bits=bits) for bits in (FLOAT, *widths)]
            cost = benchmark.gradients(every, model=model, layout=layout, method=method)
            yield [model_label(model), LAYOUTS[layout], name(method), cost, *cells]

    groups = [[row for layout in LAYOUTS for row in rows(model, layout)] for model in models]
    header = ["Model", "Steps", "Method", "Grad.", "Float", *map(width, widths)]

    def plain(model):
        rows = rows_of(table, model=model, method="no_noise", eval_bits=min(widths))
        return listed(f"{MODELS.interval(row)} {LAYOUTS[row['layout']]}" for row in rows)

    rounded_too = table[table.layout == "everything"].method.unique()
    said = {
        "Group": GROUP,
        "Everything": listed(map(name, rounded_too)) if len(rounded_too) else "no method",
        "Plain": on_models((model, plain(model)) for model in models),
        "Pairs": _against_plain(pairs[pairs.layout != CHANNELS]),
    }
    return grouped(groups, header, "lll", leads=2), macros("LanguageLayouts", said)


def _against_plain(pairs: pd.DataFrame) -> str:
    """What is shown of each method's pairs with plain fine-tuning."""
    rows = pairs[(pairs.eval_bits != FLOAT) & (pairs.against == "plain") & (pairs.scale_rule == "own")]
    by_method = benchmark.decided(rows).groupby("method", sort=False)
    shown = [f"{name(method)} {benchmark.tally(mine)}" for method, mine in by_method]
    return "; ".join(shown) or "nothing to compare"


def samples(results: Results) -> tuple[str, dict[str, str]]:
    """What models write, beside their bits per character on text that they did not see."""
    scores, written = MODELS.table(results), results["language_samples"]
    scores = scores[(scores.metric == BITS.name) & scores.scale_rule.isin(["mse", "none"])]

    def row(sample):
        key = {key: sample[key] for key in ("model", "method", "train_bits", "eval_bits")}
        lead = [model_label(sample["model"]), name(sample["method"]), width(sample["eval_bits"])]
        return [*lead, MODELS.cell(scores, **key), quoted(sample["text"])]

    groups = [[*map(row, rows_of(mine))] for _, mine in written.groupby("model", sort=False)]
    header = ["Model", "Method", "Weights", "Bits", "What it writes"]
    said = {"LanguageSamplesMethods": listed(map(name, written.method.unique()))}
    return grouped(groups, header, "lllrl", leads=2), said


def quoted(text: str) -> str:
    """The first SHOWN characters in typewriter: white space as one blank, what is not ASCII as `?`.

    text: a JSON string.
    """
    text = re.sub(r"\s+", " ", json.loads(text)).strip()[:SHOWN]
    plain = (c if c.isascii() and c.isprintable() else "?" for c in text)
    shown = (escape(c) + "{}" * (c in LIGATURES) for c in plain)
    return Raw(rf"\texttt{{{''.join(shown)}}}") if text else NOTHING
