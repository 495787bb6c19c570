"""A Llama's integer codes as a GGUF file, which llama.cpp runs: our codes and steps, not fitted anew.

Its containers hold blocks of 32 or 256 weights of a row, with a step as a 16-bit float: every block of a
row gets the step of its output channel. Layouts: github.com/ggml-org/ggml, docs/gguf.md and the
dequantize functions of its Python package `gguf`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import sealed_file
from t0qat.quantization.layers import quantized
from t0qat.quantization.rounding import Coded, Codes


def _q8_0(codes: np.ndarray, step: np.ndarray) -> np.ndarray:
    """step * code: the step, then a byte a code."""
    return np.hstack([_bytes(step), codes.astype(np.int8).view(np.uint8)])


def _q4_0(codes: np.ndarray, step: np.ndarray) -> np.ndarray:
    """step * (q - 8): codes 16 apart share a byte, the first in its lower half."""
    q = (codes + 8).astype(np.uint8).reshape(-1, 2, 16)
    return np.hstack([_bytes(step), q[:, 0] | q[:, 1] << 4])


def _q3_k(codes: np.ndarray, step: np.ndarray) -> np.ndarray:
    """step * (33 - 32) * (q - 4): the third bits, the lower two, sixteen scales 33, the step."""
    q = (codes + 4).astype(np.uint8)
    third = (q.reshape(-1, 8, 32) >> 2 << np.arange(8, dtype=np.uint8)[:, None]).sum(1, dtype=np.uint8)
    scales = np.tile(np.array([0x11] * 8 + [0xAA] * 4, np.uint8), (len(q), 1))  # low, high bits of 33
    return np.hstack([third, _two_bits(q & 3), scales, _bytes(step)])


def _q2_k(codes: np.ndarray, step: np.ndarray) -> np.ndarray:
    """step * 1 * q - step * 2: sixteen pairs of scale 1 and minimum 2, the codes, the step twice."""
    q = (codes + 2).astype(np.uint8)
    pairs = np.full((len(q), 16), 0x21, np.uint8)
    return np.hstack([pairs, _two_bits(q), _bytes(step), _bytes(step)])


def _two_bits(q: np.ndarray) -> np.ndarray:
    """Codes 32 apart share a byte, four of them, the first in its lowest bits."""
    shifts = np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    return (q.reshape(-1, 4, 32) << shifts).sum(1, dtype=np.uint8).reshape(-1, 64)


def _bytes(step: np.ndarray) -> np.ndarray:
    return step.astype("<f2")[:, None].view(np.uint8)


class Container(NamedTuple):
    """A format of GGUF that holds all codes of a width."""

    name: str  # in gguf.GGMLQuantizationType
    block: int  # weights of a row that are kept together
    file_type: str  # in gguf.LlamaFileType
    pack: Callable[[np.ndarray, np.ndarray], np.ndarray]  # codes (n, block), steps (n,) -> (n, bytes)


FLOATS = Container("F32", 1, "ALL_F32", lambda values, _: values)
CONTAINERS = {
    8: Container("Q8_0", 32, "MOSTLY_Q8_0", _q8_0),
    4: Container("Q4_0", 32, "MOSTLY_Q4_0", _q4_0),
    3: Container("Q3_K", 256, "MOSTLY_Q3_K_S", _q3_k),
    2: Container("Q2_K", 256, "MOSTLY_Q2_K", _q2_k),
}


def as_kept(step: Tensor) -> Tensor:
    """The steps as a file keeps them: 16-bit floats, here as float32."""
    return step.half().float()


def container_of(bits: int) -> Container:
    """Raises ParameterError where there is none."""
    if bits not in CONTAINERS:
        allowed = ", ".join(map(str, CONTAINERS))
        raise ParameterError(f"bits = {bits}: GGUF has a container for {allowed} bits")
    return CONTAINERS[bits]


def fits(model: nn.Module, bits: int | None) -> bool:
    """Whether a file takes the model, each quantized weight at so many bits; None: all as float32."""
    try:
        _llama(model)
        block = container_of(bits).block if bits else 1
    except ParameterError:
        return False
    rows = (p[0].numel() for p in quantized(dict(model.named_parameters())).values())
    return all(row % block == 0 for row in rows)


def code_bytes(codes: Codes, bits: int) -> int:
    """Bytes of all codes and steps in a file."""
    container = container_of(bits)
    (block,) = container.pack(np.zeros((1, container.block), np.float32), np.ones(1, np.float32))
    return sum(coded.codes.numel() // container.block * block.nbytes for coded in codes.values())


def write(model: nn.Module, codes: Codes, bits: int, path: Path) -> None:
    """A transformers Llama with these codes; what is not rounded, without codes all, stays float32.

    Whole or not at all. Raises ParameterError, in one line, for another architecture, and for codes,
    rows or steps that no container holds.
    """
    import gguf  # imported when needed

    llama, prefix = _llama(model)
    container = container_of(bits) if codes else FLOATS
    config = llama.config
    kind = gguf.GGMLQuantizationType[container.name]
    tensors = _tensors(model, llama, prefix, codes, container)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(draft, "llama")
        writer.add_string("t0qat.seal", sealed_file.EMPTY)
        _describe(writer, config)
        writer.add_file_type(gguf.LlamaFileType[container.file_type])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for shown, values in tensors.items():
            writer.add_tensor(shown, values, raw_dtype=kind if values.dtype == np.uint8 else None)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        sealed_file.write(path, draft.read_bytes())


def _describe(writer, config) -> None:
    """What llama.cpp must know of a Llama."""
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_tokenizer_model("no_vocab")


def _tensors(
    model: nn.Module, llama: nn.Module, prefix: str, codes: Codes, container: Container
) -> dict[str, np.ndarray]:
    """By the names of GGUF: bytes of rows where there are codes, else float32."""
    import gguf

    config = llama.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    weights = dict(model.named_parameters())  # a head that shares its weight is not named
    found = {}
    for name, layer in llama.named_modules():
        full, shown = f"{prefix}{name}.weight", names.get_name(name)
        held = f"{prefix}{name}.parametrizations.weight.original"  # of one that is kept in another shape
        own = full if full in weights else held
        if own not in weights or shown is None:
            continue
        order = _interleaved(len(layer.weight), heads.get(name.rpartition(".")[2]))
        values = layer.weight.detach().float().cpu().numpy()
        rows = _rows(full, codes[full], container) if full in codes else values
        found[f"{shown}.weight"] = rows[order]
        del weights[own]
    for name in weights:
        raise ParameterError(f"{name}: a plain Llama of llama.cpp has no such parameter")
    return found


def _llama(model: nn.Module) -> tuple[nn.Module, str]:
    """The Llama in a model, and what its parameters' names begin with."""
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if getattr(config, "model_type", None) == "llama" and hasattr(module, "lm_head"):
            angles = config.rope_parameters.get("rope_type", "default")
            if (config.hidden_act, angles, config.head_dim % 2) != ("silu", "default", 0):
                allowed = "SiLU, default rotary angles and an even width of each head"
                raise ParameterError(f"model: GGUF takes a Llama with {allowed}")
            return module, f"{name}." if name else ""
    raise ParameterError(
        f"model: it is a {type(model).__name__}; GGUF takes a LlamaForCausalLM of transformers"
    )


