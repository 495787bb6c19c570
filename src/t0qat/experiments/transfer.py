"""The recommendation tried where nothing was chosen: on another network of each family.

Every arm that is recommended, and plain training, is trained there with the learning rate and strength
that tuning chose on the family's first network, by the machinery of the benchmarks (rooms `vision`,
`language`), and read on the test part.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from t0qat.experiments import compare, language, trained, tuning, vision
from t0qat.experiments.arms import CHANNELS, KEYS, NO_WIDTH, Arm, each_known
from t0qat.experiments.benchmark import Jobs, measured
from t0qat.experiments.compare import OWN, Metric
from t0qat.experiments.on_text import pretraining_cell
from t0qat.experiments.precision import READERS
from t0qat.experiments.recommendation import (
    ARM,
    CHEAPER,
    FAMILIES,
    LOSS,
    PLAIN,
    Results,
    networks,
)
from t0qat.experiments.settings import checked
from t0qat.pipeline import grid, statistics
from t0qat.training import corpora
from t0qat.training.models import MODELS


class Task(NamedTuple):
    """A network that chose nothing, and what its trainings share."""

    family: str  # a name in FAMILIES
    dataset: str
    model: str
    replicates: int
    jobs: Jobs
    starts: dict[tuple[str, int], grid.Cell]  # of language models, by model and replicate

    def tested(self, settings: dict[tuple, tuning.Setting], widths: list[int]) -> pd.DataFrame:
        """Values as in Run.test of these arms, by method and train_bits, on all replicates."""
        starts = dict(zip(self.starts, grid.run([*self.starts.values()], "starts"), strict=True))
        begun = {"starts": starts} if starts else {}
        jobs = self.jobs._replace(shared=self.jobs.shared | begun)
        cells = []
        for (method, bits), setting in settings.items():
            arm = Arm(self.dataset, self.model, method, bits)
            asked = {"widths": [bits] if bits else widths}
            for i in range(self.replicates):
                cell = jobs.cell(trained.at_widths, arm, setting, i, **asked)
                cells.append((arm._asdict() | {"replicate": i}, cell))
        keys = [*KEYS, "replicate", "eval_bits", "scale_rule", "metric"]
        return language.averaged(measured(cells, "networks"), keys)


@checked
def plan(
    *,
    replicates: int,
    models: Sequence[str] = ("small_cnn", "small_llama"),
    dataset: str = "digits",
    corpus: str = corpora.DEFAULT,
    epochs: int = 12,
    context: int = 32,
    pretraining_steps: int = 2000,
    steps: int = 96,
    seed: int = 0,
    device: str = "auto",
) -> list[Task]:
    """Where the recommendation is tried. Raises ParameterError, in one line, before computing."""
    alike = {"replicates": replicates, "seed": seed, "device": device, "methods": ["random_bits"]}
    lengths = {"context": context, "pretraining_steps": pretraining_steps, "steps": steps}
    found = []
    for model in each_known("models", models, READERS):
        where: dict[str, Any] = {"models": [model], "few_models": []}
        if model in MODELS:
            where |= {"dataset": dataset, "epochs": epochs, "few_replicates": replicates}
            jobs, starts, name = vision.plan(**where, **alike), {}, "images"
        else:
            where |= {"corpus": corpus, "groups": [], "everything": []}
            planned = language.plan(**where, **lengths, **alike)
            starts = {
                (model, i): pretraining_cell(corpus, model, i, **planned.pretraining)
                for i in range(replicates)
            }
            jobs, name = planned.jobs, "text"
        data = dataset if name == "images" else corpus
        found.append(Task(name, data, model, replicates, jobs, starts))
    return found


def tried(tasks: list[Task], chosen: pd.DataFrame, results: Results) -> pd.DataFrame:
    """The results file recommendation_transfer: what is recommended, and ONE_FOR_ALL, elsewhere.

    chosen: recommendation, as of `recommend`; results: as that takes them. Columns as there but for cost
    and serves. Every arm, and plain training, has the learning rate and the strength that tuning chose
    on the first of the family's `networks`.
    """
    found = []
    for task in tasks:
        family = FAMILIES[task.family]
        mine = chosen[(chosen.family == task.family) & (chosen["pick"] != CHEAPER)]
        mine = mine[["pick", "eval_bits", *ARM]].drop_duplicates()
        first = networks(results[family.file + "_tuned"])[0]
        settings = {
            (arm.method, arm.train_bits): setting
            for arm, setting in tuning.chosen(results[family.file + "_tuning"]).items()
            if arm.model == first and arm.layout == CHANNELS
        }
        wanted = dict.fromkeys([(PLAIN, NO_WIDTH), *mine[ARM].itertuples(index=False, name=None)])
        values = task.tested({arm: settings[arm] for arm in wanted}, mine.eval_bits.unique().tolist())
        where = {"family": task.family, "dataset": task.dataset, "model": task.model}
        found.append(held(mine, values, family.metric).assign(**where))
    return pd.concat(found, ignore_index=True)


def held(chosen: pd.DataFrame, values: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Of each pick of one network: loss, minus_plain and minus_unrounded, as of `recommend`.

    chosen: pick, eval_bits, ARM; values: as in Run.test, with plain training among them.
    """
    rows = compare.with_own_rule(values)
    rows = rows[(rows.metric == metric.name) & rows.scale_rule.isin([OWN, "none"])]
    own, whole = rows[rows.scale_rule == OWN], compare.unrounded(rows)
    margins = compare.margins(own, whole, metric, ["eval_bits"]).droplevel(compare.PLACE)
    whole = whole.droplevel(compare.PLACE)
    by = {key: mine.set_index("replicate")["value"] for key, mine in own.groupby(["eval_bits", *ARM])}
    found = []
    for pick in chosen.to_dict("records"):
        mine = by[pick["eval_bits"], pick["method"], pick["train_bits"]]
        plain = by[pick["eval_bits"], PLAIN, NO_WIDTH]
        others = {LOSS: 0 * mine, "minus_plain": plain, "minus_unrounded": whole}
        if pick["method"] == PLAIN:
            del others["minus_plain"]
        for quantity, other in others.items():
            row = statistics.mean_interval(mine - other)
            row["estimate"] = row.pop("mean")
            if quantity != LOSS:
                row["margin"] = margins[pick["eval_bits"]]
            found.append(pick | {"quantity": quantity} | row)
    return pd.DataFrame(found)
