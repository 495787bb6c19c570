"""Sentences of the experiments' exhibits, each in every form: whole, short, and with few numbers."""

import re

import pandas as pd
import pytest
from made_up import frames
from test_exhibits_response import case

from t0qat.exhibits import (
    calibration,
    circuits,
    deployment,
    grids,
    precision,
    recommendation,
    response,
    scale,
    table1,
    theory,
)
from t0qat.exhibits.labels import starred
from t0qat.pipeline.decision import CONTRADICTED, SUPPORTED, UNDECIDED

WORDS, VALUES = 30, 3

HELD = (
    "On networks not used for choosing, this loses no more than rounded plain training, within a margin,"
)


def row(estimate: float, half: float = 0.1, **more) -> dict:
    return {"estimate": estimate, "ci_low": estimate - half, "ci_high": estimate + half} | more


def tallied(smaller: int, larger: int, unclear: int) -> dict[str, int]:
    return {"Smaller": smaller, "Larger": larger, "Unclear": unclear}


def verdicts(*pairs: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["C1", "C2"])


def distances(*highs: float) -> pd.DataFrame:
    return pd.DataFrame({"estimate": [high - 0.1 for high in highs], "ci_high": highs})


def curves(*noises: float, ste: float = 0.0, model: str = "deep_cnn") -> pd.DataFrame:
    """One case a value: noise's difference from plain training, at another budget each."""
    cases = [case({30: noise}, ste, budget=i + 1, model=model) for i, noise in enumerate(noises)]
    return pd.DataFrame([line for lines in cases for line in lines])


def files(differing: float, share: float = 0.25, widths=(4, 2)) -> pd.DataFrame:
    """Of one network in a runtime, ten files each: what they predict and take."""
    found = []
    for bits in (32, *widths):
        size = 1000 if bits == 32 else 1000 * share * bits / min(widths)
        numbers = {"differing": differing, "predictions": 50, "file_bytes": size}
        found += [
            {"model": "mlp", "method": "no_noise", "eval_bits": bits, "metric": metric}
            | {"mean": mean, "n": 10}
            for metric, mean in numbers.items()
        ]
    return pd.DataFrame(found)


def learned(first: float, last: float) -> pd.DataFrame:
    """theory_training where T0-QAT explains so much at the first and last epochs, plain 0.95."""
    table = frames()["theory_training"]
    explained = table.quantity == "explained"
    numbers = ["mean", "ci_low", "ci_high"]
    table.loc[explained & (table.method == "no_noise"), numbers] = 0.95, 0.94, 0.96
    for epoch, value in ((300, first), (3000, last)):
        mine = explained & (table.method == "t0_qat") & (table.epoch == epoch)
        table.loc[mine, numbers] = value, value, value
    return table


def picked(quantity: str, *ends: tuple[float, float], margin: float = 0.2) -> pd.DataFrame:
    rows = [{"quantity": quantity, "ci_low": a, "ci_high": b, "margin": margin} for a, b in ends]
    return pd.DataFrame(rows, columns=["quantity", "ci_low", "ci_high", "margin"])


def gained(*numbers: tuple[float, float], channel="dephasing") -> list[dict]:
    return [{"estimate": e, "p_holm": p, "channel": channel, "model": "m"} for e, p in numbers]


