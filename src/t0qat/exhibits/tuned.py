"""Tables of what was run and tuned: counts, the chosen scaling, and the score by learning rate."""

import pandas as pd
from scipy import stats

from t0qat.exhibits.benchmark import PUBLISHED, TUNED, UNDER_TEST, Benchmark
from t0qat.exhibits.edges import at_an_edge, at_an_open_edge, choices, chosen_end
from t0qat.exhibits.labels import name
from t0qat.exhibits.rows import Results, rows_of
from t0qat.experiments import tuning
from t0qat.experiments.arms import KEYS, model_label
from t0qat.pipeline.latex import Raw, grouped, tabular, tex
from t0qat.pipeline.statistics import discovery_level
from t0qat.pipeline.words import NOTHING, number, plus_minus, span, thousands
from t0qat.training.constants import XI

PLAIN = "no_noise"


def size(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """How much was run and tuned, how finely the pairs see, and how often a range was too narrow."""
    table, tried, pairs = b.table(results), b.table(results, "_tuning"), results[b.file + "_paired"]
    arms = table.drop_duplicates(KEYS)
    each = tried.groupby(KEYS, sort=False).agg(
        candidates=("n", "size"), most=("n", "max"), whole=("n", "sum"), short=("short", "count")
    )
    each["spent"] = each.whole + tuning.SHORT * each.short
    full = each[each.spent > each.spent.max() / 2]  # those of loud noise get far less
    own = b.table(results, "_paired")
    seen = own[(own.scale_rule == "own") & (own.detectable > 0)].detectable
    threshold = stats.t.isf(discovery_level(pairs.p_bh) / 2, pairs.n.max() - 1)
    rows = [
        ("Arms", thousands(len(arms))),
        ("Candidates of an arm", span(full.candidates)),
        ("Whole trainings that an arm's tuning costs", span(full.spent.round())),
        ("Seeds of an arm's last candidates", span(full.most)),
        ("Networks trained in tuning", thousands(tried.n.sum())),
        ("Short trainings in tuning", thousands(tried.short.count())),
        ("Seeds of an arm in the test", span(arms.n)),
        ("Networks trained for the test", thousands(arms.n.sum())),
        ("Standard errors from which a difference at one width is shown", number(threshold, 2)),
        ("Difference at one width that is seen with 90 % power", span(seen, lambda d: number(d, 2))),
    ]

    def opened(setting):
        return at_an_open_edge(tried, setting, b.metric.margin)

    for setting, said in (("learning_rate", "learning rates"), ("strength", "strengths")):
        rows += [
            (f"Arms that chose an end of their {said}", at_an_edge(tried, setting)),
            ("likewise, where going inside costs more than the margin", opened(setting)),
        ]
    return tabular([[*row] for row in rows], ["What was run", ""], "lr"), {}


def scalings(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """The scaling that tuning chose on each network, and the size of the weights with and without it."""
    tried = b.table(results, "_tuning")
    tried = tried[tried.method == TUNED]
    norms = b.table(results)
    norms = norms[norms.metric == "weight_norm"]

    def line(row):
        values = sorted({*tried[tried.model == row["model"]].strength})
        sizes = (rows_of(norms, model=row["model"], method=m) for m in (PLAIN, TUNED, PUBLISHED))
        scaling, noise = f"{row['strength']:g}", number(XI * row["strength"], 2)
        lead = [model_label(row["model"]), ", ".join(f"{value:g}" for value in values), scaling]
        return [
            *lead,
            chosen_end(row),
            noise,
            *(plus_minus(norm[0]) if norm else NOTHING for norm in sizes),
        ]

    rows = map(line, rows_of(choices(tried, "strength")))
    header = ["Network", "Tried", "Chosen", "which is", "As σ"]
    header += [f"Norm, {name(method)}" for method in (PLAIN, TUNED, PUBLISHED)]
    return tabular(rows, header, "llrlrrrr"), {}


def rates(b: Benchmark, results: Results) -> tuple[str, dict[str, str]]:
    """The score in tuning by learning rate: T0-QAT, and plain training, at the strength that was chosen.

    In parentheses that of a short training, where no whole one was made; in bold what was chosen.
    """
    tried = b.table(results, "_tuning")
    columns = sorted({*tried.learning_rate})

    def cell(row):
        whole = not pd.isna(row["mean"])
        shown = tex(f"{row['mean']:.3f}" if whole else f"({row['short']:.3f})")
        return Raw(rf"\textbf{{{shown}}}" if row["chosen"] else shown)

    def line(model, method):
        mine = tried[(tried.model == model) & (tried.method == method)]
        strength = mine[mine.chosen == 1].strength.iloc[0]
        mine = mine[(mine.strength == strength) | pd.isna(strength)]
        at = {row["learning_rate"]: cell(row) for row in rows_of(mine)}
        return [model_label(model), name(method), *(at.get(rate, NOTHING) for rate in columns)]

    groups = [
        [line(model, method) for method in (*UNDER_TEST, PLAIN) if method in {*mine.method}]
        for model, mine in tried.groupby("model", sort=False)
    ]
    return grouped(groups, ["Network", "Method", *map(number, columns)], "ll", leads=1), {}
