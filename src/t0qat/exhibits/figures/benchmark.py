"""Figures of the benchmarks: curves against bits, matrices of means, and ranks."""

from collections.abc import Callable

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from t0qat.exhibits.figures.style import FONT, PLACE, STYLES, in_font, legend_above, panels, points
from t0qat.exhibits.labels import width
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH, method_label, model_label
from t0qat.experiments.compare import own_width
from t0qat.quantization.quantizers import SCALES
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training.methods import REGISTRY, named

MORE_STYLES = [
    *STYLES,
    {"color": "black", "linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "o"},
    {"color": "#E69F00", "linestyle": (0, (1, 1)), "marker": "X"},
    {"color": "#56B4E9", "linestyle": (0, (6, 2)), "marker": "<"},
]
# How percentages of accuracy are spaced: by the logarithm of the percentage of wrong images, so that
# chance and the last percent are both seen. 0.1 is added to it, which gives 100 a place.
BY_ERROR = (lambda percent: -np.log10(np.maximum(100.1 - percent, 1e-3)), lambda y: 100.1 - 10.0**-y)
MARKS = {  # scale rule -> marker, what is in it, how far below the row's middle, name
    "absmax": ("o", "white", -0.2, "absmax"),
    "mse": ("o", "black", 0.2, "least squared error"),
} | {rule: ("x", "black", 0, rule) for rule in OWN_GRIDS}


def vision(table: pd.DataFrame) -> Figure:
    """Accuracy against bits, one panel a model, with 95 % intervals: table as of vision.tables.

    Methods: those of the linear layer and the few. Each is read at its method's own scale rule; float:
    not rounded. A method that trains for a width (open marks) stands at each width with the network
    that was trained for it. Accuracies are spaced by the logarithm of the share of wrong images.
    """
    rows = _read(_rows(table[own_width(table)], "accuracy"))
    return _curves(rows, "Accuracy (%), logarithm of error", _space_accuracies)


def language(table: pd.DataFrame) -> Figure:
    """Bits per character against bits, as `vision` shows accuracies: table as of language.tables.

    One panel a model whose output channels have a step each. Spaced by the logarithm, each panel to its
    own ends; an interval may go beyond them.
    """
    rows = _read(_rows(table[own_width(table)], "bits_per_character"))
    return _curves(rows, "Bits per character, less is better", _space_bits)


def vision_matrix(table: pd.DataFrame, model: str) -> Figure:
    """Mean accuracy in percent of each arm on one model (rows) at each evaluated bit-width (columns).

    table: as of vision.tables. Every network is read at its method's own scale rule; float: not
    rounded. Frames: the width that a network was trained for. Shades are spaced by the logarithm of the
    share of wrong images. Raises KeyError for a model that is not in the table.
    """
    rows = _read(_rows(table, "accuracy", model))
    return _matrix(rows, model, "accuracy (%)", FuncNorm(BY_ERROR, 0, 100), "Blues", 1)


def language_matrix(table: pd.DataFrame, model: str) -> Figure:
    """Mean bits per character of each arm on one model, as `vision_matrix` shows accuracies.

    table: as of language.tables. Shades are spaced by the logarithm, the fewer the darker. Raises
    KeyError for a model that is not in the table.
    """
    rows = _read(_rows(table, "bits_per_character", model))
    low, high = rows["mean"].min(), rows["mean"].max()
    scaled = LogNorm(low, max(high, 1.01 * low))
    return _matrix(rows, model, "bits per character", scaled, "Blues_r", 2)


@mpl.rc_context(FONT | {"ytick.labelsize": 6.5})
def vision_ranks(table: pd.DataFrame, model: str) -> Figure:
    """Accuracy and rank of every method on one model, one panel a bit-width, with 95 % intervals.

    table: as of vision.tables. A method that trains for a width stands with the network trained for the
    width of the panel. Open: absmax steps, filled: steps of least squared error, cross: a grid of
    the method's own.
    Rows are sorted by the accuracy at its method's own scale rule, in mean over the panels that every
    method is in; the number at the right is the rank by that accuracy in the panel, of equals the lower.
    Dotted: plain training, not rounded. Raises KeyError for a model that is not in the table.
    """
    rows = _rows(table[own_width(table)], "accuracy", model)
    means = _read(rows).pivot(index="method", columns="eval_bits", values="mean")
    plain = means.loc["no_noise", FLOAT] if "no_noise" in means.index and FLOAT in means else None
    means = means.drop(columns=FLOAT, errors="ignore").round(9)  # equals stay equal
    ranks = means.rank(ascending=False, method="min")
    order = means.dropna(axis=1).mean(axis=1).sort_values(ascending=False, kind="stable").index
    widths = _widths(rows[rows.eval_bits != FLOAT])
    across = min(2, len(widths))
    down = -(-len(widths) // across)
    height = 0.7 + down * (0.35 + 0.13 * len(order))
    figure, axes = panels(height, down, across, sharex=True, sharey=True, squeeze=False)
    for panel in axes.flat[len(widths) :]:
        panel.remove()
        axes[-2, -1].tick_params(labelbottom=True)
    for bits, panel in zip(widths, axes.flat, strict=False):
        for rule in (*SCALES, *OWN_GRIDS):
            marker, inside, lift, name = MARKS.get(rule, ("D", "0.6", 0, rule))
            mine = rows[(rows.eval_bits == bits) & (rows.scale_rule == rule)]
            if mine.empty:
                continue
            points(
                panel, mine, y=order.get_indexer(mine.method) + lift, label=name, linestyle="",
                marker=marker, markersize=3, color="black", markerfacecolor=inside, elinewidth=0.7,
                markeredgewidth=0.7,
            )  # fmt: skip
        for method, rank in ranks[bits].reindex(order).dropna().items():
            panel.text(
                1.01, order.get_loc(method), f"{rank:.0f}", fontsize=6, va="center_baseline",
                transform=panel.get_yaxis_transform(),
            )  # fmt: skip
        panel.text(1.01, 1.02, "rank", fontsize=6, transform=panel.transAxes)
        panel.grid(axis="y", color="0.9", linewidth=0.6)
        if plain is not None:
            panel.axvline(plain, label=f"{method_label('no_noise')}, float", **PLACE)
        panel.set_title(width(bits))
    panel.set_yticks(range(len(order)), map(method_label, order))
    panel.set(ylim=(len(order) - 0.4, -0.6))
    _space_accuracies(panel, rows, "x")
    figure.supxlabel("Accuracy (%), logarithm of error")
    legend_above(figure, panel, 4, fontsize=6.5, columnspacing=0.8, handletextpad=0.2)
    return figure


def _rows(table: pd.DataFrame, metric: str, model: str = "") -> pd.DataFrame:
    """Those of a metric with a step a channel, accuracies in percent; of one model where it is named.

    Intervals are cut where an axis ends. Raises KeyError for a model that is not in the table.
    """
    rows = table[(table.metric == metric) & (table.layout == CHANNELS)]
    if model and model not in {*rows.model}:
        raise KeyError(f"no model {model!r}; there are {', '.join(rows.model.unique())}")
    rows = rows[rows.model == model] if model else rows
    times, least, most = (100, 0, 100) if metric == "accuracy" else (1, 1e-3, np.inf)
    ends = (times * rows[["ci_low", "ci_high"]]).clip(least, most)
    return rows.assign(mean=times * rows["mean"], **ends)


def _read(rows: pd.DataFrame) -> pd.DataFrame:
    """Those not rounded, and those at their method's own scale rule."""
    return rows[rows.scale_rule == np.where(rows.eval_bits == FLOAT, "none", "own")]


def _widths(rows: pd.DataFrame) -> list[int]:
    """Evaluated bit-widths, FLOAT first if it is there."""
    return sorted(rows.eval_bits.unique(), reverse=True)


def _titled(model: str) -> str:
    shown = model_label(model)
    return shown[:1].upper() + shown[1:]


def _space_accuracies(panel: Axes, rows: pd.DataFrame, axis: str = "y") -> None:
    """Let an axis of accuracies go from 0 to a little above the highest, as BY_ERROR has it."""
    there, back = BY_ERROR
    top = max(80, rows.ci_high.max())
    major = (0, 80, 95, 98) if top < 99.5 else (0, 80, 95, 99, 100)
    getattr(panel, f"set_{axis}scale")("function", functions=BY_ERROR)
    for ticks, minor in ((major, False), ((50, 90, 98, 99, 99.5), True)):
        getattr(panel, f"set_{axis}ticks")([tick for tick in ticks if tick <= top], minor=minor)
    panel.set(**{f"{axis}lim": (0, back(1.05 * there(top) - 0.05 * there(0)))})


def _space_bits(panel: Axes, rows: pd.DataFrame) -> None:
    """From a little below the least mean to a little above the greatest, two ticks or more between."""
    low, high = rows["mean"].min() / 1.1, rows["mean"].max() * 1.1
    panel.set(yscale="log", ylim=(low, high))
    for ticks in ((1, 2, 5, 10, 20, 50, 100), MaxNLocator(4).tick_values(low, high)):
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) > 1:
            break
    panel.set_yticks(inside)
    panel.set_yticks([], minor=True)
    panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))


