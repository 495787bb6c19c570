"""What pictures are drawn on: canvases in a notebook's front end, or one still picture."""

import io
import math
from collections.abc import Callable, Iterable

import matplotlib as mpl
from ipympl.backend_nbagg import Canvas, FigureManager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from t0qat.exhibits.figures.style import FONT
from t0qat.explorer.pictures import Picture

SIZE = (4.3, 3.0)  # inches of 100 pixels
STYLE = {**FONT, "figure.dpi": 100, "figure.facecolor": "white", "axes.formatter.useoffset": False}


class WholeImages(Canvas):
    """Each image stands alone: of several that come at once, the front end shows the last only."""

    def get_diff_image(self) -> bytes | None:
        self._force_full = True
        return super().get_diff_image()


def live(kind: Callable[[Axes], Picture], number: int) -> Picture:
    """A picture of this kind on a canvas, a widget: picture.axes.figure.canvas; number: its own."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        # Fixed margins: a layout anew at each draw takes as long as the drawing, and jitters.
        figure.subplots_adjust(left=0.14, right=0.97, bottom=0.15, top=0.96)
        picture = kind(figure.subplots())
        canvas = WholeImages(figure)
        FigureManager(canvas, number)
    canvas.syncing_data_url = False  # the front end asks for its first image by itself
    canvas.header_visible = canvas.footer_visible = canvas.resizable = False
    canvas.toolbar_position = "top"
    return picture


def still(shown: Iterable[tuple[str, Callable[[Axes], Picture], object]]) -> bytes:
    """A PNG of pictures, two in a row: of each the title, the kind, and what its `update` takes."""
    with mpl.rc_context(STYLE):
        shown = [*shown]
        rows = math.ceil(len(shown) / 2)
        figure = Figure(figsize=(2 * SIZE[0], rows * SIZE[1]))
        figure.subplots_adjust(0.07, 0.15 / rows, 0.985, 1 - 0.08 / rows, wspace=0.17, hspace=0.28)
        for i, (title, kind, found) in enumerate(shown, 1):
            axes = figure.add_subplot(rows, 2, i, title=title)
            kind(axes).update(found)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()
