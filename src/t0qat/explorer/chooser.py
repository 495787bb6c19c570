"""Which method at which width, to choose by hand: a network, a width and methods, a picture, sentences."""

import base64
import io
import os
from collections.abc import Collection
from html import escape
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from t0qat.exhibits.deviations import CHANCE, DRAWN
from t0qat.exhibits.figures.benchmark import FAMILY_STYLES, ROOM, family_of
from t0qat.exhibits.figures.style import points
from t0qat.exhibits.labels import width
from t0qat.experiments.arms import NO_WIDTH, model_label
from t0qat.explorer import choice
from t0qat.explorer.canvas import SIZE, STYLE
from t0qat.explorer.panel import STATIC, WRAP
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.words import thousands

AROUND, LINE, LETTER = 1.0, 0.26, 0.068  # inches: above and below the rows, one row, one letter
NUMBERS = 2.6  # inches, right of the axes


def which(paper: Paper, **chosen: Any) -> "Chooser":
    """Make the chooser, show it, and return it. chosen: as Chooser.set takes it."""
    chooser = Chooser(paper, **chosen)
    display(chooser)
    return chooser


class Chooser:
    """The choice, its rows, sentences and picture.

    controls: network, bits and methods -> widget.
    """

    def __init__(self, paper: Paper, **chosen: Any):
        """Raises ChoiceError and ResultsError. chosen: as `set` takes it."""
        self._found, self._following = choice.load(paper), False
        networks = [*choice.networks(self._found)]
        named = [(choice.network_word(self._found, network), network) for network in networks]
        self.network, self._wanted = networks[0], None
        self.bits = choice.widths(self._found, self.network)[-1]
        self.controls = {
            "network": widgets.Dropdown(options=named, description="Network"),
            "bits": widgets.ToggleButtons(description="Width", style={"button_width": "5em"}),
            "methods": widgets.SelectMultiple(
                description="Methods", rows=8, layout={"width": "27em", "max_width": "100%"}
            ),
        }
        for name, widget in self.controls.items():
            widget.add_class(f"which-{name}")
            widget.observe(self._moved, "value")
        self.usual = widgets.Button(description="The usual methods").add_class("which-usual")
        self.usual.on_click(lambda _: self.set(methods=None))
        self._picture = widgets.Image(format="png", layout={"max_width": "100%"})
        self._picture.add_class("which-picture")
        self._text = widgets.HTML().add_class("which-sentence")
        self.set(**chosen)

    @property
    def methods(self) -> list[str]:
        """Those shown: of the wanted ones, or else of the usual, those with a result there."""
        known = choice.methods(self._found, self.network, self.bits)
        if self._wanted is None:
            return choice.usual(self._found, self.network, self.bits)
        return [method for method in known if method in self._wanted]

    @property
    def rows(self) -> pd.DataFrame:
        """What is drawn, one row a method, as choice.rows gives it."""
        return choice.rows(self._found, self.network, self.bits, self.methods)

    @property
    def sentence(self) -> str:
        """What the picture shows, and what is recommended there, in a few sentences."""
        return choice.sentence(self._found, self.network, self.bits, self.methods)

    def set(self, **chosen: Any) -> None:
        """Choose; what is not named stays as it is. ChoiceError, and no change, for what there is not.

        network, bits; methods: names, or None for the usual ones. A method without a result at the bits
        chosen later comes back where it has one.
        """
        if unknown := chosen.keys() - self.controls.keys():
            raise choice.ChoiceError(f"{min(unknown)}: allowed are {', '.join(self.controls)}")
        network, bits = chosen.get("network", self.network), chosen.get("bits", self.bits)
        if "bits" not in chosen and bits not in (widths := choice.widths(self._found, network)):
            bits = widths[-1]
        wanted = chosen.get("methods", self._wanted)
        if "methods" in chosen and wanted is not None:
            choice.rows(self._found, network, bits, wanted)
        else:
            choice.methods(self._found, network, bits)
        self.network, self.bits, self._wanted = network, bits, wanted
        self._show()

    def still(self) -> bytes:
        """The picture as it is now, as a PNG."""
        title = f"{model_label(self.network)}, weights at {width(self.bits)}"
        axis = choice.unit(self._found, self.network)
        return picture(self.rows, title[:1].upper() + title[1:], axis)

    def _show(self) -> None:
        self._following = True
        try:
            network, bits, methods = self.controls.values()
            network.value = self.network
            bits.options = [(width(b), b) for b in choice.widths(self._found, self.network)]
            bits.value = self.bits
            known = choice.methods(self._found, self.network, self.bits)
            offered = [(choice.label(method), method) for method in known]
            if [*methods.options] != offered:
                methods.options = offered
            methods.value = tuple(self.methods)
        finally:
            self._following = False
        self._picture.value = self.still()
        self._text.value = f'<div style="line-height: 1.4">{escape(self.sentence)}</div>'

    def _moved(self, change) -> None:
        """Take what the reader chose."""
        if self._following:
            return
        name = next(name for name, widget in self.controls.items() if widget is change.owner)
        if name != "methods":
            return self.set(**{name: change.new})
        # What is wanted and not offered at this width comes back at another.
        offered = {method for _, method in change.owner.options}
        kept = [method for method in self._wanted or () if method not in offered]
        self._wanted = [*kept, *change.new]
        return self._show()

    def _repr_mimebundle_(self, **kwargs) -> dict[str, Any]:
        still = {"text/plain": self.sentence, "image/png": base64.b64encode(self.still()).decode()}
        return still if os.environ.get(STATIC) else self._view()._repr_mimebundle_() | still

    def _view(self) -> widgets.Widget:
        network, bits, methods = self.controls.values()
        picked = widgets.Box([methods, self.usual], layout=WRAP)
        return widgets.VBox(
            [widgets.Box([network, bits], layout=WRAP), picked, self._picture, self._text]
        )


