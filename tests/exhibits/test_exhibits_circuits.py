"""What is said and drawn of circuits: what came of each prediction, the table's numbers, every point."""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from made_up import circuit_rows, differs, frames, typeset
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from test_figures import points, readable, whiskers

from t0qat.exhibits import figures
from t0qat.exhibits.circuits import circuits, differences, gains, vanishing
from t0qat.experiments.on_circuits import DEVICE, WAYS

CHANNELS = {  # as the table heads them
    "none": "No noise",
    "bit_flips": "X flips",
    "rotation_flips": "Y flips",
    "dephasing": "Dephasing",
    "depolarizing": "Depolarizing",
    "amplitude_damping": "Amplitude damping",
    "global_depolarizing": "Global depolarizing",
    "readout_flips": "Readout flips",
    "all": "All",
}


def said(**changed: pd.DataFrame) -> dict[str, str]:
    _, macros = circuits(frames() | changed)
    return {name.removeprefix("Circuits"): text for name, text in macros.items()}


def pairs(way: str, other: str, numbers: dict[tuple[str, str], tuple[float, float]]) -> pd.DataFrame:
    """Those of the made-up ones; (model, channel) -> estimate and p_holm, of all others 0.1 and 0.5."""
    table = frames()["circuits_paired"]
    mine = (table.way == way) & (table.other_way == other)
    table.loc[mine, ["estimate", "p_holm"]] = 0.1, 0.5
    for (model, channel), pair in numbers.items():
        here = mine & (table.model == model) & (table.channel == channel)
        assert here.sum() == 1
        table.loc[here, ["estimate", "p_holm"]] = pair
    return table


@pytest.mark.parametrize(
    ("numbers", "where"),
    [
        ({}, ""),
        ({"circuit_38": (-0.2, 0.001)}, ""),  # worse than a guess
        ({"circuit_38": (0.2, 0.06)}, ""),
        ({"circuit_38": (0.2, 0.04)}, "1 of 2 tasks"),
        ({"circuit_0123": (0.01, 0.04), "circuit_38": (0.2, 0.06)}, "1 of 2 tasks"),
    ],
)
def test_the_first_prediction_fails_where_the_published_noise_beats_a_guess(numbers, where):
    rows = {(model, "none"): pair for model, pair in numbers.items()}
    text = said(circuits_paired=pairs("t0_qat", "guess", rows))["Vanishing"]
    if where:
        assert text.startswith("The first prediction failed: ") and text.endswith(f" {where}.")
    else:
        assert text.startswith("The first prediction held: ")


GAIN = (0.1, 0.01)


@pytest.mark.parametrize(
    ("channels", "word", "named"),
    [
        ([], "The second was not put to the test", "no channel"),
        (["none", "all"], "The second was not put to the test", "no channel"),
        (["dephasing"], "The second held:", "and there alone"),
        (["dephasing", "rotation_flips", "all"], "The second held:", "and there alone"),
        (["dephasing", "bit_flips"], "The second held in part", "and others"),
        (["amplitude_damping", "readout_flips"], "The second failed", "other channels alone"),
    ],
)
@pytest.mark.parametrize("model", ["circuit_38", "circuit_0123"])
def test_the_second_prediction_is_judged_by_the_channels_that_gain(channels, word, named, model):
    rows = {(model, channel): GAIN for channel in channels}
    rows |= {(model, "depolarizing"): (-0.3, 0.001)}  # a loss is no gain
    text = said(circuits_paired=pairs("t0_qat_tuned", "no_noise", rows))["Gains"]
    assert text.startswith(word) and named in text


@pytest.mark.parametrize(("moved", "word"), [(0.0, "held"), (0.004, "failed")])
def test_the_third_prediction_is_about_global_depolarizing_alone(moved, word):
    table = frames()["circuits"]
    mine = (table.metric == "moved") & (table.channel == "global_depolarizing")
    table.loc[mine, "mean"] = 0.0
    table.loc[table.index[mine][3], "mean"] = moved
    text = said(circuits=table)["Global"]
    assert text.startswith(f"The third {word}: ") and ("0.40 %" in text) == (moved > 0)


