"""What is said of image networks and of language models."""

from t0qat.exhibits.benchmark import Benchmark, direction
from t0qat.exhibits.labels import at, inside, listed, name, together, width, widths_of
from t0qat.exhibits.language import MODELS
from t0qat.exhibits.rows import rows_of
from t0qat.exhibits.sentences import NOT_RUN, Chosen, asked, of_all, verdict
from t0qat.exhibits.vision import IMAGES
from t0qat.experiments import recommendation
from t0qat.pipeline.decision import SUPPORTED
from t0qat.pipeline.lookups import Read
from t0qat.pipeline.words import Row, fixed, times, with_interval

COLUMNS = {IMAGES: ("C8", "scale_tuned"), MODELS: ("C9", "scale_tuned")}


def against(b: Benchmark, rival: str, read: Read) -> list[Row]:
    """T0-QAT with a tuned scale minus a rival, mean over the widths, on the models of the claim."""
    pairs = b.table({b.file + "_any_paired": read(b.file + "_any_paired")}, "_any_paired")
    (condition,) = asked(*COLUMNS[b])
    pairs = pairs[pairs.model.isin(condition.row["model"])]
    keys = {"scale_rule": "own", "quantity": "mean", "method": "t0_qat_tuned", "against": rival}
    return rows_of(pairs, **keys)


def where_it_matters(read: Read) -> Chosen:
    """By what rounding is shown to cost plain training, or nothing, and by what lost least in tuning."""
    kept = read("vision_kept")
    kept = kept[(kept.method == recommendation.PLAIN) & (kept.scale_rule == "own")]
    widths = widths_of(kept)
    lost = [bits for bits in widths if bits in {*kept[kept.ci_low > kept.margin].eval_bits}]
    unsure = [bits for bits in widths if bits in {*kept[kept.ci_high >= kept.margin].eval_bits}]
    values = {"all": at(widths), "kept": _down_to(widths, unsure)}
    if not lost:
        return "open" if unsure else "none", values
    found = recommendation.arms(read("vision_tuned"), read("vision"), IMAGES.metric)
    best = recommendation.picks(found)
    best = best[best.pick == recommendation.RECOMMENDED].set_index("eval_bits").method
    values |= {"lowest": width(lost[-1]), "use": inside(name(best[lost[-1]]))}
    form = of_all(len(unsure), len(widths))
    return form if best[lost[-1]] != recommendation.PLAIN else f"{form}, plain", values


def _down_to(widths: list[int], lost: list[int]) -> str:
    """The widths but these, the widest first: `down to INT3`, or `at INT8 and INT3`."""
    left = [bits for bits in widths if bits not in lost]
    return f"down to {width(left[-1])}" if len(left) > 1 and left == widths[: len(left)] else at(left)


def on_images(read: Read) -> Chosen:
    rows = against(IMAGES, "plain", read)
    estimates = [row["estimate"] for row in rows] or [0.0]
    ends = {"low": fixed(min(estimates), 3), "high": fixed(max(estimates), 3)}
    return verdict(*COLUMNS[IMAGES], read), ends


def on_text(read: Read) -> Chosen:
    rows = against(MODELS, "plain", read)
    fewer = ((row["model"], with_interval(times(row, -1), 3)) for row in rows)
    form = verdict(*COLUMNS[MODELS], read)
    little = form == SUPPORTED and all(-row["estimate"] < row["margin"] for row in rows)
    return form + ", little" * little, {"fewer": together(fewer)}


def beside_the_best(read: Read) -> Chosen:
    rows = against(MODELS, "best_baseline", read)
    if not rows:
        return NOT_RUN, {}
    ways = {direction(row) for row in rows}
    others = listed(dict.fromkeys(name(row["other"]) for row in rows))
    least = min(rows, key=lambda row: abs(row["estimate"]))
    form = (ways.pop() if len(ways) == 1 else "") or "open"
    return form, {"others": others, "least": with_interval(least, 3)}


CHOOSE = {
    "vision/1": where_it_matters,
    "vision/2": on_images,
    "language/1": on_text,
    "language/2": beside_the_best,
}
