"""Sentences of the benchmarks: each form that the numbers may choose, whole and short."""

import re

import pandas as pd
import pytest
from made_up import frames
from test_exhibits_vision import network

from t0qat.exhibits import language, phrases, vision
from t0qat.training.methods import REGISTRY

LOWER, HIGHER, UNSHOWN = (
    (-0.1, 0.01, 0.9),
    (0.1, 0.01, 0.9),
    (0.1, 0.5, 0.9),
)  # estimate, p, p of the margin
WITHIN, WITHIN_LOWER, WITHIN_HIGHER = (0.01, 0.5, 0.01), (-0.01, 0.01, 0.01), (0.01, 0.01, 0.01)
FORMS = {
    (LOWER, LOWER): "to lose less than plain training on every network with all methods",
    (HIGHER, HIGHER): "to lose more than plain training on every network with all methods",
    (WITHIN, WITHIN_LOWER): "to lose as much as plain training, up to the margin, on every network with"
    " all methods",
    (WITHIN_LOWER,) * 2: "to lose less than plain training on every network with all methods, but within"
    " the margin",
    (WITHIN_HIGHER,)
    * 2: "to lose more than plain training on every network with all methods, but within the margin",
    (LOWER, HIGHER): "to lose less than plain training on some networks with all methods, and to lose"
    " more on others",
    (UNSHOWN, LOWER): "to lose less than plain training on 1 of 2 networks with all methods",
    (HIGHER, WITHIN_LOWER): "to lose more than plain training on 1 of 2 networks with all methods",
    (UNSHOWN, WITHIN): "to lose as much as plain training, up to the margin, on 1 of 2 networks with all"
    " methods",
    (UNSHOWN, UNSHOWN): "neither to lose less than plain training nor to lose more, on any network with"
    " all methods",
}
ON_TEXT = {
    "lose less": "need fewer bits", "lose more": "need more bits", "lose as much": "need as many bits",
    "plain training": "plain fine-tuning", "network": "model",
}  # fmt: skip
SUBJECTS = {
    "Published": ("t0_qat", "published T0-QAT"),
    "Tuned": ("t0_qat_tuned", "tuned T0-QAT"),
    "Scale": ("xi_alone", "T0-QAT with ξ alone"),
}
IMAGES = [("vision", key) for key in SUBJECTS]
TEXT = [("language", key) for key in ("Published", "Tuned")]
MODELS = {"vision": ("small_cnn", "deep_cnn"), "language": ("small_gpt2", "small_llama")}
MAKE = {"vision": vision.vision, "language": language.language}


@pytest.fixture
def tables():
    return frames()


def readable(sentence: str) -> None:
    """Assert that it is one whole sentence that a reader takes in, with at most three values."""
    assert re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\.", sentence), sentence
    assert len(sentence.split()) <= 30, sentence
    bare = re.sub(r"T0-QAT|GPT-2", "", sentence)
    assert len(re.findall(r"\d[\d.,]*", bare)) <= 3 and "nan" not in sentence and "–" not in sentence


def set_pairs(pairs: pd.DataFrame, mine, models, shown) -> None:
    for model, values in zip(models, shown, strict=True):
        pairs.loc[mine & (pairs.model == model), ["estimate", "p_bh", "p_equal"]] = values


@pytest.mark.parametrize("shown", FORMS)
@pytest.mark.parametrize(("file", "key"), IMAGES + TEXT)
def test_what_is_shown_over_the_widths_chooses_the_sentence(tables, file, key, shown):
    method, subject = SUBJECTS[key]
    pairs = tables[f"{file}_any_paired"]
    mine = (pairs.method == method) & (pairs.against == "plain") & (pairs.quantity == "mean")
    mine &= (pairs.scale_rule == "own") & (pairs.layout == "channels")
    set_pairs(pairs, mine, MODELS[file], shown)
    expected = FORMS[shown]
    for word, other in ON_TEXT.items() if file == "language" else ():
        expected = expected.replace(word, other)
    said = MAKE[file](tables)[1][f"{file.capitalize()}{key}Sentence"]
    assert said == f"After rounding, averaged over widths, {subject} is shown {expected}."
    readable(said)


