"""Figures, sized for one column of the paper and readable in greyscale."""

from collections.abc import Callable

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, ScalarFormatter
from scipy.stats import gaussian_kde

from t0qat.exhibits.theory import NETWORK_LABELS, at_fitted_noise
from t0qat.exhibits.words import DATASET_LABELS, QUANTITY_LABELS, data_label, rows_of
from t0qat.experiments.arms import CHANNELS, FLOAT, NO_WIDTH, method_label, model_label
from t0qat.experiments.compare import own_width
from t0qat.experiments.published import QUANTITIES, Losses
from t0qat.quantization.quantizers import SCALES
from t0qat.training.constants import (
    REPORTED,
    REPORTED_REDUCTION,
    XI,
    XI_SCALING,
    reported_evaluation_noise,
)
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
MORE_STYLES = [
    *STYLES,
    {"color": "black", "linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "o"},
    {"color": "#E69F00", "linestyle": (0, (1, 1)), "marker": "X"},
    {"color": "#56B4E9", "linestyle": (0, (6, 2)), "marker": "<"},
]
# How percentages of accuracy are spaced: by the logarithm of the percentage of wrong images, so that
# chance and the last percent are both seen. 0.1 is added to it, which gives 100 a place.
BY_ERROR = (lambda percent: -np.log10(np.maximum(100.1 - percent, 1e-3)), lambda y: 100.1 - 10.0**-y)
FONT = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
}


def style(method: str) -> dict:
    """The line of one method, the same in every figure."""
    return STYLES[named().index(method) % len(STYLES)]


def density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where, and how dense the values lie there, the peak 1: two arrays, empty where all are equal."""
    if np.ptp(values) == 0:
        return np.empty(0), np.empty(0)
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.1 * (high - low)
    at = np.linspace(low - margin, high + margin, 300)
    height = gaussian_kde(values)(at)
    return at, height / height.max()


def table1(run: dict[str, Losses]) -> Figure:
    """Distributions of single runs: the three losses, one panel each, reported values as arrows."""
    with mpl.rc_context(FONT):
        figure, panels = plt.subplots(3, 1, figsize=(COLUMN, 4.4), layout="constrained")
        for panel, quantity in zip(panels, QUANTITIES, strict=True):
            for method, losses in run.items():
                at, height = density(getattr(losses, quantity))
                if not len(at):  # no evaluation noise, no drop
                    continue
                line = {key: value for key, value in style(method).items() if key != "marker"}
                panel.plot(at, height, label=REGISTRY[method].label, **line)
            values = [row[quantity] for row in REPORTED.values()]
            left, right = panel.get_xlim()
            close = max(values) - min(values) < 0.3 * (right - left)
            for method, value in zip(REPORTED, values, strict=True):
                colour = style(method)["color"]
                side = "right" if value == min(values) else "left"  # neighbours lean away
                panel.annotate(
                    f" {REGISTRY[method].label} ",
                    (value, 1.03),
                    (value, 1.25),
                    color=colour,
                    ha=side if close else "center",
                    fontsize=7,
                    arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0},
                )
            panel.set(
                xlabel=f"{QUANTITY_LABELS[quantity]} (mean squared error)", yticks=[], ylim=(0, 1.45)
            )
            panel.spines["left"].set_visible(False)
        panels[0].legend(loc="upper center", bbox_to_anchor=(0.45, 0.95), frameon=False)
        figure.supylabel("Density of runs, peak = 1; arrows: reported", fontsize=8)
        plt.close(figure)  # shown by returning it, once
    return figure


def reductions(table: pd.DataFrame) -> Figure:
    """How often a second run's drop is smaller by a fraction: theory as lines, draws as marks."""
    table = at_fitted_noise(table).sort_values("reduction", kind="stable")
    words = {"standard_qat": "Standard", "t0_qat": "T0"}
    with mpl.rc_context(FONT):
        figure, panel = plt.subplots(figsize=(COLUMN, 2.4), layout="constrained")
        parts = table.groupby(["method", "other"], sort=False)
        for line, ((method, other), part) in zip(STYLES, parts, strict=False):
            label = f"{words.get(method, method)}, then {words.get(other, other)}"
            panel.plot(part.reduction, part.exact, color=line["color"], linestyle=line["linestyle"])
            whiskers = [(part.estimate - part.ci_low).clip(0), (part.ci_high - part.estimate).clip(0)]
            panel.errorbar(
                part.reduction, part.estimate, whiskers, label=label, linestyle="",
                marker=line["marker"], markersize=3.5, color=line["color"], markerfacecolor="white",
            )  # fmt: skip
        _mark(panel, {"reported": REPORTED_REDUCTION}, y=0.4)
        panel.set(
            xlabel="Reduction of the drop, second run against first",
            ylabel="Chance of it or more",
            ylim=(-0.03, 1.03),
        )
        panel.legend(frameon=False)
        plt.close(figure)
    return figure


