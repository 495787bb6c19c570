"""Training forwards: what the model sees, where the gradient is taken, and what stays untouched."""

import numpy as np
import pytest
import torch
from formulas import moved
from torch import nn
from torch.func import functional_call

from t0qat.training import loop, noise, plain, views
from t0qat.training.methods import REGISTRY, on_layer

# Standard deviation of the noise that each published method adds, worked out by hand.
ADDED = {"standard_qat": 0.4, "t0_qat": 32 / 3, "no_noise": 0.0}


class Gated(nn.Module):
    """A convolution, two layers that share one matrix, a scalar parameter, a frozen one, a buffer."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 2)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.gate = nn.Parameter(torch.tensor(0.3))
        self.fixed = nn.Parameter(torch.tensor([0.5, -0.5]), requires_grad=False)
        self.register_buffer("shift", torch.tensor(0.1))

    def forward(self, image):
        hidden = torch.tanh(self.convolution(image).flatten(1))
        hidden = torch.tanh(self.first(hidden)) + self.gate * self.second(hidden) + self.shift
        return hidden.view(-1, 4, 2) @ self.fixed


def gated() -> tuple[Gated, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    model = Gated().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model, torch.randn(5, 1, 3, 3, generator=generator, dtype=torch.float64)


def training_forward(model, view, noise, *inputs):
    """The model's output as training sees it."""
    weights = dict(model.named_parameters())
    run = lambda seen: functional_call(model, seen, inputs)  # noqa: E731
    return views.objective_of(view).value(run, weights, noise)


def recorded(noise) -> tuple:
    """The noise, and a list that fills with what it gives, in order."""
    given = []

    def wrapper(parameter):
        given.append(noise(parameter))
        return given[-1]

    return wrapper, given


@pytest.mark.parametrize("name", on_layer())
def test_the_gradient_is_taken_at_the_perturbed_point_and_flows_back_to_the_stored_one(name):
    model, image = gated()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    view = REGISTRY[name].build()
    noise, draws = recorded(views.noise_from(np.random.default_rng(2)))
    output = training_forward(model, view, noise, image)
    output.square().sum().backward()

    stored = {key: p.detach().clone().requires_grad_() for key, p in model.named_parameters()}
    if view is views.unchanged:
        assert not draws  # none are needed
        draws = [torch.zeros_like(p) for p in stored.values()]
    assert [draw.shape for draw in draws] == [p.shape for p in stored.values()]
    seen = {key: view(p, draw) for (key, p), draw in zip(stored.items(), draws, strict=True)}
    if name in ADDED:
        for (key, p), draw in zip(stored.items(), draws, strict=True):
            torch.testing.assert_close(seen[key], p + ADDED[name] * draw, rtol=1e-14, atol=1e-14)
    oracle = moved(model, seen)
    expected = oracle(image)
    expected.square().sum().backward()

    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None
            continue
        at_point = oracle.get_parameter(key).grad
        (back,) = torch.autograd.grad(seen[key], stored[key], at_point)
        torch.testing.assert_close(parameter.grad, back, rtol=1e-12, atol=1e-12)
        if name in ADDED:
            torch.testing.assert_close(parameter.grad, at_point, rtol=1e-12, atol=1e-12)
    for key, value in model.state_dict().items():
        assert value.numpy().tobytes() == before[key].numpy().tobytes()


def test_a_method_whose_noise_depends_on_the_weights_has_its_own_gradient():
    """Multiplicative noise, against central differences of the loss in the stored parameters."""

    def multiplicative(parameter, noise):
        return parameter * (1 + 0.3 * noise)

    model, image = gated()
    fixed = views.noise_from(np.random.default_rng(3))
    draws = {p.shape: fixed(p) for p in model.parameters()}

    def loss(candidate):
        return (
            training_forward(candidate, multiplicative, lambda p: draws[p.shape], image).square().sum()
        )

    loss(model).backward()
    step = 1e-6
    for key, parameter in model.named_parameters():
        for i in range(min(parameter.numel(), 6) if parameter.requires_grad else 0):
            ends = []
            for sign in (1, -1):
                points = {name: p.detach().clone() for name, p in model.named_parameters()}
                points[key].view(-1)[i] += sign * step
                ends.append(loss(moved(model, points)).item())
            slope = (ends[0] - ends[1]) / (2 * step)
            assert parameter.grad.view(-1)[i].item() == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_noise_is_fresh_in_every_step_for_every_parameter_and_repeats_with_its_seed():
    image = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(4))
    trained = []
    for seed in (5, 5, 6):
        model = Gated()
        model.load_state_dict(gated()[0].float().state_dict())
        noisy, draws = recorded(views.noise_from(np.random.default_rng(seed)))
        loop.train(model, image, torch.zeros(4, 4), noise.t0_qat(), noisy, epochs=30)
        trained.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(trained[0], trained[1]) and not torch.equal(trained[0], trained[2])

    assert len(draws) == 30 * len(list(model.parameters()))
    assert {draw.dtype for draw in draws} == {torch.float32}
    together = torch.cat([draw.flatten() for draw in draws]).double().numpy()
    assert len(np.unique(together)) > 0.999 * len(together)
    assert abs(together.mean()) < 4 / np.sqrt(len(together))
    assert abs(together.std() - 1) < 4 / np.sqrt(2 * len(together))


def test_training_moves_only_what_may_move_and_leaves_the_optimum_of_a_convex_loss_without_noise():
    """Plain training reaches the least-squares solution that linear algebra gives."""
    draws = np.random.default_rng(8)
    inputs, target = draws.normal(size=(50, 3)), draws.normal(size=50)
    model = nn.Linear(3, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    loop.train(
        model,
        torch.from_numpy(inputs),
        torch.from_numpy(target)[:, None],
        plain.no_noise(),
        torch.zeros_like,
        epochs=1500,
        learning_rate=0.02,
    )
    solved = np.linalg.lstsq(np.column_stack([inputs, np.ones(50)]), target, rcond=None)[0]
    reached = np.append(model.weight.detach().numpy()[0], model.bias.item())
    np.testing.assert_allclose(reached, solved, atol=1e-6)

    frozen, image = gated()
    fixed = frozen.fixed.clone()
    draws = views.noise_from(np.random.default_rng(9))
    loop.train(frozen, image, torch.zeros(5, 4), noise.standard_qat(), draws, epochs=3)
    assert torch.equal(frozen.fixed, fixed)
    assert frozen.second.weight is frozen.first.weight