@in_font
def _curves(rows: pd.DataFrame, label: str, space: Callable[[Axes, pd.DataFrame], None]) -> Figure:
    """One panel a model; space: sets the axis of a panel for the rows of its model."""
    telling = named(lambda method: method.layer or method.few)
    rows = rows[rows.method.isin(telling)]
    shown = [name for name in telling if name in {*rows.method}]
    widths = _widths(rows)
    models = rows.groupby("model", sort=False)
    figure, axes = panels(0.9 + 1.2 * len(models), len(models), sharex=True, squeeze=False)
    for (model, here), panel in zip(models, axes.flat, strict=True):
        for i, method in enumerate(shown):
            mine = here[here.method == method].sort_values("eval_bits", ascending=False)
            at = [widths.index(bits) + 0.5 * ((i + 0.5) / len(shown) - 0.5) for bits in mine.eval_bits]
            line = MORE_STYLES[telling.index(method) % len(MORE_STYLES)]
            inside = "white" if REGISTRY[method].for_bits else line["color"]
            look = line | {"label": method_label(method), "markerfacecolor": inside}
            points(panel, mine, at, markersize=3.5, linewidth=0.9, elinewidth=0.8, **look)
        space(panel, here)
        panel.set_title(_titled(model))
    panel.set(xlabel="Weights evaluated at")
    panel.set_xticks(range(len(widths)), map(width, widths))
    figure.supylabel(label)
    legend_above(
        figure, axes.flat[0], 3, fontsize=6.5, columnspacing=0.8, handletextpad=0.4, handlelength=1.8
    )
    return figure


