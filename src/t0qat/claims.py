"""The paper's claims, and the rule by which results decide each.

The rule and the tests of C1 and C2 on the linear layer were written after first results of the same
experiments had been seen, and Student's t took the normal variable's place in it after C3 to C6 and C12
were decided. The tests on image networks stood before any full run, but after a pilot of two seeds; a
first full run, in which some trainings broke down for want of a warm-up, was seen and thrown away. The
tests on language models stood before any full run, but after trials of one replicate. After all results
had been seen, tuning and the rule for rounding changed, and precision came to ask the networks of the
benchmarks, for their loss; the tests stayed as they were.
A test compares an estimate with a value that the claim needs it to lie below or above.
Its standard error is read off its 95 % interval, its two-sided p-value is that of Student's t, and the
p-values of all tests are corrected together by Holm's method. Where the corrected p-value is below
the error rate, the claim is supported if the estimate lies on the side it needs, contradicted if on the
other; elsewhere it is not supported: the data cannot tell it from no effect, and `detectable` says which
distance from the compared value would have been seen with 90 % power. Where every replicate gives the
compared value itself, to the last bit, there is nothing to test, nor where a run with other parameters
did not measure what is asked: not testable here.
"""

import math
from typing import NamedTuple

import pandas as pd
from scipy import stats

from t0qat.arms import model_label
from t0qat.statistics import LEVEL, holm, standardized_effect

SUPPORTED, CONTRADICTED, UNCLEAR = "supported", "contradicted", "not supported"
UNTESTABLE = "not testable here"


class Comparison(NamedTuple):
    """One estimate in a results file, and where a claim needs it to lie."""

    statistic: str
    file: str
    keys: dict[str, str | float]  # which row
    needs: str  # "below" or "above"
    value: float = 0.0


class Claim(NamedTuple):
    """A claim in our own words, the section that makes it, and its tests."""

    id: str
    section: str
    statement: str
    tests: tuple[Comparison, ...]


def _grids(dataset: str, quantity: str, words: str) -> Comparison:
    statistic = (
        f"{words}, T0-QAT minus Standard QAT, mean over INT8 to INT2 and all grids, {dataset} data"
    )
    return Comparison(
        statistic, "integer_grids_overall", {"dataset": dataset, "quantity": quantity}, "below"
    )


def _flips(dataset: str) -> Comparison:
    return Comparison(
        "loss added by flipping the two lowest bits of every INT8 code, T0-QAT minus Standard QAT,"
        f" {dataset} data",
        "precision_flips",
        {"dataset": dataset, "bits": 8, "flipped": 2, "method": "t0_qat", "other": "standard_qat"},
        "below",
    )


# Share of the target's variance that a rounded model leaves unexplained, mean over INT8 to INT2 and all
# grids. "No tuning" holds where tuning would gain less than a hundredth of that variance.
TUNING_MARGIN = 0.01


def _tuning(dataset: str, arm: str, other: str, words: str, value: float = 0.0) -> Comparison:
    against = f", against {value:g}" if value else ""
    return Comparison(
        f"unexplained variance after rounding, {words}{against}, {dataset} data",
        "scale_tuning",
        {"dataset": dataset, "quantity": "unexplained", "arm": arm, "other_arm": other},
        "below",
        value,
    )


def _neighbour(scaling: str, factor: float, words: str) -> Comparison:
    return Comparison(
        f"quantized loss as published, {words}",
        "scale_neighbours",
        {"scaling": scaling, "factor": factor, "quantity": "quantized"},
        "below",
    )


def _knee(dataset: str) -> Comparison:
    return Comparison(
        "bits between the knee and where the step equals xi, T0-QAT, full range, absmax, against 1,"
        f" {dataset} data",
        "precision_knee",
        {"dataset": dataset, "method": "t0_qat", "range": "full", "scale": "absmax"}
        | {"quantity": "distance"},
        "below",
        1.0,
    )


