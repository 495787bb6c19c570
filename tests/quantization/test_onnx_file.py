"""ONNX files in ONNX Runtime against fake quantization, and their codes read back by onnx."""

import sys

import numpy as np
import onnx
import pytest
import readers
import torch
from damage import ALTERED, altered, each_place, each_refused, nothing_written, refused
from google.protobuf.message import EncodeError
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from t0qat import convert, export, prepare, runtime_agrees
from t0qat.quantization import onnx_file, runtimes
from t0qat.quantization.rounding import Codes
from t0qat.training import language_models, models, tasks
from t0qat.training.streams import stream

IMAGES = torch.from_numpy(tasks.digits(1).test_inputs)
PICTURES = torch.from_numpy(stream("data", 0).standard_normal((9, 3, 8, 8), np.float32))
IDS = torch.from_numpy(stream("data", 0).integers(0, 90, (6, 32)))


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    draws = stream("initialization", 1)
    if name in models.MODELS:
        return models.MODELS[name](draws).eval(), IMAGES
    return language_models.small(name, 90, 32, draws).eval(), IDS


@pytest.fixture(scope="module", params=[*models.MODELS, *language_models.SMALL])
def exported(request):
    net, inputs = network(request.param)
    return net, inputs, onnx_file.traced(net, inputs[:3])


def steps_and_codes(path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(channels, the rest) of each rounded weight, by its name in the model, read by onnx alone."""
    graph = onnx.load(path).graph
    kept = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = {}
    for node in graph.node:
        given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "MatMulNBits":  # codes side by side, the first in the lowest bits of a byte
            bits, packed = given["bits"], kept[node.input[1]]
            apart = packed[..., None] >> np.arange(0, 8, bits, dtype=np.uint8) & (2**bits - 1)
            codes = apart.reshape(given["N"], -1)[:, : given["K"]].astype(np.float32) - 2 ** (bits - 1)
        elif node.op_type == "DequantizeLinear":
            codes = kept[node.input[0]].astype(np.float32)
        else:
            continue
        name = node.input[1 if node.op_type == "MatMulNBits" else 0].removesuffix(".codes")
        steps = kept[f"{name}.steps"].reshape(len(codes), -1)
        found[name.removeprefix("model.")] = steps, codes.reshape(len(codes), -1)
    return found


def assert_same_codes(path, codes: Codes) -> None:
    found = steps_and_codes(path)
    assert {*found} == {*codes}
    for name, coded in codes.items():
        steps, own = found[name]
        assert np.array_equal(own, coded.codes.numpy()), name
        assert (steps == coded.step.numpy()).all(), name


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_the_runtime_predicts_what_the_rounded_model_does(exported, bits, tmp_path):
    net, inputs, graph = exported
    model, path = convert(net, bits), tmp_path / "model.onnx"
    codes = model.t0qat.codes
    wide = onnx_file.container(bits)
    path.write_bytes(onnx_file.integers(graph, codes, wide).SerializeToString())
    with torch.no_grad():
        expected = model(inputs)
    found = torch.from_numpy(runtimes.onnx(path)(inputs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.argmax(-1), expected.argmax(-1))
    kept = {tensor.name: tensor.ByteSize() for tensor in onnx.load(path).graph.initializer}
    for name, coded in codes.items():
        assert f"model.{name}" not in kept
        assert kept[f"model.{name}.codes"] < 1.25 * coded.codes.numel() * wide / 8 + 150
    assert_same_codes(path, codes)


LINEAR = {"layers": lambda name, layer: isinstance(layer, nn.Linear)}
READERS = {
    "cnn": (readers.cnn, PICTURES, "seq", {"bits": 2}),
    "llama": (lambda: readers.llama(64, tie_word_embeddings=True), IDS % 40, "quest", {"bits": 2}),
    "gpt2": (readers.gpt2, IDS % 40, "lsq", {"bits": 4} | LINEAR),  # the head, and so the embedding
}


@pytest.fixture(scope="module", params=READERS)
def trained(request):
    """A reader's model after two steps, its inputs, and a place for its graph."""
    make, inputs, method, settings = READERS[request.param]
    model = make()
    readers.two_steps(model, prepare(model, method, **settings), inputs)
    return model, inputs, {}


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_a_trained_model_of_the_readers_own_needs_no_example(trained, bits, tmp_path, monkeypatch):
    net, inputs, graphs = trained
    model, path, traced = convert(net, bits), tmp_path / "model.onnx", onnx_file.traced

    def once(model, example):  # but for the weights that are replaced, every width has this graph
        assert torch.equal(example, inputs[:2])
        if not graphs:
            graphs["its"] = traced(model, example)
        return graphs["its"]

    monkeypatch.setattr(onnx_file, "traced", once)
    export(model, path)
    agreed = runtime_agrees(model, path, inputs)
    assert agreed.equal == 1 and agreed.largest < 1e-4
    assert_same_codes(path, model.t0qat.codes)


def test_layers_of_gpt2_with_inputs_first_are_refused_by_name():
    assert "transformer.h.0.attn.c_attn: a Conv1D has its inputs first" in refused(
        lambda: prepare(readers.gpt2(), "ste")
    )


def test_a_file_of_the_readers_own_loop_needs_no_example_and_agrees(tmp_path):
    net = models.small_cnn(stream("initialization", 1))
    qat = prepare(net, "t0_qat", xi_scaling=300)
    qat.loss(lambda: net(IMAGES[:9]).square().mean()).backward()
    model = convert(net, 3)
    export(model, tmp_path / "model.onnx")
    agreed = runtime_agrees(model, tmp_path / "model.onnx", IMAGES)
    assert agreed.equal == 1 and agreed.n == len(IMAGES) and 0 <= agreed.largest < 1e-4
    other = convert(models.small_cnn(stream("initialization", 2)), 3)
    assert runtime_agrees(other, tmp_path / "model.onnx", IMAGES).equal < 1


class Branching(nn.Module):
    """Goes another way for each batch, which no graph can hold."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 2)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


class Both(Branching):
    """Gives two answers."""

    def forward(self, x):
        return self.layer(x), x


class Idle(nn.Module):
    """Has a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(64, 2), nn.Linear(64, 2)

    def forward(self, x):
        return self.used(x.flatten(1))


@pytest.fixture(scope="module")
def flat():
    """A converted network, and its graph."""
    net = network("mlp")[0]
    return convert(net, 4), onnx_file.traced(net, IMAGES[:2])


@pytest.fixture
def at_once(flat, monkeypatch):
    """The network; it is exported without waiting for torch."""
    monkeypatch.setattr(onnx_file, "traced", lambda *_: flat[1])
    return flat[0]


UNWRITTEN = {
    "bits = 9: ONNX has containers for codes of 1 to 8 bits": (
        lambda: convert(nn.Linear(64, 2), 9),
        IMAGES,
    ),
    "inputs: an ONNX file needs an example batch": (lambda: convert(nn.Linear(64, 2), 4), None),
    "inputs: an ONNX file needs an example": (lambda: convert(nn.Linear(64, 2), 4), [[0.0] * 64]),
    "model: torch cannot export it to ONNX": (lambda: convert(Branching(), 4), IMAGES.flatten(1)),
    "idle.weight: the exported graph has no such weight": (lambda: convert(Idle(), 4), IMAGES),
    "weight: its type is double": (
        lambda: convert(nn.Linear(64, 2).double(), 4),
        IMAGES.flatten(1).double(),
    ),
    "inputs: the model does not take them (mat1": (
        lambda: convert(nn.Linear(63, 2), 4),
        IMAGES.flatten(1),
    ),
    "model: it gives a tuple; allowed is a tensor": (lambda: convert(Both(), 4), IMAGES.flatten(1)),
    "model: it is not converted": (lambda: nn.Linear(64, 2), IMAGES),
}


@pytest.mark.parametrize("begins", UNWRITTEN)
def test_what_no_file_holds_is_one_line_and_nothing_is_written(begins, tmp_path, capfd):
    make, inputs = UNWRITTEN[begins]
    model = make()
    line = nothing_written(lambda path: export(model, path, inputs), tmp_path / "model.onnx")
    assert line.startswith(begins)
    assert "forward" not in "".join(capfd.readouterr())  # nor does torch tell more


@pytest.mark.parametrize("says", ALTERED)
def test_codes_and_steps_that_no_grid_has_are_refused(says, tmp_path):
    model = altered(nn.Linear(64, 2), 4, **ALTERED[says])
    line = nothing_written(lambda path: export(model, path, IMAGES), tmp_path / "model.onnx")
    assert line.startswith(f"weight: {says}")


def test_where_no_file_can_be_is_one_line(at_once, tmp_path):
    each_place(lambda path: export(at_once, path, IMAGES), tmp_path, "model.onnx")


class Large:
    """As protobuf ends where a file would be larger than 2 GB."""

    def SerializeToString(self):
        raise EncodeError("Failed to serialize proto")


def test_a_model_larger_than_a_file_is_refused(at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "integers", lambda *_: Large())
    line = nothing_written(lambda path: export(at_once, path, IMAGES), tmp_path / "model.onnx")
    assert line.startswith("model: it is larger than 2 GB")


def test_another_ending_is_refused(at_once, tmp_path):
    line = nothing_written(lambda path: export(at_once, path, IMAGES), tmp_path / "model.tflite")
    assert line.endswith("allowed are files that end in .onnx or .gguf")
    assert line == refused(lambda: runtime_agrees(at_once, tmp_path / "model.tflite", IMAGES))


def test_a_spoiled_file_is_refused(at_once, tmp_path):
    path = tmp_path / "model.onnx"
    export(at_once, path, IMAGES)
    each_refused(path, lambda path: runtime_agrees(at_once, path, IMAGES))


def two_inputs(path) -> None:
    """A file that adds what it is given."""
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "sum", rows[:2], rows[2:])
    onnx.save(helper.make_model(graph, ir_version=10), path)


