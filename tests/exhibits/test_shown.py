"""What is shown of paired differences: lower, higher, within the margin or undecided."""

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


def test_a_circle_is_only_where_equivalence_to_the_reference_is_shown(tables):
    pairs = tables["vision_paired"]
    body, macros = vision.vision(tables)
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
    # What is said: of all, and of each family.
    pairs = pairs[~pairs.method.isin(["xi_alone", "longer"])]
    family = [REGISTRY[method].family for method in pairs.method]
    kinds = {
        "Noise": ("noise",),
        "Rounds": ("rounding",),
        "Others": ("none", "regularization", "coupled"),
    }
    for name, families in ({"": ("noise", "rounding", *kinds["Others"])} | kinds).items():
        mine = pairs[[kind in families for kind in family]]
        found = mine.apply(shown_to_be, axis=1).value_counts()
        said = macros[f"VisionAgainst{name}"]
        assert said.endswith(f", of {len(mine)}")
        for word, count in found.items():
            assert f"{count} {word}" in said
        seen = mine[mine.apply(shown_to_be, axis=1) == "undecided"].detectable
        assert not len(seen) or f"({seen.min():.2g} to {seen.max():.2g} would be seen)" in said


DECISIONS = [  # estimate, p_bh, p_equal, what is said
    (0.02, 0.049, 0.5, "higher"),
    (-0.02, 0.049, 0.5, "lower"),
    (0.02, 0.05, 0.05, "undecided (0.031 would be seen)"),
    (-0.02, 1.0, 0.049, "within the margin"),
    (0.02, 0.001, 0.001, "within the margin (higher)"),  # small, and certain
    (-0.02, 0.001, 0.001, "within the margin (lower)"),
]


@pytest.mark.parametrize(("estimate", "p", "equal", "said"), DECISIONS)
def test_words_of_the_differences_follow_the_corrected_tests(tables, estimate, p, equal, said):
    pairs = tables["vision_any_paired"]
    mine = (
        (pairs.method == "t0_qat_tuned") & (pairs.quantity == "mean") & (pairs.against == "random_bits")
    )
    numbers = ["estimate", "p_bh", "p_equal", "detectable"]
    pairs.loc[mine, numbers] = estimate, p, equal, 0.0312
    name = "VisionDifferencesTunedRandom"
    both = f"{said} on the {SMALL} and the {DEEP}"
    body, macros = vision.differences(tables)
    assert macros[name] == both
    pairs.loc[mine & (pairs.model == "deep_cnn"), numbers] = 0.5, 0.001, 0.5, 0.0312
    apart = f"{said} on the {SMALL} and higher on the {DEEP}"
    changed, macros = vision.differences(tables)
    assert macros[name] == (both if said == "higher" else apart)
    assert changed != body


def test_stars_of_the_differences_mark_what_differs_and_circles_what_is_equal(tables):
    body, _ = vision.differences(tables)
    pairs = tables["vision_any_paired"]
    tested = (*benchmark.UNDER_TEST.values(), benchmark.PLACEBO)
    mine = pairs[pairs.method.isin(tested) & pairs.model.isin(["small_cnn", "deep_cnn"])]
    found = mine.apply(shown_to_be, axis=1).value_counts()
    assert body.count(r"\ast") == found["lower"] + found["higher"] > 0
    assert body.count(r"\circ") == found["within the margin"] > 0
    cells = [cell for row in rows_of(body) for cell in row if r"\pm" in cell]
    shown = sorted(numbers(cell.replace("$-$", "-"))[0] for cell in cells)
    assert shown == pytest.approx(sorted(mine.estimate), abs=0.006)


def test_a_run_without_the_placebo_says_so(tables):
    tables = {
        name: rows[rows.method != "xi_alone"] if "method" in rows else rows
        for name, rows in tables.items()
    }
    body, macros = vision.differences(tables)
    assert macros["VisionDifferencesPlacebo"] == "not asked in this run" and "xi alone" not in body
    assert vision.vision(tables)[1]["VisionPlaceboSpread"] == "not asked in this run"


