"""Which method at which width, to choose by hand: controls, a picture and its sentences."""

import base64
import io
import os
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
from t0qat.pipeline.words import number, thousands

ABOVE, BELOW, LINE, LETTER = 0.35, 0.65, 0.24, 0.068  # inches; of one row, and of one letter
NUMBERS, COLUMNS = 2.3, (0.15, 1.6)  # inches: room right of the axes, and where its columns begin


def which(paper: Paper, **chosen: Any) -> "Chooser":
    """Make the chooser, show it, and return it. chosen: as Chooser.set takes it."""
    chooser = Chooser(paper, **chosen)
    display(chooser)
    return chooser


class Chooser:
    """The choice, its rows, sentences and picture.

    controls: network, bits and methods -> widget. rows: what is drawn, one row a method, as choice.rows
    gives it.
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
        usual = widgets.Button(description="The usual methods", layout={"width": "auto"})
        usual.add_class("which-usual").on_click(lambda _: self.set(methods=None))
        self._picture = widgets.Image(
            layout={"max_width": "100%", "margin": "0", "align_self": "flex-start"}
        )
        self._picture.add_class("which-picture")
        self._text = widgets.HTML().add_class("which-sentence")
        network, bits, methods = self.controls.values()
        rows = [network, bits], [methods, usual]
        boxes = [widgets.Box(row, layout=WRAP) for row in rows]
        self._view = widgets.VBox([*boxes, self._picture, self._text])
        self.set(**chosen)

    @property
    def methods(self) -> list[str]:
        """Those shown: of the wanted ones, or else of the usual, those with a result there."""
        return [*self.rows.index]

    @property
    def sentence(self) -> str:
        """What the picture shows, and what is recommended there, in a few sentences."""
        return choice.sentence(self._found, self.network, self.bits, self.rows)

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
        here = self._found, self.network, self.bits
        known = choice.methods(*here)
        wanted = choice.usual(*here) if self._wanted is None else self._wanted
        self.rows = choice.rows(*here, [method for method in known if method in wanted])
        self._following = True
        try:
            network, bits, methods = self.controls.values()
            network.value = self.network
            _offer(bits, [(width(b), b) for b in choice.widths(*here[:2])])
            bits.value = self.bits
            _offer(methods, [(choice.label(method), method) for method in known])
            methods.value = tuple(self.rows.index)
        finally:
            self._following = False
        self._picture.value = self.still()
        said = escape(self.sentence).replace("\n\n", "<br>")
        self._text.value = f'<div style="line-height: 1.4">{said}</div>'

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
        return still if os.environ.get(STATIC) else self._view._repr_mimebundle_() | still


def _offer(widget: widgets.Widget, options: list[tuple]) -> None:
    if [*widget.options] != options:
        if isinstance(widget, widgets.SelectMultiple):
            widget.value = ()  # the browser would look for what was chosen among fewer options
        widget.options = options


@mpl.rc_context(STYLE)
def picture(rows: pd.DataFrame, title: str, unit: str) -> bytes:
    """A PNG of differences from plain training with their intervals, and the numbers beside them.

    rows: as of choice.rows, the first on top. The band is the margin; an arrow at an end of the axis
    stands for a method beyond it; of methods at chance there is only the name.
    """
    labels = [row.label + " (recommended)" * row.recommended for row in rows.itertuples()]
    left = 0.2 + LETTER * max(map(len, labels), default=0)
    figure = Figure(figsize=(2 * SIZE[0], BELOW + ABOVE + LINE * max(1, len(rows))))
    wide, high = figure.get_size_inches()
    figure.subplots_adjust(left / wide, BELOW / high, 1 - NUMBERS / wide, 1 - ABOVE / high)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set(ylim=(max(1, len(rows)) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), labels)
    axes.axvline(0, color="0.4", linewidth=0.6)
    label = f"Minus plain training, rounded the same way ({unit}): below zero is better"
    if len(rows):
        label += (
            f"\nGrey: the margin, ±{number(rows.margin.iloc[0], 2)}. Open marks: trained for this width"
        )
        _draw(axes, rows)
        _write(axes, rows)
    else:
        axes.set(xticks=[], yticks=[])
    axes.set_xlabel(label)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    margin, drawn = rows.margin.iloc[0], rows[rows.place == DRAWN]
    low = min(-1.5 * margin, 1.05 * drawn.difference_low.min()) if len(drawn) else -1.5 * margin
    high = max(1.5 * margin, 1.05 * drawn.difference_high.max()) if len(drawn) else 1.5 * margin
    room = ROOM * (high - low)
    axes.axvspan(-margin, margin, color="0.9", linewidth=0)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    for y, (method, row) in enumerate(rows.iterrows()):
        look = dict(FAMILY_STYLES[family_of(method)], linestyle="", markersize=5)
        look["markerfacecolor"] = "white" if row.train_bits != NO_WIDTH else look["color"]
        if row.place == CHANCE:
            where = {"transform": axes.get_yaxis_transform(), "va": "center"}
            axes.text(0.01, y, "at chance, not drawn", color="0.35", fontsize=6, **where)
        elif row.place == DRAWN:
            ends = (row.difference, row.difference_low, row.difference_high)
            one = pd.DataFrame([ends], columns=["estimate", "ci_low", "ci_high"])
            points(axes, one, y=[y], elinewidth=1, **look)
        else:
            marker, at = ("<", low) if row.difference < 0 else (">", high)
            axes.plot(at, y, **look | {"marker": marker})


def _write(axes: Axes, rows: pd.DataFrame) -> None:
    """Each method's loss and the cost of its training, right of the axes."""

    def cell(text: str, at: float, y: float, up: float = 0) -> None:
        look = {"annotation_clip": False, "fontsize": mpl.rcParams["ytick.labelsize"]}
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(text, (1, y), (72 * at, up), va="bottom" if up else "center", **place, **look)

    for at, heads in zip(COLUMNS, ("Loss [95 % interval]", "Gradients"), strict=True):
        cell(heads, at, -0.5, up=6)
    for y, (_, row) in enumerate(rows.iterrows()):
        cell(choice.loss_word(row), COLUMNS[0], y)
        cell(thousands(row.gradients), COLUMNS[1], y)
