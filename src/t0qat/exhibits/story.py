"""What a reader sees first: what was claimed, what we found, what to use, and how sure that is.

Sentences are whole and chosen by the data; README, start page, PDF and notebooks show the same ones.
"""

import pandas as pd

from t0qat.exhibits import answers, recommendation, theory, verdicts
from t0qat.exhibits.benchmark import DECIMALS
from t0qat.exhibits.labels import inside, listed, macros, the_models, width
from t0qat.exhibits.recommendation import PLAIN_ON, TASKS, called, lower_on
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments.arms import model_label
from t0qat.experiments.recommendation import ONE_FOR_ALL, RECOMMENDED
from t0qat.pipeline import decision
from t0qat.pipeline.decision import CONTRADICTED, NO_EFFECT, SUPPORTED, UNDECIDED
from t0qat.pipeline.latex import tabular
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, percent, thousands, times, with_interval
from t0qat.training.constants import REPORTED_REDUCTION

USE_HEADER = ["Task", "Weights", "Use", "Because", "One training for all widths"]
# By the verdicts on C1, C2 and C5 as published; whatever decides nothing is undecided.
DROP = {
    SUPPORTED: "quantization noise costs T0-QAT less than the paper's baseline",
    CONTRADICTED: "quantization noise costs T0-QAT more than the paper's baseline",
    NO_EFFECT: "quantization noise costs T0-QAT as much as the paper's baseline",
    UNDECIDED: "it is open whether quantization noise costs T0-QAT less than the paper's baseline",
}
LOSS = {
    SUPPORTED: "T0-QAT ends with the smaller loss",
    CONTRADICTED: "T0-QAT ends with the larger loss",
    NO_EFFECT: "both end with the same loss",
    UNDECIDED: "it is open which of them ends with the smaller loss",
}
ADDS = "evaluation noise adds the same expected loss to every model of the paper's task"
WHY = {
    SUPPORTED: f"In theory {ADDS}; our runs show less for T0-QAT, which this does not explain.",
    CONTRADICTED: f"In theory {ADDS}; our runs show more for T0-QAT, which this does not explain.",
    NO_EFFECT: f"The published advantage is chance, as {ADDS}.",
    UNDECIDED: f"In theory {ADDS}; our runs are too few to confirm it.",
}
LOUD = "The constant xi only sets how loud the noise is"
XI = {
    SUPPORTED: f"{LOUD}, but neither half nor twice that noise does as well.",
    CONTRADICTED: f"{LOUD}; on the paper's task, noise of another size ends with a smaller loss.",
    NO_EFFECT: f"{LOUD}, and half or twice that noise does as well.",
    UNDECIDED: f"{LOUD}; whether another size does better is open.",
}
CHANGE = "More seeds, larger networks, other data or rounded activations could change the answer."


def claimed() -> str:
    """What the paper under study claims."""
    return (
        "The paper claims that training under Gaussian weight noise, its scale set by a constant, xi,"
        " makes networks lose less when quantized:"
        f" {percent(REPORTED_REDUCTION)} % less in its one table."
    )


def found(results: Results) -> str:
    """Whether the claim is true as published, and how many verdicts say so; from `verdicts`."""
    drop, loss = _published(results, "C1"), _published(results, "C2")
    return f"{_answer({drop, loss})}: as published, {DROP[drop]}, and {LOSS[loss]}. {_counted(results)}"


def _published(results: Results, claim: str) -> str:
    """The kind of its verdict as published."""
    table = results["verdicts"].set_index("id")
    kind = verdicts.kind_of(table.as_published.get(claim, ""))
    return kind if kind in (SUPPORTED, CONTRADICTED, NO_EFFECT) else UNDECIDED


def _answer(kinds: set[str]) -> str:
    if kinds == {SUPPORTED}:
        return "Yes"
    if kinds & {CONTRADICTED, NO_EFFECT}:
        return "In part" if SUPPORTED in kinds else "No"
    return "Not decided"


def _counted(results: Results) -> str:
    """How many verdicts are supported, and how many contradicted."""
    counts = verdicts.counts(results)
    every, many = sum(counts.values()), {word: counts[word] for word in (SUPPORTED, CONTRADICTED)}
    for word, n in many.items():
        if n == every:
            return f"All {thousands(n)} verdicts on its claims are {word}."
    said = [f"{thousands(n) if n else 'none'} {'are' if n > 1 else 'is'} {w}" for w, n in many.items()]
    if many[SUPPORTED] == 1:
        said[0] += f" ({_supported(results)})"
    part = "hold in part, " * (counts[verdicts.IN_PART] > 0)
    rest = f"the others {part}show no effect or stay open" * (sum(many.values()) < every)
    return f"Of {thousands(every)} verdicts on its claims, {listed(said)}{'; ' * bool(rest)}{rest}."


def _supported(results: Results) -> str:
    """The id of the first claim that a verdict supports."""
    rows, columns = rows_of(results["verdicts"]), verdicts.columns()
    return next(row["id"] for row in rows if SUPPORTED in (row[name] for name in columns))


def why(results: Results) -> str:
    """Why the published number was as it was; from `verdicts` and `theory_training`."""
    return f"{_why_chance(results)} {theory.stopped_early(results['theory_training'])}"


def _why_chance(results: Results) -> str:
    return WHY[_published(results, "C1")]


