"""Training forwards: what the model sees, where the gradient is taken, and what stays untouched."""

import copy
import inspect
import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import rounding
from t0qat.quantization.quantizers import Grid, fake_quantize
from t0qat.training import loop, methods, models, noise, plain, regularizers, rounders, views
from t0qat.training.methods import REGISTRY, on_layer
from t0qat.training.streams import stream
from t0qat.training.tasks import digits
from t0qat.training.views import training_forward

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


def recorded(noise) -> tuple:
    """The noise, and a list that fills with what it gives, in order."""
    given = []

    def wrapper(parameter):
        given.append(noise(parameter))
        return given[-1]

    return wrapper, given


def moved(model: nn.Module, points: dict[str, torch.Tensor]) -> nn.Module:
    """A copy of the model whose stored parameters are the points."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            parameter.copy_(points[name])
    return copied


@pytest.mark.parametrize("name", on_layer())
def test_the_gradient_is_taken_at_the_perturbed_point_and_flows_back_to_the_stored_one(name):
    model, image = gated()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    view = REGISTRY[name].build()
    noise, draws = recorded(views.noise_from(np.random.default_rng(2)))
    output = training_forward(model, view, noise, image)
    output.square().sum().backward()

    stored = {key: p.detach().clone().requires_grad_() for key, p in model.named_parameters()}
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


def test_settings_reach_the_method_that_names_them_and_no_other():
    built = methods.build(xi_scaling=300.0, baseline_noise=7.0)
    parameter, draws = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, -1.0]).double()
    seen = {name: view(parameter, draws).tolist() for name, view in built.items()}
    assert seen["standard_qat"] == [8.0, -5.0]
    assert seen["t0_qat"] == pytest.approx([1.04, 1.96], rel=1e-14)
    assert seen["no_noise"] == [1.0, 2.0]
    with pytest.raises(ParameterError, match="xi_scalling"):
        methods.build(xi_scalling=1.0)


class Problem:
    """A small convolution network, its batch, and what each loss of an objective was shown."""

    def __init__(self, dtype=torch.float64, seed=11):
        generator = torch.Generator().manual_seed(seed)
        layers = nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 5)
        self.model = nn.Sequential(*layers).to(dtype)
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(0.4 * torch.randn(p.shape, generator=generator))
        self.inputs = torch.randn(20, 2, 4, 4, generator=generator, dtype=dtype)
        self.classes = torch.randint(0, 5, (20,), generator=generator)
        self.weights = dict(self.model.named_parameters())
        self.shown = []

    def loss(self, seen):
        self.shown.append(self.at(seen))
        return cross_entropy(functional_call(self.model, seen, (self.inputs,)), self.classes)

    def at(self, seen):
        return {name: seen.get(name, p).detach().clone() for name, p in self.weights.items()}

    def slope(self, points) -> dict[str, torch.Tensor]:
        """The gradient of the plain loss at these weights, from a copy of the network."""
        copied = moved(self.model, points)
        cross_entropy(copied(self.inputs), self.classes).backward()
        return {name: p.grad for name, p in copied.named_parameters()}

    def gradient(self, objective, draws, extra=None):
        """What the objective leaves in the stored weights and its own parameters."""
        extra = objective.extra(self.weights) if extra is None else extra
        value = objective.value(self.loss, self.weights | extra, draws)
        names = self.weights | extra
        return dict(zip(names, torch.autograd.grad(value, list(names.values())), strict=True))


BITS = 3
LOW, HIGH = -4, 3
QUANTIZED = ("0.weight", "3.weight")  # the convolution and the linear layer, not their biases


def step(w):
    """2 max|w| / (2**bits - 1) of each output channel, shaped for w."""
    return (2 * w.flatten(1).abs().amax(1) / 7).view(-1, *[1] * (w.ndim - 1))


def normals(draws, weights):
    return {
        name: torch.from_numpy(draws.standard_normal(w.shape, np.float32)).to(w)
        for name, w in weights.items()
    }


def shifted(weights, shift):
    return {name: w + shift.get(name, 0) for name, w in weights.items()}


def added(scale):
    """Gaussian noise on every parameter, biases too."""

    def oracle(slope, w, draws):
        shift = {name: scale * e for name, e in normals(draws, w).items()}
        return slope(shifted(w, shift))

    return oracle


def of_ste(slope, w, draws, low=LOW, high=HIGH, levels=7):
    seen, mask = dict(w), {}
    for name in QUANTIZED:
        scale = step(w[name]) * 7 / levels
        code = np.rint((w[name] / scale).numpy())
        seen[name] = torch.from_numpy(np.clip(code, low, high)) * scale
        mask[name] = torch.from_numpy((code >= low) & (code <= high))
    return {name: g * mask.get(name, 1) for name, g in slope(seen).items()}


def of_random_bits(slope, w, draws):
    bits = (8, 4, 3, 2)[draws.integers(4)]
    return of_ste(slope, w, draws, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 2**bits - 1)


def of_lsq(slope, w, draws, factor=1.0):
    """Equations 1, 3 and 5 of the paper, one channel at a time."""
    seen, back = dict(w), {}
    for name in QUANTIZED:
        rows = w[name].flatten(1).numpy()
        steps = factor * 2 * np.abs(rows).mean(1) / np.sqrt(HIGH)
        ratio = rows / steps[:, None]
        code = np.where(ratio <= LOW, LOW, np.where(ratio >= HIGH, HIGH, np.rint(ratio)))
        inside = (ratio > LOW) & (ratio < HIGH)
        seen[name] = torch.from_numpy(code * steps[:, None]).view_as(w[name])
        back[name] = inside, np.where(inside, np.rint(ratio) - ratio, code)
    found = slope(seen)
    for name, (inside, by_step) in back.items():
        rows = found[name].flatten(1).numpy()
        own = (rows * by_step).sum(1) / np.sqrt(rows.shape[1] * HIGH)
        found[name + ".step"] = torch.from_numpy(own)
        found[name] = torch.from_numpy(rows * inside).view_as(w[name])
    return found


def of_matched_noise(slope, w, draws):
    drawn = normals(draws, {name: w[name].flatten(1) for name in QUANTIZED})
    return slope(shifted(w, {k: step(w[k]) / 12**0.5 * drawn[k].view_as(w[k]) for k in QUANTIZED}))


def of_diffq(slope, w, draws):
    """The largest weight of a channel also moves the channel's step: 2 / 7 * sign(w) * <g, u>."""
    u = {name: torch.from_numpy(draws.random(w[name].shape, np.float32)) - 0.5 for name in QUANTIZED}
    found = slope(shifted(w, {name: step(w[name]) * u[name] for name in QUANTIZED}))
    for name in QUANTIZED:
        rows, through = w[name].flatten(1), (found[name] * u[name]).flatten(1).sum(1)
        largest = rows.abs().argmax(1)
        for channel, i in enumerate(largest):
            found[name].view(rows.shape)[channel, i] += (
                2 / 7 * rows[channel, i].sign() * through[channel]
            )
    return found


