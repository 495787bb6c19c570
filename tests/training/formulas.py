"""Every method by its own closed form, and a small problem to hold it against."""

import copy

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from t0qat.training.methods import REGISTRY


def moved(model: nn.Module, points: dict[str, torch.Tensor]) -> nn.Module:
    """A copy of the model whose stored parameters are the points."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in copied.named_parameters():
            parameter.copy_(points[name])
    return copied


class Problem:
    """A small convolution network, its batch, and what each loss of an objective was shown."""

    def __init__(self, dtype=torch.float64, seed=11):
        generator = torch.Generator().manual_seed(seed)
        layers = nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 5)
        self.model = nn.Sequential(*layers).to(dtype)
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(0.4 * torch.randn(p.shape, generator=generator))
        self.inputs = torch.randn(20, 2, 4, 4, generator=generator, dtype=dtype)
        self.classes = torch.randint(0, 5, (20,), generator=generator)
        self.weights = dict(self.model.named_parameters())
        self.shown = []

    def loss(self, seen, which=0):
        self.shown.append(self.at(seen))
        inputs = self.batch(which)
        return cross_entropy(functional_call(self.model, seen, (inputs,)), self.classes)

    def batch(self, which):
        return self.inputs + which / 10

    def at(self, seen):
        return {name: seen.get(name, p).detach().clone() for name, p in self.weights.items()}

    def slope(self, points, which=0) -> dict[str, torch.Tensor]:
        """The gradient of the plain loss at these weights, from a copy of the network."""
        copied = moved(self.model, points)
        cross_entropy(copied(self.batch(which)), self.classes).backward()
        return {name: p.grad for name, p in copied.named_parameters()}

    def gradient(self, objective, draws, extra=None):
        """What the objective leaves in the stored weights and its own parameters."""
        extra = objective.extra(self.weights) if extra is None else extra
        value = objective.value(self.loss, self.weights | extra, draws)
        names = self.weights | extra
        slopes = torch.autograd.grad(value, [*names.values()], allow_unused=True)
        return {name: g for name, g in zip(names, slopes, strict=True) if g is not None}


BITS = 3


LOW, HIGH = -4, 3


QUANTIZED = ("0.weight", "3.weight")  # the convolution and the linear layer, not their biases


def step(w):
    """2 max|w| / (2**bits - 1) of each output channel, shaped for w."""
    return (2 * w.flatten(1).abs().amax(1) / 7).view(-1, *[1] * (w.ndim - 1))


def normals(draws, weights):
    return {
        name: torch.from_numpy(draws.standard_normal(w.shape, np.float32)).to(w)
        for name, w in weights.items()
    }


def shifted(weights, shift):
    return {name: w + shift.get(name, 0) for name, w in weights.items()}


def added(scale):
    """Gaussian noise on every parameter, biases too."""

    def oracle(slope, w, draws):
        shift = {name: scale * e for name, e in normals(draws, w).items()}
        return slope(shifted(w, shift))

    return oracle


def of_ste(slope, w, draws, low=LOW, high=HIGH, levels=7):
    seen, mask = dict(w), {}
    for name in QUANTIZED:
        scale = step(w[name]) * 7 / levels
        code = np.rint((w[name] / scale).numpy())
        seen[name] = torch.from_numpy(np.clip(code, low, high)) * scale
        mask[name] = torch.from_numpy((code >= low) & (code <= high))
    return {name: g * mask.get(name, 1) for name, g in slope(seen).items()}


def of_replicas(slope, w, draws):
    """Each of five on a batch of its own; before the first step nothing couples them."""
    found = {}
    for k in range(5):
        for name, g in of_ste(lambda points, k=k: slope(points, k), w, draws).items():
            found[f"replicas.{k}.{name}"] = g
    return found


def of_random_bits(slope, w, draws):
    bits = (8, 4, 3, 2)[draws.integers(4)]
    return of_ste(slope, w, draws, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 2**bits - 1)


def of_lsq(slope, w, draws, factor=1.0):
    """Equations 1, 3 and 5 of the paper, one channel at a time."""
    seen, back = dict(w), {}
    for name in QUANTIZED:
        rows = w[name].flatten(1).numpy()
        steps = factor * 2 * np.abs(rows).mean(1) / np.sqrt(HIGH)
        ratio = rows / steps[:, None]
        code = np.where(ratio <= LOW, LOW, np.where(ratio >= HIGH, HIGH, np.rint(ratio)))
        inside = (ratio > LOW) & (ratio < HIGH)
        seen[name] = torch.from_numpy(code * steps[:, None]).view_as(w[name])
        back[name] = inside, np.where(inside, np.rint(ratio) - ratio, code)
    found = slope(seen)
    for name, (inside, by_step) in back.items():
        rows = found[name].flatten(1).numpy()
        own = (rows * by_step).sum(1) / np.sqrt(rows.shape[1] * HIGH)
        found[name + ".step"] = torch.from_numpy(own)
        found[name] = torch.from_numpy(rows * inside).view_as(w[name])
    return found


def of_matched_noise(slope, w, draws):
    drawn = normals(draws, {name: w[name].flatten(1) for name in QUANTIZED})
    return slope(shifted(w, {k: step(w[k]) / 12**0.5 * drawn[k].view_as(w[k]) for k in QUANTIZED}))


def of_diffq(slope, w, draws):
    """The largest weight of a channel also moves the channel's step: 2 / 7 * sign(w) * <g, u>."""
    u = {name: torch.from_numpy(draws.random(w[name].shape, np.float32)) - 0.5 for name in QUANTIZED}
    found = slope(shifted(w, {name: step(w[name]) * u[name] for name in QUANTIZED}))
    for name in QUANTIZED:
        rows, through = w[name].flatten(1), (found[name] * u[name]).flatten(1).sum(1)
        largest = rows.abs().argmax(1)
        for channel, i in enumerate(largest):
            found[name].view(rows.shape)[channel, i] += (
                2 / 7 * rows[channel, i].sign() * through[channel]
            )
    return found


