"""Circuits by dense density matrices, and the setting at which tests train them."""

import functools

import numpy as np
import torch

from t0qat.training.circuits import Circuit

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
