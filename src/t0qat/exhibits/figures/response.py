"""Figure of where weight noise helps, by network, bit-width and budget."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from t0qat.exhibits.figures.style import COLUMN, TEXT, in_font, legend_above, panels, points
from t0qat.exhibits.labels import width
from t0qat.exhibits.response import budget_label, curve_label
from t0qat.experiments.arms import model_label
from t0qat.experiments.response import ABSOLUTE, PLAIN, RELATIVE
from t0qat.training.models import MODELS

HUES = {ABSOLUTE: ("Blues", "-", "o"), RELATIVE: ("Oranges", "--", "s")}  # from light to dark
STE_LINE = {"color": "black", "linestyle": ":", "marker": "^"}
WIDER = 1.15  # an axis, than the estimates and the zero line that it shows


@in_font
def response(best: pd.DataFrame) -> Figure:
    """Loss minus that of plain training with the same budget, each at its best rate, against the budget.

    One row a network, one column a bit-width, one line a curve, darker with more noise. Axes are scaled
    to the estimates; intervals that reach farther are cut.
    """
    rows = best[best.method != PLAIN]
    models, widths = [*dict.fromkeys(rows.model)], sorted({*rows.eval_bits}, reverse=True)
    budgets, looks = sorted({*rows.budget}), _looks(rows)
    across, names = (TEXT, 4) if len(widths) > 2 else (COLUMN, 3)
    figure, axes = panels(
        0.9 + 1.25 * len(models), len(models), len(widths), width=across, sharex=True, squeeze=False
    )
    step = min(map(math.log, np.divide(budgets[1:], budgets[:-1])), default=1)
    for (model, bits), panel in zip(
        ((model, bits) for model in models for bits in widths), axes.flat, strict=True
    ):
        here = rows[(rows.model == model) & (rows.eval_bits == bits)]
        for i, ((method, strength), look) in enumerate(looks.items()):
            mine = here[(here.method == method) & (here.strength.fillna(-1) == strength)]
            aside = math.exp(0.5 * step * ((i + 0.5) / len(looks) - 0.5))
            points(panel, mine, mine.budget * aside, **look)
        panel.axhline(0, color="0.4", linewidth=0.7)
        panel.set_title(width(bits) if model == models[0] else "")
        _space(panel, here.estimate, budgets, step)
    for model, row in zip(models, axes, strict=True):
        unit = "nats" if model in MODELS else "bits a character"
        row[0].set_ylabel(f"{model_label(model)}\n({unit})")
    figure.supxlabel("Budget, as a multiple of the benchmark's")
    figure.supylabel("Loss minus plain training's")
    legend_above(figure, axes.flat[0], names, fontsize=6.5, columnspacing=1.2)
    return figure


def _looks(rows: pd.DataFrame) -> dict[tuple[str, float], dict[str, Any]]:
    """(method, strength, or -1 where it has none) -> how its line is drawn."""
    found = {}
    for method, mine in rows.groupby("method", sort=False):
        strengths = sorted({*mine.strength.fillna(-1)})
        shades = np.linspace(0.45, 0.95, len(strengths)) if len(strengths) > 1 else [0.75]
        for shade, strength in zip(shades, strengths, strict=True):
            look = dict(STE_LINE)
            if method in HUES:
                hue, line, marker = HUES[method]
                look = {"color": mpl.colormaps[hue](shade), "linestyle": line, "marker": marker}
            look |= {"markersize": 3, "linewidth": 0.9, "elinewidth": 0.6}
            look["ecolor"] = mpl.colors.to_rgba(look["color"], 0.5)
            found[method, strength] = look | {"label": curve_label(method, strength)}
    return found


def _space(panel: Axes, values: pd.Series, budgets: list[float], step: float) -> None:
    low, high = min(0, values.min()), max(0, values.max())
    spare = (WIDER - 1) * ((high - low) or 1)
    panel.set(xscale="log", ylim=(low - spare, high + spare))
    panel.set_xlim(budgets[0] * math.exp(-step / 2), budgets[-1] * math.exp(step / 2))
    panel.set_xticks(budgets, map(budget_label, budgets))
    panel.minorticks_off()
    ticks = MaxNLocator(4).tick_values(low, high)
    panel.set_yticks([tick for tick in ticks if low - spare <= tick <= high + spare])
    panel.ticklabel_format(axis="y", style="plain", useOffset=False)
