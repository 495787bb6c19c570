"""What devices do to circuits: against qiskit-aer, exact chances and channels with known ends."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import qiskit
import qiskit_aer
import torch
from dense_circuits import FIT, dense

from t0qat.experiments import circuits, on_circuits
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.on_circuits import (
    DEVICE,
    GLOBAL,
    NONE,
    PLAIN,
    READOUT,
    Samples,
    Trained,
)
from t0qat.training.circuits import Circuit

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(digits: str, qubits: int, images: int | None = None) -> Trained:
    """A circuit after three steps, and its first test images."""
    given = FIT | {"digits": digits, "qubits": qubits, "steps": 3}
    angles = on_circuits.fit(way=PLAIN, xi_scaling=None, **given)["angles"].detach()
    opened = on_circuits.opened({"angles": angles}, **given)
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
    noise, n = qiskit_aer.noise, circuit.qubits
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
    simulator = qiskit_aer.AerSimulator(method="density_matrix")
    matrix = np.asarray(simulator.run(built).result().data()["density_matrix"])
    chances = np.diag(matrix).real.reshape([2] * n).transpose(range(n)[::-1])
    return chances.reshape(2**circuit.read, -1).sum(1)[: circuit.classes]


@pytest.mark.parametrize(("digits", "qubits"), [("38", 2), ("380", 3)])
def test_what_devices_do_is_what_aer_does(digits, qubits):
    one, strengths = trained(digits, qubits, images=5), [0.04, 0.35]
    rows, target = asked(one, strengths=strengths, bits=[2], middle=0.35), one.found.test_target.numpy()
    rounded = on_circuits.to_bits(one.angles, 2)
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
