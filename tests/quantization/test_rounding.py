"""From trained weights to codes: the same numbers that training and evaluation see."""

import numpy as np
import pytest
import torch

from t0qat.quantization.quantizers import EVERY, FEW, LARGE, SCALES, Grid, fake_quantize, mse_scale
from t0qat.quantization.rounding import ROUNDINGS, Network, rounded
from t0qat.training import models, rounders
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream


@pytest.mark.parametrize(
    ("name", "bits"),
    [(name, bits) for name in ("lsq", "quest", "matryoshka") for bits in (8, 4, 3, 2)] + [("seq", 2)],
)
def test_a_grid_of_its_own_rounds_a_network_as_its_training_saw_it(name, bits):
    net, method = models.small_cnn(stream("initialization", 5)), REGISTRY[name]
    weights = dict(net.named_parameters())
    objective = method.objective(**({"bits": bits} if method.for_bits else {"widths": (bits,)}))
    extra = objective.extra(weights)
    shown = {}
    draws = np.random.default_rng(0)
    objective.value(lambda seen: shown.update(seen) or seen["1.weight"].sum(), weights | extra, draws)
    codes = ROUNDINGS[method.rounding](Network(net, extra), Grid(bits))
    final = rounded(net, codes)
    for name, seen in shown.items():
        # SEQ divides its levels by their number before it scales them.
        same = torch.allclose if method.rounding == "seq" else torch.equal
        assert same(final.get_parameter(name), seen)
        code = codes[name][0]
        assert torch.equal(code, code.round()) and len(code.unique()) <= 2**bits
    assert torch.equal(final[1].bias, net[1].bias)


@pytest.mark.parametrize("how", ["nearest", "gptq"])
def test_only_a_large_layer_is_searched_from_few_starts(how):
    """By its weights, not by its rows: those of a layer in groups are as short as a small one's."""
    large, small = (torch.nn.Linear(32, LARGE // 32 + more, bias=False) for more in (1, 0))
    for layer in (large, small):
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(stream("data", 0).standard_normal(layer.weight.shape)))
    inputs = torch.from_numpy(stream("data", 1).standard_normal((8, 32), "f4"))
    for layer, search, not_its in ((large, FEW, EVERY), (small, EVERY, FEW)):
        ((_, found, _),) = ROUNDINGS[how](
            Network(torch.nn.Sequential(layer), inputs=inputs), Grid(3, scale="mse")
        ).values()
        expected, other = (
            mse_scale(layer.weight.detach()[:3000], Grid(3), starts) for starts in (search, not_its)
        )
        assert torch.equal(found[:3000], expected) and not torch.equal(found[:3000], other)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_rounding_to_nearest_is_one_grid_per_output_channel_of_every_layer(bits, scale):
    net, grid = models.residual_cnn(stream("initialization", 5)), Grid(bits, scale=scale)
    codes = ROUNDINGS["nearest"](Network(net), grid)
    final = rounded(net, codes)
    for (name, p), q in zip(net.named_parameters(), final.parameters(), strict=True):
        assert (name in codes) == (p.ndim > 1)
        for channel, its in zip(p.detach(), q, strict=True):
            if p.ndim > 1:
                assert len(its.unique()) <= 2**bits
                torch.testing.assert_close(its.flatten(), fake_quantize(channel.flatten(), grid))
            else:
                assert torch.equal(channel, its)
    if scale == "absmax":  # what straight-through training shows is what is exported, to the bit
        shown = {}
        objective = rounders.ste(bits)
        objective.value(lambda seen: shown.update(seen), dict(net.named_parameters()), None)
        assert set(shown) == set(codes)
        assert all(torch.equal(final.get_parameter(name), seen) for name, seen in shown.items())
