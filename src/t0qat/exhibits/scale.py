"""Tables and macros of the scale of the noise and of the constants."""

from t0qat.exhibits.labels import dataset_label, macros
from t0qat.exhibits.rows import Results, one, rows_of, tally
from t0qat.pipeline.latex import Raw, grouped, spanning, tabular
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, number, numbers, percent, plus_minus, span, times
from t0qat.training.constants import XI

ARM_LABELS = {
    "plain": "No noise",
    "xi_alone": "ξ, scaling 1",
    "published": "ξ as published",
    "tuned": "Tuned",
    "matched": "Grid's own",
    "standard_qat": "Standard QAT",
}


def scale(results: Results) -> tuple[str, dict[str, str]]:
    """What each way to set the noise leaves unexplained, and what the sweep says."""
    arms, pairs = results["scale_arms"], results["scale_tuning"]
    pairs = pairs[pairs.quantity == "unexplained"]

    def minus(arm: str, other: str, dataset: str) -> str:
        """One arm minus another, in whichever order the file has the pair."""
        for first, second, sign in ((arm, other, 1), (other, arm, -1)):
            for row in rows_of(pairs, dataset=dataset, arm=first, other_arm=second):
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
        ]

    groups = [[row(dataset, arm) for arm in ARM_LABELS] for dataset in arms.dataset.unique()]
    header = ["Data", "Training noise", "Its SD", "Left unexplained", "Minus no noise", "Minus tuned"]
    said = {}
    for quantity, name in (("quantized", "Best"), ("full_precision", "BestFull")):
        found = one(results["scale_best"], quantity=quantity)
        worse = results["scale_excess"]
        equal = worse[(worse.quantity == quantity) & (worse.p_holm >= ERROR_RATE)].xi_scaling
        best, low, high = (number(scaling, 6) for scaling in numbers(found))
        said |= {
            name: best,
            f"{name}Interval": f"{low} to {high}",
            f"{name}Equal": f"{len(equal)} of the scalings ({span(equal, lambda s: number(s, 4))})",
        }
    return grouped(groups, header, "ll", leads=1), macros("Scale", said)


def constants_table(results: Results) -> tuple[str, dict[str, str]]:
    """What noise of each constant's size adds, alone and times what makes it the published noise."""
    added, same = results["constants"], results["constants_product"]
    datasets = added.dataset.unique()
    rows = []
    for constant, mine in same.sort_values("magnitude", kind="stable").groupby("constant", sort=False):
        cells = [
            plus_minus(one(added, dataset=dataset, constant=constant, quantity=quantity))
            for quantity in ("unexplained_added", "unexplained_added_published")
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
        "LargestDifference": number(same.largest_difference.max(), 2),
    }
    said |= tally(added[added.quantity == "unexplained_added"])
    return tabular(rows, header, over=over), macros("Constants", said)
