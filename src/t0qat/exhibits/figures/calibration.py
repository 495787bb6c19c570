"""Figure of the calibration."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from t0qat.exhibits.figures.style import in_font, panels
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.training.constants import BASELINE_NOISE, reported_evaluation_noise


@in_font
def calibration(table: pd.DataFrame) -> Figure:
    """Largest p-value over target noises at each pair of the other noises; crosses: ruled out."""
    rows = table[table.quantity == "p_value"]
    figure, axes = panels(3.4, rows.target.nunique())
    for panel, (target, part) in zip(axes, rows.groupby("target", sort=False), strict=True):
        most = part.pivot_table(
            index="baseline_noise", columns="evaluation_noise", values="estimate", aggfunc="max"
        )
        image = panel.imshow(most, vmin=0, vmax=1, cmap="Blues", origin="lower", aspect="auto")
        for y, x in np.argwhere(most.to_numpy() < ERROR_RATE):
            panel.plot(x, y, marker="x", color="0.3", markersize=5)
        at = np.interp(reported_evaluation_noise(), most.columns, range(most.shape[1]))
        height = np.interp(BASELINE_NOISE, most.index, range(most.shape[0]))
        panel.plot(at, height, marker="*", color="black", markersize=9, mec="white")
        panel.set_xticks(range(most.shape[1]), [f"{value:g}" for value in most.columns])
        panel.set_yticks(range(most.shape[0]), [f"{value:g}" for value in most.index])
        panel.set_title(f"Target: {target}")
        panel.set_ylabel("Baseline noise")
    panel.set_xlabel("Evaluation noise   (x: ruled out, star: used elsewhere)")
    figure.colorbar(image, ax=axes, label="Largest p-value over target noises", aspect=40)
    return figure
