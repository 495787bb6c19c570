"""Small quantum circuits that classify, and the noise of devices: density matrices as real vectors.

The state of one qubit is (tr R, tr R X, tr R Y, tr R Z), R its density matrix and X, Y, Z the Pauli
matrices: 1 and a point of a ball. Of n qubits it is all products' traces, (..., 4, ..., 4), an axis a
qubit, float64. A gate or channel of a qubit is a 4 x 4 matrix along its axis, its Pauli transfer matrix
(Greenbaum 2015, arXiv 1509.02921). What is asked of a state is the coefficients of an observable,
(..., 4, ..., 4) too, and the answer the sum of all products; so a circuit may also be run backwards, by
transposed matrices from what is asked, once for all inputs. Leading axes are batches.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from t0qat.pipeline.parameters import ParameterError

MOST = 5  # qubits
PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
Y_AXIS, Z_AXIS = 2, 3  # of rotations

Channel = Callable[[Tensor], Tensor]  # strength (...) in [0, 1] -> (..., 4, 4)


def rotation(axis: int, angle: Tensor) -> Tensor:
    """exp(-i angle P / 2), P the Pauli matrix of the axis (1, 2, 3: X, Y, Z): (..., 4, 4)."""
    # The other two turn, in the order in which they follow the axis.
    first, second = (1 + axis % 3, 1 + (axis + 1) % 3)
    found = torch.eye(4, dtype=torch.float64).expand(*angle.shape, 4, 4).clone()
    cos, sin = torch.cos(angle), torch.sin(angle)
    found[..., first, first], found[..., first, second] = cos, -sin
    found[..., second, first], found[..., second, second] = sin, cos
    return found


def flips(chances: Tensor) -> Tensor:
    """X, Y and Z with chances (..., 3), else nothing: a Pauli channel (..., 4, 4)."""
    others = chances.sum(-1, keepdim=True) - chances  # those that turn the axis around
    return torch.diag_embed(torch.cat([torch.ones_like(others[..., :1]), 1 - 2 * others], -1))


def flip(axis: int, chance: Tensor) -> Tensor:
    """The Pauli matrix of one axis with this chance."""
    return flips(chance[..., None] * torch.eye(3, dtype=torch.float64)[axis - 1])


def flip_chance(deviation: Tensor) -> Tensor:
    """(1 - exp(-s**2 / 2)) / 2: Gaussian noise s on a rotation's angle is a flip of its axis.

    Exact. A turn by a multiplies what lies across the axis by cos a, and by sin a into each other; over
    a of mean 0 and deviation s the mean of cos a is exp(-s**2 / 2), that of sin a is 0; a flip with
    chance p multiplies by 1 - 2 p.
    """
    return -torch.expm1(-deviation.square() / 2) / 2


def dephasing(strength: Tensor) -> Tensor:
    """Phase damping: X and Y shrink by sqrt(1 - strength)."""
    return flip(Z_AXIS, (1 - (1 - strength).sqrt()) / 2)


def depolarizing(strength: Tensor) -> Tensor:
    """(1 - p) R + p I / 2: X, Y, Z with chance p / 4 each, as in qiskit (elsewhere p is 3/4 of that)."""
    return flips((strength / 4)[..., None].expand(*strength.shape, 3))


def amplitude_damping(strength: Tensor) -> Tensor:
    """A one falls to zero with this chance."""
    kept, one = (1 - strength).sqrt(), torch.ones_like(strength)
    found = torch.diag_embed(torch.stack([one, kept, kept, 1 - strength], -1))
    found[..., 3, 0] = strength
    return found


# Of a qubit, after each gate on it.
CHANNELS: dict[str, Channel] = {
    "bit_flips": functools.partial(flip, 1),
    "rotation_flips": functools.partial(flip, Y_AXIS),
    "dephasing": dephasing,
    "depolarizing": depolarizing,
    "amplitude_damping": amplitude_damping,
}


@functools.cache
def ring(qubits: int) -> tuple[Tensor, Tensor]:
    """A CZ of every qubit and the next, the last with the first: places and signs (4**qubits,).

    A Pauli product becomes the one at its place, times the sign. Of two qubits: one CZ.
    """
    pairs = [(q, (q + 1) % qubits) for q in range(qubits if qubits > 2 else qubits - 1)]
    places, signs = [], []
    for product in np.ndindex(*[4] * qubits):
        # X and Z parts of each factor; Y has both.
        x, z, sign = [p in (1, 2) for p in product], [p in (2, 3) for p in product], 1
        for a, b in pairs:
            if x[a] and x[b] and z[a] != z[b]:
                sign = -sign
            z[a], z[b] = z[a] ^ x[b], z[b] ^ x[a]
        place = [(0, 3, 1, 2)[2 * one + other] for one, other in zip(x, z, strict=True)]
        places.append(np.ravel_multi_index(place, [4] * qubits))
        signs.append(sign)
    return torch.tensor(places), torch.tensor(signs, dtype=torch.float64)


class After(NamedTuple):
    """What happens to a qubit after each gate on it: channels (..., 4, 4)."""

    feature: Tensor  # after the turn by a feature
    y: Tensor  # after a rotation about Y
    z: Tensor  # after one about Z
    ring: Tensor | None = None  # after the ring, where anything does


class Circuit(NamedTuple):
    """Features turn qubits about Y; then come layers, RY and RZ on each and a ring of CZ; some are read.

    As many qubits as classes need bits, the first ones; the outcome is the class. The last RZ change no
    chance: neither the ring nor the reading tells them.
    """

    qubits: int = 4
    layers: int = 3
    classes: int = 2

    @property
    def angles(self) -> tuple[int, int, int]:
        """The shape of its angles: layers, qubits, RY and RZ."""
        return self.layers, self.qubits, 2

    @property
    def read(self) -> int:
        """How many qubits."""
        return max(1, math.ceil(math.log2(self.classes)))

    def check(self) -> None:
        """Raises ParameterError, in one line."""
        if not 1 <= self.qubits <= MOST:
            size = 8 * 4**self.qubits / 1e6
            raise ParameterError(
                f"qubits = {self.qubits}: 1 to {MOST} are allowed; one state takes {size:.3g} MB"
            )
        if not 2 <= self.classes <= 2**self.qubits:
            raise ParameterError(
                f"classes = {self.classes}: {self.qubits} qubits have 2 to {2**self.qubits} outcomes"
            )

    def asked(self, flipped: float = 0.0) -> Tensor:
        """The chance of each class's outcome, as observables (classes, 4, ..., 4).

        flipped: the chance that a qubit is read wrongly.
        """
        found = []
        for outcome in range(self.classes):
            bits = [outcome >> (self.read - 1 - q) & 1 for q in range(self.read)]
            factors = [[0.5, 0, 0, (0.5 - flipped) * (1 - 2 * bit)] for bit in bits]
            factors += [[1.0, 0, 0, 0]] * (self.qubits - self.read)
            found.append(functools.reduce(np.multiply.outer, factors))
        return torch.from_numpy(np.stack(found))

    def before(self, asked: Tensor, angles: Tensor, after: After | None = None) -> Tensor:
        """What to ask of the features' state in place of `asked` behind the layers.

        asked (classes, 4, ..., 4); angles (..., layers, qubits, 2), radians: (..., classes, 4, ..., 4).
        """
        found = asked.expand(*angles.shape[:-3], *asked.shape).flatten(-self.qubits)
        places, signs = ring(self.qubits)
        about_y, about_z = angles.unbind(-1)
        gates = rotation(Y_AXIS, about_y), rotation(Z_AXIS, about_z)
        if after:
            gates = after.y[..., None, None, :, :] @ gates[0], after.z[..., None, None, :, :] @ gates[1]
        both = gates[1] @ gates[0]
        for layer in reversed(range(self.layers)):
            for q in range(self.qubits if after and after.ring is not None else 0):
                found = _asked_before(after.ring, found, q)
            found = signs * found[..., places]
            for q in range(self.qubits):
                found = _asked_before(both[..., layer, q, :, :], found, q)
        return found.unflatten(-1, [4] * self.qubits)

    def chances(self, asked: Tensor, features: Tensor, after: After | None = None) -> Tensor:
        """Of each class, from what `before` gives: (..., inputs, classes).

        features (..., inputs, qubits).
        A feature is the angle by which its qubit, which is zero, turns about Y.
        """
        state = torch.stack([torch.ones_like(features), torch.sin(features), torch.zeros_like(features),
                             torch.cos(features)], -1)  # fmt: skip
        if after:
            state = torch.einsum("...ij,...nqj->...nqi", after.feature, state)
        # One qubit after the other, the last first: (..., inputs, classes, 4, ..., 4).
        found = asked.unsqueeze(-self.qubits - 2)
        for q in reversed(range(self.qubits)):
            factor = state[..., q, :]
            found = (found * factor.reshape(*factor.shape[:-1], *[1] * (q + 1), 4)).sum(-1)
        return found


def _asked_before(channel: Tensor, asked: Tensor, qubit: int) -> Tensor:
    """asked (..., classes, 4**qubits), by the transpose of a qubit's channel (..., 4, 4)."""
    parts = asked.unflatten(-1, (4**qubit, 4, -1))
    return (channel.mT[..., None, None, :, :] @ parts).flatten(-3)
