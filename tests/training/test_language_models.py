"""Language models against transformers: what is rounded, what is shared, where they start."""

import copy

import pytest
import torch
from small_models import (
    BLOCKS,
    CONTEXT,
    IDS,
    net_of,
)

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import layers
from t0qat.training import language_models
from t0qat.training.language_models import LAYOUTS, SMALL, laid_out, library, packed, small, unpacked
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_start_that_is_unpacked_stays_on_its_device():
    """A device without storage stands for one that this machine may lack."""
    start = small("small_llama", 50, CONTEXT, stream("initialization", 5))
    there = small("small_llama", 50, CONTEXT, stream("initialization", 6)).to("meta")
    assert {p.device.type for p in unpacked(packed(start), there).parameters()} == {"meta"}


@pytest.mark.parametrize("name", SMALL)
def test_exactly_the_weights_of_the_blocks_are_quantized(name):
    kind = SMALL[name][0]
    body = {"gpt2": "model.transformer.h", "llama": "model.model.layers"}[kind]
    blocks = {f"{body}.{i}.{layer}.weight" for i in (0, 1) for layer in BLOCKS[f"small_{kind}"]}
    whole = net_of(name)
    assert set(layers.quantized(dict(whole.named_parameters()))) == blocks
    groups = layers.quantized(dict(net_of(name, group=32).named_parameters()))
    assert {key.replace("parametrizations.weight.original", "weight") for key in groups} == blocks
    assert all(p.shape[1:] == (32,) for p in groups.values())
    every = set(layers.quantized(dict(net_of(name, everything=True).named_parameters())))
    others = {
        "gpt2": {"model.transformer.wte.weight", "model.transformer.wpe.weight"},
        "llama": {"model.model.embed_tokens.weight", "model.lm_head.weight"},
    }
    assert every == blocks | others[kind]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_a_layout_changes_no_prediction_and_shares_what_was_shared(name, layout):
    net = small(name, 50, CONTEXT, stream("initialization", 3))
    before, size = net(IDS), sum(p.numel() for p in net.parameters())
    net = laid_out(net, **layout)
    assert torch.equal(net(IDS), before) and sum(p.numel() for p in net.parameters()) == size
    seen = {key: p + 0.01 for key, p in net.named_parameters()}
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.01)
    assert torch.equal(torch.func.functional_call(net, seen, (IDS,)), moved(IDS))
    assert not torch.equal(moved(IDS), before)


def test_groups_must_fit():
    with pytest.raises(ParameterError, match="groups of 48: a layer has 64 inputs"):
        laid_out(small("small_gpt2", 50, CONTEXT, stream("initialization", 0)), group=48)


def test_linear_layers_in_place_of_conv1d_are_the_same_gpt2():
    tools = library()
    config = tools.GPT2Config(vocab_size=50, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2)
    theirs = tools.GPT2LMHeadModel(config).eval()
    mine = language_models.linear_only(copy.deepcopy(theirs))
    torch.testing.assert_close(mine(IDS).logits, theirs(IDS).logits)
    assert not [m for m in mine.modules() if type(m).__name__ == "Conv1D"]


def test_a_start_comes_from_its_own_stream_and_packs_to_the_bit():
    torch.manual_seed(1)
    first = small("small_gpt2", 50, CONTEXT, stream("initialization", 5))
    torch.manual_seed(2)
    again = small("small_gpt2", 50, CONTEXT, stream("initialization", 5))
    other = small("small_gpt2", 50, CONTEXT, stream("initialization", 6))
    assert torch.equal(first(IDS), again(IDS)) and not torch.equal(first(IDS), other(IDS))
    assert torch.equal(unpacked(packed(first), other)(IDS), first(IDS))
    w = first.model.transformer.h[0].mlp.c_fc.weight
    last = first.model.transformer.h[0].mlp.c_proj.weight
    assert w.std().item() == pytest.approx(0.08, rel=0.03)
    assert last.std().item() == pytest.approx(0.04, rel=0.03)
