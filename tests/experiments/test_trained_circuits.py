"""Circuits that classify: against dense matrices, numpy, scipy, qiskit-aer and numbers drawn apart."""

import functools
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits

from t0qat.experiments import circuits, tuning
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.circuits import (
    ALL,
    CHANNEL,
    DEVICE,
    GLOBAL,
    NONE,
    PLAIN,
    PUBLISHED,
    READOUT,
    SCALINGS,
    TUNED,
    WAYS,
    Classifier,
    Samples,
    Trained,
)
from t0qat.paper import PAPER
from t0qat.pipeline import results
from t0qat.pipeline.parameters import ParameterError
from t0qat.training.circuits import Circuit
from t0qat.training.constants import XI, XI_SCALING
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")
close = functools.partial(np.testing.assert_allclose, rtol=0)

Y, Z = (torch.tensor(m, dtype=torch.complex128) for m in ([[0, -1j], [1j, 0]], [[1, 0], [0, -1]]))
FIT = {"digits": "380", "qubits": 2, "layers": 2, "learning_rate": 0.1, "steps": 4, "batch_size": 8}
FIT |= {"part": "test", "replicate": 3, "seed": 5}


def on_one(matrix: torch.Tensor, qubit: int, qubits: int) -> torch.Tensor:
    factors = [matrix if q == qubit else torch.eye(2, dtype=matrix.dtype) for q in range(qubits)]
    return functools.reduce(torch.kron, factors)


def dense(circuit: Circuit, angles, features, flipped=0.0, turned=None) -> torch.Tensor:
    """Chances (inputs, classes) by complex density matrices.

    flipped: the chance of a rotation's Pauli matrix after it; turned: where it surely comes.
    """
    n, size = circuit.qubits, 2**circuit.qubits
    state = torch.zeros(len(features), size, size, dtype=torch.complex128)
    state[:, 0, 0] = 1

    def turn(state, pauli, angle):
        cos, sin = (f(angle / 2)[..., None, None] for f in (torch.cos, torch.sin))
        gate = cos * torch.eye(size) - 1j * sin * pauli
        return gate @ state @ gate.mH

    for q in range(n):
        state = turn(state, on_one(Y, q, n), features[:, q])
    for layer, rotations in enumerate(angles):
        for q in range(n):
            for k, pauli in enumerate(on_one(m, q, n) for m in (Y, Z)):
                state = turn(state, pauli, rotations[q, k])
                chance = flipped if turned is None else float(turned[layer, q, k])
                state = (1 - chance) * state + chance * pauli @ state @ pauli
        bits = np.array([*np.ndindex(*[2] * n)])
        pairs = {frozenset((q, (q + 1) % n)) for q in range(n)} if n > 1 else ()
        both = sum((bits[:, [*pair]].prod(1) for pair in pairs), np.zeros(size))
        signs = torch.from_numpy((-1.0) ** both)
        state = signs[:, None] * state * signs
    ones = state.diagonal(dim1=1, dim2=2).real
    return ones.unflatten(1, (2**circuit.read, -1)).sum(2)[:, : circuit.classes]


