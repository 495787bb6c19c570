"""What is typeset of the language models: less is better, and each word against its rows."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_up import HOSTILE, frames, language_rows
from scipy import stats
from test_exhibits_vision import network, numbers, only, rows_of

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
    place = {32: 2, 4: 3, 2: 4}[bits]
    rows = rows_of(language.language(tables)[0])
    (start,) = [i for i, row in enumerate(rows) if row[0] == rf"\emph{{{model}}}"]
    labels = {network(m): m for m in tables["language"].method.unique()}
    return {labels[row[0]]: row[place] for row in rows[start + 1 : start + 1 + len(labels)]}


def test_the_least_bits_are_bold_and_only_equivalence_has_a_circle(tables):
    rows = scores(tables["language"]).query("model == 'small_llama' and eval_bits == 2")
    pairs = tables["language_paired"]
    mine = (
        (pairs.model == "small_llama")
        & (pairs.layout == "channels")
        & (pairs.eval_bits == 2)
        & (pairs.against == "best_baseline")
    )
    mine &= pairs.scale_rule == "own"
    for method, estimate, p, equal in (
        ("ste", -0.5, 0.001, 0.9), ("random_bits", 0.5, 0.9, 0.9), ("gptq", 0.01, 0.9, 0.01),
        ("t0_qat", 0.01, 0.001, 0.049),
    ):  # fmt: skip
        pairs.loc[mine & (pairs.method == method), ["estimate", "p_bh", "p_equal"]] = estimate, p, equal
    cells = column(tables, LLAMA, 2)
    for row in rows.itertuples():
        expected = row.mean, (row.ci_high - row.ci_low) / 2
        assert numbers(cells[row.method]) == pytest.approx(expected, abs=0.006)
    assert [m for m, cell in cells.items() if r"\textbf" in cell] == [rows.method[rows["mean"].idxmin()]]
    assert [m for m, cell in cells.items() if r"\star" in cell] == ["lsq"]
    near = {method for method, cell in cells.items() if r"\circ" in cell}
    assert {"gptq", "t0_qat"} <= near and not {"ste", "random_bits"} & near


def test_of_several_trainings_the_one_of_fewest_mean_bits_stands_over_the_widths(tables):
    scored = tables["language_any"]
    mine = (
        (scored.model == "small_gpt2")
        & (scored.layout == "channels")
        & (scored.method == "ste")
        & (scored.quantity == "mean")
    )
    scored.loc[mine & (scored.train_bits == 4), ["mean", "ci_low", "ci_high"]] = 0.31, 0.3, 0.32
    row = next(row for row in rows_of(language.language(tables)[0]) if row[0] == "STE")
    assert row[5].startswith(r"(4) \textbf{0.310}")


@pytest.mark.parametrize(("high", "keeps"), [(0.0199, True), (0.02, False), (0.3, False), (-0.1, True)])
def test_a_model_keeps_its_score_where_the_whole_interval_is_within_the_margin(tables, high, keeps):
    kept = tables["language_kept"]
    kept[["ci_low", "ci_high", "margin"]] = -1.0, 1.0, 0.02
    mine = (
        (kept.method == "t0_qat_tuned")
        & (kept.model == "small_llama")
        & (kept.layout == "channels")
        & (kept.eval_bits == 4)
    )
    kept.loc[mine & (kept.scale_rule == "own"), "ci_high"] = high
    rows = rows_of(language.keeps(tables)[0])
    assert [row[1] for row in rows] == ["INT4", "INT2"] * 2
    tuned = [row[6] for row in rows]
    assert tuned == ["no", "no", "yes" if keeps else "no", "no"]
    assert {row[4] for row in rows} == {"no"}


@pytest.mark.parametrize("place", range(5))
def test_what_the_published_scale_makes_of_the_learning_rate_is_told_by_the_tuning(tables, place):
    tried = tables["language_tuning"]
    mine = (tried.method == "t0_qat") & (tried.model == "small_gpt2")
    tried.loc[mine, "chosen"] = (np.arange(5) == place).astype(int)
    tried.loc[mine, "mean"] = np.linspace(6.3, 24.04, 5)
    shuffled = tried.sample(frac=1, random_state=1)  # rows in any order
    tables["language_tuning"] = shuffled.sort_values("model", kind="stable")
    rows = rows_of(language.rates(tables)[0])
    assert rows[0][:2] == [GPT, "T0-QAT"]
    expected = [f"{mean:.3f}" for mean in np.linspace(6.3, 24.04, 5)]
    expected[place] = rf"\textbf{{{expected[place]}}}"
    assert rows[0][2:] == expected
    said = language.language(tables)[1]["LanguageRatesSentence"]
    where = "1 of 2 models" if place else "every model"
    assert said == f"For the published scale, tuning chose the lowest rate on {where}."


def test_of_a_tuned_scale_the_rates_are_those_at_the_scaling_that_was_chosen(tables):
    tried = tables["language_tuning"]
    mine = (tried.method == "t0_qat_tuned") & (tried.model == "small_llama")
    tried.loc[mine, "chosen"] = 0
    at = tried.index[mine & (tried.strength == 100)]
    tried.loc[at[1], "chosen"] = 1
    tried.loc[at[0], ["mean", "short"]] = np.nan, 2.75
    (row,) = [row for row in rows_of(language.rates(tables)[0])[3:] if row[1] == "T0-QAT tuned"]
    means = [f"{mean:.3f}" for mean in tried["mean"][at]]
    assert row[2:] == ["(2.750)", rf"\textbf{{{means[1]}}}", *means[2:]]


def test_a_reader_may_leave_out_the_paper_s_method(tables):
    kept = ["no_noise", "ste", "random_bits"]
    for name in [name for name in tables if name.startswith("language") and "method" in tables[name]]:
        rows = tables[name][tables[name].method.isin(kept)]
        tables[name] = rows[rows.other.isin(kept)] if "other" in rows else rows
    for name in NAMES:
        body, macros = PAPER.exhibits[name](tables)
        assert "nan" not in body + "".join(macros.values())
    assert [row[1] for row in rows_of(language.rates(tables)[0])] == ["No noise"] * 2


def test_an_interval_over_blocks_is_so_many_times_as_wide_as_one_over_seeds(tables):
    for name, low in (("language", 2.25), ("language_blocks", 1.0)):
        rows = tables[name]
        mine = (rows.layout == "channels") & (rows.method == "no_noise") & (rows.eval_bits == 32)
        if name == "language":
            mine &= rows.metric == "bits_per_character"
        rows.loc[mine, ["mean", "ci_low", "ci_high"]] = 2.5, low, 5 - low
    assert language.language(tables)[1]["LanguageBlocks"] == "6"
    blocks = tables["language_blocks"]
    blocks.loc[blocks.model == "small_llama", "ci_high"] += 1.0
    assert language.language(tables)[1]["LanguageBlocks"] == "6 to 8"


def test_the_threshold_is_where_the_next_difference_would_be_shown(tables):
    """Of as many tests as there are, layouts and all, where none is shown yet."""
    pairs = tables["language_paired"]
    pairs["p_bh"], pairs["n"] = 0.9, 12
    run = dict(rows_of(language.size(tables)[0]))
    at = float(run["Standard errors from which a difference at one width is shown"])
    for factor, decided in ((0.99, False), (1.01, True)):
        p = np.full(len(pairs), 0.9)
        p[0] = 2 * stats.t.sf(factor * at, 11)
        assert (statistics.benjamini_hochberg(p)[0] < 0.05) == decided


def test_each_layout_stands_with_its_own_models(tables):
    body, _ = language.layouts(tables)
    every = tables["language"]
    every = every[every.method.isin(every[every.layout != "channels"].method)]
    table, model, layout, seen = in_any_layout(every), "", "", 0
    labels = {network(m): m for m in table.method.unique()}
    names = {GPT: "small_gpt2", LLAMA: "small_llama"}
    layouts = {"per channel": "channels", "per group of 32": "groups"}
    layouts["with embeddings and head"] = "everything"
    for first, second, label, cost, *cells in rows_of(body):
        model, layout = names.get(first, model), layouts.get(second, layout)
        mine = table[(table.model == model) & (table.layout == layout)]
        mine = mine[mine.method == labels[label]]
        assert (r"\times" in cost) == REGISTRY[labels[label]].for_bits
        for bits, cell in zip((32, 4, 2), cells, strict=True):
            if cell == "--":
                assert mine[mine.eval_bits == bits].empty
                continue
            row = only(mine, eval_bits=bits)
            assert numbers(cell)[0] == pytest.approx(row["mean"], abs=0.006)
            seen += 1
    assert seen == len(table)


def test_a_run_in_one_layout_shows_all_of_it(tables):
    for name in ("language", "language_paired"):
        tables[name] = tables[name][tables[name].layout == "channels"]
    body, _ = language.layouts(tables)
    assert len(rows_of(body)) == 2 * tables["language"].method.nunique()


def test_models_with_few_methods_have_a_table_of_their_own():
    draws = np.random.default_rng(0)

    def loss(**keys):
        return keys | {"mean": draws.random(), "ci_low": 0.1, "ci_high": 0.9, "n": 2}

    def difference(**keys):
        row = loss(**keys) | {"estimate": draws.random(), "margin": 0.02, "detectable": 0.1}
        return row | {"p_bh": 1.0, "p_equal": 1.0}

    made = language_rows(loss, difference, models=["small_gpt2"], few=["small_llama"])
    tables = {name: pd.DataFrame(rows) for name, rows in made.items()}
    body, _ = language.few(tables)
    few = [method for method in REGISTRY if REGISTRY[method].few and REGISTRY[method].text]
    assert sorted(row[1] for row in rows_of(body)) == sorted(map(network, few))
    main, macros = language.language(tables)
    assert LLAMA not in main and macros["LanguageFull"] == f"the {GPT}"
    assert macros["LanguageFew"] == f"the {LLAMA}"


def test_other_layouts_are_marked_by_the_corrected_tests_against_plain_fine_tuning(tables):
    pairs = tables["language_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.layout == "groups")
    mine &= (pairs.scale_rule == "own") & (pairs.model == "small_llama")
    pairs.loc[mine, ["estimate", "p_bh", "p_equal"]] = 0.3, 0.01, 0.9
    pairs.loc[mine & (pairs.eval_bits == 2), ["p_bh", "p_equal"]] = 0.01, 0.01
    rows = rows_of(language.layouts(tables)[0])
    (start,) = [i for i, row in enumerate(rows) if row[0] == LLAMA]
    (group,) = [i for i, row in enumerate(rows) if i > start and row[1] == "per group of 32"]
    (row,) = [row for row in rows[group : group + 5] if row[2] == "T0-QAT tuned"]
    assert r"\ast" in row[5] and r"\circ" in row[6]
    (plain,) = [row for row in rows[group : group + 5] if row[2] == "No noise"]
    assert "ast" not in "".join(plain) and "circ" not in "".join(plain)


def test_samples_stand_beside_the_score_of_their_arm_with_the_step_they_were_written_with(tables):
    body, _ = language.samples(tables)
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


@pytest.fixture(scope="module")
def every_macro():
    """exhibit -> the names of its macros."""
    whole = frames()
    return {name: {*PAPER.exhibits[name](whole)[1]} for name in NAMES}


@pytest.mark.parametrize("subset", SUBSETS)
def test_any_part_of_the_benchmark_gives_whole_tables_and_every_macro(subset, every_macro):
    draws = np.random.default_rng(0)

    def loss(**keys):
        return keys | {"mean": draws.random(), "ci_low": 0.1, "ci_high": 0.9, "n": 2}

    def difference(**keys):
        row = loss(**keys) | {"estimate": draws.random(), "margin": 0.02, "detectable": 0.1}
        return row | {"p_bh": 1.0, "p_equal": 1.0}

    made = language_rows(loss, difference, **SUBSETS[subset])
    part = {name: pd.DataFrame(rows, columns=PAPER.columns_of(name)) for name, rows in made.items()}
    for name in NAMES:
        body, macros = PAPER.exhibits[name](part)
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
        assert "nan" not in body + latex.macro_lines(macros)
        assert {*macros} == every_macro[name]
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
