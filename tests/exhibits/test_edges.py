"""How many arms of a benchmark chose an end of what they could choose from, and where that matters."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t0qat.exhibits import edges


def tried(*losses: float, method: str = "ste", strengths=(float("nan"),)) -> pd.DataFrame:
    """The candidates of one arm, a rate for each row of losses; the least of them is chosen."""
    keys = {"dataset": "digits", "model": "mlp", "method": method, "train_bits": 2, "layout": "channels"}
    table = pd.DataFrame(
        keys | {"learning_rate": 0.01 * 2 ** (i // len(strengths)), "mean": loss, "strength": strength}
        for i, (loss, strength) in enumerate(zip(losses, [*strengths] * len(losses), strict=False))
    )
    return table.assign(short=float("nan"), chosen=(table.index == table["mean"].idxmin()).astype(int))


def open_edges(*arms: pd.DataFrame) -> str:
    return edges.at_an_open_edge(pd.concat(arms, ignore_index=True), "learning_rate", 0.25)


INSIDE = (3.0, 1.0, 2.0)
AS_GOOD = (1.0, 1.25, 4.0)  # the margin more, and no more
OPEN = (4.0, 1.5, 1.0)


def test_an_end_matters_where_going_inside_costs_more_than_the_margin():
    inside, close, far = (tried(*losses, method="lsq") for losses in (INSIDE, AS_GOOD, OPEN))
    other = tried(*INSIDE)
    assert open_edges(inside, other) == "0 of 2"
    assert open_edges(close, other) == "0 of 2"
    assert open_edges(far, other) == "1 of 2"
    assert open_edges(far, tried(*OPEN[::-1])) == "2 of 2"


def test_an_end_counts_of_those_that_had_a_choice():
    arms = [
        tried(*losses).assign(model=f"mlp_{i}") for i, losses in enumerate((INSIDE, AS_GOOD, (1.0,)))
    ]
    assert edges.at_an_edge(pd.concat(arms), "learning_rate") == "1 of 2"
    assert edges.at_an_edge(arms[2], "learning_rate") == "–"


def test_a_rate_inside_does_as_well_with_any_strength():
    """At the chosen strength 0.1 every rate inside costs 3 more, at 0.2 one costs nothing."""
    losses = [1, 9, 4, 9, 4, 9, 4, 9]
    assert open_edges(tried(*losses, strengths=(0.1, 0.2))) == "1 of 1"
    losses[5] = 1.1
    assert open_edges(tried(*losses, strengths=(0.1, 0.2))) == "0 of 1"


def test_where_short_trainings_made_the_first_cut_going_inside_costs_what_it_did_there():
    """Whole trainings lose less: those of the choice alone would make every end an open one."""
    table = tried(*OPEN)
    short = table.assign(short=[8.0, 5.1, 5.0], mean=[float("nan"), float("nan"), 1.0], chosen=[0, 0, 1])
    assert open_edges(short) == "0 of 1"
    short["short"] = [8.0, 5.3, 5.0]
    assert open_edges(short) == "1 of 1"


@pytest.mark.parametrize(
    ("strengths", "least", "said"),
    [
        ((30,), 30, "the only one"),
        ((30, 100), 100, "highest"),
        ((30, 100, 300), 30, "lowest"),
        ((30, 100, 300), 100, "inside"),
    ],
)
def test_a_chosen_strength_lies_at_an_end_or_inside(strengths, least, said):
    losses = [abs(strength - least) for strength in strengths]
    chosen = edges.choices(tried(*losses, strengths=strengths), "strength")
    assert [edges.chosen_end(row) for row in chosen.to_dict("records")] == [said]


def test_an_end_of_the_strengths_matters_by_the_same_measure():
    """At three strengths, in turn: the lowest is chosen, and the one inside costs 0.2 or 0.3 more."""
    for cost, said in ((0.2, "0 of 1"), (0.3, "1 of 1")):
        arm = tried(1.0, 1.0 + cost, 5.0, strengths=(30, 100, 300))
        assert edges.at_an_open_edge(arm, "strength", 0.25) == said


@pytest.mark.parametrize("losses", [(1.0,), (1.0, 9.0), (9.0, 1.0)])
def test_arms_without_a_rate_inside_are_left_out(losses):
    alone = tried(*losses)
    assert open_edges(alone) == "–"
    assert open_edges(alone, tried(*OPEN, method="lsq")) == "1 of 1"


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.integers(0, 6), min_size=1, max_size=5).map(lambda values: [n / 8 for n in values]),
        min_size=1,
        max_size=6,
    )
)
def test_what_matters_is_counted_as_by_hand(arms):
    counted = matter = 0
    for losses in arms:
        best = losses.index(min(losses))
        counted += len(losses) > 2
        at_an_end = len(losses) > 2 and best in (0, len(losses) - 1)
        matter += at_an_end and all(loss > losses[best] + 0.25 for loss in losses[1:-1])
    said = open_edges(*(tried(*losses).assign(model=f"mlp_{i}") for i, losses in enumerate(arms)))
    assert said == (f"{matter} of {counted}" if counted else "–")
