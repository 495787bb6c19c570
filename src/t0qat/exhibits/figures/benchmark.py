"""Figures of the benchmarks: differences from plain training, and matrices of means."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from t0qat.exhibits.benchmark import Benchmark
from t0qat.exhibits.deviations import CHANCE, DRAWN, deviations
from t0qat.exhibits.figures.style import FONT, TEXT, panels, points
from t0qat.exhibits.labels import network_label, width
from t0qat.exhibits.language import MODELS
from t0qat.exhibits.rows import Results
from t0qat.exhibits.vision import IMAGES
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH, model_label
from t0qat.training.methods import REGISTRY, named
from t0qat.training.views import FAMILIES

FAMILY_STYLES = {  # hues, and marks that differ without them
    "none": {"color": "#555555", "marker": "s"},
    "noise": {"color": "#0072B2", "marker": "o"},
    "rounding": {"color": "#D55E00", "marker": "D"},
    "regularization": {"color": "#009E73", "marker": "^"},
    "coupled": {"color": "#CC79A7", "marker": "v"},
}
ROOM = 0.04  # of an axis, at each end, for marks and arrows there
FAMILY_LABELS = {family: family for family in FAMILIES} | {"none": "neither"}
# How percentages of accuracy are spaced: by the logarithm of the percentage of wrong images, so that
# chance and the last percent are both seen. 0.1 is added to it, which gives 100 a place.
BY_ERROR = (lambda percent: -np.log10(np.maximum(100.1 - percent, 1e-3)), lambda y: 100.1 - 10.0**-y)


def vision(results: Results) -> Figure:
    """Test loss minus that of plain training rounded the same way, of every arm at each width.

    results: as of vision.tables. One row a method, one column of panels a bit-width, one row of panels a
    network with all methods, or with any where none has; 95 % intervals by each method's own scale rule;
    the band: the margin. Methods that train for a width (open) are at theirs. An arrow at an end of the
    axis stands for an arm beyond it; of arms at chance there is nothing, see deviations.
    """
    return _deviations(IMAGES, results, "Test loss minus plain training's, rounded the same way (nats)")


def language(results: Results) -> Figure:
    """Bits per character minus those of plain fine-tuning, as `vision` shows losses.

    results: as of language.tables; each output channel has a step of its own.
    """
    label = "Bits per character minus plain fine-tuning's, rounded the same way"
    return _deviations(MODELS, results, label)


def vision_matrix(table: pd.DataFrame, model: str) -> Figure:
    """Mean accuracy in percent of each arm on one model (rows) at each evaluated bit-width (columns).

    table: as of vision.tables. Every network is read at its method's own scale rule; float: not
    rounded. Frames: the width that a network was trained for. Shades are spaced by the logarithm of the
    share of wrong images. Raises KeyError for a model that is not in the table.
    """
    rows = _rows(table, "accuracy", model)
    rows = rows.assign(mean=100 * rows["mean"])
    return _matrix(rows, model, "accuracy (%)", FuncNorm(BY_ERROR, 0, 100), "Blues", 1)


def language_matrix(table: pd.DataFrame, model: str) -> Figure:
    """Mean bits per character of each arm on one model, as `vision_matrix` shows accuracies.

    table: as of language.tables. Shades are spaced by the logarithm, the fewer the darker. Raises
    KeyError for a model that is not in the table.
    """
    rows = _rows(table, "bits_per_character", model)
    low, high = rows["mean"].min(), rows["mean"].max()
    scaled = LogNorm(low, max(high, 1.01 * low))
    return _matrix(rows, model, "bits per character", scaled, "Blues_r", 2)


@mpl.rc_context(FONT | {"xtick.labelsize": 6, "ytick.labelsize": 6.5})
def _deviations(b: Benchmark, results: Results, label: str) -> Figure:
    rows = deviations(b, results)
    drawn = rows[rows.place != CHANCE]
    order = sorted(named(), key=lambda method: FAMILIES.index(family_of(method)))
    order = [method for method in order if method in {*drawn.method}]
    starts = {}
    for y, method in enumerate(order):
        starts.setdefault(family_of(method), y)
    models, widths = [*rows.model.unique()], _widths(rows)
    height = 0.95 + len(models) * (0.42 + 0.125 * max(4, len(order)))
    figure, axes = panels(height, len(models), len(widths), width=TEXT, sharey=True, squeeze=False)
    for (model, here), across in zip(rows.groupby("model", sort=False), axes, strict=True):
        across[0].set_title(_titled(model) + "\n")  # a line above the width, whose place is narrow
        for bits, panel in zip(widths, across, strict=True):
            at = here[here.eval_bits == bits]
            margin, low, high = at[["margin", "low", "high"]].iloc[0]
            panel.axvspan(-margin, margin, color="0.9", linewidth=0)
            panel.axvline(0, color="0.4", linewidth=0.6)
            room = ROOM * (high - low)
            panel.set(xlim=(low - room, high + room))
            panel.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
            panel.set_title(width(bits), loc="right")
            shown = at[at.place != CHANCE]
            trained = shown.train_bits != NO_WIDTH
            for (family, fixed, place), part in shown.groupby(
                [shown.method.map(family_of), trained, shown.place], sort=False
            ):
                look = dict(FAMILY_STYLES[family], linestyle="", markersize=3, markeredgewidth=0.7)
                look["markerfacecolor"] = "white" if fixed else look["color"]
                y = np.array([order.index(method) for method in part.method])
                if place == DRAWN:
                    points(panel, part, y=y, elinewidth=0.8, **look)
                    continue
                for arrow, end, out in (("<", low, part.estimate < 0), (">", high, part.estimate > 0)):
                    panel.plot(np.full(out.sum(), end), y[out], **look | {"marker": arrow})
            for first in starts.values():
                if first:
                    panel.axhline(first - 0.5, color="0.8", linewidth=0.5)
        _named(panel, starts, len(order))
    panel.set_yticks(range(len(order)), map(network_label, order))
    panel.set(ylim=(max(1, len(order)) - 0.5, -0.5))
    figure.supxlabel(f"{label}; open marks: trained for the width")
    return figure


def _named(panel: Axes, starts: dict[str, int], rows: int) -> None:
    """Each family's name beside its rows, to the right of the panel. starts: family -> its first row."""
    ends = [*starts.values(), rows][1:]
    for (family, first), end in zip(starts.items(), ends, strict=True):
        panel.text(
            1.03, (first + end - 1) / 2, FAMILY_LABELS[family], color=FAMILY_STYLES[family]["color"],
            transform=panel.get_yaxis_transform(), va="center", fontsize=6.5,
        )  # fmt: skip


def family_of(method: str) -> str:
    return REGISTRY[method].family


def _rows(table: pd.DataFrame, metric: str, model: str) -> pd.DataFrame:
    """A metric of one model with a step a channel, not rounded and at each method's own scale rule.

    Raises KeyError for a model that is not in the table.
    """
    rows = table[(table.metric == metric) & (table.layout == CHANNELS)]
    if model not in {*rows.model}:
        raise KeyError(f"no model {model!r}; there are {', '.join(rows.model.unique())}")
    rows = rows[rows.model == model]
    return rows[rows.scale_rule == np.where(rows.eval_bits == FLOAT, "none", "own")]


def _widths(rows: pd.DataFrame) -> list[int]:
    """Evaluated bit-widths, FLOAT first if it is there."""
    return sorted(rows.eval_bits.unique(), reverse=True)


def _titled(model: str) -> str:
    shown = model_label(model)
    return shown[:1].upper() + shown[1:]


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
        lead = network_label(method) * (first[method] == bits)
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
