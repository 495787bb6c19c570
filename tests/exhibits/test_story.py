"""What a reader sees first: every form of every sentence, and the rows of its tables."""

import re

import pandas as pd
import pytest
from made_up import frames

from t0qat.exhibits import readme, story
from t0qat.paper import PAPER
from t0qat.pipeline import places
from t0qat.pipeline.readme import read
from t0qat.training.methods import REGISTRY

REST = "the others show no effect or stay open"
KINDS = ["supported", "contradicted", "no effect", "undecided", "not testable here (why)", ""]
BASELINE = "than the paper's baseline"


@pytest.fixture(scope="module")
def committed() -> dict[str, pd.DataFrame]:
    return read(PAPER, places.ROOT)


def whole(text: str) -> list[str]:
    """Its sentences, each of which a person would say, with three values at most."""
    sentences = re.split(r"(?<=\.) (?=[A-Z1-9])", text)
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z1-9].*\.", sentence), sentence
        assert not re.search(
            r"  |–|nan|\{|\}|\b1 (are|verdicts|trials)\b|\b(\d\d+|[2-9]) is\b", sentence
        ), sentence
        plain = sentence.replace("T0-QAT", "")
        values = re.sub(r"\d[\d,.]* to (?=\d)", "", plain)  # a span is one
        assert len(re.findall(r"(?<![\w-])−?\d[\d,.]*|INT\d", values)) <= 3, sentence
        assert len(sentence.split()) <= 30, sentence
    return sentences


def judged(committed, **said: str) -> dict[str, pd.DataFrame]:
    """With other verdicts as published, by claims."""
    table = committed["verdicts"].copy()
    for claim, verdict in said.items():
        table.loc[table.id == claim, "as_published"] = verdict
    return committed | {"verdicts": table}


@pytest.mark.parametrize(
    ("drop", "loss", "answer"),
    [
        ("supported", "supported", "Yes"),
        ("supported", "contradicted", "In part"),
        ("no effect", "supported", "In part"),
        ("no effect", "contradicted", "No"),
        ("contradicted", "undecided", "No"),
        ("undecided", "no effect", "No"),
        ("supported", "undecided", "Not decided"),
        ("undecided", "undecided", "Not decided"),
        ("not testable here (why)", "", "Not decided"),
    ],
)
def test_the_first_word_answers_whether_the_claim_is_true(committed, drop, loss, answer):
    assert story.found(judged(committed, C1=drop, C2=loss)).startswith(f"{answer}: as published, ")


@pytest.mark.parametrize("loss", KINDS)
@pytest.mark.parametrize("drop", KINDS)
def test_what_was_found_says_both_verdicts(committed, drop, loss):
    first, second = whole(story.found(judged(committed, C1=drop, C2=loss)))
    costs = {
        "supported": f"quantization noise costs T0-QAT less {BASELINE}",
        "contradicted": f"quantization noise costs T0-QAT more {BASELINE}",
        "no effect": "quantization noise costs T0-QAT as much as the paper's baseline",
    }
    ends = {
        "supported": "T0-QAT ends with the smaller loss",
        "contradicted": "T0-QAT ends with the larger loss",
        "no effect": "both end with the same loss",
    }
    assert f"as published, {costs.get(drop, 'it is open whether')}" in first
    assert f", and {ends.get(loss, 'it is open which of them')}" in first
    assert second.startswith("Of ")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["supported"] * 20, "All 20 verdicts on its claims are supported."),
        (["contradicted"] * 20, "All 20 verdicts on its claims are contradicted."),
        (
            ["undecided"] * 20,
            f"Of 20 verdicts on its claims, none is supported and none is contradicted; {REST}.",
        ),
        (
            ["supported"] + ["contradicted at INT2"] + ["no effect"] * 3,
            f"Of 5 verdicts on its claims, 1 is supported (C3) and 1 is contradicted; {REST}.",
        ),
        (
            ["supported"] * 11 + ["contradicted"] * 2,
            "Of 13 verdicts on its claims, 11 are supported and 2 are contradicted.",
        ),
        (
            ["contradicted"] * 5 + ["not measured yet"],
            f"Of 6 verdicts on its claims, none is supported and 5 are contradicted; {REST}.",
        ),
    ],
)
def test_verdicts_are_counted_in_a_sentence(committed, cells, said):
    table = pd.DataFrame({"id": "C3", "claim": "words", "as_published": cells, "scale_tuned": ""})
    assert whole(story.found(committed | {"verdicts": table}))[-1] == said


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("no effect", "The published advantage is chance, "),
        ("supported", "our runs show less for T0-QAT"),
        ("contradicted", "our runs show more for T0-QAT"),
        ("undecided", "too few to confirm it"),
        ("not testable here (why)", "too few to confirm it"),
    ],
)
def test_why_the_number_was_as_it_was(committed, verdict, said):
    first, _ = whole(story.why(judged(committed, C1=verdict)))
    assert said in first and "the same expected loss to every model" in first


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (0.2, 0.992, "is a training stopped early"),
        (0.995, 0.996, "is not stopped early"),
        (0.2, 0.8, "falls short even with more epochs"),
    ],
)
def test_a_training_is_stopped_early_where_more_of_it_reaches_plain_training(
    committed, first, last, said
):
    table = committed["theory_training"].copy()
    mine = (table.method == "t0_qat") & (table.quantity == "explained")
    for schedule, epoch, value in (("constant", 300, first), ("decaying", 30000, last)):
        where = mine & (table.schedule == schedule) & (table.epoch == epoch)
        assert where.sum() == 1
        table.loc[where, ["mean", "ci_low", "ci_high"]] = value, value - 0.001, value + 0.001
    _, sentence = whole(story.why(committed | {"theory_training": table}))
    assert sentence.startswith(f"The published method {said}: it explains {100 * first:.1f}")
    assert "when trained 100 times as long" in sentence


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("supported", "neither half nor twice that noise does as well"),
        ("contradicted", "noise of another size ends with a smaller loss"),
        ("no effect", "half or twice that noise does as well"),
        ("undecided", "whether another size does better is open"),
        ("", "whether another size does better is open"),
    ],
)
def test_what_xi_does(committed, verdict, said):
    (sentence,) = whole(story.xi(judged(committed, C5=verdict)))
    assert said in sentence


