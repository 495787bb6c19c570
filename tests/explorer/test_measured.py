"""What the explorer measures: against the experiments, plain loops and rounding by hand."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from t0qat.experiments import on_circuits, published
from t0qat.explorer import measure
from t0qat.explorer.pictures import OnDevice
from t0qat.quantization import quantizers
from t0qat.quantization.quantizers import CODES, SCALES, Grid
from t0qat.training.constants import XI
from t0qat.training.streams import stream
from t0qat.training.tasks import digits

# traitlets says so of ipympl's own toolbar.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments:DeprecationWarning")


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