def _mark(panel, places: dict[str, float], y: float) -> None:
    """Named vertical lines, their names at height y of the panel."""
    for name, x in places.items():
        panel.axvline(x, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
        panel.annotate(
            f" {name}", (x, y), xycoords=("data", "axes fraction"), fontsize=7, color="0.3",
            rotation=90, ha="left", va="bottom",
        )  # fmt: skip


def expansion(table: pd.DataFrame) -> Figure:
    """Excess loss under noise over sigma^2 / 2 tr(H), against sigma; the band is where theory holds."""
    with mpl.rc_context(FONT):
        figure, panel = plt.subplots(figsize=(COLUMN, 3), layout="constrained")
        ratios = table[table.quantity == "ratio"]
        panel.axhspan(0.9, 1.1, color="0.88")
        lines = [*STYLES, {"color": "black", "linestyle": (0, (1, 1)), "marker": "x"}]
        for line, (network, part) in zip(lines, ratios.groupby("network", sort=False), strict=False):
            whiskers = [part["mean"] - part.ci_low, part.ci_high - part["mean"]]
            panel.errorbar(
                part.noise_scale, part["mean"], whiskers, markersize=3, linewidth=1,
                label=NETWORK_LABELS.get(network, network), **line,
            )  # fmt: skip
        _mark(panel, {"xi": XI, "published": XI * XI_SCALING}, y=0.02)
        panel.set(
            xscale="log", yscale="log", ylim=(0.1, None), xlim=(None, 40), xlabel=r"Noise scale $\sigma$"
        )
        panel.set_ylabel(r"Excess loss / $\frac{1}{2}\sigma^2\,\mathrm{tr}\,H$")
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=6)
        plt.close(figure)
    return figure


def training(table: pd.DataFrame) -> Figure:
    """Explained variance and what is left of the way, over epochs, at a constant and a decaying rate."""
    with mpl.rc_context(FONT):
        figure, panels = plt.subplots(2, 1, figsize=(COLUMN, 3.8), layout="constrained", sharex=True)
        table = table[table.epoch > 0]
        shown = {"explained": "Explained variance", "left": "Distance left / at start"}
        for panel, (quantity, label) in zip(panels, shown.items(), strict=True):
            for method, part in table[table.quantity == quantity].groupby("method", sort=False):
                line = style(method)
                for schedule, mine in part.groupby("schedule", sort=False):
                    constant = schedule == "constant"
                    whiskers = [mine["mean"] - mine.ci_low, mine.ci_high - mine["mean"]]
                    look = {"linestyle": line["linestyle"]} if constant else {"marker": line["marker"]}
                    panel.errorbar(
                        mine.epoch, mine["mean"], whiskers, color=line["color"], markersize=4,
                        label=REGISTRY[method].label + ("" if constant else ", decaying rate"),
                        **({"linestyle": ""} | look),
                    )  # fmt: skip
            panel.set(xscale="log", ylabel=label, ylim=(-0.05, 1.05))
        for _, part in table[table.quantity == "left_predicted"].groupby("method", sort=False):
            panels[1].plot(
                part.epoch, part["mean"], color="0.7", linewidth=3, zorder=0, label="Diffusion"
            )
        panels[1].set_xlabel("Epochs")
        handles, labels = panels[1].get_legend_handles_labels()
        lines = dict(zip(labels, handles, strict=True))
        figure.legend(
            lines.values(), lines, loc="outside upper center", ncols=2, frameon=False, fontsize=6
        )
        plt.close(figure)
    return figure


