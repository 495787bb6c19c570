"""ONNX files in ONNX Runtime against fake quantization, and their codes read back by onnx."""

import re
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from t0qat import convert, export, prepare, runtime_agrees
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import onnx_file, runtimes
from t0qat.training import language_models, models, tasks
from t0qat.training.streams import stream

IMAGES = torch.from_numpy(tasks.digits(1).test_inputs)
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


@pytest.mark.parametrize("method", ["quest", "seq"])
def test_levels_between_codes_are_those_of_the_file_too(method, tmp_path):
    """Two bits: +-1/2 and +-3/2 steps, which the runtime makes of codes."""
    net = models.deep_cnn(stream("initialization", 1))
    prepare(net, method, bits=2)
    model, path = convert(net), tmp_path / "model.onnx"
    export(model, path, IMAGES[:2])
    with torch.no_grad():
        expected = model(IMAGES)
    found = torch.from_numpy(runtimes.onnx(path)(IMAGES))
    assert torch.equal(found.argmax(1), expected.argmax(1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_codes_in_the_file_are_ours_to_the_bit(tmp_path):
    """A convolution's as int4; a linear layer's raised by 8, two a byte, the first in the lower half."""
    model, path = convert(network("deep_cnn")[0], 4), tmp_path / "model.onnx"
    export(model, path, IMAGES[:2])
    kept = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    for name, coded in model.t0qat.codes.items():
        found, steps = kept[f"model.{name}.codes"], kept[f"model.{name}.steps"]
        if found.dtype == np.uint8:
            halves = np.stack([found & 15, found >> 4], -1).reshape(len(found), -1)
            found = halves.astype(np.int8)[:, : coded.codes.shape[1]] - 8
        assert np.array_equal(found.astype(np.float32).reshape(coded.codes.shape), coded.codes.numpy())
        assert (steps.reshape(len(steps), -1) == coded.step.numpy()).all()


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


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("ending", "allowed are files that end in .onnx or .gguf"),
        ("bits", "bits = 9: ONNX has containers for codes of 1 to 8 bits"),
        ("example", "inputs: an ONNX file needs an example batch"),
        ("model", "model: torch cannot export it to ONNX"),
        ("damaged", "ONNX Runtime cannot read it"),
        ("missing", "ONNX Runtime cannot read it"),
        ("runtime", "onnxruntime is not installed; pip install"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(wrong, named, tmp_path, monkeypatch):
    net, path = network("mlp")[0], tmp_path / "model.onnx"
    acts = {
        "ending": lambda: export(convert(net, 4), tmp_path / "model.tflite", IMAGES),
        "bits": lambda: export(convert(net, 9), path, IMAGES),
        "example": lambda: export(convert(net, 4), path),
        "model": lambda: export(convert(Branching(), 4), path, IMAGES),
        "damaged": lambda: runtime_agrees(net, path, IMAGES),
        "missing": lambda: runtime_agrees(net, tmp_path / "none.onnx", IMAGES),
        "runtime": lambda: runtime_agrees(net, path, IMAGES),
    }
    if wrong == "damaged":
        path.write_bytes(b"not a model")
    if wrong == "runtime":
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    before = [*tmp_path.iterdir()]
    with pytest.raises(ParameterError, match=re.escape(named)) as told:
        acts[wrong]()
    assert "\n" not in str(told.value) and [*tmp_path.iterdir()] == before
