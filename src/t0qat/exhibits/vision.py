"""Tables and macros of the image networks: accuracies in percent, differences in points.

Accuracies are at the scale rule that validated best ("chosen") unless said otherwise. Every phrase lists
the networks of the run, whichever they are.
"""

from collections.abc import Iterable

import pandas as pd

from t0qat.arms import FEW, FLOAT, KEYS, NO_WIDTH
from t0qat.claims import ACCURACY_MARGIN, standard_error
from t0qat.compare import own_width
from t0qat.constants import XI
from t0qat.exhibits.words import (
    Results,
    Row,
    corrected_direction,
    one,
    plus_minus,
    rows_of,
    thousands,
    with_interval,
)
from t0qat.latex import escape, scientific, tabular
from t0qat.methods import HALF, REGISTRY

# Methods whose training forward adds noise, and those whose training rounds; all others do neither.
PLACEBO = "xi_alone"  # noise too, but too small to count as such
NOISE = ("standard_qat", "t0_qat", "t0_qat_tuned", "matched_noise", "diffq")
NOISE += ("two_point_noise", "two_point_noise" + HALF)
ROUNDS = ("ste", "lsq", "parq", "random_bits")
BY_RULE = ("no_noise", "t0_qat_tuned", "ste", "lsq", "random_bits")  # rows of the table of scale rules
UNDER_TEST = {"Published": "t0_qat", "Tuned": "t0_qat_tuned", "Placebo": PLACEBO}
AGAINST = {"Plain": "plain", "Random": "random_bits", "Best": "best_baseline"}
WORDS = {"larger than": "higher", "smaller than": "lower"}
NOTHING = "--"
WIDE = 0.05  # half-width of an interval that hints at trainings that failed
Rivals = dict[tuple[str, int], Row]  # method and its training bits -> that arm minus the reference


def listed(parts: Iterable[str], comma: str = ", ", last: str = " and ") -> str:
    """`a, b and c`; `--` where there is nothing."""
    parts = list(parts)
    return comma.join(parts[:-1]) + last * bool(parts[:-1]) + parts[-1] if parts else NOTHING


def network(model: str) -> str:
    """A model as the text names it: `small CNN`."""
    return escape(model.replace("_", " ").replace("cnn", "CNN").replace("mlp", "MLP"))


def name(method: str) -> str:
    """A method's label, without commas, for lists; rows with half the epochs say so."""
    label = escape(REGISTRY[method.removesuffix(HALF)].label.replace(",", ""))
    return f"{label} at matched compute" if method.endswith(HALF) else label


def width(bits: float) -> str:
    return f"INT{bits:.0f}"


def points(row: Row) -> Row:
    """Shares as percentages, differences as points; `mean` is the estimate where there is one."""
    mean = row["estimate"] if "estimate" in row else row["mean"]
    shown = {"mean": mean} | {key: row[key] for key in ("ci_low", "ci_high")}
    return {key: 100 * value for key, value in shown.items()}


def interval(row: Row) -> str:
    return with_interval(points(row))


def cell(rows: list[Row]) -> str:
    """The one row as mean and half-width, or `--`."""
    return plus_minus(points(rows[0])) if rows else NOTHING


def has_all_methods(table: pd.DataFrame) -> list[str]:
    """Networks on which more than the few methods were run, in order."""
    return [model for model, rows in table.groupby("model", sort=False) if {*rows.method} - {*FEW}]


def widths_of(table: pd.DataFrame) -> list[int]:
    return sorted({*table.eval_bits} - {FLOAT}, reverse=True)


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """At the chosen rule and before rounding, of arms without a width or at their own."""
    rows = table[(table.metric == "accuracy") & table.scale_rule.isin(["chosen", "none"])]
    return rows[own_width(rows)]


def reference(rivals: Rivals) -> tuple[str, int]:
    """The arm that is not under test and validated best there."""
    row = rivals["t0_qat", NO_WIDTH]
    return row["other"], row["other_bits"]


def near(arm: tuple[str, int], rivals: Rivals) -> bool:
    """Whether an arm is the reference, or not detectably less accurate than it."""
    row = rivals.get(arm)
    return arm == reference(rivals) or row["p_holm"] >= 0.05 or row["estimate"] >= 0