@pytest.mark.parametrize(
    ("open_", "said"),
    [
        (0, "none is undecided"),
        (1, "1 is undecided"),
        (3, "3 are undecided"),
    ],
)
def test_how_sure_and_what_would_change_the_answer(open_, said):
    cells = ["undecided"] * open_ + ["supported"] * (9 - open_)
    table = pd.DataFrame({"id": "C3", "claim": "words", "as_published": cells, "scale_tuned": ""})
    first, second = whole(story.sure({"verdicts": table}))
    assert first == f"The chance that even one decided verdict is wrong is held to 5 %; {said}."
    assert second.startswith("More seeds, larger networks")


def picks(*methods: str, ahead: str, family: str = "images") -> dict[str, pd.DataFrame]:
    """Picks at INT8, INT4, INT3 and INT2; ahead: of each, whether its interval lies below zero (+)."""
    rows = []
    for bits, method, sign in zip((8, 4, 3, 2), methods, ahead, strict=True):
        row = {
            "family": family,
            "pick": "recommended",
            "eval_bits": bits,
            "dataset": "d",
            "model": "mlp",
        }
        row |= {"method": method, "train_bits": 0, "n": 8, "margin": 0.02}
        low, high = {"+": (-0.3, -0.1), "-": (0.1, 0.3), "0": (-0.1, 0.1)}.get(sign, (0, 0))
        rows.append(row | {"quantity": "loss", "estimate": 1.0, "ci_low": 0.9, "ci_high": 1.1})
        kept = {"estimate": 0.0, "ci_low": -0.01, "ci_high": 0.01 if sign in "k" else 0.03}
        rows.append(row | {"quantity": "minus_unrounded"} | kept)
        if sign != "k":  # plain training itself
            between = {"estimate": (low + high) / 2, "ci_low": low, "ci_high": high}
            rows.append(row | {"quantity": "minus_plain"} | between)
    rows.append(rows[0] | {"pick": "one_for_all", "method": "gptq"})
    arms = [{"family": family, "eval_bits": b, "behind": x, "margin": 0.02} for b in (8, 4, 3, 2)
            for x in (0, 0.01 * b)]  # fmt: skip
    return {"recommendation": pd.DataFrame(rows), "recommendation_arms": pd.DataFrame(arms)}


NOTHING = "nothing that tuning chose is shown to beat rounding plain training"
WILL_DO = "at more bits rounded plain training will do, as no choice of tuning is shown to beat it"


@pytest.mark.parametrize(
    ("methods", "ahead", "said"),
    [
        (("kure", "kure", "lsq", "seq"), "0000", f"{NOTHING} at any width."),
        (("no_noise",) * 4, "kkkk", f"{NOTHING} at any width."),
        (("kure", "kure", "lsq", "seq"), "000+", f"use SEQ at INT2; {WILL_DO}."),
        (("kure", "kure", "seq", "seq"), "00++", f"use SEQ at INT3 and below; {WILL_DO}."),
        (("no_noise", "gptq", "quest", "quest"), "k+++",
         f"use GPTQ at INT4 and QuEST below; {WILL_DO}."),
        (("no_noise", "gptq", "gptq", "quest"), "k+++",
         f"use GPTQ down to INT3 and QuEST below; {WILL_DO}."),
        (("no_noise", "gptq", "lsq", "quest"), "k+++",
         f"use what the table names at INT4 and below; {WILL_DO}."),
        (("seq",) * 4, "++++",
         "use SEQ at every width; this is shown to beat rounding plain training."),
        (("gptq", "gptq", "seq", "seq"), "++++",
         "use GPTQ down to INT4 and SEQ below; this is shown to beat rounding plain training."),
        (("gptq", "lsq", "seq", "quest"), "++++",
         "use what the table names; this is shown to beat rounding plain training."),
        (("gptq", "gptq", "seq", "seq"), "0+0-",
         "the table says at which widths a method is shown to beat rounding plain training."),
    ],
)  # fmt: skip
def test_what_to_use_in_a_sentence(methods, ahead, said):
    tables = picks(*methods, ahead=ahead)
    assert whole(story.use(tables))[0] == f"On image networks, {said}"
    assert len(story.use_cells(tables)) == 4


