"""Replicas drawn to one another: against trainings of their own, and a problem solved by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from t0qat import prepare
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import coupled, loop, models, rounders
from t0qat.training.streams import stream
from t0qat.training.tasks import digits

pytestmark = pytest.mark.usefixtures("one_thread")
PART = digits(0)
INPUTS, CLASSES = (torch.from_numpy(array[:60]) for array in (PART.inputs, PART.target))
WAYS = {"ring": coupled.ring, "star": coupled.star}


def train(objective, orders: list[int]) -> dict[str, torch.Tensor]:
    """The network and, under their names, what else was trained."""
    net = models.mlp(stream("initialization", 3))
    extra = objective.extra(dict(net.named_parameters()))
    first, *others = ((INPUTS, CLASSES, stream("batch_order", 5, replica=replica)) for replica in orders)
    loop.train(
        net, *first[:2], objective, stream("training_noise", 5), epochs=2, batch_size=20, order=first[2],
        learning_rate=0.02, loss=cross_entropy, schedule="cosine", extra=extra, replicas=others,
    )  # fmt: skip
    return dict(net.named_parameters()) | extra


@pytest.mark.parametrize("way", WAYS)
def test_one_replica_is_ste_to_the_bit(way):
    found, expected = train(WAYS[way](3, 0.7, 1), [0]), train(rounders.ste(3), [0])
    for name, p in expected.items():
        assert torch.equal(found[name], p) and torch.equal(found[f"replicas.0.{name}"], p)


@pytest.mark.parametrize("way", WAYS)
def test_without_coupling_each_replica_is_ste_on_its_own_batches_to_the_bit(way):
    found = train(WAYS[way](2, 0.0, 3), [0, 1, 2])
    alone = [train(rounders.ste(2), [k]) for k in range(3)]
    assert not torch.equal(alone[0]["0.weight"], alone[1]["0.weight"])
    for name in alone[0]:
        for k, expected in enumerate(alone):
            assert torch.equal(found[f"replicas.{k}.{name}"], expected[name])
        torch.testing.assert_close(found[name], sum(each[name] for each in alone) / 3)


def test_a_ring_of_three_is_a_star_of_three_times_its_strength():
    ring, star = train(coupled.ring(3, 0.2, 3), [0, 1, 2]), train(coupled.star(3, 0.6, 3), [0, 1, 2])
    for name, p in ring.items():
        torch.testing.assert_close(p, star[name], rtol=1e-3, atol=1e-4)
    five = [
        train(way(3, rho, 5), [*range(5)]) for way, rho in ((coupled.ring, 0.2), (coupled.star, 0.6))
    ]
    assert any(not torch.allclose(p, five[1][name], rtol=1e-3, atol=1e-3) for name, p in five[0].items())


@pytest.mark.parametrize("way", WAYS)
def test_a_quadratic_s_stationary_point_solves_its_linear_system(way):
    """sum_k l_k (w_k - a_k)**2 / 2 + rho / 2 w' L w is least where (diag(l) + rho L) w = l a."""
    count, rho = 5, 0.8
    draws = np.random.default_rng(0)
    slopes, places = draws.uniform(0.5, 2, count), draws.normal(size=count)
    laplacian = {
        "ring": 2 * np.eye(count) - np.roll(np.eye(count), 1, 0) - np.roll(np.eye(count), -1, 0),
        "star": np.eye(count) - 1 / count,
    }[way]
    expected = np.linalg.solve(np.diag(slopes) + rho * laplacian, slopes * places)
    model = nn.Linear(2, 1, bias=False).double()
    # The second, which no input reaches, spans the grid: the first is never clipped.
    model.weight.data = torch.tensor([[0.5, 10.0]], dtype=torch.float64)
    qat = prepare(model, way, bits=16, rho=rho, replicas=count)
    steps, shown = 500, torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    optimizer = qat.optimizer(torch.optim.SGD(model.parameters(), lr=0.3), steps)
    closures = [
        lambda s=s, a=a: (s / 2 * (model(shown) - a) ** 2).sum()
        for s, a in zip(slopes, places, strict=True)
    ]
    for _ in range(steps):
        optimizer.zero_grad()
        qat.loss(*closures).backward()
        optimizer.step()
    found = [qat.extra[f"replicas.{k}.weight"][0, 0].item() for k in range(count)]
    # The coupling has risen to all but a 500th of its strength.
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert model.weight[0, 0].item() == pytest.approx(np.mean(found), abs=1e-12)


def test_each_replica_needs_a_batch():
    model = nn.Linear(2, 2)
    qat = prepare(model, "ring", replicas=3)
    with pytest.raises(ParameterError, match="closures: 1 given; allowed are 3, one a batch"):
        qat.loss(lambda: model(torch.ones(1, 2)).sum())
