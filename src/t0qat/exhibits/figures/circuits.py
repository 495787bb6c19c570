"""Figure of circuits under device noise."""

import pandas as pd
from matplotlib.figure import Figure

from t0qat.exhibits.circuits import CHANNEL_LABELS, task_label
from t0qat.exhibits.figures.style import TEXT, in_font, legend_above, panels, points
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.circuits import DEVICE, WAYS

MARKS = "osD^vP"


@in_font
def circuits(table: pd.DataFrame) -> Figure:
    """Accuracy at all shots against a channel's strength: a row a task, a column a channel."""
    rows = table[(table.shots > 0) & (table.eval_bits == FLOAT)]
    models = [*dict.fromkeys(rows.model)]
    figure, axes = panels(
        0.7 + 1.1 * len(models), len(models), len(DEVICE), width=TEXT, sharex=True, sharey="row",
        squeeze=False,
    )  # fmt: skip
    for model, line in zip(models, axes, strict=True):
        for channel, panel in zip(DEVICE, line, strict=True):
            mine = rows[(rows.model == model) & rows.channel.isin([channel, "none"])]
            for i, way in enumerate(mine.way.unique()):
                here = mine[mine.way == way].sort_values("channel_strength")
                look = {"color": f"C{i}", "marker": MARKS[i % len(MARKS)], "markersize": 2.5}
                points(panel, here, here.channel_strength, **look, linewidth=0.8, label=WAYS[way].label)
            title = CHANNEL_LABELS[channel].replace(" ", "\n") if model == models[0] else ""
            panel.set_title(title, fontsize=6.5)
        line[0].set_ylabel(task_label(model))
    figure.supxlabel("Strength of the channel, after every gate")
    figure.supylabel("Accuracy")
    legend_above(figure, axes.flat[0], 3, fontsize=6.5)
    return figure
