"""The explorer as a reader sees it: presets, controls, pictures with their sentences, and a file."""

import base64
import json
import os
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from t0qat.experiments.published import QUANTITIES
from t0qat.experiments.scale import scalings
from t0qat.explorer import canvas, pictures, settings, words
from t0qat.explorer.controls import Controls, presets
from t0qat.explorer.measure import DEVICE_STRENGTHS, Circuits, Linear, Networks, Setting
from t0qat.explorer.work import Work
from t0qat.pipeline import places
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.parameters import ParameterError

STATIC = "T0QAT_STATIC"  # set where no front end is live: `make outputs` keeps a picture, no widgets
KEPT = "bits", "grid_range", "grid_scale", "replicates"
WRAP = {"flex_flow": "row wrap", "align_items": "center"}
CARD = {"width": f"{100 * canvas.SIZE[0] + 10:g}px", "max_width": "100%", "margin": "4px 12px"}
PICTURES = {
    "drop": ("Drop in single runs", pictures.Drops, words.drops),
    "losses": ("Quantized against full precision", pictures.BeforeAfter, words.losses),
    "bits": ("Accuracy against bits, digits", pictures.Accuracy, words.accuracy),
    "weights": ("Weights on their integer grid", pictures.OnGrid, words.weights),
    "device": ("Quantum circuit on a noisy device", pictures.OnDevice, words.device),
}


def show(paper: Paper) -> "Explorer":
    """Make the explorer, show it, and return it."""
    explorer = Explorer(paper)
    display(explorer)
    return explorer


class Explorer(Work):
    """Controls by name, what is drawn, and the work under way.

    controls: name -> widget, a name a field of Setting. presets: name -> (scaling, what it means).
    """

    def __init__(self, paper: Paper):
        self.paper, self.presets = paper, presets(paper)
        named = (scaling for scaling, _ in self.presets.values())
        self._scalings = sorted({*scalings(43).tolist(), *named})
        super().__init__(Controls(self._scalings))
        self.controls = self._controls.widgets
        kinds = {name: kind for name, (_, kind, _) in PICTURES.items()}
        self._pictures = {name: canvas.live(kinds[name], i) for i, name in enumerate(kinds)}
        self._figures = {name: picture.axes.figure for name, picture in self._pictures.items()}
        self._texts = {name: widgets.HTML().add_class(f"explore-sentence-{name}") for name in PICTURES}
        self.name = widgets.Text(value="mine", description="File name", continuous_update=False)
        self.written = widgets.HTML().add_class("explore-written")
        self._view = self._layout()
        self.start()

    @property
    def sentences(self) -> dict[str, str]:
        """By picture: drop, losses, bits, weights, device; as HTML."""
        return {name: say(self._found(name)) for name, (_, _, say) in PICTURES.items()}

    @property
    def shown(self) -> dict[str, Any]:
        """What is drawn, as lists and numbers."""
        drawn = {
            "setting": self.linear.setting._asdict(),
            **{q: {m: getattr(x, q) for m, x in self.linear.losses.items()} for q in QUANTITIES},
            "weights": {m: x._asdict() for m, x in self.linear.rounded.items()},
            "networks_setting": self.networks.setting._asdict(),
            "bits": [grid.bits for grid in self.networks.setting.grids()],
            "accuracy": {m: x[:, :-1] for m, x in self.networks.accuracy.items()},
            "unrounded": {m: x[:, -1] for m, x in self.networks.accuracy.items()},
            "circuits_setting": self.circuits.setting._asdict(),
            "strengths": DEVICE_STRENGTHS,
            "on_device": self.circuits.accuracy,
            "limits": {n: [p.axes.get_xlim(), p.axes.get_ylim()] for n, p in self._pictures.items()},
        }
        return json.loads(json.dumps(drawn, default=lambda array: array.tolist()))

    def set(self, **values: Any) -> None:
        """Set several controls at once; their pictures follow. TraitError for what is not offered."""
        self._controls.setting = self.wanted._replace(**values)

    def preset(self, name: str) -> None:
        """Set the published experiment at a preset's scaling; grid and number of replicates stay."""
        kept = {field: getattr(self.wanted, field) for field in KEPT}
        scaling, _ = self.presets[name]
        self._controls.setting = Setting(scaling=scaling, **kept)

    def _found(self, name: str) -> Linear | Networks | Circuits:
        return {"bits": self.networks, "device": self.circuits}.get(name, self.linear)

    def draw(self, name: str) -> None:
        """Draw the picture of that name and say its sentence."""
        found = self._found(name)
        self._pictures[name].update(found)
        self._texts[name].value = f'<div style="line-height: 1.4">{PICTURES[name][2](found)}</div>'
        self._pictures[name].draw()

    def still(self) -> bytes:
        """The pictures as they are now, as one PNG."""
        return canvas.still((title, kind, self._found(n)) for n, (title, kind, _) in PICTURES.items())

    def _repr_mimebundle_(self, **kwargs) -> dict[str, Any]:
        plain = "\n\n".join(self.sentences.values())
        still = {"text/plain": plain, "image/png": base64.b64encode(self.still()).decode()}
        return still if os.environ.get(STATIC) else self._view._repr_mimebundle_() | still

    def _layout(self) -> widgets.Widget:
        def button(name: str, label: str, means: str, act: Callable, *given) -> widgets.Button:
            made = widgets.Button(description=label, tooltip=means)
            made.on_click(lambda _: act(*given))
            return made.add_class(f"explore-{name}")

        chosen = [
            button(f"preset-{name}", name.replace("-", " ").capitalize(), means, self.preset, name)
            for name, (_, means) in self.presets.items()
        ]
        work = [self.progress.add_class("explore-progress"), self.cancel.add_class("explore-cancel")]
        cards = [
            widgets.VBox(
                [widgets.HTML(f"<b>{escape(title)}</b>"), self._figures[name].canvas, self._texts[name]],
                layout=CARD,
            )
            for name, (title, *_) in PICTURES.items()
        ]
        write = button("write", "Write parameters file", "for make paper", self.write)
        write.layout.width = "auto"
        file = [self.name.add_class("explore-name"), write, self.written]
        rows = [widgets.Box(row, layout=WRAP) for row in (chosen, [*self.controls.values()], work)]
        pictured = widgets.Box(cards, layout=WRAP | {"align_items": "flex-start"})
        return widgets.VBox([*rows, pictured, widgets.Box(file, layout=WRAP)])

    def write(self) -> None:
        """Write the controls' setting as a parameters file, and say how to run it."""
        try:
            path, notes = settings.write(self.paper, self.wanted, self.name.value)
        except ParameterError as error:
            self.written.value = escape(str(error))
        except OSError as error:
            self.written.value = escape(f"{error.strerror} ({error.filename})")
        else:
            command = f'make paper PARAMS="{path.relative_to(places.ROOT).as_posix()}"'
            self.written.value = f"Run <code>{escape(command)}</code>. {escape('; '.join(notes))}."
