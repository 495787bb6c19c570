"""Does noise on a quantum classifier's angles, as it trains, help it under the noise of a device?

Gaussian noise of deviation s on the angle of a rotation is, in the mean, a flip of the rotation's axis
(circuits.flip_chance). So T0-QAT's noise has an exact meaning on a device, and three trainings share one
channel: Gaussian angles, sampled Pauli gates, and the channel itself, their expectation.
"""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from t0qat.experiments import benchmark, compare, tuning
from t0qat.experiments.arms import FLOAT, NO_WIDTH, Arm, each_known
from t0qat.experiments.settings import checked
from t0qat.experiments.tuning import Rivals, Setting
from t0qat.pipeline import grid, statistics
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import quantizers
from t0qat.quantization.quantizers import Grid, absmax_scale, encode
from t0qat.training import circuits, constants, images, loop, methods, streams, tasks
from t0qat.training.circuits import CHANNELS, After, Circuit, flip, flip_chance
from t0qat.training.constants import XI
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream
from t0qat.training.views import Objective

LEAST = 1e-9  # a chance below counts as this, so that no loss is infinite
NONE, GLOBAL, READOUT = "none", "global_depolarizing", "readout_flips"
DEVICE = (*CHANNELS, GLOBAL, READOUT)  # what a device does: the first after each gate
MODEL = "circuit_"  # a circuit's name among models: this and its classes


class Classifier(nn.Module):
    """A circuit whose outcomes are classes: features (n, qubits) -> log chances (n, classes)."""

    def __init__(self, circuit: Circuit, draws: np.random.Generator, deviation: float = 0.0):
        """deviation: of Gaussian noise on each angle, in whose exact channel the circuit is run."""
        super().__init__()
        self.circuit = circuit
        self.angles = nn.Parameter(torch.from_numpy(draws.uniform(-math.pi, math.pi, circuit.angles)))
        self.after = None
        if deviation:
            chance = flip_chance(torch.tensor(deviation, dtype=torch.float64))
            about_y, about_z = (flip(axis, chance) for axis in (circuits.Y_AXIS, circuits.Z_AXIS))
            nothing = torch.eye(4, dtype=torch.float64)
            # Features are data, and no noise of training falls on them.
            self.after = After(nothing, about_y, about_z, nothing)

    def forward(self, features: Tensor) -> Tensor:
        asked = self.circuit.before(self.circuit.asked(), self.angles, self.after)
        return self.circuit.chances(asked, features, self.after).clamp(min=LEAST).log()


def sampled_paulis(xi_scaling: float) -> Objective:
    """The Pauli matrix of its axis after a rotation, with the chance that the noise's channel has.

    A Pauli after a rotation of its axis is a turn by pi more. Source: Wang et al. (2022), QuantumNAT,
    arXiv 2110.11331, who insert a device's Pauli gates; here they are those of T0-QAT's noise.
    """
    chance = flip_chance(torch.tensor(XI * xi_scaling, dtype=torch.float64)).item()

    def value(loss, weights, draws):
        turns = {
            name: math.pi * torch.from_numpy(draws.random(p.shape) < chance)
            for name, p in weights.items()
        }
        return loss({name: p + turns[name] for name, p in weights.items()})

    return Objective(value)


class Way(NamedTuple):
    """How a circuit is trained."""

    label: str
    objective: Callable[..., Objective]  # keyword xi_scaling, unless it has one value
    values: tuple[float, ...] = ()  # of xi_scaling, to tune it over
    exact: bool = False  # in the channel of the noise, in place of the noise


def _registered(name: str, **settings: float) -> Objective:
    return REGISTRY[name].objective(**settings)


SCALINGS = (1000.0, 3000.0, 10000.0)
PLAIN, PUBLISHED, TUNED, CHANNEL = "no_noise", "t0_qat", "t0_qat_tuned", "channel"
WAYS = {
    PLAIN: Way("Plain", partial(_registered, PLAIN)),
    "xi_alone": Way("xi alone", partial(_registered, "xi_alone")),
    PUBLISHED: Way("T0-QAT as published", partial(_registered, PUBLISHED)),
    TUNED: Way("T0-QAT tuned", partial(_registered, PUBLISHED), SCALINGS),
    "sampled_paulis": Way("Sampled Pauli gates", sampled_paulis, SCALINGS),
    CHANNEL: Way("Exact channel", lambda xi_scaling: _registered(PLAIN), SCALINGS, exact=True),
}


class Samples(NamedTuple):
    """A replicate's images as angles (n, qubits), float64, and their classes (n,)."""

    features: Tensor
    target: Tensor
    test_features: Tensor
    test_target: Tensor


