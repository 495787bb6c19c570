"""The chooser, driven without a browser: controls move; rows, picture and sentences follow."""

import io
from html import unescape

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from t0qat import explorer
from t0qat.explorer import choice, chooser, panel
from t0qat.explorer.choice import ChoiceError
from t0qat.paper import PAPER


@pytest.fixture
def made() -> explorer.Chooser:
    return explorer.Chooser(PAPER)


def assert_shows(made, network: str, bits: int, methods: list[str]) -> None:
    """All that a reader sees is of this choice."""
    found = choice.load(PAPER)
    rows = choice.rows(found, network, bits, methods)
    assert made.rows.equals(rows)
    assert made.sentence == choice.sentence(found, network, bits, rows)
    values = {name: widget.value for name, widget in made.controls.items()}
    assert values == {"network": network, "bits": bits, "methods": tuple(methods)}
    assert made._picture.value == made.still()
    assert made.sentence.replace("\n\n", "<br>") in unescape(made._text.value)


def test_it_opens_with_the_usual_methods_where_most_differ(made):
    found = choice.load(PAPER)
    network = next(iter(choice.networks(found)))
    lowest = min(choice.widths(found, network))
    usual = choice.usual(found, network, lowest)
    assert_shows(
        made, network, lowest, [m for m in choice.methods(found, network, lowest) if m in usual]
    )


def test_each_control_changes_what_is_shown(made):
    pictures = {made._picture.value}
    made.controls["network"].value = "small_gpt2"
    pictures.add(made._picture.value)
    made.controls["bits"].value = 4
    pictures.add(made._picture.value)
    assert {*made.methods} == {*choice.usual(choice.load(PAPER), "small_gpt2", 4)}
    made.controls["methods"].value = ("no_noise", "gptq")
    pictures.add(made._picture.value)
    assert_shows(made, "small_gpt2", 4, ["no_noise", "gptq"])
    assert len(pictures) == 4
    made.controls["methods"].value = ()
    assert_shows(made, "small_gpt2", 4, [])


def test_a_method_that_a_width_lacks_comes_back_at_the_next_and_the_button_brings_the_usual(made):
    made.set(network="mlp", bits=2)
    made.controls["methods"].value = ("no_noise", "gptq", "ste")
    made.controls["bits"].value = 8  # where nothing is trained for the width
    assert made.methods == ["no_noise", "gptq"]
    made.controls["methods"].value = ("gptq",)
    made.controls["bits"].value = 4
    assert made.methods == ["gptq", "ste"]
    button = next(w for box in made._view.children[:2] for w in box.children if hasattr(w, "click"))
    button.click()
    assert {*made.methods} == {*choice.usual(choice.load(PAPER), "mlp", 4)}


def test_a_network_without_the_width_is_shown_at_its_lowest(made, monkeypatch):
    found = choice.load(PAPER)
    for file in ("language", "language_paired"):
        found[file] = found[file][found[file].eval_bits != 2]
    monkeypatch.setattr(choice, "load", lambda paper: found)
    fewer = explorer.Chooser(PAPER, network="mlp", bits=2)
    fewer.controls["network"].value = "small_gpt2"
    assert fewer.controls["bits"].value == fewer.bits == 3
    assert [bits for _, bits in fewer.controls["bits"].options] == [8, 4, 3]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"network": "lenet"}, "network = 'lenet': allowed are "),
        ({"bits": 5}, "bits = 5: allowed are 8, 4, 3, 2"),
        ({"network": "mlp", "bits": 8, "methods": ["ste"]}, "method = 'ste': allowed are no_noise"),
        ({"width": 4}, "width: allowed are network, bits, methods"),
    ],
    ids=str,
)
def test_what_there_is_not_is_refused_and_nothing_changes(made, wrong, told):
    before = made.rows, made.sentence, made.still()
    with pytest.raises(ChoiceError) as caught:
        made.set(**wrong)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert made.rows.equals(before[0])
    assert (made.sentence, made.still()) == before[1:]
    with pytest.raises(ChoiceError):
        explorer.which(PAPER, **wrong)


