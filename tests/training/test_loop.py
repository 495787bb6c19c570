"""The training loop against plain loops, and what it gives to each part of a method."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import get_cosine_schedule_with_warmup

from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import ROUNDINGS, Network, rounded
from t0qat.training import loop, models, noise, plain, rounders, views
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream
from t0qat.training.tasks import digits


def images(number: int, replicate: int = 0):
    part = digits(replicate)
    return torch.from_numpy(part.inputs[:number]), torch.from_numpy(part.target[:number])


def fresh(name: str = "small_cnn") -> nn.Module:
    return models.MODELS[name](stream("initialization", 3))


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def run(name: str, net=None, *, replicate=0, **settings) -> nn.Module:
    """A short training on digits from the replicate's streams."""
    defaults = {"epochs": 2, "batch_size": 40, "learning_rate": 0.004, "loss": cross_entropy}
    settings = defaults | {"order": stream("batch_order", replicate)} | settings
    data = settings.pop("data", None) or images(170)
    objective = settings.pop("objective", None) or REGISTRY[name].objective()
    net = net or fresh()
    settings["replicas"] = [
        (*data, stream("batch_order", replicate, replica=k)) for k in range(1, objective.batches)
    ]
    return loop.train(net, *data, objective, stream("training_noise", replicate), **settings)


def test_a_full_batch_is_the_papers_loop_to_the_bit():
    """torch.optim.Adam on noisy parameters, written out."""
    inputs, classes = images(60)
    mine, other = fresh("mlp"), fresh("mlp")
    draws = stream("training_noise", 1)
    loop.train(mine, inputs, classes, noise.standard_qat(), draws, epochs=9, loss=cross_entropy)
    draws = stream("training_noise", 1)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.005)
    for _ in range(9):
        optimizer.zero_grad()
        w1, b1, w2, b2 = (
            p + 0.4 * torch.from_numpy(draws.standard_normal(p.shape, np.float32))
            for p in other.parameters()
        )
        cross_entropy(torch.relu(inputs @ w1.T + b1) @ w2.T + b2, classes).backward()
        optimizer.step()
    for p, q in zip(mine.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)

    callable_too = fresh("mlp")
    draws = views.noise_from(stream("training_noise", 1))
    loop.train(callable_too, inputs, classes, noise.standard_qat(), draws, epochs=9, loss=cross_entropy)
    assert same(callable_too, mine)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "warmup_cosine", "decaying"])
