"""The sentences on the scale of the noise, on constants, on what the paper leaves open, on precision."""

import pandas as pd

from t0qat.exhibits.calibration import SETTING
from t0qat.exhibits.rows import one, rows_of, tally
from t0qat.exhibits.sentences import Chosen, of_all, verdict
from t0qat.pipeline import decision
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import fixed, number, span, thousands, with_interval
from t0qat.training.constants import XI_SCALING

NOISES = {"published": "the published noise", "xi_alone": "the noise of xi alone"}


def neighbours(read: Read) -> Chosen:
    rows = rows_of(read("scale_neighbours"), quantity="quantized")
    most = max(rows, key=lambda row: row["ci_low"])
    return verdict("C5", "as_published", read), {
        "times": "half" if most["factor"] < 1 else "twice",
        "scaling": NOISES[most["scaling"]],
        "difference": with_interval(most),
    }


def above_the_least(read: Read) -> Chosen:
    table, best = read("scale_excess"), one(read("scale_best"), quantity="quantized")
    rows = {
        name: one(table, xi_scaling=scaling, quantity="quantized")
        for name, scaling in {"published": XI_SCALING, "alone": 1}.items()
    }
    above = [name for name, row in rows.items() if row["estimate"] > 0 and row["p_holm"] < ERROR_RATE]
    shown = {name: with_interval(row) for name, row in rows.items()}
    return " and ".join(above) or "neither", shown | {"best": number(best["estimate"])}


def other_constants(read: Read) -> Chosen:
    table = read("constants")
    found = tally(table[(table.quantity == "unexplained_from_xi") & (table.constant != "xi")])
    ways = [way for way in ("Larger", "Smaller") if found[way]]
    shown = {way.lower(): thousands(found[way]) for way in found}
    return " and ".join(ways).lower() or "neither", shown | {"n": thousands(sum(found.values()))}


def same_product(read: Read) -> Chosen:
    largest = read("constants_product").largest_difference.max()
    return "differ" if largest > decision.ROUNDING else "same", {"largest": number(largest, 2)}


def settings_left(read: Read) -> tuple[pd.DataFrame, int]:
    """The verdicts on settings that are not ruled out, one a row, and how many settings were tried."""
    table = read("calibration").pivot(index=SETTING, columns="quantity", values="estimate")
    sides = read("calibration_verdicts").pivot(index=SETTING, columns="id", values="verdict")
    return sides.loc[table.index[table.p_value >= ERROR_RATE]], len(table)


def fitting(read: Read) -> Chosen:
    left, every = settings_left(read)
    return of_all(len(left), every), {"left": thousands(len(left)), "n": thousands(every)}


def of_those_left(read: Read) -> Chosen:
    left, _ = settings_left(read)
    smaller, larger = (left.C1 == decision.SUPPORTED).sum(), (left.C2 == decision.CONTRADICTED).sum()
    shown = {"smaller": smaller, "larger": larger, "left": len(left)}
    form = of_all(smaller, len(left)) if len(left) else "nothing left"
    return form, {name: thousands(n) for name, n in shown.items()}


def knee(read: Read) -> Chosen:
    table = read("precision_knee")
    near, knees = table[table.quantity == "distance"], table[table.quantity == "knee"]
    found = (near.ci_high < 1).sum()
    return of_all(found, len(near)), {
        "bits": span(knees.estimate, lambda bits: fixed(bits, 1)),
        "near": thousands(found),
        "n": thousands(len(near)),
    }


def steps_as_small(read: Read) -> Chosen:
    table = read("precision_knee")
    apart, bits = table[table.quantity == "difference"], table[table.quantity == "xi_bits"].estimate
    above, below = (apart.ci_low > 0).sum(), (apart.ci_high < 0).sum()
    form = {above: "above", below: "below"}.get(len(apart), "mixed")
    return form, {
        "bits": span(bits, lambda bits: fixed(bits, 1)),
        "above": thousands(above),
        "n": thousands(len(apart)),
    }


CHOOSE = {
    "scale/1": neighbours,
    "scale/2": above_the_least,
    "constants/1": other_constants,
    "constants/2": same_product,
    "calibration/1": fitting,
    "calibration/2": of_those_left,
    "precision/1": knee,
    "precision/2": steps_as_small,
}
