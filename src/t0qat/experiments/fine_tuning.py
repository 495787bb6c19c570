"""One language model of a benchmark: trained before, fine-tuned by a method, opened for questions.

This room holds what determines the weights, and how they are judged: an edit here trains anew.
"""

import functools
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat.experiments import trained
from t0qat.experiments.arms import FLOAT, Arm, is_importable, known, preset, sources
from t0qat.experiments.trained import Trained
from t0qat.pipeline import grid, places
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import quantizers
from t0qat.quantization.layers import Weights
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Codes, rounded
from t0qat.training import constants, corpora, language_models, loop, products, streams
from t0qat.training.corpora import Corpus, Tokens, windows
from t0qat.training.language_models import LAYOUTS
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream
from t0qat.training.views import Objective

CALIBRATION = 32  # windows of the training part, for roundings that look at inputs
TOGETHER = 64  # windows a forward pass of evaluation
WORST = 100.0  # bits a character: as much as counts, and what a loss that is no number counts as


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


@functools.lru_cache(8)  # every cell asks for the same few
def numbered(text: str, tokens: Tokens, corpus: Corpus, model: str) -> Tensor:
    """The text's tokens, (length,), one tensor for all. ParameterError where the model lacks one."""
    ids = torch.tensor(tokens.encode(text), dtype=torch.int64)
    if len(ids) and not 0 <= ids.min() <= ids.max() < tokens.size:
        wrong = f"its tokenizer gives token {ids.max()}, the model knows {tokens.size}"
        raise ParameterError(f"model = {model!r}: {wrong}")
    if tokens.unknown is not None and (ids == tokens.unknown).float().mean() > 0.5:
        raise ParameterError(
            f"model = {model!r}: most of corpus = {corpus.name!r} is unknown to its tokenizer"
        )
    return ids


def learn(
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
    loop.train(
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
    learn(
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


def begun(corpus: str, model: str, layout: str, start: str, context: int, part: str, replicate: int,
          seed: int, device: str) -> Setting:  # fmt: skip
    """What fine-tuning begins with, laid out. start: what `pretrain` gave; "" for a checkpoint."""
    found = setting(corpus, model, context, part, replicate, seed, device)
    if model in language_models.SMALL:
        language_models.unpacked(start, found.net)
    return found._replace(net=language_models.laid_out(found.net, **LAYOUTS[layout]))


def fit(
    *,
    corpus: str,
    model: str,
    layout: str,
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
) -> Weights:
    """A training of the grid. start: as in `begun`. settings: all that the method takes."""
    found = begun(corpus, model, layout, start, context, part, replicate, seed, device)
    registered = REGISTRY[method]
    objective = registered._replace(build=preset(registered)[0]).objective(**settings)
    extra = learn(
        found.net,
        found.training,
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
    return trained.packed(found.net, extra)


def opened(
    weights: Weights,
    *,
    corpus: str,
    model: str,
    layout: str,
    start: str,
    context: int,
    method: str,
    settings: dict[str, Any],
    steps: int,
    part: str,
    replicate: int,
    seed: int,
    device: str,
    **_: Any,
) -> Trained:
    """The model of `fit`, judged on the other text by (blocks, block_windows).

    A block is so many windows that follow one another; blocks lie evenly over the part. Scores, each
    with a third number: bits_per_character of each block, with its number; and perplexity (of a token)
    of the whole, with -1. The loss is the mean over blocks of bits per character.
    """
    found = begun(corpus, model, layout, start, context, part, replicate, seed, device)
    extra = trained.unpacked(weights, found.net)
    found.net.eval()
    calibration = windows(found.training, context, context, "the training part")[:CALIBRATION, :-1]
    shown = f"corpus = {corpus!r}, {part} part"
    rows = windows(found.scored, context, context, shown)

    def scores(net: nn.Module, codes: Codes | None, on: Grid | None, *, blocks: int, block_windows: int):
        if len(rows) < blocks:
            raise ParameterError(f"{shown}: {len(rows)} contexts are too few for {blocks} blocks")
        parts = [block[:block_windows] for block in rows.tensor_split(blocks)]
        return scored(net, parts, found.tokens_per_character)

    def loss(net: nn.Module, **judged: int) -> float:
        return np.mean([row[1] for row in scores(net, None, None, **judged)[:-1]]).item()

    gradients = REGISTRY[method].gradients * steps
    bits = settings.get("bits")
    return Trained(found.net, extra, bits, calibration, gradients, scores, loss, found)


def scored(net: nn.Module, parts: list[Tensor], per_character: float) -> list[list]:
    """Rows [metric, value, block]: bits_per_character of each of the parts, and perplexity of all."""
    sizes = [len(part) for part in parts]
    nats = [block.mean().item() for block in losses(net, torch.cat(parts)).split(sizes)]
    most = WORST * math.log(2) / per_character
    nats = [min(value, most) if math.isfinite(value) else most for value in nats]
    found = [
        ["bits_per_character", value / math.log(2) * per_character, block]
        for block, value in enumerate(nats)
    ]
    return [*found, ["perplexity", math.exp(np.average(nats, weights=sizes)), -1]]


@torch.no_grad()
def losses(net: nn.Module, rows: Tensor) -> Tensor:
    """Mean loss in nats of each of the rows (n, context + 1), in double precision: (n,)."""
    found = []
    for part in rows.split(TOGETHER):
        logits, target = net(part[:, :-1]), part[:, 1:]
        each = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        found.append(each.view_as(target).double().mean(1))
    return torch.cat(found)


def write(
    tuned: Trained,
    *,
    method: str,
    widths: list[int],
    rule: str,
    length: int,
    context: int,
    replicate: int,
    seed: int,
) -> list[list]:
    """Rows [bits, text]: `length` tokens that the model writes after the start of the scored part.

    For FLOAT and each of the widths, rounded by this scale rule; every width draws the same numbers.
    """
    prompt = tuned.begun.scored[:context]
    found = []
    for bits in (FLOAT, *widths):
        net = tuned.net
        if bits != FLOAT:
            net = rounded(net, trained.codes_of(tuned, method, bits, rule))
        draws = stream("evaluation_noise", replicate, seed)
        ids = written(net, prompt, length, context, draws)
        found.append([bits, tuned.begun.tokens.decode(ids.tolist())])
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


# What every training depends on, beside the functions of its own method.
CODE = (
    sys.modules[__name__],
    constants,
    corpora,
    language_models,
    products,
    quantizers,
    streams,
    trained.packed,
    trained.unpacked,
    loop,
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


def train(
    arm: Arm,
    learning_rate: float,
    strength: float,
    *,
    starts: dict[tuple[str, int], str],
    **shared: Any,
) -> grid.Training:
    """The fine-tuning of this arm with these. shared: the other arguments of `fit`.

    starts: what `pretrain` gave for each (model, replicate); "" for a checkpoint. It is an argument of
    the training, so that a cell runs anywhere by itself, and again where what it starts from has
    changed. Weights of the test part are kept, where what they depend on can be seen.
    """
    own = arm.training(learning_rate, strength) | {"layout": arm.layout}
    own["corpus"] = own.pop("dataset")
    own |= {"start": starts.get((arm.model, shared["replicate"]), "")}
    kept = shared["part"] == "test" and is_importable(arm.registered)
    code = (*CODE, *sources(arm.registered), *_files(arm.dataset, arm.model))
    return grid.Training(fit, shared | own, code, known(own["method"]), kept, opened)
