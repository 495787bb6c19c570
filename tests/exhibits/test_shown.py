"""What is shown of paired differences: lower, higher, within the margin or undecided."""

import pandas as pd
import pytest
from test_exhibits_vision import DEEP, SMALL, WIDTHS, at, numbers, of_network, rows_of, tables

from t0qat.exhibits import benchmark, vision
from t0qat.training.methods import REGISTRY

__all__ = ["tables"]  # a fixture


def shown_to_be(row) -> str:
    """As the rule has it: equivalence first, then a difference, each below 5 %."""
    if row.p_equal < 0.05:
        return "within the margin"
    return ("lower" if row.estimate < 0 else "higher") if row.p_bh < 0.05 else "undecided"


def filled(body: str, leads: int) -> dict[tuple, list[str]]:
    """The other cells of each row by its first ones, which stand once where they repeat."""
    found, lead = {}, [""] * leads
    for row in rows_of(body):
        for i in range(leads):
            if row[i]:
                lead[i:] = row[i:leads]
                break
        found[tuple(lead)] = row[leads:]
    return found


def test_a_circle_is_only_where_equivalence_to_the_reference_is_shown(tables):
    pairs = tables["vision_paired"]
    body, _ = vision.vision(tables)
    column, cells = WIDTHS.index(4) + 2, of_network(body, SMALL)
    losses = tables["vision"].query(
        "model == 'small_cnn' and metric == 'loss' and scale_rule == 'own' and eval_bits == 4"
        " and train_bits in (0, 4)"
    )
    best = losses.method[losses["mean"].idxmin()]
    assert {method for method, row in cells.items() if r"\textbf" in row[column]} == {best}
    assert {method for method, row in cells.items() if r"\star" in row[column]} == {"lsq"}
    own = (pairs.train_bits == 0) | (pairs.train_bits == pairs.eval_bits)
    pairs = pairs[own & (pairs.against == "best_baseline") & pairs.eval_bits.isin(WIDTHS)]
    pairs = pairs[pairs.model.isin(["small_cnn", "deep_cnn"]) & (pairs.method != "lsq")]
    for row in pairs[(pairs.model == "small_cnn") & (pairs.eval_bits == 4)].itertuples():
        assert (r"\circ" in cells[row.method][column]) == (shown_to_be(row) == "within the margin")


ORDER = ("lower", "within the margin", "higher", "undecided")


@pytest.mark.parametrize(("rival", "said"), [("plain", "plain"), ("best_baseline", "reference")])
def test_arms_are_counted_by_what_is_shown_of_them_and_by_what_they_see(tables, rival, said):
    pairs = tables["vision_paired"]
    pairs = pairs[(pairs.against == rival) & pairs.model.isin(["small_cnn", "deep_cnn"])]
    pairs = pairs[
        (pairs.scale_rule == "own")
        & (pairs.train_bits.isin([0]) | (pairs.train_bits == pairs.eval_bits))
    ]
    cells = filled(vision.shown(tables)[0], 3)
    counted = 0
    for label, model in ((SMALL, "small_cnn"), (DEEP, "deep_cnn")):
        for bits in WIDTHS:
            here = pairs[(pairs.model == model) & (pairs.eval_bits == bits)]
            *shown, published, tuned = cells[label, said, f"INT{bits}"]
            for cell, families in zip(
                shown, (("noise",), ("rounding",), ("none", "regularization", "coupled")), strict=True
            ):
                mine = here[[REGISTRY[method].family in families for method in here.method]]
                mine = mine[~mine.method.isin(["xi_alone", "longer"])]
                mine = mine[(mine.method != "lsq") | (rival == "plain")]  # the reference
                words = [*mine.apply(shown_to_be, axis=1)]
                assert [*map(int, cell.split(" / "))] == [words.count(word) for word in ORDER]
                counted += len(words)
            for cell, method in ((published, "t0_qat"), (tuned, "t0_qat_tuned")):
                (word,) = here[here.method == method].apply(shown_to_be, axis=1)
                assert cell.split(",")[0] == word.removesuffix(" the margin")
    assert counted > 60


DECISIONS = [  # estimate, p_bh, p_equal, what a cell says
    (0.02, 0.049, 0.5, "higher"),
    (-0.02, 0.049, 0.5, "lower"),
    (0.02, 0.05, 0.05, "undecided"),
    (-0.02, 1.0, 0.049, "within"),
    (0.02, 0.001, 0.001, "within, higher"),  # small, and certain
    (-0.02, 0.001, 0.001, "within, lower"),
]


@pytest.mark.parametrize(("estimate", "p", "equal", "said"), DECISIONS)
def test_words_of_a_standing_follow_the_corrected_tests(tables, estimate, p, equal, said):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.eval_bits == 4)
    mine &= pairs.model == "small_cnn"
    pairs.loc[mine, ["estimate", "p_bh", "p_equal"]] = estimate, p, equal
    assert filled(vision.shown(tables)[0], 3)[SMALL, "plain", "INT4"][-1] == said