def test_where_tuned_noise_is_lower_higher_equal_or_undecided_is_what_the_tests_say(tables):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.scale_rule == "own")
    pairs.loc[mine, ["estimate", "p_bh", "p_equal"]] = -0.1, 0.01, 0.9
    pairs.loc[mine & (pairs.model == "deep_cnn") & (pairs.eval_bits == 2), "estimate"] = 0.1
    pairs.loc[mine & (pairs.model == "small_cnn") & (pairs.eval_bits == 2), "p_bh"] = 0.2
    pairs.loc[mine & (pairs.model == "deep_cnn") & (pairs.eval_bits == 4), "p_equal"] = 0.01
    macros = vision.vision(tables)[1]
    assert macros["VisionLower"] == f"at INT4 on the {SMALL} and at no width on the {DEEP}"
    assert macros["VisionHigher"] == f"at no width on the {SMALL} and at INT2 on the {DEEP}"
    within = f"at INT4 (of these lower at INT4) on the {DEEP}"
    assert macros["VisionWithin"] == f"at no width on the {SMALL} and {within}"
    assert macros["VisionUndecided"] == f"at INT2 on the {SMALL} and at no width on the {DEEP}"


def test_a_direction_that_is_shown_within_the_margin_is_named_beside_it(tables):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.scale_rule == "own")
    pairs.loc[mine, ["estimate", "p_bh", "p_equal"]] = -0.01, 0.9, 0.01
    widths = "at INT4 and INT2"
    within = vision.vision(tables)[1]["VisionWithin"]
    assert within == f"{widths} on the {SMALL} and the {DEEP}"
    pairs.loc[mine, "p_bh"] = 0.01
    pairs.loc[mine & (pairs.model == "deep_cnn") & (pairs.eval_bits == 2), "estimate"] = 0.01
    macros = vision.vision(tables)[1]
    first, second = macros["VisionWithin"].split(f" on the {SMALL} and ")
    assert first == f"{widths} (of these lower {widths})"
    assert second == f"{widths} (of these lower at INT4 and higher at INT2) on the {DEEP}"
    assert (
        macros["VisionLower"] == macros["VisionHigher"] == f"at no width on the {SMALL} and the {DEEP}"
    )


def test_marks_that_the_placebo_carries_are_counted_and_named(tables):
    for name in ("vision_paired", "vision_any_paired"):
        pairs = tables[name]
        pairs.loc[pairs.method == "xi_alone", ["estimate", "p_bh", "p_equal"]] = -0.1, 0.9, 0.9
        pairs.loc[(pairs.method == "xi_alone") & (pairs.against != "plain"), "p_bh"] = 0.01
    every = 2 * (2 + 2)  # networks; single widths, mean and worst

    def said(part=tables):
        return vision.vision(part)[1]["VisionPlaceboShown"]

    assert said() == f"none of {every} is shown to be lower or higher"
    over = tables["vision_any_paired"]
    mine = (over.method == "xi_alone") & (over.against == "plain") & (over.model == "deep_cnn")
    over.loc[mine & (over.quantity == "worst"), "p_bh"] = 0.01
    end = "; marks of this size are to be read with that in mind"
    assert said() == f"1 of {every} is shown to differ (lower at the worst width on the {DEEP}){end}"
    single = tables["vision_paired"]
    at_two = (single.method == "xi_alone") & (single.against == "plain") & (single.eval_bits == 2)
    at_two &= single.model == "small_cnn"
    single.loc[at_two, ["estimate", "p_bh"]] = 0.1, 0.01
    both = f"higher at INT2 on the {SMALL} and lower at the worst width on the {DEEP}"
    assert said() == f"2 of {every} are shown to differ ({both}){end}"
    single.loc[at_two, "p_equal"] = 0.01  # a circle, no mark of a direction
    assert said().startswith(f"1 of {every} is")
    left = {name: tables[name].query("method != 'xi_alone'") for name in tables if "vision" in name}
    assert said(tables | left) == "not asked in this run"


def test_over_the_widths_a_direction_within_the_margin_is_named_too(tables):
    pairs = tables["vision_any_paired"]
    mine = (pairs.method == "t0_qat_tuned") & (pairs.against == "plain") & (pairs.quantity == "mean")
    pairs.loc[mine, ["p_bh", "p_equal"]] = 0.01, 0.01
    pairs.loc[mine, "estimate"] = -0.01
    pairs.loc[mine & (pairs.model == "deep_cnn"), "estimate"] = 0.01
    said = vision.differences(tables)[1]["VisionDifferencesTunedPlain"]
    assert (
        said == f"within the margin (lower) on the {SMALL} and within the margin (higher) on the {DEEP}"
    )
    pairs.loc[mine, "p_bh"] = 0.9
    said = vision.differences(tables)[1]["VisionDifferencesTunedPlain"]
    assert said == f"within the margin on the {SMALL} and the {DEEP}"


