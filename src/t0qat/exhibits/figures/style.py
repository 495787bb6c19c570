"""What the figures share: sizes, lines, whiskers, axes and legends."""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogLocator

from t0qat.training.methods import REGISTRY, named

COLUMN, TEXT = 3.4, 6.2  # inches
# Line styles and shades differ as well as hues, so that nothing hangs on colour. Hues after Okabe
# and Ito's palette for colour blindness.
STYLES = [
    {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#555555", "linestyle": ":", "marker": "^"},
    {"color": "#009E73", "linestyle": "-.", "marker": "D"},
    {"color": "#CC79A7", "linestyle": (0, (5, 1)), "marker": "v"},
]
PLACE = {"color": "0.4", "linewidth": 0.8, "linestyle": (0, (1, 2))}  # a line at a named value
LEVEL = {"linewidth": 0.6, "linestyle": (0, (1, 3))}  # of full precision
FONT = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "figure.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
}
in_font = mpl.rc_context(FONT)  # a decorator: what the function draws is in this font


def style(method: str) -> dict[str, Any]:
    """The line of one method, the same in every figure: color, linestyle, marker and label.

    Those of the linear layer come first, so that these and the next few differ.
    """
    first = sorted(named(), key=lambda name: not REGISTRY[name].layer)
    return STYLES[first.index(method) % len(STYLES)] | {"label": REGISTRY[method].label}


def only(line: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Some of a line's settings."""
    return {key: line[key] for key in keys}


def panels(height: float, *grid: int, width: float = COLUMN, **layout) -> tuple[Figure, Any]:
    """A figure of so many inches with its panels, as pyplot.subplots gives them.

    pyplot forgets it at once: it is shown by returning it, once.
    """
    figure, axes = plt.subplots(*grid, figsize=(width, height), layout="constrained", **layout)
    plt.close(figure)
    return figure, axes


def points(panel: Axes, rows: pd.DataFrame, x=None, y=None, **look) -> None:
    """Each row's mean or estimate with its interval: upwards where x is given, sideways where y is."""
    values = rows["estimate" if "estimate" in rows else "mean"]
    ends = values - rows.ci_low, rows.ci_high - values
    whiskers = [length.clip(0) for length in ends]  # of equal values, an end may be off by a rounding
    if y is None:
        panel.errorbar(x, values, yerr=whiskers, **look)
    else:
        panel.errorbar(values, y, xerr=whiskers, **look)


def legend_above(figure: Figure, panel: Axes, ncols: int, **look) -> None:
    """The panel's labels above all panels, each once."""
    handles, labels = panel.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown, loc="outside upper center", ncols=ncols, **look)


def logarithmic(panel: Axes, label: str, formatter: Formatter) -> None:
    """Space y by the logarithm, with ticks at 1, 2 and 5."""
    panel.set(yscale="log", ylabel=label)
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(formatter)
    panel.yaxis.set_minor_formatter("")