def cross_entropy(chances: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return -chances.clamp(min=1e-9).log()[torch.arange(len(target)), target].mean()


def split(part: str, replicate: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images are trained on, and which are asked."""
    order = stream("split", replicate, seed).permutation(1797)
    asked, rest = order[:449], order[449:]
    if part == "test":
        return rest, asked
    order = stream("validation_split", replicate, seed).permutation(1348)
    return rest[order[337:]], rest[order[:337]]


@pytest.mark.parametrize(("digits", "part"), [("83", "test"), ("83", "validation"), ("2015", "test")])
def test_features_are_whitened_components_by_svd(digits, part):
    pixels, classes = load_digits(return_X_y=True)
    found = circuits.samples(digits, 3, part, 7, 2)
    named = [np.array([k for k in rows if str(classes[k]) in digits]) for rows in split(part, 7, 2)]
    train, asked = (pixels[rows] / 8 - 1 for rows in named)
    _, _, axes = np.linalg.svd(train - train.mean(0), full_matrices=False)
    scores = (train - train.mean(0)) @ axes[:3].T
    signs = np.sign((scores * found.features.numpy()).sum(0))  # of an axis, both are right
    close(found.features, signs * scores / scores.std(0), atol=1e-9)
    others = (asked - train.mean(0)) @ axes[:3].T / scores.std(0)
    close(found.test_features, signs * others, atol=1e-9)
    assert [digits[k] for k in found.target] == [str(classes[k]) for k in named[0]]
    assert [digits[k] for k in found.test_target] == [str(classes[k]) for k in named[1]]


def test_nothing_of_the_test_images_reaches_tuning(monkeypatch):
    args = ("38", 2, "validation", 4, 0)
    before = circuits.samples(*args)
    loaded = circuits.images.load("digits")

    def spoilt(replicate, seed):
        data = loaded.split(replicate, seed)
        return data._replace(test_inputs=9 * data.test_inputs, test_target=3 + 0 * data.test_target)

    monkeypatch.setattr(circuits.images, "load", lambda name: loaded._replace(split=spoilt))
    for mine, theirs in zip(circuits.samples(*args), before, strict=True):
        assert torch.equal(mine, theirs)
    reached = circuits.samples("38", 2, "test", 4, 0)
    assert len(reached.test_features) == 449 and reached.test_features.std() > 5


@pytest.mark.parametrize("qubits", [1, 2, 3])
@pytest.mark.parametrize("deviation", [0.0, 0.7])
def test_chances_loss_and_gradient_are_those_of_dense_matrices(qubits, deviation):
    draws = np.random.default_rng(qubits)
    circuit = Circuit(qubits, 2, min(3, 2**qubits))
    net = Classifier(circuit, draws, deviation)
    features = torch.from_numpy(draws.uniform(-3, 3, (6, qubits)))
    target = torch.from_numpy(draws.integers(circuit.classes, size=6))
    flipped = (1 - math.exp(-(deviation**2) / 2)) / 2

    def slow(angles):
        return cross_entropy(dense(circuit, angles, features, flipped), target)

    angles = net.angles.detach().clone().requires_grad_()
    close(net(features).exp().detach(), dense(circuit, angles, features, flipped).detach(), atol=1e-12)
    loss = torch.nn.functional.nll_loss(net(features), target)
    assert loss.item() == pytest.approx(slow(angles).item(), rel=1e-12)
    (mine,), (theirs,) = (
        torch.autograd.grad(value, of) for value, of in ((loss, net.angles), (slow(angles), angles))
    )
    close(mine, theirs, atol=1e-12)
    step = 1e-5 * torch.from_numpy(draws.standard_normal(circuit.angles))
    with torch.no_grad():
        change = (slow(angles + step) - slow(angles - step)).item()
    assert change == pytest.approx(2 * (mine * step).sum().item(), abs=1e-13)


def by_hand(way: str, scaling: float | None, given: dict) -> torch.Tensor:
    """Adam in numpy, with gradients of dense matrices, on the same start, order and draws."""
    own, where = given["digits"], (given["replicate"], given["seed"])
    found = circuits.samples(own, given["qubits"], given["part"], *where)
    circuit = Circuit(given["qubits"], given["layers"], len(own))
    steps, size = given["steps"], given["batch_size"]
    order, noise = stream("batch_order", *where), stream("training_noise", *where)
    start = stream("initialization", *where).uniform(-math.pi, math.pi, circuit.angles)
    picked = order.integers(len(found.target), size=steps * size)
    picked = picked[order.permutation(steps * size)].reshape(steps, size)
    deviation = 4 / 3 * 1e-4 * {"t0_qat": 80000, "xi_alone": 1}.get(way, scaling or 0)
    flipped = (1 - math.exp(-(deviation**2) / 2)) / 2
    angles, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for number, batch in enumerate(picked):
        shift, how = np.zeros_like(angles), {}
        if way in ("t0_qat", "t0_qat_tuned", "xi_alone"):
            shift = deviation * noise.standard_normal(angles.shape, np.float32).astype(float)
        elif way == "sampled_paulis":
            how = {"turned": noise.random(angles.shape) < flipped}
        elif way == "channel":
            how = {"flipped": flipped}
        seen = torch.from_numpy(angles + shift).requires_grad_()
        chances = dense(circuit, seen, found.features[batch], **how)
        (slope,) = torch.autograd.grad(cross_entropy(chances, found.target[batch]), seen)
        slope, done = slope.numpy(), number / steps
        rate = done / 0.1 if done < 0.1 else (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        mean, square = first / (1 - 0.9 ** (number + 1)), second / (1 - 0.999 ** (number + 1))
        angles = angles - given["learning_rate"] * rate * mean / (np.sqrt(square) + 1e-8)
    return torch.from_numpy(angles)


@pytest.mark.parametrize(
    ("way", "scaling"),
    [
        ("no_noise", None),
        ("xi_alone", None),
        ("t0_qat", None),
        ("t0_qat_tuned", 3000.0),
        ("sampled_paulis", 10000.0),
        ("channel", 10000.0),
    ],
)
def test_a_training_is_that_of_a_plain_loop_with_dense_matrices(way, scaling):
    found = circuits.fit(way=way, xi_scaling=scaling, **FIT)["angles"].detach()
    expected = by_hand(way, scaling, FIT)
    inert = torch.zeros(expected.shape, dtype=torch.bool)
    inert[-1, :, 1] = True  # the last turns about Z change no chance: Adam follows what rounding leaves
    close(found[~inert], expected[~inert], atol=1e-10)
    close(found[inert], expected[inert], atol=1e-8)
    start = stream("initialization", FIT["replicate"], FIT["seed"])
    moved = expected.numpy() - start.uniform(-math.pi, math.pi, expected.shape)
    assert np.abs(moved).max() > 0.05


def test_noise_as_published_is_tuned_noise_at_the_published_scale():
    published = circuits.fit(way=PUBLISHED, xi_scaling=None, **FIT)["angles"]
    named = circuits.fit(way=TUNED, xi_scaling=80000.0, **FIT)["angles"]
    other = circuits.fit(way=TUNED, xi_scaling=3000.0, **FIT)["angles"]
    assert torch.equal(published, named) and not torch.equal(published, other)


def classifier(circuit: Circuit, scaling: float, seed: int = 0) -> Classifier:
    """In the exact channel of this noise."""
    return Classifier(circuit, np.random.default_rng(seed), XI * scaling)


def at(circuit: Circuit, angles: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Chances for many angles (many, layers, qubits, 2), without noise."""
    asked = circuit.before(circuit.asked(), angles)
    return circuit.chances(asked, features.expand(len(angles), *features.shape))


@pytest.mark.parametrize("shape", [(1, 2), (2, 1)])
@pytest.mark.parametrize("scaling", [100.0, 3000.0, 7500.0])
@torch.no_grad()
def test_the_mean_over_gaussian_angles_is_the_exact_channel(shape, scaling):
    """By quadrature over all four angles, whose twelve points are exact to 1e-15."""
    circuit = Circuit(*shape)
    net, features = classifier(circuit, scaling), torch.linspace(-2, 2, 3 * shape[0]).double()
    points, weights = np.polynomial.hermite_e.hermegauss(12)
    places = torch.cartesian_prod(*4 * [torch.from_numpy(points)]).view(-1, *circuit.angles)
    weight = torch.cartesian_prod(*4 * [torch.from_numpy(weights / weights.sum())]).prod(1)
    features = features.view(3, shape[0])
    many = at(circuit, net.angles + XI * scaling * places, features)
    mean = (weight[:, None, None] * many).sum(0)
    close(net(features).exp(), mean, atol=1e-12)


@pytest.mark.parametrize("way", [TUNED, "sampled_paulis"])
@pytest.mark.parametrize("scaling", [1000.0, 3000.0, 10000.0])
@torch.no_grad()
def test_what_training_draws_has_the_exact_channel_as_its_mean(way, scaling):
    circuit, features = Circuit(3, 2, 4), torch.linspace(-2, 2, 15).double().view(5, 3)
    net = classifier(circuit, scaling)
    n = 6000
    many = (
        WAYS[way]
        .objective(xi_scaling=scaling)
        .value(
            lambda seen: at(circuit, seen["angles"], features),
            {"angles": net.angles.expand(n, *circuit.angles)},
            stream("training_noise", 1),
        )
    )
    exact, error = net(features).exp(), many.std(0) / math.sqrt(n)
    away = (many.mean(0) - exact).abs() / error
    assert away.max() < 4.5
    still = at(circuit, net.angles[None], features)[0]
    assert ((still - exact).abs() / error).max() > 6  # the bound can tell noise from none


def test_at_the_published_scale_nothing_is_left_of_a_gradient():
    circuit, features = Circuit(3, 2, 4), torch.linspace(-2, 2, 15).double().view(5, 3)
    largest = {}
    for scaling in (XI_SCALING, 1000.0):
        net = classifier(circuit, scaling)
        chances = net(features).exp()
        slopes = [torch.autograd.grad(c, net.angles, retain_graph=True)[0] for c in chances.flatten()]
        largest[scaling] = torch.stack(slopes).abs().max().item()
        if scaling == XI_SCALING:
            close(chances.detach(), 0.25, atol=1e-12)
    assert largest[XI_SCALING] < 1e-12 and largest[1000.0] > 0.1


def trained(digits: str, qubits: int, images: int | None = None) -> Trained:
    """A circuit after three steps, and its first test images."""
    given = FIT | {"digits": digits, "qubits": qubits, "steps": 3}
    angles = circuits.fit(way=PLAIN, xi_scaling=None, **given)["angles"].detach()
    opened = circuits.opened({"angles": angles}, **given)
    few = [t[:images] for t in opened.found[2:]]
    return opened._replace(found=Samples(*opened.found[:2], *few))


def asked(one: Trained, **given) -> pd.DataFrame:
    given = {"strengths": [0.1], "middle": 0.1, "bits": [], "shots": 100} | given
    rows = circuits.on_devices(one, replicate=0, seed=0, **given)
    return pd.DataFrame(rows, columns=circuits.ROW)


def exactly(rows: pd.DataFrame, channel: str, strength: float, bits: int = FLOAT) -> dict[str, float]:
    mine = rows[(rows.channel == channel) & (rows.channel_strength == strength) & (rows.shots == 0)]
    return mine[mine.eval_bits == bits].set_index("metric")["value"].to_dict()


def aer(circuit: Circuit, angles, features, channel: str, p: float) -> np.ndarray:
    """Each class's chance, by qiskit-aer's own noise after each gate on each qubit."""
    qiskit = pytest.importorskip("qiskit")
    simulators = pytest.importorskip("qiskit_aer")
    noise, n = simulators.noise, circuit.qubits
    after = {
        "bit_flips": lambda: noise.pauli_error([("X", p), ("I", 1 - p)]),
        "rotation_flips": lambda: noise.pauli_error([("Y", p), ("I", 1 - p)]),
        "dephasing": lambda: noise.phase_damping_error(p),
        "depolarizing": lambda: noise.depolarizing_error(p, 1),
        "amplitude_damping": lambda: noise.amplitude_damping_error(p),
    }
    built = qiskit.QuantumCircuit(n)

    def gate(name, angle, q):
        getattr(built, name)(angle, q)
        noisy(q)

    def noisy(q):
        if channel in after:
            built.append(after[channel]().to_instruction(), [q])

    for q, feature in enumerate(features):
        gate("ry", feature, q)
    for layer in angles:
        for q, (about_y, about_z) in enumerate(layer):
            gate("ry", about_y, q)
            gate("rz", about_z, q)
        for q in range(n if n > 2 else n - 1):
            built.cz(q, (q + 1) % n)
        for q in range(n):
            noisy(q)
    if channel == GLOBAL:
        built.append(noise.depolarizing_error(p, n).to_instruction(), range(n))
    for q in range(n if channel == READOUT else 0):
        built.append(noise.pauli_error([("X", p), ("I", 1 - p)]).to_instruction(), [q])
    built.save_density_matrix()
    simulator = simulators.AerSimulator(method="density_matrix")
    matrix = np.asarray(simulator.run(built).result().data()["density_matrix"])
    chances = np.diag(matrix).real.reshape([2] * n).transpose(range(n)[::-1])
    return chances.reshape(2**circuit.read, -1).sum(1)[: circuit.classes]


@pytest.mark.parametrize(("digits", "qubits"), [("38", 2), ("380", 3)])
def test_what_devices_do_is_what_aer_does(digits, qubits):
    one, strengths = trained(digits, qubits, images=5), [0.04, 0.35]
    rows, target = asked(one, strengths=strengths, bits=[2], middle=0.35), one.found.test_target.numpy()
    rounded = circuits.to_bits(one.angles, 2)
    cases = [(channel, p, FLOAT) for channel in DEVICE for p in strengths]
    cases += [(NONE, 0.0, FLOAT), (NONE, 0.0, 2), ("amplitude_damping", 0.35, 2), (GLOBAL, 0.35, 2)]
    for channel, p, bits in cases:
        angles = (one.angles if bits == FLOAT else rounded).numpy()

        def every(channel, p, angles=angles):
            return np.array([
                aer(one.circuit, angles, f, channel, p) for f in one.found.test_features.numpy()
            ])  # fmt: skip

        chances, still = every(channel, p), every(NONE, 0.0)
        expected = {
            "accuracy": (chances.argmax(1) == target).mean(),
            "loss": -np.log(chances[range(5), target]).mean(),
            "moved": (chances.argmax(1) != still.argmax(1)).mean(),
        }
        assert exactly(rows, channel, p, bits) == pytest.approx(expected, abs=1e-9), (channel, p, bits)


def test_global_depolarizing_moves_no_answer_and_others_do():
    one, strengths = trained("0123", 3), [0.1, 0.5, 0.99]
    rows = asked(one, strengths=strengths)
    assert [exactly(rows, GLOBAL, p)["moved"] for p in strengths] == [0, 0, 0]
    assert exactly(rows, "amplitude_damping", 0.5)["moved"] > 0.1
    losses = [exactly(rows, GLOBAL, p)["loss"] for p in (0.1, 0.5, 0.99)]
    assert losses[2] == pytest.approx(math.log(4), abs=0.01)


def test_a_channel_without_strength_is_no_channel():
    rows = asked(trained("380", 3), strengths=[0.0], middle=0.0, bits=[3])
    for bits in (FLOAT, 3):
        still = exactly(rows, NONE, 0.0, bits)
        assert still["moved"] == 0
        for channel in DEVICE:
            assert exactly(rows, channel, 0.0, bits) == pytest.approx(still, abs=1e-12)


def certain(circuit: Circuit, n: int = 3000) -> Trained:
    """Random features whose class is the likelier outcome, by far, as often one as the other."""
    draws = np.random.default_rng(2)
    angles = torch.from_numpy(draws.uniform(-3, 3, circuit.angles))
    features = torch.from_numpy(draws.uniform(-3, 3, (20 * n, circuit.qubits)))
    chances = dense(circuit, angles, features)
    top = chances.topk(2).values
    clear = top[:, 0] - top[:, 1] > 0.02
    features, target = features[clear], chances.argmax(1)[clear]
    half = torch.cat(
        [(target == k).nonzero()[: n // circuit.classes, 0] for k in range(circuit.classes)]
    )
    assert len(half) == n
    return Trained(circuit, angles, Samples(features, target, features[half], target[half]))


@pytest.mark.parametrize("circuit", [Circuit(2, 2, 2), Circuit(2, 1, 3)])
def test_many_shots_give_what_exact_chances_give(circuit):
    one = certain(circuit)
    rows = asked(one, shots=10**7)
    sampled = rows[(rows.shots == 10**7) & (rows.channel == NONE)]["value"].item()
    assert sampled == exactly(rows, NONE, 0.0)["accuracy"] == 1


def test_one_shot_is_right_with_the_chance_of_the_class():
    one = certain(Circuit(2, 2, 2))
    rows = asked(one, shots=1, strengths=[0.2])
    n, target = len(one.found.test_target), one.found.test_target
    for channel in (NONE, "depolarizing", READOUT):
        (chances,) = one.chances(one.angles, channel, [0.2])
        right = chances[range(n), target]
        error = (right * (1 - right)).sum().sqrt() / n
        sampled = rows[(rows.shots == 1) & (rows.channel == channel)]["value"].item()
        assert abs(sampled - right.mean()) < 4.5 * error < 0.05


def test_readout_that_flips_half_leaves_a_guess():
    one = certain(Circuit(2, 2, 2))
    rows = asked(one, strengths=[0.5], shots=101)
    assert exactly(rows, READOUT, 0.5)["accuracy"] == 0.5
    assert exactly(rows, READOUT, 0.5)["loss"] == pytest.approx(math.log(2), abs=1e-12)
    sampled = rows[(rows.shots == 101) & (rows.channel == READOUT)]["value"].item()
    assert abs(sampled - 0.5) < 4.5 * math.sqrt(0.25 / 3000)


def test_readout_that_always_flips_answers_the_other_class():
    rows = asked(certain(Circuit(2, 2, 2)), strengths=[1.0])
    assert exactly(rows, READOUT, 1.0)["accuracy"] == 0 and exactly(rows, READOUT, 1.0)["moved"] == 1


@pytest.mark.parametrize("channel", DEVICE)
def test_the_strongest_channels_can_be_sampled(channel):
    """Chances of nearly nothing, which rounding may leave below zero."""
    draws = np.random.default_rng(0)
    for qubits, strength in itertools.product((1, 2, 3), (0.9999, 0.999999, 1 - 1e-9, 1.0)):
        circuit = Circuit(qubits, 2, 2**qubits)
        angles = torch.from_numpy(draws.uniform(-3, 3, circuit.angles))
        features = torch.from_numpy(draws.uniform(-3, 3, (50, qubits)))
        target = torch.zeros(50, dtype=torch.long)
        one = Trained(circuit, angles, Samples(features, target, features, target))
        (chances,) = one.chances(angles, channel, [strength])
        share = one.measured(chances, 50, np.random.default_rng(1))
        if channel == "amplitude_damping":  # every qubit falls to zero, the first class
            assert share == 1


ANGLES = st.lists(st.floats(-50, 50), min_size=1, max_size=12)


@given(angles=ANGLES, bits=st.integers(1, 8))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_rounded_angles_lie_on_few_levels_at_most_half_a_step_away_on_the_circle(angles, bits):
    angles = torch.tensor(angles, dtype=torch.float64)
    found = circuits.to_bits(angles, bits).numpy()
    assert len(np.unique(found)) <= 2**bits
    wrapped = np.angle(np.exp(1j * angles.numpy()))
    away = np.abs(np.angle(np.exp(1j * (found - angles.numpy()))))
    assert away.max() <= np.abs(wrapped).max() / (2**bits - 1) + 1e-9


def test_angles_that_are_not_rounded_stay_and_shapes_are_kept():
    angles = 40 * torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(circuits.to_bits(angles, FLOAT), angles)
    assert circuits.to_bits(angles, 4).shape == angles.shape
    one = Circuit(3, 2, 2)
    features = torch.linspace(-2, 2, 9).double().view(3, 3)
    near = dense(one, circuits.to_bits(angles, 16), features)
    close(near, dense(one, angles, features), atol=1e-3)


SMALL = {"replicates": 2, "digits": ["38"], "steps": 6, "trainings": 16, "strengths": [0.05, 0.2, 0.3]}
SMALL |= {"bits": [3], "shots": 64, "qubits": 2, "layers": 2, "batch_size": 16, "seed": 1}
SMALL |= {"rates": 4, "lowest_rate": 0.05, "highest_rate": 0.4}


def run(**changed) -> tuple[pd.DataFrame, pd.DataFrame]:
    return circuits.measured(circuits.plan(**SMALL | changed))


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A store of its own, and no processes."""

    def compute(**changed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(circuits.grid, "STORE", tmp_path_factory.mktemp("cells"))
            patch.setattr(circuits.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
            patch.setattr(circuits.grid.joblib, "cpu_count", lambda: 1)
            return run(**changed)

    return compute


@pytest.fixture(scope="module")
def measured(apart) -> tuple[pd.DataFrame, pd.DataFrame]:
    return apart()


@pytest.fixture(scope="module")
def tables(measured) -> dict[str, pd.DataFrame]:
    return circuits.tables(*measured)


def test_every_way_takes_as_many_gradients_but_for_two_trainings(measured):
    spent = measured[0].groupby("method").gradients.sum() / SMALL["steps"]
    assert {*spent.index} == {*WAYS}
    assert spent.max() <= SMALL["trainings"] and spent.min() > SMALL["trainings"] - tuning.LAST
    for one in circuits.plan(replicates=20, trainings=23).rivals:
        seen = [0, *(seen for _, seen in one.rounds)]
        whole = sum(size * (seen[i + 1] - seen[i]) for i, (size, _) in enumerate(one.rounds))
        total = whole + 0.333 * len(one.candidates) * one.cut
        assert 23 - tuning.LAST < total <= 23


def test_what_is_tuned_over_and_which_candidate_is_chosen(measured):
    for way, rows in measured[0].groupby("method"):
        own = {*SCALINGS} if way in (TUNED, "sampled_paulis", CHANNEL) else set()
        assert {*rows.strength.dropna()} == own and rows.strength.isna().all() != bool(own)
        rates = [*rows.learning_rate[: 4 if own else None]]
        close(rates, np.geomspace(0.05, 0.4, 4), atol=0, rtol=5e-3)
        assert len(rows) == 4 * (len(own) or 1)
        last = rows[rows.n == rows.n.max()]
        chosen = rows[rows.chosen == 1]
        assert len(last) == tuning.LAST and len(chosen) == 1
        assert chosen["mean"].item() == last["mean"].min()


def test_tuning_reads_held_out_loss_over_channels_at_the_middle_strength(measured):
    """By dense matrices where the device is still, else by chances that aer has confirmed."""
    given = {key: SMALL[key] for key in ("qubits", "layers", "steps", "batch_size", "seed")}
    rows = measured[0].query("method in ['t0_qat_tuned', 'sampled_paulis', 'channel'] and n > 1")
    assert rows.strength.nunique() > 1
    for row in rows.itertuples():
        losses = []
        for i in range(10**9, 10**9 + int(row.n)):
            own = given | {"digits": "38", "part": "validation", "replicate": i}
            setting = {"xi_scaling": row.strength, "learning_rate": row.learning_rate}
            made = circuits.fit(way=row.method, **setting, **own)
            one = circuits.opened({"angles": made["angles"].detach()}, **own)
            target = one.found.test_target
            still = dense(one.circuit, one.angles, one.found.test_features)
            each = [cross_entropy(one.chances(one.angles, c, [0.2])[0], target) for c in DEVICE]
            losses.append(np.mean([cross_entropy(still, target), *each]))
        ends = stats.t.interval(0.95, len(losses) - 1, np.mean(losses), stats.sem(losses))
        close([row.mean, row.ci_low, row.ci_high], [np.mean(losses), *ends], atol=1e-9)


def test_tests_are_of_the_chosen_setting_on_replicates_of_their_own(measured):
    tuned, rows = measured
    row = tuned.query("method == 't0_qat_tuned' and chosen == 1").iloc[0]
    given = {key: SMALL[key] for key in ("qubits", "layers", "steps", "batch_size", "seed")}
    own = given | {"digits": "38", "part": "test", "replicate": 1}
    made = circuits.fit(way=TUNED, xi_scaling=row.strength, learning_rate=row.learning_rate, **own)
    one = circuits.opened({"angles": made["angles"].detach()}, **own)
    chances = dense(one.circuit, one.angles, one.found.test_features)
    mine = rows.query("method == 't0_qat_tuned' and replicate == 1 and channel == 'none'")
    mine = mine.query("eval_bits == 32 and shots == 0").set_index("metric")["value"]
    assert mine["loss"] == pytest.approx(cross_entropy(chances, one.found.test_target).item(), rel=1e-9)
    right = (chances.argmax(1) == one.found.test_target).double().mean().item()
    assert mine["accuracy"] == pytest.approx(right, abs=1e-12)


def test_every_way_replicate_channel_and_width_is_there_once(measured):
    _, rows = measured
    keys = ["method", "replicate", "channel", "channel_strength", "eval_bits", "shots", "metric"]
    assert not rows.duplicated(keys).any()
    # No channel, and seven at three strengths, or rounded to 3 bits at the middle one; four numbers.
    assert len(rows) == 6 * 2 * (1 + 7 * 3 + 1 + 7) * 4
    assert {*rows[(rows.eval_bits == 3) & (rows.channel != NONE)].channel_strength} == {0.2}


def test_robustness_is_the_mean_over_channels_and_strengths(measured, tables):
    rows = measured[1].query("shots == 64 and eval_bits == 32")
    for way in WAYS:
        each = np.empty((2, 7, 3))
        for i, channel, k in np.ndindex(*each.shape):
            here = rows[(rows.method == way) & (rows.replicate == i) & (rows.channel == DEVICE[channel])]
            each[i, channel, k] = here[here.channel_strength == SMALL["strengths"][k]]["value"].item()
        found = tables["circuits_robust"].query("way == @way").set_index("channel")
        assert {*found.index} == {*DEVICE, NONE, ALL} and {*found.n} == {2}
        assert found.loc[ALL, "mean"] == pytest.approx(each.mean(), abs=1e-12)
        for k, channel in enumerate(DEVICE):
            assert found.loc[channel, "mean"] == pytest.approx(each[:, k].mean(), abs=1e-12)


def made_up(replicates: int, ways: tuple, mixed=False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of tuning and rows of tests that scatter, of two tasks; mixed: replicates in any order."""
    draws, rows = np.random.default_rng(4), []
    where = {"dataset": "digits", "train_bits": 0, "layout": "channels"}
    for model in ("circuit_38", "circuit_01"):
        for way in ways:
            for i in draws.permutation(replicates) if mixed else range(replicates):
                label = where | {"model": model, "method": way, "replicate": i, "eval_bits": 32}
                for channel, strength in ((NONE, 0.0), (GLOBAL, 0.1), (GLOBAL, 0.2), (READOUT, 0.1)):
                    at = label | {"channel": channel, "channel_strength": strength}
                    for shots, metric in ((0, "accuracy"), (0, "loss"), (8, "accuracy")):
                        rows.append(at | {"shots": shots, "metric": metric, "value": draws.uniform()})
    tuned = pd.DataFrame([where | {"model": "circuit_38", "method": PLAIN, "learning_rate": 0.1}])
    return tuned, pd.DataFrame(rows)


def holm(values: np.ndarray) -> np.ndarray:
    """Each times as many as are left, of the least all; never less than one before."""
    order = np.argsort(values)
    grown = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return grown[np.argsort(order)]


@pytest.mark.parametrize("mixed", [False, True])
def test_pairs_share_replicates_and_have_scipy_s_interval(mixed):
    """A channel counts once in the mean over all, and replicates may stand in any order."""
    tuned, rows = made_up(6, (PLAIN, PUBLISHED, TUNED, CHANNEL), mixed)
    found = circuits.tables(tuned, rows)["circuits_paired"]
    rows = rows[rows.shots == 8].set_index(["model", "method", "channel", "channel_strength"])

    def values(model, way, channel):
        if way == "guess":
            return np.full(6, 0.5)

        def at(channel, strength):
            return rows.loc[(model, way, channel, strength)].sort_values("replicate")["value"].to_numpy()

        strongest = (at(GLOBAL, 0.1) + at(GLOBAL, 0.2)) / 2
        every = {NONE: at(NONE, 0.0), GLOBAL: strongest, READOUT: at(READOUT, 0.1)}
        return every.get(channel, (strongest + every[READOUT]) / 2)

    pairs = [(PUBLISHED, PLAIN), (TUNED, PLAIN), (CHANNEL, PLAIN), (TUNED, CHANNEL)]
    families = dict.fromkeys(pairs, (NONE, GLOBAL, READOUT, ALL)) | {(PUBLISHED, "guess"): (NONE,)}
    assert len(found) == 2 * (4 * 4 + 1)
    for (way, other), channels in families.items():
        pairs = found[(found.way == way) & (found.other_way == other)]
        assert {*zip(pairs.model, pairs.channel, strict=True)} == {
            *itertools.product(("circuit_38", "circuit_01"), channels)
        }
        chances = []
        for pair in pairs.itertuples():
            first, second = (values(pair.model, name, pair.channel) for name in (way, other))
            test = stats.ttest_rel(first, second)
            ends = test.confidence_interval(0.95)
            expected = [np.mean(first - second), *ends, 6]
            close([pair.estimate, pair.ci_low, pair.ci_high, pair.n], expected, atol=1e-12)
            chances.append(test.pvalue)
        close(pairs.p_holm, holm(np.array(chances)), atol=1e-12)


@pytest.mark.parametrize("name", [name for name in PAPER.results if name.startswith("circuits")])
def test_tables_come_back_from_their_files(tables, tmp_path, name):
    table = tables[name]
    path = tmp_path / f"paper/results/{name}.csv"
    path.parent.mkdir(parents=True)
    path.write_text(results.text(PAPER, name, table))
    back = results.read(PAPER, name, tmp_path)
    pd.testing.assert_frame_equal(
        back, table[PAPER.columns_of(name)].reset_index(drop=True), check_dtype=False, rtol=1e-7
    )


def test_what_tuning_decided_may_differ_elsewhere():
    """Which candidates go on, and so n, hangs on what was measured: verify must not ask for it."""
    adaptive = {name for name, columns in PAPER.results.items() if "chosen" in columns.split()}
    assert "circuits_tuning" in adaptive <= {*PAPER.adaptive.split()}


def test_a_second_run_of_fewer_ways_gives_the_same_digits(measured, apart):
    ways = ["sampled_paulis", PLAIN]
    for one, other in zip(apart(ways=ways), measured, strict=True):
        mine = [one[one.method == way].reset_index(drop=True) for way in ways]
        theirs = [other[other.method == way].reset_index(drop=True) for way in ways]
        for a, b in zip(mine, theirs, strict=True):
            pd.testing.assert_frame_equal(a, b, check_exact=True, check_like=True)


def test_another_seed_gives_other_numbers(measured, apart):
    _, rows = apart(ways=[PLAIN, "xi_alone"], seed=2)
    theirs = measured[1][measured[1].method.isin([PLAIN, "xi_alone"])]
    loss = [table[table.metric == "loss"]["value"].to_numpy() for table in (rows, theirs)]
    assert (np.abs(loss[0] - loss[1]) > 1e-6).mean() > 0.9


@pytest.mark.parametrize("way", [way for way in WAYS if way != PLAIN])
def test_any_way_can_be_compared_with_plain_training_alone(way):
    planned = circuits.plan(**SMALL | {"ways": [way, PLAIN]})
    assert {one.arm.method for one in planned.rivals} == {way, PLAIN}
    found = circuits.tables(*made_up(3, (way, PLAIN)))
    assert {*found["circuits_robust"].way} == {way, PLAIN}
    assert {*found["circuits_paired"].other_way} == {PLAIN, *(["guess"] if way == PUBLISHED else [])}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"qubits": 6}, r"qubits = 6: 1 to 5 are allowed; one state takes 0\.0328 MB"),
        ({"qubits": 20}, r"one state takes 8\.8e\+06 MB"),
        ({"strengths": [0.1, 1.01]}, r"strengths = \[0\.1, 1\.01\]: .* from 0 to 1"),
        ({"strengths": [0.3, 0.1]}, "strengths = .* rising"),
        ({"shots": 0}, "shots = 0: allowed is a whole number from 1"),
        ({"digits": ["0"]}, "classes = 1: 4 qubits have 2 to 16 outcomes"),
        ({"digits": ["38", "012"], "qubits": 1}, "classes = 3: 1 qubits have 2 to 2 outcomes"),
        ({"digits": ["3x"]}, r"digits = \['3x'\]: allowed is"),
        ({"digits": ["33"]}, "digits: '3' is unknown or twice"),
        ({"digits": ["38", "38"]}, "digits = .* each once"),
        ({"ways": ["no_noise", "none_such"]}, "ways: 'none_such' is unknown or twice"),
        ({"ways": ["no_noise"]}, "must hold 'no_noise' and another"),
        ({"ways": ["t0_qat_tuned", "channel"]}, "must hold 'no_noise' and another"),
        ({"lowest_rate": 0.3, "highest_rate": 0.3}, r"lowest_rate = 0\.3: must be below highest_rate"),
        (
            {"lowest_rate": 0.4, "highest_rate": 0.3},
            r"lowest_rate = 0\.4: must be below highest_rate = 0\.3",
        ),
        ({"trainings": 3}, "trainings = 3: 4 candidates take 4 or more"),
        ({"replicates": 1}, "replicates = 1: allowed is a whole number from 2"),
        ({"bits": [32]}, "bits = .* from 1 to 16"),
    ],
)
def test_bad_parameters_stop_before_computing_in_one_line(monkeypatch, wrong, told):
    monkeypatch.setattr(circuits.grid, "run", None)
    monkeypatch.setattr(circuits.images, "load", None)
    with pytest.raises(ParameterError, match=told) as caught:
        circuits.plan(**{"replicates": 2} | wrong)
    assert "\n" not in str(caught.value)
