"""The explorer's four pictures. Each is made once on its axes; a new result only changes its data.

Limits follow the data until the reader zooms or pans; then they stay as the reader left them.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter

from t0qat.constants import REPORTED
from t0qat.explorer.measure import BITS, Linear, Networks
from t0qat.figures import density, style
from t0qat.methods import METHODS

SHOWN = 1000  # runs drawn as points, at most
LINES = 64  # codes of a grid drawn as lines, at most


class Picture:
    """Axes whose limits are ours until the reader changes them."""

    def __init__(self, axes: Axes):
        self.axes = axes
        self.ours = {"x": {axes.get_xlim()}, "y": {axes.get_ylim()}}

    def limit(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Set both limits; where either is not one that we set, the reader has zoomed: leave both."""
        if self.axes.get_xlim() not in self.ours["x"] or self.axes.get_ylim() not in self.ours["y"]:
            return
        self.axes.set(xlim=x, ylim=y)
        self.ours["x"].add(self.axes.get_xlim())
        self.ours["y"].add(self.axes.get_ylim())
        toolbar = getattr(self.axes.figure.canvas, "toolbar", None)
        if toolbar is not None:
            toolbar.update()  # its home is here now


def _line(method: str) -> dict:
    return {key: value for key, value in style(method).items() if key != "marker"}


def _points(method: str) -> dict:
    look = style(method)
    return {"linestyle": "", "color": look["color"], "marker": look["marker"]}


class Drops(Picture):
    """Distribution of the drop in single runs, peak 1, and the reported drops."""

    def __init__(self, axes: Axes):
        axes.set(xlabel="Drop: loss added by the disturbance", yticks=[], ylim=(0, 1.1))
        axes.set_ylabel("Density of runs, peak = 1")
        self.curves = {m: axes.plot([], [], label=METHODS[m].label, **_line(m))[0] for m in METHODS}
        self.reported = {
            m: axes.plot([], [], color=style(m)["color"], marker="v", markersize=8, clip_on=False)[0]
            for m in REPORTED
        }
        axes.plot([], [], color="0.4", marker="v", linestyle="", label="Reported")
        axes.legend(frameon=False)
        super().__init__(axes)

    def update(self, found: Linear) -> None:
        seen = []
        for method, curve in self.curves.items():
            at, height = density(found.losses[method].drop)
            curve.set_data(at, height)
            seen.append(at)
        for method, mark in self.reported.items():
            drop = [REPORTED[method]["drop"]] if found.setting.dataset == "synthetic" else []
            mark.set_data(drop, [0.04] * len(drop))
            seen.append(drop)
        seen = np.concatenate([*seen, [0.0]])
        self.limit(_around(seen), (0, 1.1))


def _around(values: np.ndarray) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin


class BeforeAfter(Picture):
    """Loss after the disturbance against loss before it, a point a run."""

    def __init__(self, axes: Axes):
        axes.set(xscale="log", yscale="log", xlabel="Full-precision loss", ylabel="Quantized loss")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())  # each tick takes time to draw
        axes.axline((1, 1), (2, 2), color="0.6", linewidth=0.8, label="No drop")
        self.points, self.means = {}, {}
        for m in METHODS:
            look = _points(m)
            (self.points[m],) = axes.plot([], [], markersize=2.5, alpha=0.35, mew=0, **look)
            edge = {"markeredgecolor": "white", "markersize": 9, "zorder": 3}
            (self.means[m],) = axes.plot([], [], label=METHODS[m].label, **edge, **look)
        axes.legend(title="Means", loc="lower right", framealpha=0.8, edgecolor="none")
        super().__init__(axes)

    def update(self, found: Linear) -> None:
        seen = []
        for method, losses in found.losses.items():
            pair = np.array(losses)
            self.points[method].set_data(*pair[:, :SHOWN])
            self.means[method].set_data(*pair.mean(1)[:, None])
            seen.append(np.quantile(pair, [0.002, 0.998]))
        low, high = np.min(seen), np.max(seen)
        limits = low / 1.3, high * 1.3
        self.limit(limits, limits)