def integer_grids(table: pd.DataFrame) -> Figure:
    """Quantized loss against bits, one panel a data set, 95 % intervals; dotted: full precision."""
    with mpl.rc_context(FONT):
        datasets = table.dataset.unique()
        figure, panels = plt.subplots(len(datasets), 1, figsize=(COLUMN, 4), layout="constrained")
        for panel, dataset in zip(panels, datasets, strict=True):
            part = table[table.dataset == dataset]
            bits = part.bits.unique()
            for method, mine in part.groupby("method", sort=False):
                rows = mine[mine.quantity == "quantized"]
                line = style(method)
                whiskers = [rows["mean"] - rows.ci_low, rows.ci_high - rows["mean"]]
                panel.errorbar(
                    np.arange(len(bits)), rows["mean"], whiskers, label=REGISTRY[method].label,
                    markersize=4, capsize=2, **line,
                )  # fmt: skip
                full = mine.loc[mine.quantity == "full_precision", "mean"].iloc[0]
                panel.axhline(full, color=line["color"], linewidth=0.6, linestyle=(0, (1, 3)))
            panel.set(yscale="log", ylabel="Mean squared error")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(ScalarFormatter())
            panel.yaxis.set_minor_formatter("")
            panel.set_title(DATASET_LABELS.get(dataset, dataset), loc="left")
            panel.set_xticks(np.arange(len(bits)), [f"INT{b}" for b in bits])
        panels[0].legend(frameon=False, loc="center", bbox_to_anchor=(0.35, 0.68))
        plt.close(figure)
    return figure


def precision(curves: pd.DataFrame, full: pd.DataFrame, knees: pd.DataFrame) -> Figure:
    """Metric against bits on one grid, one panel a data set; dotted: full precision.

    Above each panel, per method: the mean knee (filled) and the mean number of bits at which the step
    equals xi (open), with 95 % intervals.
    """
    with mpl.rc_context(FONT):
        subjects = curves[["dataset", "model"]].drop_duplicates().to_dict("records")
        across = 1 if len(subjects) <= 3 else 2
        down = -(-len(subjects) // across)
        figure, axes = plt.subplots(
            2 * down, across, figsize=(COLUMN if across == 1 else TEXT, 1.85 * down), sharex=True,
            layout="constrained", height_ratios=[1, 2.6] * down, squeeze=False,
        )  # fmt: skip
        pairs = list(zip(axes[::2].flat, axes[1::2].flat, strict=True))
        for rail, panel in pairs[len(subjects) :]:
            rail.set_axis_off()
            panel.set_axis_off()
        for subject, (rail, panel) in zip(subjects, pairs, strict=False):
            part, levels, marks = (
                pd.DataFrame(rows_of(table, **subject)) for table in (curves, full, knees)
            )
            for i, (method, mine) in enumerate(part.groupby("method", sort=False)):
                line = style(method)
                panel.plot(
                    mine.bits, mine["mean"], label=method_label(method),
                    markersize=4, markevery=(i % 2, 2), **line,
                )  # fmt: skip
                level = levels[levels.method == method]["mean"].iloc[0]
                panel.axhline(level, color=line["color"], linewidth=0.6, linestyle=(0, (1, 3)))
                ends = marks[marks.method == method].set_index("quantity")
                centres = ends.estimate[["knee", "xi_bits"]]
                rail.plot(
                    centres, [-i, -i], color=line["color"], linewidth=0.8, linestyle=line["linestyle"]
                )
                for quantity, inside in (("knee", line["color"]), ("xi_bits", "white")):
                    row = ends.loc[quantity]
                    whiskers = [[row.estimate - row.ci_low], [row.ci_high - row.estimate]]
                    rail.errorbar(
                        [row.estimate], [-i], xerr=whiskers, color=line["color"], marker=line["marker"],
                        markerfacecolor=inside, markersize=4, capsize=2,
                    )  # fmt: skip
            rail.set(yticks=[], ylim=(-i - 0.7, 0.7))
            rail.spines[["left", "bottom"]].set_visible(False)
            rail.tick_params(bottom=False)
            rail.set_title(data_label(subject), loc="left")
            panel.set(yscale="log", ylabel=LOSSES[part.quantity.iloc[0]])
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.yaxis.set_minor_formatter("")
        pairs[0][0].set_title("filled: knee, open: step = xi", loc="right", fontsize=7)
        for panel in axes[-1]:
            panel.set(xlabel="Bits of every weight", xticks=range(2, 18, 2), xlim=(0.5, 17.5))
        most = max((panel for _, panel in pairs), key=lambda panel: len(panel.lines))
        handles, labels = most.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3 * across, frameon=False)
        plt.close(figure)
    return figure


