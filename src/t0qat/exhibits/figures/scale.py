"""Figures of the scale of the noise: the sweep, and the constants."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from t0qat.exhibits.figures.style import PLACE, STYLES, in_font, only, panels, points
from t0qat.exhibits.labels import QUANTITY_LABELS, dataset_label
from t0qat.training.constants import XI_SCALING


@in_font
def scale(table: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """Loss and explained variance against xi_scaling, 0 at the left edge; marks: the best scaling."""
    lines = {"quantized": STYLES[1], "full_precision": STYLES[0]}
    named = {"xi itself": 1, "published": XI_SCALING}
    figure, axes = panels(3.6, 2, sharex=True)
    loss, explained = axes
    for panel, prefix in ((loss, ""), (explained, "explained_")):
        for quantity, line in lines.items():
            rows = table[table.quantity == prefix + quantity].sort_values("xi_scaling")
            colour = line["color"]
            panel.plot(rows.xi_scaling, rows["mean"], **only(line, "color", "linestyle"))
            panel.fill_between(
                rows.xi_scaling, rows.ci_low, rows.ci_high, color=colour, alpha=0.25, lw=0
            )
            at = 0.5 if prefix else 4000  # where the lines are apart
            lift = 4 if prefix == "" or quantity == "full_precision" else -10
            height = np.interp(at, rows.xi_scaling, rows["mean"])
            panel.annotate(
                QUANTITY_LABELS[quantity], (at, height), (0, lift), textcoords="offset points",
                color=colour, fontsize=7, ha="left" if prefix else "right",
            )  # fmt: skip
            found = best[best.quantity == quantity]
            look = {"markersize": 4, "capsize": 2, "linewidth": 1, "markerfacecolor": "white"}
            height = rows.loc[rows.xi_scaling.isin(found.estimate), "mean"]
            points(panel, found, y=height, **look, **only(line, "color", "marker"))
        for at in named.values():
            panel.axvline(at, **PLACE)
        panel.set_xscale("symlog", linthresh=0.1, linscale=0.5)
    loss.set(yscale="log", ylabel="Mean squared error", xlim=(-0.01, table.xi_scaling.max()))
    for words, at in named.items():
        loss.text(at, 1.02, words, transform=loss.get_xaxis_transform(), ha="center", fontsize=7)
    loss.yaxis.set_major_formatter("{x:g}")
    explained.set_xticks([0, 1, 100, 10_000, 1_000_000], ["0", "1", "100", "$10^4$", "$10^6$"])
    explained.minorticks_off()
    explained.set_ylabel("Explained variance")
    explained.set_xlabel("xi_scaling (the training noise is xi times this)")
    explained.axhline(0, color="0.6", linewidth=0.6)
    return figure


@in_font
def constants(table: pd.DataFrame, product: pd.DataFrame) -> Figure:
    """What each constant at scaling 1 adds to the unexplained variance, with 95 % intervals."""
    order = product.sort_values("magnitude", kind="stable").drop_duplicates("constant")
    names = order.constant.tolist()
    figure, panel = panels(0.7 + 0.18 * len(names))
    rows = table[table.quantity == "unexplained_added"]
    for i, (dataset, mine) in enumerate(rows.groupby("dataset", sort=False)):
        at = [names.index(name) + 0.24 * (i - 0.5) for name in mine.constant]
        look = STYLES[i] | {"linestyle": "none", "label": dataset_label(dataset)}
        points(panel, mine, y=at, markersize=3.5, capsize=2, linewidth=1, **look)
    panel.axvline(0, color="0.6", linewidth=0.6)
    panel.set_xscale("symlog", linthresh=1e-4)
    panel.margins(x=0.08)
    panel.set_xticks([-1e-3, 0, 1e-3, 1e-1], ["$-10^{-3}$", "0", "$10^{-3}$", "0.1"])
    panel.minorticks_off()
    shown = zip(names, order.magnitude, strict=True)
    panel.set_yticks(range(len(names)), [f"{n.replace('_', ' ')}  {value:.4g}" for n, value in shown])
    panel.set_xlabel("Added unexplained variance", loc="right")
    panel.legend(loc="lower right")
    return figure
