"""A model in the reader's own loop: against this package's loop, and for what is refused."""

import copy
import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize

from t0qat import convert, load, prepare, save
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import gptq
from t0qat.quantization.quantizers import Grid, fake_quantize
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
    order = stream("batch_order", 5)
    for _ in range(EPOCHS):
        for batch in torch.from_numpy(order.permutation(len(INPUTS))).split(SIZE):
            optimizer.zero_grad()
            qat.loss(lambda batch=batch: cross_entropy(model(INPUTS[batch]), CLASSES[batch])).backward()
            optimizer.step()
            scheduler.step()
    qat.close()
    return model


@pytest.mark.parametrize("method", REGISTRY)
def test_the_readers_loop_and_this_packages_loop_give_the_same_bits(method):
    mine, other = own_loop(fresh(), method), fresh()
    loop.train(
        other, INPUTS, CLASSES, REGISTRY[method].objective(), stream("training_noise", 5),
        epochs=EPOCHS, batch_size=SIZE, learning_rate=RATE, loss=cross_entropy, schedule="decaying",
        order=stream("batch_order", 5),
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


@pytest.mark.parametrize("damage", ["cut", "not one", "other model", "zero step", "no metadata"])
def test_a_damaged_file_is_one_clear_line(damage, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "model.safetensors"
    save(convert(fresh(), 4), path)
    about, model = {"bits": 4}, fresh()
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-9])
        case "not one":
            path.write_bytes(b"\x80\x04.")
        case "other model":
            model = models.small_cnn(stream("initialization", 0))
        case "zero step":
            tensors = load_file(path)
            tensors["1.weight:step"][2] = 0.0
            steps = [name for name in tensors if name.endswith(":step")]
            about["offsets"] = {name.removesuffix(":step"): 0.0 for name in steps}
            save_file(tensors, path, {"t0qat integers 1": json.dumps(about)})
        case "no metadata":
            save_file(load_file(path), path)
    with pytest.raises(ParameterError) as told:
        load(path, model)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


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
