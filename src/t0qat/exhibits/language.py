"""Tables and macros of the language models: bits per character of held-out text, less is better."""

import functools
import json
import re

import pandas as pd

from t0qat.exhibits import benchmark, phrases
from t0qat.exhibits.benchmark import Benchmark, name, network, on_networks, together, width, widths_of
from t0qat.exhibits.cells import NOTHING, count
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.exhibits.words import corrected_direction, listed
from t0qat.experiments.arms import CHANNELS, FLOAT
from t0qat.experiments.compare import Metric
from t0qat.pipeline.latex import escape, grouped, scientific
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
MODELS = Benchmark("language", BITS, 1, benchmark.models)
differences = functools.partial(benchmark.differences, MODELS)


def language(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, each output channel with a step of its own."""
    macros = {"Layers": str(LAYERS), "Width": str(WIDTH), "Heads": str(HEADS)}
    macros |= _text(results) | _rates(results["language_tuning"])
    for words in (phrases.size, phrases.ranking, phrases.keeping, phrases.noise):
        macros |= words(MODELS, results)
    return benchmark.main_table(MODELS, results), {f"Language{key}": v for key, v in macros.items()}


def _text(results: Results) -> dict[str, str]:
    """How much text there was, and how the score differs over starts and over blocks of it."""
    (text,) = rows_of(results["language_text"])
    models = results["language"].model.unique()
    blocks = results["language_blocks"][results["language_blocks"].layout == CHANNELS]
    plain = {"method": "no_noise", "eval_bits": FLOAT}

    def both(model):
        over_seeds = one(MODELS.table(results), model=model, metric=BITS.name, **plain)
        over_blocks = one(blocks, model=model, **plain)
        return f"{MODELS.interval(over_seeds)} over seeds and {MODELS.interval(over_blocks)} over blocks"

    return {
        "Characters": count(text["characters"]),
        "Hash": escape(text["sha256"][:12]),
        "Blocks": count(blocks.n.iloc[0]),
        "Spread": on_networks(models, both),
    }


def _rates(tried: pd.DataFrame) -> dict[str, str]:
    """How the score in tuning depends on the learning rate, without a strength to tune."""

    def rows(model, method):
        return sorted(rows_of(tried, model=model, method=method), key=lambda row: row["learning_rate"])

    def scores(method):
        def on(model):
            first, *_, last = [*rows(model, method)] * 2
            return (
                f"{first['mean']:.3g} at {scientific(first['learning_rate'], 3)}"
                f" and {last['mean']:.3g} at {scientific(last['learning_rate'], 3)}"
            )

        return on_networks(tried.model.unique(), on)

    def chosen(model):
        order = rows(model, "t0_qat")
        (place,) = [i for i, row in enumerate(order) if row["chosen"]]
        if len(order) == 1:
            return "the only rate"
        return {0: "the lowest rate", len(order) - 1: "the highest rate"}.get(place, "a rate in between")

    def same_rate(model):
        """The tuned scale against plain fine-tuning where that was tried with the rate of its choice."""
        found = [row for row in rows(model, "t0_qat_tuned") if row["chosen"]]
        pairs = [
            f"{row['mean']:.3f} against {plain['mean']:.3f} at {scientific(row['learning_rate'], 3)}"
            for row in found
            for plain in rows(model, "no_noise")
            if plain["learning_rate"] == row["learning_rate"]
        ]
        return listed(pairs)

    return {
        "SameRate": on_networks(tried.model.unique(), same_rate),
        "PublishedRates": scores("t0_qat"),
        "PlainRates": scores("no_noise"),
        "PublishedChosen": together(tried.model.unique(), chosen),
    }


def layouts(results: Results) -> tuple[str, dict[str, str]]:
    """A step an output channel, a step a group, and embeddings and head rounded too."""
    table, pairs = MODELS.values(results["language"]), results["language_paired"]
    widths, models = widths_of(table), table.model.unique()

    def rows(model, layout):
        here = table[(table.model == model) & (table.layout == layout)]
        for method in here.method.unique():
            cells = [MODELS.cell(here, method=method, eval_bits=bits) for bits in (FLOAT, *widths)]
            yield [network(model), LAYOUTS[layout], name(method), *cells]

    groups = [[row for layout in LAYOUTS for row in rows(model, layout)] for model in models]
    header = ["Model", "Steps", "Method", "Float", *map(width, widths)]
    body = grouped(groups, header, "lll", leads=2)

    def plain(model):
        rows = rows_of(table, model=model, method="no_noise", eval_bits=min(widths))
        return listed(f"{MODELS.interval(row)} {LAYOUTS[row['layout']]}" for row in rows)

    rounded_too = table[table.layout == "everything"].method.unique()
    macros = {
        "Group": str(GROUP),
        "Everything": listed(map(name, rounded_too)) or "no method",
        "Plain": on_networks(models, plain),
        "Pairs": _against_plain(pairs[pairs.layout != CHANNELS]),
    }
    return body, {f"LanguageLayouts{key}": value for key, value in macros.items()}


def _against_plain(pairs: pd.DataFrame) -> str:
    """In how many pairs each method is told apart from plain fine-tuning, after correction."""
    rows = pairs[(pairs.eval_bits != FLOAT) & (pairs.against == "plain") & (pairs.scale_rule == "own")]
    shown, never = [], []
    for method, mine in rows.groupby("method", sort=False):
        found = [corrected_direction(row) for row in rows_of(mine)]
        lower, higher = found.count("smaller than"), found.count("larger than")
        if lower or higher:
            shown.append(f"{name(method)} lower in {lower} and higher in {higher} of {len(found)}")
        else:
            never.append(name(method))
    shown += [f"neither for {listed(never)}"] * bool(never)
    return "; ".join(shown) or "nothing to compare"


def samples(results: Results) -> tuple[str, dict[str, str]]:
    """What models write, beside their bits per character on text that they did not see."""
    scores = MODELS.table(results)
    scores = scores[(scores.metric == BITS.name) & scores.scale_rule.isin(["mse", "none"])]
    written = results["language_samples"]

    def row(sample):
        bits = sample["eval_bits"]
        key = {key: sample[key] for key in ("model", "method", "train_bits", "eval_bits")}
        lead = [network(sample["model"]), name(sample["method"])]
        lead += ["float" if bits == FLOAT else width(bits)]
        return [*lead, MODELS.cell(scores, **key), quoted(sample["text"])]

    groups = [[*map(row, rows_of(mine))] for _, mine in written.groupby("model", sort=False)]
    header = ["Model", "Method", "Weights", "Bits", "What it writes"]
    macros = {"LanguageSamplesMethods": listed(map(name, written.method.unique()))}
    return grouped(groups, header, "lllrl", leads=2), macros


def quoted(text: str) -> str:
    """The first SHOWN characters in typewriter: white space as one blank, what is not ASCII as `?`.

    text: a JSON string.
    """
    text = re.sub(r"\s+", " ", json.loads(text)).strip()[:SHOWN]
    plain = (c if c.isascii() and c.isprintable() else "?" for c in text)
    shown = (escape(c) + "{}" * (c in LIGATURES) for c in plain)
    return rf"\texttt{{{''.join(shown)}}}" if text else NOTHING
