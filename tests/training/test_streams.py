"""Streams: what they are, to the bit, and that no two of them have anything to do with each other."""

import numpy as np
import pytest
from scipy import stats

from t0qat.training.streams import PURPOSES, normals, stream

WORD = 2**64


def sfc64(a: int, b: int, c: int, count: int) -> list[int]:
    """Doty-Humphrey's SFC64, from its definition, after the 12 rounds that numpy lets pass."""
    out = []
    for counter in range(1, count + 13):
        out.append((a + b + counter) % WORD)
        a, b, c = b ^ (b >> 11), (c + (c << 3)) % WORD, ((c << 24 | c >> 40) + out[-1]) % WORD
    return out[12:]


@pytest.mark.parametrize(("seed", "replicate"), [(0, 0), (3, 7), (2**32 - 1, 2**32 + 5), (1, WORD - 1)])
def test_a_stream_is_sfc64_started_from_seed_purpose_and_replicate(seed, replicate):
    for position, purpose in enumerate(PURPOSES):
        drawn = stream(purpose, replicate, seed).bit_generator.random_raw(5).tolist()
        assert drawn == sfc64(seed, position, replicate, 5)


# Published results hang on these bits: a changed value here is a changed experiment.
GOLDEN = {
    "data": 0x3BDF68D7BB631132,
    "split": 0xE7110503B4001ACA,
    "initialization": 0x41B65719E7D1B4BC,
    "training_noise": 0x718F07A041A09D15,
    "evaluation_noise": 0xF4795603DF44D4BE,
    "second_training_noise": 0xF08F0854AC9A5A70,
    "second_evaluation_noise": 0xB695CE77772FC833,
    "batch_order": 0x69C08C6D899F1922,
}


def test_draws_are_pinned():
    assert {purpose: stream(purpose, 5, 2).bit_generator.random_raw() for purpose in GOLDEN} == GOLDEN
    assert normals("data", [5], (3,), 2)[0].tolist() == [
        -0.7224578261375427,
        0.5313955545425415,
        -0.5422491431236267,
    ]
    assert stream("split", 5, 2).permutation(8).tolist() == [5, 1, 0, 7, 4, 6, 3, 2]


def test_the_same_stream_twice_is_equal_whatever_was_drawn_between():
    first = normals("data", [3, 1, 4], (7, 2), seed=9)
    normals("training_noise", range(5), (100,), seed=9)
    again = normals("data", [4, 3], (7, 2), seed=9)
    assert first.dtype == np.float32 and first.shape == (3, 7, 2)
    assert np.array_equal(again, first[[2, 0]])
    alone = stream("data", 4, 9).standard_normal((7, 2), np.float32)
    assert np.array_equal(alone, first[2])


def test_distinct_streams_are_uncorrelated():
    """Seeds, purposes and replicates in every combination, also where only the high 32 bits differ."""
    replicates = [0, 1, 2, 2**32, 2**32 + 1, 2**63]
    draws = np.stack(
        [
            stream(purpose, replicate, seed).standard_normal(4000)
            for seed in (0, 1, 2**31)
            for purpose in PURPOSES
            for replicate in replicates
        ]
    )
    correlation = np.corrcoef(draws)[np.triu_indices(len(draws), 1)]
    # Fisher's z of independent normals is standard normal; 7875 of them stay below 5.5.
    z = np.arctanh(correlation) * np.sqrt(draws.shape[1] - 3)
    assert np.abs(z).max() < 5.5
    assert z.std() == pytest.approx(1, abs=0.05)


def test_neighbouring_replicates_are_normal_and_unrelated_at_every_position():
    """The same position across replicates, which is what averages over replicates rest on."""
    draws = normals("training_noise", range(8000), (6,)).astype(float)
    for column in draws.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    for step in (1, 2, 64):
        across = np.corrcoef(draws[step:].T, draws[:-step].T)[:6, 6:]
        assert np.abs(across).max() * np.sqrt(len(draws)) < 4.5
        squares = np.corrcoef(draws[step:].T ** 2, draws[:-step].T ** 2)[:6, 6:]
        assert np.abs(squares).max() * np.sqrt(len(draws)) < 4.5


def test_a_long_stream_is_normal():
    draws = normals("data", [11], (1000, 200), seed=4).ravel().astype(float)
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    assert abs(draws.std() - 1) < 4 / np.sqrt(2 * draws.size)
    assert abs(stats.kurtosis(draws)) < 4 * np.sqrt(24 / draws.size)


def test_unknown_purposes_and_seeds_that_do_not_fit_raise():
    with pytest.raises(ValueError):
        stream("noise", 0)
    with pytest.raises(OverflowError):
        stream("data", -1)
    with pytest.raises(OverflowError):
        stream("data", 0, WORD)
