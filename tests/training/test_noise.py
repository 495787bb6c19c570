"""Methods that add noise: its size, what cancels, and what is as good as none."""

import numpy as np
import pytest
import torch
from formulas import BITS, QUANTIZED, Problem, normals, step
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
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


def shown_by(objective, problem, draws, times):
    """What the network sees in so many draws: name -> (times, ...)."""
    problem.shown.clear()
    for _ in range(times):
        objective.value(problem.loss, problem.weights, draws)
    return {key: torch.stack([point[key] for point in problem.shown]) for key in problem.weights}


def test_uniform_noise_has_the_size_of_gaussian_noise_and_ends_at_root_three_of_it():
    problem, sigma = Problem(), 300 * 4 / 3 * 1e-4
    seen = shown_by(noise.uniform_noise(300.0), problem, stream("training_noise", 4), 200)
    error = torch.cat([(seen[k] - p.detach()).flatten() for k, p in problem.weights.items()]).numpy()
    ends = stats.uniform(-sigma * 3**0.5, 2 * sigma * 3**0.5)
    assert stats.kstest(error, ends.cdf).pvalue > 1e-3
    assert error.std() == pytest.approx(sigma, rel=0.01)
    assert abs(stats.kurtosis(error, fisher=False) - 1.8) < 0.02


def test_noise_on_weights_only_is_that_of_the_method_under_study_and_spares_biases():
    problem = Problem()
    seen = shown_by(noise.weights_only_noise(300.0), problem, stream("training_noise", 4), 200)
    for key, p in problem.weights.items():
        error = ((seen[key] - p.detach()) / (300 * 4 / 3 * 1e-4)).numpy()
        if key in QUANTIZED:
            assert stats.kstest(error.ravel(), stats.norm.cdf).pvalue > 1e-3
        else:
            assert not error.any()


def test_relative_noise_is_a_share_of_each_channels_root_mean_square():
    problem = Problem()
    seen = shown_by(noise.relative_noise(0.2), problem, stream("training_noise", 5), 400)
    for key, p in problem.weights.items():
        error = (seen[key] - p.detach()).numpy()
        if key not in QUANTIZED:
            assert not error.any()
            continue
        for channel, row in enumerate(p.detach().flatten(1).numpy()):
            units = error[:, channel].ravel() / (0.2 * np.sqrt(np.mean(row**2)))
            assert stats.kstest(units, stats.norm.cdf).pvalue > 1e-4


@given(st.floats(1e-3, 1e3), st.floats(0, 1))
def test_relative_noise_knows_no_units(factor, relative):
    """A channel times a number is seen times that number."""
    w = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    objective, shown = noise.relative_noise(relative), []
    for scale in (1.0, factor):
        draws = np.random.default_rng(3)
        objective.value(lambda seen: shown.append(seen["w"]), {"w": scale * w}, draws)
    torch.testing.assert_close(shown[1], factor * shown[0], rtol=1e-6, atol=0)


class Watched(torch.nn.Linear):
    """Keeps the weights of every forward pass."""

    def forward(self, x):
        self.seen.append(self.weight.detach().clone())
        return super().forward(x)


def test_annealed_noise_falls_in_a_line_to_nothing_and_starts_anew_with_each_training():
    """What the network sees less what it holds, over the noise that is drawn."""
    objective, scale = noise.annealed_noise(300.0), 300 * 4 / 3 * 1e-4
    for steps in (8, 5):
        net, seen_by, draws = Watched(3, 2).double(), [], stream("training_noise", 1)
        net.seen = seen_by
        data = torch.ones(4, 3).double(), torch.zeros(4, 2).double()
        loop.train(net, *data, objective, draws, epochs=steps, learning_rate=0.0)
        assert len(seen_by) == steps
        fresh = stream("training_noise", 1)
        for i, seen in enumerate(seen_by):
            drawn = torch.from_numpy(fresh.standard_normal((2, 3), np.float32)).double()
            fresh.standard_normal(2, np.float32)  # the bias
            share = ((seen - net.weight.detach()) / drawn / scale).mean().item()
            assert share == pytest.approx((steps - i) / steps, rel=1e-9)


def test_two_bit_noise_is_the_noise_of_that_width_for_all():
    first, second = Problem(), Problem()
    found = first.gradient(REGISTRY["two_bit_noise"].objective(), stream("training_noise", 0))
    expected = second.gradient(noise.matched_noise(bits=2), stream("training_noise", 0))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not REGISTRY["two_bit_noise"].for_bits
