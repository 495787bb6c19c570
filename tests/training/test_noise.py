"""Methods that add noise: its size, what cancels, and what is as good as none."""

import numpy as np
import pytest
import torch
from formulas import BITS, QUANTIZED, Problem, normals, step
from torch.nn.functional import cross_entropy

from t0qat.training import loop, models, noise
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream
from t0qat.training.tasks import digits


def test_two_points_cancel_odd_terms():
    """On a quadratic the noise leaves nothing in the gradient: that of the smoothed loss is A w."""
    generator = torch.Generator().manual_seed(31)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    w = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = lambda seen: seen["w"] @ (root @ root.T) @ seen["w"] / 2  # noqa: E731
    for sigma in (0.1, 30.0):
        value = noise.two_point_noise(sigma).value(loss, {"w": w}, np.random.default_rng(1))
        (found,) = torch.autograd.grad(value, w)
        torch.testing.assert_close(found, (root @ root.T @ w).detach(), rtol=1e-10, atol=1e-8)
        drawn = normals(np.random.default_rng(1), {"w": w.detach()})
        extra = sigma**2 * loss(drawn)
        torch.testing.assert_close(value.detach(), loss({"w": w.detach()}) + extra)


def test_the_noise_of_quantizing_methods_has_the_size_of_rounding_and_spares_biases():
    problem = Problem()
    for name, bound in (("matched_noise", np.inf), ("diffq", 0.5)):
        problem.shown.clear()
        objective, draws = REGISTRY[name].objective(bits=BITS), np.random.default_rng(3)
        for _ in range(300):
            objective.value(problem.loss, problem.weights, draws)
        for key, p in problem.weights.items():
            seen = torch.stack([point[key] for point in problem.shown])
            if key not in QUANTIZED:
                assert torch.equal(seen, p.detach().expand_as(seen))
                continue
            error = ((seen - p.detach()) / step(p.detach())).numpy()
            assert error.std() == pytest.approx(12**-0.5, rel=0.02)
            assert abs(error.mean()) < 5 * 12**-0.5 / np.sqrt(error.size)
            assert np.abs(error).max() <= bound + 1e-6


def test_the_placebo_differs_from_plain_training_only_by_noise_of_its_size():
    part = digits(0)
    inputs, classes = torch.from_numpy(part.inputs), torch.from_numpy(part.target)
    ends = {}
    for name in ("no_noise", "xi_alone"):
        net = models.small_cnn(stream("initialization", 0))
        start = torch.cat([p.detach().flatten() for p in net.parameters()])
        loop.train(
            net,
            inputs,
            classes,
            REGISTRY[name].objective(),
            stream("training_noise", 0),
            epochs=1,
            learning_rate=0.1,
            loss=cross_entropy,
            batch_size=2000,
            optimizer=torch.optim.SGD,
        )
        ends[name] = torch.cat([p.detach().flatten() for p in net.parameters()]) - start
    apart = (ends["xi_alone"] - ends["no_noise"]).norm() / ends["no_noise"].norm()
    assert 1e-5 < apart < 0.05
