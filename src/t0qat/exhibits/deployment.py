"""Tables, sentences and the README's lines of networks that run as files in runtimes."""

import pandas as pd

from t0qat.exhibits.labels import listed, macros, name, width, widths_of
from t0qat.exhibits.rows import Results, one, rows_of
from t0qat.experiments.arms import FLOAT, model_label
from t0qat.experiments.recommendation import FAMILIES, PLAIN
from t0qat.experiments.running import EIGHT, EXACT, LLAMA, RUNTIMES
from t0qat.experiments.speed import LAYER, SIZE
from t0qat.pipeline.latex import grouped
from t0qat.pipeline.words import NOTHING, Row, number, percent, plus_minus, span, thousands

METRICS = [family.metric.name for family in FAMILIES.values()]
DECIMALS = 4
SHOWN = (4, 2)  # widths in the README
SPEED_HEADER = ["Network", "Runtime", "Weights", "Container", "Time of one input", "Times as fast"]
SPEED_HEADER += ["Memory", "Times less memory"]


def deployment(results: Results) -> tuple[str, dict[str, str]]:
    """Plain training's files in the exact runtime: what they predict, score and take, by network."""
    table = results["deployment"]
    exact = table[table.runtime == EXACT]
    groups = [
        [_row(mine, row) for row in rows_of(mine[mine.metric.isin(METRICS)], method=PLAIN)]
        for _, mine in exact.groupby("model", sort=False)
    ]
    header = ["Network", "Weights", "Container", "Differ", "Metric", "minus fake quantization"]
    header += ["File", "weights", "bits × weights", "of float file"]
    return grouped(groups, header, "lllrrrrrrr", leads=1), macros(
        "Deployment",
        {
            "Files": thousands(exact[exact.metric == "differing"].n.sum()),
            "Largest": number(exact[exact.metric == "difference"]["mean"].abs().max(), 2),
            "Floor": span(_over(exact, "weight_bytes", "floor_bytes"), "{:.2f}".format),
            "Sentence": f"{same_predictions(exact)} {saved(exact)}",
        },
    )


def same_predictions(exact: pd.DataFrame) -> str:
    """Whether files predict what fake quantization does. exact: of the runtime that rounds no input."""
    other, every = (total(exact, metric) for metric in ("differing", "predictions"))
    if not other:
        return (
            f"In ONNX Runtime, files of packed integers give all {thousands(every)} predictions as fake"
            " quantization does."
        )
    return (
        f"In ONNX Runtime, {thousands(other)} of {thousands(every)} predictions differ from those of"
        " fake quantization."
    )


def saved(exact: pd.DataFrame) -> str:
    """What the narrowest files take of the float file's bytes, under plain training."""
    least, shares = smallest_files(exact)
    if least == FLOAT:
        return "No file has rounded weights."
    share = span(shares, lambda value: percent(value, 0))
    return f"Files at {width(least)} take {share} % of the bytes of those of floats."


def smallest_files(exact: pd.DataFrame) -> tuple[int, pd.Series]:
    """The narrowest width under plain training, and what its files take of the float files' bytes.

    The shares, from 0 to 1, are by network; none where no file has rounded weights, and the width is
    FLOAT. exact: as of `same_predictions`.
    """
    rows = exact[(exact.method == PLAIN) & (exact.metric == "file_bytes")]
    files = rows.pivot(index="model", columns="eval_bits", values="mean")
    least = min(widths_of(rows), default=FLOAT)
    return least, pd.Series(dtype=float) if least == FLOAT else files[least] / files[FLOAT]


def inexact(results: Results) -> tuple[str, dict[str, str]]:
    """The same in runtimes that round what enters a layer to 8 bits as well."""
    table = results["deployment"]
    rows = table[(table.runtime != EXACT) & table.metric.isin(METRICS)]
    groups = [
        [_beside(table, row) for row in rows_of(mine)]
        for _, mine in rows.groupby(["model", "runtime"], sort=False)
    ]
    header = ["Network", "Runtime", "Method", "Weights", "Container", "Differ", "Metric"]
    header += ["minus fake quantization", "File"]
    said = {
        f"{key}Sentence": rounds_inputs(runtime, table[table.runtime == runtime])
        for key, runtime in {"Eight": EIGHT, "Llama": LLAMA}.items()
    }
    return grouped(groups, header, "lllllrrrr", leads=3), macros("DeploymentIn", said)


def _row(mine: pd.DataFrame, row: Row) -> list[str]:
    """mine: the network's rows in the exact runtime."""
    key = {k: row[k] for k in ("method", "train_bits", "eval_bits")}
    of = {found["metric"]: found for found in rows_of(mine, **key)}
    whole = one(mine, method=PLAIN, eval_bits=FLOAT, metric="file_bytes")["mean"]
    share = NOTHING if row["eval_bits"] == FLOAT else percent(of["file_bytes"]["mean"] / whole) + " %"
    lead = [model_label(row["model"]), width(row["eval_bits"]), row["format"]]
    lead += [_counted(mine[mine.eval_bits == row["eval_bits"]], "differing")]
    taken = (thousands(of[name]["mean"]) for name in ("file_bytes", "weight_bytes", "floor_bytes"))
    return [*lead, plus_minus(row, DECIMALS), plus_minus(of["difference"]), *taken, share]


