"""The explorer, driven without a browser: controls move, pictures and sentences follow."""

import io
import tomllib

import numpy as np
import pytest
from driven import SMALL, assert_shows

from t0qat.experiments import published
from t0qat.experiments.settings import RULES, check
from t0qat.explorer import measure, panel, settings
from t0qat.explorer.measure import Setting
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places, results
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.quantizers import Grid
from t0qat.training.constants import CONSTANTS, XI

# traitlets says so of ipympl's own toolbar.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments:DeprecationWarning")


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": 1.0},
        {"scaling": 0.0},
        {"baseline_noise": 1.2},
        {"evaluation_noise": 0.0},
        {"evaluation_noise": 0.3},
        {"target": "normal"},
        {"replicates": 50},
        {"constant": "fine_structure", "scaling": 1.0},
    ],
    ids=str,
)
def test_a_control_shows_what_the_experiment_gives(small, change):
    for name, value in change.items():
        small.controls[name].value = value
    assert_shows(small, Setting(**SMALL | change))


def test_diabetes_are_the_losses_of_the_integer_grids_before_rounding(small):
    small.controls["dataset"].value = "diabetes"
    cells = published.integer_grids(replicates=20, bits=[4])
    for method, full in small.shown["full_precision"].items():
        wanted = cells[published.Cell("diabetes", method, Grid(4))]
        assert full == wanted.full_precision.tolist()
    assert small.controls["target"].disabled
    assert not any(len(mark.get_xdata()) for mark in small._pictures["drop"].reported.values())


def test_more_replicates_than_a_block_are_those_of_the_experiment(small, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 7)
    small.set(replicates=50)
    assert_shows(small, Setting(replicates=50))


def test_each_preset_sets_the_experiment_and_leaves_the_grid(small):
    best = results.read(PAPER, "scale_best").set_index("quantity").estimate["quantized"]
    wanted = {"as-published": 80_000.0, "no-tuning": 1.0, "tuned": best, "baseline": 0.4 / XI}
    assert set(small.presets) == set(wanted)
    for name, scaling in wanted.items():
        small.set(scaling=0.0, target="normal", evaluation_noise=0.1, bits=2, grid_scale="mse")
        small.preset(name)
        assert_shows(small, Setting(scaling=scaling, bits=2, grid_scale="mse", **SMALL))
        assert {n: c.value for n, c in small.controls.items()} == small.wanted._asdict()
    small.preset("baseline")
    drops = small.shown["drop"]
    np.testing.assert_allclose(drops["t0_qat"], drops["standard_qat"], atol=1e-4)


# Impossible values


def test_one_bit_and_the_narrow_range_exclude_each_other(small):
    bits, codes = small.controls["bits"], small.controls["grid_range"]
    assert [value for _, value in bits.options] == [8, 7, 6, 5, 4, 3, 2, 1]
    codes.value = "narrow"
    assert [value for _, value in bits.options] == [8, 7, 6, 5, 4, 3, 2]
    assert bits.value == 4
    codes.value = "full"
    bits.value = 1
    assert list(codes.options) == ["full"]
    bits.value = 2
    assert (list(codes.options), codes.value) == (["full", "narrow"], "full")


@pytest.mark.parametrize("constant", CONSTANTS)
def test_every_offered_value_is_a_parameter_that_the_notebooks_accept(moved, constant):
    moved.controls["constant"].value = constant
    offered = [value for _, value in moved.controls["scaling"].options]
    assert {0.0, 1.0} <= set(offered)
    for scaling in offered:
        check({"xi_scaling": moved.wanted._replace(scaling=scaling).xi_scaling})
    assert moved.controls["scaling"].value in offered
    left = [value for value in moved._scalings if value not in offered]
    assert all(CONSTANTS[constant] / XI * value > RULES["xi_scaling"].limits[1] for value in left)
    for name in ("baseline_noise", "evaluation_noise", "replicates"):
        for option in moved.controls[name].options:
            check({name: option[1]})


# Pictures


def test_redrawing_adds_and_replaces_no_artist(small):
    def artists():
        return {n: [id(a) for a in p.axes.get_children()] for n, p in small._pictures.items()}

    before = artists()
    small.preset("tuned")
    small.set(bits=1, dataset="diabetes", replicates=50)
    assert artists() == before