LOSSES = {  # of precision.Cell.metric
    "unexplained": "Unexplained variance",
    "cross_entropy": "Cross entropy (nats)",
    "bits_per_character": "Bits per character",
}


def scale(table: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """Loss and explained variance against xi_scaling, 0 at the left edge; marks: the best scaling."""
    lines = {"quantized": STYLES[1], "full_precision": STYLES[0]}
    with mpl.rc_context(FONT):
        figure, panels = plt.subplots(2, 1, figsize=(COLUMN, 3.6), sharex=True, layout="constrained")
        for panel, prefix in zip(panels, ("", "explained_"), strict=True):
            for quantity, line in lines.items():
                rows = table[table.quantity == prefix + quantity].sort_values("xi_scaling")
                colour, dashes = line["color"], line["linestyle"]
                panel.plot(rows.xi_scaling, rows["mean"], color=colour, linestyle=dashes)
                panel.fill_between(
                    rows.xi_scaling, rows.ci_low, rows.ci_high, color=colour, alpha=0.25, lw=0
                )
                at = 0.5 if prefix else 4000  # where the lines are apart
                lift = 4 if prefix == "" or quantity == "full_precision" else -10
                panel.annotate(
                    QUANTITY_LABELS[quantity],
                    (at, np.interp(at, rows.xi_scaling, rows["mean"])),
                    (0, lift),
                    textcoords="offset points",
                    color=colour,
                    fontsize=7,
                    ha="right" if prefix == "" else "left",
                )
                found = best[best.quantity == quantity].iloc[0]
                height = rows.loc[rows.xi_scaling == found.estimate, "mean"].iloc[0]
                ends = [[found.estimate - found.ci_low], [found.ci_high - found.estimate]]
                panel.errorbar(
                    found.estimate, height, xerr=ends, color=colour, marker=line["marker"],
                    markersize=4, capsize=2, linewidth=1, markerfacecolor="white",
                )  # fmt: skip
            for at in (1, XI_SCALING):
                panel.axvline(at, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)))
            panel.set_xscale("symlog", linthresh=0.1, linscale=0.5)
        spread = table[table.xi_scaling > 0].xi_scaling
        panels[0].set(yscale="log", ylabel="Mean squared error", xlim=(-0.01, spread.max()))
        for at, words in ((1, "xi itself"), (XI_SCALING, "published")):
            top = panels[0].get_xaxis_transform()
            panels[0].text(at, 1.02, words, transform=top, ha="center", fontsize=7)
        panels[0].yaxis.set_major_formatter("{x:g}")
        ticks = [0, 1, 100, 10_000, 1_000_000]
        panels[1].set_xticks(ticks, ["0", "1", "100", "$10^4$", "$10^6$"])
        panels[1].minorticks_off()
        panels[1].set(
            ylabel="Explained variance", xlabel="xi_scaling (the training noise is xi times this)"
        )
        panels[1].axhline(0, color="0.6", linewidth=0.6)
        plt.close(figure)
    return figure


