"""The README's block: what to use, and the verdicts."""

import re

import numpy as np
import pandas as pd
import pytest
from made_up import frames

from t0qat.exhibits import recommendation, verdicts
from t0qat.pipeline import claims, words
from t0qat.training.methods import REGISTRY


def test_hostile_labels_leave_the_readme_tables_whole(monkeypatch):
    """As many cells in every row, which GitHub splits at each bar without a backslash before it."""
    hostile = "A | B <img> [c](d) `e`"
    tables = frames()
    monkeypatch.setitem(REGISTRY, "t0_qat", REGISTRY["t0_qat"]._replace(label=hostile))
    tables["verdicts"] = tables["verdicts"].assign(claim=hostile, as_published=hostile)
    blocks = [text for text in verdicts.readme(tables).split("\n\n") if text.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1
    assert "<img>" not in "".join(blocks)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (-0.2, 0.1), (-0.3, -0.1)])
def test_the_readmes_direction_follows_the_interval(low, high):
    tables = frames()
    tables["table1_paired"].loc[0, ["estimate", "ci_low", "ci_high"]] = [(low + high) / 2, low, high]
    said = words.direction({"estimate": low, "ci_low": low, "ci_high": high})
    shown = {"not detectably different from": "do not differ detectably"}.get(
        said, f"is {said} Standard QAT's"
    )
    assert re.search(f"expected drops?, .*{shown}", verdicts.readme(tables))


def test_the_readme_says_what_to_use_compares_and_shows_the_verdicts():
    tables = frames()
    use, _, compared, counts = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()[2:]]
        for block in verdicts.readme(tables).split("\n\n")
        if block.startswith("|")
    )
    for cells, row in zip(recommendation.answer(tables), use, strict=True):
        assert [re.sub(r"\\(?=[\[\]])", "", cell) for cell in row] == cells
    files = {"CNN": ("vision", "loss"), "small": ("language", "bits_per_character")}
    seen, model = [], ""
    for lead, width, best, *others in compared:
        model = lead.split(",")[0].lower().replace(" ", "_").replace("-", "") if lead else model
        file, metric = files["CNN" if "cnn" in model else "small"]
        here = {
            "model": model,
            "layout": "channels",
            "eval_bits": int(width.removeprefix("INT")),
            "scale_rule": "own",
        }
        select = " and ".join(f"{key} == {value!r}" for key, value in here.items())
        arm = tables[f"{file}_paired"].query(
            f"{select} and method == 't0_qat' and against == 'best_baseline'"
        )
        rows = tables[file].query(f"{select} and metric == {metric!r}")
        mine = rows[(rows.method == arm.other.item()) & (rows.train_bits == arm.other_bits.item())]
        for cell, row in [(best, mine)] + [
            (cell, rows[rows.method == method])
            for cell, method in zip(others, ("t0_qat", "t0_qat_tuned", "no_noise"), strict=True)
        ]:
            shown = float(re.search(r"(-?[\d.]+) \\\[", cell)[1])
            assert shown == pytest.approx(row["mean"].item(), abs=0.006)
        assert best.startswith(REGISTRY[arm.other.item()].label)
        seen.append((model, width))
    assert seen == [
        (model, width)
        for model in ("small_cnn", "deep_cnn", "small_gpt2", "small_llama")
        for width in ("INT4", "INT2")
    ]
    for row, (claim, *found) in zip(tables["verdicts"].to_dict("records"), counts, strict=True):
        assert claim == f"{row['id']}: {row['claim']}"
        for cell, word in zip(found, (row["as_published"], row["scale_tuned"]), strict=True):
            assert cell.startswith(word or "–")


def claimed(verdict: str, **conditions) -> dict[str, pd.DataFrame]:
    """One claim with this verdict, and p-values (better, worse, equal) by names of conditions."""
    said = {"id": "C1", "claim": "It is so", "as_published": verdict, "scale_tuned": ""}
    rows = [
        {"id": "C1", "column": "as_published", "condition": name, "estimate": i, "ci_low": i - 0.1}
        | {"ci_high": i + 0.1, "n": 9, "margin": 0.5, "p_corrected": 0.2, "detectable": 1.0}
        | dict(zip(("p_better", "p_worse", "p_equal"), p, strict=True))
        for i, (name, p) in enumerate(conditions.items(), 1)
    ]
    return {"verdicts": pd.DataFrame([said]), "claims": pd.DataFrame(rows)}


