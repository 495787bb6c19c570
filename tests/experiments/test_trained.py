"""How each method's networks are rounded: the rule it is judged by, and how many levels that leaves."""

import pytest
import torch
from torch import nn

from t0qat.experiments import trained
from t0qat.experiments.compare import SCALE_RULES
from t0qat.experiments.learning import Learner
from t0qat.quantization import packing
from t0qat.quantization.quantizers import SCALES, Grid
from t0qat.quantization.rounding import rounded
from t0qat.training import models
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream

WIDTHS = [8, 4, 3, 2]


def learner(name: str, bits: int | None) -> Learner:
    """A network as the method's training finds it."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 600))
    models.start(net, stream("initialization", 3))
    settings = {"bits": bits} if bits else {}
    extra = REGISTRY[name].objective(**settings).extra(dict(net.named_parameters()))
    inputs = torch.from_numpy(stream("data", 0).standard_normal((64, 2, 4, 4))).float()
    return Learner(net, None, None, 0, inputs, None, None, extra=extra, bits=bits)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_layer_has_no_more_levels_than_its_bits_by_every_rule(name):
    """Counted in the weights and in what their packed codes hold."""
    method = REGISTRY[name]
    for train_bits in method.trained_for(WIDTHS) if method.for_bits else [None]:
        network = learner(name, train_bits)
        for bits in WIDTHS:
            for rule in {*SCALES, method.rule(bits, train_bits)}:
                assert rule in SCALE_RULES
                codes = trained.codes_of(network, name, bits, rule)
                seen, on = rounded(network.net, codes), Grid(bits)
                assert {*codes} == {"0.weight", "3.weight"}
                for key, coded in codes.items():
                    rows = seen.get_parameter(key).detach().flatten(1)
                    assert max(len(row.unique()) for row in rows) <= 2**bits
                    kept = packing.pack(coded.codes, on)
                    assert len(kept) == -(-bits * coded.codes.numel() // 8)
                    assert torch.equal(packing.unpack(kept, coded.codes.shape, on), coded.codes)
                ran = packing.runnable(packing.packed(network.net, codes, on), network.net)
                outputs = ran(network.calibration), seen(network.calibration)
                torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


def test_a_grid_of_its_own_is_used_where_it_was_trained_for_and_nowhere_else():
    rules = {name: [REGISTRY[name].rule(bits, 2) for bits in (4, 2)] for name in REGISTRY}
    own = {name: rule for name, rule in rules.items() if not {*rule} <= {*SCALES}}
    assert own == {
        "lsq": ["mse", "learned"],
        "seq": ["mse", "seq"],
        "quest": ["absmax", "quest"],
        "matryoshka": ["sliced", "sliced"],
    }
    network = learner("quest", 2)
    levels = {
        rule: rounded(network.net, trained.codes_of(network, "quest", 2, rule))[0].weight[0].unique()
        for rule in ("absmax", "quest")
    }
    assert 0 in levels["absmax"] and 0 not in levels["quest"]
    torch.testing.assert_close(levels["quest"], -levels["quest"].flip(0))
