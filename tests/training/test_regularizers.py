"""Methods that change what is minimized: where they climb to, and what they punish."""

import numpy as np
import pytest
import torch
from formulas import QUANTIZED, Problem
from scipy import stats
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from t0qat.training import loop, regularizers
from t0qat.training.plain import no_noise


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


@pytest.mark.parametrize("schedule", ["constant", "warmup_cosine"])
def test_weight_decay_is_adamws_on_the_weights_that_are_rounded(schedule):
    mine, other = Problem(torch.float32), Problem(torch.float32)
    how = {"epochs": 30, "learning_rate": 0.02, "loss": cross_entropy, "schedule": schedule}
    decay = regularizers.weight_decay(0.7)
    loop.train(mine.model, mine.inputs, mine.classes, decay, np.random.default_rng(0), **how)
    groups = [
        {"params": [other.weights[name] for name in QUANTIZED], "weight_decay": 0.7},
        {"params": [p for name, p in other.weights.items() if name not in QUANTIZED]},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.02, weight_decay=0.0, fused=True)
    rates = LambdaLR(adamw, lambda step: loop.SCHEDULES[schedule](step / 30))
    for _ in range(30):
        adamw.zero_grad()
        cross_entropy(other.model(other.inputs), other.classes).backward()
        adamw.step()
        rates.step()
    plain = Problem(torch.float32)
    loop.train(plain.model, plain.inputs, plain.classes, no_noise(), np.random.default_rng(0), **how)
    for name, p in mine.weights.items():
        torch.testing.assert_close(p, other.weights[name], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(p, plain.weights[name], rtol=1e-3)


def test_a_decay_of_one_training_does_not_act_in_the_next():
    """The optimizer is handed back as it was."""
    p = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.SGD([{"params": [p], "rounded": True}], lr=0.5)
    p.grad = torch.zeros(2, 2)
    for share in (0.9, 0.81):
        with regularizers.weight_decay(0.2).around(optimizer, 1) as stepping:
            stepping.step()
        assert p.detach().flatten().tolist() == pytest.approx([share] * 4)
        optimizer.step()
        assert p.detach().flatten().tolist() == pytest.approx([share] * 4)
