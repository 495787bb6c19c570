"""Metric against bits: against torch's own operators, scikit-learn, plain loops and closed forms."""

import copy
import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, r2_score
from torch import nn

from t0qat import claims, linear, methods, precision, results
from t0qat.constants import XI
from t0qat.experiments import Cell
from t0qat.parameters import ParameterError
from t0qat.precision import CURVES, FLIPS, Measured, Trained
from t0qat.quantizers import Grid, quantize
from t0qat.streams import stream
from t0qat.tasks import TASKS, digits

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
SETTINGS = {"seed": 3, "target": "sum", "target_noise": 0.1, "epochs": 40, "learning_rate": 0.01}
SETTINGS |= {"network_epochs": 30, "network_learning_rate": 0.02}
NOISE = 0.03
VIEWS = {"t0_qat": methods.additive_noise(NOISE), "no_noise": methods.no_noise()}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with linear.one_thread():
        yield


@pytest.fixture(scope="module", params=["digits", "digits_small_cnn"])
def nets(request) -> Trained:
    """Three networks, trained with noise on the digits."""
    return precision.SUBJECTS[request.param].train(range(3), VIEWS, SETTINGS)["t0_qat"]


@PROPERTY
@given(st.integers(2, 16), st.integers(1, 15), st.data())
def test_flips_invert_the_lowest_bits_of_the_two_s_complement(bits, flipped, data):
    flipped = min(flipped, bits - 1)  # the sign bit stays
    code = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    new = int(precision.flip(torch.tensor([code], dtype=torch.float64), flipped))
    before, after = (f"{value % 2**bits:0{bits}b}" for value in (code, new))  # two's complement, as text
    kept = bits - flipped
    assert after[:kept] == before[:kept]
    assert all(a != b for a, b in zip(after[kept:], before[kept:], strict=True))
    assert -(2 ** (bits - 1)) <= new < 2 ** (bits - 1)
    # The low bits l become 2**k - 1 - l: an odd move of at most 2**k - 1.
    assert new - code == 2**flipped - 1 - 2 * (code % 2**flipped)


def test_flips_worked_by_hand_and_their_own_inverse():
    codes = torch.tensor([-8.0, -1.0, 0.0, 4.0, 7.0])
    assert precision.flip(codes, 1).tolist() == [-7, -2, 1, 5, 6]
    assert precision.flip(codes, 2).tolist() == [-5, -4, 3, 7, 4]
    assert torch.equal(precision.flip(precision.flip(codes, 3), 3), codes)


@pytest.mark.parametrize(
    ("excess", "expected"),
    [
        ([0.0] * 16, 1),
        ([1.0] * 3 + [0.0] * 13, 4),
        ([0.0] * 15 + [0.02], 17),  # the widest grid exceeds the margin
        ([0.0, 0.5] + [0.0] * 14, 3),  # good by luck at one bit, which does not count
        ([0.0101, 0.01] + [-0.5] * 14, 2),  # at most, so the margin itself is within
        ([1.0] * 15 + [0.0], 16),
    ],
)
def test_knees_worked_by_hand(excess, expected):
    assert precision.knee(np.array([excess])).tolist() == [expected]


@PROPERTY
@given(st.lists(st.sampled_from([0.0, 0.005, 0.02, -1.0]), min_size=15, max_size=16))
def test_the_knee_is_the_first_width_from_which_on_all_are_within(excess):
    widths = range(17 - len(excess), 17)
    fits = [b for i, b in enumerate(widths) if all(e <= 0.01 for e in excess[i:])]
    assert precision.knee(np.array([excess]))[0] == min(fits, default=17)


def exact_bits(weights: torch.Tensor, step: float) -> np.ndarray:
    """Where 2 max|w| / (2**b - 1) equals the step, without interpolation."""
    return np.log2(2 * weights.abs().amax(-1).numpy() / step + 1)


def log_steps(trained: Trained, codes: str, scale: str) -> np.ndarray:
    return np.stack([precision.measure(trained, g).log_step for g in CURVES[codes, scale]], -1)