def columns(results: Results, model: str) -> dict[str, tuple[dict[str, Row], Rivals]]:
    """Header -> (method -> its row, the arms there against the reference), as the main table shows them.

    Of methods that train for a width, the any-precision columns hold the width of the highest mean.
    """
    rows, scores = accuracies(results["vision"]), results["vision_any"]
    rows, scores = rows[rows.model == model], scores[scores.model == model]
    shown = {"Float": (rows, "vision_paired", {"eval_bits": FLOAT, "scale_rule": "none"})}
    for bits in widths_of(rows):
        shown[width(bits)] = rows, "vision_paired", {"eval_bits": bits, "scale_rule": "chosen"}
    for quantity in ("mean", "worst"):
        place = {"scale_rule": "chosen", "quantity": quantity}
        shown[quantity.capitalize()] = scores, "vision_any_paired", place
    found = {}
    for header, (table, file, place) in shown.items():
        here = sorted(rows_of(table, **place), key=lambda row: row["mean"])
        pairs = rows_of(results[file], model=model, against="best_baseline", **place)
        rivals = {(row["method"], row["train_bits"]): row for row in pairs}
        found[header] = {row["method"]: row for row in here}, rivals
    return found


def _marked(row: Row, column: dict[str, Row], rivals: Rivals) -> str:
    arm = row["method"], row["train_bits"]
    shown = plus_minus(points(row))
    if row["mean"] == max(other["mean"] for other in column.values()):
        mean, half = shown.split(" ", 1)
        shown = rf"$\mathbf{{{mean[1:]}}} {half}"
    if "quantity" in row and row["train_bits"] != NO_WIDTH:
        shown = f"({row['train_bits']}) {shown}"
    mark = r"\star" if arm == reference(rivals) else r"\circ" * near(arm, rivals)
    return shown + rf"\rlap{{$^{{{mark}}}$}}" * bool(mark)


def vision(results: Results) -> tuple[str, dict[str, str]]:
    """What to use at which bit-width, on the networks with all methods."""
    table = results["vision"]
    header, rows, breaks = ["Float"], [], []
    for model in has_all_methods(table):
        shown = columns(results, model)
        header = list(shown)
        breaks.append(len(rows))
        rows.append([rf"\emph{{{network(model)}}}", *[""] * len(header)])
        for method in table[table.model == model].method.unique():
            cells = [
                _marked(column[method], column, rivals) if method in column else NOTHING
                for column, rivals in shown.values()
            ]
            label = name(method.removesuffix(HALF)) + " (half)" * method.endswith(HALF)
            rows.append([label, *cells])
    body = tabular(rows, ["Method", *header], "@{}l" + "r" * len(header) + r"@{\enspace}", breaks[1:])
    macros = _size(results) | _ranking(results) | _kept(results) | _noise(results) | _costs(table)
    return body, {f"Vision{key}": value for key, value in macros.items()}


def _size(results: Results) -> dict[str, str]:
    """How much was run, and how finely the pairs see."""
    table, tried = results["vision"], results["vision_tuning"]
    arms = table.drop_duplicates(KEYS)
    full, here = has_all_methods(table), results["vision_paired"]
    seen = 100 * here[(here.scale_rule == "chosen") & (here.detectable > 0)].detectable
    own = accuracies(table[table.model.isin(full)])
    wide = own.ci_high - own.ci_low > 2 * WIDE
    checked = table[table.metric == "differing"]
    checked = checked[checked.scale_rule != "chosen"]

    def at_an_end(setting):
        """How many arms chose the least or the greatest of more than two values."""
        values = tried.groupby(KEYS)[setting].agg(["min", "max", "nunique"]).reset_index()
        ends = tried[tried.chosen == 1].merge(values[values["nunique"] > 2])
        return (
            f"{((ends[setting] == ends['min']) | (ends[setting] == ends['max'])).sum()} of {len(ends)}"
        )

    return {
        "Replicates": count(table.n.iloc[0]),
        "Arms": str(len(arms)),
        "Networks": count(arms.n.sum()),
        "TuningReplicates": count(tried.n.iloc[0]),
        "Candidates": listed(map(str, sorted({*tried.groupby(KEYS).size()}))),
        "TuningNetworks": count(tried.n.sum()),
        "EdgeRate": at_an_end("learning_rate"),
        "EdgeStrength": at_an_end("strength"),
        "Full": listed(f"the {network(model)}" for model in full),
        "Few": listed(f"the {network(m)}" for m in table.model.unique() if m not in full),
        "Methods": str(table.method.str.removesuffix(HALF).nunique()),
        "Widths": listed(map(width, widths_of(table))),
        "Lowest": width(min(widths_of(table))),
        "Comparisons": count(sum(len(results[f"vision_{k}"]) for k in ("paired", "any_paired"))),
        "DetectableLeast": scientific(seen.min()),
        "DetectableMost": scientific(seen.max()),
        "Wide": f"{wide.sum()} of {len(wide)}",
        "Rounded": count(checked.n.sum()),
        "Differing": count((checked["mean"] * checked.n).sum()),
    }


