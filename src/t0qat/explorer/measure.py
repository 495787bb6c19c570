"""What the explorer shows at one setting: the published experiment, small networks, and circuits.

Work comes as generators: each yields (done, total) after a step of about 0.1 s, so that the caller may
let other work in, or stop, and returns its result. Every step is kept, so that moving one slider
computes only what that slider changes. Losses are those of published.published, to the bit.
"""

import inspect
import math
from collections import namedtuple
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from t0qat.experiments import on_circuits
from t0qat.experiments import published as experiment
from t0qat.experiments.published import Losses
from t0qat.pipeline import pin
from t0qat.quantization.layers import quantized
from t0qat.quantization.quantizers import Grid, fake_quantize, quantize
from t0qat.training import linear, loop
from t0qat.training.constants import CONSTANTS, XI, evaluation_noise
from t0qat.training.methods import on_layer
from t0qat.training.models import MODELS
from t0qat.training.streams import stream
from t0qat.training.tasks import digits
from t0qat.training.views import Method

BLOCK = 500  # replicates a step
NETWORKS = 4  # of each method
BITS = range(1, 9)
CIRCUITS = 4  # of each way of training

# What the experiment, and each method that it compares, takes where nothing is given. Of one name in
# several methods, that of the first.
PUBLISHED = {
    parameter.name: parameter.default
    for function in (*(method.build for method in [*on_layer().values()][::-1]), experiment.published)
    for parameter in inspect.signature(function).parameters.values()
    if parameter.default is not parameter.empty
}
# The numbers that the methods are set by, each with its rule.
STRENGTHS = {
    name: rule
    for method in on_layer().values()
    for name, rule in method.settings.items()
    if get_args(rule.type)[0] in (int, float)
}
FIELDS = [
    ("constant", "xi"),
    ("scaling", PUBLISHED["xi_scaling"]),
    *((name, PUBLISHED[name]) for name in STRENGTHS if name != "xi_scaling"),
    ("evaluation_noise", PUBLISHED["evaluation_noise"]),
    ("bits", 4),
    ("grid_range", Grid.range),
    ("grid_scale", Grid.scale),
    ("target", PUBLISHED["target"]),
    ("dataset", "synthetic"),
    ("replicates", BLOCK),
]
NETWORK = {"epochs": 40, "learning_rate": 0.02}  # few and long steps: pictures are to follow the slider
# As deep as a training of 0.1 s allows: the more gates, the more the device and the noise show.
CIRCUIT = {"digits": "38", "qubits": 4, "layers": 4}
CIRCUIT_TRAINING = {"learning_rate": 0.2, "steps": 40, "batch_size": 32}
# The channel in which training noise shows most. In the mean, noise on an angle about Z is this one.
DEVICE = "dephasing"
DEVICE_STRENGTHS = tuple(i / 10 for i in range(10))
AT_ONCE = on_circuits.PLAIN, on_circuits.PUBLISHED  # ways whose first circuits are drawn first
LINES = *AT_ONCE, on_circuits.CHANNEL


class Setting(namedtuple("Setting", [n for n, _ in FIELDS], defaults=[value for _, value in FIELDS])):
    """One value a control; names are those of the notebooks' parameters where there is one.

    xi_scaling is said by two: a constant, and what it is multiplied by.
    """

    __slots__ = ()

    @property
    def xi_scaling(self) -> float:
        """The scaling with which xi gives the same noise as the chosen constant with its own."""
        return CONSTANTS[self.constant] / XI * self.scaling

    @property
    def noise(self) -> float:
        """Standard deviation of T0-QAT's training noise, in units of the weights."""
        return XI * self.xi_scaling

    @property
    def disturbance(self) -> float:
        """Standard deviation of the evaluation noise, in units of the weights."""
        return evaluation_noise(self.evaluation_noise)

    @property
    def losses(self) -> tuple:
        """What the losses of the published experiment depend on."""
        own = self.evaluation_noise, self.target, self.dataset, self.replicates
        return *map(self.strengths, on_layer().values()), *own

    @property
    def networks(self) -> tuple:
        """What the networks on all widths depend on."""
        return *map(self.strengths, on_layer().values()), self.grid_range, self.grid_scale

    @property
    def circuits(self) -> float:
        """What the circuits depend on."""
        return self.xi_scaling

    @property
    def grid(self) -> Grid:
        """The chosen one."""
        return Grid(self.bits, self.grid_range, self.grid_scale)

    def grids(self) -> list[Grid]:
        """Those of the chosen range and scale rule, bits rising."""
        grids = experiment.all_grids(BITS, [self.grid_scale])
        return [grid for grid in grids if grid.range == self.grid_range]

    def strengths(self, method: Method) -> tuple[tuple[str, float], ...]:
        """Those that the method takes."""
        takes = inspect.signature(method.build).parameters
        return tuple((name, getattr(self, name)) for name in STRENGTHS if name in takes)


class Rounded(NamedTuple):
    """The ten weights of one replicate on their grid: arrays (10,), and losses."""

    weights: np.ndarray
    codes: np.ndarray
    step: float
    before: float  # loss
    after: float  # loss with rounded weights; the bias stays


class Linear(NamedTuple):
    """The published experiment by method: losses of all replicates, and the first one's weights."""

    setting: Setting
    losses: dict[str, Losses]
    rounded: dict[str, Rounded]


class Networks(NamedTuple):
    """Share of test images named rightly by method: (networks, grids + 1), the last not rounded."""

    setting: Setting
    accuracy: dict[str, np.ndarray]

    @property
    def number(self) -> int:
        """How many of each method."""
        return len(next(iter(self.accuracy.values())))


