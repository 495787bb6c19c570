"""The vision benchmark: every training method on small image networks, at every bit-width.

A cell trains one network from one replicate's streams: all methods of a replicate share split,
initialization and batch order. It is then rounded to the full range of each bit-width with one step an
output channel, by both scale rules. Learning rate and strength are tuned on replicates of their own, on
images held out of their training parts. Replicates re-split the same images: intervals are about new
splits and starts, not about new images. Batch normalization keeps the statistics of the float network.
"""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from t0qat import (
    constants,
    gptq,
    grid,
    images,
    methods,
    models,
    quantizers,
    rounding,
    statistics,
    streams,
    tasks,
    training,
)
from t0qat.arms import FLOAT, HALF, KEYS, Arm, arms, preset, sources
from t0qat.compare import differences, means, over_bits, own_width, with_chosen
from t0qat.methods import REGISTRY, Method
from t0qat.models import MODELS
from t0qat.parameters import ParameterError, bit_list, checked
from t0qat.quantizers import SCALES, Grid
from t0qat.rounding import ROUNDINGS, rounded
from t0qat.streams import stream

TUNING = 10**9  # the first replicate of tuning: no other use of replicates comes so far
CALIBRATION = 256  # images of the training part, for roundings that look at inputs
TOGETHER = 1024  # images a forward pass of evaluation


