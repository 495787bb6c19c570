"""Which method at which width: what the stored results say of a network, a width and some methods.

Networks, widths and methods are those of the results files, each read at its method's own scale rule and
at the width that it trains for, with a step for each output channel. The differences are of test seeds;
the recommendation is of tuning seeds, and the sentences keep the two apart.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from t0qat.exhibits.benchmark import HIGHER, LOWER, UNDECIDED, UNDER_TEST, WITHIN, Benchmark, by_interval
from t0qat.exhibits.deviations import BEYOND, CHANCE, DRAWN, MARGINS, at_chance
from t0qat.exhibits.labels import listed, network_label, width, widths_of
from t0qat.exhibits.labels import name as without_commas
from t0qat.exhibits.language import MODELS
from t0qat.exhibits.rows import Results, rows_of
from t0qat.exhibits.vision import IMAGES
from t0qat.experiments.arms import model_label
from t0qat.experiments.compare import OWN, own_width
from t0qat.experiments.recommendation import FAMILIES, PLAIN, RECOMMENDED
from t0qat.pipeline import notebooks, places, results
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.words import Row, with_interval
from t0qat.training import views
from t0qat.training.methods import REGISTRY

BENCHMARKS = (IMAGES, MODELS)
FILES = [*(b.file + ending for b in BENCHMARKS for ending in ("", "_paired")), "recommendation"]
USUAL = (*UNDER_TEST, "ste", "random_bits")  # shown first, beside plain and what is recommended
PLAIN_LABEL = "Plain training"
DECIMALS = 3
UNITS = {"loss": "nats of test loss", "bits_per_character": "bits per character of test text"}

NOTHING_PICKED = "No method is picked: pick at least one."
ALL_AT_CHANCE = "Every method picked is at chance even before rounding: there is nothing to compare."
LEAST = "Of the methods picked, {method} lies lowest at {bits} on the {model}: {value} {unit}."
ALONE = "Only {method} is picked: at {bits} on the {model} it has {value} {unit}."
TIED = "Exactly as low: {methods}."
# What a difference from plain training is, by its whole interval, uncorrected.
ITSELF = "itself"
LOWER_WITHIN, HIGHER_WITHIN = f"{LOWER} {WITHIN}", f"{HIGHER} {WITHIN}"
SAME, SMALL = "plain training rounded the same way", "but by less than the margin"
FOUND = "the difference is {difference} in {n} pairs of test seeds."
AGAINST = {
    ITSELF: "That is what every difference in the picture is measured from.",
    LOWER: f"That is lower than {SAME}: {FOUND}",
    LOWER_WITHIN: f"That is lower than {SAME}, {SMALL}: {FOUND}",
    WITHIN: f"That counts as equal to {SAME}, for it stays within the margin: {FOUND}",
    UNDECIDED: f"It is not shown to differ from {SAME}: {FOUND}",
    HIGHER_WITHIN: f"That is higher than {SAME}, {SMALL}: {FOUND}",
    HIGHER: f"That is higher than {SAME}: {FOUND}",
}
CAUTION = (
    "Being lowest is no recommendation: of many methods the lowest may be lucky, and the intervals are"
    " not corrected for that."
)
# Which networks chose what is recommended at a width.
JUDGED, ELSEWHERE, NOWHERE = "judged", "elsewhere", "nowhere"
ADVICE = {
    JUDGED: "Recommended at {bits} is {method}: it lost least on the tuning seeds, which the picture"
    " does not show, in the mean over the networks judged.",
    ELSEWHERE: "Recommended at {bits} is {method}, by the tuning seeds of other networks: this one had"
    " no part in the choice.",
    NOWHERE: "Nothing is recommended at {bits}: no network of this kind was judged there.",
}
NOT_PICKED = "It is not among the methods picked."
NOT_RUN = "It was not run on this network."
LEFT_OUT = "At chance even before rounding, and therefore not drawn: {methods}."


class ChoiceError(ValueError):
    """Results that are missing, or a choice that they do not hold, in one line."""


class Advice(NamedTuple):
    """What the tuning seeds recommend at a width."""

    where: str  # JUDGED, ELSEWHERE, or NOWHERE, and then there is no method
    method: str = ""


def load(paper: Paper, home: Path = places.ROOT) -> Results:
    """The results files by name. ChoiceError: one is missing; ResultsError: one is malformed."""
    for file in FILES:
        if not (home / "paper" / "results" / f"{file}.csv").is_file():
            makes = next(n.name for n in notebooks.load(paper) if _leaves(paper, n.experiment, file))
            raise ChoiceError(f"paper/results/{file}.csv is missing; notebook {makes} makes it")
    return {file: results.read(paper, file, home) for file in FILES}


def networks(found: Results) -> dict[str, Benchmark]:
    """Every network with its benchmark; first those with all methods, on which most can be seen."""
    every = {model: b for b in BENCHMARKS for model in b.table(found).model.unique()}
    full = {model for b in BENCHMARKS for model in b.models(found)}
    return {model: every[model] for model in sorted(every, key=lambda model: model not in full)}


def network_word(found: Results, network: str) -> str:
    """`Small GPT-2 (text)`."""
    shown = model_label(network)
    return f"{shown[:1].upper()}{shown[1:]} ({_family(_benchmark(found, network))})"


def widths(found: Results, network: str) -> list[int]:
    """Bit-widths that the network's weights are rounded to, the widest first. Raises ChoiceError."""
    table = _benchmark(found, network).table(found)
    return widths_of(table[table.model == network])


