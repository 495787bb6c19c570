"""Tables and macros of the language models: bits per character of held-out text, less is better."""

import json
import re
from functools import partial

import pandas as pd

from t0qat.exhibits import benchmark, standing, tuned
from t0qat.exhibits.benchmark import DECIMALS, PLAIN, PUBLISHED, Benchmark, Words, marked
from t0qat.exhibits.edges import choices
from t0qat.exhibits.labels import macros, name, width, widths_of
from t0qat.exhibits.phrases import phrases
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import CHANNELS, FLOAT, model_label
from t0qat.experiments.compare import Metric
from t0qat.pipeline.latex import Raw, escape, grouped
from t0qat.pipeline.words import NOTHING, number, plus_minus, span
from t0qat.training.language_models import GROUP, HEADS, LAYERS, WIDTH

# In words: the weights that are rounded, and those that share a step.
LAYOUTS = {
    CHANNELS: "per channel",
    "groups": f"per group of {GROUP}",
    "everything": "with embeddings and head",
}
ARM_AT = ["model", "layout", "method", "train_bits", "eval_bits", "scale_rule"]
SHOWN = 64  # characters of a sample
LIGATURES = "-<>,'`?!\""  # that fonts join with the next character, or bend
BITS = Metric("bits_per_character", less_is_better=True)
WORDS = Words(
    "need fewer bits",
    "need more bits",
    "need as many bits",
    "plain fine-tuning",
    "model",
    "per character",
)
MODELS = Benchmark("language", BITS, BITS, WORDS)
shown, keeps = partial(standing.shown, MODELS), partial(standing.keeps, MODELS)
size, scalings, rates = (partial(make, MODELS) for make in (tuned.size, tuned.scalings, tuned.rates))
replicas, few = partial(standing.replicas, MODELS), partial(benchmark.few, MODELS)
differences = partial(benchmark.differences, MODELS)
convergence = partial(benchmark.convergence, MODELS)


def language(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, each output channel with a step of its own."""
    said = {"Layers": LAYERS, "Width": WIDTH, "Heads": HEADS, "Group": GROUP}
    said |= {"Blocks": _blocks(results), "RatesSentence": _lowest_rate(results["language_tuning"])}
    said |= phrases(MODELS, results)
    return benchmark.main_table(MODELS, results), macros("Language", said)


def _blocks(results: Results) -> str:
    """How many times as wide an interval over blocks of text is as the one over seeds: `20 to 34`."""
    seeds, blocks = MODELS.table(results), results["language_blocks"]
    blocks = blocks[blocks.layout == CHANNELS]
    plain = {"method": "no_noise", "eval_bits": FLOAT}
    rows = rows_of(seeds, metric=BITS.name, **plain)
    pairs = ((row, one(blocks, model=row["model"], **plain)) for row in rows)
    sizes = ([row["ci_high"] - row["ci_low"] for row in pair] for pair in pairs)
    return span((block / seed for seed, block in sizes), lambda ratio: number(ratio, 2))


def _lowest_rate(tried: pd.DataFrame) -> str:
    """Whether the published scale would have fared better at a rate below all that were tried."""
    chosen = choices(tried[tried.method == PUBLISHED], "learning_rate")
    ends, count = int((chosen.end == "lowest").sum()), len(chosen)
    if chosen.empty:
        return "The published scale was not tuned in this run."
    if not ends:
        return "For the published scale, tuning chose a rate above the lowest on every model."
    where = "every model" if ends == count else f"{ends} of {count} models"
    return f"For the published scale, tuning chose the lowest rate on {where}."


def layouts(results: Results) -> tuple[str, dict[str, str]]:
    """A step an output channel, a step a group, and embeddings and head rounded too.

    Of models and methods that have more than one of these layouts, or of all where none has; marked by
    what is shown of them against plain fine-tuning in the same layout.
    """
    every, pairs = results["language"], results["language_paired"]
    more = every[every.layout != CHANNELS]
    if len(more):
        every = every[every.model.isin(more.model) & every.method.isin(more.method)]
    table = MODELS.values(every)
    widths, models = widths_of(table), table.model.unique()

    pairs = pairs[pairs.against == PLAIN].set_index(ARM_AT).sort_index()

    def cell(row):
        place = tuple(row[column] for column in ARM_AT)
        against = pairs.loc[[place]].to_dict("records") if place in pairs.index else []
        return marked(plus_minus(row, DECIMALS), against[0] if against else None)

    def rows(model, layout):
        here = table[(table.model == model) & (table.layout == layout)]
        for method, mine in here.groupby("method", sort=False):
            found = {row["eval_bits"]: cell(row) for row in rows_of(mine)}
            cells = [found.get(bits, NOTHING) for bits in (FLOAT, *widths)]
            cost = benchmark.gradients(every, model=model, layout=layout, method=method)
            yield [model_label(model), LAYOUTS[layout], name(method), cost, *cells]

    groups = [[row for layout in LAYOUTS for row in rows(model, layout)] for model in models]
    header = ["Model", "Steps", "Method", "Grad.", "Float", *map(width, widths)]
    return grouped(groups, header, "lll", leads=2), {}


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
    return grouped(groups, header, "lllrl", leads=2), {}


def quoted(text: str) -> str:
    """The first SHOWN characters in typewriter: white space as one blank, what is not ASCII as `?`.

    text: a JSON string.
    """
    text = re.sub(r"\s+", " ", json.loads(text)).strip()[:SHOWN]
    plain = (c if c.isascii() and c.isprintable() else "?" for c in text)
    shown = (escape(c) + "{}" * (c in LIGATURES) for c in plain)
    return Raw(rf"\texttt{{{''.join(shown)}}}") if text else NOTHING