# What a rounded network may lose and count as accurate as another: one image in a hundred.
ACCURACY_MARGIN = 0.01
NETWORKS = ("small_cnn", "deep_cnn", "residual_cnn")
TRAINED = {"t0_qat": "T0-QAT as published", "t0_qat_tuned": "T0-QAT tuned"}


def _accuracy(model: str, method: str, against: str, words: str, value: float = 0.0) -> Comparison:
    """Mean over bit-widths, each at the method's own scale rule."""
    margin = f", against {value:g}" if value else ""
    return Comparison(
        f"accuracy, mean over INT8 to INT2, {TRAINED[method]} minus {words}{margin},"
        f" {model_label(model)}",
        "vision_any_paired",
        {"dataset": "digits", "model": model, "method": method, "against": against}
        | {"scale_rule": "own", "quantity": "mean"},
        "above",
        value,
    )


def _accuracy_at(
    bits: int, model: str, method: str, against: str, words: str, file: str = "vision_paired"
) -> Comparison:
    """At one bit-width, up to the margin; 32: not rounded."""
    at = f"at INT{bits}" if bits < 32 else "before rounding"
    margin = f"against {-ACCURACY_MARGIN:g}"
    return Comparison(
        f"accuracy {at}, {TRAINED[method]} minus {words}, {margin}, {model_label(model)}",
        file,
        {"dataset": "digits", "model": model, "method": method, "against": against}
        | {"eval_bits": bits, "scale_rule": "own" if bits < 32 else "none"},
        "above",
        -ACCURACY_MARGIN,
    )


# What a rounded language model may need more and count as good as another.
BITS_MARGIN = 0.02  # bits per character
LANGUAGE_MODELS = ("small_gpt2", "small_llama")


def _bits(model: str, method: str, against: str, words: str, value: float = 0.0) -> Comparison:
    """Mean over bit-widths, each at the method's own scale rule."""
    margin = f", against {value:g}" if value else ""
    return Comparison(
        f"bits per character, mean over INT8 to INT2, {TRAINED[method]} minus {words}{margin},"
        f" {model_label(model)}",
        "language_any_paired",
        {"dataset": "pydoc_topics", "model": model, "method": method, "against": against}
        | {"scale_rule": "own", "quantity": "mean"},
        "below",
        value,
    )


def _bits_at(
    bits: int, model: str, method: str, against: str, words: str, file: str = "language_paired"
) -> Comparison:
    """At one bit-width, up to the margin; 32: not rounded."""
    at = f"at INT{bits}" if bits < 32 else "before rounding"
    return Comparison(
        f"bits per character {at}, {TRAINED[method]} minus {words}, against {BITS_MARGIN:g},"
        f" {model_label(model)}",
        file,
        {"dataset": "pydoc_topics", "model": model, "method": method, "against": against}
        | {"eval_bits": bits, "scale_rule": "own" if bits < 32 else "none"},
        "below",
        BITS_MARGIN,
    )


def _constant(name: str, words: str) -> Comparison:
    return Comparison(
        f"unexplained variance after rounding, {words} at scaling 1 minus no noise, diabetes data",
        "constants",
        {"dataset": "diabetes", "constant": name, "quantity": "unexplained_added"},
        "below",
    )


