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


def said(*picks: list[dict]) -> dict[str, str]:
    rows = table(*picks)
    _, first = exhibit.recommendation(tables(*picks))
    _, second = exhibit.transfer({"recommendation_transfer": rows})
    return {name.removeprefix("Recommendation"): text for name, text in (first | second).items()}


def lines(body: str) -> list[list[str]]:
    """Cells of the rows below the header."""
    rows = [line for line in body.splitlines() if line.endswith(r"\\")][1:]
    return [[cell.strip() for cell in line.removesuffix(r"\\").split("&")] for line in rows]


ONE = pick("random_bits", 4, "one_for_all")
TEXT = pick("random_bits", 2, "one_for_all", family="text")


def test_widths_of_one_method_are_named_together_and_families_one_after_the_other():
    texts = said(
        pick("no_noise", 8, plain=None),
        pick("lsq", 4, train_bits=4),
        pick("lsq", 3, train_bits=3),
        ONE,
        pick("gptq", 4, family="text", model="small_gpt2"),
        pick("gptq", 4, "one_for_all", family="text", model="small_gpt2"),
    )
    images = "plain training (rounded to nearest) at INT8 and LSQ at INT4 and INT3 on image networks"
    assert texts["Use"] == f"{images}; and GPTQ at INT4 on language models"
    assert texts["One"] == "Random-bit STE on image networks; and GPTQ on language models"


def test_cheaper_ones_are_named_and_so_are_widths_without():
    none = "none at INT4 on image networks"
    assert said(pick("lsq", 4), ONE)["Cheaper"] == none
    some = said(pick("lsq", 4), pick("gptq", 4, "cheaper"), pick("lsq", 3), ONE)
    assert some["Cheaper"] == "GPTQ at INT4 and none at INT3 on image networks"
    every = said(pick("lsq", 4), pick("gptq", 4, "cheaper"), ONE)
    assert every["Cheaper"] == "GPTQ at INT4 on image networks"


@pytest.mark.parametrize(
    ("plain", "told", "held"),
    [
        ((-0.3, -0.1), "lower", "holds"),
        ((-0.15, -0.1), "lower by less than the margin", "holds"),
        ((0.1, 0.15), "higher by less than the margin", "holds"),
        ((-0.1, 0.1), "within the margin", "holds"),
        ((-0.3, 0.1), "not shown to differ", "holds"),
        ((-0.1, 0.2), "not shown to differ", "is undecided"),  # the margin itself
        ((0.1, 0.3), "higher", "is undecided"),
        ((0.21, 0.3), "higher", "does not hold"),
        (None, "that of plain training itself", "is plain training"),
    ],
)
def test_a_difference_is_told_by_its_whole_interval_and_holds_below_the_margin(plain, told, held):
    texts = said(pick("lsq", 4, plain=plain), pick("ste", 2), ONE)
    rest = {"lower": " and INT2"}.get(told, " and lower at INT2")
    assert texts["Plain"] == f"{told} at INT4{rest} on the MLP"
    rest = {"holds": " and INT2"}.get(held, " and holds at INT2")
    assert texts["TransferHeld"] == f"{held} at INT4{rest} on the MLP"
    assert texts["TransferOneHeld"] == "holds at INT4 on the MLP"
    assert texts["OnePlain"] == "lower at INT4 on the MLP"


def test_what_keeps_the_unrounded_loss_is_within_the_margin_with_its_whole_interval():
    texts = said(
        pick("lsq", 8, whole=(-0.1, 0.1)),
        pick("lsq", 4, whole=(-0.9, -0.8)),
        pick("lsq", 2, whole=(0.1, 0.3)),
        pick("lsq", 8, whole=(0.3, 0.4), model="deep_cnn"),
        ONE,
    )
    assert texts["Kept"] == "at INT8 and INT4 on the MLP and at no width on the deep CNN"


def test_where_it_is_lower_than_plain_training_is_named_by_network():
    picks = [
        pick("no_noise", 8, plain=None),
        pick("lsq", 4),
        pick("lsq", 2, plain=(-0.1, 0.0)),  # zero itself
        pick("lsq", 8, plain=(0.1, 0.2), model="deep_cnn"),
    ]
    assert said(*picks, ONE)["Lower"] == "at INT4 on the MLP and at no width on the deep CNN"
    assert said(picks[0], ONE)["Lower"] == "at no width on the MLP"


def test_arms_as_good_in_tuning_are_counted_with_the_first():
    texts = said(pick("lsq", 4), pick("lsq", 2), ONE, pick("ste", 2, family="text"), TEXT)
    images = "2 of 2 arms at INT4 and 1 of 2 at INT2 on image networks"
    assert texts["Near"] == f"{images}; and 1 of 2 arms at INT2 on language models"
    spans = "1 to 2 of 2 arms on image networks; and 1 of 2 arms on language models"
    assert texts["NearSpan"] == spans


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
    assert [row[:6] for row in rows] == [
        ["Image networks", "INT4", "recommended", "LSQ", "264", "MLP"],
        ["", "", "", "", "", "deep CNN"],
        ["", "", "cheaper", "GPTQ", r"1\,264 for all", "MLP"],
        ["", "INT2", "recommended", "Plain training", "264 for all", "MLP"],
        ["Image networks", "INT4", "one for all", "Random-bit STE", "264 for all", "MLP"],
    ]
    assert rows[0][6:] == [rf"{x}$\:\pm\:$0.10" for x in ("0.50", r"$-$0.20", "0.00")]
    assert rows[3][7] == "--"


def test_one_training_for_all_stands_beside_what_is_recommended_elsewhere():
    body, _ = exhibit.transfer(tables(pick("lsq", 4), pick("no_noise", 2, plain=None), ONE))
    rows = [[*row[:4], row[-1]] for row in lines(body)]
    assert rows == [
        ["MLP", "recommended", "INT4", "LSQ", "holds"],
        ["", "", "INT2", "Plain training", "is plain training"],
        ["MLP", "one for all", "INT4", "Random-bit STE", "holds"],
    ]