def cells_below(body: str) -> list[list[str]]:
    """Of the rows below the header, the digits in each."""
    rows = [line.rstrip("\\ ").split(" & ") for line in body.splitlines() if " & " in line][1:]
    task = ""
    for cells in rows:
        task = cells[0] = cells[0].strip() or task
    return rows


def test_every_difference_stands_in_its_row_and_column():
    table = frames()["circuits_paired"]
    table["estimate"] = 10.0 + np.arange(len(table))
    table["ci_low"], table["ci_high"] = table.estimate - 1, table.estimate + 1
    table["p_holm"] = np.where(np.arange(len(table)) % 2, 0.01, 0.5)
    rows = cells_below(differences({"circuits_paired": table})[0])
    labels = {way.label: name for name, way in WAYS.items()}
    asked = table[table.other_way != "guess"]
    assert len(rows) == len(asked.drop_duplicates(["model", "way", "other_way"]))
    for cells in rows:
        model = "circuit_" + "".join(c for c in cells[0] if c.isdigit())
        mine = asked[(asked.model == model) & (asked.way == labels[cells[1]])]
        mine = mine[mine.other_way == labels[cells[2]]].set_index("channel")
        for cell, channel in zip(cells[3:], CHANNELS, strict=True):
            assert cell.startswith(f"{mine.estimate[channel]:.1f}")
            assert (r"\ast" in cell) == (mine.p_holm[channel] < 0.05)


def test_the_sentence_counts_what_a_device_does_and_not_its_absence_or_the_mean():
    table = frames()["circuits_paired"]
    mine = (table.way == "t0_qat_tuned") & (table.other_way == "no_noise")
    table.loc[mine, ["estimate", "p_holm"]] = 0.1, 0.5
    beside = mine & table.channel.isin(["none", "all"])
    table.loc[beside, "p_holm"] = 0.001
    said = differences({"circuits_paired": table})[1]["CircuitsSentence"]
    assert "is not shown to change accuracy in any of 14" in said
    table.loc[mine & (table.channel == "dephasing"), "p_holm"] = 0.001
    said = differences({"circuits_paired": table})[1]["CircuitsSentence"]
    assert "raises accuracy in 2 of 14" in said


def test_chances_of_a_flip_are_those_of_the_noise():
    """xi alone: a quarter of its square, but for 1e-8 of that; as published all but e**(-s**2 / 2)."""
    xi, tables = 4 / 3 * 1e-4, frames()
    tuned = tables["circuits_tuning"]
    tuned.loc[(tuned.way == "t0_qat_tuned") & (tuned.chosen == 1), "strength"] = 3000.0
    body, _ = circuits(tables)
    shown = {cells[1].replace(r"$\xi$", "xi"): cells[2] for cells in cells_below(body)}
    assert shown["xi alone"].startswith(f"{xi**2 / 4 * 1e9:.2g}$") and "10^{-9}" in shown["xi alone"]
    assert shown["T0-QAT as published"] == "0.5" and shown["Plain"] == "--"
    assert shown["T0-QAT tuned"] == f"{(1 - math.exp(-((xi * 3000) ** 2) / 2)) / 2:.2g}"
    assert said()["Missing"] == f"{math.exp(-((xi * 80000) ** 2) / 2) / 2 * 1e26:.2g} · 10⁻²⁶"


def test_every_accuracy_stands_in_its_row_and_column():
    tables = frames()
    table = tables["circuits_robust"]
    table["mean"] = np.arange(len(table)) / 1000 + 0.2
    table["ci_low"], table["ci_high"] = table["mean"] - 0.01, table["mean"] + 0.01
    body, _ = circuits(tables)
    header = next(line for line in body.splitlines() if " & " in line).replace(r"\\", " ")
    heads = [re.sub(r"\\shortstack\{(.*)\}", r"\1", cell.strip()) for cell in header.split(" & ")]
    assert heads[3:] == [*CHANNELS.values()]
    expected = itertools.product(("3 and 8", "0, 1, 2 and 3"), WAYS)
    for cells, (digits, way) in zip(cells_below(body), expected, strict=True):
        assert (cells[0], cells[1].replace(r"$\xi$", "xi")) == (digits, WAYS[way].label)
        model = "circuit_" + "".join(c for c in digits if c.isdigit())
        mine = table[(table.model == model) & (table.way == way)].set_index("channel")
        for cell, channel in zip(cells[3:], CHANNELS, strict=True):
            assert f"{mine.loc[channel, 'mean']:.3f}" in cell and "0.010" in cell