def test_each_family_has_its_sentence_and_both_one_training_for_all():
    images = picks("seq", "seq", "seq", "seq", ahead="000+")["recommendation"]
    text = picks("gptq", "gptq", "gptq", "gptq", ahead="+++k", family="text")["recommendation"]
    both = {"recommendation": pd.concat([images, text])}
    first, second = whole(story.use(both))
    assert first.startswith("On image networks, use SEQ at INT2")
    assert second.startswith("On language models, the table says") and "fine-tuning" in second
    one = whole(story.one(both))
    assert one == [
        "With one training for all widths, use GPTQ on image networks and GPTQ on language models."
    ]
    alone = whole(story.one({"recommendation": images}))
    assert alone == ["With one training for all widths, use GPTQ on image networks."]


@pytest.mark.parametrize(
    ("sign", "because"),
    [
        ("+", "loses less than rounded plain training, by 0.20 [0.10, 0.30]"),
        ("-", "least loss in tuning, but more than rounded plain training on the MLP"),
        ("0", "not shown to differ from rounded plain training; least loss in tuning"),
        ("k", "keeps the loss of unrounded weights; least loss in tuning"),
    ],
)
def test_why_a_method_is_used(sign, because):
    (task, bits, use, why, one), *_, last = story.use_cells(picks(*["seq"] * 4, ahead=sign * 4))
    used = "Plain training or SEQ" if sign == "0" else "SEQ"
    assert (task, bits, use, why, one) == ("Image networks", "INT8", used, because, "GPTQ")
    assert (last[0], last[1], last[4]) == ("", "INT2", "GPTQ")
    good = because.replace("least loss in tuning", "2 of 2 methods as good in tuning")
    assert last[3] == (good if sign in "0k" else because)


def test_what_is_shown_on_one_network_alone_is_not_said_of_both():
    tables = picks(*["seq"] * 4, ahead="++++")
    table = tables["recommendation"]
    other = table.assign(model="deep_cnn", ci_high=table.ci_high + 0.2)
    both = pd.concat([table, table.assign(model="deep_cnn")], ignore_index=True)
    (_, _, _, why, _), *_ = story.use_cells(tables | {"recommendation": both})
    assert why.endswith("by 0.20 [0.10, 0.30] (MLP) and 0.20 [0.10, 0.30] (deep CNN)")
    mixed = tables | {"recommendation": pd.concat([table, other], ignore_index=True)}
    (_, _, _, why, _), *_ = story.use_cells(mixed)
    assert why == "loses less than rounded plain training on the MLP, not shown to differ elsewhere"


def test_a_claim_has_one_row_and_a_word_or_two_a_verdict(committed):
    told = ["not testable here (a reason, 0.1)", "not measured yet", "contradicted at INT3, INT2", ""]
    shown = ["not testable", "not measured", "contradicted at INT3, INT2", "–"]
    table = committed["verdicts"].head(4).assign(as_published=told)
    rows = story.verdict_cells({"verdicts": table})
    assert [row[1] for row in rows] == shown
    assert [row[0] for row in rows] == [f"{r.id}: {r.claim}" for r in table.itertuples()]


def test_exhibits_hold_the_same_words_as_the_readme(committed):
    first, second = story.claims_verdicts(committed), story.recommendation_short(committed)
    block = readme.results(committed) + readme.questions(committed) + readme.verdicts(committed)
    block = re.sub(r"\\(?=[\[\]])", "", block).replace("**", "")
    for text in (*first[1].values(), *second[1].values()):
        whole(text)
        assert text in block
    for body, cells in ((first[0], story.verdict_cells), (second[0], story.use_cells)):
        assert body.count(r" \\") == len(cells(committed)) + 1
    assert len(story.use_cells(committed)) <= 8
    assert whole(story.claimed()) == [story.claimed()]


def test_hostile_labels_leave_the_readme_tables_whole(monkeypatch):
    """As many cells in every row, which GitHub splits at each bar without a backslash before it."""
    hostile = "A | B <img> [c](d) `e`"
    tables = frames()
    for name in tables["recommendation"].method.unique():
        monkeypatch.setitem(REGISTRY, name, REGISTRY[name]._replace(label=hostile))
    tables["verdicts"] = tables["verdicts"].assign(claim=hostile, as_published=hostile)
    blocks = [readme.results(tables), readme.verdicts(tables), readme.methods(tables)]
    found = [part for text in blocks for part in text.split("\n\n") if part.startswith("|")]
    assert len(found) == 3
    for block in found:
        rows = block.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        assert r"\[c\](d)" in block
    assert "<img>" not in "".join(blocks)