def train_and_round(
    *,
    dataset: str,
    model: str,
    method: str,
    settings: dict[str, Any],
    learning_rate: float,
    epochs: int,
    batch_size: int,
    schedule: str,
    widths: list[int],
    part: str,
    replicate: int,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """One cell. accuracy: [bits, scale rule, share named rightly] for FLOAT and each of the widths.

    settings: all that the method takes, bits among them if it trains for a width. part: "test", or
    "validation", which never sees the test part. norms: each quantized weight's 2-norm. gradients: how
    many were taken in training.
    """
    source = images.load(dataset)
    data = source.split(replicate, seed)
    data = data if part == "test" else images.held_out(data, replicate, seed)
    inputs, target, other_inputs, other_target = (torch.from_numpy(a).to(device) for a in data)
    net = MODELS[model](stream("initialization", replicate, seed), source.shape, source.classes)
    net = net.to(device)
    registered = REGISTRY[method]
    objective = registered._replace(build=preset(registered)[0]).objective(**settings)
    extra = objective.extra(dict(net.named_parameters()))
    training.train(
        net,
        inputs,
        target,
        objective,
        stream("training_noise", replicate, seed),
        epochs=epochs,
        learning_rate=learning_rate,
        loss=cross_entropy,
        batch_size=batch_size,
        order=stream("batch_order", replicate, seed),
        schedule=schedule,
        extra=extra,
    )
    net.eval()
    found = [[FLOAT, "none", accuracy(net, other_inputs, other_target)]]
    for bits in widths:
        for rule, how in rules(registered, bits, settings.get("bits")).items():
            on = Grid(bits, scale=rule if rule in SCALES else "absmax")
            codes = ROUNDINGS[how](net, on, extra, inputs[:CALIBRATION])
            found.append([bits, rule, accuracy(rounded(net, codes), other_inputs, other_target)])
    weights = methods.quantized(dict(net.named_parameters()))
    norms = {name: weight.norm().item() for name, weight in weights.items()}
    gradients = registered.gradients * training_steps(len(inputs), epochs, batch_size)
    return {"accuracy": found, "norms": norms, "gradients": gradients}


def training_steps(images: int, epochs: int, batch_size: int) -> int:
    """Of training.train, with batches of nearly equal size."""
    return epochs * max(1, round(images / batch_size))


def rules(method: Method, bits: int, train_bits: int | None) -> dict[str, str]:
    """Scale rule -> rounding: both of SCALES, and learned steps where these bits learned them."""
    learned = method.rounding == "learned"
    found = dict.fromkeys(SCALES, "nearest" if learned else method.rounding)
    return found | ({"learned": "learned"} if learned and bits == train_bits else {})


@torch.no_grad()
def accuracy(net: nn.Module, inputs: Tensor, target: Tensor) -> float:
    """Share of images whose class has the largest output."""
    answers = torch.cat([net(part).argmax(1) for part in inputs.split(TOGETHER)])
    return (answers == target).double().mean().item()


# What every cell depends on, beside the functions of its own method.
CODE = (sys.modules[__name__], constants, images, models, quantizers, rounding, streams, tasks, training)


def cell(
    arm: Arm, learning_rate: float, strength: float, replicate: int, part: str, **shared
) -> grid.Cell:
    """Train the arm with these on this replicate; shared: the arguments that all cells share."""
    method = arm.registered
    settings = preset(method)[1] | ({"bits": arm.train_bits} if arm.train_bits else {})
    settings |= {method.strength: strength} if method.strength else {}
    own = {"dataset": arm.dataset, "model": arm.model, "method": arm.method.removesuffix(HALF)}
    own |= {"settings": settings, "learning_rate": learning_rate, "replicate": replicate}
    own |= {"part": part, "epochs": arm.epochs(shared["epochs"])}
    files = [Path(arm.dataset)] if arm.dataset.endswith(".npz") else []
    code = *CODE, *sources(method), *([gptq] if method.rounding == "gptq" else []), *files
    return grid.Cell(train_and_round, shared | own, tuple(code))


class Run(NamedTuple):
    """What was measured: rows of KEYS, replicate, eval_bits, scale_rule, metric and value.

    Accuracies are shares of images named rightly; weight_norm is the 2-norm of all quantized weights.
    """

    tuning: pd.DataFrame  # one row a candidate
    validation: pd.DataFrame  # accuracy of the chosen candidates on the images that they were chosen on
    test: pd.DataFrame


class Jobs(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    arms: list[Arm]
    candidates: list[list[tuple[float, float]]]  # of each arm
    shared: dict[str, Any]  # arguments of every cell
    tuning_replicates: int
    replicates: int

    def tuning(self) -> list[tuple[dict, grid.Cell]]:
        """Every arm's candidates on all tuning replicates, each cell with what it is."""
        return [
            (arm._asdict() | {"candidate": number, "replicate": i}, cell(arm, *tried, i, **own))
            for arm, candidates in zip(self.arms, self.candidates, strict=True)
            for number, tried in enumerate(candidates)
            for i in range(TUNING, TUNING + self.tuning_replicates)
            for own in [self.shared | {"part": "validation"}]
        ]

    def final(self, chosen: list[tuple[float, float]]) -> list[tuple[dict, grid.Cell]]:
        """Every arm at its chosen candidate on all replicates."""
        return [
            (arm._asdict() | {"replicate": i}, cell(arm, *candidate, i, **self.shared, part="test"))
            for arm, candidate in zip(self.arms, chosen, strict=True)
            for i in range(self.replicates)
        ]


@checked
def plan(
    *,
    replicates: int,
    tuning_replicates: int,
    dataset: str = "digits",
    models: str = "small_cnn, deep_cnn",
    few_models: str = "mlp, residual_cnn",
    bits: str = "8, 4, 3, 2",
    candidates: int = 10,
    lowest_rate: float = 0.003,
    highest_rate: float = 0.06,
    epochs: int = 8,
    batch_size: int = 64,
    schedule: str = "cosine",
    seed: int = 0,
    device: str = "auto",
) -> Jobs:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line."""
    widths = bit_list(bits)
    if not {*widths} <= {*range(2, 9)}:
        raise ParameterError(f"bits = {bits!r}: image networks are trained for 2 to 8 bits")
    if not lowest_rate < highest_rate:
        raise ParameterError(f"lowest_rate = {lowest_rate}: must be below highest_rate = {highest_rate}")
    images.load(dataset)
    found = arms(dataset, models, few_models, widths)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = {"epochs": epochs, "batch_size": batch_size, "schedule": schedule, "seed": seed}
    shared |= {"widths": list(widths), "device": device}
    tried = [arm.candidates(candidates, lowest_rate, highest_rate) for arm in found]
    return Jobs(found, tried, shared, tuning_replicates, replicates)


def cost(jobs: Jobs) -> pd.DataFrame:
    """What a plan takes: KEYS, stage (tuning or test), cells, gradients (evaluations on one batch)."""
    rows = []
    data = images.load(jobs.arms[0].dataset).split(0, 0)
    stages = {
        "tuning": (images.held_out(data, 0), jobs.tuning_replicates),
        "test": (data, jobs.replicates),
    }
    for arm, candidates in zip(jobs.arms, jobs.candidates, strict=True):
        epochs = arm.epochs(jobs.shared["epochs"])
        for stage, (part, replicates) in stages.items():
            cells = replicates * (len(candidates) if stage == "tuning" else 1)
            steps = training_steps(len(part.inputs), epochs, jobs.shared["batch_size"])
            gradients = cells * steps * arm.registered.gradients
            rows.append(arm._asdict() | {"stage": stage, "cells": cells, "gradients": gradients})
    return pd.DataFrame(rows)


def benchmark(**parameters) -> Run:
    """Tune every arm, then train it on all replicates: parameters as `plan` takes them.

    A candidate's score on a tuning replicate is its validation accuracy at the best scale rule of each
    bit-width, averaged over bit-widths: the arm's own, or all for an arm without one. The largest mean
    score is chosen, of equals the first: the first strength, then the lowest rate.
    """
    jobs = plan(**parameters)
    tried = measured(jobs.tuning(), "tuning")
    tuning = ranked(jobs, tried)
    chosen = tuning[tuning.chosen]
    values = list(zip(chosen.learning_rate, chosen.strength, strict=True))
    validation = tried.merge(chosen[[*KEYS, "candidate"]])
    test = measured(jobs.final(values), "networks")
    return Run(tuning.drop(columns="candidate"), validation, test)


def measured(jobs: list[tuple[dict, grid.Cell]], words: str) -> pd.DataFrame:
    """What the cells give, one row a number: what the cell is, and the columns of Run."""
    rows = []
    for (label, _), found in zip(jobs, grid.run([cell for _, cell in jobs], words), strict=True):
        whole = {"weight_norm": math.hypot(*found["norms"].values()), "gradients": found["gradients"]}
        numbers = [(*accuracy, "accuracy") for accuracy in found["accuracy"]]
        numbers += [(FLOAT, "none", value, metric) for metric, value in whole.items()]
        for bits, rule, value, metric in numbers:
            row = {"eval_bits": bits, "scale_rule": rule, "metric": metric, "value": value}
            rows.append(label | row)
    return pd.DataFrame(rows)


def ranked(jobs: Jobs, tried: pd.DataFrame) -> pd.DataFrame:
    """KEYS, learning_rate, strength, mean, ci_low, ci_high, n, gradients (of all n), chosen, candidate.

    mean: of the scores that `benchmark` names. strength is nan where the method has none.
    """
    one = [*KEYS, "candidate"]
    accuracies = tried[own_width(tried) & (tried.metric == "accuracy") & (tried.eval_bits != FLOAT)]
    best = accuracies.groupby([*one, "replicate", "eval_bits"], sort=False)["value"].max()
    scores = best.groupby([*one, "replicate"], sort=False).mean()
    gradients = tried[tried.metric == "gradients"].groupby(one, sort=False)["value"].sum()
    settings = dict(zip(jobs.arms, jobs.candidates, strict=True))
    rows = []
    for key, values in scores.groupby(one, sort=False):
        rate, strength = settings[Arm(*key[:-1])][key[-1]]
        row = {"learning_rate": rate, "strength": strength, "gradients": int(gradients[key])}
        rows.append(dict(zip(one, key, strict=True)) | row | statistics.mean_interval(values))
    table = pd.DataFrame(rows)
    first = table["mean"].round(12).groupby([table[key] for key in KEYS], sort=False).idxmax()
    return table.assign(chosen=table.index.isin(first))


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """vision, vision_any and vision_tuning (means), vision_paired and vision_any_paired (differences).

    vision: KEYS, eval_bits (FLOAT: not rounded), scale_rule (absmax, mse, learned, none, or chosen: the
    one that validated best), metric (accuracy, weight_norm, gradients), mean, ci_low, ci_high, n.
    vision_any: KEYS, scale_rule, quantity (mean or worst over the bit-widths), mean, ci_low, ci_high, n.
    vision_paired: arms without a width and those trained for the width at hand, see `differences`.
    """
    test, known = (with_chosen(rows, run.validation) for rows in (run.test, run.validation))
    anywhere = over_bits(test), over_bits(known)
    here = test[own_width(test)], known[own_width(known)]
    everything = pd.concat([test, run.test[run.test.metric != "accuracy"]])
    return {
        "vision": means(everything, [*KEYS, "eval_bits", "scale_rule", "metric"]),
        "vision_any": means(anywhere[0], [*KEYS, "scale_rule", "quantity"]),
        "vision_paired": differences(*here, ["eval_bits", "scale_rule"]),
        "vision_any_paired": differences(*anywhere, ["scale_rule", "quantity"]),
        "vision_tuning": run.tuning,
    }