@mpl.rc_context(STYLE)
def picture(rows: pd.DataFrame, title: str, unit: str) -> bytes:
    """A PNG of differences from plain training with their intervals, and the numbers beside them.

    rows: as of choice.rows, the first on top. The band is the margin; an arrow at an end of the axis
    stands for a method beyond it; of methods at chance there is only the name.
    """
    left = 0.2 + LETTER * max((len(label) for label in _labels(rows)), default=0)
    figure = Figure(figsize=(2 * SIZE[0], AROUND + LINE * max(1, len(rows))))
    wide, high = figure.get_size_inches()
    figure.subplots_adjust(left / wide, 0.55 / high, 1 - NUMBERS / wide, 1 - 0.45 / high)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(f"Minus plain training, rounded the same way ({unit})")
    axes.set(ylim=(max(1, len(rows)) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), _labels(rows))
    axes.axvline(0, color="0.4", linewidth=0.6)
    if len(rows):
        _draw(axes, rows)
        _write(axes, rows)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def _labels(rows: pd.DataFrame) -> list[str]:
    return [row.label + " (recommended)" * row.recommended for row in rows.itertuples()]


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    margin, drawn = rows.margin.iloc[0], rows[rows.place == DRAWN]
    reach = max(1.5 * margin, 1.05 * _farthest(drawn))
    axes.axvspan(-margin, margin, color="0.9", linewidth=0)
    axes.text(margin, 0.99, "margin ", color="0.35", fontsize=6, ha="right", va="top",
              transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlim(-(1 + ROOM) * reach, (1 + ROOM) * reach)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    for y, (method, row) in enumerate(rows.iterrows()):
        look = dict(FAMILY_STYLES[family_of(method)], linestyle="", markersize=5)
        look["markerfacecolor"] = "white" if row.train_bits != NO_WIDTH else look["color"]
        if row.place == CHANCE:
            axes.text(0, y, " at chance, not drawn", color="0.35", fontsize=6, va="center")
        elif row.place == DRAWN:
            ends = {
                "estimate": row.difference,
                "ci_low": row.difference_low,
                "ci_high": row.difference_high,
            }
            points(axes, pd.DataFrame([ends]), y=[y], elinewidth=1, **look)
        else:
            arrow = ("<", -reach) if row.difference < 0 else (">", reach)
            axes.plot(arrow[1], y, **look | {"marker": arrow[0]})


def _farthest(drawn: pd.DataFrame) -> float:
    return drawn[["difference_low", "difference_high"]].abs().max(axis=None) if len(drawn) else 0.0


def _write(axes: Axes, rows: pd.DataFrame) -> None:
    """Each method's loss and the cost of its training, right of the axes."""
    cells: Collection = [(choice.loss_word(row), thousands(row.gradients)) for _, row in rows.iterrows()]
    for y, pair in enumerate([("Loss [95 %]", "Gradients"), *cells], -1):
        for at, text in zip((0.15, 1.75), pair, strict=True):
            axes.annotate(
                text, (1, y if y >= 0 else -0.5), (72 * at, 6 if y < 0 else 0), ("axes fraction", "data"),
                textcoords="offset points", va="bottom" if y < 0 else "center", annotation_clip=False,
            )  # fmt: skip