def test_what_a_file_and_a_model_do_not_share_is_one_line(at_once, tmp_path, monkeypatch):
    path, rows = tmp_path / "model.onnx", IMAGES.flatten(1)
    export(at_once, path, IMAGES)
    assert runtime_agrees(at_once, path, rows).equal == 1  # it flattens them itself

    def line(model=at_once, inputs=rows) -> str:
        return refused(lambda: runtime_agrees(model, path, inputs))

    assert line(nn.Linear(64, 3)).endswith(f"gives shape ({len(rows)}, 10), the model ({len(rows)}, 3)")
    assert line(nn.Linear(63, 10)).startswith("inputs: the model does not take them")
    assert line(inputs=rows[:, :9]).startswith(f"inputs: {path} does not take them")
    assert line(inputs=rows.long()).startswith(f"inputs: {path} does not take them")
    assert line(inputs=rows[:0]) == "inputs: an empty tensor; allowed is a tensor of one row or more"
    assert line(inputs=rows.numpy()).startswith("inputs: a ndarray; allowed is a tensor")
    assert line(model="model").startswith("model: it is a str")
    assert line(Both()).startswith("model: it gives a tuple; allowed is a tensor")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnxruntime", None)
        assert line() == "onnxruntime is not installed; pip install '.[runtimes]' brings it"
    two_inputs(path)
    assert line() == f"{path}: it takes 2 inputs; allowed is 1"
