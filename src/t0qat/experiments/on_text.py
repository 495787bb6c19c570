"""What language models of the text benchmark learn, go on from, write and are judged by."""

import functools
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat.experiments import learning, trained
from t0qat.experiments.arms import CHANNELS, FLOAT, Arm, sources
from t0qat.experiments.learning import Learner, at_most
from t0qat.pipeline import grid, places
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.quantizers import Grid
from t0qat.quantization.rounding import Codes, rounded
from t0qat.training import corpora, language_models, products
from t0qat.training.corpora import Corpus, Tokens, windows
from t0qat.training.language_models import LAYOUTS, Predictor
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream

LENGTH = "steps"  # the argument that says how long a training is
CALIBRATION = 32  # windows of the training part, for roundings that look at inputs
TOGETHER = 64  # windows a forward pass of evaluation, at most
LOGITS = 2**25  # of such a pass, at most, unless one window has more: 128 MiB
WORST = 100.0  # bits a character: as much as counts, and what a loss that is no number counts as


def begun(
    text: Corpus, model: str, context: int, draws: np.random.Generator, device: str
) -> tuple[Predictor, Tokens]:
    """A model before training, and its tokens. Raises ParameterError, in one line."""
    if model in language_models.SMALL:
        tokens = corpora.characters(text)
        return language_models.small(model, tokens.size, context, draws).to(device), tokens
    spread = device == "cuda" and torch.cuda.device_count() > 1
    net, tokens = language_models.checkpoint(model, context, spread)
    return net if spread else net.to(device), tokens


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