def test_steps_and_their_bits_against_the_closed_form():
    draws = torch.Generator().manual_seed(1)
    weights = torch.randn(20, 1, 10, generator=draws, dtype=torch.float64)
    trained = Trained([weights], lambda weights: np.zeros(20))
    steps = log_steps(trained, "full", "absmax")
    largest = weights.abs().amax((1, 2)).numpy()
    for bits in range(1, 17):
        np.testing.assert_allclose(2 ** steps[:, bits - 1], 2 * largest / (2**bits - 1), rtol=1e-12)
    narrow = log_steps(trained, "narrow", "absmax")
    np.testing.assert_allclose(2 ** narrow[:, 0], largest, rtol=1e-12)  # 2 bits: -1, 0, 1
    # Between widths log2(2**b - 1) bends by less than 0.01 from 4 bits on, and by less than 0.1 before.
    for step, error in ((XI, 1e-4), (0.05, 0.01), (0.9, 0.1)):
        found = precision.bits_of_step(steps, step)
        np.testing.assert_allclose(found, exact_bits(weights, step)[:, 0], atol=error)
        assert np.abs(precision.bits_of_step(narrow, XI) - exact_bits(weights, XI)[:, 0]).max() < 1e-3


def test_bits_of_a_step_are_continued_in_a_straight_line_and_exact_at_whole_widths():
    steps = -2.0 * np.arange(1, 17)[None] + 5  # log2: two a bit
    for bits in (-3.0, 0.5, 1, 7, 7.25, 16, 19.0):
        assert precision.bits_of_step(steps, 2.0 ** (5 - 2 * bits)) == pytest.approx(bits)
    assert precision.bits_of_step(steps[:, 1:], 2.0**-9) == pytest.approx(7)  # narrow: from 2 bits


def test_several_channels_and_layers_count_each_with_its_geometric_mean():
    layers = [torch.tensor([[[1.0], [4.0]]]), torch.tensor([[[2.0]]])]
    measured = precision.measure(Trained(layers, lambda weights: np.zeros(1)), Grid(2))
    assert measured.log_step == pytest.approx(np.log2([2 / 3, 8 / 3, 4 / 3]).mean())


def test_doubled_weights_keep_the_knee_and_move_the_bits_of_xi_by_one():
    """The knee does not depend on the units of the weights; where the step equals xi does."""
    plain = precision.linear_layer("diabetes", range(12), VIEWS, SETTINGS)["no_noise"]
    doubled = Trained([2 * w for w in plain.weights], lambda w: plain.metric([layer / 2 for layer in w]))
    for curve, error in ((("full", "absmax"), 1e-3), (("narrow", "mse"), 0.5)):
        found = []
        for trained in (plain, doubled):
            points = [precision.measure(trained, grid) for grid in CURVES[curve]]
            knee = precision.knee(np.stack([p.metric - p.full_precision for p in points], -1))
            found.append((knee, precision.bits_of_step(log_steps(trained, *curve), XI)))
        assert np.array_equal(found[0][0], found[1][0]) and len(set(found[0][0])) > 1
        np.testing.assert_allclose(found[1][1] - found[0][1], 1, atol=error)


def test_the_linear_metric_is_one_minus_r_squared_of_scikit_learn():
    for dataset, task in TASKS.items():
        trained = precision.linear_layer(dataset, range(3), VIEWS, SETTINGS)["no_noise"]
        codes, step = quantize(trained.weights[0], Grid(3))
        bias = trained.metric.args[1][0]
        for i, metric in enumerate(trained.metric([codes * step])):
            data = task(i, 3)
            model = LinearRegression()
            model.coef_, model.intercept_ = (codes * step)[i, 0].numpy(), bias[i].item()
            predicted = model.predict(data.test_inputs.astype(float))
            assert metric == pytest.approx(1 - r2_score(data.test_target, predicted), rel=1e-6)


def plain_loop(replicate: int) -> nn.Sequential:
    """The digits network trained as torch's own tutorial would, with noise on what the forward sees."""
    data, draws = digits(replicate, 3), stream("initialization", replicate, 3)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    noise = stream("training_noise", replicate, 3)
    x, y = torch.from_numpy(data.inputs), torch.from_numpy(data.target)
    with torch.no_grad():
        for layer in (net[0], net[2]):
            bound = layer.in_features**-0.5
            for p in (layer.weight, layer.bias):
                p.copy_(torch.from_numpy(draws.uniform(-bound, bound, p.shape)))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(30):
        kept = [p.detach().clone() for p in net.parameters()]
        with torch.no_grad():  # step away, take the gradient there, step back
            for p in net.parameters():
                p.add_(NOISE * torch.from_numpy(noise.standard_normal(p.shape, np.float32)))
        optimizer.zero_grad()
        nn.CrossEntropyLoss()(net(x), y).backward()
        with torch.no_grad():
            for p, clean in zip(net.parameters(), kept, strict=True):
                p.copy_(clean)
        optimizer.step()
    return net