def test_without_a_front_end_the_output_holds_no_widget(made, monkeypatch):
    bundle = made._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(bundle)
    monkeypatch.setenv(panel.STATIC, "1")
    assert set(made._repr_mimebundle_()) == {"image/png", "text/plain"}
    assert bundle["text/plain"] == made.sentence


# The picture


def drawn(network: str, bits: int, methods: list[str], at_chance=()):
    """What is drawn of rows, those of some methods set to chance."""
    rows = choice.rows(choice.load(PAPER), network, bits, methods)
    rows.loc[[*at_chance], "place"] = "at chance"
    axes = Figure().subplots()
    chooser._draw(axes, rows)
    return rows, axes


@pytest.mark.parametrize(("network", "bits"), [("mlp", 2), ("deep_cnn", 3), ("small_gpt2", 2)])
def test_points_and_lines_are_the_differences_and_the_band_is_the_margin(network, bits):
    known = choice.methods(choice.load(PAPER), network, bits)
    rows, axes = drawn(network, bits, known)
    points = {line.get_ydata()[0]: line for line in axes.lines}
    segments = [c.get_segments()[0] for c in axes.collections if isinstance(c, LineCollection)]
    whiskers = {ends[0][1]: (ends[0][0], ends[1][0]) for ends in segments}
    low, high = axes.get_xlim()
    for y, (_, row) in enumerate(rows.iterrows()):
        if row.place == "at chance":
            assert y not in points
            continue
        x = points[y].get_xdata()[0]
        assert low < x < high
        assert (points[y].get_markerfacecolor() == "white") == (row.train_bits != 0)
        if row.place == "drawn":
            assert x == row.difference
            assert whiskers[y] == pytest.approx((row.difference_low, row.difference_high))
            assert low < whiskers[y][0] <= whiskers[y][1] < high
        else:
            assert points[y].get_marker() == ("<" if row.difference < 0 else ">")
    (band,) = axes.patches
    assert band.get_extents().transformed(axes.transData.inverted()).intervalx == pytest.approx(
        (-rows.margin.iloc[0], rows.margin.iloc[0])
    )


@pytest.mark.parametrize(("sign", "marker"), [(-1, "<"), (1, ">")])
def test_a_method_beyond_the_axis_is_an_arrow_at_its_end_and_does_not_stretch_it(sign, marker):
    _, axes = drawn("mlp", 2, ["no_noise", "seq"])
    more = choice.rows(choice.load(PAPER), "mlp", 2, ["no_noise", "seq", "ste"])
    more.loc["ste", ["difference", "difference_low", "difference_high"]] = sign * 50.0
    more.loc["ste", "place"] = "beyond the axis"
    stretched = Figure().subplots()
    chooser._draw(stretched, more)
    assert stretched.get_xlim() == axes.get_xlim()
    (arrow,) = [line for line in stretched.lines if line.get_ydata()[0] == 2]
    assert arrow.get_marker() == marker
    assert sign * arrow.get_xdata()[0] > 0
    assert axes.get_xlim()[0] < arrow.get_xdata()[0] < axes.get_xlim()[1]


def test_methods_at_chance_are_named_and_take_no_room_on_the_axis():
    _, axes = drawn("deep_cnn", 2, ["no_noise", "seq"])
    _, more = drawn("deep_cnn", 2, ["no_noise", "seq", "ste"], ["ste"])
    assert more.get_xlim() == axes.get_xlim()
    assert [text.get_text() for text in more.texts] == ["at chance, not drawn"]
    rows, axes = drawn("deep_cnn", 2, ["ste"], ["ste"])
    margin = rows.margin.iloc[0]
    assert axes.get_xlim()[0] < -margin < margin < axes.get_xlim()[1]


@pytest.mark.parametrize("count", [0, 1, 30])
def test_no_word_runs_out_of_the_picture(made, count):
    made.set(network="mlp", bits=2)
    made.set(methods=choice.methods(choice.load(PAPER), "mlp", 2)[:count])
    ink = imread(io.BytesIO(made.still()))[..., :3].min(-1) < 0.9
    edges = ink[0], ink[-1], ink[:, 0], ink[:, -1]
    assert ink.any()
    assert not any(map(np.any, edges))
