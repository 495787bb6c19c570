"""What things are called, lists of them, and macros."""

from collections.abc import Iterable, Mapping

import pandas as pd

from t0qat.experiments.arms import FLOAT, LINEAR, method_label, model_label
from t0qat.pipeline.latex import Raw, tex
from t0qat.pipeline.statistics import ERROR_RATE
from t0qat.pipeline.words import NOTHING, Row, plus_minus, thousands
from t0qat.training.constants import BASELINE_NOISE

QUANTITY_LABELS = {"full_precision": "Full precision", "quantized": "Quantized", "drop": "Drop"}
DATASET_LABELS = {"synthetic": "Synthetic", "diabetes": "Diabetes", "digits": "Digits"}
DATASET_LABELS |= {"pydoc_topics": "Text"}
# By what it is: "Standard QAT" is the paper's name for its baseline, on the paper's own task.
NAMES = ("Gaussian", "Matryoshka")  # that keep their capital
ON_NETWORKS = {"standard_qat": f"Gaussian noise, {BASELINE_NOISE:g}"}


def dataset_label(dataset: str) -> str:
    return DATASET_LABELS.get(dataset, dataset)


def data_label(row: Row) -> str:
    """What a row is about: its data set and, where that is a network, its model."""
    label = dataset_label(row["dataset"])
    network = row.get("model", LINEAR) != LINEAR
    return f"{label} ({model_label(row['model'])})" if network else label


def listed(parts: Iterable[str]) -> str:
    """`a, b and c`; a dash where there is nothing."""
    parts = list(parts)
    return ", ".join(parts[:-1]) + " and " * bool(parts[:-1]) + parts[-1] if parts else NOTHING


def label_on(method: str, model: str) -> str:
    """A method as figures and tables name it where it trains this model."""
    return method_label(method) if model == LINEAR else network_label(method)


def network_label(method: str) -> str:
    return ON_NETWORKS.get(method) or method_label(method)


def name(method: str) -> str:
    """The label of a method on networks without commas, for lists."""
    return network_label(method).replace(",", "")


def inside(label: str) -> str:
    """A label inside a sentence: `matched noise`, but `QuEST`."""
    first, blank, rest = label.partition(" ")
    return (first.lower() if first[1:].islower() and first not in NAMES else first) + blank + rest


def width(bits: float) -> str:
    """`INT4`, or `float` of weights that are not rounded."""
    return "float" if bits == FLOAT else f"INT{bits:.0f}"


def widths_of(table: pd.DataFrame) -> list[int]:
    """Those that weights are rounded to, the widest first."""
    return sorted({*table.eval_bits} - {FLOAT}, reverse=True)


def at(widths: Iterable[int]) -> str:
    """`at INT4 and INT2`."""
    widths = [*widths]
    return f"at {listed(map(width, widths))}" if widths else "at no width"


def the_models(models: Iterable[str]) -> str:
    """`the small CNN and the deep CNN`."""
    return listed(f"the {model_label(model)}" for model in models)


def together(said: Iterable[tuple[str, str]]) -> str:
    """What is said of which models: `lower on the small CNN and the deep CNN and higher on the MLP`."""
    models = {}
    for model, text in said:
        models.setdefault(text, []).append(model)
    return listed(f"{text} on {the_models(where)}" for text, where in models.items())


def starred(row: Row, most: int = 99) -> Raw:
    """A difference with its half-width; an asterisk where its corrected p-value shows that it is one.

    most: decimals at most. Every cell has the place of a mark, so that none stands in the next column.
    """
    mark = r"$^\ast$" * (row["p_holm"] < ERROR_RATE)
    return Raw(tex(plus_minus(row, most)) + rf"\makebox[0.6em][l]{{{mark}}}")


def macros(prefix: str, values: Mapping[str, str | int]) -> dict[str, str]:
    """Texts and counts by the names of an exhibit's macros, which all begin alike."""
    return {
        f"{prefix}{name}": value if isinstance(value, str) else thousands(value)
        for name, value in values.items()
    }
