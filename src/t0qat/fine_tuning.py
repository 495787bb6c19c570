"""One language model of a benchmark: trained before, fine-tuned by a method, rounded, read, heard.

This room holds what determines a cell's result, and nothing else: an edit here computes every cell anew.
"""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat import (
    constants,
    corpora,
    gptq,
    grid,
    language_models,
    methods,
    places,
    products,
    quantizers,
    rounding,
    streams,
    training,
    trial,
)
from t0qat.arms import FLOAT, Arm, preset, sources
from t0qat.corpora import Corpus, Tokens, windows
from t0qat.methods import REGISTRY, Method, Objective, Weights
from t0qat.parameters import ParameterError
from t0qat.quantizers import SCALES, Grid
from t0qat.rounding import ROUNDINGS, Codes, rounded
from t0qat.streams import stream

CALIBRATION = 32  # windows of the training part, for roundings that look at inputs
TOGETHER = 64  # windows a forward pass of evaluation
LARGEST = torch.finfo(torch.float32).max
WORST = 100.0  # bits a character: as much as counts, and what a loss that is no number counts as
GROUPS = "_groups"  # ends the name of a model whose blocks share a step in groups, not in channels
EVERYTHING = "_everything"  # ends the name of a model whose embeddings and head are rounded too


def layout(model: str) -> tuple[str, dict[str, Any]]:
    """The model's name without its ending, and what the ending asks of language_models.laid_out."""
    if model.endswith(GROUPS):
        return model.removesuffix(GROUPS), {"group": language_models.GROUP}
    if model.endswith(EVERYTHING):
        return model.removesuffix(EVERYTHING), {"everything": True}
    return model, {}


class Setting(NamedTuple):
    """What is trained on what: tokens (length,) of the two parts, before any training."""

    net: nn.Module
    tokens: Tokens
    training: Tensor
    scored: Tensor
    tokens_per_character: float  # of the scored part


def setting(
    corpus: str, model: str, context: int, part: str, replicate: int, seed: int, device: str
) -> Setting:
    """part: "test" or "validation", both held out of training. Raises ParameterError, in one line."""
    text = corpora.load(corpus)
    if model in language_models.SMALL:
        tokens = corpora.characters(text)
        draws = stream("initialization", replicate, seed)
        net = language_models.small(model, tokens.size, context, draws).to(device)
    else:
        spread = device == "cuda" and torch.cuda.device_count() > 1
        net, tokens = language_models.checkpoint(model, context, spread)
        net = net if spread else net.to(device)
    texts = {"test": text.test, "validation": text.validation}
    read, scored = (numbered(t, tokens, text, model) for t in (text.training, texts[part]))
    per_character = len(scored) / len(texts[part])
    return Setting(net, tokens, read.to(device), scored.to(device), per_character)


