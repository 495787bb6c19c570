"""The constant and the paper's numbers, held against arithmetic that does not use the module's own."""

from fractions import Fraction

import numpy as np
import pytest

from t0qat.training import constants

XI = Fraction(4, 3) / 10_000


def test_xi_is_four_thirds_of_a_ten_thousandth_and_the_published_noise_is_32_thirds():
    assert pytest.approx(float(XI), rel=1e-15) == constants.XI
    assert pytest.approx(float(Fraction(32, 3)), rel=1e-15) == constants.XI * constants.XI_SCALING


def test_reported_rows_add_up_and_their_reduction_is_the_51_percent_of_the_text():
    for row in constants.REPORTED.values():
        assert row["quantized"] - row["full_precision"] == pytest.approx(row["drop"], abs=5e-7)
    assert round(100 * constants.REPORTED_REDUCTION) == 51
    assert constants.REPORTED_REDUCTION < 0.52


def test_reported_evaluation_noise_brings_back_the_mean_reported_drop():
    """On the paper's own inputs: disturb arbitrary weights and measure how much the loss grows."""
    scale = constants.reported_evaluation_noise()
    mean_drop = (2.935914 + 1.435758) / 2
    assert 11 * scale**2 == pytest.approx(mean_drop, rel=1e-12)

    draws = np.random.default_rng(1)
    drops = []
    for _ in range(1500):
        inputs = np.column_stack([draws.standard_normal((200, 10)), np.ones(200)])
        error = 0.3 * draws.standard_normal(200)  # prediction minus target, before the disturbance
        shifted = error + inputs @ (scale * draws.standard_normal(11))
        drops.append((shifted**2).mean() - (error**2).mean())
    assert abs(np.mean(drops) - mean_drop) < 4 * np.std(drops) / len(drops) ** 0.5