def count(n: float) -> str:
    return thousands(n).replace(",", r"\,")


def on_networks(models: Iterable[str], show) -> str:
    """`<show(model)> on the small CNN, and <...> on the deep CNN`."""
    return listed((f"{show(model)} on the {network(model)}" for model in models), "; ", "; and ")


def grouped(models: Iterable[str], show) -> str:
    """The same, with the networks of equal words together: `lower on the small CNN and the deep CNN`."""
    words = {}
    for model in models:
        words.setdefault(show(model), []).append(f"the {network(model)}")
    return listed(f"{word} on {listed(where)}" for word, where in words.items())


def _ranking(results: Results) -> dict[str, str]:
    """The highest means, the references, and how many are not detectably less accurate."""
    models = has_all_methods(results["vision"])
    shown = {model: columns(results, model) for model in models}

    def at_widths(show) -> str:
        def on(model):
            at = {key: c for key, c in shown[model].items() if key.startswith("INT")}
            return listed(f"{show(*column)} at {key}" for key, column in at.items())

        return on_networks(models, on)

    def highest(column, rivals) -> str:
        top = max(row["mean"] for row in column.values())
        best = [row for row in column.values() if row["mean"] == top]
        return listed(f"{name(row['method'])} ({interval(row)})" for row in best)

    def among(methods) -> str:
        """How many of these methods' cells at a width are near the reference."""
        found = [
            near((method, row["train_bits"]), rivals)
            for each in shown.values()
            for key, (column, rivals) in each.items()
            if key.startswith("INT")
            for method, row in column.items()
            if method in methods
        ]
        return f"{sum(found)} of {len(found)}"

    everything = {*results["vision"].method}
    return {
        "Best": at_widths(highest),
        "Reference": at_widths(lambda column, rivals: name(reference(rivals)[0])),
        "Near": among(everything),
        "NearNoise": among(NOISE),
        "NearRounds": among(ROUNDS),
        "NearOthers": among(everything - {*NOISE, *ROUNDS, PLACEBO}),
    }


def _kept(results: Results) -> dict[str, str]:
    """Who stays within the margin of plain training that is not rounded, by uncorrected intervals."""
    rows = results["vision_kept"]
    rows = rows[(rows.scale_rule == "chosen") & own_width(rows)]
    rows = rows.assign(keeps=rows.ci_low > -ACCURACY_MARGIN)
    models = has_all_methods(results["vision"])

    def keepers(model, bits):
        here = rows[(rows.model == model) & (rows.eval_bits == bits)]
        found = here[here.keeps].method
        if 0 < len(found) <= 3:
            return f"{listed(map(name, found))} at {width(bits)}"
        return f"{len(found) or 'none'} of {len(here)} at {width(bits)}"

    def widths(method):
        def on(model):
            mine = rows[(rows.model == model) & (rows.method == method) & rows.keeps]
            return f"at {listed(map(width, mine.eval_bits))}" if len(mine) else "at no width"

        return grouped(models, on)

    low = [bits for bits in widths_of(rows) if bits < 8]
    return {
        "Margin": f"{100 * ACCURACY_MARGIN:g}",
        "Kept": on_networks(models, lambda model: listed(keepers(model, bits) for bits in low)),
        "KeptPublished": widths("t0_qat"),
        "KeptTuned": widths("t0_qat_tuned"),
        "KeptPlain": widths("no_noise"),
    }


