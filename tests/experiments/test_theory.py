"""Closed forms against other closed forms, full Hessians, plain loops and simulation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch import nn
from torch.nn.functional import cross_entropy

from t0qat.exhibits.theory import holds_up_to
from t0qat.experiments import expansion, long_training, published, theory
from t0qat.experiments.theory import Drop
from t0qat.pipeline import statistics
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import linear, models
from t0qat.training.constants import FEATURES
from t0qat.training.streams import stream
from t0qat.training.tasks import digits, synthetic

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True)


def equal_squares(square: float, slopes) -> tuple[Drop, object]:
    """A drop with equal squares is a shifted, scaled noncentral chi-squared variable."""
    slopes = np.array(slopes, float)
    shift = (slopes**2).sum() / (4 * square)
    law = stats.ncx2(len(slopes), shift / square, loc=-shift, scale=square)
    return Drop(np.full(len(slopes), square), slopes), law


@PROPERTY
@given(st.floats(0.01, 50), st.lists(st.floats(-20, 20), min_size=11, max_size=11))
def test_equal_squares_give_the_noncentral_chi_squared_law(square, slopes):
    drop, law = equal_squares(square, slopes)
    assert drop.mean == pytest.approx(law.mean())
    assert drop.variance == pytest.approx(law.var())
    x = law.ppf([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(drop.distribution(x), law.cdf(x), atol=2e-7)
    np.testing.assert_allclose(drop.density(x), law.pdf(x), atol=2e-7 / np.sqrt(law.var()))


def test_unequal_squares_agree_with_imhofs_integral():
    drop = Drop(np.array([3.0, 1.0, 0.5, 0.2, 0.1]), np.array([0.0, 2.0, -1.0, 0.3, 4.0]))

    def imhof(x: float) -> float:  # Imhof (1961), in the form for a linear term, by adaptive quadrature
        def integrand(u):
            root = 1 + (2 * u * drop.squares) ** 2
            angle = np.arctan(2 * u * drop.squares) / 2 - u**3 * drop.slopes**2 * drop.squares / root
            size = (root**0.25 * np.exp(u**2 * drop.slopes**2 / (2 * root))).prod()
            return np.sin(angle.sum() - u * x) / (u * size)

        return 0.5 - integrate.quad(integrand, 0, np.inf, limit=2000, epsabs=1e-9)[0] / np.pi

    for x in (-3.0, 0.0, 2.0, 5.0, 20.0):
        assert drop.distribution(np.array([x]))[0] == pytest.approx(imhof(x), abs=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.4, 30.0])
def test_two_runs_of_one_law_are_exchangeable(slope):
    """First above zero and not below the second: half the chance that the larger is above zero."""
    drop = Drop(np.linspace(0.8, 1.2, 11), np.full(11, slope))
    below = drop.distribution(np.zeros(1))[0]
    chance = theory.reduction_chances(drop, drop, [0.0])[0]
    assert chance == pytest.approx((1 - below**2) / 2, abs=1e-7)


@pytest.mark.parametrize("reduction", [-1.0, 0.0, 0.5, 1.0, 2.5])
def test_where_the_slopes_rule_chances_are_angles(reduction):
    """Without squares both drops are normal: the chance is the angle of a wedge in the plane."""
    first, second = (Drop(np.full(11, 1e-9), np.full(11, s)) for s in (2.0, 5.0))
    chance = theory.reduction_chances(first, second, [reduction])[0]
    assert chance == pytest.approx(0.25 + np.arctan((1 - reduction) * 2 / 5) / (2 * np.pi), abs=1e-6)


def test_a_drops_moments_are_those_of_the_layer_run_on_its_data():
    """tr A and |Av - b| from the samples themselves, without a Gram matrix."""
    data, v = synthetic(3, 0, "normal", 0.5), torch.linspace(-2, 3, FEATURES + 1)[:, None]
    moments, _ = linear.moments([data])
    drop = Drop.of(moments, v, 0.3)
    z = np.column_stack([data.inputs, np.ones(len(data.inputs))]).astype(float)
    assert drop.mean == pytest.approx(0.09 * (z**2).sum(1).mean())
    residual = z @ v[:, 0].numpy() - data.target
    slope = (z * residual[:, None]).mean(0)
    products = (z @ z.T) ** 2  # tr A^2 is the mean squared inner product of two samples
    assert drop.variance == pytest.approx(2 * 0.3**4 * products.mean() + 4 * 0.09 * slope @ slope)


def test_the_quick_losses_are_those_of_the_shaken_layer():
    data, v = synthetic(1), torch.linspace(0, 1, FEATURES + 1)[:, None]
    losses = theory.shaken_losses(data, v, 0.2, stream("evaluation_noise", 0, 0), 301)
    draws = stream("evaluation_noise", 0, 0)
    drawn = np.concatenate([draws.standard_normal((n, FEATURES + 1)) for n in (250, 51)])
    layer = nn.Linear(FEATURES, 1).double()
    for i in (0, 249, 250, 300):
        shaken = v[:, 0].double() + 0.2 * torch.from_numpy(drawn[i])
        with torch.no_grad():
            layer.weight.copy_(shaken[:-1])
            layer.bias.copy_(shaken[-1])
            out = layer(torch.from_numpy(data.inputs).double())[:, 0]
        expected = nn.functional.mse_loss(out, torch.from_numpy(data.target).double())
        assert losses[i] == pytest.approx(expected.item(), rel=1e-12)


def test_every_cell_agrees_with_monte_carlo_and_a_wrong_formula_would_not(monkeypatch):
    options = {"draws": 4000, "noise_scales": [0.01, 0.4, 10.667], "epochs": 60}
    laws, chances = theory.exact_laws(**options)
    assert set(laws.target) == {"sum", "normal"}
    assert len(laws) == 2 * 3 * 4 * 3  # targets, scales, weights, quantities
    for table in (laws, chances):
        assert table.z.abs().max() < stats.norm.isf(0.01 / 2 / len(table))
        assert table.n.eq(4000).all()
    inside = (laws.ci_low < laws.exact) & (laws.exact < laws.ci_high)
    assert 0.85 < inside.mean() < 1  # 95 % of intervals hold the truth
    wrong = Drop.of
    monkeypatch.setattr(Drop, "of", lambda moments, v, scale: wrong(moments, v, 1.1 * scale))
    zero = {name: [0.0] * 11 for name in ("standard_qat", "t0_qat")}
    done = theory._laws_at(linear.Setup()._asdict(), zero, 0.4, 4000)
    assert max(abs(row["z"]) for row in done[0]) > 5


def test_the_deviate_of_a_count_is_the_normal_one_for_large_counts():
    z = theory.binomial_z(5150, 10_000, 0.5)
    assert z == pytest.approx(150 / 50, abs=0.03)
    assert theory.binomial_z(4850, 10_000, 0.5) == pytest.approx(-z, abs=1e-6)
    assert theory.binomial_z(0, 10_000, 0.0) == 0


def test_a_variance_has_its_known_standard_error():
    draws = np.random.default_rng(5)
    normal = statistics.variance_interval(draws.normal(0, 3, 40_000))
    half = stats.norm.ppf(0.975) * 9 * math.sqrt(2 / 39_999)
    assert (normal["ci_high"] - normal["mean"]) == pytest.approx(half, rel=0.03)
    covered = [
        row["ci_low"] < 1 < row["ci_high"]
        for row in (statistics.variance_interval(draws.exponential(1, 3000)) for _ in range(400))
    ]
    assert 0.9 < np.mean(covered) < 0.98


def test_the_trace_is_that_of_the_full_hessian():
    model = models.mlp(stream("initialization", 1, 0), (5,), 3, 4, nn.Tanh).double()
    draws = np.random.default_rng(1)
    inputs, target = torch.from_numpy(draws.normal(size=(20, 5))), torch.arange(20) % 3
    center = {key: p.detach() for key, p in model.named_parameters()}

    def loss(shift):
        seen = {key: p + shift[key] for key, p in center.items()}
        return cross_entropy(torch.func.functional_call(model, seen, inputs), target)

    def flat(vector):
        parts = torch.split(vector, [p.numel() for p in center.values()])
        return loss(
            {key: part.reshape(p.shape) for (key, p), part in zip(center.items(), parts, strict=True)}
        )

    size = sum(p.numel() for p in center.values())
    hessian = torch.autograd.functional.hessian(flat, torch.zeros(size, dtype=torch.float64))
    exact = hessian.trace().item()
    # The variance of one probe of signs is twice the sum of the squares off the diagonal.
    spread = 2 * (hessian.square().sum() - hessian.diagonal().square().sum()).item()
    estimate = expansion.trace(loss, center, stream("probe", 0, 0), 3000)
    assert abs(estimate - exact) < 4 * math.sqrt(spread / 3000)
    assert math.sqrt(spread / 3000) < 0.1 * exact


def test_without_training_noise_the_linear_layers_excess_is_its_quadratic_form_at_every_scale():
    rows = expansion._shaken_networks("linear", 2, [0.0], 0, 20, 0.005, "digits", 5, 10)
    moments, _ = linear.moments([synthetic(2)])
    draws = stream("evaluation_noise", 2, 0)
    e = np.concatenate([draws.standard_normal((5, 1, 10))[:, 0], draws.standard_normal((5, 1))], axis=1)
    form = np.einsum("ki,ij,kj->k", e, moments.a[..., 0].numpy(), e).mean()
    for row in rows:
        if row["quantity"] == "excess":
            assert row["value"] == pytest.approx(row["noise_scale"] ** 2 * form, rel=1e-4)
        if row["quantity"] == "curvature":  # for signs z the diagonal of A counts in full
            assert row["value"] == pytest.approx(2 * moments.a[..., 0].trace().item(), rel=0.5)


@pytest.mark.parametrize("network", ["softmax", "multiplicative"])
def test_training_under_noise_is_the_plain_loop(network):
    kind, under = expansion.NETWORKS[network], 0.1
    rows = expansion._shaken_networks(network, 1, [0.3, under], 0, 12, 0.01, "digits", 2, 2)
    values = {row["quantity"]: row["value"] for row in rows if row["noise_scale"] == under}
    assert set(values) == {"loss", "weight_norm", "curvature"}
    if network == "softmax":  # on the first images only
        inputs, target = (torch.from_numpy(part[:400]) for part in digits(1)[:2])
        sizes = (1, 8, 8), 10
    else:
        inputs, target = map(torch.from_numpy, synthetic(1)[:2])
        target, sizes = target[:, None], ()
    model = kind.start(stream("initialization", 1, 0), *sizes)
    before = sum((p.detach() ** 2).sum() for p in model.parameters()).sqrt()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    draws = stream("training_noise", 1, 0)
    for _ in range(12):
        clean = [p.detach().clone() for p in model.parameters()]
        noise = [torch.from_numpy(draws.standard_normal(p.shape, np.float32)) for p in clean]
        with torch.no_grad():
            for p, e in zip(model.parameters(), noise, strict=True):
                p.copy_(p * (1 + under * e) if network == "multiplicative" else p + under * e)
        optimizer.zero_grad()
        kind.loss(model(inputs), target).backward()
        with torch.no_grad():
            for p, old, e in zip(model.parameters(), clean, noise, strict=True):
                p.copy_(old)
                if network == "multiplicative":
                    p.grad *= 1 + under * e
        optimizer.step()
    after = sum((p.detach() ** 2).sum() for p in model.parameters()).sqrt()
    assert values["weight_norm"] == pytest.approx((after / before).item(), rel=1e-4)
    assert values["loss"] == pytest.approx(kind.loss(model(inputs), target).item(), rel=1e-3)


def test_tables_of_the_expansion_have_every_network_scale_and_quantity():
    options = {"noise_pairs": 2, "probes": 2, "epochs": 2, "training_noises": [0, 0.1]}
    ratios, norms = expansion.expansion(networks=2, **options)
    assert len(ratios) == len(expansion.NETWORKS) * len(expansion.SIGMAS) * 3
    assert len(norms) == len(expansion.NETWORKS) * 2 * 3
    assert expansion.SIGMAS[-1] / expansion.SIGMAS[0] == pytest.approx(1e6)
    assert expansion.SIGMAS[-1] == pytest.approx(32 / 3)
    again, _ = expansion.expansion(networks=2, **options)
    assert again.equals(ratios)


def test_long_training_passes_through_the_published_experiment():
    """Epoch 300 of a longer run at a constant rate is the published run, to the last bit."""
    table = long_training.long_training(replicates=3, longest=10, epochs=30)
    runs, _ = published.published(replicates=3, epochs=30)
    moments, _ = linear.moments(synthetic(i) for i in range(3))
    variance = (moments.c - moments.b[-1] ** 2).numpy()
    at_thirty = table.query("schedule == 'constant' and epoch == 30 and quantity == 'explained'")
    for method, losses in runs.items():
        row = at_thirty[at_thirty.method == method]
        assert row["mean"].item() == (1 - losses.full_precision / variance).mean()
    assert set(table.query("schedule == 'decaying'").epoch) == {30, 300}
    start = table.query("epoch == 0 and quantity == 'left'")
    assert start["mean"].eq(1).all()


def test_the_decaying_rate_is_torchs_linear_schedule():
    epochs, rate = 25, 0.02
    table = long_training.long_training(replicates=2, longest=1, epochs=epochs, learning_rate=rate)
    row = table.query("method == 't0_qat' and schedule == 'decaying' and quantity == 'travelled'")
    ends = []
    for i in range(2):
        data = synthetic(i)
        start = linear.initial(FEATURES, range(i, i + 1))[:, 0]
        model = nn.Linear(FEATURES, 1)
        noise = linear.noise_draws("training_noise", range(i, i + 1), (epochs, FEATURES + 1))
        with torch.no_grad():
            model.weight.copy_(start[:-1])
            model.bias.copy_(start[-1:])
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=epochs)
        for e in 32 / 3 * noise[..., 0]:
            out = torch.from_numpy(data.inputs) @ (model.weight[0] + e[:-1]) + model.bias + e[-1]
            optimizer.zero_grad()
            nn.functional.mse_loss(out, torch.from_numpy(data.target)).backward()
            optimizer.step()
            schedule.step()
        end = torch.cat([model.weight.detach()[0], model.bias.detach()])
        z = np.column_stack([data.inputs, np.ones(len(data.inputs))])
        best = np.linalg.lstsq(z, data.target, rcond=None)[0]
        ends.append((end - start).norm().item() / np.linalg.norm(best - start.numpy()))
    assert row["mean"].item() == pytest.approx(np.mean(ends), rel=1e-4)


def test_diffusion_is_the_limit_of_its_recursion():
    """delta <- (1 - rate / sigma) delta + rate * e in every coordinate, second moments step by step."""
    sigma, rate, whole = 8.0, 0.004, torch.tensor([3.0])
    second = 9.0
    for epoch in range(1, 6001):
        second = (1 - rate / sigma) ** 2 * second + (FEATURES + 1) * rate**2
        if epoch in (10, 700, 6000):
            left = long_training.diffusion(epoch, sigma, rate, FEATURES + 1, whole).item()
            assert left == pytest.approx(math.sqrt(second) / 3, rel=2e-3)


def test_the_reach_of_the_expansion_ends_at_the_first_interval_outside():
    import pandas as pd

    ratios = pd.DataFrame(
        {
            "noise_scale": [1.0, 2.0, 3.0, 4.0],
            "ci_low": [0.95, 0.92, 0.7, 0.95],
            "ci_high": [1.05, 1.0, 1.0, 1.05],
        }
    )
    assert holds_up_to(ratios) == 2
    assert math.isnan(holds_up_to(ratios.assign(ci_high=1.2)))


@pytest.mark.parametrize(
    ("function", "bad"),
    [
        (theory.exact_laws, {"draws": 100, "noise_scales": [1, 0.5]}),
        (theory.exact_laws, {"draws": 100, "noise_scales": ["a"]}),
        (expansion.expansion, {"training_noises": [-1]}),
        (long_training.long_training, {"replicates": 2, "longest": 0}),
    ],
)
def test_bad_settings_stop_before_computing(function, bad):
    good = {"networks": 2, "noise_pairs": 1, "probes": 1} if function is expansion.expansion else {}
    with pytest.raises(ParameterError, match=next(k for k in reversed(bad))):
        function(**good, **bad)