def test_convergence_is_what_twice_the_budget_changes_at_every_width(tables):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "longer") & (pairs.against == "plain")
    shown = ["estimate", "ci_low", "ci_high", "p_bh", "p_equal", "margin"]
    pairs.loc[mine, shown] = 0.001, -0.002, 0.004, 0.5, 0.001, 0.02
    pairs.loc[mine & (pairs.model == "deep_cnn") & (pairs.eval_bits == 2), shown] = (
        -0.31, -0.4, -0.22, 0.001, 0.9, 0.05,
    )  # fmt: skip
    body, macros = vision.convergence(tables)
    said = macros["VisionConverged"]
    assert "within the margin at float, INT4 and INT2 on the small CNN" in said
    lower = "lower at INT2 (−0.310 [−0.400, −0.220], margin 0.05) on the deep CNN"
    assert f"within the margin at float and INT4, and {lower}" in said
    assert (
        "too short at INT2, and long enough at float and INT4 on the deep CNN" in macros["VisionBudget"]
    )
    assert macros["VisionBudget"].startswith("long enough at float, INT4 and INT2 on the small CNN; ")
    rows = rows_of(body)
    (first,) = [i for i, row in enumerate(rows) if row[0] == "deep CNN"]
    assert [r"\circ" in cell for cell in rows[first][2:]] == [True, True, False]
    assert numbers(rows[first][4].replace("$-$", "-")) == pytest.approx((-0.31, 0.09))
    assert rows[first + 1][1:] == ["margin", "0.02", "0.02", "0.05"]
    left = pairs[pairs.method != "longer"]
    macros = vision.convergence(tables | {"vision_paired": left})[1]
    assert macros["VisionConverged"] == macros["VisionBudget"] == "not asked in this run"


@pytest.mark.parametrize(
    ("estimate", "p", "equal", "budget", "said"),
    [
        (0.001, 0.5, 0.01, "long enough", "within the margin at float, INT4 and INT2 on"),
        (-0.001, 0.01, 0.01, "long enough", "within the margin at float, INT4 and INT2 on"),
        (0.3, 0.01, 0.9, "long enough", "higher at float (0.30 [0.20, 0.40], margin 0.02), INT4 ("),
        (-0.3, 0.01, 0.9, "too short", "lower at float (−0.30 [−0.40, −0.20], margin 0.02), INT4 ("),
        (-0.01, 0.01, 0.9, "open", "lower at float (−0.01 [−0.11, 0.09], margin 0.02), INT4 ("),
        (-0.3, 0.2, 0.9, "open", "undecided at float (−0.30 [−0.40, −0.20], margin 0.02), INT4 ("),
    ],
)
def test_a_budget_is_judged_by_direction_and_margin_together(tables, estimate, p, equal, budget, said):
    pairs = tables["vision_paired"]
    mine = (pairs.method == "longer") & (pairs.against == "plain")
    shown = ["estimate", "ci_low", "ci_high", "p_bh", "p_equal", "margin"]
    pairs.loc[mine, shown] = estimate, estimate - 0.1, estimate + 0.1, p, equal, 0.02
    macros = vision.convergence(tables)[1]
    words = f"{budget} at float, INT4 and INT2"
    assert macros["VisionBudget"] == f"{words} on the small CNN; and {words} on the deep CNN"
    assert macros["VisionConverged"].startswith(said)
    assert "–" not in macros["VisionConverged"]


def test_an_arm_that_was_not_compared_has_no_mark(tables):
    pairs = tables["vision_paired"].assign(p_equal=0.01)
    lone = (pairs.model == "small_cnn") & (pairs.method == "sam") & (pairs.eval_bits == 4)
    for left, mark in ((pairs, r"\circ"), (pairs[~(lone & (pairs.against == "best_baseline"))], "rlap")):
        body, macros = vision.vision(tables | {"vision_paired": left})
        assert (mark in of_network(body, SMALL)["sam"][2]) == (left is pairs)
        # Without reference, placebo and control.
        others = 2 * (len(at(4)) + len(at(2)) - 6) - (left is not pairs)
        assert macros["VisionAgainst"] == f"{others} within the margin, of {others}"
