"""Circuits against an independent simulator of density matrices, and cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from t0qat.pipeline.parameters import ParameterError
from t0qat.training import circuits
from t0qat.training.circuits import After, Circuit

STRENGTHS = st.floats(0, 1)


def real(value) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def same(channel: torch.Tensor) -> After:
    return After(channel, channel, channel, channel)


def kraus(name: str, p: float) -> list[np.ndarray]:
    """A channel's operators, from Nielsen & Chuang (2010), section 8.3."""
    one, x, y, z = circuits.PAULIS
    return {
        "bit_flips": [np.sqrt(1 - p) * one, np.sqrt(p) * x],
        "rotation_flips": [np.sqrt(1 - p) * one, np.sqrt(p) * y],
        "dephasing": [np.diag([1, np.sqrt(1 - p)]), np.diag([0, np.sqrt(p)])],
        "depolarizing": [np.sqrt(1 - 3 * p / 4) * one, *(np.sqrt(p / 4) * m for m in (x, y, z))],
        "amplitude_damping": [np.diag([1, np.sqrt(1 - p)]), np.array([[0, np.sqrt(p)], [0, 0]])],
    }[name]


@pytest.mark.parametrize("name", circuits.CHANNELS)
@given(strength=STRENGTHS)
@settings(max_examples=20, deadline=None)
def test_a_channel_is_that_of_its_kraus_operators(name, strength):
    operators = kraus(name, strength)
    np.testing.assert_allclose(sum(k.conj().T @ k for k in operators), np.eye(2), atol=1e-12)
    expected = [
        [np.trace(p @ sum(k @ r @ k.conj().T for k in operators)) / 2 for r in circuits.PAULIS]
        for p in circuits.PAULIS
    ]
    found = circuits.CHANNELS[name](real(strength))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def aer(circuit: Circuit, angles: np.ndarray, features: np.ndarray, channel=None) -> np.ndarray:
    """Each class's chance, by qiskit-aer's density matrix; channel: Kraus operators after each gate."""
    qiskit = pytest.importorskip("qiskit")
    simulators = pytest.importorskip("qiskit_aer")
    from qiskit.quantum_info import Kraus

    n = circuit.qubits
    built = qiskit.QuantumCircuit(n)

    def noisy(q):
        if channel is not None:
            built.append(Kraus(channel).to_instruction(), [q])

    for q, feature in enumerate(features):
        built.ry(feature, q)
        noisy(q)
    for layer in angles:
        for q, (about_y, about_z) in enumerate(layer):
            built.ry(about_y, q)
            noisy(q)
            built.rz(about_z, q)
            noisy(q)
        for q in range(n if n > 2 else n - 1):
            built.cz(q, (q + 1) % n)
        for q in range(n):
            noisy(q)
    built.save_density_matrix()
    simulator = simulators.AerSimulator(method="density_matrix")
    matrix = np.asarray(simulator.run(built).result().data()["density_matrix"])
    # Its first qubit is the last factor.
    chances = np.diag(matrix).real.reshape([2] * n).transpose(range(n)[::-1])
    return chances.reshape(2**circuit.read, -1).sum(1)[: circuit.classes]


@pytest.mark.parametrize(("qubits", "classes"), [(1, 2), (2, 4), (3, 2), (4, 3), (4, 4), (5, 8)])
@pytest.mark.parametrize("name", [None, *circuits.CHANNELS])
def test_chances_are_those_of_aer(qubits, classes, name):
    draws = np.random.default_rng(qubits)
    circuit = Circuit(qubits, 2, classes)
    angles = draws.uniform(-3, 3, (2, *circuit.angles))
    features = draws.uniform(-3, 3, (2, 3, qubits))
    strength = 0.0 if name is None else 0.13
    after = None if name is None else same(circuits.CHANNELS[name](real(strength)))
    asked = circuit.before(circuit.asked(), torch.from_numpy(angles), after)
    found = circuit.chances(asked, torch.from_numpy(features), after)
    assert found.shape == (2, 3, classes)
    operators = None if name is None else kraus(name, strength)
    for i, angle in enumerate(angles):
        for j, feature in enumerate(features[i]):
            expected = aer(circuit, angle, feature, operators)
            np.testing.assert_allclose(found[i, j], expected, atol=1e-10)


@given(deviation=st.floats(0, 12), angle=st.floats(-4, 4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_gaussian_noise_on_an_angle_is_a_flip_of_its_axis(deviation, angle):
    """The mean over angles, by quadrature, where 200 points resolve them; far beyond nothing is left."""
    points, weights = np.polynomial.hermite_e.hermegauss(200)
    for axis in (circuits.Y_AXIS, circuits.Z_AXIS):
        exact = circuits.flip(axis, circuits.flip_chance(real(deviation))) @ circuits.rotation(
            axis, real(angle)
        )
        many = circuits.rotation(axis, real(angle + deviation * points))
        mean = (real(weights)[:, None, None] * many).sum(0) / weights.sum()
        np.testing.assert_allclose(exact, mean, atol=1e-9)


def test_what_the_published_noise_is_on_a_device():
    """p = (1 - exp(-s**2 / 2)) / 2, with 50 digits by mpmath."""
    mpmath = pytest.importorskip("mpmath")
    for scaling in (1, 80000):
        s = mpmath.mpf(4) / 3 * mpmath.mpf(10) ** -4 * scaling
        expected = float((1 - mpmath.exp(-(s**2) / 2)) / 2)
        found = circuits.flip_chance(real(float(s))).item()
        assert found == pytest.approx(expected, rel=1e-12)


def test_one_qubit_by_hand():
    """Zero, turned by a feature and an RY, is one with chance sin(sum / 2)**2; RZ changes nothing."""
    circuit = Circuit(1, 1, 2)
    asked = circuit.before(circuit.asked(), real([[[0.4, 1.3]]]))
    found = circuit.chances(asked, real([[0.5], [-0.4]]))
    ones = np.sin(np.array([0.45, 0.0])) ** 2
    np.testing.assert_allclose(found, np.stack([1 - ones, ones], -1), atol=1e-15)
    read = circuit.chances(circuit.before(circuit.asked(0.1), real([[[0.4, 1.3]]])), real([[0.5]]))
    np.testing.assert_allclose(read[0, 1], 0.9 * ones[0] + 0.1 * (1 - ones[0]), atol=1e-15)


@pytest.mark.parametrize("name", [None, "amplitude_damping", "rotation_flips"])
def test_gradients_are_differences(name):
    circuit, draws = Circuit(3, 2, 4), np.random.default_rng(4)
    after = None if name is None else same(circuits.CHANNELS[name](real(0.1)))
    features = torch.from_numpy(draws.uniform(-2, 2, (4, 3)))

    def loss(angles):
        return (
            -circuit.chances(circuit.before(circuit.asked(), angles, after), features, after)
            .log()
            .mean()
        )

    angles = torch.from_numpy(draws.uniform(-3, 3, circuit.angles)).requires_grad_()
    assert torch.autograd.gradcheck(loss, angles)


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (Circuit(6, 3, 2), r"qubits = 6: 1 to 5 are allowed; one state takes 0\.0328 MB"),
        (Circuit(0, 3, 2), "qubits = 0: 1 to 5 are allowed"),
        (Circuit(2, 3, 5), "classes = 5: 2 qubits have 2 to 4 outcomes"),
        (Circuit(4, 3, 1), "classes = 1: 4 qubits have 2 to 16 outcomes"),
    ],
)
def test_a_circuit_that_cannot_be_is_named(circuit, message):
    with pytest.raises(ParameterError, match=message):
        circuit.check()