def of_two_points(slope, w, draws):
    shift = {name: 0.01 * e for name, e in normals(draws, w).items()}
    up = slope(shifted(w, shift))
    down = slope(shifted(w, {name: -e for name, e in shift.items()}))
    return {name: (up[name] + down[name]) / 2 for name in w}


def of_sam(slope, w, draws):
    first = slope(w)
    norm = np.sqrt(sum((g.numpy() ** 2).sum() for g in first.values()))
    return slope(shifted(w, {name: 0.05 * g / norm for name, g in first.items()}))


def of_kure(slope, w, draws):
    """dk / dw = 4 / n * [(c^3 - mean c^3) / v^2 - k * c / v], c = w - mean w, v = var w."""
    found = slope(w)
    for name in QUANTIZED:
        c = w[name].numpy() - w[name].numpy().mean()
        v, k = c.var(), stats.kurtosis(c, None, fisher=False)
        by_weight = 4 / c.size * ((c**3 - (c**3).mean()) / v**2 - k * c / v)
        found[name] += torch.from_numpy(2 * (k - 1.8) / 2 * by_weight)
    return found


def of_uniform_noise(slope, w, draws):
    """Standard deviation 32 / 3, on biases too."""
    u = {k: torch.from_numpy(draws.random(p.shape, np.float32) - 0.5).to(p) for k, p in w.items()}
    return slope(shifted(w, {name: 32 / 3 * 12**0.5 * e for name, e in u.items()}))


def of_weights_only_noise(slope, w, draws):
    drawn = normals(draws, {name: w[name] for name in QUANTIZED})
    return slope(shifted(w, {name: 32 / 3 * e for name, e in drawn.items()}))


def of_relative_noise(slope, w, draws):
    """A tenth of each channel's root mean square, one channel at a time."""
    drawn = normals(draws, {name: w[name].flatten(1) for name in QUANTIZED})
    shift = {}
    for name, e in drawn.items():
        rows = w[name].flatten(1).numpy()
        size = [0.1 * np.sqrt(np.mean(row**2)) for row in rows]
        shift[name] = (torch.tensor(size, dtype=e.dtype)[:, None] * e).view_as(w[name])
    return slope(shifted(w, shift))


def of_two_bit_noise(slope, w, draws):
    drawn = normals(draws, {name: w[name].flatten(1) for name in QUANTIZED})
    shift = {k: step(w[k]) * 7 / 3 / 12**0.5 * drawn[k].view_as(w[k]) for k in QUANTIZED}
    return slope(shifted(w, shift))


def by_weight(w, see):
    """What see(row, largest) gives of each quantized weight: (seen, what its gradient is times)."""
    seen, times = dict(w), {}
    for name in QUANTIZED:
        pairs = [see(row, np.abs(row).max()) for row in w[name].flatten(1).numpy()]
        seen[name], times[name] = (
            torch.from_numpy(np.stack(part)).view_as(w[name]) for part in zip(*pairs, strict=True)
        )
    return seen, times


