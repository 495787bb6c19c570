"""Causal language models of transformers: small ones to train from nothing, and checkpoints.

A checkpoint whose tokenizer puts a token before every text (BOS) was trained with it there, and predicts
badly without. So its Predictor puts it before every window itself: nobody else counts or scores it.

What is rounded shows in the shape of the parameters, since methods and roundings take every parameter
with two or more dimensions: `laid_out` stores the weights of the blocks as rows that share a step, and
what keeps full precision as vectors. The model computes as before.
"""

import base64
import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, parametrize, vector_to_parameters

from t0qat.pipeline import places
from t0qat.pipeline.parameters import ParameterError
from t0qat.pipeline.quiet import quietly
from t0qat.training.corpora import Tokens
from t0qat.training.products import Linear

# Width, layers and heads; Llama's gated layers are a multiple of 32 near 8/3 of the width.
WIDTH, LAYERS, HEADS = 64, 2, 4
WIDE, BLOCK = 256, 256  # of a model whose rows are whole blocks of llama.cpp's, down to 2 bits
START = 0.08  # standard deviation of weights at the start at WIDTH; it falls with the width's root
GROUP = 32  # weights that share a step, where they do not share it with their whole output channel


class Predictor(nn.Module):
    """Token numbers (n, context) -> logits (n, context, vocabulary), float32.

    before: tokens that the model reads before each of the n rows; what it predicts from them alone is
    left out.
    """

    def __init__(self, model: nn.Module, before: Sequence[int] = ()):
        super().__init__()
        self.model, self.before = model, tuple(before)

    def forward(self, ids: Tensor) -> Tensor:
        if self.before:
            ids = torch.cat([ids.new_tensor(self.before).expand(len(ids), -1), ids], 1)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.is_cuda):
            logits = self.model(input_ids=ids, use_cache=False).logits
        return logits[:, len(self.before) :].float().to(ids.device)

    @property
    def head(self) -> nn.Module:
        return self.model.get_output_embeddings()


@functools.cache
def library():
    """transformers, imported when needed (seconds)."""
    with quietly():
        import transformers
        from transformers import AutoModelForCausalLM, GPT2LMHeadModel, LlamaForCausalLM  # noqa: F401
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


# A model's kind in transformers, and what sets its configuration apart; without dropout.
SMALL = {
    "small_gpt2": (
        "gpt2",
        {
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "activation_function": "gelu_pytorch_tanh",  # GPT-2's own function, in one operation
        },
    ),
    "small_llama": ("llama", {"intermediate_size": 160}),
    "wide_llama": ("llama", {"hidden_size": WIDE, "intermediate_size": 3 * BLOCK}),
}


def small(name: str, vocabulary: int, context: int, draws: np.random.Generator) -> Predictor:
    """A model of SMALL, its weights drawn from a stream, normal.

    Standard deviation START * sqrt(WIDTH / width), as in GPT-2 over sqrt(2 LAYERS) in the last layer of
    each residual branch; biases 0, norms 1.
    """
    kind, own = SMALL[name]
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS} | own
    config = library().AutoConfig.for_model(
        kind, vocab_size=vocabulary, max_position_embeddings=context, bos_token_id=None,
        eos_token_id=None, **sizes,
    )  # fmt: skip
    start = START * (WIDTH / sizes["hidden_size"]) ** 0.5
    net = linear_only(library().AutoModelForCausalLM.from_config(config))
    with torch.no_grad():
        for parameter, p in net.named_parameters():
            if p.ndim > 1:
                last = parameter.endswith(("c_proj.weight", "o_proj.weight", "down_proj.weight"))
                std = start / ((2 * LAYERS) ** 0.5 if last else 1)
                p.copy_(std * torch.from_numpy(draws.standard_normal(p.shape, np.float32)))
    return Predictor(net)


def linear_only(model: nn.Module) -> nn.Module:
    """The model with every linear layer as a products.Linear.

    GPT-2's Conv1D layers, whose weights are (inputs, outputs), are such layers too.
    """
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                layer.__class__ = Linear  # weights stay shared, and hooks of accelerate in place
            elif isinstance(layer, library().pytorch_utils.Conv1D):
                linear = Linear(layer.nx, layer.nf, dtype=layer.weight.dtype)
                linear.weight.data, linear.bias.data = layer.weight.data.T.contiguous(), layer.bias.data
                setattr(parent, name, linear)
    return model


