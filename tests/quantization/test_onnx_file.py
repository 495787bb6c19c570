"""ONNX files in ONNX Runtime against fake quantization, and their codes read back by the package onnx."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from t0qat import convert, prepare
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
    codes, grid = model.t0qat
    wide = onnx_file.container(bits)
    path.write_bytes(onnx_file.integers(graph, codes, wide).SerializeToString())
    with torch.no_grad():
        expected = model(inputs)
    found = torch.from_numpy(runtimes.onnx(path)(inputs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.argmax(-1), expected.argmax(-1))
    kept = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    floats = sum(t.ByteSize() for t in kept.values())
    assert floats < sum(p.numel() * wide / 8 for p in net.parameters()) + 40_000
    for name in codes:
        assert f"model.{name}" not in kept
