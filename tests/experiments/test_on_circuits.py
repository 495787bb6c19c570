"""What circuits learn: against dense matrices, numpy, quadrature and numbers drawn apart."""

import functools
import math

import numpy as np
import pytest
import torch
from dense_circuits import FIT, cross_entropy, dense
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from t0qat.experiments import on_circuits
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.on_circuits import (
    PUBLISHED,
    TUNED,
    WAYS,
    Classifier,
)
from t0qat.training.circuits import Circuit
from t0qat.training.constants import XI, XI_SCALING
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")
close = functools.partial(np.testing.assert_allclose, rtol=0)


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
    found = on_circuits.samples(digits, 3, part, 7, 2)
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
    before = on_circuits.samples(*args)
    loaded = on_circuits.images.load("digits")

    def spoilt(replicate, seed):
        data = loaded.split(replicate, seed)
        return data._replace(test_inputs=9 * data.test_inputs, test_target=3 + 0 * data.test_target)

    monkeypatch.setattr(on_circuits.images, "load", lambda name: loaded._replace(split=spoilt))
    for mine, theirs in zip(on_circuits.samples(*args), before, strict=True):
        assert torch.equal(mine, theirs)
    reached = on_circuits.samples("38", 2, "test", 4, 0)
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
    found = on_circuits.samples(own, given["qubits"], given["part"], *where)
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
    found = on_circuits.fit(way=way, xi_scaling=scaling, **FIT)["angles"].detach()
    expected = by_hand(way, scaling, FIT)
    inert = torch.zeros(expected.shape, dtype=torch.bool)
    inert[-1, :, 1] = True  # the last turns about Z change no chance: Adam follows what rounding leaves
    close(found[~inert], expected[~inert], atol=1e-10)
    close(found[inert], expected[inert], atol=1e-8)
    start = stream("initialization", FIT["replicate"], FIT["seed"])
    moved = expected.numpy() - start.uniform(-math.pi, math.pi, expected.shape)
    assert np.abs(moved).max() > 0.05


def test_noise_as_published_is_tuned_noise_at_the_published_scale():
    published = on_circuits.fit(way=PUBLISHED, xi_scaling=None, **FIT)["angles"]
    named = on_circuits.fit(way=TUNED, xi_scaling=80000.0, **FIT)["angles"]
    other = on_circuits.fit(way=TUNED, xi_scaling=3000.0, **FIT)["angles"]
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


ANGLES = st.lists(st.floats(-50, 50), min_size=1, max_size=12)


@given(angles=ANGLES, bits=st.integers(1, 8))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_rounded_angles_lie_on_few_levels_at_most_half_a_step_away_on_the_circle(angles, bits):
    angles = torch.tensor(angles, dtype=torch.float64)
    found = on_circuits.to_bits(angles, bits).numpy()
    assert len(np.unique(found)) <= 2**bits
    wrapped = np.angle(np.exp(1j * angles.numpy()))
    away = np.abs(np.angle(np.exp(1j * (found - angles.numpy()))))
    assert away.max() <= np.abs(wrapped).max() / (2**bits - 1) + 1e-9


def test_angles_that_are_not_rounded_stay_and_shapes_are_kept():
    angles = 40 * torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(on_circuits.to_bits(angles, FLOAT), angles)
    assert on_circuits.to_bits(angles, 4).shape == angles.shape
    one = Circuit(3, 2, 2)
    features = torch.linspace(-2, 2, 9).double().view(3, 3)
    near = dense(one, on_circuits.to_bits(angles, 16), features)
    close(near, dense(one, angles, features), atol=1e-3)
