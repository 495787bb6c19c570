"""The explorer's pictures. Each is made once on its axes; a new result only changes its data.

Limits follow the data until the reader zooms or pans; then they stay as the reader left them. They are
round numbers, so that most moves of a slider leave them: then only the data are drawn anew. Text takes
nearly all the time of a full drawing.
"""

from collections.abc import Iterable

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from t0qat.exhibits.circuits import CHANNEL_LABELS
from t0qat.exhibits.figures.style import STYLES, only, style
from t0qat.exhibits.figures.table1 import density
from t0qat.experiments.on_circuits import CHANNEL, PUBLISHED, WAYS
from t0qat.explorer import measure
from t0qat.explorer.measure import BITS, Circuits, Linear, Networks
from t0qat.training.constants import REPORTED
from t0qat.training.methods import on_layer

SHOWN = 1000  # runs drawn as points, at most
LINES = 64  # codes of a grid drawn as lines, at most


class Picture:
    """Axes whose limits are ours until the reader changes them; data: the artists of a result."""

    def __init__(self, axes: Axes, data: Iterable[Artist]):
        self.axes = axes
        self.ours = {"x": {axes.get_xlim()}, "y": {axes.get_ylim()}}
        self.data = sorted(data, key=Artist.get_zorder)
        for artist in self.data:
            artist.set_animated(True)
        axes.figure.canvas.mpl_connect("draw_event", self._drawn)

    def draw(self) -> None:
        """Bring the canvas up to date: the data alone, where nothing else has changed."""
        canvas = self.axes.figure.canvas
        if self.axes.figure.stale:
            canvas.draw()
        else:
            canvas.restore_region(self.background)
            self._draw_data()
            canvas.blit()

    def _drawn(self, event) -> None:
        """Keep what was drawn, all but the data, and complete it."""
        if event.canvas.is_saving():  # then the data were drawn too
            return
        self.background = event.canvas.copy_from_bbox(self.axes.figure.bbox)
        legend = self.axes.get_legend()
        framed = [legend.get_window_extent()] if legend.get_frame_on() else []
        self.above = [event.canvas.copy_from_bbox(box) for box in framed]
        self._draw_data()

    def _draw_data(self) -> None:
        for artist in self.data:
            self.axes.draw_artist(artist)
        for region in self.above:
            self.axes.figure.canvas.restore_region(region)

    def limit(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Set both limits; where either is not one that we set, the reader has zoomed: leave both."""
        limits = self.axes.get_xlim(), self.axes.get_ylim()
        if limits == (x, y) or limits[0] not in self.ours["x"] or limits[1] not in self.ours["y"]:
            return
        self.axes.set(xlim=x, ylim=y)
        self.ours["x"].add(self.axes.get_xlim())
        self.ours["y"].add(self.axes.get_ylim())
        if toolbar := self.axes.figure.canvas.toolbar:
            toolbar.update()  # its home is here now


def _points(method: str, *more: str) -> dict:
    return {"linestyle": ""} | only(style(method), "color", "marker", *more)


def _upright(at, start, end) -> np.ndarray:
    """Vertical segments, as a LineCollection takes them."""
    return np.stack([np.column_stack([at, start]), np.column_stack([at, end])], axis=1)


class Drops(Picture):
    """Distribution of the drop in single runs, peak 1, and the reported drops."""

    def __init__(self, axes: Axes):
        axes.set(xlabel="Drop: loss added by the disturbance", ylabel="Density of runs, peak = 1")
        axes.set(yticks=[], ylim=(0, 1.1))
        self.curves, self.reported = {}, {}
        for m in on_layer():
            (self.curves[m],) = axes.plot([], [], **only(style(m), "color", "linestyle", "label"))
        for m in REPORTED:
            look = {"color": style(m)["color"], "marker": "v", "markersize": 8, "clip_on": False}
            (self.reported[m],) = axes.plot([], [], **look)
        axes.plot([], [], color="0.4", marker="v", linestyle="", label="Reported")
        axes.legend()
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        super().__init__(axes, [*self.curves.values(), *self.reported.values()])

    def update(self, found: Linear) -> None:
        for method, curve in self.curves.items():
            curve.set_data(density(found.losses[method].drop))
        for method, mark in self.reported.items():
            drop = [REPORTED[method]["drop"]] if found.setting.dataset == "synthetic" else []
            mark.set_data(drop, [0.04] * len(drop))
        seen = np.concatenate([*(artist.get_xdata() for artist in self.data), [0.0]])
        margin = 0.0 if np.ptp(seen) else 1.0
        ticks = self.axes.xaxis.get_major_locator().tick_values(min(seen) - margin, max(seen) + margin)
        self.limit((ticks[0], ticks[-1]), (0, 1.1))


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
        for m in on_layer():
            (self.points[m],) = axes.plot([], [], markersize=2.5, alpha=0.35, mew=0, **_points(m))
            edge = {"markeredgecolor": "white", "markersize": 9, "zorder": 3}
            (self.means[m],) = axes.plot([], [], **edge, **_points(m, "label"))
        axes.legend(title="Means", loc="lower right", frameon=True, framealpha=1, edgecolor="none")
        super().__init__(axes, [*self.points.values(), *self.means.values()])

    def update(self, found: Linear) -> None:
        seen = []
        for method, losses in found.losses.items():
            pair = np.array(losses)
            self.points[method].set_data(*pair[:, :SHOWN])
            self.means[method].set_data(*pair.mean(1)[:, None])
            seen.append(np.quantile(pair, [0.002, 0.998]))
        low, high = 2 * np.log10([np.min(seen) / 1.1, np.max(seen) * 1.1])
        limits = 10 ** (np.floor(low) / 2), 10 ** (np.ceil(high) / 2)  # half decades
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
        for m in on_layer():
            (self.lines[m],) = axes.plot([], [], markersize=4, **style(m))
            self.whiskers[m] = axes.add_collection(LineCollection([], colors=style(m)["color"]))
        axes.legend(loc="center right")
        super().__init__(axes, [*self.lines.values(), *self.whiskers.values()])

    def update(self, found: Networks) -> None:
        bits = found.setting.bits
        if self.chosen.get_xdata() != [bits, bits]:
            self.chosen.set_xdata([bits, bits])
        at = [*(grid.bits for grid in found.setting.grids()), self.FLOAT]
        for method, each in found.accuracy.items():
            self.lines[method].set_data(at, each.mean(0))
            self.whiskers[method].set_segments(_upright(at, each.min(0), each.max(0)))
        self.limit((min(BITS) - 0.5, self.FLOAT + 0.5), (0, 1.02))


class OnGrid(Picture):
    """The ten weights of the first replicate, in steps of their grid: before (open), after (filled)."""

    def __init__(self, axes: Axes):
        axes.set(xlabel="Weight", ylabel="Weight / step, and its integer code")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        self.codes = axes.add_collection(LineCollection([], colors="0.85", linewidths=0.8, zorder=0))
        self.grid = None
        self.before, self.after, self.moves = {}, {}, {}
        for m in REPORTED:
            colour = style(m)["color"]
            self.moves[m] = axes.add_collection(LineCollection([], colors=colour, zorder=1))
            (self.before[m],) = axes.plot([], [], markerfacecolor="white", markersize=5, **_points(m))
            (self.after[m],) = axes.plot([], [], markersize=5, **_points(m, "label"))
        axes.legend(loc="lower left", frameon=True, framealpha=1, edgecolor="none")
        parts = self.moves, self.before, self.after
        super().__init__(axes, [artist for part in parts for artist in part.values()])

    def update(self, found: Linear) -> None:
        low, high = found.setting.grid.codes
        offsets = np.linspace(-0.15, 0.15, len(self.after))
        for offset, method in zip(offsets, self.after, strict=True):
            mine = found.rounded[method]
            at, exact = np.arange(1, len(mine.codes) + 1) + offset, mine.weights / mine.step
            self.before[method].set_data(at, exact)
            self.after[method].set_data(at, mine.codes)
            self.moves[method].set_segments(_upright(at, exact, mine.codes))
        if self.grid != found.setting.grid:
            self.grid = found.setting.grid
            codes = range(low, high + 1) if high - low < LINES else (low, high)
            self.codes.set_segments([[(0, code), (11, code)] for code in codes])
        farthest = max(np.max(np.abs(m.weights / m.step)) for m in found.rounded.values())
        reach = max(-low, np.rint(farthest)) + max(0.6, 0.04 * (high - low))
        self.limit((0.4, 10.6), (-reach, reach))


class OnDevice(Picture):
    """Accuracy of circuits against a device's noise; whiskers from the lowest to the highest.

    The grey bar is at the strength that T0-QAT's noise itself has, in the mean.
    """

    APART = 0.012  # so that whiskers at one strength stay apart

    def __init__(self, axes: Axes):
        channel, guess = CHANNEL_LABELS[measure.DEVICE], 1 / len(measure.CIRCUIT["digits"])
        axes.set(xlabel=f"Strength of {channel.lower()} after every gate", ylabel="Right test images")
        axes.yaxis.set_major_locator(FixedLocator(np.linspace(0, 1, 6)))  # the legend is above
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        level = axes.axhline(guess, color="0.6", linewidth=0.8)
        small = {"fontsize": 6, "color": "0.35"}
        text = axes.text(1.03, guess - 0.01, "guessing", ha="right", va="top", **small)
        look = {"color": "0.85", "linewidth": 9, "solid_capstyle": "butt", "zorder": 0}
        (self.own,) = axes.plot([], [], **look)
        small |= {"rotation": 90, "ha": "center", "clip_on": True, "zorder": 1}
        self.name = axes.text(0, guess + 0.02, f"{style(PUBLISHED)['label']}'s noise", **small)
        self.lines, self.whiskers = {}, {}
        for way in measure.LINES:
            look = STYLES[3] | {"label": WAYS[way].label} if way == CHANNEL else style(way)
            (self.lines[way],) = axes.plot([], [], markersize=4, **look)
            whiskers = LineCollection([], colors=look["color"], linewidths=0.8, zorder=1)
            self.whiskers[way] = axes.add_collection(whiskers)
        axes.legend(loc="upper center", ncols=len(self.lines))
        above = [level, text, self.name, *self.lines.values(), *self.whiskers.values()]
        super().__init__(axes, [self.own, *above])  # the bar would hide what is drawn before it

    def update(self, found: Circuits) -> None:
        lowest = 0.4
        for i, (way, line) in enumerate(self.lines.items()):
            each = found.accuracy.get(way, np.empty((1, 0)))
            at = np.array(measure.DEVICE_STRENGTHS[: each.shape[1]]) + (i - 1) * self.APART
            line.set_data(at, each.mean(0))
            self.whiskers[way].set_segments(_upright(at, each.min(0), each.max(0)))
            lowest = each.min(initial=lowest)
        lowest = np.floor(5 * lowest) / 5
        self.own.set_data(2 * [found.own_strength], [lowest, 1])
        self.name.set_x(found.own_strength)
        self.limit((-0.04, 1.04), (lowest, 1.15))
