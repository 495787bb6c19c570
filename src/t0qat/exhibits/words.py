"""Labels, lists in words, and macros."""

from collections.abc import Callable, Iterable, Mapping

from t0qat.experiments.arms import LINEAR, model_label
from t0qat.pipeline.words import NOTHING, Row, thousands

QUANTITY_LABELS = {"full_precision": "Full precision", "quantized": "Quantized", "drop": "Drop"}
DATASET_LABELS = {"synthetic": "Synthetic", "diabetes": "Diabetes", "digits": "Digits"}
DATASET_LABELS |= {"pydoc_topics": "Text"}


def dataset_label(dataset: str) -> str:
    return DATASET_LABELS.get(dataset, dataset)


def data_label(row: Row) -> str:
    """What a row is about: its data set and, where that is a network, its model."""
    label = dataset_label(row["dataset"])
    network = row.get("model", LINEAR) != LINEAR
    return f"{label} ({model_label(row['model'])})" if network else label


def listed(parts: Iterable[str], comma: str = ", ", last: str = " and ") -> str:
    """`a, b and c`; a dash where there is nothing."""
    parts = list(parts)
    return comma.join(parts[:-1]) + last * bool(parts[:-1]) + parts[-1] if parts else NOTHING


def on_each(rows: list[Row], show: Callable[[Row], str]) -> str:
    """What rows of different data sets show, as `1 on the synthetic and 2 on the digits data`."""
    labels = [label[:1].lower() + label[1:] for label in map(data_label, rows)]
    said = [f"{show(row)} on the {label}" for row, label in zip(rows, labels, strict=True)]
    return f"{listed(said)} data"


def macros(prefix: str, values: Mapping[str, str | int]) -> dict[str, str]:
    """Texts and counts by the names of an exhibit's macros, which all begin alike."""
    return {
        f"{prefix}{name}": value if isinstance(value, str) else thousands(value)
        for name, value in values.items()
    }