def methods(found: Results, network: str, bits: int) -> list[str]:
    """Those with a result there: plain training first, the others by family. Raises ChoiceError."""
    if bits not in (known := widths(found, network)):
        raise ChoiceError(f"bits = {bits!r}: allowed are {', '.join(map(str, known))}")
    mine = [*_scores(found, network, bits).index]
    order = [*views.FAMILIES]
    return sorted(mine, key=lambda name: (name != PLAIN, order.index(REGISTRY[name].family)))


def label(method: str) -> str:
    return PLAIN_LABEL if method == PLAIN else network_label(method)


def usual(found: Results, network: str, bits: int) -> list[str]:
    """What is shown before a reader picks: plain training, what is recommended, and a few others."""
    first = PLAIN, advice(found, network, bits).method, *USUAL
    known = methods(found, network, bits)
    return [method for method in dict.fromkeys(first) if method in known]


def advice(found: Results, network: str, bits: int) -> Advice:
    """What the tuning seeds recommend there, and whether this network was among those judged."""
    mine = {"family": _family(_benchmark(found, network)), "pick": RECOMMENDED, "eval_bits": bits}
    told = rows_of(found["recommendation"], **mine)
    if not told:
        return Advice(NOWHERE)
    judged = network in {row["model"] for row in told}
    return Advice(JUDGED if judged else ELSEWHERE, told[0]["method"])


