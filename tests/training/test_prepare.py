"""A model in the reader's own loop: against this package's loop, and for what is refused."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from damage import ALTERED, altered, each_place, each_refused, nothing_written, refused
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from t0qat import convert, load, prepare, save
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import gptq, packing, safetensors_file
from t0qat.quantization.quantizers import Grid, fake_quantize
from t0qat.quantization.rounding import Coded
from t0qat.training import loop, models
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream
from t0qat.training.tasks import digits

pytestmark = pytest.mark.usefixtures("one_thread")
EPOCHS, SIZE, RATE = 2, 30, 0.01
PART = digits(0)
INPUTS, CLASSES = (torch.from_numpy(array[:60]) for array in (PART.inputs, PART.target))


def fresh() -> nn.Module:
    """Batch normalization, a shortcut, convolutions and a linear layer."""
    return models.residual_cnn(stream("initialization", 3))


def own_loop(model: nn.Module, method: str, **settings) -> nn.Module:
    """As a reader writes it, with nothing of this package but what prepare gives."""
    qat = prepare(model, method, draws=stream("training_noise", 5), **settings)
    steps = EPOCHS * len(INPUTS) // SIZE
    optimizer = qat.optimizer(torch.optim.Adam(model.parameters(), lr=RATE, fused=True), steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    orders = [stream("batch_order", 5, replica=k) for k in range(qat.objective.batches)]

    def closure(batch):
        return lambda: cross_entropy(model(INPUTS[batch]), CLASSES[batch])

    for _ in range(EPOCHS):
        mixed = [torch.from_numpy(order.permutation(len(INPUTS))).split(SIZE) for order in orders]
        for batches in zip(*mixed, strict=True):
            optimizer.zero_grad()
            qat.loss(*map(closure, batches)).backward()
            optimizer.step()
            scheduler.step()
    qat.close()
    return model


@pytest.mark.parametrize("method", REGISTRY)
def test_the_readers_loop_and_this_packages_loop_give_the_same_bits(method):
    mine, other = own_loop(fresh(), method), fresh()
    objective = REGISTRY[method].objective()
    more = range(1, objective.batches)
    loop.train(
        other, INPUTS, CLASSES, objective, stream("training_noise", 5),
        epochs=EPOCHS, batch_size=SIZE, learning_rate=RATE, loss=cross_entropy, schedule="decaying",
        order=stream("batch_order", 5),
        replicas=[(INPUTS, CLASSES, stream("batch_order", 5, replica=k)) for k in more],
    )  # fmt: skip
    for (name, a), b in zip(mine.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


class Twice(nn.Module):
    """Uses one weight in two places."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        return self.layer(x), self.layer(x)


def test_each_evaluation_draws_once_however_often_a_weight_is_used():
    model, x, seen = Twice(), torch.ones(2, 3), []
    qat = prepare(model, "t0_qat", xi_scaling=3000)

    def closure():
        seen.extend(model(x))
        return seen[-1].sum()

    for _ in range(2):
        qat.loss(closure)
    first, second, third, fourth = seen
    assert torch.equal(first, second) and torch.equal(third, fourth)
    assert not torch.equal(first, third)
    draws = stream("training_noise", 0)
    noise = torch.from_numpy(draws.standard_normal((3, 3), np.float32))
    expected = x @ (model.layer.weight + 4 / 3 * 1e-4 * 3000 * noise).T
    torch.testing.assert_close(first, expected)


def test_outside_of_the_loss_and_in_evaluation_mode_the_model_sees_its_own_weights():
    model = fresh()
    clean = copy.deepcopy(model).eval()(INPUTS)
    qat = prepare(model, "t0_qat", xi_scaling=3000)
    at = lambda: model(INPUTS).sum()  # noqa: E731
    noisy = qat.loss(at).item()
    model.load_state_dict(fresh().state_dict())
    model.eval()
    assert torch.equal(model(INPUTS), clean) and qat.loss(at).item() == clean.sum().item() != noisy
    assert [*model.state_dict()] == [*fresh().state_dict()]


class Tied(nn.Module):
    """Predicts with the weights that it reads by."""

    def __init__(self):
        super().__init__()
        self.embedding, self.inner = nn.Embedding(7, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.inner(self.embedding(ids)))