@pytest.mark.parametrize(
    ("verdict", "hangs"),
    [
        ("supported", 2),  # the least clear of what holds
        ("contradicted", 1),  # the clearest of what fails
        ("no effect", 3),
        ("undecided", 2),
        ("supported to INT4; contradicted at INT3", 1),
        ("not testable here (accuracy 0.1, not above 0.5)", None),
        ("not measured yet", None),
    ],
)
def test_the_number_that_a_verdict_hangs_on(verdict, hangs):
    p = {"a": (0.1, 0.01, 0.2), "b": (0.9, 0.3, 0.1), "c": (0.2, 0.8, 0.6), "d": (np.nan,) * 3}
    tables = claimed(verdict, **({} if verdict == "not measured yet" else p))
    if verdict == "not measured yet":
        tables["claims"] = claimed(verdict, **p)["claims"].head(0)
    ((_, shown, empty),) = verdicts.verdict_cells(tables)
    number = f": {'abcd'[hangs - 1]}: {hangs}.00 [{hangs - 0.1:.2f}, {hangs + 0.1:.2f}]" if hangs else ""
    number += ", margin 0.5" if hangs else ""
    assert shown == verdict + number and empty == "–"


def test_verdicts_are_counted_by_kind_and_each_column_once():
    tables = frames()
    found = verdicts.counts(tables)
    cells = tables["verdicts"][["as_published", "scale_tuned"]].to_numpy().ravel()
    assert sum(found.values()) == sum(bool(cell) for cell in cells) == claims.load().family
    kinds = {verdicts.kind_of(w) for w in ("supported", "supported to INT4", "contradicted at INT2")}
    assert kinds == {"supported", "supported to", "contradicted"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["supported"], "1 is supported"),
        (["undecided", "undecided", "no effect"], "1 shows no effect and 2 are undecided"),
        (
            ["contradicted", "contradicted at INT2", "supported to INT4", "not measured yet"],
            "1 is supported to a bit-width, 2 are contradicted and 1 is not measured yet",
        ),
        (["supported to INT4; contradicted at INT2"] * 2, "2 are supported to a bit-width"),
        (["no effect"] * 11 + ["supported"] * 12, "12 are supported and 11 show no effect"),
        (
            ["not testable here (a has learned nothing)"] * 2 + ["not measured yet"] * 3,
            "2 are not testable here and 3 are not measured yet",
        ),
    ],
)
def test_counts_of_verdicts_make_a_sentence_without_those_of_none(cells, said):
    table = pd.DataFrame({"id": "C1", "claim": "words", "as_published": cells, "scale_tuned": ""})
    conditions = claimed("supported", a=(0.1, 0.9, 0.5))["claims"]
    _, macros = verdicts.verdict_table({"verdicts": table, "claims": conditions})
    assert macros == {"ClaimsTally": said, "ClaimsColumns": str(len(cells))}


def test_what_changed_is_what_has_other_words_than_the_first_tests():
    """C6 was contradicted by every test, C11 supported by none; C13 was not there."""
    said = pd.DataFrame(
        {"id": id, "claim": "words", "as_published": word, "scale_tuned": ""}
        for id, word in (
            ("C6", "contradicted"),
            ("C11", "undecided"),
            ("C13", "no effect"),
            ("C9", "undecided"),
        )
    )
    body, macros = verdicts.changed_table({"verdicts": said, "claims": frames()["claims"]})
    assert macros == {"ClaimsChanged": "2"}
    (new, mixed) = [line for line in body.splitlines() if re.match("C", line)]
    assert new.startswith("C13 & --") and "a new claim; equality is tested" in new
    assert mixed.startswith("C9 & 2 supported, 2 not supported & undecided & --")
    assert "one verdict a column in place of 4 tests; all conditions must hold" in mixed
