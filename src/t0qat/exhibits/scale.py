"""Tables and sentences of the scale of the noise and of the constants."""

from t0qat.exhibits.labels import QUANTITY_LABELS, dataset_label, macros, starred
from t0qat.exhibits.rows import Results, one, rows_of, tally
from t0qat.pipeline import decision
from t0qat.pipeline.latex import Raw, grouped, spanning, tabular
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import (
    NOTHING,
    Row,
    number,
    percent,
    plus_minus,
    span,
    times,
    with_interval,
)
from t0qat.training.constants import XI, XI_SCALING

PLACES = [  # (scaling in scale_neighbours, xi_scaling, name in the table)
    ("", 0.0, "none"),
    ("xi_alone", 1.0, "ξ alone"),
    ("published", XI_SCALING, "ξ as published"),
]
ARM_LABELS = {
    "plain": "No noise",
    "xi_alone": "ξ, scaling 1",
    "published": "ξ as published",
    "tuned": "Tuned",
    "matched": "Grid's own",
    "standard_qat": "Standard QAT",
}


def scale(results: Results) -> tuple[str, dict[str, str]]:
    """What each way to set the noise leaves unexplained."""
    arms, pairs = results["scale_arms"], results["scale_tuning"]

    def minus(arm: str, other: str, dataset: str, quantity: str = "unexplained") -> str:
        """One arm minus another, in whichever order the file has the pair."""
        mine = pairs[(pairs.dataset == dataset) & (pairs.quantity == quantity)]
        for first, second, sign in ((arm, other, 1), (other, arm, -1)):
            for row in rows_of(mine, arm=first, other_arm=second):
                return plus_minus(times(row, sign))
        return NOTHING

    def row(dataset, arm):
        scaling = one(arms, dataset=dataset, arm=arm, quantity="log_scaling")
        noises = [XI * (10 ** scaling[key] - 1) for key in ("q025", "median", "q975")]
        shown = [number(noise, 2) for noise in noises]
        return [
            dataset_label(dataset),
            ARM_LABELS[arm],
            " / ".join(shown) if noises[0] < noises[-1] else shown[1],
            plus_minus(one(arms, dataset=dataset, arm=arm, quantity="unexplained")),
            minus(arm, "plain", dataset),
            minus(arm, "tuned", dataset),
            minus(arm, "standard_qat", dataset, "drop"),
        ]

    groups = [[row(dataset, arm) for arm in ARM_LABELS] for dataset in arms.dataset.unique()]
    header = ["Data", "Training noise", "Its SD", "Left unexplained", "Minus no noise", "Minus tuned"]
    return grouped(groups, [*header, "Drop minus Standard QAT"], "ll", leads=1), {}


def sweep(results: Results) -> tuple[str, dict[str, str]]:
    """The loss at three scalings, beside the least one and beside those at half and twice of it."""
    every, excess, beside = (results[f"scale{end}"] for end in ("", "_excess", "_neighbours"))
    rows = []
    for name, scaling, label in PLACES:
        explained = one(every, xi_scaling=scaling, quantity="explained_full_precision")
        near = [
            starred(row)
            for factor in (0.5, 2.0)
            for row in rows_of(beside, scaling=name, factor=factor, quantity="quantized")
        ]
        cells = [label, number(scaling, 6), percent(explained["mean"]) + " %"]
        cells.append(starred(one(excess, xi_scaling=scaling, quantity="quantized")))
        rows.append([*cells, *(near or 2 * [NOTHING])])
    header = ["Noise", "Scaling", "Explained", "Minus the least", "Minus at half", "Minus at twice"]
    published = {
        factor: one(beside, scaling="published", factor=factor, quantity="quantized")
        for factor in (0.5, 2.0)
    }
    return tabular(rows, header), macros("Scale", {"NeighbourSentence": special(published)})


def special(minus: dict[float, Row]) -> str:
    """Whether the published scaling stands out. minus: its loss minus that at so many times of it."""
    lower = {
        factor: row["estimate"] > 0 for factor, row in minus.items() if row["p_holm"] < ERROR_RATE
    }  # whether the neighbour's loss is
    if lower.get(0.5) and lower.get(2.0):
        return "The published scaling is no special place: half and twice of it both have a lower loss."
    for factor, name in ((0.5, "half"), (2.0, "twice")):
        if lower.get(factor):
            shown = with_interval(minus[factor])
            return (
                f"The published scaling is no special place: {name} of it has a loss lower by {shown}."
            )
    if len(lower) == 2:
        return "The published scaling stands out: half and twice of it both have a higher loss."
    return "The published scaling is not shown to stand out between half and twice of it."