def test_ties_survive_and_both_ends_see_the_same_noise():
    model, seen = Tied(), []
    qat = prepare(model, "t0_qat", xi_scaling=3000)
    assert qat.names == {"inner.weight"}

    def closure():
        seen.append((model.embedding.weight.clone(), model.head.weight.clone()))
        return model(torch.arange(7)).square().sum()

    qat.loss(closure).backward()
    ((embedded, head),) = seen
    assert torch.equal(embedded, head) and not torch.equal(embedded, model.embedding.weight)
    assert model.head.weight is model.embedding.weight
    converted = convert(model, 4)
    assert converted.head.weight is converted.embedding.weight
    assert torch.equal(converted.head.weight, model.head.weight)


def test_a_choice_of_layers_rounds_those_alone_in_training_too():
    """Straight-through training sees the others as they are."""
    model = fresh()
    qat = prepare(model, "ste", bits=2, layers=lambda name, layer: isinstance(layer, nn.Linear))
    (name,) = qat.names
    seen = {}

    def closure():
        seen.update({key: p.detach().clone() for key, p in model.named_parameters()})
        return model(INPUTS).square().sum()

    qat.loss(closure).backward()
    for key, p in model.named_parameters():
        assert torch.equal(seen[key], p) is (key != name), key
        assert p.grad is not None and p.grad.shape == p.shape
    assert len(seen[name].unique()) <= 4 * len(seen[name])
    converted = convert(model)
    changed = [k for k, p in model.named_parameters() if not torch.equal(converted.get_parameter(k), p)]
    assert changed == [name]


def test_groups_of_the_readers_optimizer_keep_their_options():
    model = fresh()
    qat = prepare(model, "lsq", bits=3, step_rate=0.5)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}], lr=0.02
    )
    stepping = qat.optimizer(optimizer)
    found = {id(p): group for group in stepping.param_groups for p in group["params"]}
    assert [found[id(p)]["weight_decay"] for p in decayed] == [0.3] * len(decayed)
    assert [found[id(p)]["weight_decay"] for p in rest] == [0.0] * len(rest)
    for step in qat.extra.values():
        assert (found[id(step)]["lr"], found[id(step)]["weight_decay"]) == (0.01, 0.0)
    assert len(found) == len(decayed) + len(rest) + len(qat.extra)


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_a_model_that_was_not_prepared_is_rounded_to_the_nearest_levels(bits):
    model = fresh()
    for scale in ("mse", "absmax", None):
        converted = convert(model, bits, scale)
        assert not converted.training and converted is not model
        for name, p in model.named_parameters():
            expected = p
            if p.ndim > 1:
                expected = fake_quantize(
                    p.detach().flatten(1), Grid(bits, scale=scale or "mse")
                ).view_as(p)
            assert torch.equal(converted.get_parameter(name), expected), name


def test_learned_steps_are_those_of_the_converted_model():
    model = own_loop(fresh(), "lsq", bits=2)
    extra = model.t0qat.extra
    converted = convert(model)
    for name, coded in converted.t0qat.codes.items():
        assert torch.equal(coded.step.flatten(), extra[f"{name}.step"])
        assert set(coded.codes.unique().tolist()) <= {-2, -1, 0, 1}
    other = convert(model, 4)
    assert torch.equal(
        other.get_parameter("1.weight"), convert(model, 4, "mse").get_parameter("1.weight")
    )


def test_gptq_rounds_by_the_calibration_data_of_the_reader():
    model = fresh()
    prepare(model, "gptq")
    converted = convert(model, 3, inputs=INPUTS)
    rounded = gptq.round_network(model, INPUTS, Grid(3, scale="mse"))
    for name, (codes, step) in rounded.items():
        weight = converted.get_parameter(name)
        assert torch.equal(weight, (codes * step).view_as(weight))


