"""Circuits against an independent simulator of density matrices, and cases worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
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
