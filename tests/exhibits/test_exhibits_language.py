"""What is typeset of the language models: less is better, and each word against its rows."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_up import HOSTILE, frames, language_rows
from scipy import stats
from test_exhibits_vision import numbers, only, rows_of

from t0qat.exhibits import language
from t0qat.paper import PAPER
from t0qat.pipeline import latex, statistics
from t0qat.training import language_models
from t0qat.training.methods import REGISTRY

NAMES = [name for name in PAPER.exhibits if name.startswith("language")]
GPT, LLAMA = "small GPT-2", "small Llama"


@pytest.fixture
def tables():
    return frames()


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """Those with a step a channel."""
    return in_any_layout(table[table.layout == "channels"])


def in_any_layout(table: pd.DataFrame) -> pd.DataFrame:
    """Bits per character as a user reads them: at the own width and the chosen rule, or unrounded."""
    table = table[table.metric == "bits_per_character"]
    table = table[table.train_bits.isin([0]) | (table.train_bits == table.eval_bits)]
    return table[table.scale_rule == np.where(table.eval_bits == 32, "none", "own")]


def column(tables, model: str, bits: int) -> dict[str, str]:
    """method -> its cell of the main table."""
    place = {32: 1, 4: 2, 2: 3}[bits]
    rows = rows_of(language.language(tables)[0])
    (start,) = [i for i, row in enumerate(rows) if row[0] == rf"\emph{{{model}}}"]
    labels = {REGISTRY[m].label.replace(",", ""): m for m in tables["language"].method.unique()}
    return {labels[row[0]]: row[place] for row in rows[start + 1 : start + 11]}


def test_the_least_bits_are_bold_and_less_than_the_reference_is_never_marked_as_beaten(tables):
    rows = scores(tables["language"]).query("model == 'small_llama' and eval_bits == 2")
    pairs = tables["language_paired"]
    mine = (
        (pairs.model == "small_llama")
        & (pairs.layout == "channels")
        & (pairs.eval_bits == 2)
        & (pairs.against == "best_baseline")
    )
    mine &= pairs.scale_rule == "own"
    for method, estimate, p in (
        ("ste", -0.5, 0.001), ("diffq", 0.5, 0.001), ("gptq", 0.5, 0.06), ("t0_qat", 0.5, 0.049)
    ):  # fmt: skip
        pairs.loc[mine & (pairs.method == method), ["estimate", "p_holm"]] = estimate, p
    cells = column(tables, LLAMA, 2)
    for row in rows.itertuples():
        expected = row.mean, (row.ci_high - row.ci_low) / 2
        assert numbers(cells[row.method]) == pytest.approx(expected, abs=0.006)
    assert [m for m, cell in cells.items() if r"\textbf" in cell] == [rows.method[rows["mean"].idxmin()]]
    assert [m for m, cell in cells.items() if r"\star" in cell] == ["lsq"]
    near = {method for method, cell in cells.items() if r"\circ" in cell}
    assert {"ste", "gptq"} <= near and not {"diffq", "t0_qat"} & near


def test_of_several_trainings_the_one_of_fewest_mean_bits_stands_over_the_widths(tables):
    scored = tables["language_any"]
    mine = (
        (scored.model == "small_gpt2")
        & (scored.layout == "channels")
        & (scored.method == "ste")
        & (scored.quantity == "mean")
    )
    scored.loc[mine & (scored.train_bits == 4), ["mean", "ci_low", "ci_high"]] = 0.31, 0.3, 0.32
    body, macros = language.language(tables)
    (row,) = [row for row in rows_of(body)[:11] if row[0] == "STE"]
    assert row[4].startswith(r"(4) \textbf{0.310}")
    assert macros["LanguageAnyFixed"].startswith("STE trained for INT4 with 0.310 [0.300, 0.320] (")


def test_the_best_named_is_the_one_of_fewest_bits(tables):
    table = tables["language"]
    mine = scores(table).query("model == 'small_llama' and method == 'gptq' and eval_bits == 4").index
    table.loc[mine, ["mean", "ci_low", "ci_high"]] = [0.987, 0.981, 0.993]
    said = language.language(tables)[1]["LanguageBest"]
    assert "GPTQ (0.9870 [0.9810, 0.9930]) at INT4" in said.split("; and ")[1]


@pytest.mark.parametrize(("high", "keeps"), [(0.0199, True), (0.02, False), (0.3, False), (-0.1, True)])
def test_a_model_keeps_its_score_where_the_whole_interval_is_within_the_margin(tables, high, keeps):
    kept = tables["language_kept"]
    kept[["ci_low", "ci_high"]] = -1.0, 1.0
    mine = (
        (kept.method == "t0_qat_tuned")
        & (kept.model == "small_llama")
        & (kept.layout == "channels")
        & (kept.eval_bits == 4)
    )
    kept.loc[mine & (kept.scale_rule == "own"), "ci_high"] = high
    macros = language.language(tables)[1]
    both = f"at no width on the {GPT} and the {LLAMA}"
    assert macros["LanguageKeptTuned"] == (
        f"at no width on the {GPT} and at INT4 on the {LLAMA}" if keeps else both
    )
    assert macros["LanguageKeptPlain"] == both
    assert macros["LanguageMargin"] == "0.02"


def test_fewer_bits_are_a_gain_and_are_called_lower(tables):
    pairs, anywhere = tables["language_paired"], tables["language_any_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.scale_rule == "own")
    pairs.loc[mine, ["estimate", "p_holm"]] = -0.1, 0.01
    pairs.loc[
        mine & (pairs.model == "small_llama") & (pairs.layout == "channels") & (pairs.eval_bits == 2),
        "estimate",
    ] = 0.1
    pairs.loc[
        mine & (pairs.model == "small_gpt2") & (pairs.layout == "channels") & (pairs.eval_bits == 2),
        "p_holm",
    ] = 0.2
    macros = language.language(tables)[1]
    assert macros["LanguageGains"] == f"at INT4 on the {GPT} and the {LLAMA}"
    assert macros["LanguageLosses"] == f"at no width on the {GPT} and at INT2 on the {LLAMA}"
    mine = (anywhere.method == "t0_qat") & (anywhere.quantity == "mean")
    mine &= anywhere.against == "best_baseline"
    anywhere.loc[mine, ["estimate", "p_holm"]] = -0.4, 0.049
    anywhere.loc[
        mine & (anywhere.model == "small_llama") & (anywhere.layout == "channels"), "p_holm"
    ] = 0.05
    said = language.differences(tables)[1]["LanguageDifferencesPublishedBest"]
    assert said == f"lower on the {GPT} and not detectably different on the {LLAMA}"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (0, "the lowest rate"),
        (1, "a rate in between"),
        (3, "a rate in between"),
        (4, "the highest rate"),
    ],
)
def test_what_the_published_scale_makes_of_the_learning_rate_is_told_by_the_tuning(tables, place, said):
    tried = tables["language_tuning"]
    mine = (tried.method == "t0_qat") & (tried.model == "small_gpt2")
    tried.loc[mine, "chosen"] = (np.arange(5) == place).astype(int)
    tried.loc[mine, "mean"] = np.linspace(6.3, 24.04, 5)
    tables["language_tuning"] = tried.sample(frac=1, random_state=1)  # rows in any order
    macros = language.language(tables)[1]
    both = f"on the {GPT} and" + " the lowest rate on" * (place > 0) + f" the {LLAMA}"
    assert macros["LanguagePublishedChosen"] == f"{said} {both}"
    first, last = tried[mine].learning_rate.iloc[[0, -1]]
    expected = f"6.3 at {first:g} and 24 at {last:g} on the {GPT}"
    assert expected in macros["LanguagePublishedRates"]
    assert expected not in macros["LanguagePlainRates"]


def test_a_single_rate_is_called_so(tables):
    tried = tables["language_tuning"]
    tables["language_tuning"] = tried[tried.chosen == 1]
    macros = language.language(tables)[1]
    assert macros["LanguagePublishedChosen"] == f"the only rate on the {GPT} and the {LLAMA}"
    assert macros["LanguagePlainRates"].count(" at ") == 2  # one of each model


def test_a_reader_may_leave_out_the_paper_s_method(tables):
    kept = ["no_noise", "ste", "random_bits"]
    for name in [name for name in tables if name.startswith("language") and "method" in tables[name]]:
        rows = tables[name][tables[name].method.isin(kept)]
        tables[name] = rows[rows.other.isin(kept)] if "other" in rows else rows
    for name in NAMES:
        body, macros = PAPER.exhibits[name](tables)
        assert "nan" not in body + "".join(macros.values())
    assert language.language(tables)[1]["LanguageSameRate"].startswith(f"– on the {GPT}")


def test_scores_over_seeds_and_over_blocks_stand_side_by_side(tables):
    for name, low in (("language", 2.0), ("language_blocks", 1.7)):
        rows = tables[name]
        mine = (
            (rows.model == "small_gpt2")
            & (rows.layout == "channels")
            & (rows.method == "no_noise")
            & (rows.eval_bits == 32)
        )
        if name == "language":
            mine &= rows.metric == "bits_per_character"
        rows.loc[mine, ["mean", "ci_low", "ci_high"]] = 2.5, low, 5 - low
    macros = language.language(tables)[1]
    expected = f"2.50 [2.00, 3.00] over seeds and 2.50 [1.70, 3.30] over blocks on the {GPT}; and"
    assert macros["LanguageSpread"].startswith(expected)
    assert macros["LanguageHash"] == "0123456789ab"


def test_the_threshold_is_where_holm_decides_the_first_difference(tables):
    pairs = tables["language_paired"]
    at = float(language.language(tables)[1]["LanguageThreshold"])
    n, family = int(pairs.n.min()), len(pairs)
    for factor, decided in ((0.9, False), (1.1, True)):
        p = np.full(family, 0.9)
        p[0] = 2 * stats.t.sf(factor * at, n - 1)
        assert (statistics.holm(p)[0] < 0.05) == decided


def test_the_tuned_scale_stands_beside_plain_fine_tuning_at_the_same_rate(tables):
    tried = tables["language_tuning"]
    tried["learning_rate"] = tried["learning_rate"].astype(float)
    mine = (tried.model == "small_llama") & (tried.method == "t0_qat_tuned") & (tried.chosen == 1)
    plain = tried.index[(tried.model == "small_llama") & (tried.method == "no_noise")][-1]
    tried.loc[mine, ["learning_rate", "mean"]] = 0.0123, 2.5
    tried.loc[plain, ["learning_rate", "mean"]] = 0.0123, 2.75
    said = language.language(tables)[1]["LanguageSameRate"]
    assert said.endswith(f"2.500 against 2.750 at 0.0123 on the {LLAMA}")
    tried.loc[plain, "learning_rate"] = 0.5
    assert language.language(tables)[1]["LanguageSameRate"].endswith(f"– on the {LLAMA}")


def test_each_layout_stands_with_its_own_models(tables):
    body, macros = language.layouts(tables)
    table, model, layout, seen = in_any_layout(tables["language"]), "", "", 0
    labels = {REGISTRY[m].label.replace(",", ""): m for m in table.method.unique()}
    names = {GPT: "small_gpt2", LLAMA: "small_llama"}
    layouts = {"per channel": "channels", "per group of 32": "groups"}
    layouts["with embeddings and head"] = "everything"
    for first, second, label, *cells in rows_of(body):
        model, layout = names.get(first, model), layouts.get(second, layout)
        mine = table[(table.model == model) & (table.layout == layout)]
        mine = mine[mine.method == labels[label]]
        for bits, cell in zip((32, 4, 2), cells, strict=True):
            if cell == "--":
                assert mine[mine.eval_bits == bits].empty
                continue
            row = only(mine, eval_bits=bits)
            assert numbers(cell)[0] == pytest.approx(row["mean"], abs=0.006)
            seen += 1
    # Methods without a width have a column of float.
    cells = lambda methods: sum(2 if REGISTRY[m].for_bits else 3 for m in methods)  # noqa: E731
    every = [table[table.layout == layout].method.unique() for layout in layouts.values()]
    assert seen == 2 * sum(map(cells, every))
    plain = only(table, model="small_llama", layout="groups", method="no_noise", eval_bits=2)
    gpt, llama = macros["LanguageLayoutsPlain"].split("; and ")
    (said,) = re.findall(r"([\d.]+) \[[^]]*\] per group of 32", llama)
    assert float(said) == pytest.approx(plain["mean"], abs=0.006)
    assert gpt.endswith(f"with embeddings and head on the {GPT}")


def test_pairs_of_the_other_layouts_are_counted_by_the_corrected_tests(tables):
    pairs = tables["language_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain")
    mine &= pairs.scale_rule == "own"
    pairs.loc[mine, ["estimate", "p_holm"]] = 0.3, 0.01
    mine &= (pairs.layout == "groups") & (pairs.eval_bits == 4)
    pairs.loc[mine & (pairs.model == "small_gpt2"), "p_holm"] = 0.05
    pairs.loc[mine & (pairs.model == "small_llama"), "estimate"] = -0.3
    said = language.layouts(tables)[1]["LanguageLayoutsPairs"]
    assert "T0-QAT tuned lower in 1 and higher in 2 of 4; " in f"{said}; "


def test_samples_stand_beside_the_score_of_their_arm_with_the_step_they_were_written_with(tables):
    body, macros = language.samples(tables)
    table = tables["language"].query("metric == 'bits_per_character'")
    rows = rows_of(body)
    assert len(rows) == len(tables["language_samples"])
    for cells, sample in zip(rows, tables["language_samples"].itertuples(), strict=True):
        rule = "none" if sample.eval_bits == 32 else "mse"
        keys = {"model": sample.model, "method": sample.method, "eval_bits": sample.eval_bits}
        keys["layout"] = "channels"
        row = only(table, scale_rule=rule, **keys)
        assert numbers(cells[3])[0] == pytest.approx(row["mean"], abs=0.006)
        text = json.loads(sample.text).replace("_", r"\_").replace("-", "-{}")
        assert cells[4] == rf"\texttt{{{text}}}"
    assert [row[0] for row in rows if row[0]] == [GPT, LLAMA]
    assert macros["LanguageSamplesMethods"] == "T0-QAT and No noise"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n\n   b\tc", "a b c"),
        ("\u2026\x00\U0001f600", "?{}?{}?{}"),
        ("a -- b", "a -{}-{} b"),
        (r"50% of $x_1 & {\y}", r"50\% of \$x\_1 \& \{\textbackslash{}y\}"),
        ("x" * 500, "x" * language.SHOWN),
        ("-5 ~ ^", r"-{}5 \textasciitilde{} \textasciicircum{}"),
    ],
)
def test_written_text_is_shown_as_it_is_and_breaks_no_table(text, shown):
    assert language.quoted(json.dumps(text)) == rf"\texttt{{{shown}}}"
    assert latex.tex(language.quoted(json.dumps(text))) == rf"\texttt{{{shown}}}"


def test_nothing_written_is_shown_as_nothing():
    assert language.quoted(json.dumps(" \n ")) == "–"


def test_every_layout_has_words():
    assert {*language.LAYOUTS} == {*language_models.LAYOUTS}


SUBSETS = {
    "smoke": {"models": ["small_gpt2"], "everything": ()},
    "one width": {"models": ["small_llama"], "groups": (), "everything": (), "bits": (8,)},
    "all": {"bits": (8, 5, 4, 3, 2)},
    "a checkpoint": {"models": ["some/Model-1_x", "small_gpt2"], "groups": ()},
}


@pytest.mark.parametrize("subset", SUBSETS)
def test_any_part_of_the_benchmark_gives_whole_tables_and_every_macro(subset, tables):
    draws = np.random.default_rng(0)

    def loss(**keys):
        return keys | {"mean": draws.random(), "ci_low": 0.1, "ci_high": 0.9, "n": 2}

    def difference(**keys):
        return loss(**keys) | {"estimate": draws.random(), "p_holm": 1.0, "detectable": 0.1}

    made = language_rows(loss, difference, **SUBSETS[subset])
    part = {name: pd.DataFrame(rows, columns=PAPER.columns_of(name)) for name, rows in made.items()}
    for name in NAMES:
        make = PAPER.exhibits[name]
        body, macros = make(part)
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
        assert "nan" not in body + latex.macro_lines(macros)
        assert macros.keys() == make(tables)[1].keys()
        assert all(macros.values())


def test_hostile_names_and_texts_leave_the_tables_whole(tables):
    for name in (name for name in tables if name.startswith("language")):
        table = tables[name]
        if "model" in table:
            table["model"] = table.model.str.replace("small_gpt2", HOSTILE, regex=False)
    tables["language_samples"]["text"] = json.dumps(HOSTILE)
    for name in NAMES:
        body, macros = PAPER.exhibits[name](tables)
        assert HOSTILE not in body + latex.macro_lines(macros)
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