def test_every_interval_of_the_table_is_shown():
    before = frames()
    original = [*typeset(before, "circuits_robust")]
    for i in range(0, len(before["circuits_robust"]), 7):
        for column in ("mean", "ci_low", "ci_high"):
            table = before["circuits_robust"].copy()
            table.loc[i, column] += 0.5
            assert differs(before | {"circuits_robust": table}, "circuits_robust", original), (i, column)


def test_every_point_is_its_rows_accuracy_at_its_strength():
    table = frames()["circuits"]
    table = table.sample(frac=1, random_state=2)  # in any order
    table = pd.concat([table[table.model == model] for model in ("circuit_38", "circuit_0123")])
    panels = figures.circuits(table).axes
    labels = {way.label: name for name, way in WAYS.items()}
    places = itertools.product(("circuit_38", "circuit_0123"), DEVICE)
    for panel, (model, channel) in zip(panels, places, strict=True):
        bars = {c.get_label(): c for c in panel.containers if isinstance(c, ErrorbarContainer)}
        assert bars.keys() == labels.keys()
        for label, bar in bars.items():
            mine = table[(table.model == model) & (table.way == labels[label]) & (table.shots == 1024)]
            mine = mine[(mine.eval_bits == 32) & mine.channel.isin(["none", channel])]
            mine = mine.sort_values("channel_strength")
            assert [*mine.channel_strength] == [0, 0.01, 0.1, 0.3]
            x, y = points(bar)
            np.testing.assert_allclose(x, mine.channel_strength)
            np.testing.assert_allclose(y, mine["mean"])
            np.testing.assert_allclose(whiskers(bar, 1), mine[["ci_low", "ci_high"]])


def test_a_way_looks_the_same_in_every_panel_and_like_no_other():
    looks = {}
    for panel in figures.circuits(frames()["circuits"]).axes:
        for bar in (c for c in panel.containers if isinstance(c, ErrorbarContainer)):
            line = bar.lines[0]
            looks.setdefault(bar.get_label(), set()).add((to_rgb(line.get_color()), line.get_marker()))
    assert {len(seen) for seen in looks.values()} == {1}
    for part in zip(*(seen for (seen,) in looks.values()), strict=True):
        assert len({*part}) == len(looks) == len(WAYS)


def without_ticks_beyond(figure):
    """Labels of ticks out of sight are there, but nobody draws them."""
    figure.draw_without_rendering()
    for axis in itertools.chain.from_iterable((p.xaxis, p.yaxis) for p in figure.axes):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            tick.label1.set_visible(tick.label1.get_visible() and low <= tick.get_loc() <= high)
    return figure


SMALL = {"models": ("circuit_38",), "strengths": (0.1,)}
MANY = {"models": ("circuit_38", "circuit_0123", "circuit_17")}


@pytest.mark.parametrize("part", [{}, SMALL, MANY], ids=["all", "small", "many"])
@pytest.mark.parametrize("half", [0.001, 3.0])
def test_no_text_is_clipped_or_lies_on_another(part, half):
    draws = np.random.default_rng(3)

    def loss(**keys):
        mean = draws.uniform(0.2, 1)
        return keys | {"mean": mean, "ci_low": mean - half, "ci_high": mean + half, "n": 2}

    rows = circuit_rows(loss, lambda **keys: keys, **part)["circuits"]
    figure = figures.circuits(pd.DataFrame(rows))
    assert figure.get_figwidth() <= 6.2
    readable(without_ticks_beyond(figure))


def test_what_was_not_run_proves_no_prediction():
    assert vanishing([]).startswith("The first prediction was not put to the test")
    assert gains([]).startswith("The second was not put to the test")
