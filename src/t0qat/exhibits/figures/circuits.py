"""Figure of circuits under device noise."""

import math

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from t0qat.exhibits.circuits import CHANNEL_LABELS, task_label
from t0qat.exhibits.figures.style import TEXT, in_font, legend_above, panels, points
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.on_circuits import DEVICE, WAYS
from t0qat.training.circuits import CHANNELS, Y_AXIS, flip, flip_chance, rotation
from t0qat.training.streams import stream

MARKS = "osD^vP"


@in_font
def circuits(table: pd.DataFrame) -> Figure:
    """Accuracy at all shots against a channel's strength: a row a task, a column a channel."""
    rows = table[(table.shots > 0) & (table.eval_bits == FLOAT)]
    models = [*dict.fromkeys(rows.model)]
    figure, axes = panels(
        0.7 + 1.1 * len(models), len(models), len(DEVICE), width=TEXT, sharex=True, sharey="row",
        squeeze=False,
    )  # fmt: skip
    for model, line in zip(models, axes, strict=True):
        for channel, panel in zip(DEVICE, line, strict=True):
            mine = rows[(rows.model == model) & rows.channel.isin([channel, "none"])]
            for i, way in enumerate(mine.way.unique()):
                here = mine[mine.way == way].sort_values("channel_strength")
                look = {"color": f"C{i}", "marker": MARKS[i % len(MARKS)], "markersize": 2.5}
                points(panel, here, here.channel_strength, **look, linewidth=0.8, label=WAYS[way].label)
            title = CHANNEL_LABELS[channel].replace(" ", "\n") if model == models[0] else ""
            panel.set_title(title, fontsize=6.5)
        line[0].set_ylabel(task_label(model))
    figure.supxlabel("Strength of the channel")
    figure.supylabel("Accuracy")
    legend_above(figure, axes.flat[0], 3, fontsize=6.5)
    return figure


@in_font
def qubit(deviation: float = 0.7) -> Figure:
    """A state, a gate, noise of this deviation on its angle, and channels: a cut through the ball.

    The cut holds X and Z; about Y turns what lies in it.
    """
    figure, axes = panels(2.3, 1, 4, width=TEXT, sharex=True, sharey=True)
    start = _at(torch.tensor(math.radians(-35)))
    turn = rotation(Y_AXIS, torch.tensor(math.radians(80), dtype=torch.float64))
    for panel, title in zip(axes, ("A state", "A gate", "Noise on its angle", "Channels"), strict=True):
        panel.set_title(title, fontsize=8)
        panel.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        _closed(panel, torch.eye(4, dtype=torch.float64), color="0.6", linewidth=0.8)
    state, gate, noise, channels = axes
    _arrow(state, start, color="C0")
    x, z = start[1].item(), start[3].item()
    state.plot([x, 0], [z, z], color="0.5", linestyle=":", linewidth=1)
    state.annotate("height:\nchance of 0", (0.08, z - 0.1), fontsize=6.5, va="top")
    _arrow(gate, start, color="0.7")
    _arrow(gate, turn @ start, color="C0")
    draws = torch.from_numpy(stream("evaluation_noise", 0).standard_normal(400)) * deviation
    noisy = rotation(Y_AXIS, draws) @ turn @ start
    noise.plot(noisy[:, 1], noisy[:, 3], ".", color="0.7", markersize=2, label="turns")
    noise.plot(*noisy.mean(0)[[1, 3]], "o", color="C0", markersize=5, label="their mean")
    chance = flip_chance(torch.tensor(deviation, dtype=torch.float64))
    flipped = flip(Y_AXIS, chance) @ turn @ start
    noise.plot(*flipped[[1, 3]], "o", color="C1", markersize=9, fillstyle="none", label="flips of Y")
    for number, name in enumerate(("dephasing", "depolarizing", "amplitude_damping")):
        channel = CHANNELS[name](torch.tensor(0.6, dtype=torch.float64))
        _closed(channels, channel, color=f"C{number}", label=CHANNEL_LABELS[name], linewidth=1.2)
    for panel in (noise, channels):
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), fontsize=6.5, handlelength=1)
    return figure


def _at(angle: torch.Tensor) -> torch.Tensor:
    """The state that zero turned by this angle about Y is, (4,)."""
    return rotation(Y_AXIS, angle.double()) @ torch.tensor([1.0, 0, 0, 1], dtype=torch.float64)


def _arrow(panel: Axes, state: torch.Tensor, **look) -> None:
    panel.annotate(
        "", state[[1, 3]].numpy(), (0, 0), arrowprops={"arrowstyle": "-|>", "lw": 1.5, **look}
    )


def _closed(panel: Axes, channel: torch.Tensor, **look) -> None:
    """What a channel makes of the circle."""
    circle = torch.stack([channel @ _at(torch.tensor(a)) for a in np.linspace(0, 2 * math.pi, 90)])
    panel.plot(circle[:, 1], circle[:, 3], **look)
