"""Figures of the theory: chances of a reduction, the loss under noise, and training over time."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from t0qat.exhibits.figures.style import (
    PLACE,
    STYLES,
    in_font,
    legend_above,
    only,
    panels,
    points,
    style,
)
from t0qat.exhibits.theory import NETWORK_LABELS, at_fitted_noise
from t0qat.training.constants import REPORTED_REDUCTION, XI, XI_SCALING


def _mark(panel: Axes, places: dict[str, float], y: float) -> None:
    """Named vertical lines, their names at height y of the panel."""
    for name, x in places.items():
        panel.axvline(x, **PLACE)
        panel.annotate(
            f" {name}", (x, y), xycoords=("data", "axes fraction"), fontsize=7, color="0.3",
            rotation=90, ha="left", va="bottom",
        )  # fmt: skip


@in_font
def reductions(table: pd.DataFrame) -> Figure:
    """How often a second run's drop is smaller by a fraction: theory as lines, draws as marks."""
    table = at_fitted_noise(table).sort_values("reduction", kind="stable")
    words = {"standard_qat": "Standard", "t0_qat": "T0"}
    figure, panel = panels(2.4)
    pairs = table.groupby(["method", "other"], sort=False)
    for line, ((method, other), part) in zip(STYLES, pairs, strict=False):
        panel.plot(part.reduction, part.exact, **only(line, "color", "linestyle"))
        label = f"{words.get(method, method)}, then {words.get(other, other)}"
        look = line | {"linestyle": "", "markersize": 3.5, "markerfacecolor": "white", "label": label}
        points(panel, part, part.reduction, **look)
    _mark(panel, {"reported": REPORTED_REDUCTION}, y=0.4)
    panel.set(
        xlabel="Reduction of the drop, second run against first", ylabel="Chance of it or more",
        ylim=(-0.03, 1.03),
    )  # fmt: skip
    panel.legend()
    return figure


@in_font
def expansion(table: pd.DataFrame) -> Figure:
    """Excess loss under noise over sigma^2 / 2 tr(H), against sigma; the band is where theory holds."""
    figure, panel = panels(3)
    panel.axhspan(0.9, 1.1, color="0.88")
    lines = [*STYLES, {"color": "black", "linestyle": (0, (1, 1)), "marker": "x"}]
    networks = table[table.quantity == "ratio"].groupby("network", sort=False)
    for line, (network, part) in zip(lines, networks, strict=False):
        label = NETWORK_LABELS.get(network, network)
        points(panel, part, part.noise_scale, markersize=3, linewidth=1, label=label, **line)
    _mark(panel, {"xi": XI, "published": XI * XI_SCALING}, y=0.02)
    panel.set(xscale="log", yscale="log", ylim=(0.1, None), xlim=(None, 40))
    panel.set(
        xlabel=r"Noise scale $\sigma$", ylabel=r"Excess loss / $\frac{1}{2}\sigma^2\,\mathrm{tr}\,H$"
    )
    legend_above(figure, panel, 2, fontsize=6)
    return figure


@in_font
def training(table: pd.DataFrame) -> Figure:
    """Explained variance and what is left of the way, over epochs, at a constant and a decaying rate."""
    figure, axes = panels(3.8, 2, sharex=True)
    table = table[table.epoch > 0]
    shown = {"explained": "Explained variance", "left": "Distance left / at start"}
    for panel, (quantity, label) in zip(axes, shown.items(), strict=True):
        rows = table[table.quantity == quantity]
        for (method, schedule), mine in rows.groupby(["method", "schedule"], sort=False):
            look = style(method)
            if schedule == "constant":
                look |= {"marker": ""}
            else:
                look |= {"linestyle": "", "label": f"{look['label']}, decaying rate"}
            points(panel, mine, mine.epoch, markersize=4, **look)
        panel.set(xscale="log", ylabel=label, ylim=(-0.05, 1.05))
    for _, part in table[table.quantity == "left_predicted"].groupby("method", sort=False):
        axes[1].plot(part.epoch, part["mean"], color="0.7", linewidth=3, zorder=0, label="Diffusion")
    axes[1].set_xlabel("Epochs")
    legend_above(figure, axes[1], 2, fontsize=6)
    return figure
