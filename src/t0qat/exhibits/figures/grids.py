"""Figure of the integer grids."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from t0qat.exhibits.figures.style import LEVEL, in_font, logarithmic, panels, points, style
from t0qat.exhibits.labels import dataset_label, width


@in_font
def integer_grids(table: pd.DataFrame) -> Figure:
    """Quantized loss against bits, one panel a data set, 95 % intervals; dotted: full precision."""
    figure, axes = panels(4, table.dataset.nunique())
    for panel, (dataset, part) in zip(axes, table.groupby("dataset", sort=False), strict=True):
        bits = part.bits.unique()
        for method, mine in part.groupby("method", sort=False):
            rows, line = mine[mine.quantity == "quantized"], style(method)
            points(panel, rows, range(len(bits)), markersize=4, capsize=2, **line)
            full = mine.loc[mine.quantity == "full_precision", "mean"].iloc[0]
            panel.axhline(full, color=line["color"], **LEVEL)
        logarithmic(panel, "Mean squared error", ScalarFormatter())
        panel.set_title(dataset_label(dataset))
        panel.set_xticks(range(len(bits)), map(width, bits))
    axes[0].legend(loc="center", bbox_to_anchor=(0.35, 0.68))
    return figure
