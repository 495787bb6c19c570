"""What a reader may choose: the controls, what each offers at a setting, and presets."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, get_args

import ipywidgets as widgets
import numpy as np
from traitlets import HasTraits, Instance, TraitError, observe, validate

from t0qat.experiments.published import all_grids
from t0qat.explorer.measure import PUBLISHED, STRENGTHS, Setting
from t0qat.pipeline import results
from t0qat.pipeline.paper import Paper
from t0qat.pipeline.parameters import Rule
from t0qat.quantization.quantizers import SCALES
from t0qat.training.constants import CONSTANTS, XI, XI_SCALING, evaluation_noise
from t0qat.training.methods import on_layer
from t0qat.training.tasks import TARGETS, TASKS

NOISES = [round(0.05 * i, 2) for i in range(41)]  # 0 to 2, in units of the weights
REPLICATES = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]


class Control(NamedTuple):
    """A field of Setting as a reader sees it."""

    label: str
    help: str
    offers: Callable[[Setting], list]  # its values, where the other fields are those of the setting
    shows: Callable[[Any], str] | None = "{:g}".format  # a value in words; None: the value is a word
    kind: type[widgets.Widget] = widgets.SelectionSlider
    matters: Callable[[Setting], bool] = lambda setting: True

    def options(self, setting: Setting) -> list:
        """What it offers, as its widget takes it."""
        return [(self.shows(v), v) if self.shows else v for v in self.offers(setting)]


Named = partial(Control, shows=None, kind=widgets.Dropdown)


def spread(rule: Rule, default: float) -> list[float]:
    """About 40 numbers from limit to limit, the default among them.

    They are even up to its size, and by ratio beyond: most tell where the default is one of many, and
    where limits are far.
    """
    kind, (low, high) = get_args(rule.type)[0], rule.limits
    unit = abs(default) or 1.0
    even = np.linspace(np.arcsinh(low / unit), np.arcsinh(high / unit), 40)
    near = {kind(float(f"{value:.2g}")) for value in unit * np.sinh(even)}
    return sorted({value for value in near if low <= value <= high} | {low, high, default})


def _strength(name: str) -> Control:
    """Of a setting that some methods take and nothing else is known of."""
    rule, takers = STRENGTHS[name], [m.label for m in on_layer().values() if name in m.settings]
    offered = spread(rule, PUBLISHED[name])
    words = f"of {', '.join(takers)}: {rule.allowed}"
    return Control(name.replace("_", " ").capitalize(), words, lambda _: offered)


def _with_its_value(constant: str) -> str:
    label = "ξ" if constant == "xi" else constant.replace("_", " ")
    return f"{label} ({CONSTANTS[constant]:.3g})"


def controls(scalings: list[float]) -> dict[str, Control]:
    """Each by its field, in the panel's order; of these scalings one offers those that are allowed."""
    least, most = STRENGTHS["xi_scaling"].limits
    rest = {name: _strength(name) for name in STRENGTHS if name not in ("xi_scaling", "baseline_noise")}
    return {
        "constant": Named(
            "Constant", "T0-QAT's training noise is this constant times the scaling",
            lambda _: [*CONSTANTS], shows=_with_its_value,
        ),
        "scaling": Control(
            "Scaling", f"of the constant; published: {XI_SCALING:g}",
            lambda s: [v for v in scalings if least <= s._replace(scaling=v).xi_scaling <= most],
        ),
        "baseline_noise": Control(
            "Baseline noise", "standard deviation of Standard QAT's training noise", lambda _: NOISES
        ),
        **rest,
        "evaluation_noise": Control(
            "Evaluation noise", "standard deviation of the disturbance that stands for quantization",
            lambda _: sorted([*NOISES, "reported"], key=evaluation_noise),
            lambda value: value if value == "reported" else f"{value:g}",
        ),
        "bits": Control(
            "Bits", "of every weight on the integer grid",
            lambda s: [grid.bits for grid in reversed(s.grids())], "INT{}".format,
        ),
        "grid_range": Named(
            "Range", "all integer codes, or only symmetric ones",
            lambda s: [grid.range for grid in all_grids([s.bits], [s.grid_scale])],
        ),
        "grid_scale": Named(
            "Scale rule", "the step spans the largest weight, or errs least", lambda _: [*SCALES]
        ),
        "target": Named(
            "Target", "of the synthetic task: sum of the features, or random coefficients",
            lambda _: [*TARGETS], matters=lambda s: s.dataset == "synthetic",
        ),
        "dataset": Named(
            "Data set", "of the linear layer; the network below reads digits", lambda _: [*TASKS]
        ),
        "replicates": Control(
            "Replicates", "independent runs of the linear layer", lambda _: REPLICATES, "{:,}".format
        ),
    }  # fmt: skip


class Controls(HasTraits):
    """Widgets by their field, and the setting that they show; each follows the other.

    A setting that holds what a control does not offer raises TraitError, and changes nothing.
    """

    setting = Instance(Setting, ())

    def __init__(self, scalings: list[float]):
        super().__init__()
        self._controls = controls(scalings)
        self._following = False
        self.widgets = {}
        for name, control in self._controls.items():
            self.widgets[name] = widget = control.kind(
                options=control.options(self.setting),
                value=getattr(self.setting, name),
                description=control.label,
                tooltip=control.help,
                style={"description_width": "9em"},
                layout={"width": "27em", "max_width": "100%"},
            )
            widget.add_class(f"explore-{name.removeprefix('grid_').replace('_', '-')}")
            widget.observe(self._moved, "value")

    @validate("setting")
    def _offered(self, proposal) -> Setting:
        for name, control in self._controls.items():
            value = getattr(proposal.value, name)
            if value not in control.offers(proposal.value):
                raise TraitError(f"{name} = {value!r} is not offered")
        return proposal.value

    @observe("setting")
    def _follow(self, _) -> None:
        self._following = True
        try:
            for name, control in self._controls.items():
                widget, options = self.widgets[name], control.options(self.setting)
                if list(widget.options) != options:
                    # One message each: a slider told both at once answers with its old range's end.
                    widget.index = 0
                    widget.options = options
                widget.value = getattr(self.setting, name)
                widget.disabled = not control.matters(self.setting)
        finally:
            self._following = False

    def _moved(self, _) -> None:
        """Take what the reader chose; a control that no longer offers its value gets its last one."""
        if self._following:
            return
        setting = Setting(**{name: widget.value for name, widget in self.widgets.items()})
        for name, control in self._controls.items():
            offered = control.offers(setting)
            if getattr(setting, name) not in offered:
                setting = setting._replace(**{name: offered[-1]})
        self.setting = setting


def presets(paper: Paper) -> dict[str, tuple[float, str]]:
    """Scalings by name, each with what it means. Raises ResultsError where the paper has no best one."""
    best = results.read(paper, "scale_best").set_index("quantity").estimate["quantized"]
    noise = Setting().baseline_noise
    alike = f"the scaling that makes T0-QAT's noise {noise:g}, that of Standard QAT"
    return {
        "as-published": (XI_SCALING, f"xi times {XI_SCALING:g}"),
        "no-tuning": (1.0, "xi itself: scaling 1"),
        "tuned": (float(best), "the scaling of least mean quantized loss that 03_scale found"),
        "baseline": (noise / XI, alike),
    }