class Accuracy(Picture):
    """Accuracy of the digits' networks against bits; whiskers from the lowest to the highest."""

    FLOAT = max(BITS) + 1

    def __init__(self, axes: Axes):
        axes.set(xlabel="Bits of every weight", ylabel="Right test images")
        axes.set_xticks([*BITS, self.FLOAT], [*map(str, BITS), "float"])
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.axhline(0.1, color="0.6", linewidth=0.8)
        axes.annotate("guessing", (self.FLOAT, 0.03), fontsize=7, color="0.35", ha="right")
        self.chosen = axes.axvline(0, color="0.85", linewidth=9, zorder=0)
        self.lines, self.whiskers = {}, {}
        for m in METHODS:
            (self.lines[m],) = axes.plot([], [], label=METHODS[m].label, markersize=4, **style(m))
            self.whiskers[m] = axes.add_collection(LineCollection([], colors=style(m)["color"]))
        axes.legend(frameon=False, loc="center right")
        super().__init__(axes)
        self.choose(BITS[-1])

    def choose(self, bits: int) -> None:
        """Mark the chosen width."""
        self.chosen.set_xdata([bits, bits])

    def update(self, found: Networks) -> None:
        self.choose(found.setting.bits)
        at = [*(grid.bits for grid in found.setting.grids()), self.FLOAT]
        for method, accuracy in found.accuracy.items():
            each = np.column_stack([accuracy, found.unrounded[method]])
            self.lines[method].set_data(at, each.mean(0))
            ends = zip(at, each.min(0), each.max(0), strict=True)
            self.whiskers[method].set_segments([[(x, low), (x, high)] for x, low, high in ends])
        self.limit((min(BITS) - 0.5, self.FLOAT + 0.5), (0, 1.02))


class OnGrid(Picture):
    """The ten weights of the first replicate, in steps of their grid: before (open), after (filled)."""

    def __init__(self, axes: Axes):
        axes.set(xlabel="Weight", ylabel="Weight / step, and its integer code")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        self.codes = axes.add_collection(LineCollection([], colors="0.85", linewidths=0.8, zorder=0))
        self.before, self.after, self.moves = {}, {}, {}
        for m in _compared():
            look = _points(m)
            self.moves[m] = axes.add_collection(LineCollection([], colors=look["color"], zorder=1))
            (self.before[m],) = axes.plot([], [], markerfacecolor="white", markersize=5, **look)
            (self.after[m],) = axes.plot([], [], label=METHODS[m].label, markersize=5, **look)
        axes.legend(loc="lower left", framealpha=0.9, edgecolor="none")
        super().__init__(axes)

    def update(self, found: Linear) -> None:
        low, high = found.setting.grid.codes
        offsets = np.linspace(-0.15, 0.15, len(self.after))
        for offset, method in zip(offsets, self.after, strict=True):
            mine = found.rounded[method]
            at, exact = np.arange(1, len(mine.codes) + 1) + offset, mine.weights / mine.step
            self.before[method].set_data(at, exact)
            self.after[method].set_data(at, mine.codes)
            ends = zip(at, exact, mine.codes, strict=True)
            self.moves[method].set_segments([[(x, a), (x, b)] for x, a, b in ends])
        codes = np.arange(low, high + 1)
        codes = codes if len(codes) <= LINES else np.array([low, high])
        self.codes.set_segments([[(0, code), (11, code)] for code in codes])
        exact = [m.weights / m.step for m in found.rounded.values()]
        margin = max(0.5, 0.04 * (high - low))
        top = max(high, np.max(exact)) + margin
        self.limit((0.4, 10.6), (min(low, np.min(exact)) - margin, top))


def _compared() -> tuple[str, ...]:
    return tuple(REPORTED)