def numbered(text: str, tokens: Tokens, corpus: Corpus, model: str) -> Tensor:
    """The text's tokens, (length,); raises ParameterError where the model has no such token."""
    ids = torch.tensor(tokens.encode(text), dtype=torch.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < tokens.size:
        wrong = f"its tokenizer gives token {ids.max()}, the model knows {tokens.size}"
        raise ParameterError(f"model = {model!r}: {wrong}")
    if tokens.unknown is not None and (ids == tokens.unknown).float().mean() > 0.5:
        raise ParameterError(
            f"model = {model!r}: most of corpus = {corpus.name!r} is unknown to its tokenizer"
        )
    return ids


def trained(
    net: nn.Module,
    tokens: Tensor,
    objective: Objective,
    purpose: str,
    *,
    context: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    schedule: str,
    replicate: int,
    seed: int,
) -> Weights:
    """Train the network for so many steps of windows from drawn places; gives the method's own weights.

    purpose: of the stream that draws the places.
    """
    draws = stream(purpose, replicate, seed)
    every = windows(tokens, context, 1, "the training part")
    drawn = every[
        torch.from_numpy(draws.integers(len(every), size=steps * batch_size)).to(tokens.device)
    ]
    extra = objective.extra(dict(net.named_parameters()))
    training.train(
        net,
        drawn[:, :-1],
        drawn[:, 1:],
        objective,
        stream("training_noise", replicate, seed),
        epochs=1,
        learning_rate=learning_rate,
        loss=mean_loss,
        batch_size=batch_size,
        order=draws,
        schedule=schedule,
        extra=extra,
    )
    net.eval()
    return extra


def mean_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy in nats of logits (n, context, size) and next tokens (n, context)."""
    return cross_entropy(logits.flatten(0, 1), target.flatten())


def pretrain(
    *,
    corpus: str,
    model: str,
    context: int,
    pretraining_steps: int,
    batch_size: int,
    pretraining_rate: float,
    schedule: str,
    replicate: int,
    seed: int,
    device: str,
) -> str:
    """One cell: a model of language_models.SMALL trained plainly from nothing; what `packed` gives."""
    start = setting(corpus, model, context, "validation", replicate, seed, device)
    trained(
        start.net,
        start.training,
        REGISTRY["no_noise"].objective(),
        "data",
        context=context,
        steps=pretraining_steps,
        batch_size=batch_size,
        learning_rate=pretraining_rate,
        schedule=schedule,
        replicate=replicate,
        seed=seed,
    )
    return language_models.packed(start.net)


class Tuned(NamedTuple):
    """A model after fine-tuning."""

    net: nn.Module
    extra: Weights  # what the method trained beside the network's weights
    registered: Method
    setting: Setting
    calibration: Tensor  # token numbers (n, context)


def fine_tuned(
    *,
    corpus: str,
    model: str,
    start: str,
    context: int,
    method: str,
    settings: dict[str, Any],
    learning_rate: float,
    steps: int,
    batch_size: int,
    schedule: str,
    part: str,
    replicate: int,
    seed: int,
    device: str,
) -> Tuned:
    """start: what `pretrain` gave; "" for a checkpoint. settings: all that the method takes."""
    name, shape = layout(model)
    begun = setting(corpus, name, context, part, replicate, seed, device)
    if name in language_models.SMALL:
        language_models.unpacked(start, begun.net)
    net = language_models.laid_out(begun.net, **shape)
    registered = REGISTRY[method]
    objective = registered._replace(build=preset(registered)[0]).objective(**settings)
    extra = trained(
        net,
        begun.training,
        objective,
        "batch_order",
        context=context,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        replicate=replicate,
        seed=seed,
    )
    calibration = windows(begun.training, context, context, "the training part")[:CALIBRATION, :-1]
    return Tuned(net, extra, registered, begun, calibration)


def fine_tune_and_round(
    *, widths: list[int], blocks: int, block_windows: int, **arguments
) -> list[list]:
    """One cell: numbers [bits, scale rule, metric, value, block], for FLOAT and each of the widths.

    arguments: as of `fine_tuned`. Metrics: bits_per_character, of each block of the scored text (its
    number is the last number of the row); and of the whole, with block -1: perplexity (of a token),
    weight_norm (2-norm of all quantized weights, at most LARGEST) and gradients (evaluations on one
    batch). A block is block_windows windows that follow one another;
    blocks lie evenly over the part.
    """
    tuned = fine_tuned(**arguments)
    begun = tuned.setting
    shown = f"corpus = {arguments['corpus']!r}, {arguments['part']} part"
    rows = windows(begun.scored, arguments["context"], arguments["context"], shown)
    if len(rows) < blocks:
        raise ParameterError(f"{shown}: {len(rows)} contexts are too few for {blocks} blocks")
    parts = [block[:block_windows] for block in rows.tensor_split(blocks)]
    weights = methods.quantized(dict(tuned.net.named_parameters())).values()
    norm = torch.cat([w.detach().flatten() for w in weights]).norm().nan_to_num(LARGEST, LARGEST).item()
    found = scores(tuned.net, parts, begun.tokens_per_character, FLOAT, "none")
    found.append([FLOAT, "none", "weight_norm", norm, -1])
    found.append([FLOAT, "none", "gradients", tuned.registered.gradients * arguments["steps"], -1])
    for bits in widths:
        for rule, how in trial.rules(tuned.registered, bits, arguments["settings"].get("bits")).items():
            codes = codes_of(tuned, bits, rule, how)
            net = rounded(tuned.net, codes)
            found += scores(net, parts, begun.tokens_per_character, bits, rule)
    return found


def codes_of(tuned: Tuned, bits: int, rule: str, how: str) -> Codes:
    """Codes and steps of the quantized weights by trial.rules' rule and rounding."""
    on = Grid(bits, scale=rule if rule in SCALES else "absmax")
    return ROUNDINGS[how](tuned.net, on, tuned.extra, tuned.calibration)


def scores(
    net: nn.Module, parts: list[Tensor], per_character: float, bits: int, rule: str
) -> list[list]:
    """The rows bits_per_character of each block, and perplexity of all."""
    sizes = [len(part) for part in parts]
    nats = [block.mean().item() for block in losses(net, torch.cat(parts)).split(sizes)]
    most = WORST * math.log(2) / per_character
    nats = [min(value, most) if math.isfinite(value) else most for value in nats]
    found = [
        [bits, rule, "bits_per_character", value / math.log(2) * per_character, block]
        for block, value in enumerate(nats)
    ]
    return [*found, [bits, rule, "perplexity", math.exp(np.average(nats, weights=sizes)), -1]]


@torch.no_grad()
def losses(net: nn.Module, rows: Tensor) -> Tensor:
    """Mean loss in nats of each of the rows (n, context + 1), in double precision: (n,)."""
    found = []
    for part in rows.split(TOGETHER):
        logits, target = net(part[:, :-1]), part[:, 1:]
        each = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        found.append(each.view_as(target).double().mean(1))
    return torch.cat(found)


def fine_tune_and_write(*, widths: list[int], rule: str, length: int, **arguments) -> list[list]:
    """One cell: [bits, text], `length` tokens that the model writes after the start of the scored part.

    For FLOAT and each of the widths, rounded by this scale rule; every width draws the same numbers.
    """
    tuned = fine_tuned(**arguments)
    begun = tuned.setting
    prompt = begun.scored[: arguments["context"]]
    found = []
    for bits in (FLOAT, *widths):
        net = tuned.net
        if bits != FLOAT:
            how = trial.rules(tuned.registered, bits, arguments["settings"].get("bits"))[rule]
            net = rounded(net, codes_of(tuned, bits, rule, how))
        draws = stream("evaluation_noise", arguments["replicate"], arguments["seed"])
        ids = written(net, prompt, length, arguments["context"], draws)
        found.append([bits, begun.tokens.decode(ids.tolist())])
    return found


@torch.no_grad()
def written(
    net: nn.Module, prompt: Tensor, length: int, context: int, draws: np.random.Generator
) -> Tensor:
    """The next tokens, each drawn as the model says, given at most `context` before it: (length,)."""
    ids = prompt
    for _ in range(length):
        chances = net(ids[-context:][None])[0, -1].double().softmax(0).cumsum(0)
        place = torch.searchsorted(chances, draws.random() * chances[-1])
        ids = torch.cat([ids, place.clamp(max=len(chances) - 1)[None]])
    return ids[len(prompt) :]


# What every cell depends on, beside the functions of its own method.
CODE = (
    sys.modules[__name__],
    constants,
    corpora,
    language_models,
    products,
    quantizers,
    rounding,
    streams,
    training,
    trial.rules,
)


def _files(corpus: str, model: str) -> list[Path]:
    """The files that are read, below the project."""
    files = [] if corpus == corpora.DEFAULT else [Path(corpus)]
    folder = places.ROOT / model
    return files + sorted(path for path in folder.glob("*") if path.is_file() and folder != places.ROOT)


def pretraining_cell(corpus: str, model: str, replicate: int, **shared) -> grid.Cell:
    """Train this model of language_models.SMALL on this replicate."""
    own = {"corpus": corpus, "model": model, "replicate": replicate}
    code = *CODE, *sources(REGISTRY["no_noise"]), *_files(corpus, model)
    return grid.Cell(pretrain, shared | own, tuple(code))


def cell(
    arm: Arm,
    learning_rate: float,
    strength: float,
    replicate: int,
    part: str,
    *,
    starts: dict[tuple[str, int], str],
    function=fine_tune_and_round,
    **shared,
) -> grid.Cell:
    """Fine-tune the arm with these on this replicate; shared: the arguments that all cells share.

    starts: what `pretrain` gave for each (model, replicate); "" for a checkpoint. It is an argument of
    the cell, so that a cell runs anywhere by itself, and again where what it starts from has changed.
    """
    name, _ = layout(arm.model)
    method = arm.registered
    settings = preset(method)[1] | ({"bits": arm.train_bits} if arm.train_bits else {})
    settings |= {method.strength: strength} if method.strength else {}
    own = {"corpus": arm.dataset, "model": arm.model, "method": arm.method, "settings": settings}
    own |= {"learning_rate": learning_rate, "replicate": replicate, "part": part}
    own |= {"start": starts.get((name, replicate), "")}
    code = *CODE, *sources(method), *([gptq] if method.rounding == "gptq" else [])
    return grid.Cell(function, shared | own, (*code, *_files(arm.dataset, name)))