@mpl.rc_context(FONT | {"ytick.labelsize": 6})
def _matrix(
    rows: pd.DataFrame, model: str, metric: str, scaled: Normalize, cmap: str, decimals: int
) -> Figure:
    """scaled, cmap: from means to shades."""
    means = rows.pivot(index=["method", "train_bits"], columns="eval_bits", values="mean")
    arms = list(dict.fromkeys(zip(rows.method, rows.train_bits, strict=True)))
    arms.sort(key=lambda arm: arm[1] != NO_WIDTH)
    means = means.loc[arms, _widths(rows)]
    figure, panel = panels(0.6 + 0.15 * len(arms))
    image = panel.imshow(means, norm=scaled, cmap=cmap, aspect="auto")
    for (y, x), value in np.ndenumerate(means.to_numpy()):
        red, green, blue = (image.cmap(scaled(value))[:3] ** np.array(2.2)).tolist()
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18  # black and white equally far
        panel.text(
            x, y, f"{value:.{decimals}f}", color="white" if dark else "black", ha="center",
            va="center_baseline", fontsize=6,
        )  # fmt: skip
    first = dict(reversed(arms))  # method -> the width of its first row
    names = []
    for y, (method, bits) in enumerate(arms):
        lead = method_label(method) * (first[method] == bits)
        names.append(lead + f"  {width(bits)}" * (bits != NO_WIDTH))
        if bits in means.columns:
            corner = means.columns.get_loc(bits) - 0.5, y - 0.5
            panel.add_patch(plt.Rectangle(corner, 1, 1, fill=False, zorder=3, clip_on=False))
        if y and bits in (NO_WIDTH, first[method]):
            panel.axhline(y - 0.5, color="white", linewidth=2 if bits else 1)
    panel.set_yticks(range(len(arms)), names)
    panel.set_xticks(range(means.shape[1]), map(width, means.columns))
    panel.tick_params(length=0, top=True, labeltop=True)
    panel.spines[:].set_visible(False)
    panel.set(xlabel="Weights evaluated at", ylabel="Trained with, and for")
    panel.set_title(f"{_titled(model)}, {metric}", loc="center")
    return figure
