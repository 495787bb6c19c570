"""The explorer's controls, and the loop that keeps its pictures and sentences up with them."""

import asyncio
import base64
import contextlib
import io
import os
import time
from collections.abc import Generator, Iterator
from html import escape
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from ipympl.backend_nbagg import Canvas, FigureManager
from IPython.display import display
from matplotlib.figure import Figure

from t0qat.exhibits.figures.style import FONT
from t0qat.experiments.published import QUANTITIES
from t0qat.experiments.scale import scalings
from t0qat.experiments.settings import RULES
from t0qat.explorer import measure, pictures, settings, words
from t0qat.explorer.measure import BITS, Setting, fits
from t0qat.pipeline import places, results
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.quantizers import CODES, SCALES
from t0qat.training.constants import CONSTANTS, XI, XI_SCALING, reported_evaluation_noise
from t0qat.training.tasks import TARGETS, TASKS

STATIC = "T0QAT_STATIC"  # set where no front end is live: `make outputs` keeps a picture, no widgets
NOISES = [round(0.05 * i, 2) for i in range(41)]  # 0 to 2, in units of the weights
REPLICATES = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
PATIENCE = 0.5  # seconds without a progress bar
SIZE = (4.3, 3.0)  # inches of 100 pixels
STYLE = {**FONT, "figure.dpi": 100, "figure.facecolor": "white", "axes.formatter.useoffset": False}
CLASSES = {"grid_range": "range", "grid_scale": "scale_rule"}
LABELS = {
    "constant": ("Constant", "T0-QAT's training noise is this constant times the scaling"),
    "scaling": ("Scaling", f"of the constant; published: {XI_SCALING:g}"),
    "baseline_noise": ("Baseline noise", "standard deviation of Standard QAT's training noise"),
    "evaluation_noise": (
        "Evaluation noise",
        "standard deviation of the disturbance that stands for quantization",
    ),
    "bits": ("Bits", "of every weight on the integer grid"),
    "grid_range": ("Range", "all integer codes, or only symmetric ones"),
    "grid_scale": ("Scale rule", "the step spans the largest weight, or errs least"),
    "target": ("Target", "of the synthetic task: sum of the features, or random coefficients"),
    "dataset": ("Data set", "of the linear layer; the network below reads digits"),
    "replicates": ("Replicates", "independent runs of the linear layer"),
}
PICTURES = {
    "drop": ("Drop in single runs", pictures.Drops, words.drops),
    "losses": ("Quantized against full precision", pictures.BeforeAfter, words.losses),
    "bits": ("Accuracy against bits, digits", pictures.Accuracy, words.accuracy),
    "weights": ("Weights on their integer grid", pictures.OnGrid, words.weights),
}


