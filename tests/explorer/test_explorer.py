"""The explorer, driven without a browser: controls move, pictures and sentences follow."""

import asyncio
import io
import itertools
import tomllib
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn

from t0qat import explorer
from t0qat.experiments import on_circuits, published
from t0qat.experiments.published import Losses
from t0qat.experiments.settings import RULES, check
from t0qat.explorer import measure, panel, settings
from t0qat.explorer.measure import Setting
from t0qat.explorer.pictures import Drops, OnDevice
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks, places, results
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import quantizers
from t0qat.quantization.quantizers import CODES, SCALES, Grid
from t0qat.training.constants import CONSTANTS, XI
from t0qat.training.streams import stream
from t0qat.training.tasks import digits

SMALL = {"replicates": 20}


# traitlets says so of ipympl's own toolbar.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments:DeprecationWarning")


def forget() -> None:
    for kept in (measure._network, measure._shares_right, measure._on_device):
        kept.cache_clear()


@pytest.fixture(scope="module")
def quick():
    """Two quickly trained networks a method, and two such circuits a way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "NETWORKS", 2)
        patch.setattr(measure, "NETWORK", measure.NETWORK | {"epochs": 2})
        patch.setattr(measure, "CIRCUITS", 2)
        patch.setattr(measure, "CIRCUIT_TRAINING", measure.CIRCUIT_TRAINING | {"steps": 3})
        forget()
        yield
        forget()


def of_20_replicates() -> explorer.Explorer:
    made = explorer.Explorer(PAPER)
    made.set(**SMALL)
    return made


@pytest.fixture
def small(quick):
    """An explorer of those; what another test has trained is not trained again."""
    return of_20_replicates()


@pytest.fixture
def untrained(quick):
    """The same, but it trains all itself."""
    forget()
    return of_20_replicates()


@pytest.fixture(scope="module")
def moved(quick):
    """The same for many tests, each of which sets all that it looks at."""
    return of_20_replicates()


def independent(setting: Setting) -> dict[str, Losses]:
    """The losses of a setting by the experiment itself."""
    names = "replicates", "target", "baseline_noise", "evaluation_noise"
    same = {name: getattr(setting, name) for name in names}
    per_xi = 1.0 if setting.constant == "xi" else CONSTANTS[setting.constant] / XI
    return published.published(xi_scaling=per_xi * setting.scaling, **same)[0]


def assert_shows(made, setting: Setting) -> None:
    assert (
        made.linear.setting == made.networks.setting == made.circuits.setting == made.wanted == setting
    )
    for method, losses in independent(setting).items():
        for quantity in published.QUANTITIES:
            assert made.shown[quantity][method] == getattr(losses, quantity).tolist()
    drawn = made._pictures["losses"].points
    for method, losses in independent(setting).items():
        np.testing.assert_array_equal(drawn[method].get_xdata(), losses.full_precision)
        np.testing.assert_array_equal(drawn[method].get_ydata(), losses.quantized)


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


@pytest.fixture(scope="module")
def two_runs():
    return published.published(replicates=2)[0]


@pytest.mark.parametrize(
    "grid",
    [
        Grid(b, r, s)
        for b, r, s in itertools.product(range(1, 9), CODES, SCALES)
        if (b, r) != (1, "narrow")
    ],
    ids=str,
)
def test_every_grid_shows_weights_rounded_by_the_quantizer(moved, two_runs, grid):
    moved.set(bits=grid.bits, grid_range=grid.range, grid_scale=grid.scale)
    for method, mine in moved.shown["weights"].items():
        codes, step = quantizers.quantize(torch.tensor(mine["weights"], dtype=torch.float64), grid)
        assert (mine["codes"], mine["step"]) == (codes.tolist(), step.item())
        low, high = grid.codes
        assert all(low <= code <= high for code in mine["codes"])
        assert mine["before"] == two_runs[method].full_precision[0]
    drawn = moved._pictures["weights"]
    mine = moved.shown["weights"]["t0_qat"]
    np.testing.assert_array_equal(drawn.after["t0_qat"].get_ydata(), mine["codes"])
    exact = np.array(mine["weights"]) / mine["step"]
    np.testing.assert_array_equal(drawn.before["t0_qat"].get_ydata(), exact)
    assert (
        f"INT{grid.bits}: {2**grid.bits - (grid.range == 'narrow')} codes" in moved.sentences["weights"]
    )


def test_losses_after_rounding_are_those_of_the_integer_grids(small):
    small.set(bits=3)
    cells = published.integer_grids(replicates=2, bits=[3])
    for method, mine in small.shown["weights"].items():
        wanted = cells[published.Cell("synthetic", method, Grid(3))]
        assert (mine["before"], mine["after"]) == (wanted.full_precision[0], wanted.quantized[0])


def plain_loop(replicate: int, sigma: float) -> nn.Sequential:
    """The digits' network trained as torch's own tutorial would, with noise on what the forward sees."""
    data, draws = digits(replicate), stream("initialization", replicate)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    noise = stream("training_noise", replicate)
    x, y = torch.from_numpy(data.inputs), torch.from_numpy(data.target)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            bound = layer.in_features**-0.5
            for p in (layer.weight, layer.bias):
                p.copy_(torch.from_numpy(draws.uniform(-bound, bound, p.shape)))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(measure.NETWORK["epochs"]):
        kept = [p.detach().clone() for p in net.parameters()]
        with torch.no_grad():  # step away, take the gradient there, step back
            for p in net.parameters():
                p.add_(sigma * torch.from_numpy(noise.standard_normal(p.shape, np.float32)))
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(net(x), y).backward()
        with torch.no_grad():
            for p, clean in zip(net.parameters(), kept, strict=True):
                p.copy_(clean)
        optimizer.step()
    return net


def test_the_networks_against_a_plain_loop_and_rounding_by_hand(small):
    scaling = next(value for value in small._scalings if value > 100)
    small.set(scaling=scaling, grid_range="narrow")
    shown = small.shown
    assert shown["bits"] == [2, 3, 4, 5, 6, 7, 8]
    for i in range(measure.NETWORKS):
        net, data = plain_loop(i, XI * scaling), digits(i)
        first = [net[0].weight.detach().clone(), net[2].weight.detach().clone()]
        for place, bits in enumerate(shown["bits"]):
            most = 2 ** (bits - 1) - 1
            for layer, w in zip((net[0], net[2]), first, strict=True):
                step = w.abs().amax(1, keepdim=True) / most
                layer.weight.data = (w / step).round().clamp(-most, most) * step
            answers = net(torch.from_numpy(data.test_inputs)).argmax(1).numpy()
            right = np.mean(answers == data.test_target)
            found = shown["accuracy"]["t0_qat"][i][place]
            assert found == pytest.approx(right, abs=2.5 / len(answers))
    line = small._pictures["bits"].lines["t0_qat"]
    assert list(line.get_xdata()) == [*shown["bits"], 9]
    np.testing.assert_array_equal(line.get_ydata()[:-1], np.mean(shown["accuracy"]["t0_qat"], 0))


@pytest.mark.parametrize("scaling", [0.0, 2154.0, 80_000.0])
def test_the_circuits_are_those_of_the_experiment(small, scaling):
    small.set(scaling=scaling)
    shown, strengths = small.shown, measure.DEVICE_STRENGTHS
    assert shown["strengths"] == [*strengths]
    for way in ("no_noise", "t0_qat", "channel"):
        rows = []
        for replicate in range(measure.CIRCUITS):
            own = {"qubits": 4, "layers": 4, "part": "test", "replicate": replicate, "seed": 0}
            angles = on_circuits.fit(
                digits="38", way=way, xi_scaling=None if way == "no_noise" else scaling,
                **measure.CIRCUIT_TRAINING, **own,
            )["angles"].detach()  # fmt: skip
            images = on_circuits.samples("38", 4, "test", replicate, 0)
            trained = on_circuits.Trained(on_circuits.Circuit(4, 4, 2), angles, images)
            each = [trained.chances(angles, "dephasing", [strength])[0] for strength in strengths]
            answers = np.argmax(torch.stack(each).numpy(), -1)
            rows.append((answers == images.test_target.numpy()).mean(1))
        np.testing.assert_allclose(shown["on_device"][way], rows, rtol=0, atol=1e-12)
        line = small._pictures["device"].lines[way]
        np.testing.assert_allclose(line.get_xdata(), strengths, atol=0.02)
        np.testing.assert_allclose(line.get_ydata(), np.mean(rows, 0), rtol=0, atol=1e-12)
        whiskers = [part[:, 1] for part in small._pictures["device"].whiskers[way].get_segments()]
        ends = np.stack([np.min(rows, 0), np.max(rows, 0)], 1)
        np.testing.assert_allclose(whiskers, ends, rtol=0, atol=1e-12)


def test_without_noise_all_circuits_are_the_plain_ones(small):
    different = small.shown["on_device"]
    assert different["t0_qat"] != different["no_noise"] != different["channel"]
    small.set(scaling=0.0)
    shown = small.shown["on_device"]
    assert shown["t0_qat"] == shown["channel"] == shown["no_noise"] == different["no_noise"]
    assert "without noise" in small.sentences["device"]


def test_the_bar_is_at_the_dephasing_that_the_noise_about_z_is_in_the_mean(small):
    for scaling in (0.0, 1000.0, 4642.0, 80_000.0):
        small.set(scaling=scaling)
        strength = torch.tensor(small._pictures["device"].own.get_xdata()[0], dtype=torch.float64)
        deviation = torch.tensor(small.wanted.noise, dtype=torch.float64)
        own = on_circuits.flip(on_circuits.circuits.Z_AXIS, on_circuits.flip_chance(deviation))
        torch.testing.assert_close(on_circuits.CHANNELS["dephasing"](strength), own)


def test_only_noise_of_training_trains_circuits(untrained, monkeypatch):
    trained, original = [], on_circuits.fit
    counted = lambda **what: trained.append((what["way"], what["replicate"])) or original(**what)  # noqa: E731
    monkeypatch.setattr(on_circuits, "fit", counted)
    before = untrained.shown["on_device"]
    for other in (
        {"baseline_noise": 1.2}, {"evaluation_noise": 0.3}, {"bits": 2}, {"grid_range": "narrow"},
        {"grid_scale": "mse"}, {"target": "normal"}, {"dataset": "diabetes"}, {"replicates": 50},
    ):  # fmt: skip
        untrained.set(**other)
        assert untrained.circuits.setting == untrained.wanted
    assert (trained, untrained.shown["on_device"]) == ([], before)
    untrained.set(scaling=1000.0)  # each once, and the plain ones not again
    assert sorted(trained) == [("channel", 0), ("channel", 1), ("t0_qat", 0), ("t0_qat", 1)]
    untrained.set(scaling=80_000.0)
    assert (len(trained), untrained.shown["on_device"]) == (4, before)


def test_the_first_circuit_is_drawn_before_the_rest_are_trained(untrained, monkeypatch):
    drawn, original = [], OnDevice.update
    size = lambda found: {way: len(rows) for way, rows in found.accuracy.items()}  # noqa: E731
    monkeypatch.setattr(OnDevice, "update", lambda s, f: drawn.append(size(f)) or original(s, f))
    untrained.set(scaling=1000.0)
    each = ("no_noise", "t0_qat", "channel")
    assert drawn == [dict.fromkeys(each[:2], 1), dict.fromkeys(each, 1), dict.fromkeys(each, 2)]


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


# Work under way


def run_async(scenario) -> None:
    asyncio.run(asyncio.wait_for(scenario, 120))


def test_of_many_moves_only_the_newest_is_computed(small, monkeypatch):
    computed = []
    original = measure.published
    monkeypatch.setattr(measure, "published", lambda s: computed.append(s.scaling) or original(s))

    async def scenario():
        values = [value for _, value in small.controls["scaling"].options][5:15]
        for value in values:
            small.controls["scaling"].value = value
        await small.task
        assert computed == values[-1:]
        assert_shows(small, Setting(scaling=values[-1], **SMALL))

    run_async(scenario())


@pytest.fixture
def drawn(monkeypatch) -> list[Setting]:
    """The settings whose losses are drawn, in order."""
    settings_, original = [], Drops.update
    monkeypatch.setattr(Drops, "update", lambda s, f: settings_.append(f.setting) or original(s, f))
    return settings_


def test_a_drag_is_followed_while_it_goes_on(small, drawn):
    """A short computation is drawn though the next move has come: nothing waits for a pause."""
    drawn.clear()

    async def scenario():
        values = [value for _, value in small.controls["scaling"].options][5:35]
        for value in values:
            small.controls["scaling"].value = value
            for _ in range(3):  # fewer turns of the loop than a computation takes
                await asyncio.sleep(0)
        await small.task
        shown = [setting.scaling for setting in drawn]
        assert len(shown) >= 2
        assert shown[-1] == values[-1]
        assert shown == sorted(shown)

    run_async(scenario())


def test_a_move_stops_longer_work_and_the_new_setting_is_drawn(small, drawn, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 10)

    async def scenario():
        small.set(replicates=1000)
        for _ in range(5):
            await asyncio.sleep(0.002)
        assert 0 < small.progress.value < small.progress.max == 3 * 100
        assert small.progress.layout.visibility == small.cancel.layout.visibility == "visible"
        small.set(replicates=10)
        await small.task
        assert 1000 not in {setting.replicates for setting in drawn}
        assert_shows(small, Setting(replicates=10))
        assert small.progress.layout.visibility == small.cancel.layout.visibility == "hidden"

    run_async(scenario())


def test_cancel_keeps_the_last_complete_picture_and_sets_the_controls_back(small, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 10)
    before, curve = small.sentences, small._pictures["drop"].curves["t0_qat"].get_xydata().copy()

    async def scenario():
        small.set(replicates=1000, scaling=1.0)
        for _ in range(5):
            await asyncio.sleep(0.002)
        small.cancel.click()
        await small.task

    run_async(scenario())
    assert small.sentences == before
    np.testing.assert_array_equal(small._pictures["drop"].curves["t0_qat"].get_xydata(), curve)
    assert_shows(small, Setting(**SMALL))
    assert small.controls["replicates"].value == 20
    assert small.controls["scaling"].value == 80_000.0


def test_cancel_while_networks_train_goes_back_to_the_picture_that_is_whole(untrained, monkeypatch):
    before = untrained.sentences

    async def scenario():
        untrained.set(scaling=1.0)
        while untrained.linear.setting != untrained.wanted:
            await asyncio.sleep(0)
        untrained.cancel.click()
        await untrained.task

    run_async(scenario())
    assert untrained.sentences == before
    assert_shows(untrained, Setting(**SMALL))


def test_cancel_while_circuits_train_goes_back_to_the_picture_that_is_whole(untrained):
    before = untrained.sentences

    async def scenario():
        untrained.set(scaling=1.0)
        while untrained.circuits.setting != untrained.wanted:
            await asyncio.sleep(0)
        assert untrained.circuits.number < measure.CIRCUITS
        untrained.cancel.click()
        await untrained.task

    run_async(scenario())
    assert untrained.sentences == before
    assert_shows(untrained, Setting(**SMALL))


def test_other_work_on_the_loop_goes_on_during_a_long_choice(small, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 20)

    async def scenario():
        small.set(replicates=200)
        seen = set()
        while not small.task.done():
            await asyncio.sleep(0)
            seen.add(small.progress.value)
        assert len(seen) > 15

    run_async(scenario())


def test_an_error_in_the_work_does_not_stop_the_explorer(small, monkeypatch):
    def broken(setting):
        raise ValueError("no")
        yield

    async def scenario():
        with monkeypatch.context() as context:
            context.setattr(measure, "published", broken)
            small.set(scaling=1.0)
            with suppress(ValueError):
                await small.task
        small.set(scaling=10.0)
        await small.task
        assert_shows(small, Setting(scaling=10.0, **SMALL))

    run_async(scenario())


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