@pytest.mark.parametrize("nets", ["digits"], indirect=True)
def test_the_digits_network_against_a_plain_loop_and_scikit_learn_s_accuracy(nets):
    for i in range(3):
        net, data = plain_loop(i), digits(i, 3)
        for mine, theirs in zip(nets.weights, (net[0].weight, net[2].weight), strict=True):
            torch.testing.assert_close(mine[i], theirs.detach(), rtol=1e-3, atol=1e-4)
        answers = net(torch.from_numpy(data.test_inputs)).argmax(1).numpy()
        wrong = 1 - accuracy_score(data.test_target, answers)
        assert nets.metric(nets.weights)[i] == pytest.approx(wrong, abs=2 / len(answers))
        assert wrong < 0.2  # it has learned


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_the_metric_of_a_rounded_network_against_torch_s_fake_quantization(nets, bits):
    measured = precision.measure(nets, Grid(bits))
    for i in range(3):
        net, data = copy.deepcopy(nets.metric.args[0][i]), digits(i, 3)
        layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        for layer, weights in zip(layers, nets.weights, strict=True):
            scale = 2 * weights[i].abs().amax(1) / (2**bits - 1)
            zero = torch.zeros(len(scale), dtype=torch.int32)
            ends = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            rounded = torch.fake_quantize_per_channel_affine(layer.weight, scale, zero, 0, *ends)
            layer.weight.copy_(rounded)
        answers = net(torch.from_numpy(data.test_inputs)).argmax(1)
        wrong = 1 - accuracy_score(data.test_target, answers)
        # Each channel's largest weight lies on a tie, where torch may round to the other side.
        assert measured.metric[i] == pytest.approx(wrong, abs=0.05 if bits < 4 else 0.02)


@pytest.mark.parametrize(("codes", "scale"), CURVES)
def test_every_layer_is_rounded_and_no_bias(nets, codes, scale):
    seen = []
    watched = Trained(nets.weights, lambda weights: seen.append(weights) or np.zeros(3))
    for grid in CURVES[codes, scale]:
        precision.measure(watched, grid)
    asked = [weights for weights in seen if weights is not nets.weights]
    flips = [grid for grid in CURVES[codes, scale] for _ in range(1 + len(FLIPS.get(grid, ())))]
    assert len(asked) == len(flips)
    for grid, weights in zip(flips, asked, strict=True):
        shapes = [(32, 64), (10, 32)] if len(weights) == 2 else [(16, 9), (32, 144), (10, 512)]
        assert [w.shape[1:] for w in weights] == shapes
        for channel in itertools.chain(*(w.flatten(0, 1) for w in weights)):
            most = 2**grid.bits - (grid.range == "narrow")
            assert len(channel.unique()) <= most
            assert grid.bits == 1 or len(channel.unique()) > 1  # rounded, not lost


def test_a_replicate_has_the_same_bits_in_another_batch():
    for dataset, few, many in (("diabetes", range(2, 4), range(6)), ("digits", range(1, 2), range(3))):
        one, other = (precision.measure_batch(dataset, batch, VIEWS, SETTINGS) for batch in (few, many))
        for cell, measured in one.items():
            for mine, theirs in zip(measured, other[cell], strict=True):
                assert mine.tobytes() == np.ascontiguousarray(theirs[..., few]).tobytes(), cell


@pytest.fixture(scope="module")
def cells() -> dict[Cell, Measured]:
    return precision.curves(
        replicates=4, replicates_networks=4, epochs=20, network_epochs=4, xi_scaling=500.0
    )


def test_processes_give_what_one_process_gives_and_every_method_is_there(cells):
    values = {"seed": 0, "epochs": 20, "learning_rate": 0.005}
    values |= {"network_epochs": 4, "network_learning_rate": 0.01}
    views = {"xi_alone": methods.additive_noise(XI)}
    for dataset in precision.SUBJECTS:
        alone = precision.measure_batch(dataset, range(2), views, SETTINGS | values)
        for cell, measured in alone.items():
            for mine, theirs in zip(measured, cells[cell], strict=True):
                assert np.array_equal(mine, theirs[..., :2])
    assert {cell.method for cell in cells} == {*methods.METHODS, *methods.VARIANTS}
    assert len(cells) == len(precision.SUBJECTS) * len(methods.NAMED) * (4 * 16 - 2)


