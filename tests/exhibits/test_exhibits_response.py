"""What is said and drawn of the response surface: sentences of every form, and the table's numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from made_up import frames, response_rows
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from test_figures import luminance, points, readable, whiskers

from t0qat.exhibits import figures
from t0qat.exhibits.response import budget_label, curve_label, response
from t0qat.paper import PAPER


def bars(panel) -> dict[str, ErrorbarContainer]:
    return {c.get_label(): c for c in panel.containers if isinstance(c, ErrorbarContainer)}


def case(noises, ste, plain=2.0, *, bits=2, budget=1, model="deep_cnn") -> list[dict]:
    """Rows of one network, width and budget; noises: strength -> its difference from plain training."""
    where = {"dataset": "digits", "model": model, "budget": budget, "eval_bits": bits, "n": 3}

    def row(method, strength, difference):
        if method == "no_noise":
            ends = dict.fromkeys(("estimate", "ci_low", "ci_high"), math.nan)
        else:
            ends = {"estimate": difference, "ci_low": difference - 0.1, "ci_high": difference + 0.1}
        mean = {"loss": plain + difference, "best_rate": 0.01}
        return where | {"method": method, "strength": strength} | mean | ends

    rows = [row("no_noise", math.nan, 0.0)]
    rows += [row("t0_qat_tuned", strength, difference) for strength, difference in noises.items()]
    return [*rows, row("random_bits", math.nan, ste)]


def said(*cases: list[dict]) -> dict[str, str]:
    best = pd.DataFrame([row for rows in cases for row in rows])
    every = best.assign(learning_rate=0.01, mean=1.0).drop(columns="best_rate")
    _, macros = response({"response": every, "response_best": best})
    return {name.removeprefix("Response"): text for name, text in macros.items()}


def test_noise_that_helps_nowhere_is_said_so():
    texts = said(case({30: 0.0, 300: -0.05}, 0.2, bits=3), case({30: 0.5, 300: 0.6}, 0.2, bits=2))
    least = "the lowest estimate with ξ × 300 at INT3 and 1 times the budget: −0.05 [−0.15, 0.05]"
    assert texts["Helps"] == f"in none of 2 cases ({least}) on the deep CNN"
    assert texts["Leads"] == "noise in 1 and plain training in 1 of 2 cases on the deep CNN"
    assert texts["Ahead"] == "1 of 2 widths on the deep CNN"
    assert texts["Moves"] == "at no width on the deep CNN"


def test_noise_that_helps_somewhere_is_shown_where_it_helps_most():
    texts = said(
        case({30: -0.05, 300: -0.2}, -0.4, bits=3),
        case({30: -0.15, 300: -0.5}, -0.4, bits=2, budget=0.333),
        case({30: 0.1, 300: 0.2}, 0.3, bits=2, budget=3),
    )
    most = "most with ξ × 300 at INT2 and 1/3 times the budget: −0.50 [−0.60, −0.40]"
    assert texts["Helps"] == f"in 2 of 3 cases ({most}) on the deep CNN"
    assert texts["Leads"] == "noise in 1, STE in 1 and plain training in 1 of 3 cases on the deep CNN"
    assert texts["Budgets"] == "1/3, 1 and 3"


def test_intervals_below_zero_stand_beside_what_chance_alone_gives():
    """By the tail of a 95 % interval; STE is no noise, and touching zero is not below it."""
    noises = {30: -0.2, 100: -0.1, 300: 0.5}
    cases = [case(noises, -0.9, bits=bits, budget=budget) for bits in (3, 2) for budget in (1, 3)]
    texts = said(*cases, case({30: 0.0}, -0.9, model="small_gpt2"))
    deep, gpt = texts["Chance"].split("; and ")
    assert deep == "4 of 12 lie below zero (about 0.3 would by chance alone) on the deep CNN"
    assert gpt == "none of 1 lie below zero (about 0.025 would by chance alone) on the small GPT-2"


def test_noise_that_helps_everywhere_and_equal_means_that_both_lead():
    texts = said(
        case({30: -0.2, 300: -0.3}, -0.3, budget=1),
        case({30: -0.4, 300: -0.3}, -0.3, budget=3),
        case({30: -0.4}, 0.1, model="small_gpt2"),
    )
    assert texts["Helps"].startswith("in all 2 cases (most with ξ × 30 at INT2 and 3 times the budget:")
    assert "in all 1 cases (most with ξ × 30 at INT2 and 1 times the budget: " in texts["Helps"]
    assert texts["Leads"].startswith("noise in 2 and STE in 1 of 2 cases on the deep CNN; and noise in")


@pytest.mark.parametrize(
    ("below", "ahead", "moves"),
    [
        ((True, True, True), "1, 1 and 1", "at no width"),
        ((False, False, False), "0, 0 and 0", "at no width"),
        ((True, True, False), "1, 1 and 0", "at INT2"),
        ((True, False, True), "1, 0 and 1", "at INT2"),
    ],
)
def test_the_order_of_noise_and_ste_is_followed_over_the_budgets(below, ahead, moves):
    budgets = (0.333, 1, 3)
    cases = [
        case({30: -0.3 if first else -0.1, 300: 0.5}, -0.2, budget=budget)
        for budget, first in zip(budgets, below, strict=True)
    ]
    texts = said(*cases[::-1])  # in whatever order the rows stand
    assert texts["Ahead"] == f"{ahead} of 1 widths on the deep CNN"
    assert texts["Moves"] == f"{moves} on the deep CNN"


def test_rates_at_an_end_of_those_that_a_network_tried_are_counted():
    rows = [*case({30: 0.1}, 0.2), *case({30: 0.1}, 0.2, model="small_gpt2")]
    best = pd.DataFrame(rows).assign(best_rate=[0.1, 0.2, 0.3, 0.3, 0.4, 0.3])
    tried = [best.assign(learning_rate=rate) for rate in (0.1, 0.2, 0.3)]
    tried += [best[3:].assign(learning_rate=0.4)]
    every = pd.concat(tried).drop(columns="best_rate")
    _, macros = response({"response": every, "response_best": best})
    assert macros["ResponseEdges"] == "3 of 6"


def test_the_table_has_the_best_noise_and_ste_of_every_case():
    tables = frames()
    body, _ = PAPER.exhibits["response"](tables)
    rows = [line for line in body.splitlines() if line.endswith(r"\\")][1:]
    best = tables["response_best"]
    assert len(rows) == 2 * 4 * 3
    noise = best[best.method.isin(["t0_qat_tuned", "relative_noise"])]
    places = [
        (model, bits, budget)
        for model in ("deep_cnn", "small_gpt2")
        for bits in (32, 4, 3, 2)
        for budget in (0.333, 1, 3)
    ]
    for line, (model, bits, budget) in zip(rows, places, strict=True):
        mine = noise[(noise.model == model) & (noise.eval_bits == bits) & (noise.budget == budget)]
        least = mine.loc[mine["loss"].idxmin()]
        label = (
            curve_label(least.method, least.strength).replace("ξ", r"$\xi$").replace("×", r"$\times$")
        )
        assert line.split(" & ")[4] == label


@pytest.mark.parametrize(
    ("budget", "label"),
    [(0.333, "1/3"), (0.5, "1/2"), (1, "1"), (3.0, "3"), (0.07, "0.07"), (1.5, "3/2")],
)
def test_a_budget_is_named_as_a_fraction_where_it_is_near_one(budget, label):
    assert budget_label(budget) == label


PANELS = [(model, bits) for model in ("deep_cnn", "small_gpt2") for bits in (32, 4, 3, 2)]


def test_every_point_is_its_rows_difference_near_its_budget():
    best = frames()["response_best"]
    figure = figures.response(best)
    labels = {bar for panel in figure.axes for bar in bars(panel)}
    curves = best[best.method != "no_noise"].drop_duplicates(["method", "strength"])
    names = {
        curve_label(row.method, row.strength): (row.method, row.strength) for row in curves.itertuples()
    }
    assert labels == names.keys()
    for panel, (model, bits) in zip(figure.axes, PANELS, strict=True):
        assert panel.get_xscale() == "log"
        here = best[(best.model == model) & (best.eval_bits == bits)]
        for label, (method, strength) in names.items():
            same = here.strength.isna() if math.isnan(strength) else here.strength == strength
            mine = here[(here.method == method) & same].sort_values("budget")
            x, y = points(bars(panel)[label])
            np.testing.assert_allclose(x, mine.budget, rtol=0.35)
            np.testing.assert_allclose(y, mine.estimate)
            np.testing.assert_allclose(whiskers(bars(panel)[label], 1), mine[["ci_low", "ci_high"]])
        low, high = panel.get_ylim()
        shown = here.estimate.dropna()
        assert low < min(0, shown.min()) and max(0, shown.max()) < high


def test_more_noise_is_darker_and_kinds_of_noise_differ_in_line_and_marker():
    panel = figures.response(frames()["response_best"]).axes[0]
    lines = {label: bar.lines[0] for label, bar in bars(panel).items()}
    for names in (("ξ × 30", "ξ × 100", "ξ × 300"), ("relative 0.03", "relative 0.1")):
        shades = [luminance(to_rgb(lines[name].get_color())) for name in names]
        assert shades == sorted(shades, reverse=True)
    some = [lines[name] for name in ("ξ × 30", "relative 0.1", "Random-bit STE")]
    assert len({(line.get_linestyle(), line.get_marker()) for line in some}) == 3
    assert to_rgb(lines["Random-bit STE"].get_color()) == (0, 0, 0)


SMALL = {"networks": (("digits", "mlp"),), "budgets": (1,), "bits": (32, 2)}


@pytest.mark.parametrize("part", [{}, SMALL, {"budgets": (0.333, 1)}], ids=["all", "small", "two"])
@pytest.mark.parametrize("size", [1e-4, 1.0, 40.0])
def test_no_text_is_clipped_or_lies_on_another(part, size):
    draws = np.random.default_rng(3)

    def difference():
        estimate = size * draws.normal()
        return {
            "estimate": estimate,
            "ci_low": estimate - 9 * size,
            "ci_high": estimate + 9 * size,
            "n": 2,
        }

    loss = lambda **keys: keys | {"mean": 1.0}  # noqa: E731
    figure = figures.response(pd.DataFrame(response_rows(loss, difference, **part)["response_best"]))
    assert figure.get_figwidth() <= 6.2
    readable(figure)