def _noise(results: Results) -> dict[str, str]:
    """The tuned scale, what the placebo shows of chance, and one training for every width."""
    table, pairs, scores = (results[key] for key in ("vision", "vision_paired", "vision_any"))
    models = has_all_methods(table)
    tried = results["vision_tuning"]
    tried = tried[tried.method == "t0_qat_tuned"]
    chosen = tried[tried.chosen == 1].set_index("model").strength

    def spread(model):
        def at(rule):
            row = one(pairs, model=model, eval_bits=min(widths_of(table)), scale_rule=rule,
                      method=PLACEBO, against="plain")  # fmt: skip
            return f"{100 * standard_error(row) * row['n'] ** 0.5:.2g}"

        return f"{at('absmax')} (absmax) and {at('mse')} (MSE)"

    def decided(sign):
        rows = pairs[(pairs.method == "t0_qat_tuned") & (pairs.against == "plain")]
        rows = rows[(rows.scale_rule == "chosen") & (rows.p_holm < 0.05) & (sign * rows.estimate > 0)]

        def on(model):
            found = rows[rows.model == model].eval_bits
            return f"at {listed(map(width, found))}" if len(found) else "at no width"

        return grouped(models, on)

    def highest(which):
        rows = scores[(scores.scale_rule == "chosen") & which]

        def on(model):
            here = rows_of(rows, model=model, quantity="mean")
            if not here:
                return NOTHING
            best = max(here, key=lambda row: row["mean"])
            worst = one(rows, quantity="worst", **{key: best[key] for key in KEYS})
            fixed = best["train_bits"] != NO_WIDTH
            trained = f" trained for {width(best['train_bits'])}" * fixed
            return f"{name(best['method'])}{trained} with {interval(best)} ({interval(worst)})"

        return on_networks(models, on)

    free = scores.train_bits == NO_WIDTH
    noise = scores.method.isin(NOISE)
    return {
        "ScalingsTried": listed(f"{value:g}" for value in sorted({*tried.strength})),
        "Scalings": grouped(chosen.index, lambda model: f"{chosen[model]:g}"),
        "Sigmas": grouped(chosen.index, lambda model: f"{XI * chosen[model]:.2g}"),
        "PlaceboSpread": on_networks(models, spread),
        "Gains": decided(1),
        "Losses": decided(-1),
        "AnyNoise": highest(free & noise),
        "AnyOthers": highest(free & ~noise & (scores.method != PLACEBO)),
        "AnyFixed": highest(~free),
    }


def _costs(table: pd.DataFrame) -> dict[str, str]:
    """Gradient evaluations of a training, and bytes of an exported network."""
    gradients = table[table.metric == "gradients"].groupby("method", sort=False)["mean"].max()
    usual = gradients.mode().max()
    more = gradients[gradients != usual].groupby(gradients).groups.items()
    sizes = table[(table.metric == "bytes") & table.model.isin(has_all_methods(table))]
    by = sizes.groupby(["model", "eval_bits"], sort=False)["mean"].agg(["min", "max"])

    def on(model):
        def size(bits):
            low, high = by.loc[model, bits]
            return count(low) if low == high else f"{count(low)} to {count(high)}"

        widths = [f"{size(bits)} at {width(bits)}" for bits in widths_of(sizes)]
        return f"the {network(model)} takes {listed([f'{size(FLOAT)} unrounded', *widths])}"

    return {
        "Gradients": count(usual),
        "GradientsOthers": listed(f"{count(n)} for {listed(map(name, some))}" for n, some in more),
        "Bytes": listed(map(on, sizes.model.unique()), "; ", "; "),
        "BytesSpread": count((by["max"] - by["min"]).max() if len(by) else 0),
    }