def presets(paper: Paper) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Name -> label, what it sets beside the published experiment, and what it means."""
    best = results.read(paper, "scale_best").set_index("quantity").estimate["quantized"]
    baseline = Setting().baseline_noise
    return {
        "as-published": ("As published", {}, f"xi times {XI_SCALING:g}"),
        "no-tuning": ("No tuning", {"scaling": 1.0}, "xi itself: scaling 1"),
        "tuned": (
            "Tuned",
            {"scaling": float(best)},
            "the scaling of least mean quantized loss that 03_scale found",
        ),
        "baseline": (
            "Baseline",
            {"scaling": baseline / XI},
            f"the scaling that makes T0-QAT's noise {baseline:g}, that of Standard QAT",
        ),
    }


def show(paper: Paper) -> "Explorer":
    """Make the explorer, show it, and return it."""
    explorer = Explorer(paper)
    display(explorer)
    return explorer


class WholeImages(Canvas):
    """Each image stands alone: of several that come at once, the front end shows the last only."""

    def get_diff_image(self) -> bytes | None:
        self._force_full = True
        return super().get_diff_image()


class Explorer:
    """Controls by name, what is drawn, and the work under way.

    controls: name -> widget, a name a field of Setting. wanted: the controls' setting. linear, networks:
    what the pictures show. task: the asyncio task that worked last, or None.
    """

    def __init__(self, paper: Paper):
        self.paper, self.presets = paper, presets(paper)
        self.task = None
        self._held = False
        self.controls = self._controls()
        self.wanted = Setting()
        self._pictures, self._texts, self._figures, self._sentences = {}, {}, {}, {}
        self.linear = self.networks = None
        self.progress = widgets.IntProgress(min=0, description="Computing")
        self.cancel = widgets.Button(description="Cancel", tooltip="Stop, and go back to what is drawn")
        self.cancel.on_click(lambda _: self.stop())
        self._view = self._layout()
        self._progress(0, 0)
        for control in self.controls.values():
            control.observe(self._changed, "value")
        self._finish(self._work(self.wanted))

    # What is shown

    @property
    def sentences(self) -> dict[str, str]:
        """By picture: drop, losses, bits, weights; as HTML."""
        return {name: self._sentences[name] for name in PICTURES}

    @property
    def shown(self) -> dict[str, Any]:
        """What is drawn, as lists and numbers."""
        drawn = {
            "setting": self.linear.setting._asdict(),
            **{q: {m: getattr(x, q) for m, x in self.linear.losses.items()} for q in QUANTITIES},
            "weights": {m: x._asdict() for m, x in self.linear.rounded.items()},
            "networks_setting": self.networks.setting._asdict(),
            "bits": [grid.bits for grid in self.networks.setting.grids()],
            "accuracy": self.networks.accuracy,
            "unrounded": self.networks.unrounded,
            "limits": {n: [p.axes.get_xlim(), p.axes.get_ylim()] for n, p in self._pictures.items()},
        }
        return _plain(drawn)

    def _repr_mimebundle_(self, **kwargs) -> dict[str, Any]:
        plain = "\n\n".join(self.sentences.values())
        still = {"text/plain": plain, "image/png": base64.b64encode(self.still()).decode()}
        return still if os.environ.get(STATIC) else self._view._repr_mimebundle_() | still

    def still(self) -> bytes:
        """The four pictures as they are now, as one PNG."""
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(2 * SIZE[0], 2 * SIZE[1]))
            figure.subplots_adjust(0.07, 0.075, 0.985, 0.96, wspace=0.17, hspace=0.28)
            axes = dict(zip(PICTURES, figure.subplots(2, 2).flat, strict=True))
            for name, (title, picture, _) in PICTURES.items():
                axes[name].set_title(title, loc="left")
                picture(axes[name]).update(self.networks if name == "bits" else self.linear)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
        return file.getvalue()

    # Controls

    def _controls(self) -> dict[str, widgets.Widget]:
        start = Setting()
        named = {preset.get("scaling", XI_SCALING) for _, preset, _ in self.presets.values()}
        self._scalings = sorted({*scalings(43).tolist(), *named})
        reported = reported_evaluation_noise()
        noises = [(f"{v:g}", v) for v in NOISES] + [("reported", "reported")]
        noises.sort(key=lambda pair: reported if pair[1] == "reported" else pair[1])
        constants = {"ξ" if name == "xi" else name.replace("_", " "): name for name in CONSTANTS}
        least, most = RULES["replicates"].limits
        options = {
            "constant": (
                widgets.Dropdown,
                [(f"{n} ({CONSTANTS[v]:.3g})", v) for n, v in constants.items()],
            ),
            "scaling": (widgets.SelectionSlider, self._possible_scalings(start.constant)),
            "baseline_noise": (widgets.SelectionSlider, [(f"{v:g}", v) for v in NOISES]),
            "evaluation_noise": (widgets.SelectionSlider, noises),
            "bits": (widgets.SelectionSlider, _widths(start.grid_range)),
            "grid_range": (widgets.Dropdown, _ranges(start.bits)),
            "grid_scale": (widgets.Dropdown, list(SCALES)),
            "target": (widgets.Dropdown, list(TARGETS)),
            "dataset": (widgets.Dropdown, list(TASKS)),
            "replicates": (
                widgets.SelectionSlider,
                [(f"{n:,}", n) for n in REPLICATES if least <= n <= most],
            ),
        }
        made = {}
        for name, (kind, allowed) in options.items():
            label, help_ = LABELS[name]
            made[name] = kind(
                options=allowed,
                value=getattr(start, name),
                description=label,
                tooltip=help_,
                style={"description_width": "9em"},
                layout={"width": "27em", "max_width": "100%"},
            )
            made[name].add_class(f"explore-{CLASSES.get(name, name).replace('_', '-')}")
        return made

    def _possible_scalings(self, constant: str) -> list[tuple[str, float]]:
        least, most = RULES["xi_scaling"].limits
        factor = CONSTANTS[constant] / XI
        return [(f"{v:.6g}", v) for v in self._scalings if least <= factor * v <= most]

    def _changed(self, change) -> None:
        """Take the controls' new values; options that depend on others follow."""
        if self._held:
            return
        with self._hold():
            values = {name: control.value for name, control in self.controls.items()}
            self._offer("scaling", self._possible_scalings(values["constant"]), values["scaling"])
            self._offer("bits", _widths(values["grid_range"]), values["bits"])
            self._offer("grid_range", _ranges(values["bits"]), values["grid_range"])
            self.controls["target"].disabled = values["dataset"] != "synthetic"
        self._want(Setting(**{name: control.value for name, control in self.controls.items()}))

    def _offer(self, name: str, options: list, value: Any) -> None:
        """Let a control have these options and, where it is among them, this value; else the largest."""
        control = self.controls[name]
        if list(control.options) == options:
            return
        allowed = [option[1] if isinstance(option, tuple) else option for option in options]
        # One message each: a slider that is told both at once answers with its old range's end.
        control.index = 0
        control.options = options
        control.value = value if value in allowed else allowed[-1]

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def set(self, **values: Any) -> None:
        """Set several controls at once; their pictures follow."""
        self._put(self.wanted._replace(**values))
        self._changed(None)

    def preset(self, name: str) -> None:
        """Set the experiment as a preset says; the grid and the number of replicates stay."""
        kept = {n: getattr(self.wanted, n) for n in ("bits", "grid_range", "grid_scale", "replicates")}
        self.set(**{**Setting()._asdict(), **kept, **self.presets[name][1]})

    def _put(self, setting: Setting) -> None:
        with self._hold():
            self._offer("scaling", self._possible_scalings(setting.constant), setting.scaling)
            self._offer("bits", _widths(setting.grid_range), setting.bits)
            self._offer("grid_range", _ranges(setting.bits), setting.grid_range)
            for name, value in setting._asdict().items():
                self.controls[name].value = value

    # Work

    def _want(self, setting: Setting) -> None:
        self.wanted = setting
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a script: nothing else to let in
            self._finish(self._work(setting))
            return
        if self.task is None or self.task.done():
            self.task = loop.create_task(self._follow())

    async def _follow(self) -> None:
        """Work until what is drawn is what is wanted; of several wishes only the newest is computed."""
        while not self._up_to_date():
            setting = self.wanted
            for may_stop in self._work(setting):
                await asyncio.sleep(0.001)  # lets messages of the front end in
                if may_stop and self.wanted != setting:
                    break
        self._progress(0, 0)

    def _up_to_date(self) -> bool:
        same = self.linear.setting == self.networks.setting == self.wanted
        return same and self._networks_are_of(self.wanted)

    def _finish(self, work: Iterator[bool]) -> None:
        for _ in work:
            pass
        self._progress(0, 0)

    def _work(self, setting: Setting) -> Iterator[bool]:
        """Compute and draw; yields after each step whether a newer wish may stop it there.

        A short computation of the experiment is drawn even while the reader drags a slider on.
        """
        self._started = time.monotonic()
        long = setting.replicates > measure.BLOCK
        if self.linear is None or setting != self.linear.setting:
            only_rounded = self.linear is not None and self.linear.setting.losses == setting.losses
            self.linear = yield from self._steps(measure.published(setting), long, long)
            yield from self._draw("weights", *(() if only_rounded else ("drop", "losses")))
        if self._networks_are_of(setting):
            self.networks = self.networks._replace(setting=setting)
            yield from self._draw("bits")
            return
        for number in (1, measure.NETWORKS):
            self.networks = yield from self._steps(measure.networks(setting, number), True, long)
            yield from self._draw("bits")
            yield True

    def _networks_are_of(self, setting: Setting) -> bool:
        """Whether those drawn are all that this setting needs."""
        if self.networks is None or len(self.networks.unrounded[words.MINE]) < measure.NETWORKS:
            return False
        return self.networks.setting.networks == setting.networks

    def _steps(self, work: Generator, may_stop: bool, visible: bool) -> Generator[bool, None, Any]:
        while True:
            try:
                done, total = next(work)
            except StopIteration as end:
                return end.value
            if visible or time.monotonic() - self._started > PATIENCE:
                self._progress(done, total)
            yield may_stop

    def stop(self) -> None:
        """Stop the work and set the controls back to what is drawn."""
        if self.networks.setting != self.wanted:  # the pictures that come last
            self._put(self.networks.setting)
            self.wanted = self.networks.setting

    def _progress(self, done: int, total: int) -> None:
        busy = "visible" if done < total else "hidden"
        self.progress.max, self.progress.value = max(total, 1), done
        for widget in (self.progress, self.cancel):
            if widget.layout.visibility != busy:
                widget.layout.visibility = busy

    def _draw(self, *names: str) -> Iterator[bool]:
        """Draw these pictures and say their sentences, each sent to the front end before the next."""
        for name in names:
            found = self.networks if name == "bits" else self.linear
            self._pictures[name].update(found)
            self._sentences[name] = PICTURES[name][2](found)
            self._texts[name].value = f'<div style="line-height: 1.4">{self._sentences[name]}</div>'
            self._pictures[name].draw()
            yield False

    # Layout

    def _layout(self) -> widgets.Widget:
        cards = []
        with mpl.rc_context(STYLE):
            for number, (name, (title, picture, _)) in enumerate(PICTURES.items()):
                figure = self._figures[name] = Figure(figsize=SIZE)
                # Fixed margins: a layout anew at each draw takes as long as the drawing, and jitters.
                figure.subplots_adjust(left=0.14, right=0.97, bottom=0.15, top=0.96)
                self._pictures[name] = picture(figure.subplots())
                canvas = WholeImages(figure)
                FigureManager(canvas, number)
                canvas.syncing_data_url = False  # the front end asks for its first image by itself
                canvas.header_visible = canvas.footer_visible = canvas.resizable = False
                canvas.toolbar_position = "top"
                self._texts[name] = widgets.HTML().add_class(f"explore-sentence-{name}")
                heading = widgets.HTML(f"<b>{escape(title)}</b>")
                width = {"width": f"{100 * SIZE[0] + 10:g}px", "max_width": "100%", "margin": "4px 12px"}
                cards.append(widgets.VBox([heading, canvas, self._texts[name]], layout=width))
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        buttons = [self._preset_button(name, *rest) for name, rest in self.presets.items()]
        controls = widgets.Box([*self.controls.values()], layout=wrap)
        work = widgets.Box([self.progress, self.cancel], layout=wrap)
        self.progress.add_class("explore-progress")
        self.cancel.add_class("explore-cancel")
        cards = widgets.Box(cards, layout=wrap | {"align_items": "flex-start"})
        parts = [widgets.Box(buttons, layout=wrap), controls, work, cards]
        return widgets.VBox([*parts, self._file(wrap)])

    def _preset_button(self, name: str, label: str, _, means: str) -> widgets.Button:
        button = widgets.Button(description=label, tooltip=means)
        button.on_click(lambda _: self.preset(name))
        return button.add_class(f"explore-preset-{name}")

    def _file(self, wrap: dict) -> widgets.Widget:
        self.name = widgets.Text(value="mine", description="File name", continuous_update=False)
        button = widgets.Button(
            description="Write parameters file", layout={"width": "auto"}, tooltip="for make paper"
        ).add_class("explore-write")
        self.written = widgets.HTML().add_class("explore-written")
        button.on_click(lambda _: self.write())
        return widgets.Box([self.name.add_class("explore-name"), button, self.written], layout=wrap)

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


def _widths(codes: str) -> list[tuple[str, int]]:
    return [(f"INT{b}", b) for b in reversed(BITS) if fits(b, codes)]


def _ranges(bits: int) -> list[str]:
    return [codes for codes in CODES if fits(bits, codes)]


def _plain(value: Any) -> Any:
    """The same in dicts, lists and numbers."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
