"""From trained weights to codes: the same numbers that training and evaluation see."""

import numpy as np
import pytest
import torch

from t0qat.quantization.quantizers import SCALES, Grid, fake_quantize
from t0qat.quantization.rounding import ROUNDINGS, rounded
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
    codes = ROUNDINGS[method.rounding](net, Grid(bits), extra, None)
    final = rounded(net, codes)
    for name, seen in shown.items():
        # SEQ divides its levels by their number before it scales them.
        same = torch.allclose if method.rounding == "seq" else torch.equal
        assert same(final.get_parameter(name), seen)
        code = codes[name][0]
        assert torch.equal(code, code.round()) and len(code.unique()) <= 2**bits
    assert torch.equal(final[1].bias, net[1].bias)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_rounding_to_nearest_is_one_grid_per_output_channel_of_every_layer(bits, scale):
    net, grid = models.residual_cnn(stream("initialization", 5)), Grid(bits, scale=scale)
    codes = ROUNDINGS["nearest"](net, grid, {}, None)
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
