"""Labels, directions and lists in words."""

from collections.abc import Callable, Iterable

from t0qat.exhibits.cells import NOTHING
from t0qat.exhibits.rows import Row
from t0qat.experiments.arms import LINEAR, model_label
from t0qat.pipeline.latex import escape
from t0qat.pipeline.statistics import ERROR_RATE

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


def direction(low: float, high: float) -> str:
    """What an interval of a difference says of its direction."""
    return "larger than" if low > 0 else "smaller than" if high < 0 else "not detectably different from"


def corrected_direction(row: Row) -> str:
    """The words of `direction`, by the corrected p-value."""
    decided = row["p_holm"] < ERROR_RATE
    return direction(*([row["estimate"]] * 2 if decided else [0.0, 0.0]))


def listed(parts: Iterable[str], comma: str = ", ", last: str = " and ") -> str:
    """`a, b and c`; `--` where there is nothing."""
    parts = list(parts)
    return comma.join(parts[:-1]) + last * bool(parts[:-1]) + parts[-1] if parts else NOTHING


def on_each(rows: list[Row], show: Callable[[Row], str]) -> str:
    """What rows of different data sets show, as `1 on the synthetic and 2 on the digits data`."""
    labels = [escape(label[:1].lower() + label[1:]) for label in map(data_label, rows)]
    said = [f"{show(row)} on the {label}" for row, label in zip(rows, labels, strict=True)]
    return f"{listed(said)} data"
