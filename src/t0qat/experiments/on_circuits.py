"""What circuits that classify learn, and what is asked of them on a device.

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
import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from t0qat.experiments.arms import FLOAT
from t0qat.quantization import quantizers
from t0qat.quantization.layers import Weights
from t0qat.quantization.quantizers import Grid, absmax_scale, encode
from t0qat.training import circuits, constants, images, loop, methods, prepared, streams, tasks
from t0qat.training.circuits import CHANNELS, After, Circuit, flip, flip_chance
from t0qat.training.constants import XI
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream
from t0qat.training.views import Objective

LEAST = 1e-9  # a chance below counts as this, so that no loss is infinite
NONE, GLOBAL, READOUT = "none", "global_depolarizing", "readout_flips"
DEVICE = (*CHANNELS, GLOBAL, READOUT)  # what a device does: the first after each gate
ACROSS = {"rotation_flips", "dephasing"}  # flips of the axes that rotations turn about: of Y, and of Z


class Classifier(nn.Module):
    """A circuit whose outcomes are classes: features (n, qubits) -> log chances (n, classes)."""

    def __init__(self, circuit: Circuit, draws: np.random.Generator, deviation: float = 0.0):
        """deviation: of Gaussian noise on each angle, in whose exact channel the circuit is run."""
        super().__init__()
        self.circuit = circuit
        self.angles = nn.Parameter(torch.from_numpy(draws.uniform(-math.pi, math.pi, circuit.angles)))
        self.asked, self.after = circuit.asked(), None
        if deviation:
            chance = flip_chance(torch.tensor(deviation, dtype=torch.float64))
            about_y, about_z = (flip(axis, chance) for axis in (circuits.Y_AXIS, circuits.Z_AXIS))
            nothing = torch.eye(4, dtype=torch.float64)
            # Features are data, and no noise of training falls on them.
            self.after = After(nothing, about_y, about_z)

    def forward(self, features: Tensor) -> Tensor:
        asked = self.circuit.before(self.asked, self.angles, self.after)
        return self.circuit.chances(asked, features, self.after).clamp(min=LEAST).log()


def sampled_paulis(xi_scaling: float) -> Objective:
    """The Pauli matrix of its axis after a rotation, with the chance that the noise's channel has.

    A Pauli after a rotation of its axis is a turn by pi more. Source: Wang et al. (2022), QuantumNAT,
    arXiv 2110.11331, who insert a device's Pauli gates; here they are those of T0-QAT's noise.
    """
    chance = flip_chance(torch.tensor(XI * xi_scaling, dtype=torch.float64)).item()

    def value(loss, weights, draws):
        turned = {
            name: torch.from_numpy(draws.random(p.shape) < chance).to(p) for name, p in weights.items()
        }
        return loss({name: p + math.pi * turned[name] for name, p in weights.items()})

    return Objective(value)


class Way(NamedTuple):
    """How a circuit is trained."""

    label: str
    objective: Callable[..., Objective]  # keyword xi_scaling, unless it has one value
    values: tuple[float, ...] = ()  # of xi_scaling, to tune it over
    exact: bool = False  # in the channel of the noise, in place of the noise


def _registered(name: str, **settings: float) -> Objective:
    return REGISTRY[name].objective(**settings)


SCALINGS = (300.0, 1000.0, 3000.0, 10000.0)
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


def samples(digits: str, qubits: int, part: str, replicate: int, seed: int) -> Samples:
    """Images of these digits by as many principal components as there are qubits.

    Components and their standard deviations, by which they are divided, are of the training part.
    part: as on_images.begin takes it.
    """
    from sklearn.decomposition import PCA  # only now: it takes a second

    data = images.load("digits").split(replicate, seed)
    data = data if part == "test" else tasks.held_out_quarter(data, replicate, seed)
    classes = np.array([int(digit) for digit in digits])
    shown, asked = (np.isin(target, classes) for target in (data.target, data.test_target))
    inputs, others = np.float64(data.inputs[shown]), np.float64(data.test_inputs[asked])
    components = PCA(qubits, svd_solver="full").fit(inputs)
    scale = components.transform(inputs).std(0)
    turns = [torch.from_numpy(components.transform(x) / scale) for x in (inputs, others)]
    named = [
        torch.from_numpy((target[:, None] == classes).argmax(1))
        for target in (data.target[shown], data.test_target[asked])
    ]
    return Samples(turns[0], named[0], turns[1], named[1])


def fit(
    *,
    digits: str,
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
    found, trained = samples(digits, qubits, part, replicate, seed), WAYS[way]
    own = {} if xi_scaling is None else {"xi_scaling": xi_scaling}
    deviation = XI * xi_scaling if trained.exact else 0.0
    circuit = Circuit(qubits, layers, len(digits))
    net = Classifier(circuit, stream("initialization", replicate, seed), deviation)
    order = stream("batch_order", replicate, seed)
    drawn = torch.from_numpy(order.integers(len(found.target), size=steps * batch_size))
    loop.train(
        net, found.features[drawn], found.target[drawn], trained.objective(**own),
        stream("training_noise", replicate, seed), epochs=1, learning_rate=learning_rate, loss=nll_loss,
        batch_size=batch_size, order=order, schedule="warmup_cosine",
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

    def measured(self, chances: Tensor, shots: int, draws: np.random.Generator) -> float:
        """The accuracy of the outcome that came most often, of equals the first."""
        chances = chances.clamp(min=0)  # where rounding has left it below
        rest = (1 - chances.sum(-1, keepdim=True)).clamp(min=0)
        every = torch.cat([chances, rest], -1)
        counts = draws.multinomial(shots, (every / every.sum(-1, keepdim=True)).numpy())[:, :-1]
        return float((counts.argmax(-1) == self.found.test_target.numpy()).mean())

    def scores(self, chances: Tensor) -> list[list]:
        target = self.found.test_target
        logs = chances.clamp(min=LEAST).log()
        right = (chances.argmax(-1) == target).double().mean().item()
        return [["accuracy", right], ["loss", nll_loss(logs, target).item()]]


def opened(
    weights: Weights,
    *,
    digits: str,
    qubits: int,
    layers: int,
    part: str,
    replicate: int,
    seed: int,
    **_: Any,
) -> Trained:
    circuit = Circuit(qubits, layers, len(digits))
    return Trained(circuit, weights["angles"], samples(digits, qubits, part, replicate, seed))


def to_bits(angles: Tensor, bits: int) -> Tensor:
    """Angles within half a turn of 0, rounded to the full range's grid that spans them."""
    if bits == FLOAT:
        return angles
    flat = torch.remainder(angles + math.pi, 2 * math.pi).flatten() - math.pi
    of = Grid(bits)
    step = absmax_scale(flat, of)
    return (step * encode(flat, step, of)).view_as(angles)


# What the cells of grids that train circuits depend on, beside their own module.
CODE = (
    sys.modules[__name__], circuits, constants, images, loop, prepared, quantizers, streams, tasks,
    *methods.CODE,
)  # fmt: skip
