"""What a trained network is asked: its metrics rounded to any width by any rule, its loss, its integers.

Each question is the function of a cell of the grid that reads a training (room `trial`):
one added here computes itself, and no network anew.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch

from t0qat.experiments.arms import FLOAT, is_importable, known, room
from t0qat.experiments.learning import Learner
from t0qat.pipeline import grid
from t0qat.quantization import gptq, layers, quantizers, rounding
from t0qat.quantization.layers import quantized
from t0qat.quantization.quantizers import SCALES, Grid
from t0qat.quantization.rounding import Codes, rounded
from t0qat.training.methods import REGISTRY

LARGEST = torch.finfo(torch.float32).max


def codes_of(trained: Learner, method: str, bits: int, rule: str) -> Codes:
    """Codes and steps of the quantized weights, as this method's networks are rounded by this rule."""
    network = rounding.Network(trained.net, trained.extra, trained.calibration)
    return rounding.codes_of(network, REGISTRY[method].rounding, bits, rule)


def gradients(trained: Learner, method: str) -> int:
    """Evaluations on one batch, of its training."""
    return REGISTRY[method].gradients * trained.steps


def at_widths(trained: Learner, *, method: str, widths: list[int], **judged: int) -> list[list]:
    """Rows [bits, scale rule, metric, value, ...] of every rule, for FLOAT and each of the widths.

    judged: what Learner.scores takes. Metrics: those of Learner.scores; and weight_norm, the 2-norm of
    all quantized weights, at most LARGEST, and gradients.
    """
    weights = quantized(dict(trained.net.named_parameters())).values()
    norm = torch.cat([w.detach().flatten() for w in weights]).norm().nan_to_num(LARGEST, LARGEST)
    unrounded = [*trained.scores(trained.net, None, None, **judged)]
    unrounded += [["weight_norm", norm.item()], ["gradients", gradients(trained, method)]]
    found = [[FLOAT, "none", *row] for row in unrounded]
    for bits in widths:
        for rule in dict.fromkeys([*SCALES, REGISTRY[method].rule(bits, trained.bits)]):
            codes = codes_of(trained, method, bits, rule)
            on = Grid(bits, scale=rule if rule in SCALES else "absmax")
            scores = trained.scores(rounded(trained.net, codes), codes, on, **judged)
            found += [[bits, rule, *row] for row in scores]
    return found


def criterion(trained: Learner, *, method: str, widths: list[int], **judged: int) -> list[list]:
    """What tuning compares: rows [bits, scale rule, metric, value], at the method's own rule.

    Metrics: loss, and, before rounding, gradients.
    """
    found = [[FLOAT, "none", "loss", trained.criterion(trained.net, **judged)]]
    found += [[FLOAT, "none", "gradients", gradients(trained, method)]]
    for bits in widths:
        rule = REGISTRY[method].rule(bits, trained.bits)
        net = rounded(trained.net, codes_of(trained, method, bits, rule))
        found.append([bits, rule, "loss", trained.criterion(net, **judged)])
    return found


def asked(question: Callable[..., Any], training: grid.Training, method: str, **arguments) -> grid.Cell:
    """The cell that asks this of a training, rounded as this method's networks are.

    What the function of a notebook or script depends on cannot be seen, so what its networks are asked
    is not kept.
    """
    every = (sys.modules[__name__], *room(question), quantizers, rounding, layers)
    every += (gptq,) if REGISTRY[method].rounding == "gptq" else ()
    kept = is_importable(REGISTRY[method])
    return grid.Cell(question, {"method": method} | arguments, every, known(method), kept, training)