def test_stars_of_the_differences_mark_what_differs_and_circles_what_is_equal(tables):
    body, _ = vision.differences(tables)
    pairs = tables["vision_any_paired"]
    tested = (*benchmark.UNDER_TEST, benchmark.PLACEBO)
    mine = pairs[pairs.method.isin(tested) & pairs.model.isin(["small_cnn", "deep_cnn"])]
    found = mine.apply(shown_to_be, axis=1).value_counts()
    assert body.count(r"\ast") == found["lower"] + found["higher"] > 0
    assert body.count(r"\circ") == found["within the margin"] > 0
    cells = [cell for row in rows_of(body) for cell in row if r"\pm" in cell]
    shown = sorted(numbers(cell.replace("$-$", "-"))[0] for cell in cells)
    assert shown == pytest.approx(sorted(mine.estimate), abs=0.006)


def test_a_run_without_the_placebo_has_no_row_of_it(tables):
    tables = {
        name: rows[rows.method != "xi_alone"] if "method" in rows else rows
        for name, rows in tables.items()
    }
    assert "xi alone" not in vision.differences(tables)[0]
    assert vision.vision(tables)[1]["VisionPlaceboSpread"] == "–"


def test_replicas_stand_beside_each_other_and_what_they_are_made_of(tables):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "ring") & (pairs.model == "deep_cnn") & (pairs.eval_bits == 2)
    row = pairs[mine & (pairs.against == "plain")].iloc[0].to_dict()
    added = [row | {"against": other, "other": other} for other in ("star", "ste")]
    for pair, estimate in zip(added, (0.25, -0.5), strict=True):
        pair |= {"estimate": estimate, "ci_low": estimate - 0.1, "ci_high": estimate + 0.1}
    added[0] |= {"p_equal": 0.01}
    added[1] |= {"p_equal": 0.9, "p_bh": 0.01}
    cells = filled(
        vision.replicas(tables | {"vision_paired": pd.concat([pairs, pd.DataFrame(added)])})[0], 2
    )
    star, ste, missing = cells[DEEP, "INT2"]
    assert numbers(star) == (0.25, 0.1) and r"\circ" in star
    assert numbers(ste.replace("$-$", "-")) == (-0.5, 0.1) and r"\ast" in ste
    assert missing == "--"


BUDGETS = [
    (0.001, 0.5, 0.01, "long enough", r"\circ"),
    (-0.001, 0.01, 0.01, "long enough", r"\circ"),
    (0.3, 0.01, 0.9, "long enough", r"\ast"),
    (-0.3, 0.01, 0.9, "too short", r"\ast"),
    (-0.01, 0.01, 0.9, "open", r"\ast"),
    (-0.3, 0.2, 0.9, "open", ""),
]


@pytest.mark.parametrize(("estimate", "p", "equal", "budget", "mark"), BUDGETS)
def test_a_budget_is_judged_by_direction_and_margin_together(tables, estimate, p, equal, budget, mark):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "longer") & (pairs.against == "plain")
    shown = ["estimate", "ci_low", "ci_high", "p_bh", "p_equal", "margin"]
    pairs.loc[mine, shown] = 0.001, -0.002, 0.004, 0.5, 0.001, 0.02
    mine &= (pairs.model == "deep_cnn") & (pairs.eval_bits == 2)
    pairs.loc[mine, shown] = estimate, estimate - 0.1, estimate + 0.1, p, equal, 0.025
    cells = filled(vision.convergence(tables)[0], 2)
    assert numbers(cells[DEEP, "difference"][2].replace("$-$", "-")) == pytest.approx(
        (estimate, 0.1), abs=0.001
    )
    assert (mark or r"[l]{}") in cells[DEEP, "difference"][2]
    assert cells[DEEP, "margin"] == ["0.02", "0.02", "0.025"]
    assert cells[DEEP, "budget"] == ["long enough", "long enough", budget]
    assert cells[SMALL, "budget"] == ["long enough"] * 3


def test_an_arm_that_was_not_compared_has_no_mark(tables):
    pairs = tables["vision_paired"].assign(p_equal=0.01)
    lone = (pairs.model == "small_cnn") & (pairs.method == "sam") & (pairs.eval_bits == 4)
    for left, mark in ((pairs, r"\circ"), (pairs[~(lone & (pairs.against == "best_baseline"))], "rlap")):
        body, _ = vision.vision(tables | {"vision_paired": left})
        assert (mark in of_network(body, SMALL)["sam"][2]) == (left is pairs)
        # Without reference, placebo and control.
        cells = filled(vision.shown(tables | {"vision_paired": left})[0], 3)[SMALL, "reference", "INT4"]
        counts = [sum(map(int, cell.split(" / "))) for cell in cells[:3]]
        assert sum(counts) == len(at(4)) - 3 - (left is not pairs)