def test_what_is_saved_comes_back_to_the_bit(tmp_path):
    for method, bits in itertools.product(("no_noise", "quest"), (2, 3, 8)):
        model = fresh()
        prepare(model, method, **({"bits": bits} if method == "quest" else {}))
        converted = convert(model, bits)
        save(converted, tmp_path / "model.safetensors")
        other = models.residual_cnn(stream("initialization", 9))
        loaded = load(tmp_path / "model.safetensors", other)
        for key, value in converted.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value), key
        save(loaded, tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == (
            tmp_path / "model.safetensors"
        ).read_bytes()
    packed = sum(-(-2 * p.numel() // 8) for p in model.parameters() if p.ndim > 1)
    save(convert(fresh(), 2), tmp_path / "model.safetensors")
    rest = sum(t.nbytes for k, t in fresh().state_dict().items() if t.ndim < 2)
    steps = sum(4 * len(p) for p in model.parameters() if p.ndim > 1)
    header = 8 + int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert (tmp_path / "model.safetensors").stat().st_size == header + packed + steps + rest


def test_a_spoiled_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save(convert(fresh(), 4, "absmax"), path)
    each_refused(path, lambda path: load(path, fresh()))


def test_a_file_of_another_model_or_another_hand_is_refused(tmp_path):
    path, other = tmp_path / "model.safetensors", models.small_cnn(stream("initialization", 0))
    save(convert(fresh(), 4, "absmax"), path)
    assert f"{path}: 1.bias is nothing, in this model it would be (16,)" in refused(
        lambda: load(path, other)
    )
    save_file(load_file(path), path)
    assert refused(lambda: load(path, fresh())).startswith(f"{path}: it was not written by t0qat.save")
    # Sealed, but with a step of 0.
    codes = {"weight": Coded(torch.zeros(2, 3), torch.zeros(2, 1))}
    safetensors_file.write(packing.packed(nn.Linear(3, 2), codes, Grid(4)), path)
    assert refused(lambda: load(path, nn.Linear(3, 2))).startswith(f"{path}: weight: step 0;")


@pytest.mark.parametrize("says", ALTERED)
def test_codes_and_steps_that_no_grid_has_are_not_saved(says, tmp_path):
    model, path = altered(nn.Linear(9, 2), 4, **ALTERED[says]), tmp_path / "model.safetensors"
    assert nothing_written(lambda path: save(model, path), path).startswith(f"weight: {says}")


def test_what_cannot_be_saved_is_one_line_and_nothing_is_written(tmp_path):
    path = tmp_path / "model.safetensors"
    line = nothing_written(lambda path: save(convert(nn.Linear(9, 2), 9), path), path)
    assert line == "bits = 9: t0qat.save packs codes of 1 to 8 bits"
    model = convert(nn.Sequential(nn.Linear(9, 2)), 4)
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    assert "0.weight: it changed since" in nothing_written(lambda path: save(model, path), path)
    model[0] = nn.Identity()
    assert "0.weight: it changed since" in nothing_written(lambda path: save(model, path), path)
    path.unlink()
    each_place(lambda path: save(convert(nn.Linear(9, 2), 4), path), tmp_path, path.name)
    assert refused(lambda: save(convert(nn.Linear(9, 2), 4), "")).startswith(".: it cannot be written")


class Scale(nn.Module):
    def forward(self, w):
        return 2 * w


def computed() -> nn.Module:
    model = nn.Sequential(nn.Linear(2, 2))
    parametrize.register_parametrization(model[0], "weight", Scale())
    return model


REFUSED = {
    "method = 'qat'": lambda: prepare(fresh(), "qat"),
    "xi_scale = 3": lambda: prepare(fresh(), "t0_qat", xi_scale=3),
    "xi_scaling = nan": lambda: prepare(fresh(), "t0_qat", xi_scaling=float("nan")),
    "bits = 1": lambda: prepare(fresh(), "lsq", bits=1),
    "bits = 4.0": lambda: prepare(fresh(), "ste", bits=4.0),
    "bits: unknown": lambda: prepare(fresh(), "t0_qat", bits=4),
    "model: it is a str": lambda: prepare("model", "ste"),
    "layers: no weight": lambda: prepare(nn.BatchNorm1d(3), "ste"),
    "0: a ConvTranspose2d": lambda: prepare(nn.Sequential(nn.ConvTranspose2d(1, 2, 3)), "ste"),
    "0: its weight is computed": lambda: prepare(computed(), "ste"),
    "0.weight: it has no values": lambda: prepare(nn.Sequential(nn.LazyLinear(3)), "ste"),
    "0.weight: its type is torch.bfloat16": lambda: prepare(
        nn.Sequential(nn.Linear(2, 2)).bfloat16(), "ste"
    ),
    "bits = 17": lambda: convert(fresh(), 17),
    "scale = 'max'": lambda: convert(fresh(), 4, "max"),
    "inputs: only": lambda: convert(fresh(), 4, inputs=INPUTS),
    "model: it is not converted": lambda: save(fresh(), "model.safetensors"),
}


@pytest.mark.parametrize("begins", REFUSED)
def test_what_cannot_work_is_refused_in_one_line_that_names_it(begins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError) as told:
        REFUSED[begins]()
    shown = str(told.value)
    assert "\n" not in shown
    assert shown.startswith(begins) or (begins == "bits: unknown" and "unknown" in shown)
    assert not [*tmp_path.iterdir()]


def test_what_a_prepared_model_cannot_do_is_said_before_a_step():
    model = fresh()
    qat = prepare(model, "parq", bits=3)
    adam = partial(torch.optim.Adam, lr=0.01)
    with pytest.raises(ParameterError, match="steps: this method needs"):
        qat.optimizer(adam(model.parameters()))
    with pytest.raises(ParameterError, match=r"steps = 2\.5"):
        qat.optimizer(adam(model.parameters()), steps=2.5)
    scheduled = adam(model.parameters())
    torch.optim.lr_scheduler.ConstantLR(scheduled)
    with pytest.raises(ParameterError, match="optimizer: it has stepped, or has a scheduler"):
        qat.optimizer(scheduled, steps=2)
    with pytest.raises(ParameterError, match="steps none of the weights"):
        qat.optimizer(adam([model.get_parameter("7.bias")]), steps=2)
    with pytest.raises(ParameterError, match=r"closure: it gave shape \(60, 10\)"):
        qat.loss(lambda: model(INPUTS))
    converted = convert(model)
    with torch.no_grad():
        converted.get_parameter("7.weight").mul_(1.1)
    with pytest.raises(ParameterError, match=r"7.weight: it changed since"):
        save(converted, "model.safetensors")


def test_a_model_whose_weights_are_not_finite_is_not_rounded():
    model = fresh()
    with torch.no_grad():
        model.get_parameter("7.weight")[0, 0] = float("inf")
    with pytest.raises(ParameterError, match=r"7\.weight: a weight is not finite"):
        convert(model, 4, "absmax")


def test_gptq_names_the_layer_that_it_cannot_round():
    model = nn.Sequential(nn.Conv2d(2, 2, 3, groups=2))
    prepare(model, "gptq")
    with pytest.raises(ParameterError, match=r"0\.weight: of a Conv2d; GPTQ rounds"):
        convert(model, inputs=torch.zeros(1, 2, 4, 4))
    with pytest.raises(ParameterError, match="inputs: GPTQ needs calibration data"):
        convert(model)


def test_a_second_training_ends_the_first():
    """PARQ leaves pulled weights until it ends, and weight decay a hook on its optimizer."""
    model, clean = fresh(), fresh()
    for method, rate in (("parq", 0.0), ("weight_decay", 0.1)):
        qat = prepare(model, method)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        stepping = qat.optimizer(optimizer, steps=1)
        qat.loss(lambda: model(INPUTS).square().mean()).backward()
        stepping.step()
        prepare(model, "ste")
        if method == "parq":
            for p, q in zip(model.parameters(), clean.parameters(), strict=True):
                assert torch.equal(p, q)
    optimizer.zero_grad(set_to_none=False)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_copy_of_a_model_in_training_is_not_in_training(tmp_path):
    model = fresh()
    prepare(model, "ste")
    torch.save(model, tmp_path / "model.pt")
    assert copy.deepcopy(model).t0qat is None
    assert torch.load(tmp_path / "model.pt", weights_only=False).t0qat is None


class Timed(nn.Module):
    """Takes a number before its rows, and others after them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, time, rows=None, others=0):
        return time * self.layer(rows + others)


def test_the_first_two_rows_that_a_model_sees_are_kept_as_an_example():
    rows = torch.arange(12.0).view(4, 3)
    for model, see in (
        (nn.Linear(3, 2), lambda model, rows: model(rows)),
        (Timed(), lambda model, rows: model(torch.tensor(0.5), rows=rows, others=-rows)),
    ):
        qat = prepare(model, "ste")
        assert convert(model, 4).t0qat.inputs is None
        qat = prepare(model, "ste")
        for shift in (0, 1):
            qat.loss(lambda shift=shift, model=model, see=see: see(model, rows + shift).sum())
        assert torch.equal(convert(model, 4).t0qat.inputs, rows[:2])
