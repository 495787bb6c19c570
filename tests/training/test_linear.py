"""The fast engine against the paper's loop, the readable loop, closed forms and its other batches."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from t0qat.training import constants, linear, loop, tasks, views
from t0qat.training.streams import normals

SCALES = (0.0, 1e-3, 0.4, 32 / 3)


def start_model(start: torch.Tensor) -> nn.Linear:
    model = nn.Linear(10, 1).to(start.dtype)
    with torch.no_grad():
        model.weight.copy_(start[None, :-1])
        model.bias.copy_(start[-1:])
    return model


def tensors(data: tasks.Data, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(data.inputs).to(dtype), torch.from_numpy(data.target).to(dtype)[:, None]


def joined(model: nn.Linear) -> torch.Tensor:
    return torch.cat([model.weight.detach()[0], model.bias.detach()])


def papers_loop(data, start, noise, scale):
    """Section 5.2 of the paper, with these draws in place of its torch.randn_like."""
    model = start_model(start)
    x, y = tensors(data, start.dtype)
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for draws in noise:
        optimizer.zero_grad()
        noisy_w = model.weight + scale * draws[None, :-1]
        noisy_b = model.bias + scale * draws[-1:]
        loss = criterion(F.linear(x, noisy_w, noisy_b), y)
        loss.backward()
        optimizer.step()
    return joined(model)


def readable_loop(data, start, noise, view, **settings):
    """training.train with these draws: first the weight's, then the bias's, as the model names them."""
    model = start_model(start)
    draws = (part for row in noise for part in (row[None, :-1], row[-1:]))
    loop.train(
        model, *tensors(data, start.dtype), view, lambda _: next(draws), epochs=len(noise), **settings
    )
    return joined(model)


def relative(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest difference over replicates, as a fraction of the parameters' norm."""
    return float(((first - second).norm(dim=0) / second.norm(dim=0)).max())


# Single precision is what experiments use; in double precision nothing hides behind rounding.
@pytest.mark.parametrize(
    ("dtype", "in_parameters", "in_loss"),
    [(torch.float32, 1e-6, 1e-5), (torch.float64, 1e-13, 1e-12)],
    ids=str,
)
@pytest.mark.parametrize("target", ["sum", "normal"])
@pytest.mark.parametrize("scale", SCALES)
def test_training_equals_the_papers_loop_and_the_readable_loop(
    scale, target, dtype, in_parameters, in_loss
):
    replicates = range(40, 42)
    data = [tasks.synthetic(i, 0, target) for i in replicates]
    train, test = linear.moments(data)
    start = linear.initial(10, replicates).to(dtype)
    noise = linear.noise_draws("training_noise", replicates, (300, 11)).to(dtype)
    view = views.additive_noise(scale)
    before = start.clone()
    fast = linear.train(train, start, view, noise)
    assert torch.equal(start, before) and fast.dtype == dtype

    papers = [papers_loop(d, start[:, i], noise[..., i], scale) for i, d in enumerate(data)]
    readable = [readable_loop(d, start[:, i], noise[..., i], view) for i, d in enumerate(data)]
    for slow in (torch.stack(papers, -1), torch.stack(readable, -1)):
        assert relative(fast, slow) < in_parameters
        for i, d in enumerate(data):
            x, y = tensors(d, torch.float64)
            loss = F.mse_loss(x @ slow[:-1, i, None].double() + slow[-1, i], y).item()
            assert test.loss(fast)[i].item() == pytest.approx(loss, rel=in_loss)


