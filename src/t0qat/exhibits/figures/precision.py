"""Figure of the metric against bits."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from t0qat.exhibits.figures.style import (
    COLUMN,
    LEVEL,
    TEXT,
    in_font,
    legend_above,
    logarithmic,
    only,
    panels,
    points,
    style,
)
from t0qat.exhibits.labels import data_label
from t0qat.exhibits.rows import rows_of

LOSSES = {  # of precision.Cell.metric
    "unexplained": "Unexplained variance",
    "cross_entropy": "Cross entropy (nats)",
    "bits_per_character": "Bits per character",
}


@in_font
def precision(curves: pd.DataFrame, full: pd.DataFrame, knees: pd.DataFrame) -> Figure:
    """Metric against bits on one grid, one panel a data set; dotted: full precision.

    Above each panel, per method: the mean knee (filled) and the mean number of bits at which the step
    equals xi (open), with 95 % intervals.
    """
    subjects = curves[["dataset", "model"]].drop_duplicates().to_dict("records")
    across = 1 if len(subjects) <= 3 else 2
    down = -(-len(subjects) // across)
    figure, axes = panels(
        1.85 * down, 2 * down, across, width=COLUMN if across == 1 else TEXT, sharex=True,
        height_ratios=[1, 2.6] * down, squeeze=False,
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
            panel.plot(mine.bits, mine["mean"], markersize=4, markevery=(i % 2, 2), **line)
            level = levels[levels.method == method]["mean"].iloc[0]
            panel.axhline(level, color=line["color"], **LEVEL)
            inside = {"knee": line["color"], "xi_bits": "white"}
            ends = marks[marks.method == method].set_index("quantity").loc[[*inside]]
            rail.plot(ends.estimate, [-i, -i], linewidth=0.8, **only(line, "color", "linestyle"))
            for quantity, filling in inside.items():
                look = only(line, "color", "marker") | {"markerfacecolor": filling}
                points(rail, ends.loc[[quantity]], y=[-i], markersize=4, capsize=2, **look)
        rail.set(yticks=[], ylim=(-i - 0.7, 0.7))
        rail.spines[["left", "bottom"]].set_visible(False)
        rail.tick_params(bottom=False)
        rail.set_title(data_label(subject))
        logarithmic(panel, LOSSES[part.quantity.iloc[0]], FormatStrFormatter("%g"))
    pairs[0][0].set_title("filled: knee, open: step = xi", loc="right", fontsize=7)
    for panel in axes[-1]:
        panel.set(xlabel="Bits of every weight", xticks=range(2, 18, 2), xlim=(0.5, 17.5))
    most = max((panel for _, panel in pairs), key=lambda panel: len(panel.lines))
    legend_above(figure, most, 3 * across)
    return figure