def best(results: Results) -> tuple[str, dict[str, str]]:
    """The scaling of least loss, with its interval and the scalings that are not detectably worse."""
    found, excess = results["scale_best"], results["scale_excess"]
    rows = []
    for row in rows_of(found):
        mine = excess[excess.quantity == row["quantity"]]
        equal = mine[mine.p_holm >= ERROR_RATE].xi_scaling
        cells = [QUANTITY_LABELS[row["quantity"]], number(row["estimate"], 4), _ends(row)]
        cells += [f"{len(equal)} of {len(mine)}", span(equal, lambda s: number(s, 4))]
        rows.append(cells)
    header = ["Loss", "Best scaling", "95 % interval", "Not above it", "which are"]
    said = one(excess, xi_scaling=XI_SCALING, quantity="quantized")
    said = {"Sentence": tuned_scale(said, one(found, quantity="quantized"))}
    return tabular(rows, header), macros("Scale", said)


def _ends(row: Row) -> str:
    return " to ".join(number(row[end], 4) for end in ("ci_low", "ci_high"))


def tuned_scale(excess: Row, best: Row) -> str:
    """How the published scaling compares with the best. excess: its loss above the least one."""
    if excess["p_holm"] >= ERROR_RATE:
        lost = "At the published scaling the quantized loss is not shown to lie above the least one."
    else:
        shown = with_interval(excess)
        lost = f"At the published scaling the quantized loss is {shown} above the least one."
    where = f"The best scaling, {number(best['estimate'], 4)} ({_ends(best)})"
    if best["ci_high"] < XI_SCALING:
        return f"{lost} {where}, lies below the published one."
    if best["ci_low"] > XI_SCALING:
        return f"{lost} {where}, lies above the published one."
    return f"{lost} {where}, is not shown to differ from the published one."


def constants_table(results: Results) -> tuple[str, dict[str, str]]:
    """What noise of each constant's size adds, alone and times what makes it the published noise."""
    added, same = results["constants"], results["constants_product"]
    datasets = added.dataset.unique()
    rows = []
    for constant, mine in same.sort_values("magnitude", kind="stable").groupby("constant", sort=False):
        cells = [
            show(one(added, dataset=dataset, constant=constant, quantity=quantity))
            for show, quantity in (
                (starred, "unexplained_added"),
                (plus_minus, "unexplained_added_published"),
            )
            for dataset in datasets
        ]
        lead = ["ξ" if constant == "xi" else constant.replace("_", " ")]
        lead += [number(mine.magnitude.iloc[0], 4), number(mine.multiplier.iloc[0], 5)]
        rows.append(lead + cells)
    header = ["Constant", Raw("$c$"), Raw(r"$\sigma/c$"), *2 * [dataset_label(d) for d in datasets]]
    over = ["", "", "", *(spanning(len(datasets), Raw(f"noise ${c}$")) for c in ("c", r"\sigma"))]

    others = same[same.constant != "xi"].drop_duplicates("constant")
    xi = same[same.constant == "xi"].magnitude.iloc[0]
    nearest = others.iloc[(others.magnitude / xi - 1).abs().argmin()]
    said = {
        "Nearest": nearest.constant.replace("_", " "),
        "NearestOff": percent(abs(nearest.magnitude / xi - 1)),
        "Sentence": constants_help(tally(added[added.quantity == "unexplained_added"])),
        "SameSentence": same_training(same.largest_difference.max()),
    }
    return tabular(rows, header, over=over), macros("Constants", said)


def constants_help(found: dict[str, int]) -> str:
    """Whether constants, as the noise itself, help. found: as `tally` counts what they add."""
    less, more, every = found["Smaller"], found["Larger"], sum(found.values())
    if less:
        return (
            "As the noise itself, a constant leaves less unexplained than no noise in"
            f" {less} of {every} cases{f', and more in {more}' * bool(more)}."
        )
    if more:
        return (
            "As the noise itself, no constant leaves less unexplained than no noise; in"
            f" {more} of {every} cases it leaves more."
        )
    return f"As the noise itself, no constant is shown to differ from no noise, in {every} cases."


def same_training(largest: float) -> str:
    """Whether training can tell which constant it was. largest: of all differences of a weight."""
    if largest <= decision.ROUNDING:
        return "At the published product, every constant gives the same trained weights."
    return f"At the published product, weights differ by at most {number(largest, 2)} between constants."