def constants(table: pd.DataFrame, product: pd.DataFrame) -> Figure:
    """What each constant at scaling 1 adds to the unexplained variance, with 95 % intervals."""
    order = product.sort_values("magnitude", kind="stable").drop_duplicates("constant")
    names = order.constant.tolist()
    with mpl.rc_context(FONT):
        height = 0.7 + 0.18 * len(names)
        figure, panel = plt.subplots(figsize=(COLUMN, height), layout="constrained")
        rows = table[table.quantity == "unexplained_added"]
        for i, (dataset, mine) in enumerate(rows.groupby("dataset", sort=False)):
            at = np.array([names.index(name) for name in mine.constant]) + 0.24 * (i - 0.5)
            whiskers = [mine.estimate - mine.ci_low, mine.ci_high - mine.estimate]
            line = STYLES[i] | {"linestyle": "none"}
            panel.errorbar(
                mine.estimate, at, xerr=whiskers, label=DATASET_LABELS.get(dataset, dataset),
                markersize=3.5, capsize=2, linewidth=1, **line,
            )  # fmt: skip
        panel.axvline(0, color="0.6", linewidth=0.6)
        panel.set_xscale("symlog", linthresh=1e-4)
        panel.margins(x=0.08)
        panel.set_xticks([-1e-3, 0, 1e-3, 1e-1], ["$-10^{-3}$", "0", "$10^{-3}$", "0.1"])
        panel.minorticks_off()
        labels = [
            f"{name.replace('_', ' ')}  {value:.4g}"
            for name, value in zip(names, order.magnitude, strict=True)
        ]
        panel.set_yticks(range(len(names)), labels)
        panel.set_xlabel("Added unexplained variance", loc="right")
        panel.legend(frameon=False, loc="lower right")
        plt.close(figure)
    return figure


def calibration(table: pd.DataFrame) -> Figure:
    """Largest p-value over target noises at each pair of the other noises; crosses: ruled out."""
    rows = table[table.quantity == "p_value"]
    targets = rows.target.unique()
    with mpl.rc_context(FONT):
        figure, panels = plt.subplots(len(targets), 1, figsize=(COLUMN, 3.4), layout="constrained")
        for panel, target in zip(panels, targets, strict=True):
            most = rows[rows.target == target].pivot_table(
                index="baseline_noise", columns="evaluation_noise", values="estimate", aggfunc="max"
            )
            image = panel.imshow(most, vmin=0, vmax=1, cmap="Blues", origin="lower", aspect="auto")
            for y, x in np.argwhere(most.to_numpy() < 0.05):
                panel.plot(x, y, marker="x", color="0.3", markersize=5)
            at = np.interp(reported_evaluation_noise(), most.columns, range(most.shape[1]))
            height = np.interp(0.4, most.index, range(most.shape[0]))
            panel.plot(at, height, marker="*", color="black", markersize=9, mec="white")
            panel.set_xticks(range(most.shape[1]), [f"{value:g}" for value in most.columns])
            panel.set_yticks(range(most.shape[0]), [f"{value:g}" for value in most.index])
            panel.set_title(f"Target: {target}", loc="left")
            panel.set(ylabel="Baseline noise")
        panels[-1].set_xlabel("Evaluation noise   (x: ruled out, star: used elsewhere)")
        figure.colorbar(image, ax=panels, label="Largest p-value over target noises", aspect=40)
        plt.close(figure)
    return figure


