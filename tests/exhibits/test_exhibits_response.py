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
from t0qat.exhibits.response import budget_label, counts, curve_label, response
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


HEADER = ["seeds", "helped", "below", "chance", "noise", "STE", "plain"]


def counted(*cases: list[dict]) -> dict[str, dict[str, str]]:
    """Network -> the cells of its row by HEADER, and "ahead": those by budget."""
    body, _ = counts({"response_best": pd.DataFrame([row for rows in cases for row in rows])})
    rows = [line.rstrip("\\ ").split(" & ") for line in body.splitlines() if " & " in line][2:]
    n = len(HEADER) + 1
    return {row[0]: dict(zip(HEADER, row[1:n], strict=True)) | {"ahead": row[n:]} for row in rows}


def test_cases_with_noise_below_plain_training_are_counted_by_intervals():
    """STE is no noise, and touching zero is not below it; two curves of one case are one case."""
    noises = {30: -0.2, 100: -0.15, 300: -0.1}
    found = counted(
        case(noises, -0.9, bits=3),
        case({30: -0.3, 100: 0.5, 300: 0.6}, -0.9, bits=2),
        case({30: 0.0, 100: 0.1, 300: 0.2}, -0.9, bits=2, budget=3),
        case({30: 0.0}, -0.9, model="small_gpt2"),
    )
    deep, gpt = found["deep CNN"], found["small GPT-2"]
    assert (deep["helped"], deep["below"], deep["seeds"]) == ("2 of 3", "3 of 9", "3")
    assert float(deep["chance"]) == pytest.approx(0.025 * 9, rel=0.05)
    assert (gpt["helped"], gpt["below"], gpt["chance"]) == ("0 of 1", "0 of 1", "0.025")


def test_the_least_mean_of_each_case_is_counted_and_equals_both_count():
    found = counted(
        case({30: -0.2, 300: -0.3}, -0.3, budget=1),
        case({30: -0.4, 300: -0.3}, -0.3, budget=3),
        case({30: 0.4}, 0.1, budget=0.333),
    )["deep CNN"]
    assert [found[name] for name in ("noise", "STE", "plain")] == ["2", "1", "1"]


@pytest.mark.parametrize(
    "below", [(True, True, True), (False, False, False), (True, True, False), (True, False, True)]
)
def test_the_order_of_noise_and_ste_is_followed_over_the_budgets(below):
    budgets = (0.333, 1, 3)
    cases = [
        case({30: -0.3 if first else -0.1, 300: 0.5}, -0.2, budget=budget)
        for budget, first in zip(budgets, below, strict=True)
    ]
    found = counted(*cases[::-1])["deep CNN"]  # in whatever order the rows stand
    assert found["ahead"] == [f"{int(first)} of 1" for first in below]


def test_sentences_are_of_their_kind_of_network():
    cases = [case({30: -0.2}, 0.0), case({30: 0.2}, 0.0, model="small_gpt2")]
    best = pd.DataFrame([row for rows in cases for row in rows])
    _, macros = counts({"response_best": best})
    shown = "the interval of noise lies below plain training in"
    assert macros["ResponseImagesSentence"].startswith(f"On the deep CNN, {shown} 1 of 1 comparisons.")
    assert macros["ResponseTextSentence"].startswith(
        f"On the small GPT-2, {shown} none of 1 comparisons"
    )


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