def begin(
    *,
    dataset: str,
    model: str,
    layout: str,
    start: str | None,
    context: int,
    steps: int,
    batch_size: int,
    part: str,
    replicate: int,
    seed: int,
    device: str,
    purpose: str = "batch_order",
    **_: Any,
) -> Learner:
    """A model that learns the training part, judged on another by (blocks, block_windows).

    part: "test" or "validation", both held out of training. Raises ParameterError, in one line.
    start: what `pretrain` gave; "" for a checkpoint; None to begin anew. purpose: of the stream that
    draws the places of `steps` batches of windows. A block is so many windows that follow one another;
    blocks lie evenly over the part. Scores, each with a third number: bits_per_character of each block,
    with its number; and perplexity (of a token) of the whole, with -1. The criterion is the mean over
    blocks of bits per character. context: tokens of the text that a window shows and predicts, without
    what a checkpoint's tokenizer puts before (see language_models).
    """
    text = corpora.load(dataset)
    held_out, shown = getattr(text, part), f"corpus = {dataset!r}, {part} part"
    net, tokens = begun(text, model, context, stream("initialization", replicate, seed), device)
    read, judged = (numbered(t, tokens, text, model).to(device) for t in (text.training, held_out))
    if model in language_models.SMALL and start is not None:
        language_models.unpacked(start, net)
    net = language_models.laid_out(net, **LAYOUTS[layout])

    def examples(replica: int) -> dict[str, Any]:
        draws = stream(purpose, replicate, seed, replica)
        every = windows(read, context, 1, "the training part")
        which = torch.from_numpy(draws.integers(len(every), size=steps * batch_size))
        drawn = every[which.to(device)]
        once = min(1, steps)
        return {"inputs": drawn[:, :-1], "target": drawn[:, 1:], "epochs": once, "order": draws}

    rows = windows(judged, context, context, shown)
    together = max(1, min(TOGETHER, LOGITS // (context * tokens.size)))

    def scores(net: nn.Module, codes: Codes | None, on: Grid | None, *, blocks: int, block_windows: int):
        if len(rows) < blocks:
            raise ParameterError(f"{shown}: {len(rows)} contexts are too few for {blocks} blocks")
        each = [block[:block_windows] for block in rows.tensor_split(blocks)]
        return scored(net, each, len(judged) / len(held_out), together)

    def criterion(net: nn.Module, **asked: int) -> float:
        return np.mean([row[1] for row in scores(net, None, None, **asked)[:-1]]).item()

    calibration = windows(read, context, context, "the training part")[:CALIBRATION, :-1]
    return Learner(net, examples, mean_loss, steps, calibration, scores, criterion, tokens, judged)


def mean_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy in nats of logits (n, context, size) and next tokens (n, context)."""
    return cross_entropy(logits.flatten(0, 1), target.flatten())


def pretrain(*, pretraining_steps: int, pretraining_rate: float, schedule: str, **what: Any) -> str:
    """One cell: a model of language_models.SMALL trained plainly from nothing; what `packed` gives."""
    what |= {"layout": CHANNELS, "start": None, "part": "validation"}
    learner = begin(steps=pretraining_steps, purpose="data", **what)
    learning.learn(learner, REGISTRY["no_noise"].objective(), pretraining_rate, schedule, **what)
    return language_models.packed(learner.net)


def scored(
    net: nn.Module, parts: list[Tensor], per_character: float, together: int = TOGETHER
) -> list[list]:
    """Rows [metric, value, block]: bits_per_character of each of the parts, and perplexity of all."""
    sizes = [len(part) for part in parts]
    most = WORST * math.log(2) / per_character
    each = losses(net, torch.cat(parts), together).split(sizes)
    nats = [at_most(block.mean().item(), most) for block in each]
    found = [
        ["bits_per_character", value / math.log(2) * per_character, block]
        for block, value in enumerate(nats)
    ]
    return [*found, ["perplexity", math.exp(np.average(nats, weights=sizes)), -1]]


@torch.no_grad()
def losses(net: nn.Module, rows: Tensor, together: int = TOGETHER) -> Tensor:
    """Mean loss in nats of each of the rows (n, context + 1), in double precision: (n,)."""
    found = []
    for part in rows.split(together):
        logits, target = net(part[:, :-1]), part[:, 1:]
        each = cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        found.append(each.view_as(target).double().mean(1))
    return torch.cat(found)


def write(
    tuned: Learner,
    *,
    method: str,
    widths: list[int],
    rule: str,
    length: int,
    context: int,
    replicate: int,
    seed: int,
    **_: int,
) -> list[list]:
    """Rows [bits, text]: `length` tokens that the model writes after the start of the scored part.

    For FLOAT and each of the widths, rounded by this scale rule; every width draws the same numbers.
    """
    found = []
    for bits in (FLOAT, *widths):
        net = tuned.net
        if bits != FLOAT:
            net = rounded(net, trained.codes_of(tuned, method, bits, rule))
        draws = stream("evaluation_noise", replicate, seed)
        ids = written(net, tuned.text[:context], length, context, draws)
        found.append([bits, tuned.tokens.decode(ids.tolist())])
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


def own(
    arm: Arm, replicate: int, *, starts: dict[tuple[str, int], str], steps: int, **shared: Any
) -> dict[str, Any]:
    """Its share of the steps, and what `pretrain` gave for this (model, replicate), if it is there.

    The start is an argument of the training, so that a cell runs anywhere by itself, and again where
    what it starts from has changed.
    """
    own = {"steps": round(steps * arm.registered.share), "start": starts.get((arm.model, replicate), "")}
    return shared | own


def files(dataset: str, model: str) -> list[Path]:
    """The text and a checkpoint's files, below the project."""
    found = [] if dataset == corpora.DEFAULT else [Path(dataset)]
    folder = places.ROOT / model
    return found + sorted(path for path in folder.glob("*") if path.is_file() and folder != places.ROOT)


CODE = (sys.modules[__name__], corpora, language_models, products)


def pretraining_cell(dataset: str, model: str, replicate: int, **shared) -> grid.Cell:
    """Train this model of language_models.SMALL on this replicate."""
    own = {"dataset": dataset, "model": model, "replicate": replicate}
    code = *learning.CODE, *CODE, *sources(REGISTRY["no_noise"]), *files(dataset, model)
    return grid.Cell(pretrain, shared | own, tuple(code))