def test_tables_against_scipy_and_can_be_published(cells, tmp_path):
    tables = {
        "precision": precision.metrics(cells),
        "precision_full": precision.full_precision(cells),
        "precision_knee": precision.knees(cells),
        "precision_flips": precision.flips(cells),
        "precision_flips_added": precision.flips_added(cells),
    }
    for name, table in tables.items():
        path = tmp_path / "paper/results" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.text(name, table))
        read = results.read(name, tmp_path)
        keys = [c for c in read if c in {*results.NAMES, *results.SETTINGS}]
        assert not read.duplicated(keys).any()
    cell = Cell("synthetic", "t0_qat", Grid(8))
    mine, theirs = cells[cell], cells[cell._replace(method="standard_qat")]
    difference = (mine.flipped[1] - mine.metric) - (theirs.flipped[1] - theirs.metric)
    test = stats.ttest_1samp(difference, 0)
    flips = tables["precision_flips"]
    rule = next(c for c in claims.CLAIMS if c.id == "C3").tests[0]
    row = claims._row(flips, rule.keys)
    expected = [difference.mean(), *test.confidence_interval(0.95)]
    np.testing.assert_allclose([row[k] for k in ("estimate", "ci_low", "ci_high")], expected)
    assert len(flips) == len(precision.SUBJECTS) * (len(methods.NAMED) - 1) * sum(
        map(len, FLIPS.values())
    )
    for rule in next(c for c in claims.CLAIMS if c.id == "C6").tests:
        row = claims._row(tables["precision_knee"], rule.keys)
        grids = CURVES["full", "absmax"]
        curve = [cells[Cell(rule.keys["dataset"], "t0_qat", grid)] for grid in grids]
        distances = []
        for i in range(4):
            late = [b for b, p in enumerate(curve, 1) if p.metric[i] > p.full_precision[i] + 0.01]
            log_step = [p.log_step[i] for p in curve][::-1]
            distances.append(
                abs(np.interp(np.log2(XI), log_step, range(16, 0, -1)) - max(late, default=0) - 1)
            )
        assert row["estimate"] == pytest.approx(np.mean(distances))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(
            stats.t.interval(0.95, 3, np.mean(distances), stats.sem(distances))
        )


def test_readers_are_chosen_by_name_and_leave_each_other_as_they_are(cells, monkeypatch):
    small = {"replicates": 2, "replicates_networks": 4, "epochs": 20, "network_epochs": 4}
    one = precision.curves(readers="mlp", xi_scaling=500.0, **small)
    assert {cell.dataset for cell in one} == {*TASKS, "digits"}
    for cell in one:
        if cell.dataset == "digits":
            assert all(map(np.array_equal, one[cell], cells[cell]))
    with pytest.raises(ParameterError, match="readers: 'deep_cnn' is unknown or twice"):
        precision.curves(readers="mlp, deep_cnn", **small)


def test_a_new_subject_is_one_function_and_one_line(monkeypatch):
    def toy(start, replicates, views, settings):
        weights = torch.tensor([[[start + i, -1.0]] for i in replicates])
        metric = lambda w: np.array([float(layer.sum()) for layer in w[0]])  # noqa: E731
        return {method: Trained([weights], metric) for method in views}

    monkeypatch.setitem(
        precision.SUBJECTS, "toy", precision.Subject(partial(toy, 2.0), "", "replicates", 2)
    )
    for name in {*precision.SUBJECTS} - {"toy"}:
        monkeypatch.delitem(precision.SUBJECTS, name)
    here = lambda cells, words: [c.function(**c.arguments) for c in cells]  # noqa: E731
    monkeypatch.setattr(precision.grid, "run", here)
    made = precision.curves(replicates=3, replicates_networks=2)
    table = precision.metrics(made)
    assert set(table.dataset) == {"toy"} and set(table.method) == set(methods.NAMED)
    assert made[Cell("toy", "t0_qat", Grid(16))].full_precision.tolist() == [1, 2, 3]
    assert isinstance(precision.knees(made), pd.DataFrame)
