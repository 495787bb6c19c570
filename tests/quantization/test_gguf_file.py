"""GGUF files read back by the package gguf, which knows nothing of ours, and run by llama.cpp."""

import gguf
import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from t0qat import convert
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import gguf_file
from t0qat.quantization.gguf_file import CONTAINERS, as_kept
from t0qat.quantization.quantizers import Grid


@pytest.mark.parametrize("bits", CONTAINERS)
@given(seed=st.integers(0, 2**32 - 1), step=st.floats(2.0**-14, 60000, width=16))
def test_every_code_of_a_block_comes_back_to_the_bit(bits, seed, step):
    container, draws = CONTAINERS[bits], np.random.default_rng(seed)
    low, high = Grid(bits).codes
    codes = draws.integers(low, high, (3, container.block), endpoint=True)
    codes[0, : high - low + 1] = range(low, high + 1)[: container.block]
    packed = container.pack(codes.astype(np.float32), np.full(3, step, np.float32))
    kind = gguf.GGMLQuantizationType[container.name]
    size, each = gguf.GGML_QUANT_SIZES[kind]
    assert (size, each) == (container.block, packed.shape[1])
    assert np.array_equal(gguf.quants.dequantize(packed, kind), np.float32(step) * codes)


def llama(width: int = 256, **more) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=width, intermediate_size=width, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, **more,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("bits", CONTAINERS)
def test_the_weights_of_a_file_are_our_codes_times_their_steps(bits, tmp_path):
    model, path = convert(llama(), bits), tmp_path / "llama.gguf"
    codes = model.t0qat.codes
    gguf_file.write(model, codes, bits, path)
    read = gguf_file.read_weights(path)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    assert len(read) == len([*model.named_parameters()])
    for name, p in model.named_parameters():
        found, expected = read[f"{names.get_name(name.removesuffix('.weight'))}.weight"], p.detach()
        if name in codes:
            expected = codes[name].codes * as_kept(codes[name].step)
        expected = expected.numpy()
        if heads := {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2]):
            # llama.cpp turns (0, 1), (2, 3), ... where transformers turns (0, half), (1, half + 1), ...
            half = expected.reshape(heads, 2, -1, expected.shape[1])
            expected = np.stack([half[:, 0], half[:, 1]], 2).reshape(expected.shape)
        assert np.array_equal(found, expected), name


def test_the_file_says_what_the_model_is(tmp_path):
    model, path = convert(llama(rms_norm_eps=3e-5), 4), tmp_path / "llama.gguf"
    gguf_file.write(model, model.t0qat.codes, 4, path)
    fields = gguf.GGUFReader(path).fields
    said = {name.split(".", 1)[-1]: field.contents() for name, field in fields.items()}
    assert said["attention.head_count"] == 4 and said["attention.head_count_kv"] == 2
    assert said["attention.layer_norm_rms_epsilon"] == pytest.approx(3e-5)
    assert said["context_length"] == 32 and said["vocab_size"] == 40


def broken(what: str):
    """A model and bits that no file can hold, and what the error names."""
    match what:
        case "architecture":
            return convert(nn.Sequential(nn.Linear(256, 256)), 4), 4
        case "width":
            return convert(llama(), 5), 5
        case "row":
            return convert(llama(64), 3), 3
        case "step":
            model = convert(llama(), 4)
            coded = model.t0qat.codes["model.layers.0.mlp.up_proj.weight"]
            coded.step[3] = 1e5
            return model, 4
        case "bias":
            return convert(llama(attention_bias=True), 4), 4


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("architecture", "model: it is a Sequential"),
        ("width", "bits = 5: GGUF has a container for 8, 4, 3, 2"),
        ("row", "rows of 64 weights; Q3_K takes multiples of 256"),
        ("step", r"up_proj\.weight: a step is zero or not finite"),
        ("bias", "a plain Llama"),
    ],
)
def test_what_no_container_holds_is_one_line_and_nothing_is_written(what, named, tmp_path):
    model, bits = broken(what)
    with pytest.raises(ParameterError, match=named) as told:
        gguf_file.write(model, model.t0qat.codes, bits, tmp_path / "model.gguf")
    assert "\n" not in str(told.value) and not [*tmp_path.iterdir()]