def checkpoint(name: str, context: int, spread: bool = False) -> tuple[Predictor, Tokens]:
    """The causal language model in a folder (relative to the project) or on the hub, and its tokenizer.

    Weights are read as safetensors only, as float32; nothing in a checkpoint is run. A hub id needs a
    network once. spread: accelerate lays its layers over all GPUs. The model reads what its tokenizer
    puts before a text before each window of `context` tokens. Raises ParameterError, in one line:
    nothing there or not readable, weights that are missing, a model that looks ahead or reads less than
    that, a tokenizer that does not match.
    """
    shown = f"model = {name!r}:"
    net, report = _read(
        library().AutoModelForCausalLM, name, "causal language model",
        dtype=torch.float32, use_safetensors=True, output_loading_info=True,
        device_map="auto" if spread else None,
    )  # fmt: skip
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ParameterError(f"{shown} no causal language model there (no weights for {missing})")
    tokenizer = _read(library().AutoTokenizer, name, "tokenizer")
    before = put_before(tokenizer)
    net = Predictor(linear_only(net), before).eval()
    size = net.model.get_input_embeddings().num_embeddings
    if len(tokenizer) > size:
        raise ParameterError(f"{shown} its tokenizer has {len(tokenizer)} tokens, the model only {size}")
    longest = getattr(net.model.config, "max_position_embeddings", None) or context
    if longest < len(before) + context:
        more = f" and the {len(before)} that its tokenizer puts before" if before else ""
        raise ParameterError(f"{shown} it reads {longest} tokens, fewer than context = {context}{more}")
    if looks_ahead(net, size):
        raise ParameterError(
            f"{shown} its predictions look at later tokens: not a causal language model"
        )
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    return net, Tokens(encode, tokenizer.decode, size, tokenizer.unk_token_id)


def put_before(tokenizer) -> list[int]:
    """The tokens that it puts before a text by itself: BOS, or nothing."""
    read = tokenizer("a", return_special_tokens_mask=True)
    added = zip(read["input_ids"], read["special_tokens_mask"], strict=True)
    return [token for token, _ in itertools.takewhile(lambda pair: pair[1], added)]


def begins_with(model: str) -> str:
    """What stands before every window that the model reads, such as <bos>; "" for nothing."""
    if model in SMALL:
        return ""
    tokenizer = _read(library().AutoTokenizer, model, "tokenizer")
    return tokenizer.decode(put_before(tokenizer))


def _read(reader, name: str, what: str, **options):
    folder, wrong = places.ROOT / name, f"model = {name!r}: no {what} there"
    try:
        return reader.from_pretrained(str(folder) if folder.is_dir() else name, **options)
    except Exception as error:  # whatever readers of configurations and of weights raise
        text = " ".join(str(error).split())
        text = text if len(text) <= 200 else text[:197] + "..."
        raise ParameterError(f"{wrong} ({type(error).__name__}: {text})") from None


@torch.no_grad()
def looks_ahead(net: nn.Module, vocabulary: int) -> bool:
    """Whether another last token changes what is predicted before it, beside rounding."""
    ids = torch.arange(8) % vocabulary
    other = torch.cat([ids[:-1], (ids[-1:] + 1) % vocabulary])
    first, second = net(torch.stack([ids, other]))
    changes = (first - second).abs().amax(-1)
    return bool(changes[:-1].max() > 1e-3 * changes[-1])


def packed(net: nn.Module) -> str:
    """Every parameter, float32, in base64: 4/3 * 4 bytes each."""
    return base64.b64encode(parameters_to_vector(net.parameters()).detach().cpu().numpy()).decode()


def unpacked(text: str, net: nn.Module) -> nn.Module:
    """The same network with the parameters of `packed`, on the device where it is."""
    values = torch.from_numpy(np.frombuffer(base64.b64decode(text), np.float32).copy())
    vector_to_parameters(values.to(next(net.parameters()).device), net.parameters())
    return net


# What of a network is rounded, and what shares a step: name -> arguments of `laid_out`.
LAYOUTS = {"channels": {}, "groups": {"group": GROUP}, "everything": {"everything": True}}


def laid_out(net: Predictor, group: int | None = None, everything: bool = False) -> Predictor:
    """The same network, its parameters shaped so that those to be rounded are those with two dimensions.

    These are the weights of all linear layers but the head: (outputs, inputs), one step an output
    channel; with a group, (outputs * inputs / group, group). Embeddings and head become vectors, or,
    with `everything`, keep their rows, a step for each token. Parameters that are shared stay shared.
    Raises ParameterError where a layer's inputs are no whole number of groups.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
    blocks = [layer for layer in layers if isinstance(layer, nn.Linear) and layer is not net.head]
    for layer in blocks:
        if group and layer.in_features % group:
            raise ParameterError(f"groups of {group}: a layer has {layer.in_features} inputs")
    kept = [layer.weight for layer in (layers if everything else blocks)]
    rows = [layer.weight for layer in blocks] if group else []
    first: dict[int, nn.Parameter] = {}
    places_of = [(m, *named) for m in net.modules() for named in m.named_parameters(recurse=False)]
    for module, name, p in places_of:
        in_rows = any(p is row for row in rows)
        if p.ndim < 2 or (any(p is k for k in kept) and not in_rows):
            continue
        # A copy, since registering reshapes the parameter itself, which another layer may share.
        setattr(module, name, nn.Parameter(p.detach().clone()))
        shaped = Shaped(p.shape, (-1, group) if in_rows else (-1,))
        parametrize.register_parametrization(module, name, shaped)
        held = module.parametrizations[name]
        held.original = first.setdefault(id(p), held.original)
    return net


class Shaped(nn.Module):
    """Shows a weight in the shape that its layer computes with; the parameter has another."""

    def __init__(self, shape: torch.Size, stored: tuple[int, ...]):
        super().__init__()
        self.shape, self.stored = shape, stored

    def forward(self, parameter: Tensor) -> Tensor:
        return parameter.view(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.stored)