def of_two_points(slope, w, draws):
    shift = {name: 0.01 * e for name, e in normals(draws, w).items()}
    up = slope(shifted(w, shift))
    down = slope(shifted(w, {name: -e for name, e in shift.items()}))
    return {name: (up[name] + down[name]) / 2 for name in w}


def of_sam(slope, w, draws):
    first = slope(w)
    norm = np.sqrt(sum((g.numpy() ** 2).sum() for g in first.values()))
    return slope(shifted(w, {name: 0.05 * g / norm for name, g in first.items()}))


def of_kure(slope, w, draws):
    """dk / dw = 4 / n * [(c^3 - mean c^3) / v^2 - k * c / v], c = w - mean w, v = var w."""
    found = slope(w)
    for name in QUANTIZED:
        c = w[name].numpy() - w[name].numpy().mean()
        v, k = c.var(), stats.kurtosis(c, None, fisher=False)
        by_weight = 4 / c.size * ((c**3 - (c**3).mean()) / v**2 - k * c / v)
        found[name] += torch.from_numpy(2 * (k - 1.8) / 2 * by_weight)
    return found


PLAIN = added(0.0)
ORACLES = {
    "standard_qat": added(0.4),
    "t0_qat": added(32 / 3),
    "no_noise": PLAIN,
    "xi_alone": added(4 / 3 * 1e-4),
    "t0_qat_tuned": added(32 / 3),
    "gptq": PLAIN,
    "ste": of_ste,
    "lsq": of_lsq,
    "parq": PLAIN,
    "matched_noise": of_matched_noise,
    "diffq": of_diffq,
    "two_point_noise": of_two_points,
    "sam": of_sam,
    "kure": of_kure,
    "random_bits": of_random_bits,
}