def test_what_was_not_compared_is_said_to_be_so(tables):
    for name in ("vision_any_paired", "vision_paired"):
        tables[name] = tables[name].query("method not in ['t0_qat_tuned', 'xi_alone', 'longer']")
    tables["vision_tuning"] = tables["vision_tuning"].query("method != 't0_qat_tuned'")
    said = vision.vision(tables)[1]
    for key in ("Tuned", "Scale"):
        end = f"{SUBJECTS[key][1]} was not compared with plain training in this run."
        assert said[f"Vision{key}Sentence"].endswith(end)
    assert said["VisionPlaceboSentence"] == "This run has no placebo."
    assert said["VisionBudgetSentence"] == "This run does not ask whether the budget is long enough."
    assert said["VisionScalingSentence"] == "No scaling was tuned in this run."
    for key in ("Tuned", "Scale", "Placebo", "Budget", "Scaling"):
        readable(said[f"Vision{key}Sentence"])


@pytest.mark.parametrize("file", MODELS)
def test_at_the_lowest_width_the_reference_is_compared_with_plain_training(tables, file):
    pairs, unit = tables[f"{file}_paired"], {"vision": "nats", "language": "per character"}[file]
    mine = (pairs.method == "lsq") & (pairs.eval_bits == 2) & (pairs.against == "plain")
    mine &= (pairs.scale_rule == "own") & (pairs.layout == "channels") & (pairs.train_bits == 2)
    set_pairs(pairs, mine, MODELS[file], [(-0.25, 0.01, 0.9), (-0.125, 0.01, 0.9)])
    start = "At INT2, training for that width, chosen in tuning, is shown"
    less = FORMS[LOWER, LOWER]
    for word, other in ON_TEXT.items() if file == "language" else ():
        less = less.replace(word, other)
    key = f"{file.capitalize()}LowSentence"
    said = MAKE[file](tables)[1][key]
    assert said == f"{start} {less}, by 0.12 to 0.25 {unit}."
    readable(said)
    pairs.loc[mine, "p_bh"] = 0.5
    said = MAKE[file](tables)[1][key]
    assert said.startswith(f"{start} neither to ")
    readable(said)


def test_a_reference_that_knows_no_width_or_is_plain_training_is_called_so(tables):
    pairs = tables["vision_paired"]
    best = (pairs.against == "best_baseline") & (pairs.eval_bits == 2)
    pairs.loc[best & (pairs.other == "lsq"), ["other", "other_bits"]] = "gptq", 0
    said = vision.vision(tables)[1]["VisionLowSentence"]
    assert said.startswith("At INT2, the method of least loss in tuning is shown ")
    readable(said)
    pairs.loc[best & (pairs.model == "deep_cnn") & (pairs.other == "gptq"), "other"] = "no_noise"
    said = vision.vision(tables)[1]["VisionLowSentence"]
    where = "on 1 of 2 networks with all methods"
    assert said == f"At INT2, plain training itself lost least in tuning {where}."
    readable(said)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ({"mlp": 100, "small_cnn": 100, "deep_cnn": 100, "residual_cnn": 100}, "inside"),
        ({"mlp": 30, "small_cnn": 100, "deep_cnn": 300, "residual_cnn": 100}, "2 of 4 networks"),
        ({"mlp": 30, "small_cnn": 300, "deep_cnn": 300, "residual_cnn": 30}, "every network"),
    ],
)
def test_an_end_of_the_scalings_is_told(tables, at, said):
    tried = tables["vision_tuning"]
    mine = tried.method == "t0_qat_tuned"
    tried.loc[mine, "chosen"] = 0
    for model, scaling in at.items():
        tried.loc[
            tried.index[mine & (tried.model == model) & (tried.strength == scaling)][0], "chosen"
        ] = 1
    expected = f"On {said}, tuning chose an end of the scalings that it tried."
    if said == "inside":
        expected = "The tuned scaling lies inside the values that were tried on every network."
    found = vision.vision(tables)[1]["VisionScalingSentence"]
    assert found == expected
    readable(found)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ((HIGHER, WITHIN), "long enough on every network at every width"),
        (
            (UNSHOWN, WITHIN),
            "nowhere too short, and the question is open in 3 of 6 comparisons of network and width",
        ),
        ((LOWER, UNSHOWN), "too short in 3 of 6 comparisons of network and width"),
    ],
)
def test_the_budget_is_told_by_its_shortest_place(tables, shown, said):
    pairs = tables["vision_paired"].assign(margin=0.02)
    mine = (pairs.method == "longer") & (pairs.against == "plain")
    set_pairs(pairs, mine, MODELS["vision"], shown)
    found = vision.vision(tables | {"vision_paired": pairs})[1]["VisionBudgetSentence"]
    assert found == f"By plain training with twice of it, the budget is {said}."
    readable(found)


