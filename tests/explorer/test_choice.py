"""Which method at which width: rows are those of the results files, sentences those of their rows."""

import itertools
import re
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies

from t0qat.explorer import choice
from t0qat.explorer.choice import ChoiceError
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places
from t0qat.training.methods import REGISTRY

RESULTS = places.ROOT / "paper" / "results"
METRICS = {"vision": "loss", "language": "bits_per_character"}
FAMILIES = {"vision": "images", "language": "text"}
FOUND = choice.load(PAPER)
RAW = {file: pd.read_csv(RESULTS / f"{file}.csv") for file in choice.FILES}
PLACES = [
    (file, network, bits)
    for file in METRICS
    for (network, bits), _ in RAW[file].groupby(["model", "eval_bits"])
    if bits != 32
]
EVERY = pytest.mark.parametrize(("file", "network", "bits"), PLACES)


def changed(**files: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return FOUND | files


def said(found, network: str, bits: int, picked) -> list[str]:
    """The sentences, each whole."""
    text = choice.sentence(found, network, bits, choice.rows(found, network, bits, picked))
    sentences = re.split(r"(?<=\.)\s+", text)
    assert "{" not in text
    assert "nan" not in text.split()
    for one in sentences:
        assert one.endswith("."), text
        values = re.sub(r"−?\d[\d.]* \[[^]]*\]( · 10\S+)?", "value", one)
        assert len(values.split()) <= 30 or one.startswith("At chance"), one
    return sentences


# Rows


def test_the_networks_are_those_of_both_benchmarks():
    assert {*choice.networks(FOUND)} == {network for _, network, _ in PLACES}
    few = [network for network in choice.networks(FOUND) if len(methods_of(network)) < 10]
    assert [*choice.networks(FOUND)][-len(few) :] == few


def methods_of(network: str) -> set[str]:
    both = pd.concat([RAW["vision"], RAW["language"]])
    return {*both[(both.model == network) & (both.layout == "channels")].method}


@EVERY
def test_rows_are_those_of_the_files(file, network, bits):
    picked = choice.methods(FOUND, network, bits)
    rows = choice.rows(FOUND, network, bits, picked)
    table, pairs = RAW[file], RAW[f"{file}_paired"]
    here = "model == @network and eval_bits == @bits and layout == 'channels' and scale_rule == 'own'"
    own = "(train_bits == 0 or train_bits == @bits)"
    mine = table.query(f"{here} and {own} and metric == @METRICS[@file]").set_index("method")
    assert set(picked) == set(mine.index)
    assert picked[0] == "no_noise"
    for column, of in {"loss": "mean", "loss_low": "ci_low", "loss_high": "ci_high"}.items():
        assert rows[column].to_dict() == mine[of].to_dict()
    against = pairs.query(f"{here} and {own} and against == 'plain'").set_index("method")
    others = rows.drop(index="no_noise")
    assert set(others.index) == set(against.index)
    ends = {"difference": "estimate", "difference_low": "ci_low", "difference_high": "ci_high"}
    for column, of in (ends | {"n": "n", "margin": "margin", "train_bits": "train_bits"}).items():
        assert others[column].to_dict() == against[of].to_dict()
    assert rows.loc["no_noise", [*ends]].tolist() == [0, 0, 0]
    assert rows.margin.nunique() == 1


@EVERY
def test_a_difference_is_that_of_the_means_where_both_are_of_the_same_seeds(file, network, bits):
    rows = choice.rows(FOUND, network, bits, choice.methods(FOUND, network, bits))
    table = RAW[file].query("model == @network and eval_bits == @bits and scale_rule == 'own'")
    table = table.query("metric == @METRICS[@file] and layout == 'channels'")
    n = table.query("train_bits == 0 or train_bits == @bits").set_index("method").n
    same = rows[(n == n["no_noise"]).reindex(rows.index)]
    assert len(same) > 1
    plain = rows.loss["no_noise"]
    np.testing.assert_allclose(same.difference, same.loss - plain, atol=3e-8)


@EVERY
def test_what_is_recommended_is_marked_and_shown_first(file, network, bits):
    told = RAW["recommendation"].query("family == @FAMILIES[@file] and pick == 'recommended'")
    (method,) = {*told[told.eval_bits == bits].method}
    judged = network in {*told.model}
    assert choice.advice(FOUND, network, bits) == ("judged" if judged else "elsewhere", method)
    known, usual = choice.methods(FOUND, network, bits), choice.usual(FOUND, network, bits)
    assert usual[0] == "no_noise"
    assert {*usual} <= {*known}
    assert {"no_noise", "t0_qat", "t0_qat_tuned", "random_bits"} <= {*usual}
    assert (method in usual) == (method in known)
    marked = choice.rows(FOUND, network, bits, known).recommended
    assert [*marked.index[marked]] == [method] * (method in known)


@EVERY
def test_at_chance_is_what_learned_nothing_before_rounding(file, network, bits):
    rows = choice.rows(FOUND, network, bits, choice.methods(FOUND, network, bits))
    bars = tomllib.loads((places.ROOT / "paper" / "claims.toml").read_text())["bars"]
    metric, sign = {"vision": ("accuracy", 1), "language": ("bits_per_character", -1)}[file]
    whole = RAW[file].query("model == @network and eval_bits == 32 and metric == @metric")
    whole = whole[whole.layout == "channels"].set_index(["method", "train_bits"])["mean"]
    for method, row in rows.iterrows():
        learned = sign * whole[method, row.train_bits] > sign * bars[metric]
        assert (row.place == "at chance") == (not learned), method
    far = rows[rows.place != "at chance"].difference.abs() > 12 * rows.margin.iloc[0]
    assert far.to_dict() == (rows[rows.place != "at chance"].place == "beyond the axis").to_dict()


def test_a_method_picked_twice_is_one_row_and_the_order_is_the_readers():
    picked = ["ste", "no_noise", "ste"]
    assert [*choice.rows(FOUND, "mlp", 2, picked).index] == ["ste", "no_noise"]


# Sentences


@EVERY
def test_the_usual_methods_are_spoken_of_everywhere(file, network, bits):
    for picked in (choice.usual(FOUND, network, bits), choice.methods(FOUND, network, bits)):
        sentences = said(FOUND, network, bits, picked)
        assert f"INT{bits}" in sentences[0]
        assert choice.CAUTION in sentences
        assert any(one.startswith(f"Recommended at INT{bits} is ") for one in sentences)


@settings(deadline=None, max_examples=30)
@given(data=strategies.data())
def test_the_lowest_of_any_pick_is_named_and_said_to_be_what_its_interval_shows(data):
    _, network, bits = data.draw(strategies.sampled_from(PLACES))
    known = choice.methods(FOUND, network, bits)
    picked = data.draw(strategies.lists(strategies.sampled_from(known), min_size=1, unique=True))
    rows = choice.rows(FOUND, network, bits, picked)
    learned = rows[rows.place != "at chance"]
    first, *others = said(FOUND, network, bits, picked)
    if learned.empty:
        assert first == choice.ALL_AT_CHANCE
        return
    lowest = learned[learned.difference == learned.difference.min()]
    assert any(f" {choice.word(method)} " in first for method in lowest.index)
    assert choice.loss_word(lowest.iloc[0]) in first
    row, margin = lowest.iloc[0], lowest.margin.iloc[0]
    text = " ".join(others)
    if row.name != "no_noise":
        low, high = row.difference_low, row.difference_high
        assert ("That is lower than" in text) == (high < 0)
        assert ("That is higher than" in text) == (low > 0)
        equal = low <= 0 <= high and max(-low, high) < margin
        assert ("counts as equal" in text) == equal
        assert ("not shown to differ" in text) == (low <= 0 <= high and not equal)
        assert ("by less than the margin" in text) == (not low <= 0 <= high and max(-low, high) < margin)
    else:
        assert choice.AGAINST["itself"] in text


INTERVALS = {  # of a margin of 0.02
    "lower": (-0.5, -0.6, -0.4),
    "lower within the margin": (-0.01, -0.015, -0.005),
    "within the margin": (0.001, -0.01, 0.012),
    "undecided": (-0.01, -0.06, 0.04),
    "higher within the margin": (0.01, 0.005, 0.015),
    "higher": (0.06, 0.04, 0.08),
}
WORDS = {
    "lower": "That is lower than plain training rounded the same way: the difference is"
    " −0.50 [−0.60, −0.40] in 12 pairs of test seeds.",
    "lower within the margin": "That is lower than plain training rounded the same way, but by less than"
    " the margin: the difference is −0.010 [−0.015, −0.005] in 12 pairs of test seeds.",
    "within the margin": "That counts as equal to plain training rounded the same way, for it stays"
    " within the margin: the difference is 0.001 [−0.010, 0.012] in 12 pairs of test seeds.",
    "undecided": "It is not shown to differ from plain training rounded the same way: the difference is"
    " −0.010 [−0.060, 0.040] in 12 pairs of test seeds.",
    "higher within the margin": "That is higher than plain training rounded the same way, but by less"
    " than the margin: the difference is 0.010 [0.005, 0.015] in 12 pairs of test seeds.",
    "higher": "That is higher than plain training rounded the same way: the difference is"
    " 0.060 [0.040, 0.080] in 12 pairs of test seeds.",
}


def test_every_form_of_the_difference_is_tried():
    assert {*INTERVALS, "itself"} == {*WORDS, "itself"} == {*choice.AGAINST}


@pytest.mark.parametrize("form", INTERVALS)
def test_each_difference_has_its_own_sentence(form):
    pairs = FOUND["vision_paired"].copy()
    mine = (pairs.model == "mlp") & (pairs.eval_bits == 2) & (pairs.method == "ste")
    values = ["estimate", "ci_low", "ci_high", "margin", "n"]
    pairs.loc[mine, values] = [*INTERVALS[form], 0.02, 12]
    found = changed(vision_paired=pairs)
    first, second, *_ = said(found, "mlp", 2, ["ste"])
    assert first.startswith("Only STE is picked: at INT2 on the MLP it has ")
    assert first.endswith(" nats of test loss.")
    assert second == WORDS[form]
    row = choice.rows(found, "mlp", 2, ["ste"]).loc["ste"]
    assert choice.shown(row) == form


TOLD = FOUND["recommendation"]
AT_INT2 = (TOLD.pick == "recommended") & (TOLD.eval_bits == 2)
TOLD = TOLD.assign(method=TOLD.method.where(~AT_INT2, "seq"))
SEQ_AT_INT2 = changed(recommendation=TOLD)
ADVICE = (
    "Recommended at INT2 is SEQ: it lost least on the tuning seeds, which the picture does not show, in"
    " the mean over the networks judged."
)


def test_one_method_two_methods_and_none():
    alone = said(FOUND, "mlp", 2, ["no_noise"])
    assert alone[0].startswith("Only plain training is picked")
    assert alone[1] == choice.AGAINST["itself"]
    assert choice.CAUTION not in alone
    pairs = FOUND["language_paired"].copy()
    mine = (pairs.model == "small_gpt2") & (pairs.eval_bits == 2) & (pairs.method == "quest")
    pairs.loc[mine, ["estimate", "ci_low", "ci_high"]] = [-0.5, -0.6, -0.4]
    two = said(changed(language_paired=pairs), "small_gpt2", 2, ["no_noise", "quest"])
    assert two[0].startswith("Of the methods picked, QuEST lies lowest at INT2 on the small GPT-2: ")
    assert two[0].endswith(" bits per character of test text.")
    assert choice.CAUTION in two
    nothing = said(SEQ_AT_INT2, "mlp", 2, [])
    assert nothing == ["No method is picked: pick at least one.", ADVICE, choice.NOT_PICKED]


def test_methods_at_chance_are_named_and_never_the_lowest():
    whole = FOUND["vision"].copy()
    unlearned = ["lsq", "standard_qat"]
    mine = (whole.model == "mlp") & (whole.eval_bits == 32) & (whole.metric == "accuracy")
    whole.loc[mine & whole.method.isin(unlearned), "mean"] = 0.1
    whole.loc[mine & ~whole.method.isin(unlearned), "mean"] = 0.9
    found = changed(vision=whole)
    sentences = said(found, "mlp", 2, ["no_noise", "lsq", "standard_qat"])
    assert " plain training lies lowest " in sentences[0]
    assert sentences[2] == (
        "At chance even before rounding, and therefore not drawn: LSQ and Gaussian noise 0.4."
    )
    assert said(found, "mlp", 2, unlearned)[0] == choice.ALL_AT_CHANCE


def test_methods_that_are_exactly_as_low_are_named():
    pairs = FOUND["vision_paired"].copy()
    mine = (pairs.model == "mlp") & (pairs.eval_bits == 2) & pairs.method.isin(["ste", "lsq"])
    pairs.loc[mine, ["estimate", "ci_low", "ci_high"]] = [-1.0, -1.1, -0.9]
    sentences = said(changed(vision_paired=pairs), "mlp", 2, ["no_noise", "ste", "lsq"])
    assert " STE lies lowest " in sentences[0]
    assert sentences[1] == "Exactly as low: LSQ."


def test_each_kind_of_advice_has_its_own_sentence():
    judged = said(SEQ_AT_INT2, "mlp", 2, ["no_noise", "seq"])
    assert ADVICE in judged
    assert choice.NOT_PICKED not in judged
    assert choice.NOT_PICKED in said(SEQ_AT_INT2, "mlp", 2, ["no_noise", "ste"])
    others = changed(recommendation=TOLD[TOLD.model != "mlp"])
    elsewhere = (
        "Recommended at INT2 is SEQ, by the tuning seeds of other networks: this one had no part in"
        " the choice."
    )
    assert elsewhere in said(others, "mlp", 2, ["no_noise", "seq"])
    renamed = changed(recommendation=TOLD.assign(model=TOLD.model.replace("mlp", "residual_cnn")))
    few = said(renamed, "residual_cnn", 2, ["no_noise", "ste"])
    assert ADVICE in few
    assert choice.NOT_RUN in few
    nothing = said(changed(recommendation=TOLD[TOLD.eval_bits != 2]), "mlp", 2, ["no_noise", "seq"])
    assert "Nothing is recommended at INT2: no network of this kind was judged there." in nothing
    assert not any(one.startswith("Recommended") for one in nothing)
    assert {*choice.ADVICE} == {"judged", "elsewhere", "nowhere"}


# What there is not


def test_what_is_unknown_is_named_in_one_line_with_what_is_allowed():
    for wrong, told in {
        ("lenet", 2, "ste"): "network = 'lenet': allowed are deep_cnn, mlp, ",
        ("mlp", 5, "ste"): "bits = 5: allowed are 8, 4, 3, 2",
        ("mlp", 8, "ste"): "method = 'ste': allowed are no_noise, ",
        ("mlp", 2, "adam"): "method = 'adam': allowed are no_noise, ",
    }.items():
        with pytest.raises(ChoiceError) as caught:
            choice.rows(FOUND, *wrong[:2], [wrong[2]])
        assert str(caught.value).startswith(told)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", choice.FILES)
def test_a_missing_file_is_named_with_the_notebook_that_makes_it(tmp_path, file):
    shutil.copytree(RESULTS, tmp_path / "paper" / "results")
    (tmp_path / "paper" / "results" / f"{file}.csv").unlink()
    with pytest.raises(ChoiceError) as caught:
        choice.load(PAPER, tmp_path)
    (makes,) = [n.name for n in notebooks.load(PAPER) if f"paper/results/{file}.csv" in n.outputs]
    assert str(caught.value) == f"paper/results/{file}.csv is missing; notebook {makes} makes it"


def test_a_run_of_other_networks_widths_and_methods_offers_these():
    names = {"deep_cnn": "small_cnn", "small_gpt2": "small_llama"}
    kept = ["no_noise", "gptq", "t0_qat_tuned"]

    def other(table: pd.DataFrame) -> pd.DataFrame:
        mine = table[table.model.isin(names) & table.method.isin(kept) & (table.eval_bits != 8)]
        return mine.assign(
            model=mine.model.map(names), eval_bits=mine.eval_bits.replace({4: 5}).astype(int)
        )

    found = {file: other(table) for file, table in FOUND.items()}
    assert {*choice.networks(found)} == {*names.values()}
    for network, bits in itertools.product(names.values(), (5, 3, 2)):
        assert choice.widths(found, network) == [5, 3, 2]
        assert {*choice.methods(found, network, bits)} == {*kept}
        assert said(found, network, bits, kept)
    assert {*kept} <= {*REGISTRY}