def objective_of(name):
    method = REGISTRY[name]
    return method.objective(**({"bits": BITS} if method.for_bits else {}))


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("seed", [21, 22])
def test_the_gradient_of_every_method_is_that_of_its_formula(name, seed):
    """Each against its own closed form above, from gradients of a copy of the network."""
    problem = Problem(seed=seed)
    stored = {key: p.detach().clone() for key, p in problem.weights.items()}
    found = problem.gradient(objective_of(name), np.random.default_rng(5))
    expected = ORACLES[name](problem.slope, stored, np.random.default_rng(5))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)
    for key, p in problem.weights.items():
        assert torch.equal(p, stored[key])


@pytest.mark.parametrize("factor", [0.2, 0.5, -0.5])
def test_learned_steps_that_clip_many_weights_have_the_papers_gradient_too(factor):
    """Also where a weight lies beyond the last level by less than half a step: its gradient is 0."""
    problem, objective = Problem(), rounders.lsq(BITS)
    stored = {key: p.detach().clone() for key, p in problem.weights.items()}
    extra = {
        key: (factor * p.detach()).requires_grad_()
        for key, p in objective.extra(problem.weights).items()
    }
    ratio = stored["3.weight"] / extra["3.weight.step"].detach()[:, None]
    assert (ratio > HIGH).any() and ((ratio > HIGH) & (ratio < HIGH + 0.5)).any()
    found = problem.gradient(objective, None, extra)
    for key, value in of_lsq(problem.slope, stored, None, factor).items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_straight_through_and_learned_rounding_agree_with_torch_where_no_weight_is_on_a_tie(bits):
    """Forward and gradient of torch's own operators, on steps that put no weight halfway."""
    grid = Grid(bits)
    generator = torch.Generator().manual_seed(bits)
    w = torch.randn(7, 40, generator=generator)
    g = torch.randn(7, 40, generator=generator)
    largest = w.abs() == w.abs().amax(1, keepdim=True)  # by construction halfway between two codes

    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    scale, zero = step(w)[:, 0] * 7 / (2**bits - 1), torch.zeros(7, dtype=torch.int32)
    ours = rounders.straight_rounding(mine, grid)
    theirs = torch.fake_quantize_per_channel_affine(other, scale, zero, 0, *grid.codes)
    ours.backward(g), theirs.backward(g)
    assert largest.sum() == 7
    torch.testing.assert_close(ours[~largest], theirs[~largest], rtol=1e-6, atol=0)
    torch.testing.assert_close(mine.grad[~largest], other.grad[~largest], rtol=1e-6, atol=0)
    positive = largest & (w > 0)
    if bits == 2:  # where 2 max|w| / 3 puts it on the tie to the last bit: rounded up, then clipped
        assert positive.any() and not mine.grad[positive].any()

    s = 2 * w.abs().mean(1) / grid.codes[1] ** 0.5
    low, high = grid.codes
    ratio = w / s[:, None]
    between = ((ratio < low) & (ratio > low - 0.5)) | ((ratio > high) & (ratio < high + 0.5))
    g = g * ~between  # clipped by the paper's mask, before rounding, and not by torch's, after it
    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    own, their = s.clone().requires_grad_(), s.clone().requires_grad_()
    factor = 1 / (40 * grid.codes[1]) ** 0.5
    ours = rounders.learned_rounding(mine, own, grid)
    theirs = torch._fake_quantize_learnable_per_channel_affine(
        other, their, torch.zeros(7), 0, *grid.codes, factor
    )
    ours.backward(g), theirs.backward(g)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(own.grad, their.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_straight_through_agrees_with_torchao_but_for_the_tie_of_each_channels_largest_weight(bits):
    rounders.torchao_parq()  # imports torchao quietly
    from torchao.quantization.granularity import PerAxis
    from torchao.quantization.qat import IntxFakeQuantizeConfig, IntxFakeQuantizer

    config = IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), PerAxis(0))
    generator = torch.Generator().manual_seed(bits)
    w = torch.randn(50, 27, generator=generator)
    g = torch.randn(50, 27, generator=generator)
    mine, other = w.clone().requires_grad_(), w.clone().requires_grad_()
    ours = rounders.straight_rounding(mine, Grid(bits))
    theirs = IntxFakeQuantizer(config)(other)
    ours.backward(g), theirs.backward(g)
    free = w.abs() < w.abs().amax(1, keepdim=True)
    torch.testing.assert_close(ours[free], theirs[free], rtol=1e-6, atol=0)
    torch.testing.assert_close(mine.grad[free], other.grad[free], rtol=1e-6, atol=0)
    apart = (ours - theirs).abs() / (step(w) * 7 / (2**bits - 1))
    assert (apart < 1 + 1e-4).all()


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("name", ["ste", "lsq", "random_bits", "parq"])
def test_a_network_trained_for_a_bit_width_shows_that_many_levels_in_every_layer(name, bits):
    """Levels counted in units of the channel's smallest gap, on big enough layers."""
    net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.Flatten(), nn.Linear(2048, 4))
    models.start(net, stream("initialization", bits))
    weights = dict(net.named_parameters())
    if name == "parq":
        shown = dict(hardened(net, bits, steps=11))
    else:
        method = REGISTRY[name]
        settings = {"bits": bits} if method.for_bits else {"widths": (bits,)}
        objective = method.objective(**settings)
        shown = {}
        objective.value(
            lambda seen: shown.update(seen) or sum(p.sum() for p in seen.values()),
            weights | objective.extra(weights),
            np.random.default_rng(0),
        )
    assert {key for key in shown if weights[key].ndim > 1} == {"0.weight", "2.weight"}
    for key in ("0.weight", "2.weight"):
        rows = shown[key].detach().flatten(1).numpy()
        counts = [len(np.unique(row)) for row in rows]
        assert max(counts) <= 2**bits
        for row in rows:
            levels = np.unique(row)
            codes = levels / np.diff(levels).min()
            np.testing.assert_allclose(codes, np.rint(codes), atol=0.05)
            assert -(2 ** (bits - 1)) <= np.rint(codes).min() <= np.rint(codes).max() < 2 ** (bits - 1)
        if key == "2.weight":  # 2048 weights a channel: a level stays empty only at the ends
            # Uniform weights reach 2 mean|w|, that is sqrt(Qp) of the steps that LSQ starts from.
            of_lsq = 2 * round((2 ** (bits - 1) - 1) ** 0.5) + 1
            assert min(counts) >= (of_lsq if name == "lsq" else 2**bits - (2 if bits < 8 else 20))