def samples(circuit: Circuit, part: str, replicate: int, seed: int) -> Samples:
    """Digits named below circuit.classes by as many principal components as there are qubits.

    Components and their standard deviations, by which they are divided, are of the training part.
    part: as on_images.begin takes it.
    """
    from sklearn.decomposition import PCA  # only now: it takes a second

    data = images.load("digits").split(replicate, seed)
    data = data if part == "test" else tasks.held_out_quarter(data, replicate, seed)
    shown, asked = data.target < circuit.classes, data.test_target < circuit.classes
    inputs, others = (np.float64(x) for x in (data.inputs[shown], data.test_inputs[asked]))
    components = PCA(circuit.qubits, svd_solver="full").fit(inputs)
    scale = components.transform(inputs).std(0)
    turns = (torch.from_numpy(components.transform(x) / scale) for x in (inputs, others))
    features, test_features = turns
    return Samples(
        features,
        torch.from_numpy(data.target[shown]),
        test_features,
        torch.from_numpy(data.test_target[asked]),
    )


def fit(
    *,
    classes: int,
    qubits: int,
    layers: int,
    way: str,
    xi_scaling: float | None,
    learning_rate: float,
    steps: int,
    batch_size: int,
    part: str,
    replicate: int,
    seed: int,
) -> dict[str, Tensor]:
    """A training of the grid: the angles (layers, qubits, 2)."""
    circuit, trained = Circuit(qubits, layers, classes), WAYS[way]
    found = samples(circuit, part, replicate, seed)
    own = {} if xi_scaling is None else {"xi_scaling": xi_scaling}
    deviation = XI * xi_scaling if trained.exact else 0.0
    net = Classifier(circuit, stream("initialization", replicate, seed), deviation)
    which = stream("batch_order", replicate, seed).integers(len(found.target), size=(steps, batch_size))
    every = torch.from_numpy(which.ravel())
    loop.train(
        net, found.features[every], found.target[every], trained.objective(**own),
        stream("training_noise", replicate, seed), epochs=1, learning_rate=learning_rate, loss=nll_loss,
        batch_size=batch_size, order=stream("batch_order", replicate, seed), schedule="warmup_cosine",
    )  # fmt: skip
    return {"angles": net.angles}


class Trained(NamedTuple):
    """What cells are asked of."""

    circuit: Circuit
    angles: Tensor
    found: Samples

    def chances(self, angles: Tensor, channel: str, strengths: Sequence[float]) -> Tensor:
        """Of each class, for the test images, on a device: (strengths, n, classes)."""
        circuit, features = self.circuit, self.found.test_features
        many = angles.expand(len(strengths), *angles.shape)
        strength = torch.tensor(strengths, dtype=torch.float64)
        if channel in CHANNELS:
            after = After(*4 * [CHANNELS[channel](strength)])
            asked = circuit.before(circuit.asked(), many, after)
            return circuit.chances(asked, features.expand(len(strengths), *features.shape), after)
        flipped = strengths if channel == READOUT else [0.0]
        asked = torch.stack([circuit.before(circuit.asked(e), angles) for e in flipped])
        found = circuit.chances(asked, features.expand(len(flipped), *features.shape))
        if channel == GLOBAL:
            mixed = strength[:, None, None]
            return (1 - mixed) * found + mixed / 2**circuit.read
        return found

    def scores(self, chances: Tensor) -> list[list]:
        target = self.found.test_target
        logs = chances.clamp(min=LEAST).log()
        right = (chances.argmax(-1) == target).double().mean().item()
        return [["accuracy", right], ["loss", nll_loss(logs, target).item()]]


def opened(
    weights: dict[str, Tensor], *, classes, qubits, layers, part, replicate, seed, **_
) -> Trained:
    circuit = Circuit(qubits, layers, classes)
    return Trained(circuit, weights["angles"], samples(circuit, part, replicate, seed))


def to_bits(angles: Tensor, bits: int) -> Tensor:
    """Angles within half a turn of 0, rounded to the full range's grid that spans them."""
    if bits == FLOAT:
        return angles
    flat = torch.remainder(angles + math.pi, 2 * math.pi).flatten() - math.pi
    of = Grid(bits)
    step = absmax_scale(flat, of)
    return (step * encode(flat, step, of)).view_as(angles)


@torch.no_grad()
def on_devices(
    trained: Trained,
    *,
    strengths: list[float],
    bits: list[int],
    middle: float,
    shots: int,
    replicate: int,
    seed: int,
) -> list[list]:
    """Rows [channel, strength, eval_bits, shots, metric, value]."""
    found, draws = [], stream("evaluation_noise", replicate, seed)
    for width in (FLOAT, *bits):
        angles = to_bits(trained.angles, width)
        for channel in (NONE, *DEVICE):
            used = [0.0] if channel == NONE else strengths if width == FLOAT else [middle]
            for strength, chances in zip(used, trained.chances(angles, channel, used), strict=True):
                where = [channel, strength, width]
                found += [[*where, 0, *row] for row in trained.scores(chances)]
                rest = (1 - chances.sum(-1, keepdim=True)).clamp(min=0)
                counts = draws.multinomial(shots, torch.cat([chances, rest], -1).numpy())[:, :-1]
                right = (
                    (torch.from_numpy(counts).argmax(-1) == trained.found.test_target)
                    .double()
                    .mean()
                    .item()
                )
                found.append([*where, shots, "accuracy", right])
    return found
