"""One reproducible random stream per replicate and purpose; there is no other randomness.

A stream is numpy's SFC64 with its three seed words set to (seed, purpose, replicate), so different
streams start in different states by construction; SFC64 mixes them before its first draw. numpy draws
normals one at a time by Marsaglia and Tsang's ziggurat, without vector instructions: a stream holds
the same numbers on every processor, which torch's generator does not promise.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random.bit_generator import ISeedSequence

# Append only: a purpose's position is part of its streams' seeds.
PURPOSES = (
    "data",
    "split",
    "initialization",
    "training_noise",
    "evaluation_noise",
    "second_training_noise",  # as in a second run on the same data
    "second_evaluation_noise",
    "validation_split",
    "bootstrap",
    "probe",  # random vectors of a trace estimate
    "batch_order",
)


class _Words(ISeedSequence):
    def __init__(self, *words: int):
        self.words = words

    def generate_state(self, n_words, dtype=np.uint32):
        return np.array(self.words, dtype)


def stream(purpose: str, replicate: int, seed: int = 0, replica: int = 0) -> np.random.Generator:
    """The generator of one replicate for one purpose; seed and replicate are 0 ... 2**64 - 1.

    replica: which of the networks that one training couples, 0 ... 2**32 - 1.

    Raises ValueError for a purpose that is not in PURPOSES.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"purpose = {purpose!r}: allowed is one of {', '.join(PURPOSES)}")
    words = _Words(seed, PURPOSES.index(purpose) + (replica << 32), replicate)
    return np.random.Generator(np.random.SFC64(words))


def normals(
    purpose: str, replicates: Sequence[int], shape: tuple[int, ...], seed: int = 0
) -> np.ndarray:
    """Standard normal float32 draws, one bulk draw a replicate: array (replicates, *shape)."""
    out = np.empty((len(replicates), *shape), np.float32)
    for row, replicate in zip(out, replicates, strict=True):
        stream(purpose, replicate, seed).standard_normal(out=row, dtype=np.float32)
    return out
