"""Methods that change what is minimized: where they climb to, and what they punish."""

import numpy as np
import pytest
import torch
from formulas import Problem
from scipy import stats

from t0qat.training import regularizers


def test_sam_climbs_to_a_higher_loss_at_the_stated_distance():
    problem = Problem()
    problem.gradient(regularizers.sam(0.2), np.random.default_rng(2))
    start, climbed = problem.shown
    apart = torch.cat([(climbed[key] - start[key]).flatten() for key in start])
    assert apart.norm().item() == pytest.approx(0.2, rel=1e-9)
    assert problem.loss(climbed) > problem.loss(start)


def test_kurtosis_is_scipys_and_its_penalty_vanishes_for_uniform_weights():
    draws = np.random.default_rng(41)
    for weights in (draws.normal(3, 2, (30, 5)), draws.standard_t(9, 500)):
        mine = regularizers.kurtosis(torch.from_numpy(weights)).item()
        assert mine == pytest.approx(stats.kurtosis(weights, None, fisher=False), rel=1e-12)
    even = {"w": torch.linspace(-2, 5, 100_000, dtype=torch.float64).view(100, -1)}
    penalty = regularizers.kure(1.0).value(lambda seen: torch.tensor(0.25), even, draws).item()
    assert penalty == pytest.approx(0.25, abs=1e-12)
    bell = {"w": torch.from_numpy(stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)).view(100, -1)}
    penalty = regularizers.kure(0.5).value(lambda seen: torch.tensor(0.0), bell, draws).item()
    assert penalty == pytest.approx(0.5 * 1.2**2, rel=1e-3)
