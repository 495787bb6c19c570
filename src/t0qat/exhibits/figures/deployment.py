"""Figure of what a file takes and what it scores, by network."""

import itertools

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from t0qat.exhibits.deployment import METRICS
from t0qat.exhibits.figures.style import STYLES, TEXT, in_font, panels, points
from t0qat.exhibits.labels import name, width
from t0qat.experiments.arms import FLOAT, NO_WIDTH, model_label
from t0qat.experiments.deployment import ONE_FOR_ALL, TUNED
from t0qat.experiments.recommendation import PLAIN
from t0qat.experiments.running import EXACT, LLAMA, RUNTIMES
from t0qat.training.models import MODELS

LINES = dict(zip((PLAIN, ONE_FOR_ALL, TUNED), STYLES, strict=False))  # method -> its look
CHOSEN = {"color": "black", "linestyle": "", "marker": "*", "label": "recommended at the width"}
HOLLOW = {"markerfacecolor": "white", "linewidth": 0.6}  # of the second runtime
ACROSS = 3


@in_font
def deployment(table: pd.DataFrame) -> Figure:
    """Metric against the bytes of the file, one panel a network: fewer of both are better.

    table: as of deployment.tables. Full marks: in ONNX Runtime; hollow: in llama.cpp. Every line goes
    from the float file, on the right, down to the narrowest.
    """
    models = [*dict.fromkeys(table.model)]
    rows = -(-len(models) // ACROSS)
    figure, axes = panels(0.6 + 1.7 * rows, rows, min(ACROSS, len(models)), width=TEXT, squeeze=False)
    for model, panel in zip(models, axes.flat, strict=False):
        here = table[table.model == model]
        _network(panel, here)
        panel.set_title(model_label(model)[:1].upper() + model_label(model)[1:])
        panel.set(xscale="log", ylabel="nats" if model in MODELS else "bits a character")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
        panel.xaxis.set_minor_formatter("")
    for panel in axes.flat[len(models) :]:
        panel.set_visible(False)
    figure.supxlabel("Bytes of the file (thousands)")
    handles, labels = zip(*(panel.get_legend_handles_labels() for panel in axes.flat), strict=True)
    shown = dict(zip(itertools.chain(*labels), itertools.chain(*handles), strict=True))
    if LLAMA in {*table.runtime}:
        mark = Line2D([], [], color="0.4", marker="o", markersize=3, **HOLLOW)
        shown[f"hollow: in {RUNTIMES[LLAMA].label}"] = mark
    figure.legend(shown.values(), shown, loc="outside upper center", ncols=5, fontsize=6.5)
    return figure


def _network(panel, here: pd.DataFrame) -> None:
    sizes = here[here.metric == "file_bytes"].set_index(_ARM)["mean"]
    scores = here[here.metric.isin(METRICS)]
    for runtime, more in {EXACT: {}, LLAMA: HOLLOW}.items():
        for method, look in LINES.items():
            mine = scores[(scores.runtime == runtime) & (scores.method == method)]
            if mine.empty:
                continue
            mine = mine.sort_values("eval_bits", ascending=False, kind="stable")
            label = name(method) if runtime == EXACT else None
            x = sizes.loc[pd.MultiIndex.from_frame(mine[_ARM])].to_numpy()
            points(panel, mine, x, markersize=3, **{"linewidth": 0.9} | look | more, label=label)
            if method == PLAIN and runtime == EXACT:
                for bits, size, score in zip(mine.eval_bits, x, mine["mean"], strict=True):
                    panel.annotate(
                        width(bits), (size, score), (2, 3), textcoords="offset points", fontsize=5
                    )
    chosen = scores[(scores.runtime == EXACT) & ~scores.method.isin([*LINES])]
    chosen = chosen[(chosen.train_bits == NO_WIDTH) | (chosen.train_bits == chosen.eval_bits)]
    chosen = chosen[chosen.eval_bits != FLOAT]
    if len(chosen):
        x = sizes.loc[pd.MultiIndex.from_frame(chosen[_ARM])].to_numpy()
        points(panel, chosen, x, markersize=5, **CHOSEN)


_ARM = ["method", "train_bits", "runtime", "format", "eval_bits"]