def test_minibatches_and_schedules_are_those_of_a_plain_loop(schedule):
    inputs, classes = images(170)
    optimizer = partial(torch.optim.AdamW, weight_decay=0.3)
    mine, other = run("no_noise", schedule=schedule, optimizer=optimizer), fresh()
    order = stream("batch_order", 0)
    adam = torch.optim.AdamW(other.parameters(), lr=0.004, weight_decay=0.3)
    schedules = {
        "constant": torch.optim.lr_scheduler.ConstantLR(adam, 1.0),
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(adam, 8),
        "warmup_cosine": get_cosine_schedule_with_warmup(adam, 0.8, 8),
        "decaying": torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, 8),
    }
    adam.param_groups[0]["lr"] = 0.004 * (schedule != "warmup_cosine")  # each above set its first rate
    for _ in range(2):
        mixed, first = order.permutation(170), 0
        for size in (43, 43, 42, 42):  # 170 / 40 rounds to 4
            batch = torch.from_numpy(mixed[first : first + size])
            first += size
            adam.zero_grad()
            cross_entropy(other(inputs[batch]), classes[batch]).backward()
            adam.step()
            schedules[schedule].step()
    for p, q in zip(mine.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_each_epoch_shows_every_sample_once_in_a_new_order():
    seen = []

    class Watching(nn.Linear):
        def forward(self, x):
            seen.append(x[:, 0].clone())
            return super().forward(x)

    inputs = torch.arange(50.0)[:, None]
    loop.train(
        Watching(1, 1), inputs, inputs, plain.no_noise(), stream("training_noise", 0),
        epochs=3, batch_size=8, order=stream("batch_order", 0),
    )  # fmt: skip
    epochs = torch.cat(seen).view(3, 50)
    assert len(seen) == 18 and {len(part) for part in seen} == {8, 9}
    assert all(torch.equal(epoch.sort().values, inputs[:, 0]) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


# A method's bits on the residual network: batch normalization, a shortcut, several draws a step.
@pytest.mark.parametrize(
    "name", [name for name in REGISTRY if name not in ("gptq", "longer", "not_tuned", "t0_qat_tuned")]
)
def test_equal_streams_give_equal_bits_whatever_the_global_generators_hold(name):
    settings = {"data": images(60), "epochs": 1, "batch_size": 30}
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        net = fresh("residual_cnn")
        state = torch.get_rng_state()  # constructors of torch draw, and are overwritten
        ends.append(run(name, net, **settings))
        assert torch.equal(state, torch.get_rng_state())
        torch.set_rng_state(before)
    assert same(*ends)
    assert not same(run(name, fresh("residual_cnn"), **settings, replicate=1), ends[0])
    assert all(p.isfinite().all() for p in ends[0].parameters())
    assert all(p.dtype == torch.float32 for p in ends[0].parameters())


def test_noise_is_the_stream_in_the_order_of_the_names():
    """All steps' draws laid end to end are one bulk draw."""
    shown, net, scale = [], fresh("mlp"), 0.5

    def loss(outputs, classes):
        return cross_entropy(outputs, classes)

    view = views.additive_noise(scale)

    def watched(parameter, noise):
        shown.append(noise.flatten())
        return view(parameter, noise)

    loop.train(net, *images(60), watched, stream("training_noise", 5), epochs=3, loss=loss)
    together = torch.cat(shown).numpy()
    bulk = stream("training_noise", 5).standard_normal(len(together), np.float32)
    assert len(together) == 3 * sum(p.numel() for p in net.parameters())
    assert np.array_equal(together, bulk)


def test_learned_steps_are_trained_at_their_own_rate_and_left_to_the_caller():
    """Adam's first update is the learning rate, whatever the gradient."""
    net = fresh()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    objective = rounders.lsq(bits=3, step_rate=0.02)
    extra = objective.extra(dict(net.named_parameters()))
    start = {name: p.detach().clone() for name, p in extra.items()}
    assert {name: p.shape for name, p in extra.items()} == {
        "1.weight.step": (16,),
        "3.weight.step": (32,),
        "6.weight.step": (10,),
    }
    first = before["1.weight"].flatten(1)
    torch.testing.assert_close(start["1.weight.step"], 2 * first.abs().mean(1) / 3**0.5)
    run("lsq", net, objective=objective, extra=extra, epochs=1, batch_size=None, learning_rate=0.01)
    for name, p in extra.items():
        moved = (p - start[name]).detach().abs()
        assert moved.max().item() == pytest.approx(0.02 * 0.01, rel=1e-2)
    moved = (net[1].weight.detach() - before["1.weight"]).abs()
    assert moved.max().item() == pytest.approx(0.01, rel=1e-2)


def test_weight_decay_spares_the_methods_own_parameters():
    """Under a loss without slope it is all that moves anything."""
    net = fresh()
    objective = rounders.lsq(bits=3, step_rate=1.0)
    extra = objective.extra(dict(net.named_parameters()))
    start = copy.deepcopy({name: p.detach() for name, p in extra.items()})
    before = net[1].weight.detach().clone()
    run(
        "lsq", net, objective=objective, extra=extra, loss=lambda outputs, _: 0 * outputs.sum(),
        epochs=1, learning_rate=0.1, optimizer=partial(torch.optim.AdamW, weight_decay=0.5),
    )  # fmt: skip
    torch.testing.assert_close(net[1].weight.detach(), before * (1 - 0.05) ** 4)
    assert all(torch.equal(extra[name], start[name]) for name in extra)


def test_training_for_few_bits_lowers_the_loss_of_the_rounded_network():
    """What quantization-aware training is for: 2 bits, against the same rounding of plain training."""
    for_two = "ste", "lsq", "parq", "stable_qat", "cage", "quest", "seq"
    totals = dict.fromkeys(("no_noise", *for_two), 0.0)
    for replicate, name in itertools.product(range(3), totals):
        inputs, classes = images(700, replicate)
        method = REGISTRY[name]
        objective = method.objective(**({"bits": 2} if method.for_bits else {}))
        net = models.deep_cnn(stream("initialization", replicate))
        extra = objective.extra(dict(net.named_parameters()))
        settings = {"epochs": 6, "learning_rate": 0.01, "replicate": replicate}
        run(name, net, objective=objective, extra=extra, data=(inputs, classes), **settings)
        rule = ROUNDINGS[method.rounding]
        with torch.no_grad():
            final = rounded(net, rule(Network(net, extra, inputs), Grid(2)))
            totals[name] += cross_entropy(final(inputs), classes).item()
    assert max(totals[name] for name in for_two) < totals["no_noise"], totals