CLAIMS = (
    Claim(
        "C1",
        "4.1, 4.2",
        "Quantization costs a model trained with T0-QAT less",
        (
            Comparison(
                "expected drop under the published noise, T0-QAT minus Standard QAT",
                "table1_paired",
                {"quantity": "drop_difference"},
                "below",
            ),
            _grids("synthetic", "drop", "drop"),
            _grids("diabetes", "drop", "drop"),
        ),
    ),
    Claim(
        "C2",
        "abstract, 4.2",
        "T0-QAT is the more robust choice: its user ends up with the smaller loss",
        (
            Comparison(
                "chance that T0-QAT ends with the larger quantized loss, against one half",
                "table1_paired",
                {"quantity": "chance_t0_worse_quantized"},
                "below",
                0.5,
            ),
            _grids("synthetic", "quantized", "quantized loss"),
            _grids("diabetes", "quantized", "quantized loss"),
            _accuracy("small_cnn", "t0_qat", "plain", "plain training"),
            _accuracy("deep_cnn", "t0_qat", "plain", "plain training"),
            *(_bits(model, "t0_qat", "plain", "plain fine-tuning") for model in LANGUAGE_MODELS),
        ),
    ),
    Claim(
        "C3",
        "4.2",
        "Models trained with it ignore changes in the lower bits",
        (_flips("synthetic"), _flips("diabetes"), _flips("digits")),
    ),
    Claim(
        "C4",
        "4.2",
        "xi regularizes well without empirical tuning",
        (
            _tuning("synthetic", "published", "plain", "T0-QAT as published minus no noise"),
            _tuning("synthetic", "published", "tuned", "as published minus tuned", TUNING_MARGIN),
            _tuning("diabetes", "published", "plain", "T0-QAT as published minus no noise"),
            _tuning("diabetes", "xi_alone", "plain", "xi at scaling 1 minus no noise"),
            _tuning("diabetes", "published", "tuned", "as published minus tuned", TUNING_MARGIN),
            _tuning("diabetes", "xi_alone", "tuned", "xi at scaling 1 minus tuned", TUNING_MARGIN),
            _tuning("diabetes", "published", "matched", "as published minus noise of the grid's step"),
        ),
    ),
    Claim(
        "C5",
        "2.1",
        "xi is special, not an empirical setting",
        (
            _neighbour("published", 0.5, "published noise scale minus half of it"),
            _neighbour("published", 2.0, "published noise scale minus twice of it"),
            _neighbour("xi_alone", 0.5, "noise scale xi minus half of it"),
            _neighbour("xi_alone", 2.0, "noise scale xi minus twice of it"),
        ),
    ),
    Claim(
        "C6",
        "2.2, 6.1",
        "xi marks a precision limit, a natural bit-width",
        (_knee("synthetic"), _knee("diabetes"), _knee("digits")),
    ),
    Claim(
        "C7",
        "6.2",
        "INT4, INT3 and INT2 deployment keeps accuracy",
        tuple(
            _accuracy_at(bits, model, method, "unrounded", "plain training not rounded", "vision_kept")
            for model in ("small_cnn", "deep_cnn")
            for method in TRAINED
            for bits in (4, 3, 2)
        )
        + tuple(
            _bits_at(bits, model, method, "unrounded", "plain fine-tuning not rounded", "language_kept")
            for model in LANGUAGE_MODELS
            for method in TRAINED
            for bits in (4, 3, 2)
        ),
    ),
    Claim(
        "C8",
        "7.1",
        "It extends to convolutional and vision models",
        tuple(
            test
            for model in NETWORKS
            for test in (
                _accuracy_at(32, model, "t0_qat", "plain", "plain training"),
                _accuracy(model, "t0_qat_tuned", "plain", "plain training"),
            )
        ),
    ),
    Claim(
        "C9",
        "7.1",
        "It extends to GPT and Llama architectures",
        tuple(
            test
            for model in LANGUAGE_MODELS
            for test in (
                _bits_at(32, model, "t0_qat", "plain", "plain fine-tuning"),
                _bits(model, "t0_qat_tuned", "plain", "plain fine-tuning"),
            )
        ),
    ),
    Claim(
        "C10",
        "7.1",
        "It stands against the state of the art of QAT",
        tuple(
            test
            for model in ("small_cnn", "deep_cnn")
            for best in [("best_baseline", "the best other method")]
            for test in (
                _accuracy(model, "t0_qat", *best, -ACCURACY_MARGIN),
                *(_accuracy_at(bits, model, "t0_qat_tuned", *best) for bits in (8, 4, 3, 2)),
            )
        )
        + tuple(
            test
            for model in LANGUAGE_MODELS
            for best in [("best_baseline", "the best other method")]
            for test in (
                *(_bits(model, m, "random_bits", "random-bit STE", BITS_MARGIN) for m in TRAINED),
                _bits(model, "t0_qat", *best, BITS_MARGIN),
                *(_bits_at(bits, model, "t0_qat_tuned", *best) for bits in (8, 4, 3, 2)),
            )
        ),
    ),
    Claim(
        "C11",
        "1, 6.2",
        "It makes AI more efficient: more accuracy from the same cost of training and of running",
        tuple(
            _accuracy(model, "t0_qat_tuned", "random_bits", "random-bit STE")
            for model in ("small_cnn", "deep_cnn")
        ),
    ),
    Claim(
        "C12",
        "7.2",
        "Other physical constants serve as well",
        (
            _constant("fine_structure", "fine-structure constant"),
            _constant("proton_electron_mass_ratio", "proton-electron mass ratio"),
            _constant("electron_proton_mass_ratio", "electron-proton mass ratio"),
        ),
    ),
)


