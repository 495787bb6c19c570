"""Figure of the published experiment: distributions of single runs."""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from t0qat.exhibits.figures.style import in_font, only, panels, style
from t0qat.exhibits.labels import QUANTITY_LABELS
from t0qat.experiments.published import QUANTITIES, Losses
from t0qat.training.constants import REPORTED


def density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where, and how dense the values lie there, the peak 1: two arrays, empty where all are equal."""
    if np.ptp(values) == 0:
        return np.empty(0), np.empty(0)
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.1 * (high - low)
    at = np.linspace(low - margin, high + margin, 300)
    height = gaussian_kde(values)(at)
    return at, height / height.max()


@in_font
def table1(run: dict[str, Losses]) -> Figure:
    """Distributions of single runs: the three losses, one panel each, reported values as arrows."""
    figure, axes = panels(4.4, len(QUANTITIES))
    for panel, quantity in zip(axes, QUANTITIES, strict=True):
        for method, losses in run.items():
            at, height = density(getattr(losses, quantity))
            if len(at):  # without evaluation noise there is no drop
                panel.plot(at, height, **only(style(method), "color", "linestyle", "label"))
        values = {method: row[quantity] for method, row in REPORTED.items()}
        least, greatest = min(values.values()), max(values.values())
        close = greatest - least < 0.3 * np.ptp(panel.get_xlim())
        for method, value in values.items():
            look = style(method)
            side = "right" if value == least else "left"  # neighbours lean away
            panel.annotate(
                f" {look['label']} ", (value, 1.03), (value, 1.25), color=look["color"], fontsize=7,
                ha=side if close else "center",
                arrowprops={"arrowstyle": "-|>", "color": look["color"], "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
        panel.set(xlabel=f"{QUANTITY_LABELS[quantity]} (mean squared error)", yticks=[], ylim=(0, 1.45))
        panel.spines["left"].set_visible(False)
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.45, 0.95))
    figure.supylabel("Density of runs, peak = 1; arrows: reported")
    return figure