def _beside(table: pd.DataFrame, row: Row) -> list[str]:
    """A row of `inexact`."""
    keys = ("model", "method", "train_bits", "runtime", "format", "eval_bits")
    mine = table
    for key in keys:
        mine = mine[mine[key] == row[key]]
    of = {found["metric"]: found for found in rows_of(mine)}
    lead = [model_label(row["model"]), RUNTIMES[row["runtime"]].label, name(row["method"])]
    lead += [width(row["eval_bits"]), row["format"], _counted(mine, "differing")]
    shown = plus_minus(row, DECIMALS), plus_minus(of["difference"])
    return [*lead, *shown, thousands(of["file_bytes"]["mean"])]


def total(rows: pd.DataFrame, metric: str) -> int:
    """Over replicates and files, of a metric that counts: rows hold its means."""
    mine = rows[rows.metric == metric]
    return round((mine["mean"] * mine.n).sum())


def _counted(rows: pd.DataFrame, metric: str) -> str:
    """`3 of 5,400` predictions."""
    return f"{thousands(total(rows, metric))} of {thousands(total(rows, 'predictions'))}"


def _over(rows: pd.DataFrame, metric: str, base: str) -> list[float]:
    """A metric as a multiple of another, of every file whose weights are rounded."""
    rows = rows[rows.eval_bits != FLOAT]
    values, bases = (rows[rows.metric == m]["mean"].to_numpy() for m in (metric, base))
    return (values / bases).tolist()


def rounds_inputs(runtime: str, rows: pd.DataFrame) -> str:
    """What rounding inputs too changes in predictions. rows: of this runtime."""
    named = RUNTIMES[runtime].label.split(",")[0]
    if rows.empty:
        return (
            f"{named} with rounded inputs has no rows: it is not there, or runs none of these networks."
        )
    rounded = rows[rows.eval_bits != FLOAT]
    other, every = (total(rounded, metric) for metric in ("differing", "predictions"))
    if not other:
        return f"With inputs rounded too, {named} gives every prediction as fake quantization does."
    share = percent(other / every)
    lead = f"With inputs rounded too, {named}"
    return f"{lead} predicts otherwise than fake quantization in {share} % of cases."


def speeds(results: Results) -> list[list[str]]:
    """Cells below SPEED_HEADER: the machine's times and memory of each file, beside the float file's."""
    table, found = results["deployment_speed"], []
    for (model, runtime, container, bits), mine in table.groupby(
        ["model", "runtime", "format", "eval_bits"], sort=False
    ):
        of = {row["quantity"]: row for row in rows_of(mine)}
        shown = "layer" if model == LAYER else model_label(model)
        lead = [f"{SIZE} × {SIZE} {shown}" if model == LAYER else shown, RUNTIMES[runtime].label]
        lead += [width(bits), container]
        ratios = [plus_minus(of[name], 2) if name in of else NOTHING for name in ("faster", "smaller")]
        time = f"{number(of['milliseconds']['mean'])} ms"
        memory = f"{number(of['megabytes']['mean'])} MB"
        found.append([*lead, time, ratios[0], memory, ratios[1]])
    return found


def timings(results: Results) -> pd.DataFrame:
    """The same as a notebook shows it, below the machine's name."""
    table = pd.DataFrame(speeds(results), columns=SPEED_HEADER).set_index(SPEED_HEADER[:3])
    machines = results["deployment_speed"].machine.unique()
    return table.rename_axis(columns=listed(machines))


def readme(results: Results) -> str:
    """The README's lines on time and memory: the largest network's, and one layer's."""
    table = results["deployment_speed"]
    machines = listed(table.machine.unique())
    last = table.model.unique()[-1]
    telling = table[table.model.isin([LAYER, last]) & table.eval_bits.isin(SHOWN)]
    rows = speeds({"deployment_speed": telling})
    lines = [f"| {' | '.join(cells)} |" for cells in (SPEED_HEADER, ["---"] * len(SPEED_HEADER), *rows)]
    said = (
        f"Time of one input on one thread, and the memory by which the process grows, on {machines};"
        " ratios are to the float file in the same round, with half-widths of 95 % intervals. They are"
        f" of that machine, and nothing is decided by them. {_small(table)}"
        " [09_deployment](notebooks/09_deployment.ipynb) shows every file."
    )
    return "\n".join([said, "", *lines, ""])


def _small(table: pd.DataFrame) -> str:
    """A whole sentence on whether the other networks, which are small, gain time."""
    models = [model for model in table.model.unique()[:-1] if model != LAYER]
    ratios = table[table.model.isin(models) & (table.quantity == "faster")]
    gained = (ratios.ci_low > 1).sum()
    which = listed(map(model_label, models))
    if not gained:
        return f"The small networks ({which}) gain no time."
    if gained == len(ratios):
        return f"The small networks ({which}) gain time in every file."
    return f"Of the small networks ({which}), {gained} of {len(ratios)} files gain time."