def differences(results: Results) -> tuple[str, dict[str, str]]:
    """T0-QAT as published, tuned and at scaling 1, against three others, over the bit-widths."""
    pairs = results["vision_any_paired"]
    pairs = pairs[pairs.scale_rule == "chosen"]
    models = has_all_methods(results["vision"])

    def against(rival: str, **which) -> list[str]:
        (row,) = rows_of(pairs, against=rival, **which) or [None]
        if row is None:
            return [NOTHING] * (3 if rival == "best_baseline" else 2)
        star = r"\rlap{$^{\ast}$}" * (row["p_holm"] < 0.05)
        cells = [cell([row]) + star, scientific(100 * row["detectable"])]
        trained = f" ({width(row['other_bits'])})" * (row["other_bits"] != NO_WIDTH)
        return cells + [name(row["other"]) + trained] * (rival == "best_baseline")

    rows, breaks = [], []
    for model in models:
        breaks.append(len(rows))
        for method in UNDER_TEST.values():
            for quantity in ("mean", "worst"):
                lead = [network(model) if len(rows) == breaks[-1] else ""]
                lead += [name(method) if quantity == "mean" else "", quantity]
                which = {"model": model, "method": method, "quantity": quantity}
                rows.append(lead + [c for rival in AGAINST.values() for c in against(rival, **which)])
    header = ["Network", "Method", "", "Minus plain", "seen", "Minus random bits", "seen"]
    header += ["Minus best other", "seen", "which is"]
    body = tabular(rows, header, "@{}lllrrrrrrl@{}", breaks[1:])

    def word(method, rival):
        def on(model):
            rows = rows_of(pairs, model=model, method=method, against=rival, quantity="mean")
            if not rows:
                return NOTHING
            said = corrected_direction(rows[0])
            return WORDS.get(said, "not detectably different")

        return grouped(models, on)

    macros = {
        f"VisionDifferences{arm}{other}": word(method, rival)
        for arm, method in UNDER_TEST.items()
        for other, rival in AGAINST.items()
    }
    return body, macros


def few(results: Results) -> tuple[str, dict[str, str]]:
    """The few methods on the other networks, with the size of the weights."""
    table = results["vision"]
    full, rows_shown = has_all_methods(table), accuracies(table)
    widths = widths_of(table)
    norms = table[table.metric == "weight_norm"]
    rows, breaks = [], []
    models = [model for model in table.model.unique() if model not in full]
    for model in models:
        breaks.append(len(rows))
        for method in table[table.model == model].method.unique():
            mine = norms[(norms.model == model) & (norms.method == method)]
            low, high = mine.loc[mine["mean"].idxmin()], mine.loc[mine["mean"].idxmax()]
            size = plus_minus(low)
            if len(mine) > 1:
                size = f"{low['mean']:.3g} to {high['mean']:.3g}"
            cells = [
                cell(rows_of(rows_shown, model=model, method=method, eval_bits=bits))
                for bits in (FLOAT, *widths)
            ]
            lead = network(model) if len(rows) == breaks[-1] else ""
            rows.append([lead, name(method), size, *cells])
    header = ["Network", "Method", "Weight norm", "Full precision", *map(width, widths)]
    body = tabular(rows, header, "@{}ll" + "r" * (2 + len(widths)) + "@{}", breaks[1:])

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
    labels = {"absmax": "absmax", "mse": "MSE", "learned": "learned"}
    rows, breaks = [], []
    for rule, label in labels.items():
        breaks.append(len(rows))
        for method in BY_RULE:
            cells = [
                cell(rows_of(table, model=model, method=method, eval_bits=bits, scale_rule=rule))
                for model in models
                for bits in widths
            ]
            if {*cells} != {NOTHING}:
                rows.append([label if len(rows) == breaks[-1] else "", name(method), *cells])
    header = ["Step", "Method", *[width(bits) for _ in models for bits in widths]]
    over = [rf"\multicolumn{{{len(widths)}}}{{c}}{{{network(model)}}}" for model in models]
    header[0] = " & ".join(["", "", *over]) + r" \\" + "\n" + header[0]
    body = tabular(rows, header, "@{}ll" + "r" * len(models) * len(widths) + "@{}", breaks[1:])

    def plain(model):
        key = {"model": model, "method": "no_noise", "eval_bits": min(every)}
        shown = (interval(one(table, scale_rule=rule, **key)) for rule in ("absmax", "mse"))
        return "{} (absmax) and {} (MSE)".format(*shown)

    return body, {"VisionRulesPlain": on_networks(models, plain)}