@pytest.mark.parametrize(
    "view",
    [
        lambda parameter, noise: parameter * (1 + 0.4 * noise),
        lambda parameter, noise: torch.tanh(parameter) + 0.1 * noise * parameter.square(),
        lambda parameter, noise: parameter,
    ],
    ids=["multiplicative", "curved", "itself"],
)
def test_training_follows_a_method_that_is_not_a_shift(view):
    """Methods whose gradient is not handed through unchanged, on the split data, at another rate."""
    replicates = range(3)
    data = [tasks.diabetes(i) for i in replicates]
    train, _ = linear.moments(data)
    start = linear.initial(10, replicates).double()
    noise = linear.noise_draws("training_noise", replicates, (80, 11)).double()
    fast = linear.train(train, start, view, noise, learning_rate=0.02)
    slow = [
        readable_loop(d, start[:, i], noise[..., i], view, learning_rate=0.02)
        for i, d in enumerate(data)
    ]
    assert relative(fast, torch.stack(slow, -1)) < 1e-12


@pytest.mark.parametrize("task", tasks.TASKS)
def test_loss_is_the_mean_squared_error_computed_plainly(task):
    replicates = range(5)
    data = [tasks.TASKS[task](i) for i in replicates]
    v = 3 * linear.noise_draws("evaluation_noise", replicates, (11,))
    for moments, part in zip(linear.moments(data), (slice(0, 2), slice(2, 4)), strict=True):
        plain = []
        for i, (inputs, target) in enumerate(d[part] for d in data):
            w = v[:, i].double().numpy()
            plain.append(np.mean((inputs.astype(float) @ w[:-1] + w[-1] - target.astype(float)) ** 2))
        np.testing.assert_allclose(moments.loss(v).numpy(), plain, rtol=1e-12)


@pytest.mark.parametrize("at_optimum", [True, False])
def test_drop_under_additive_noise_has_the_closed_form_mean_and_variance(at_optimum):
    """Mean s^2 tr(A) whatever the weights are; variance 2 s^4 tr(A^2) + 4 s^2 |A (w - w*)|^2."""
    n, s = 40_000, 0.7
    data = tasks.synthetic(2, 0, "normal")
    moments, _ = linear.moments([data])
    z = np.column_stack([data.inputs.astype(float), np.ones(len(data.inputs))])
    a = z.T @ z / len(z)
    best = np.linalg.lstsq(z, data.target.astype(float), rcond=None)[0]
    w = torch.from_numpy(best if at_optimum else best + 1.5)[:, None]
    shift = torch.from_numpy(normals("evaluation_noise", [8], (11, n))[0]).double()
    many = linear.Moments(moments.a.expand(-1, -1, n), moments.b.expand(-1, n), moments.c.expand(n))
    drops = (many.loss(w + s * shift) - moments.loss(w)).numpy()

    mean = s**2 * np.trace(a)
    variance = 2 * s**4 * np.trace(a @ a) + 4 * s**2 * np.sum((a @ (w[:, 0].numpy() - best)) ** 2)
    assert abs(drops.mean() - mean) < 4 * np.sqrt(variance / n)
    fourth = np.mean((drops - drops.mean()) ** 4)
    assert abs(drops.var() - variance) < 4 * np.sqrt((fourth - variance**2) / n)


def test_the_reported_evaluation_noise_gives_the_mean_reported_drop_over_replicates():
    replicates = range(3000)
    _, test = linear.moments(tasks.synthetic(i) for i in replicates)
    v = linear.initial(10, replicates)
    shift = linear.noise_draws("evaluation_noise", replicates, (11,))
    drops = (test.loss(v + constants.reported_evaluation_noise() * shift) - test.loss(v)).numpy()
    assert abs(drops.mean() - (2.935914 + 1.435758) / 2) < 4 * stats.sem(drops)


def test_the_start_is_that_of_torchs_linear_layer():
    start = linear.initial(10, range(4000))
    assert start.shape == (11, 4000) and start.dtype == torch.float32
    assert start.abs().max() <= 10**-0.5
    theirs = torch.empty(4000, 10)  # the rule in nn.Linear.reset_parameters, with a generator of its own
    nn.init.kaiming_uniform_(theirs, a=5**0.5, generator=torch.Generator().manual_seed(1))
    assert stats.ks_2samp(start[:-1].flatten(), theirs.flatten()).pvalue > 1e-3
    bound = 10**-0.5
    assert stats.kstest(start[-1], "uniform", (-bound, 2 * bound)).pvalue > 1e-3
    correlation = np.corrcoef(start.double().numpy())[np.triu_indices(11, 1)]
    assert np.abs(correlation).max() * np.sqrt(4000) < 4.5