def rows(found: Results, network: str, bits: int, picked: Sequence[str]) -> pd.DataFrame:
    """One row a picked method, in that order; raises ChoiceError for what the results do not hold.

    Columns: label; train_bits (0: for no width in particular); loss, loss_low, loss_high (nats, or bits
    per character); difference, difference_low, difference_high: from plain training rounded the same
    way, paired, with 95 % intervals, below zero is better; n, the pairs (a loss may be of more seeds);
    margin; gradients, evaluations of one training; place: DRAWN, BEYOND or CHANCE, as
    exhibits.deviations has them; recommended.
    """
    known = methods(found, network, bits)
    for method in picked:
        if method not in known:
            raise ChoiceError(f"method = {method!r}: allowed are {', '.join(known)}")
    b, scores = _benchmark(found, network), _scores(found, network, bits)
    pairs, lost = _pairs(b, found, network, bits), at_chance(b, found)
    margin = pairs.margin.iloc[0] if len(pairs) else b.metric.margin
    chance = {*zip(lost.model, lost.method, lost.train_bits, strict=True)}
    best, cost = advice(found, network, bits).method, _cost(b, found, network)

    def row(method: str) -> Row:
        mine = scores.loc[method]
        none = {"estimate": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": mine.n}
        pair = none if method == PLAIN else pairs.loc[method]
        far = BEYOND if abs(pair["estimate"]) > MARGINS * margin else DRAWN
        at_chance_there = (network, method, mine.train_bits) in chance
        return {
            "method": method, "label": label(method), "train_bits": int(mine.train_bits),
            "loss": mine["mean"], "loss_low": mine.ci_low, "loss_high": mine.ci_high,
            "difference": pair["estimate"], "difference_low": pair["ci_low"],
            "difference_high": pair["ci_high"], "n": int(pair["n"]), "margin": margin,
            "gradients": int(cost[method, mine.train_bits]),
            "place": CHANCE if at_chance_there else far, "recommended": method == best,
        }  # fmt: skip

    ends = ("", "_low", "_high")
    columns = ["label", "train_bits", *(what + end for what in ("loss", "difference") for end in ends)]
    columns += ["n", "margin", "gradients", "place", "recommended"]
    table = pd.DataFrame([row(method) for method in dict.fromkeys(picked)], columns=["method", *columns])
    return table.set_index("method")


def shown(row: pd.Series) -> str:
    """What the difference of a row, as of `rows`, is shown to be: a key of AGAINST."""
    if row.name == PLAIN:
        return ITSELF
    way, within = by_interval(row.difference_low, row.difference_high, row.margin)
    return f"{way} {WITHIN}".strip() if within else way or UNDECIDED


def sentence(found: Results, network: str, bits: int, table: pd.DataFrame) -> str:
    """Which picked method lies lowest and whether that is shown; after a blank line what is recommended.

    table: as `rows` gives it.
    """
    here = found, network, bits
    left = [word(method) for method in table.index[table.place == CHANCE]]
    first = _of_least(*here, table) + ([LEFT_OUT.format(methods=listed(left))] if left else [])
    second = _of_advice(*here, table.index) + ([CAUTION] if len(table) > 1 else [])
    return "\n\n".join(map(" ".join, (first, second)))


def word(method: str) -> str:
    """A method as it stands within a sentence."""
    return PLAIN_LABEL.lower() if method == PLAIN else without_commas(method)


def unit(found: Results, network: str) -> str:
    """What the losses are counted in: `nats of test loss`."""
    return UNITS[_benchmark(found, network).metric.name]


def loss_word(row: pd.Series) -> str:
    """`0.101 [0.085, 0.118]`."""
    return _interval(row, "loss")


def _of_least(found: Results, network: str, bits: int, table: pd.DataFrame) -> list[str]:
    learned = table[table.place != CHANCE]
    if learned.empty:
        return [NOTHING_PICKED if table.empty else ALL_AT_CHANCE]
    # By the paired difference, for losses may be of different seeds.
    method, *tied = learned.index[learned.difference == learned.difference.min()]
    least = learned.loc[method]
    frame = ALONE if len(table) == 1 else LEAST
    place = {"bits": width(bits), "model": model_label(network), "unit": unit(found, network)}
    first = frame.format(method=word(method), value=loss_word(least), **place)
    against = AGAINST[shown(least)].format(difference=_interval(least, "difference"), n=least.n)
    also = [TIED.format(methods=listed(map(word, tied)))] if tied else []
    return [first, *also, against]


def _of_advice(found: Results, network: str, bits: int, picked: Sequence[str]) -> list[str]:
    told = advice(found, network, bits)
    if told.where == NOWHERE:
        return [ADVICE[NOWHERE].format(bits=width(bits))]
    first = ADVICE[told.where].format(bits=width(bits), method=word(told.method))
    if told.method in picked:
        return [first]
    run = told.method in methods(found, network, bits)
    return [first, NOT_PICKED if run else NOT_RUN]


def _interval(row: pd.Series, what: str) -> str:
    ends = {"mean": row[what], "ci_low": row[f"{what}_low"], "ci_high": row[f"{what}_high"]}
    return with_interval(ends, DECIMALS)


def _leaves(paper: Paper, experiment: str, file: str) -> bool:
    return file in paper.experiments[experiment].results


def _benchmark(found: Results, network: str) -> Benchmark:
    for b in BENCHMARKS:
        if network in b.table(found).model.array:
            return b
    raise ChoiceError(f"network = {network!r}: allowed are {', '.join(networks(found))}")


def _family(b: Benchmark) -> str:
    return next(name for name, family in FAMILIES.items() if family.file == b.file)


def _scores(found: Results, network: str, bits: int) -> pd.DataFrame:
    """The benchmark's metric on test seeds there, by method."""
    b = _benchmark(found, network)
    table = b.values(b.table(found))
    return table[(table.model == network) & (table.eval_bits == bits)].set_index("method")


def _pairs(b: Benchmark, found: Results, network: str, bits: int) -> pd.DataFrame:
    """The differences from plain training there, by method."""
    table = b.table(found, "_paired")
    here = (table.model == network) & (table.eval_bits == bits) & (table.scale_rule == OWN)
    return table[here & (table.against == "plain") & own_width(table)].set_index("method")


def _cost(b: Benchmark, found: Results, network: str) -> dict[tuple[str, int], float]:
    """(method, train_bits) -> gradient evaluations of one training."""
    table = b.table(found)
    mine = table[(table.model == network) & (table.metric == "gradients")]
    return mine.set_index(["method", "train_bits"])["mean"].to_dict()
