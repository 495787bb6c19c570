"""Small language models, and their fine-tunings in this process."""

import math

import numpy as np
import torch

from t0qat.experiments import trained, trial
from t0qat.experiments.arms import Arm
from t0qat.training import corpora, methods
from t0qat.training.language_models import SMALL, laid_out, packed, small
from t0qat.training.streams import stream

CONTEXT = 16


SHARED = {"context": CONTEXT, "steps": 3, "batch_size": 4, "schedule": "cosine", "seed": 0}


SHARED |= {"device": "cpu"}


JUDGED = {"widths": [4, 2], "blocks": 3, "block_windows": 5}


def net_of(name, **layout):
    net = laid_out(small(name, 50, CONTEXT, stream("initialization", 3)), **layout)
    with torch.no_grad():  # no bias at 0, no norm at 1
        for p in net.parameters():
            p.add_(torch.from_numpy(stream("probe", 0).normal(0, 0.02, p.shape)))
    return net.eval()


IDS = torch.from_numpy(stream("data", 0).integers(50, size=(8, CONTEXT)))


def fine_tuning_of(corpus, model="small_llama", method="no_noise", bits=0, layout="channels", **other):
    """A training from an untrained start."""
    replicate, rate = other.pop("replicate", 0), other.pop("rate", 0.002)
    strength = other.pop("strength", math.nan)
    starts = other.pop("starts", None) or untrained(corpus, model, replicate)
    own = SHARED | {"part": "test", "replicate": replicate, "starts": starts} | other
    return trial.train("text", Arm(corpus, model, method, bits, layout), rate, strength, **own)


def compute(corpus, model="small_llama", method="no_noise", bits=0, judged=JUDGED, **other):
    """What a model is asked, in this process."""
    made = fine_tuning_of(corpus, model, method, bits, **other)
    return trained.at_widths(made.opened(made.made(), **made.arguments), method=method, **judged)


def untrained(corpus, model, replicate):
    if model not in SMALL:
        return {}
    size = len(set(corpora.load(corpus).text))
    return {(model, replicate): packed(small(model, size, CONTEXT, stream("initialization", replicate)))}


def means(rows, metric="bits_per_character"):
    """(bits, scale rule) -> mean over blocks."""
    found = {}
    for bits, rule, name, value, *_ in rows:
        if name == metric:
            found.setdefault((bits, rule), []).append(value)
    return {key: np.mean(values) for key, values in found.items()}


BLOCKS = {
    "small_gpt2": ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"],
    "small_llama": [f"self_attn.{x}_proj" for x in "qkvo"]
    + [f"mlp.{x}_proj" for x in ("gate", "up", "down")],
}


TEXT = methods.named(lambda method: method.text)


TINY = {"replicates": 3, "models": ["small_gpt2"], "few_models": [], "everything": []}


TINY |= {"trained_bits": [4, 2]}


TINY |= {"bits": [4, 2], "context": CONTEXT, "batch_size": 4, "pretraining_steps": 5, "steps": 3}


TINY |= {"blocks": 3, "block_windows": 5, "trainings": 4, "tuning_starts": 1, "rates": 2}


TINY |= {"lowest_rate": 0.0005, "highest_rate": 0.005, "device": "cpu"}