class Circuits(NamedTuple):
    """Share of test images named rightly on a device by way: (circuits, DEVICE_STRENGTHS)."""

    setting: Setting
    accuracy: dict[str, np.ndarray]

    @property
    def number(self) -> int:
        """How many of each way of LINES."""
        return len(self.accuracy.get(on_circuits.CHANNEL, ()))

    @property
    def own_strength(self) -> float:
        """Of the DEVICE's channel that T0-QAT's noise is, in the mean, after a rotation about Z."""
        return -math.expm1(-(self.setting.noise**2))


@lru_cache(48)
@pin.one_thread()
def _runs(dataset: str, target: str, first: int, stop: int) -> linear.Runs:
    return linear.Setup(target=target).runs(dataset, range(first, stop))


@lru_cache(48)
def _draws(d: int, first: int, stop: int) -> tuple[Tensor, Tensor]:
    """Of training and evaluation: those of every data set of so many features."""
    epochs, chunk, seed = PUBLISHED["epochs"], range(first, stop), PUBLISHED["seed"]
    noise = linear.noise_draws("training_noise", chunk, (epochs, d), seed)
    return noise, linear.noise_draws("evaluation_noise", chunk, (d,), seed)


@lru_cache(500)
@pin.one_thread()
def _trained(build: Callable, strengths: tuple, *where) -> Tensor:
    runs, view = _runs(*where), build(**dict(strengths))
    noise, _ = _draws(len(runs.start), *where[-2:])
    return runs.trained(view, noise)


def published(setting: Setting) -> Generator[tuple[int, int], None, Linear]:
    """The losses of the first run of published.published, on either data set."""
    parts, rounded, done = {}, {}, 0
    blocks = list(linear.chunks(setting.replicates, largest=BLOCK))
    for block in blocks:
        where = setting.dataset, setting.target, block.start, block.stop
        for name, method in on_layer().items():
            test = _runs(*where).test
            v = _trained(method.build, setting.strengths(method), *where)
            _, shift = _draws(len(v), block.start, block.stop)
            losses = experiment.disturbed(test, v, setting.disturbance * shift)
            parts.setdefault(name, []).append(losses)
            if block.start == 0:
                rounded[name] = _rounded(test, v, setting.grid)
            done += 1
            yield done, len(blocks) * len(on_layer())
    return Linear(setting, {name: experiment.joined(each) for name, each in parts.items()}, rounded)


def _rounded(test: linear.Moments, trained: Tensor, grid: Grid) -> Rounded:
    first = trained[:, :1].double()
    codes, step = quantize(first[:-1, 0], grid)
    one = linear.Moments(*(part[..., :1] for part in test))
    before, after = (one.loss(v).item() for v in (first, experiment.rounded(first, grid)))
    return Rounded(first[:-1, 0].numpy(), codes.numpy(), step.item(), before, after)


@lru_cache(256)
def _network(build: Callable, strengths: tuple, replicate: int) -> nn.Module:
    """An MLP that read the digits, all training images in each step."""
    data, seed = digits(replicate, PUBLISHED["seed"]), PUBLISHED["seed"]
    return loop.train(
        MODELS["mlp"](stream("initialization", replicate, seed)),
        torch.from_numpy(data.inputs),
        torch.from_numpy(data.target),
        build(**dict(strengths)),
        stream("training_noise", replicate, seed),
        loss=cross_entropy,
        **NETWORK,
    )


@lru_cache(2048)
@pin.one_thread()
def _shares_right(build: Callable, strengths: tuple, replicate: int, grids: tuple) -> list[float]:
    net, data = _network(build, strengths, replicate), digits(replicate, PUBLISHED["seed"])
    weights = quantized(dict(net.named_parameters()))
    seen = [{name: fake_quantize(w.detach(), on) for name, w in weights.items()} for on in grids]
    inputs, truth = torch.from_numpy(data.test_inputs), torch.from_numpy(data.test_target)
    with torch.no_grad():
        answers = [functional_call(net, each, (inputs,)).argmax(1) for each in (*seen, {})]
    return [(answer == truth).double().mean().item() for answer in answers]


def networks(setting: Setting, number: int = NETWORKS) -> Generator[tuple[int, int], None, Networks]:
    """Networks with one hidden layer that read the digits, on the grids of every width."""
    rows = {name: [] for name in on_layer()}
    for replicate in range(number):
        for i, (name, method) in enumerate(on_layer().items(), 1):
            what = method.build, setting.strengths(method), replicate, tuple(setting.grids())
            rows[name].append(_shares_right(*what))
            yield replicate * len(rows) + i, number * len(rows)
    return Networks(setting, {name: np.array(row) for name, row in rows.items()})


@lru_cache(2048)
@pin.one_thread()
def _on_device(way: str, xi_scaling: float | None, replicate: int) -> list[float]:
    own = CIRCUIT | {"part": "test", "replicate": replicate, "seed": PUBLISHED["seed"]}
    weights = on_circuits.fit(way=way, xi_scaling=xi_scaling, **CIRCUIT_TRAINING, **own)
    trained = on_circuits.opened(weights, **own)
    with torch.no_grad():
        chances = trained.chances(trained.angles, DEVICE, DEVICE_STRENGTHS)
    return [dict(trained.scores(each))["accuracy"] for each in chances]


def circuits(
    setting: Setting, number: int = CIRCUITS, ways: tuple[str, ...] = LINES
) -> Generator[tuple[int, int], None, Circuits]:
    """Quantum circuits that tell two digits apart, on devices of every strength."""
    rows = {way: [] for way in ways}
    for replicate in range(number):
        for i, way in enumerate(ways, 1):
            noise = None if way == on_circuits.PLAIN else setting.circuits
            rows[way].append(_on_device(way, noise, replicate))
            yield replicate * len(ways) + i, number * len(ways)
    return Circuits(setting, {way: np.array(row) for way, row in rows.items()})
