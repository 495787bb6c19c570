"""Metric against bits: against torch's own operators, scikit-learn, plain loops and closed forms."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from torch import nn

from t0qat.experiments import knees, language, precision, trained, trial, vision
from t0qat.experiments.arms import Arm
from t0qat.experiments.learning import Learner
from t0qat.experiments.precision import CURVES, FLIPS, GRIDS, LINEAR, Cell, Layers, Measured
from t0qat.paper import PAPER
from t0qat.pipeline import claims, notebooks, results
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import rounding
from t0qat.quantization.quantizers import Grid, quantize
from t0qat.training import corpora, language_models, linear, methods, plain, views
from t0qat.training.constants import XI
from t0qat.training.streams import stream
from t0qat.training.tasks import TASKS, digits

pytestmark = pytest.mark.usefixtures("one_thread")

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
SETUP = linear.Setup(seed=3, epochs=40, learning_rate=0.01)
NOISE = 0.03
ON_LAYER = "standard_qat", "t0_qat", "no_noise", "xi_alone"
VIEWS = {"t0_qat": views.additive_noise(NOISE), "no_noise": plain.no_noise()}


@pytest.fixture(scope="module", params=["mlp", "small_cnn"])
def network(request) -> Learner:
    """A network that read the digits for two epochs."""
    arm = Arm("digits", request.param, "no_noise", 0)
    shared = {"epochs": 2, "batch_size": 64, "schedule": "constant", "device": "cpu"}
    made = trial.train("images", arm, 0.01, math.nan, replicate=1, part="test", seed=0, **shared)
    return made.opened(made.made(), **made.arguments)


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
    assert knees.knee(np.array([excess])).tolist() == [expected]


@PROPERTY
@given(st.lists(st.sampled_from([0.0, 0.005, 0.02, -1.0]), min_size=15, max_size=16))
def test_the_knee_is_the_first_width_from_which_on_all_are_within(excess):
    widths = range(17 - len(excess), 17)
    fits = [b for i, b in enumerate(widths) if all(e <= 0.01 for e in excess[i:])]
    assert knees.knee(np.array([excess]))[0] == min(fits, default=17)


def exact_bits(weights: torch.Tensor, step: float) -> np.ndarray:
    """Where 2 max|w| / (2**b - 1) equals the step, without interpolation."""
    return np.log2(2 * weights.abs().amax(-1).numpy() / step + 1)


def log_steps(trained: Layers, codes: str, scale: str) -> np.ndarray:
    return np.stack([precision.measure(trained, g).log_step for g in CURVES[codes, scale]], -1)


def test_steps_and_their_bits_against_the_closed_form():
    draws = torch.Generator().manual_seed(1)
    weights = torch.randn(20, 1, 10, generator=draws, dtype=torch.float64)
    trained = Layers(weights, lambda weights: np.zeros(20))
    steps = log_steps(trained, "full", "absmax")
    largest = weights.abs().amax((1, 2)).numpy()
    for bits in range(1, 17):
        np.testing.assert_allclose(2 ** steps[:, bits - 1], 2 * largest / (2**bits - 1), rtol=1e-12)
    narrow = log_steps(trained, "narrow", "absmax")
    np.testing.assert_allclose(2 ** narrow[:, 0], largest, rtol=1e-12)  # 2 bits: -1, 0, 1
    # Between widths log2(2**b - 1) bends by less than 0.01 from 4 bits on, and by less than 0.1 before.
    for step, error in ((XI, 1e-4), (0.05, 0.01), (0.9, 0.1)):
        found = knees.bits_of_step(steps, step)
        np.testing.assert_allclose(found, exact_bits(weights, step)[:, 0], atol=error)
        assert np.abs(knees.bits_of_step(narrow, XI) - exact_bits(weights, XI)[:, 0]).max() < 1e-3


def test_bits_of_a_step_are_continued_in_a_straight_line_and_exact_at_whole_widths():
    steps = -2.0 * np.arange(1, 17)[None] + 5  # log2: two a bit
    for bits in (-3.0, 0.5, 1, 7, 7.25, 16, 19.0):
        assert knees.bits_of_step(steps, 2.0 ** (5 - 2 * bits)) == pytest.approx(bits)
    assert knees.bits_of_step(steps[:, 1:], 2.0**-9) == pytest.approx(7)  # narrow: from 2 bits


def test_several_channels_and_layers_count_each_with_its_geometric_mean():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0], [4.0]]))
        net[1].weight.copy_(torch.tensor([[2.0, -1.0]]))
    toy = Learner(net, None, None, 0, None, None, lambda net: 0.0)
    rows = dict(zip(GRIDS, precision.every_grid(toy, method="no_noise"), strict=True))
    assert rows[Grid(2)][2] == pytest.approx(np.log2([2 / 3, 8 / 3, 4 / 3]).mean())


def test_doubled_weights_keep_the_knee_and_move_the_bits_of_xi_by_one():
    """The knee does not depend on the units of the weights; where the step equals xi does."""
    runs = SETUP.runs("diabetes", range(12))
    plain = precision.linear_layer(runs, VIEWS["no_noise"], runs.noise())
    doubled = Layers(2 * plain.weights, lambda w: plain.metric(w / 2))
    for curve, error in ((("full", "absmax"), 1e-3), (("narrow", "mse"), 0.5)):
        found = []
        for layers in (plain, doubled):
            points = [precision.measure(layers, grid) for grid in CURVES[curve]]
            knee = knees.knee(np.stack([p.metric - p.full_precision for p in points], -1))
            found.append((knee, knees.bits_of_step(log_steps(layers, *curve), XI)))
        assert np.array_equal(found[0][0], found[1][0]) and len(set(found[0][0])) > 1
        np.testing.assert_allclose(found[1][1] - found[0][1], 1, atol=error)


def test_the_linear_metric_is_one_minus_r_squared_of_scikit_learn():
    for dataset, task in TASKS.items():
        runs = SETUP.runs(dataset, range(3))
        trained = precision.linear_layer(runs, VIEWS["no_noise"], runs.noise())
        codes, step = quantize(trained.weights, Grid(3))
        bias = trained.metric.args[1][0]
        for i, metric in enumerate(trained.metric(codes * step)):
            data = task(i, 3)
            model = LinearRegression()
            model.coef_, model.intercept_ = (codes * step)[i, 0].numpy(), bias[i].item()
            predicted = model.predict(data.test_inputs.astype(float))
            assert metric == pytest.approx(1 - r2_score(data.test_target, predicted), rel=1e-6)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_the_loss_of_a_rounded_network_against_torch_s_fake_quantization(network, bits):
    rows = dict(zip(GRIDS, precision.every_grid(network, method="no_noise"), strict=True))
    full, found, *_ = rows[Grid(bits)]
    data = digits(1)
    net, inputs = copy.deepcopy(network.net), torch.from_numpy(data.test_inputs)
    target = torch.from_numpy(data.test_target)
    with torch.no_grad():
        assert full == pytest.approx(nn.functional.cross_entropy(net(inputs), target).item())
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                scale = 2 * layer.weight.flatten(1).abs().amax(1) / (2**bits - 1)
                zero = torch.zeros(len(scale), dtype=torch.int32)
                ends = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
                rounded = torch.fake_quantize_per_channel_affine(layer.weight, scale, zero, 0, *ends)
                layer.weight.copy_(rounded)
        expected = nn.functional.cross_entropy(net(inputs), target).item()
    # Each channel's largest weight lies on a tie, where torch may round to the other side.
    assert found == pytest.approx(min(expected, math.log(10)), rel=0.1 if bits < 4 else 0.01)
    assert found >= full - 0.02


def test_every_layer_is_rounded_and_no_bias(network):
    seen = []

    def watch(net):
        seen.append({name: p.detach().clone() for name, p in net.named_parameters()})
        return 0.0

    precision.every_grid(network._replace(criterion=watch), method="no_noise")
    first, *asked = seen
    flips = [grid for grid in GRIDS for _ in range(1 + len(FLIPS.get(grid, ())))]
    assert len(asked) == len(flips)
    for grid, parameters in zip(flips, asked, strict=True):
        for name, p in parameters.items():
            if p.ndim < 2:
                assert torch.equal(p, first[name])
                continue
            for channel in p.flatten(1):
                assert len(channel.unique()) <= 2**grid.bits - (grid.range == "narrow")
                assert grid.bits == 1 or len(channel.unique()) > 1  # rounded, not lost


def test_a_replicate_has_the_same_bits_in_another_batch():
    few, many = range(2, 4), range(6)
    batches = (precision.layers_on_grids(SETUP.runs("diabetes", b), VIEWS) for b in (few, many))
    for one, other in zip(*batches, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.tobytes() == np.ascontiguousarray(theirs[..., few]).tobytes()


TINY = {"replicates": 4, "epochs": 20, "network_epochs": 1, "trainings": 16, "xi_scaling": 500.0}
TINY |= {"network_replicates": 3, "few_replicates": 2, "readers": ["mlp"], "device": "cpu"}
READ = {"seed": 0, "dataset": "digits", "corpus": corpora.DEFAULT}


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> dict[Cell, Measured]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision.grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(precision.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        return precision.curves(**TINY)


def test_processes_give_what_one_process_gives_and_every_method_is_there(cells):
    placebo = {"xi_alone": views.additive_noise(XI)}
    for dataset in TASKS:
        alone = precision.layers_on_grids(linear.Setup(epochs=20).runs(dataset, range(2)), placebo)
        for grid, measured in zip(GRIDS, alone, strict=True):
            found = cells[Cell(dataset, LINEAR, "xi_alone", grid)]
            for mine, theirs in zip(measured, found, strict=True):
                assert np.array_equal(mine, theirs[..., :2])
    of_networks = {cell.method for cell in cells if cell.dataset == "digits"}
    assert of_networks == {*precision.asked()} == {*ON_LAYER, "t0_qat_tuned"}
    assert {cell.method for cell in cells if cell.dataset in TASKS} == {*ON_LAYER}
    assert len(cells) == (len(TASKS) * len(ON_LAYER) + len(precision.asked())) * (4 * 16 - 2)
    few = {cell.method for cell, found in cells.items() if len(found.metric) == 2}
    assert few == {*methods.named(lambda method: method.loud), "xi_alone"}


def test_networks_are_those_of_the_benchmarks_asked(cells, tmp_path, monkeypatch):
    """The same trainings, by their keys, as the notebooks 05 and 06 make at full size."""
    every = {n.name: n.parameters("paper", {}) for n in notebooks.load(PAPER)}

    def given(function, name):
        known = inspect.signature(function).parameters
        return {key: value for key, value in every[name].items() if key in known}

    images, texts = precision.plans(every["04_precision"])
    benchmark = vision.plan(**given(vision.plan, "05_vision"))
    shared = [
        (images, benchmark, [one.arm for one in images.rivals if one.arm in benchmark.replicates]),
    ]
    planned = language.plan(**given(language.plan, "06_language"))
    starts = {"starts": {(model, i): "AAAA" for model in language_models.SMALL for i in range(9)}}
    mine, theirs = (plan.jobs._replace(shared=plan.jobs.shared | starts) for plan in (texts, planned))
    shared.append((mine, theirs, [one.arm for one in texts.jobs.rivals]))
    assert texts.starts().keys() <= planned.starts().keys()
    for own, other, both in shared:
        assert len(both) >= 6
        tuned = {one.arm: one for one in other.rivals}
        for one in own.rivals:
            if one.arm in both:
                assert one == tuned[one.arm]
                setting = one.candidates[0]
                for part in ("validation", "test"):
                    keys = {jobs.training(one.arm, setting, 1, part).key for jobs in (own, other)}
                    assert len(keys) == 1
                assert own.criterion(one.arm, setting, 1).key == other.criterion(one.arm, setting, 1).key
    assert {arm.model for arm in shared[0][2]} == {"mlp", "deep_cnn"}


def test_a_language_model_is_asked_on_every_grid(tmp_path):
    corpus = tmp_path / "prose.txt"
    corpus.write_text(corpora.load("pydoc_topics").text[:6000])
    shared = {"context": 16, "steps": 2, "batch_size": 4, "schedule": "cosine", "device": "cpu"}
    size = len(set(corpus.read_text()))
    start = language_models.packed(
        language_models.small("small_gpt2", size, 16, stream("initialization", 0))
    )
    made = trial.train(
        "text", Arm(str(corpus), "small_gpt2", "no_noise", 0), 0.001, math.nan, part="test",
        replicate=0, seed=0, starts={("small_gpt2", 0): start}, **shared,
    )  # fmt: skip
    opened = made.opened(made.made(), **made.arguments)
    judged = {"blocks": 3, "block_windows": 4}
    rows = dict(zip(GRIDS, precision.every_grid(opened, method="no_noise", **judged), strict=True))
    for bits in (4, 2):
        codes = trained.codes_of(opened, "no_noise", bits, "mse")
        expected = opened.criterion(rounding.rounded(opened.net, codes), **judged)
        assert rows[Grid(bits, scale="mse")][1] == expected
    assert rows[Grid(8)][0] == opened.criterion(opened.net, **judged) and len(rows[Grid(8)][3]) == 3


def test_tables_against_scipy_and_can_be_published(cells, tmp_path):
    tables = {
        "precision": knees.metrics(cells),
        "precision_full": knees.full_precision(cells),
        "precision_knee": knees.knees(cells),
        "precision_flips": knees.flips(cells),
        "precision_flips_added": knees.flips_added(cells),
    }
    for name, table in tables.items():
        path = tmp_path / "paper/results" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.text(PAPER, name, table))
        read = results.read(PAPER, name, tmp_path)
        keys = [c for c in read if PAPER.columns[c].says_which]
        assert not read.duplicated(keys).any()
    cell = Cell("synthetic", LINEAR, "t0_qat", Grid(8))
    mine, theirs = cells[cell], cells[cell._replace(method="standard_qat")]
    difference = (mine.flipped[1] - mine.metric) - (theirs.flipped[1] - theirs.metric)
    test = stats.ttest_1samp(difference, 0)
    flips = tables["precision_flips"]
    rule = next(c for c in claims.declared() if c.id == "C3").columns["as_published"][0]
    (row,) = claims.rows(flips, next(claims.each(rule, flips))).to_dict("records")
    expected = [difference.mean(), *test.confidence_interval(0.95)]
    np.testing.assert_allclose([row[k] for k in ("estimate", "ci_low", "ci_high")], expected)
    assert {*flips[flips.method == "t0_qat_tuned"].other} == {"no_noise"}
    flips = flips[flips.method == "t0_qat"]
    others = len(TASKS) * (len(ON_LAYER) - 1) + len(precision.asked()) - 1
    assert len(flips) == others * sum(map(len, FLIPS.values()))
    digits_ = flips[(flips.dataset == "digits") & (flips.other == "no_noise")]
    assert {*digits_.n} == {2}  # the replicates that both have
    (first, second, *_) = next(c for c in claims.declared() if c.id == "C6").columns["as_published"]
    for keys in [*claims.each(first, tables["precision_knee"]), second.row | {"model": "mlp"}]:
        (row,) = claims.rows(tables["precision_knee"], keys).to_dict("records")
        grids = CURVES["full", "absmax"]
        place = keys["dataset"], keys["model"]
        curve = [cells[Cell(*place, "t0_qat", grid)] for grid in grids]
        distances = []
        margin = 0.01 if keys["model"] == LINEAR else 0.02
        n = len(curve[0].metric)
        for i in range(n):
            late = [b for b, p in enumerate(curve, 1) if p.metric[i] > p.full_precision[i] + margin]
            log_step = [p.log_step[i] for p in curve][::-1]
            distances.append(
                abs(np.interp(np.log2(XI), log_step, range(16, 0, -1)) - max(late, default=0) - 1)
            )
        assert row["estimate"] == pytest.approx(np.mean(distances))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(
            stats.t.interval(0.95, n - 1, np.mean(distances), stats.sem(distances))
        )


def test_readers_are_chosen_by_name(monkeypatch):
    images, texts = precision.plans(TINY | READ | {"readers": ["residual_cnn"]})
    assert {one.arm.model for one in images.rivals} == {"residual_cnn"} and texts is None
    assert precision.plans(TINY | READ | {"readers": []}) == (None, None)
    monkeypatch.setattr(precision.grid, "run", None)
    with pytest.raises(ParameterError, match="readers: 'cnn' is unknown or twice"):
        precision.curves(**TINY | {"readers": ["mlp", "cnn"]})