def test_a_picture_whose_data_alone_were_drawn_is_the_whole_picture(small):
    def pixels():
        return [np.array(figure.canvas.buffer_rgba()) for figure in small._figures.values()]

    first, whole = pixels(), []
    for figure in small._figures.values():
        figure.canvas.mpl_connect("draw_event", lambda event: whole.append(event.canvas.figure))
    small.set(scaling=small.wanted.scaling / 2)
    second = pixels()
    assert len(whole) < len(first)
    for figure in small._figures.values():
        figure.savefig(io.BytesIO())  # as the download button does
        figure.canvas.draw()
    np.testing.assert_array_equal(pixels(), second)
    small.set(bits=3, scaling=1.0)
    small.set(**Setting(**SMALL)._asdict())
    np.testing.assert_array_equal(pixels(), first)


def test_limits_follow_the_data_until_the_reader_zooms(small):
    axes = small._pictures["losses"].axes
    first = axes.get_xlim()
    small.set(scaling=1.0)
    assert axes.get_xlim() != first
    axes.set_xlim(0.1, 0.2)
    axes.set_ylim(1, 2)
    small.set(scaling=80_000.0)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.1, 0.2), (1, 2))
    axes.set(xlim=first, ylim=first)  # as the home button does
    small.set(scaling=1.0)
    low, high = axes.get_xlim()
    seen = np.concatenate([small.shown["full_precision"]["no_noise"]])
    assert low <= np.quantile(seen, 0.01) <= np.quantile(seen, 0.99) <= high


def test_the_still_picture_shows_what_is_drawn(small):
    first = small.still()
    assert first.startswith(b"\x89PNG")
    assert small.still() == first
    small.set(scaling=1.0)
    assert small.still() != first


def test_without_a_front_end_the_output_holds_no_widget(small, monkeypatch):
    bundle = small._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= set(bundle)
    monkeypatch.setenv(panel.STATIC, "1")
    assert set(small._repr_mimebundle_()) == {"image/png", "text/plain"}
    assert small.sentences["drop"] in bundle["text/plain"]


# The parameters file


@pytest.fixture
def own_build(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "BUILD", tmp_path / "build")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    return tmp_path


SETTINGS = [
    Setting(),
    Setting(scaling=1.0, bits=5, replicates=1000, evaluation_noise=0.3, baseline_noise=0.8),
    Setting(scaling=0.4 / XI, bits=2, grid_range="narrow", grid_scale="mse", target="normal"),
    Setting(constant="fine_structure", scaling=10.0, dataset="diabetes", bits=1),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_pipeline_reads_a_written_setting(own_build, setting):
    every = notebooks.load(PAPER)
    path, notes = settings.write(PAPER, setting, "mine")
    assert path == own_build / "build/explore/mine.toml"
    changed = notebooks.changes(path, every)
    for notebook in every:
        values = notebook.parameters("paper", changed[notebook.name])
        for name in settings.EVERYWHERE:
            if name in notebook.defaults:
                assert values[name] == getattr(setting, name)
        linear = "target" in notebook.defaults
        assert ("replicates" in changed[notebook.name]) == linear
        if linear:
            assert values["replicates"] == setting.replicates
            assert setting.bits in values.get("bits", [setting.bits])
        assert "dataset" not in changed[notebook.name]
    assert any("constant" in note for note in notes) == (setting.constant != "xi")


def test_the_button_writes_the_controls_and_says_how_to_run(own_build, small):
    small.set(scaling=1.0)
    small.name.value = "a name"
    small.write()
    assert "make paper PARAMS=&quot;build/explore/a name.toml&quot;" in small.written.value
    written = tomllib.loads((own_build / "build/explore/a name.toml").read_text())
    assert written["xi_scaling"] == 1.0
    assert written["01_table1"] == {"replicates": 20}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".hidden", "a\nb", "<b>"])
def test_a_name_that_is_no_file_name_is_refused_and_nothing_written(own_build, small, name):
    with pytest.raises(ParameterError, match="allowed are letters"):
        settings.write(PAPER, Setting(), name)
    small.name.value = name
    small.write()
    assert "allowed are" in small.written.value
    assert "<b>" not in small.written.value
    assert not list(own_build.iterdir())