@pytest.mark.parametrize(
    ("lower", "said"),
    [
        ([], "No method is shown to {}, rounded the same way, at any width."),
        ([("ste", 2)], "Methods are shown to {} at INT2, and at no wider width."),
        (
            [("ste", 2), ("gptq", 2), ("ste", 4)],
            "Methods are shown to {} at more than one width, most often at INT2.",
        ),
        ([("ste", 2), ("gptq", 4)], "Methods are shown to {}, and not first of all at INT2."),
    ],
)
def test_the_figure_s_message_is_where_anything_is_shown_to_lose_less(tables, lower, said):
    pairs = tables["vision_paired"].assign(p_bh=0.5, p_equal=0.9)
    for method, bits in lower:
        mine = (pairs.method == method) & (pairs.eval_bits == bits) & (pairs.model == "deep_cnn")
        pairs.loc[mine & (pairs.against == "plain"), ["estimate", "p_bh"]] = -0.1, 0.01
    found = vision.vision(tables | {"vision_paired": pairs})[1]["VisionFigureSentence"]
    assert found == said.format("lose less than plain training")
    readable(found)


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_what_the_figure_does_not_draw_is_named_where_it_is_little(tables, count):
    table = tables["vision"]
    at_float = (table.metric == "accuracy") & (table.eval_bits == 32)
    methods = ["ste", "sam", "standard_qat", "kure"][:count]
    table.loc[at_float, "mean"] = 0.9
    table.loc[at_float & table.method.isin(methods), "mean"] = 0.1
    said = vision.vision(tables)[1]["VisionUndrawnSentence"]
    readable(said)
    named = [network(method) for method in methods]
    assert all((name in said) == (0 < count <= phrases.FEW) for name in named)
    assert (said == "Every arm is drawn.") == (count == 0)
    assert ("leaves out 4 methods" in said) == (count == 4)


def test_marks_that_the_placebo_carries_are_counted(tables):
    for name in ("vision_paired", "vision_any_paired"):
        pairs = tables[name]
        pairs.loc[pairs.method == "xi_alone", ["estimate", "p_bh", "p_equal"]] = -0.1, 0.9, 0.9
        pairs.loc[(pairs.method == "xi_alone") & (pairs.against != "plain"), "p_bh"] = 0.01
    every = 2 * (2 + 2)  # networks; single widths, mean and worst

    def said():
        found = vision.vision(tables)[1]["VisionPlaceboSentence"]
        readable(found)
        return found

    assert said() == f"None of its {every} comparisons with plain training is marked by a direction."
    over, single = tables["vision_any_paired"], tables["vision_paired"]
    mine = (over.method == "xi_alone") & (over.against == "plain") & (over.model == "deep_cnn")
    over.loc[mine & (over.quantity == "worst"), "p_bh"] = 0.01
    end = f"of its {every} comparisons with plain training, a caution for other marks."
    assert said() == f"A direction is marked in 1 {end}"
    at_two = (single.method == "xi_alone") & (single.against == "plain") & (single.eval_bits == 2)
    at_two &= single.model == "small_cnn"
    single.loc[at_two, ["estimate", "p_bh"]] = 0.1, 0.01
    assert said() == f"A direction is marked in 2 {end}"
    single.loc[at_two, "p_equal"] = 0.01  # a circle, no mark of a direction
    assert said() == f"A direction is marked in 1 {end}"


@pytest.mark.parametrize(
    ("chosen", "where"), [((0, 0), "every model"), ((0, 2), "1 of 2 models"), ((1, 4), "")]
)
def test_a_rate_at_the_lowest_end_is_told(tables, chosen, where):
    tried = tables["language_tuning"]
    mine = tried.method == "t0_qat"
    tried.loc[mine, "chosen"] = 0
    for model, place in zip(MODELS["language"], chosen, strict=True):
        tried.loc[tried.index[mine & (tried.model == model)][place], "chosen"] = 1
    said = language.language(tables)[1]["LanguageRatesSentence"]
    rate = f"the lowest rate on {where}" if where else "a rate above the lowest on every model"
    assert said == f"For the published scale, tuning chose {rate}."
    readable(said)
    tables["language_tuning"] = tried[~mine]
    none = language.language(tables)[1]["LanguageRatesSentence"]
    assert none == "The published scale was not tuned in this run."


def test_there_are_no_other_sentences(tables):
    """What a new one may say is to be tested here, in all its forms."""
    both = ["Published", "Tuned", "Low", "Scaling", "Budget", "Figure", "Undrawn"]
    more = {"vision": ["Placebo", "Scale"], "language": ["Rates"]}
    for file, make in MAKE.items():
        found = {name for name in make(tables)[1] if name.endswith("Sentence")}
        assert found == {f"{file.capitalize()}{key}Sentence" for key in both + more[file]}
    assert REGISTRY["lsq"].for_bits  # the reference of these tables, which trains for a width
