"""Table and macros of the metric against bits."""

from t0qat.exhibits.labels import data_label, label_on, macros, on_each
from t0qat.exhibits.rows import Results, one, rows_of, tally
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import fixed, number, plus_minus, span, with_interval


def precision(results: Results) -> tuple[str, dict[str, str]]:
    """Where each method's metric starts to fall, and where the step equals xi."""
    full, knees, flips = (results[f"precision_{file}"] for file in ("full", "knee", "flips"))
    flips = flips[flips.method == "t0_qat"]
    conventions = [*dict.fromkeys(zip(knees.range, knees.scale, strict=True))]

    def rows(row):
        key = {key: row[key] for key in ("dataset", "model", "method")}
        for quantity, label in (("knee", "knee"), ("xi_bits", "step = ξ")):
            mine = [
                one(knees, range=codes, scale=scale, quantity=quantity, **key)
                for codes, scale in conventions
            ]
            lead = [data_label(row), label_on(row["method"], row["model"]), plus_minus(row), label]
            yield [*lead, *map(plus_minus, mine)]

    groups = [
        [line for row in rows_of(mine) for line in rows(row)]
        for _, mine in full.groupby(["dataset", "model"], sort=False)
    ]
    header = ["Data", "Method", "Full precision", "Bits", *map(", ".join, conventions)]
    between = r"@{\hspace{5pt}}".join("llll" + "r" * len(conventions))
    body = grouped(groups, header, f"@{{}}{between}@{{}}", leads=3)

    mine = knees[(knees.method == "t0_qat") & (knees.range == "full") & (knees.scale == "absmax")]
    decisive = rows_of(flips, bits=8, flipped=2, other="standard_qat")
    seen = full.groupby(["dataset", "model"]).n
    same = (flips.ci_low == 0) & (flips.ci_high == 0)
    differences = knees[knees.quantity == "difference"]
    said = {
        "Replicates": on_each(
            rows_of(mine, quantity="knee"),
            lambda row: span(seen.get_group((row["dataset"], row["model"]))),
        ),
        "DifferenceAbove": (differences.ci_low > 0).sum(),
        "DifferenceBelow": (differences.ci_high < 0).sum(),
        "Near": (knees[knees.quantity == "distance"].ci_high < 1).sum(),
        "Flips": on_each(decisive, with_interval),
        "FlipsDetectable": on_each(decisive, lambda row: number(row["detectable"], 2)),
        "FlipsSame": same.sum(),
    }
    said |= {f"Flips{key}": n for key, n in tally(flips[~same]).items()}
    for quantity, name in (("knee", "Knee"), ("xi_bits", "Xi"), ("difference", "Difference")):
        said[name] = on_each(rows_of(mine, quantity=quantity), with_interval)
        if quantity != "difference":
            every = knees[knees.quantity == quantity].estimate
            said[f"{name}Range"] = span(every, lambda bits: fixed(bits, 1))
    return body, macros("Precision", said)