def xi(results: Results) -> str:
    """What xi does; from `verdicts`."""
    return XI[_published(results, "C5")]


def sure(results: Results) -> str:
    """How the verdicts were tested, and what would change the answer; from `verdicts`."""
    n = verdicts.counts(results)[UNDECIDED]
    tested = f"The chance that even one decided verdict is wrong is held to {100 * ERROR_RATE:g} %"
    left = f"{thousands(n) if n else 'none'} {'are' if n > 1 else 'is'} undecided"
    return f"{tested}; {left}. {CHANGE}"


def use(results: Results) -> str:
    """What to use, one sentence a family of tasks; from `recommendation`."""
    return answers.answer("recommendation", results.__getitem__)


def one(results: Results) -> str:
    """What to use where one training must serve every width; from `recommendation`."""
    chosen = _one_for_all(results["recommendation"])
    where = listed(f"{method} on {TASKS[family].lower()}" for family, method in chosen.items())
    return f"With one training for all widths, use {where}."


def _one_for_all(table: pd.DataFrame) -> dict[str, str]:
    """By family."""
    return {row["family"]: called(row) for row in rows_of(table, pick=ONE_FOR_ALL, quantity="loss")}


def held(results: Results) -> str:
    """Whether the recommendation held where nothing was chosen; from `recommendation_transfer`."""
    table = results["recommendation_transfer"]
    return recommendation.held("the recommendation", table[table.pick == RECOMMENDED])


def verdict_cells(results: Results) -> list[list[str]]:
    """Of each claim: its words, and one or two words for each column."""
    return [
        [f"{row['id']}: {row['claim']}", *(_short(row[name]) for name in verdicts.columns())]
        for row in rows_of(results["verdicts"])
    ]


def _short(verdict: str) -> str:
    """A verdict without its reasons."""
    for word in (decision.UNTESTABLE, decision.UNMEASURED):
        if verdict.startswith(word):
            return " ".join(word.split()[:2])
    return verdict or NOTHING


def use_cells(results: Results) -> list[list[str]]:
    """What to use, as cells below USE_HEADER: one row a family and width."""
    table, arms, rows = results["recommendation"], results["recommendation_arms"], []
    every = _one_for_all(table)
    for family, mine in table[table.pick == RECOMMENDED].groupby("family", sort=False):
        lead = TASKS[family]
        for bits, here in mine.groupby("eval_bits", sort=False):
            tried = arms[(arms.family == family) & (arms.eval_bits == bits)]
            because = _because(here, tried, f"rounded {PLAIN_ON[family]}")
            rows.append([lead, width(bits), _used(here), because, every[family]])
            lead = ""
    return rows


def _used(here: pd.DataFrame) -> str:
    """A pick by its name, after plain training where neither is shown to lose less."""
    rows, first = rows_of(here, quantity="minus_plain"), rows_of(here)[0]
    use = called(first).removesuffix(" (rounded to nearest)")
    if rows and all(row["ci_low"] <= 0 <= row["ci_high"] for row in rows):
        return f"{PLAIN_ON[first['family']].capitalize()} or {inside(use)}"
    return use[:1].upper() + use[1:]


def _because(here: pd.DataFrame, arms: pd.DataFrame, plain: str) -> str:
    """Why a pick is used at a width. arms: what else was tried there."""
    near = (arms.behind <= arms.margin).sum()
    as_good = f"{near} of {len(arms)} methods as good in tuning" if near > 1 else "least loss in tuning"
    rows, lower = rows_of(here, quantity="minus_plain"), lower_on(here)
    unrounded = here[here.quantity == "minus_unrounded"]
    kept = len(unrounded) and (unrounded.ci_high < unrounded.margin).all()
    higher = [row["model"] for row in rows if row["ci_low"] > 0]
    if higher:
        return f"least loss in tuning, but more than {plain} on {the_models(higher)}"
    if rows and len(lower) == len(rows):
        shown = [(with_interval(times(row, -1), DECIMALS), row["model"]) for row in rows]
        by = [text if len(rows) == 1 else f"{text} ({model_label(model)})" for text, model in shown]
        return f"loses less than {plain}, by {listed(by)}"
    if lower:
        return f"loses less than {plain} on {the_models(lower)}, not shown to differ elsewhere"
    if kept:
        return f"keeps the loss of unrounded weights; {as_good}"
    return f"not shown to differ from {plain}; {as_good}" if rows else as_good


def claims_verdicts(results: Results) -> tuple[str, dict[str, str]]:
    """One row a claim and a word or two a verdict, and the sentences that rest on verdicts."""
    header = ["Claim", *map(str.capitalize, verdicts.columns().values())]
    said = {
        "Found": found(results),
        "Why": _why_chance(results),
        "Xi": xi(results),
        "Sure": sure(results),
    }
    return tabular(verdict_cells(results), header, _wide(0.6, 0.14, 0.23)), macros("Claims", said)


def recommendation_short(results: Results) -> tuple[str, dict[str, str]]:
    """What to use and why in a few rows, and the same in sentences."""
    body = tabular(use_cells(results), USE_HEADER, _wide(0.13, 0.06, 0.19, 0.44, 0.11))
    return body, macros("Recommendation", {"OneSentence": one(results)})


def _wide(*shares: float) -> str:
    """Columns of these shares of the line, broken at their ends."""
    return "@{}" + "".join(verdicts.wide(*shares)) + "@{}"