def hardened(net, bits, steps):
    """The weights that torchao's optimizer shows after its last step."""
    objective = REGISTRY["parq"].objective(bits=bits)
    rounded = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    optimizer = torch.optim.Adam([{"params": rounded}, {"params": others}], lr=1e-3)
    with objective.around(optimizer, steps) as stepping:
        for _ in range(steps):
            sum((p - 0.01).square().sum() for p in net.parameters()).backward()
            stepping.step()
            optimizer.zero_grad()
        shown = {name: p.detach().clone() for name, p in net.named_parameters()}
    for name, p in net.named_parameters():  # what is left are the latent weights of these levels
        if p.ndim > 1:
            rows, seen = p.detach().flatten(1), shown[name].flatten(1)
            assert not torch.equal(rows, seen)
            free = rows.abs() < rows.abs().amax(1, keepdim=True)
            again = fake_quantize(rows, Grid(bits))
            torch.testing.assert_close(again[free], seen[free], rtol=1e-5, atol=1e-7)
    return shown


def test_parq_is_torchaos_optimizer_on_the_networks_own_loss():
    """Against a plain loop around torchao's classes: annealed values and gradients at them."""
    tools = rounders.torchao_parq()
    mine, other = Problem(torch.float32), Problem(torch.float32)
    steps = 30
    loop.train(
        mine.model,
        mine.inputs,
        mine.classes,
        REGISTRY["parq"].objective(bits=2, steepness=7.0),
        np.random.default_rng(0),
        epochs=steps,
        loss=cross_entropy,
    )
    groups = [
        {"params": [other.model[0].weight, other.model[3].weight], "quant_bits": 2},
        {"params": [other.model[0].bias, other.model[3].bias]},
    ]
    optimizer = tools.QuantOptimizer(
        loop.ADAM(groups, lr=0.005),
        tools.UnifTorchaoQuantizer(),
        tools.ProxPARQ(0, 27, steepness=7.0),
        quant_period=1,
        quant_per_channel=True,
    )
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(other.model(other.inputs), other.classes).backward()
        optimizer.step()
    assert all(len(row.unique()) <= 4 for row in other.model[0].weight.detach().flatten(1))
    optimizer.restore_latent_params()
    for p, q in zip(mine.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q)


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


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sam", {"rho": 0.0}), ("kure", {"strength": 0.0}), ("two_point_noise", {"sigma": 0.0})],
)
def test_a_method_of_no_strength_is_plain(name, settings):
    problem = Problem()
    found = problem.gradient(REGISTRY[name].objective(**settings), np.random.default_rng(2))
    for key, value in problem.slope(problem.weights).items():
        torch.testing.assert_close(found[key], value, rtol=1e-12, atol=1e-14)


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