def _interleaved(rows: int, heads: int | None) -> np.ndarray:
    """The order of the rows: llama.cpp turns neighbours where transformers turns halves of a head."""
    order = np.arange(rows)
    return order.reshape(heads, 2, -1).swapaxes(1, 2).ravel() if heads else order


def _rows(name: str, coded: Coded, container: Container) -> np.ndarray:
    """Bytes of each row: (channels, bytes)."""
    codes, step = coded.codes.cpu().numpy(), as_kept(coded.step).cpu().numpy()
    if coded.offset:
        raise ParameterError(f"{name}: levels lie between codes, which no container of GGUF holds")
    if codes.shape[1] % container.block:
        allowed = f"{container.name} takes multiples of {container.block}"
        raise ParameterError(f"{name}: rows of {codes.shape[1]} weights; {allowed}")
    wrong = ~(np.isfinite(step) & (step > 0))
    if wrong.any():
        half, (first, *_) = np.finfo(np.float16), coded.step.cpu().numpy()[wrong]
        allowed = f"GGUF keeps 16-bit floats, {half.smallest_subnormal:g} to {half.max:g}"
        raise ParameterError(f"{name}: step {first:g}; {allowed}")
    blocks = codes.reshape(-1, container.block)
    steps = np.repeat(step[:, 0], codes.shape[1] // container.block)
    return container.pack(blocks, steps).reshape(len(codes), -1)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of a file as float32, by the names of GGUF, read by the package `gguf`."""
    import gguf

    reader = gguf.GGUFReader(path)
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