def read_by() -> list[str]:
    """The results files that the tests need."""
    return sorted({test.file for claim in CLAIMS for test in claim.tests})


def standard_error(row: dict[str, float]) -> float:
    """Of an estimate, from its interval."""
    return (row["ci_high"] - row["ci_low"]) / (2 * stats.t.ppf((1 + LEVEL) / 2, row["n"] - 1))


def judge(row: dict[str, float], test: Comparison) -> tuple[str, float]:
    """The side on which an estimate lies, SUPPORTED or CONTRADICTED, and its uncorrected p-value.

    UNTESTABLE and nan where every replicate gives the compared value itself.
    """
    error, distance = standard_error(row), abs(row["estimate"] - test.value)
    if error == distance == 0:
        return UNTESTABLE, math.nan
    below = row["estimate"] < test.value
    side = SUPPORTED if below == (test.needs == "below") else CONTRADICTED
    return side, 2 * stats.t.sf(distance / error if error else math.inf, row["n"] - 1)


def decide(results: dict[str, pd.DataFrame], error_rate: float = 0.05) -> pd.DataFrame:
    """Every claim's verdict: one row a test.

    Columns: id, claim, statistic, verdict, value (what the estimate is compared with), estimate, ci_low,
    ci_high, n, p_holm, detectable. error_rate: the chance of one wrong decided verdict or more, if
    no claim and no opposite held.
    """
    rows, p_values = [], []
    for claim in CLAIMS:
        for test in claim.tests:
            words = {"id": claim.id, "claim": claim.statement, "statistic": test.statistic}
            words |= {"verdict": UNTESTABLE, "value": test.value}
            row = _row(results[test.file], test.keys)
            if row is not None:
                words |= {key: row[key] for key in ("estimate", "ci_low", "ci_high", "n")}
                words["verdict"], p = judge(row, test)
            if words["verdict"] != UNTESTABLE:
                p_values.append(p)
                deviation = standard_error(row) * math.sqrt(row["n"])
                words["detectable"] = deviation * standardized_effect(row["n"])
            rows.append(words)
    table = pd.DataFrame(rows)
    tested = table.index[table.verdict.isin([SUPPORTED, CONTRADICTED])]
    table.loc[tested, "p_holm"] = holm(p_values)
    table.loc[tested[table.loc[tested, "p_holm"] >= error_rate], "verdict"] = UNCLEAR
    table["n"] = table["n"].astype("Int64")
    return table


def _row(table: pd.DataFrame, keys: dict[str, str | float]) -> dict | None:
    """The one row with these keys, or None."""
    for column, value in keys.items():
        table = table[table[column] == value]
    (row,) = table.to_dict("records") or [None]
    return row
