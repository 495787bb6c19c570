"""Roundings of language models against torchao and by counting."""

import pytest
import torch
from small_models import BLOCKS, net_of

from t0qat.quantization import layers
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import ROUNDINGS, Network, rounded
from t0qat.training.language_models import LAYOUTS, SMALL, library

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
@pytest.mark.parametrize("name", SMALL)
def test_rounded_layers_have_no_more_levels_than_their_bits(name, bits):
    for layout in LAYOUTS.values():
        net = net_of(name, **layout)
        on = Grid(bits)
        read = rounded(net, ROUNDINGS["nearest"](Network(net), on))
        weights = layers.quantized(dict(read.named_parameters()))
        for row in (row for w in weights.values() for row in w.detach()):
            assert 2 <= len(row.unique()) <= 2**bits
        for key, p in net.named_parameters():
            assert torch.equal(read.get_parameter(key), p) == (key not in weights), key


@pytest.mark.parametrize("bits", [4, 2])
def test_groups_of_32_are_torchaos(bits):
    library()  # which loads torchao without its notes
    from torchao.quantization.qat import IntxFakeQuantizeConfig
    from torchao.quantization.qat.fake_quantizer import IntxFakeQuantizer

    net = net_of("small_llama", group=32)
    read = rounded(net, ROUNDINGS["nearest"](Network(net), Grid(bits)))
    theirs = IntxFakeQuantizer(IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), group_size=32))
    whole = net_of("small_llama")
    for layer in range(2):
        for name in BLOCKS["small_llama"]:
            path = f"model.model.layers.{layer}.{name}"
            w = net.get_submodule(path).weight.detach()
            mine, expected = read.get_submodule(path).weight, theirs(w)
            steps = 2 * w.view(-1, 32).abs().amax(1, keepdim=True) / (2**bits - 1)
            between = (w.view(-1, 32) / steps).frac().abs().view_as(w)
            tie = (between - 0.5).abs() < 1e-5  # the largest weight of a group; torchao divides later
            torch.testing.assert_close(mine[~tie], expected[~tie])
            assert expected.shape == whole.get_submodule(path).weight.shape