def back(found, times):
    return {name: g * times.get(name, 1) for name, g in found.items()}


def of_lotion(slope, w, draws):
    def see(row, largest):
        ratio = row / (2 * largest / 7)
        up = draws.random(row.shape, np.float32) >= 1 - (ratio - np.floor(ratio))
        return np.minimum(np.floor(ratio) + up, HIGH) * 2 * largest / 7, np.ones_like(row)

    seen, times = by_weight(w, see)
    return back(slope(seen), times)


def of_stable_qat(slope, w, draws):
    """The authors' code: their cosine is of pi (x + round(x) - 1)."""

    def see(row, largest):
        ratio = row / (2 * largest / 7)
        code = np.rint(ratio)
        cosine = np.cos(np.pi * (ratio + code - 1))
        k = 2**0.5 * 0.21 * np.pi
        slope = (1 + k * cosine) / (1 - k * cosine)
        return np.clip(code, LOW, HIGH) * 2 * largest / 7, slope * ((code >= LOW) & (code <= HIGH))

    seen, times = by_weight(w, see)
    return back(slope(seen), times)


def of_quest(slope, w, draws):
    """The authors' code: the range is 2.051 root mean squares, the trust a seventh of it."""

    def see(row, largest):
        reach = 2.051068354131873 * np.sqrt(np.mean(row**2))
        width = 2 * reach / 7
        level = np.rint(np.clip(row, -reach, reach) / width + 0.5) * width - width / 2
        return level, (np.abs(level - row) <= reach / 7).astype(float)

    seen, times = by_weight(w, see)
    return back(slope(seen), times)


def of_seq(slope, w, draws):
    """The authors' code at 3 bits: levels (k + 1/2) / 4 of the learned range."""

    def see(row, largest):
        ratio = row / largest
        level = (np.rint(np.clip(ratio, -0.99, 0.99) * 4 - 0.5) + 0.5) / 4
        return level * largest, (np.abs(ratio) <= 0.99).astype(float)

    seen, times = by_weight(w, see)
    slopes = slope(seen)
    found = back(slopes, times)
    for name in QUANTIZED:
        rows = w[name].flatten(1).numpy()
        largest = np.abs(rows).max(1)[:, None]
        level = seen[name].flatten(1).numpy() / largest
        inside = times[name].flatten(1).numpy()
        own = (slopes[name].flatten(1).numpy() * (level - inside * rows / largest)).sum(1)
        found[name + ".step"] = torch.from_numpy(own / np.sqrt(rows.shape[1] * HIGH))
    return found


def of_matryoshka(slope, w, draws):
    bits = (8, 4, 3, 2)[draws.integers(4)]

    def see(row, largest):
        width = 2 * largest / 255
        stored = np.clip(np.rint(row / width), -128, 127)
        upper = np.rint(stored / 2 ** (8 - bits))
        kept = np.clip(upper, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return kept * 2 ** (8 - bits) * width, (upper == kept).astype(float)

    seen, times = by_weight(w, see)
    return back(slope(seen), times)


PLAIN = added(0.0)


ORACLES = {
    "standard_qat": added(0.4),
    "t0_qat": added(32 / 3),
    "no_noise": PLAIN,
    "xi_alone": added(4 / 3 * 1e-4),
    "t0_qat_tuned": added(32 / 3),
    "gptq": PLAIN,
    "longer": PLAIN,
    "not_tuned": PLAIN,
    "ste": of_ste,
    "lsq": of_lsq,
    "parq": PLAIN,
    "matched_noise": of_matched_noise,
    "diffq": of_diffq,
    "two_point_noise": of_two_points,
    "sam": of_sam,
    "kure": of_kure,
    "random_bits": of_random_bits,
    "uniform_noise": of_uniform_noise,
    "annealed_noise": added(32 / 3),  # in the first step
    "weights_only_noise": of_weights_only_noise,
    "relative_noise": of_relative_noise,
    "two_bit_noise": of_two_bit_noise,
    "weight_decay": PLAIN,
    "lotion": of_lotion,
    "stable_qat": of_stable_qat,
    "cage": of_ste,
    "quest": of_quest,
    "seq": of_seq,
    "matryoshka": of_matryoshka,
    "ring": of_replicas,
    "star": of_replicas,
}


def objective_of(name):
    method = REGISTRY[name]
    return method.objective(**({"bits": BITS} if method.for_bits else {}))