def test_random_bits_shows_each_width_as_often_and_the_same_in_all_layers():
    objective, draws = REGISTRY["random_bits"].objective(), np.random.default_rng(4)
    problem = Problem()
    widths = {
        bits: fake_quantize(problem.weights["3.weight"].detach(), Grid(bits)) for bits in (8, 4, 3, 2)
    }
    counts = dict.fromkeys(widths, 0)
    for _ in range(800):
        problem.shown.clear()
        objective.value(problem.loss, problem.weights, draws)
        (bits,) = [b for b, w in widths.items() if torch.equal(w, problem.shown[0]["3.weight"])]
        counts[bits] += 1
        first = problem.weights["0.weight"].detach()
        expected = fake_quantize(first.flatten(1), Grid(bits)).view_as(first)
        assert torch.equal(problem.shown[0]["0.weight"], expected)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


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


def test_what_the_registry_says_of_a_method_is_so():
    assert set(ORACLES) == set(REGISTRY)
    assert list(on_layer()) == ["standard_qat", "t0_qat", "no_noise"]
    assert len({method.label for method in REGISTRY.values()}) == len(REGISTRY)
    for name, method in REGISTRY.items():
        takes = inspect.signature(method.build).parameters
        assert all(p.default is not p.empty for p in takes.values())
        assert bool(method.strength) == bool(method.values)
        assert method.for_bits == (name in {"ste", "lsq", "parq", "matched_noise", "diffq"})
        assert method.rounding in rounding.ROUNDINGS
        if method.strength:
            assert method.strength in takes and len(method.values) == 4
            assert all(a < b for a, b in itertools.pairwise(method.values))
        problem = Problem()
        problem.gradient(objective_of(name), np.random.default_rng(6))
        assert len(problem.shown) == method.gradients


def test_a_strength_that_is_tuned_reaches_what_the_network_sees():
    for method in REGISTRY.values():
        if not method.strength or method.strength in ("steepness", "step_rate"):
            continue  # these act through the optimizer
        gradients = []
        for value in method.values[::3]:
            found = Problem().gradient(
                method.objective(**{method.strength: value}), np.random.default_rng(7)
            )
            gradients.append(found["3.weight"])
        assert not torch.allclose(*gradients, rtol=1e-3)