UP, DOWN, OPEN, LESS = (0.1, 0.3), (-0.3, -0.1), (-0.1, 0.1), (-0.05, 0.25)
MORE, FEWER, NONE = (0.1, 0.01), (-0.1, 0.01), (0.1, 0.06)
# What is called, and the sentence that it has to say.
FORMS = [
    (table1.noise_source(0.44577165), "Here the noise is fitted to the mean of the two reported drops."),
    (table1.noise_source(0.4), "Here the noise is set by hand."),
    (table1.reproduced(6, 6), "All 6 reported numbers lie in the middle 95 % of our single runs."),
    (table1.reproduced(2, 6), "Of 6 reported numbers, 2 lie in the middle 95 % of our single runs."),
    (
        table1.reproduced(0, 6),
        "None of the 6 reported numbers lies in the middle 95 % of our single runs.",
    ),
    (table1.drop_differs(row(0.2)), "T0-QAT's expected drop is larger than the baseline's, by 0.20 ["),
    (table1.drop_differs(row(-0.2)), "T0-QAT's expected drop is smaller than the baseline's (differ"),
    (table1.drop_differs(row(0.05)), "The expected drops of the two methods are not shown to differ ("),
    (table1.luck(row(0.36, 0.01)), "One pair of runs shows the reported reduction, or more, in 36.0 %"),
    (
        grids.rounded(tallied(0, 9, 0)),
        "After rounding, the method's loss is larger than the baseline's i",
    ),
    (
        grids.rounded(tallied(9, 0, 0)),
        "After rounding, the method's loss is smaller than the baseline's",
    ),
    (
        grids.rounded(tallied(0, 0, 9)),
        "After rounding, the method's loss is not shown to differ from th",
    ),
    (
        grids.rounded(tallied(2, 3, 4)),
        "After rounding, the method's loss is smaller than the baseline's in 2 of 9 comparisons and"
        " larger in 3.",
    ),
    (theory.agreement(0), "No simulated number lies farther from theory than chance explains."),
    (theory.agreement(3), "Of the simulated numbers, 3 lie farther from theory than chance explains."),
    (
        theory.stopped_early(learned(0.941, 0.97)),
        "The published method is not stopped early: it explains 94.1 % of the target's variance, and"
        " 97.0 % when trained 10 times as long at a falling rate.",
    ),
    (
        theory.stopped_early(learned(0.2, 0.941)),
        "The published method is a training stopped early: it ex",
    ),
    (
        theory.stopped_early(learned(0.2, 0.939)),
        "The published method falls short even with more epochs: ",
    ),
    (
        scale.special({0.5: row(2, p_holm=0.0), 2.0: row(1, p_holm=0.0)}),
        "The published scaling is no special place: half and twice of it both have a lower loss.",
    ),
    (
        scale.special({0.5: row(2, p_holm=0.0), 2.0: row(-1, p_holm=0.0)}),
        "The published scaling is no special place: half of it has a loss lower by 2.00 [1.90, 2.10].",
    ),
    (
        scale.special({0.5: row(2, p_holm=0.2), 2.0: row(1, p_holm=0.0)}),
        "The published scaling is no special place: twice of it has a loss lower by 1.00 [0.90, 1.10].",
    ),
    (
        scale.special({0.5: row(-2, p_holm=0.0), 2.0: row(-1, p_holm=0.0)}),
        "The published scaling stands out: half and twice of it both have a higher loss.",
    ),
    (
        scale.special({0.5: row(-2, p_holm=0.0), 2.0: row(1, p_holm=0.2)}),
        "The published scaling is not shown to stand out between half and twice of it.",
    ),
    (
        scale.tuned_scale(row(7, p_holm=0.0), row(40, 30)),
        "At the published scaling the quantized loss is 7.000 [6.900, 7.100] above the least one. The"
        " best scaling, 40 (10 to 70), lies below the published one.",
    ),
    (
        scale.tuned_scale(row(0.01, p_holm=0.3), row(9e4, 2e4)),
        "At the published scaling the quantized loss is not shown to lie above the least one. The best"
        " scaling, 9 · 10⁴ (7 · 10⁴ to 1.1 · 10⁵), is not shown to differ from the published one.",
    ),
    (
        scale.tuned_scale(row(7, p_holm=0.0), row(1e6, 1e5)),
        "At the published scaling the quantized loss",
    ),
    (
        scale.constants_help(tallied(0, 8, 14)),
        "As the noise itself, no constant leaves less unexplained than no noise; in 8 of 22 cases it"
        " leaves more.",
    ),
    (
        scale.constants_help(tallied(2, 8, 12)),
        "As the noise itself, a constant leaves less unexplained than no noise in 2 of 22 cases, and"
        " more in 8.",
    ),
    (
        scale.constants_help(tallied(2, 0, 20)),
        "As the noise itself, a constant leaves less unexplained than no noise in 2 of 22 cases.",
    ),
    (
        scale.constants_help(tallied(0, 0, 22)),
        "As the noise itself, no constant is shown to differ from no noise, in 22 cases.",
    ),
    (
        scale.same_training(0.0),
        "At the published product, every constant gives the same trained weights",
    ),
    (
        scale.same_training(1e-7),
        "At the published product, weights differ by at most 1 · 10⁻⁷ between co",
    ),
    (calibration.agreement(verdicts()), "Every setting is ruled out."),
    (
        calibration.agreement(verdicts(*3 * [(UNDECIDED, CONTRADICTED)])),
        "The settings that are not ruled out, 3, agree: T0-QAT's expected drop is not shown to differ,"
        " and its quantized loss is shown to be larger.",
    ),
    (
        calibration.agreement(verdicts((SUPPORTED, SUPPORTED))),
        "The settings that are not ruled out, 1, agree: T0-QAT's expected drop is shown to be smaller,",
    ),
    (
        calibration.agreement(verdicts((SUPPORTED, SUPPORTED), *2 * [(UNDECIDED, SUPPORTED)])),
        "Of the 3 settings that are not ruled out, 1 answer otherwise than the others.",
    ),
    (
        precision.limit(distances(7.3, 9.0)),
        "In none of 2 cases is accuracy shown to start to fall within one bit of where the step equals"
        " ξ; on average at least 7.2 bits lie between.",
    ),
    (
        precision.limit(distances(0.9, 9.0)),
        "Accuracy starts to fall within one bit of where the step equals ξ in 1 of 2 cases.",
    ),
    (
        precision.limit(distances(0.9, 0.8)),
        "Accuracy starts to fall within one bit of where the step equals ξ in 2 of 2 cases.",
    ),
    (
        precision.ignored(tallied(2, 3, 4)),
        "Inverted low bits cost the published method less than another in 2 of 9 comparisons, and more"
        " in 3.",
    ),
    (
        precision.ignored(tallied(2, 0, 4)),
        "Inverted low bits cost the published method less than anothe",
    ),
    (
        precision.ignored(tallied(0, 3, 4)),
        "Inverted low bits cost the published method more than anothe",
    ),
    (
        precision.ignored(tallied(0, 0, 4)),
        "Inverted low bits cost the published method neither less nor",
    ),
    (response.helps(curves()), "This was not part of the run."),
    (
        response.helps(curves(0.2, 0.3)),
        "On the deep CNN, the interval of noise lies below plain training in none of 2 comparisons. By"
        " means alone, the best noise is below STE in no case.",
    ),
    (
        response.helps(curves(-0.2, 0.3, model="small_gpt2")),
        "On the small GPT-2, the interval of noise lies below plain training in 1 of 2 comparisons."
        " Chance alone would give about 0.05. By means alone, the best noise is below STE in 1 of 2"
        " cases.",
    ),
    (
        response.helps(curves(-0.2, -0.05)),
        "On the deep CNN, the interval of noise lies below plain training in 1 of 2 comparisons."
        " Chance alone would give about 0.05. By means alone, the best noise is below STE in every"
        " case.",
    ),
    (
        recommendation.gains(picked("minus_plain", DOWN, UP, OPEN)),
        "On the test seeds, what is recommended loses less than plain training in 1 of 3 comparisons and"
        " more in 1.",
    ),
    (
        recommendation.gains(picked("minus_plain", DOWN, DOWN, OPEN)),
        "On the test seeds, what is recommended loses less than plain training in 2 of 3 comparisons,"
        " and more in none.",
    ),
    (
        recommendation.gains(picked("minus_plain", UP, OPEN)),
        "On the test seeds, what is recommended loses more than plain training in 1 of 2 comparisons,"
        " and less in none.",
    ),
    (
        recommendation.gains(picked("minus_plain", OPEN)),
        "On the test seeds, what is recommended loses neither more nor less than plain training, as far",
    ),
    (
        recommendation.gains(picked("minus_plain")),
        "What is recommended is plain training itself, rounded to nearest.",
    ),
    (
        recommendation.keeps(picked("minus_unrounded", DOWN, UP)),
        "What is recommended keeps the loss of plain training that is not rounded in 1 of 2 cases.",
    ),
    (
        recommendation.keeps(picked("minus_unrounded", DOWN)),
        "What is recommended keeps the loss of plain training that is not rounded in 1 of 1 cases.",
    ),
    (
        recommendation.keeps(picked("minus_unrounded", UP, (0.1, 0.2))),  # the margin itself
        "What is recommended keeps the loss of plain training that is not rounded in none of 2 cases.",
    ),
    (
        recommendation.held("this", picked("minus_plain")),
        "On networks not used for choosing, this is plain training itself.",
    ),
    (
        recommendation.held("this", picked("minus_plain", DOWN, OPEN)),
        f"{HELD} in 2 of 2 cases.",
    ),
    (
        recommendation.held("this", picked("minus_plain", DOWN, LESS)),
        f"{HELD} in 1 of 2 cases; the others are open.",
    ),
    (
        recommendation.held("this", picked("minus_plain", DOWN, LESS, (0.3, 0.4))),
        f"{HELD} in 1 of 3 cases, and more in 1.",
    ),
    (
        deployment.same_predictions(files(0)),
        "In ONNX Runtime, files of packed integers give all 1,500 predictions as fake quantization"
        " does.",
    ),
    (
        deployment.same_predictions(files(3)),
        "In ONNX Runtime, 90 of 1,500 predictions differ from those of fake quantization.",
    ),
    (deployment.saved(files(0)), "Files at INT2 take 25 % of the bytes of those of floats."),
    (
        deployment.saved(files(0, widths=(3,))),
        "Files at INT3 take 25 % of the bytes of those of floats.",
    ),
    (
        deployment.saved(files(0).query("eval_bits == 32")),
        "No file has rounded weights.",
    ),
    (
        deployment.saved(files(0).query("method == 'ste'")),
        "No file has rounded weights.",
    ),
    (
        deployment.rounds_inputs("onnxruntime_8", files(3)),
        "With inputs rounded too, ONNX Runtime predicts otherwise than fake quantization in 6.0 % of"
        " cases.",
    ),
    (
        deployment.rounds_inputs("llama_cpp", files(0)),
        "With inputs rounded too, ik_llama.cpp gives every prediction as fake quantization does.",
    ),
    (
        deployment.rounds_inputs("llama_cpp", files(0)[:0]),
        "ik_llama.cpp with rounded inputs has no rows: it is not there, or runs none of these networks.",
    ),
    (
        circuits.tuned_helps(gained(MORE, channel="all")),
        "Tuned noise on a circuit's angles was not run.",
    ),
    (
        circuits.tuned_helps(gained(MORE, FEWER, NONE)),
        "Under the noise of a device, tuned noise on a circuit's angles raises accuracy in 1 of 3"
        " comparisons with plain training, and lowers it in 1.",
    ),
    (
        circuits.tuned_helps(gained(MORE, NONE)),
        "Under the noise of a device, tuned noise on a circuit's angles raises accuracy in 1 of 2"
        " comparisons with plain training.",
    ),
    (
        circuits.tuned_helps(gained(FEWER, NONE)),
        "Under the noise of a device, tuned noise on a circuit's angles lowers accuracy in 1 of 2"
        " comparisons, and raises it in none.",
    ),
    (
        circuits.tuned_helps(gained(NONE)),
        "Under the noise of a device, tuned noise on a circuit's angles is not shown to change accuracy",
    ),
    (circuits.published_learns([]), "Noise as published was not run on circuits."),
    (
        circuits.published_learns(gained(NONE, FEWER)),
        "Noise as published leaves circuits no better than a guess.",
    ),
    (
        circuits.published_learns(gained(MORE)),
        "Under noise as published, circuits still learn more than a guess.",
    ),
    (
        circuits.published_learns(gained(MORE, NONE)),
        "Under noise as published, circuits learn more than a guess on 1 of 2 tasks.",
    ),
]


@pytest.mark.parametrize(("said", "expected"), FORMS, ids=[expected[:60] for _, expected in FORMS])
def test_every_form_is_a_few_whole_short_sentences(said, expected):
    assert said == expected if expected.endswith(".") else said.startswith(expected)
    for sentence in re.split(r"(?<=[.])\s(?=[A-Z])", said):
        assert sentence[0].isupper() or sentence.startswith("ik_")
        assert sentence.endswith(".") and not re.search(r"[{}–]|nan|  ", sentence)
        assert len(sentence.split()) <= WORDS
        shown = re.sub(r" \[[^]]*\]| · 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", "", sentence)
        assert len(re.findall(r"\d[\d.,]*|T0-QAT", shown.replace("T0-QAT", "T"))) <= VALUES


def test_an_asterisk_marks_what_the_corrected_test_shows():
    assert r"\ast" in starred(row(1, p_holm=0.049)) and r"\ast" not in starred(row(1, p_holm=0.05))
