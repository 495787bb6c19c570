"""What is said of the recommendation: sentences of every form, and table rows."""

import pandas as pd
import pytest

from t0qat.exhibits import recommendation as exhibit


def pick(
    method, bits, pick="recommended", *, plain=(-0.3, -0.1), whole=(-0.1, 0.1), family="images", **own
) -> list[dict]:
    """Rows of one pick at one width; plain, whole: intervals of its differences from plain training."""
    row = {"family": family, "pick": pick, "eval_bits": bits, "dataset": "d", "model": "mlp"}
    row |= {"method": method, "train_bits": 0, "cost": 264.0, "serves": 4, "n": 8, "margin": 0.2} | own
    found = [row | {"quantity": "loss", "estimate": 0.5, "ci_low": 0.4, "ci_high": 0.6}]
    for quantity, ends in {"minus_plain": plain, "minus_unrounded": whole}.items():
        if ends:
            shown = {"estimate": sum(ends) / 2, "ci_low": ends[0], "ci_high": ends[1]}
            found.append(row | {"quantity": quantity} | shown)
    return found


def table(*picks: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for rows in picks for row in rows])


def tables(*picks: list[dict]) -> dict[str, pd.DataFrame]:
    """With two arms of each family and width, the second as good at the margin and worse at INT2."""
    rows = table(*picks)
    arms = rows[["family", "eval_bits"]].drop_duplicates()
    behind = (0.0 * arms.eval_bits, (arms.eval_bits == 2) * 0.1 + 0.1)
    arms = pd.concat(arms.assign(behind=b, margin=0.1) for b in behind)
    return {"recommendation": rows, "recommendation_arms": arms, "recommendation_transfer": rows}


def lines(body: str) -> list[list[str]]:
    """Cells of the rows below the header."""
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    rows = rows[2 if "multicolumn" in rows[0] else 1 :]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in rows]


ONE = pick("random_bits", 4, "one_for_all")
TEXT = pick("random_bits", 2, "one_for_all", family="text")


@pytest.mark.parametrize(
    ("plain", "told", "held"),
    [
        ((-0.3, -0.1), "lower", "holds"),
        ((-0.15, -0.1), "lower, within", "holds"),
        ((0.1, 0.15), "higher, within", "holds"),
        ((-0.1, 0.1), "within", "holds"),
        ((-0.3, 0.1), "open", "holds"),
        ((-0.1, 0.2), "open", "is undecided"),  # the margin itself
        ((0.1, 0.3), "higher", "is undecided"),
        ((0.21, 0.3), "higher", "does not hold"),
        (None, "that itself", "is plain training"),
    ],
)
def test_a_difference_is_told_by_its_whole_interval_and_holds_below_the_margin(plain, told, held):
    body, _ = exhibit.recommendation(tables(pick("lsq", 4, plain=plain), pick("ste", 2), ONE))
    assert [row[9] for row in lines(body)] == [told, "lower", "lower"]
    body, _ = exhibit.transfer(tables(pick("lsq", 4, plain=plain), pick("ste", 2), ONE))
    assert [row[-1] for row in lines(body)] == [held, "holds", "holds"]


def test_what_keeps_the_unrounded_loss_is_within_the_margin_with_its_whole_interval():
    ends = [(-0.1, 0.1), (-0.9, -0.8), (0.1, 0.2), (0.1, 0.3)]
    picks = [pick("lsq", bits, whole=whole) for bits, whole in zip((8, 4, 3, 2), ends, strict=True)]
    body, macros = exhibit.recommendation(tables(*picks, ONE))
    assert [r"\circ" in row[10] for row in lines(body)[:4]] == [True, True, False, False]
    assert macros["RecommendationKeptSentence"].endswith(" in 2 of 4 cases.")


def test_the_sentences_are_of_what_is_recommended_and_of_one_training_for_all():
    worse = pick("random_bits", 4, "one_for_all", plain=(0.3, 0.4))
    _, macros = exhibit.recommendation(tables(pick("lsq", 4), pick("no_noise", 2, plain=None), worse))
    assert " less than plain training in 1 of 1 comparisons" in macros["RecommendationSentence"]
    _, macros = exhibit.transfer(tables(pick("lsq", 4), worse))
    assert macros["TransferOneSentence"].endswith("in none of 1 cases, and more in 1.")


def test_arms_as_good_in_tuning_are_counted_with_the_first():
    picks = [pick("lsq", 4), pick("lsq", 2), ONE, pick("ste", 2, family="text"), TEXT]
    body, _ = exhibit.recommendation(tables(*picks))
    assert [row[5] for row in lines(body)] == ["2 of 2", "1 of 2", "", "1 of 2", ""]


def test_the_table_has_a_row_for_each_pick_width_and_network():
    body, _ = exhibit.recommendation(
        tables(
            [*pick("lsq", 4, train_bits=4, serves=1), *pick("lsq", 4, model="deep_cnn", serves=1)],
            pick("gptq", 4, "cheaper", cost=1264.0),
            pick("no_noise", 2, plain=None),
            ONE,
        )
    )
    rows = lines(body)
    assert [[*row[:5], row[6]] for row in rows] == [
        ["Image networks", "INT4", "recommended", "LSQ", "264", "MLP"],
        ["", "", "", "", "", "deep CNN"],
        ["", "", "cheaper", "GPTQ", r"1\,264 for all", "MLP"],
        ["", "INT2", "recommended", "Plain training", "264 for all", "MLP"],
        ["Image networks", "INT4", "one for all", "Random-bit STE", "264 for all", "MLP"],
    ]
    shown = [rf"{x}$\:\pm\:$0.10" for x in ("0.50", r"$-$0.20", "0.00")]
    assert [rows[0][7], rows[0][8], rows[0][10].partition(r"\makebox")[0]] == shown
    assert rows[3][8] == "--"


def test_one_training_for_all_stands_beside_what_is_recommended_elsewhere():
    body, _ = exhibit.transfer(tables(pick("lsq", 4), pick("no_noise", 2, plain=None), ONE))
    rows = [[*row[:4], row[-1]] for row in lines(body)]
    assert rows == [
        ["MLP", "recommended", "INT4", "LSQ", "holds"],
        ["", "", "INT2", "Plain training", "is plain training"],
        ["MLP", "one for all", "INT4", "Random-bit STE", "holds"],
    ]
