"""Packed integers name every image as the fake-quantized network does."""

from functools import cache

import pytest
import torch
from torch.nn.functional import cross_entropy

from t0qat.quantization import packing
from t0qat.quantization.quantizers import SCALES, Grid
from t0qat.quantization.rounding import ROUNDINGS, Network, rounded
from t0qat.training import loop, models, rounders, tasks
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def after_an_epoch(model: str):
    """A network after one epoch of plain training."""
    inputs, target, *_ = map(torch.from_numpy, tasks.digits(1))
    net = models.MODELS[model](stream("initialization", 1))
    loop.train(
        net, inputs, target, REGISTRY["no_noise"].objective(), stream("training_noise", 1),
        epochs=1, learning_rate=0.01, loss=cross_entropy, batch_size=64, order=stream("batch_order", 1),
    )  # fmt: skip
    return net.eval()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("model", models.MODELS)
def test_exported_codes_name_every_test_image_as_the_fake_quantized_network(model, bits):
    net = after_an_epoch(model)
    test = torch.from_numpy(tasks.digits(1).test_inputs)
    for scale in SCALES:
        on = Grid(bits, scale=scale)
        codes = ROUNDINGS["nearest"](Network(net), on)
        exported = packing.packed(net, codes, on)
        fresh = models.MODELS[model](stream("initialization", 2))
        ran = packing.runnable(exported, fresh)
        for name in codes:
            code = ran.state_dict()[name]
            assert torch.equal(code, code.round()) and code.unique().numel() <= 2**bits
        fake = rounded(net, codes)
        torch.testing.assert_close(ran(test), fake(test), rtol=1e-4, atol=1e-4)
        assert torch.equal(ran(test).argmax(1), fake(test).argmax(1))
        weights = [p.numel() for p in net.parameters() if p.ndim > 1]
        assert exported.code_bytes == sum(-(-bits * n // 8) for n in weights)
        state = sum(t.nbytes for n, t in net.state_dict().items() if n not in codes)
        channels = sum(len(net.get_parameter(name)) for name in codes)
        assert exported.total_bytes == exported.code_bytes + 4 * channels + state


def test_packed_bits_are_those_of_the_codes_and_come_back():
    on = Grid(3)
    codes = torch.tensor([[-4.0, 3.0, 0.0], [-1.0, 2.0, -3.0]])
    packed = packing.pack(codes, on)
    # Raised by 4: 0 7 4 3 6 1
    assert packed == int("000111100011110001" + "000000", 2).to_bytes(3, "big")
    assert torch.equal(packing.unpack(packed, codes.shape, on), codes)


def test_learned_codes_export_as_well():
    net = models.MODELS["mlp"](stream("initialization", 0))
    extra = rounders.lsq(bits=2).extra(dict(net.named_parameters()))
    codes = ROUNDINGS["learned"](Network(net, extra), Grid(2))
    test = torch.from_numpy(tasks.digits(0).test_inputs)
    ran = packing.runnable(packing.packed(net, codes, Grid(2)), net)
    assert torch.equal(ran(test).argmax(1), rounded(net, codes)(test).argmax(1))
