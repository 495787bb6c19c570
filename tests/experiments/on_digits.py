"""Trainings on the digits, and what they are asked."""

from t0qat.experiments import trained, trial
from t0qat.experiments.arms import Arm

SHARED = {"epochs": 1, "batch_size": 128, "schedule": "cosine", "seed": 0, "device": "cpu"}


WIDTHS = [4, 2]


def training(model="mlp", method="no_noise", bits=0, *, replicate=0, part="test", rate=0.01, **other):
    strength = other.pop("strength", None)
    arm = Arm(other.pop("dataset", "digits"), model, method, bits)
    return trial.train("images", arm, rate, strength, replicate=replicate, part=part, **SHARED | other)


def compute(model="mlp", method="no_noise", bits=0, *, ask=trained.at_widths, **other):
    """What a training is asked, in this process."""
    return by_metric(asked(training(model, method, bits, **other), method, ask))


def asked(made, method, ask=trained.at_widths, widths=WIDTHS):
    return ask(made.opened(made.made(), **made.arguments), method=method, widths=widths)


def by_metric(numbers):
    """Rows of a cell as metric -> rows [bits, scale rule, value]."""
    found = {metric: [] for *_, metric, _ in numbers}
    for bits, rule, metric, value in numbers:
        found[metric].append([bits, rule, value])
    return found