@pytest.mark.parametrize("replicates", [1, 2, 2047, 2048, 2049, 10_000])
def test_chunks_are_each_replicate_once_in_order(replicates):
    parts = list(linear.chunks(replicates))
    assert [i for part in parts for i in part] == list(range(replicates))
    assert max(map(len, parts)) <= linear.CHUNK


def test_noise_is_each_replicates_own_bulk_draw_turned():
    replicates = range(60, 200)
    turned = linear.noise_draws("training_noise", replicates, (4, 3), seed=2)
    plain = normals("training_noise", replicates, (4, 3), seed=2)
    assert np.array_equal(turned.numpy(), plain.transpose(1, 2, 0))


def trained(replicates: range, scale: float, task: str) -> np.ndarray:
    """Parameters and losses of these replicates, run as one batch: (13, replicates)."""
    data = (tasks.TASKS[task](i) for i in replicates)
    train, test = linear.moments(data)
    noise = linear.noise_draws("training_noise", replicates, (60, 11))
    v = linear.train(train, linear.initial(10, replicates), views.additive_noise(scale), noise)
    return torch.cat([v.double(), train.loss(v)[None], test.loss(v)[None]]).numpy()


@pytest.mark.parametrize("task", tasks.TASKS)
@pytest.mark.parametrize("scale", [1e-3, 32 / 3])  # at the small scale the last bits show
def test_a_replicate_has_the_same_bits_alone_in_any_batch_and_at_any_offset(scale, task):
    whole = trained(range(203), scale, task)
    for batch in (range(1), range(7, 8), range(202, 203), range(5, 12), range(1, 203), range(64, 161)):
        part = trained(batch, scale, task)
        assert part.tobytes() == whole[:, batch.start : batch.stop].tobytes(), batch


# Enough replicates for a full chunk and a rest: that is where torch and BLAS would use their threads.
# T0-QAT's noise is 1e-3 here, where last bits show; Standard QAT keeps its 0.4.
RUN = """
import hashlib, sys, torch
from t0qat.experiments import published
from t0qat.paper import PAPER
from t0qat.pipeline import results
torch.set_num_threads(int(sys.argv[1]))  # more than the machine has cores, if need be
threads = torch.get_num_threads()
runs = published.published(replicates=2100, epochs=5, target="normal", xi_scaling=7.5)
cells = published.integer_grids(replicates=40, epochs=5, bits=[8, 2], xi_scaling=7.5)
every = [*runs[0].values(), *runs[1].values(), *cells.values()]
for name in ("full_precision", "quantized"):
    print(hashlib.sha256(b"".join(getattr(losses, name).tobytes() for losses in every)).hexdigest())
print(results.text(PAPER, "table1", published.table1(runs[0])))
print(results.text(PAPER, "integer_grids_paired", published.grid_differences(cells)))
print("threads", threads)
"""


def test_results_have_the_same_bits_on_one_and_four_threads_and_with_any_hash_seed():
    libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(threads)],
            env=os.environ | dict.fromkeys(libraries, str(threads)) | {"PYTHONHASHSEED": str(threads)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in (1, 4)
    ]
    outputs = [process.communicate()[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert [lines[-1] for lines in outputs] == ["threads 1", "threads 4"]
    assert outputs[0][:-1] == outputs[1][:-1]
    assert len({*outputs[0][:2]}) == 2  # no constant is compared
    assert any(line.startswith("t0_qat,drop") for line in outputs[0])