def _percent(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracies as percentages, their intervals cut at 0 and 100."""
    rows = table[table.metric == "accuracy"]
    ends = (100 * rows[["ci_low", "ci_high"]]).clip(0, 100)
    return rows.assign(mean=100 * rows["mean"], ci_low=ends.ci_low, ci_high=ends.ci_high)


def _bits_per_character(table: pd.DataFrame) -> pd.DataFrame:
    """Their intervals cut where the logarithm would end."""
    rows = table[table.metric == "bits_per_character"]
    return rows.assign(ci_low=rows.ci_low.clip(lower=1e-3))


def _whiskers(rows: pd.DataFrame) -> list[pd.Series]:
    ends = rows["mean"] - rows.ci_low, rows.ci_high - rows["mean"]
    return [length.clip(0) for length in ends]  # of equal values, an end may be off by a rounding


def _read(rows: pd.DataFrame) -> pd.DataFrame:
    """Those not rounded, and those at their method's own scale rule, with a step a channel."""
    rows = rows[rows.layout == CHANNELS]
    return rows[rows.scale_rule == np.where(rows.eval_bits == FLOAT, "none", "own")]


def _widths(rows: pd.DataFrame) -> list[int]:
    """Evaluated bit-widths, FLOAT first if it is there."""
    return sorted(rows.eval_bits.unique(), reverse=True)


def _titled(model: str) -> str:
    shown = model_label(model)
    return shown[:1].upper() + shown[1:]


def _width(bits: int) -> str:
    return "float" if bits == FLOAT else f"INT{bits}"


def _of(model: str, rows: pd.DataFrame) -> pd.DataFrame:
    if model not in {*rows.model}:
        raise KeyError(f"no model {model!r}; there are {', '.join(rows.model.unique())}")
    return rows[rows.model == model]


def _space(panel, axis: str, highs: pd.Series) -> None:
    """Let an axis of accuracies go from 0 to a little above the highest, as BY_ERROR has it."""
    there, back = BY_ERROR
    top = max(80, highs.max())
    major = (0, 80, 95, 98) if top < 99.5 else (0, 80, 95, 99, 100)
    getattr(panel, f"set_{axis}scale")("function", functions=BY_ERROR)
    for ticks, minor in ((major, False), ((50, 90, 98, 99, 99.5), True)):
        getattr(panel, f"set_{axis}ticks")([tick for tick in ticks if tick <= top], minor=minor)
    panel.set(**{f"{axis}lim": (0, back(1.05 * there(top) - 0.05 * there(0)))})


def _space_accuracies(panel: Axes, rows: pd.DataFrame) -> None:
    _space(panel, "y", rows.ci_high)


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


def vision(table: pd.DataFrame) -> Figure:
    """Accuracy against bits, one panel a model, with 95 % intervals: table as of vision.tables.

    Methods: those of the linear layer and the few. Each is read at its method's own scale rule; float:
    not rounded. A method that trains for a width (open marks) stands at each width with the network
    that was trained for it. Accuracies are spaced by the logarithm of the share of wrong images.
    """
    rows = _read(_percent(table[own_width(table)]))
    return _curves(rows, "Accuracy (%), logarithm of error", _space_accuracies)


def language(table: pd.DataFrame) -> Figure:
    """Bits per character against bits, as `vision` shows accuracies: table as of language.tables.

    One panel a model whose output channels have a step each. Spaced by the logarithm, each panel to its
    own ends; an interval may go beyond them.
    """
    rows = _read(_bits_per_character(table[own_width(table)]))
    return _curves(rows, "Bits per character, less is better", _space_bits)


def vision_matrix(table: pd.DataFrame, model: str) -> Figure:
    """Mean accuracy in percent of each arm on one model (rows) at each evaluated bit-width (columns).

    table: as of vision.tables. Every network is read at its method's own scale rule; float: not
    rounded. Frames: the width that a network was trained for. Shades are spaced by the logarithm of the
    share of wrong images. Raises KeyError for a model that is not in the table.
    """
    rows = _of(model, _read(_percent(table)))
    return _matrix(rows, model, "accuracy (%)", FuncNorm(BY_ERROR, 0, 100), "Blues", 1)


def language_matrix(table: pd.DataFrame, model: str) -> Figure:
    """Mean bits per character of each arm on one model, as `vision_matrix` shows accuracies.

    table: as of language.tables. Shades are spaced by the logarithm, the fewer the darker. Raises
    KeyError for a model that is not in the table.
    """
    rows = _of(model, _read(_bits_per_character(table)))
    low, high = rows["mean"].min(), rows["mean"].max()
    scaled = LogNorm(low, max(high, 1.01 * low))
    return _matrix(rows, model, "bits per character", scaled, "Blues_r", 2)


def _curves(rows: pd.DataFrame, label: str, space: Callable[[Axes, pd.DataFrame], None]) -> Figure:
    """One panel a model; space: sets the axis of a panel for the rows of its model."""
    telling = [name for name in named() if REGISTRY[name].layer or REGISTRY[name].few]
    rows = rows[rows.method.isin(telling)]
    shown = [name for name in telling if name in {*rows.method}]
    models, widths = rows.model.unique(), _widths(rows)
    with mpl.rc_context(FONT):
        height = 0.9 + 1.2 * len(models)
        figure, panels = plt.subplots(
            len(models), 1, figsize=(COLUMN, height), sharex=True, layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for model, panel in zip(models, panels.flat, strict=True):
            for i, method in enumerate(shown):
                mine = rows[(rows.model == model) & (rows.method == method)]
                mine = mine.sort_values("eval_bits", ascending=False)
                at = [
                    widths.index(bits) + 0.5 * ((i + 0.5) / len(shown) - 0.5) for bits in mine.eval_bits
                ]
                line = MORE_STYLES[telling.index(method) % len(MORE_STYLES)]
                inside = "white" if REGISTRY[method].for_bits else line["color"]
                panel.errorbar(
                    at, mine["mean"], _whiskers(mine),
                    label=method_label(method), markersize=3.5, linewidth=0.9, elinewidth=0.8,
                    markerfacecolor=inside, **line,
                )  # fmt: skip
            space(panel, rows[rows.model == model])
            panel.set_title(_titled(model), loc="left")
        panel.set(xlabel="Weights evaluated at")
        panel.set_xticks(range(len(widths)), map(_width, widths))
        handles, labels = panels.flat[0].get_legend_handles_labels()
        figure.supylabel(label, fontsize=8)
        figure.legend(
            handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=6.5,
            columnspacing=1.2,
        )  # fmt: skip
        plt.close(figure)
    return figure


def _matrix(
    rows: pd.DataFrame, model: str, metric: str, scaled: Normalize, cmap: str, decimals: int
) -> Figure:
    """scaled, cmap: from means to shades."""
    means = rows.pivot(index=["method", "train_bits"], columns="eval_bits", values="mean")
    arms = list(dict.fromkeys(zip(rows.method, rows.train_bits, strict=True)))
    arms.sort(key=lambda arm: arm[1] != NO_WIDTH)
    means = means.loc[arms, _widths(rows)]
    with mpl.rc_context(FONT | {"ytick.labelsize": 6}):
        height = 0.6 + 0.15 * len(arms)
        figure, panel = plt.subplots(figsize=(COLUMN, height), layout="constrained")
        image = panel.imshow(means, norm=scaled, cmap=cmap, aspect="auto")
        for (y, x), value in np.ndenumerate(means.to_numpy()):
            red, green, blue = (image.cmap(scaled(value))[:3] ** np.array(2.2)).tolist()
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18  # black and white equally far
            panel.text(
                x, y, f"{value:.{decimals}f}", color="white" if dark else "black", ha="center",
                va="center_baseline", fontsize=6,
            )  # fmt: skip
        for y, (_, bits) in enumerate(arms):
            if bits in means.columns:
                x = means.columns.get_loc(bits)
                panel.add_patch(
                    plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, zorder=3, clip_on=False)
                )
        first = dict(reversed(arms))  # method -> the width of its first row
        widths = {arm: f"  INT{arm[1]}" if arm[1] != NO_WIDTH else "" for arm in arms}
        names = [method_label(m) * (first[m] == bits) + widths[m, bits] for m, bits in arms]
        panel.set_yticks(range(len(arms)), names)
        panel.set_xticks(range(means.shape[1]), map(_width, means.columns))
        panel.tick_params(length=0, top=True, labeltop=True)
        panel.spines[:].set_visible(False)
        for y, (method, bits) in enumerate(arms[1:], 1):
            if bits in (NO_WIDTH, first[method]):
                panel.axhline(y - 0.5, color="white", linewidth=2 if bits else 1)
        panel.set(
            xlabel="Weights evaluated at",
            ylabel="Trained with, and for",
            title=f"{_titled(model)}, {metric}",
        )
        plt.close(figure)
    return figure


# Scale rule -> marker, what is in it, how far below the row's middle, name.
MARKS = {
    "absmax": ("o", "white", -0.2, "absmax"),
    "mse": ("o", "black", 0.2, "least squared error"),
    "learned": ("x", "black", 0, "learned"),
}


def vision_ranks(table: pd.DataFrame, model: str) -> Figure:
    """Accuracy and rank of every method on one model, one panel a bit-width, with 95 % intervals.

    table: as of vision.tables. A method that trains for a width stands with the network trained for the
    width of the panel. Open: absmax steps, filled: steps of least squared error, cross: learned steps.
    Rows are sorted by the accuracy at its method's own scale rule, in mean over the panels that every
    method is in; the number at the right is the rank by that accuracy in the panel, of equals the lower.
    Dotted: plain training, not rounded. Raises KeyError for a model that is not in the table.
    """
    rows = _of(model, _percent(table[own_width(table)]))
    means = _read(rows).pivot(index="method", columns="eval_bits", values="mean")
    plain = means.loc["no_noise", FLOAT] if "no_noise" in means.index and FLOAT in means else None
    means = means.drop(columns=FLOAT, errors="ignore").round(9)  # equals stay equal
    ranks = means.rank(ascending=False, method="min")
    order = means.dropna(axis=1).mean(axis=1).sort_values(ascending=False, kind="stable").index
    widths = _widths(rows[rows.eval_bits != FLOAT])
    across = min(2, len(widths))
    down = -(-len(widths) // across)
    marks = {rule: MARKS.get(rule, ("D", "0.6", 0, rule)) for rule in (*SCALES, "learned")}
    with mpl.rc_context(FONT | {"ytick.labelsize": 6.5}):
        height = 0.7 + down * (0.35 + 0.13 * len(order))
        figure, panels = plt.subplots(
            down, across, figsize=(COLUMN, height), sharex=True, sharey=True, layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for panel in panels.flat[len(widths) :]:
            panel.remove()
            panels[-2, -1].tick_params(labelbottom=True)
        for bits, panel in zip(widths, panels.flat, strict=False):
            for rule, (marker, inside, lift, name) in marks.items():
                mine = rows[(rows.eval_bits == bits) & (rows.scale_rule == rule)]
                if mine.empty:
                    continue
                panel.errorbar(
                    mine["mean"], [order.get_loc(method) + lift for method in mine.method],
                    xerr=_whiskers(mine), label=name,
                    linestyle="", marker=marker, markersize=3, color="black", markerfacecolor=inside,
                    elinewidth=0.7, markeredgewidth=0.7,
                )  # fmt: skip
            for method, rank in ranks[bits].reindex(order).dropna().items():
                panel.text(
                    1.01, order.get_loc(method), f"{rank:.0f}", fontsize=6, va="center_baseline",
                    transform=panel.get_yaxis_transform(),
                )  # fmt: skip
            panel.text(1.01, 1.02, "rank", fontsize=6, transform=panel.transAxes)
            panel.grid(axis="y", color="0.9", linewidth=0.6)
            if plain is not None:
                panel.axvline(
                    plain, label=f"{method_label('no_noise')}, float", color="0.4", linewidth=0.8,
                    linestyle=(0, (1, 2)),
                )  # fmt: skip
            panel.set_title(_width(bits), loc="left")
        panel.set_yticks(range(len(order)), map(method_label, order))
        panel.set(ylim=(len(order) - 0.4, -0.6))
        _space(panel, "x", rows.ci_high)
        figure.supxlabel("Accuracy (%), logarithm of error", fontsize=8)
        handles, labels = panel.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=6.5,
            columnspacing=0.8, handletextpad=0.2,
        )  # fmt: skip
        plt.close(figure)
    return figure
