"""Do the benchmarks' networks, as files in real runtimes, predict and score as they were measured?

The trainings are those of the benchmarks, by the same plans (rooms `vision`, `language`): plain
training, random-bit STE, tuned T0-QAT, and what is recommended at a width. A wider Llama is trained
here, plainly and by random-bit STE, with the learning rates that tuning chose on the first language
model: its rows are whole blocks of llama.cpp's containers at every width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from t0qat.experiments import compare, language, running, tuning, vision
from t0qat.experiments.arms import FLOAT, KEYS, NO_WIDTH, Arm, each_known
from t0qat.experiments.benchmark import Jobs, measured
from t0qat.experiments.compare import OWN, over_bits
from t0qat.experiments.on_text import pretraining_cell
from t0qat.experiments.precision import READERS
from t0qat.experiments.recommendation import ARM, FAMILIES, PLAIN, RECOMMENDED, Results, networks
from t0qat.experiments.settings import checked
from t0qat.experiments.tuning import Setting
from t0qat.pipeline import grid, statistics
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import corpora
from t0qat.training.models import MODELS

WIDE = "wide_llama"
TUNED, ONE_FOR_ALL = "t0_qat_tuned", "random_bits"  # run at every width, as plain training does
FILE = ["runtime", "format", "eval_bits"]
NUMBERS = (*FILE, "metric", "value")
Widths = dict[tuple[str, int], list[int]]  # (method, train_bits) -> those at which it runs


class Task(NamedTuple):
    """Networks of one family, and what their trainings share."""

    family: str  # a name in FAMILIES
    models: list[str]
    jobs: Jobs
    starts: dict[tuple[str, int], grid.Cell]  # of language models, by model and replicate

    @property
    def wide(self) -> bool:
        return WIDE in self.models

    def begun(self) -> Jobs:
        """The jobs, after all pretraining."""
        starts = dict(zip(self.starts, grid.run([*self.starts.values()], "starts"), strict=True))
        return self.jobs._replace(shared=self.jobs.shared | ({"starts": starts} if starts else {}))

    def check(self, results: Results) -> None:
        """Raises ParameterError, in one line, for what the family's benchmark has not measured."""
        file = FAMILIES[self.family].file
        tuned, kept = results[f"{file}_tuning"], results[f"{file}_kept"]
        there = [*dict.fromkeys(zip(tuned.model, tuned.dataset, strict=True))]
        for model, dataset in dict.fromkeys((arm.model, arm.dataset) for arm in self.jobs.replicates):
            if (self.source(results) or model, dataset) not in there:
                known = ", ".join(f"{name} on {source}" for name, source in there)
                raise ParameterError(f"models: {model} on {dataset}: {file}_tuning.csv has {known}")
        wrong = [bits for bits in self.jobs.widths if bits not in {*kept.eval_bits}]
        if wrong and not self.wide:
            known = ", ".join(map(str, sorted({*kept.eval_bits}, reverse=True)))
            raise ParameterError(f"bits: {wrong[0]}: {file}_kept.csv has {known}")

    def source(self, results: Results) -> str:
        """The network whose learning rates WIDE takes; empty for others."""
        file = FAMILIES[self.family].file
        return networks(results[f"{file}_tuned"])[0] if self.wide else ""

    def settings(self, results: Results) -> dict[Arm, Setting]:
        """What tuning chose for each arm; for WIDE, of the family's first network."""
        chosen = tuning.chosen(results[f"{FAMILIES[self.family].file}_tuning"])
        if not self.wide:
            return chosen
        source = self.source(results)
        return {arm._replace(model=WIDE): s for arm, s in chosen.items() if arm.model == source}

    def widths(self, results: Results) -> Widths:
        """Which arms run, and where: WIDE under methods without a width alone."""
        every = (PLAIN, ONE_FOR_ALL) if self.wide else (PLAIN, ONE_FOR_ALL, TUNED)
        found: Widths = {(name, NO_WIDTH): [*self.jobs.widths] for name in every}
        picks = results["recommendation"]
        picks = picks[(picks.family == self.family) & (picks["pick"] == RECOMMENDED) & (not self.wide)]
        for bits, *arm in picks[["eval_bits", *ARM]].itertuples(index=False, name=None):
            mine = found.setdefault(tuple(arm), [])
            if bits in self.jobs.widths and bits not in mine:
                mine.append(bits)
        return found

    def cells(self, results: Results) -> list[tuple[dict, grid.Cell]]:
        """What its arms give in every runtime that is there, as benchmark.measured takes it."""
        jobs, chosen, widths = self.begun(), self.settings(results), self.widths(results)
        there = [name for name, runtime in running.RUNTIMES.items() if runtime.there]
        metric, found = FAMILIES[self.family].metric.name, []
        for arm, n in jobs.replicates.items():
            here = widths.get((arm.method, arm.train_bits))
            if not here or arm not in chosen:
                continue
            # Rounding inputs too is shown beside plain training alone.
            where = [name for name in there if name != running.EIGHT or arm.method == PLAIN]
            asked = {"widths": here, "metric": metric, "where": where}
            for i in range(n):
                cell = jobs.cell(running.in_runtimes, arm, chosen[arm], i, **asked)
                found.append((arm._asdict() | {"replicate": i}, running.depending(cell)))
        return found


@checked
def plan(
    *,
    replicates: int,
    few_replicates: int,
    models: Sequence[str] = ("deep_cnn", "mlp", "residual_cnn", "small_gpt2", "small_llama", WIDE),
    dataset: str = "digits",
    corpus: str = corpora.DEFAULT,
    bits: Sequence[int] = (8, 4, 3, 2),
    epochs: int = 12,
    context: int = 32,
    pretraining_steps: int = 2000,
    steps: int = 96,
    wide_replicates: int = 3,
    wide_steps: int = 300,
    seed: int = 0,
) -> list[Task]:
    """Which networks run, trained as the benchmarks train them. Raises ParameterError, in one line.

    replicates, few_replicates: on how many test replicates, as of vision.plan; language models on
    few_replicates. WIDE has wide_replicates, each after so many wide_steps of pretraining.
    """
    shared = {"seed": seed, "device": "cpu", "bits": bits}
    shared["trained_bits"] = [width for width in (4, 3, 2) if width in bits] or bits
    each_known("models", models, READERS)
    images = [name for name in models if name in MODELS]
    texts = [name for name in models if name not in MODELS and name != WIDE]
    found = []
    if images:
        jobs = vision.plan(
            dataset=dataset, models=images, few_models=[], epochs=epochs, replicates=replicates,
            few_replicates=few_replicates, **shared,
        )  # fmt: skip
        found.append(Task("images", images, jobs, {}))
    ways = [(texts, few_replicates, pretraining_steps)] if texts else []
    ways += [([WIDE], wide_replicates, wide_steps)] if WIDE in models else []
    for names, n, pretraining in ways:
        planned = language.plan(
            corpus=corpus, models=names, few_models=[], groups=[], everything=[], context=context,
            steps=steps, replicates=n, pretraining_steps=pretraining, **shared,
        )  # fmt: skip
        starts = {
            (name, i): pretraining_cell(corpus, name, i, **planned.pretraining)
            for name in names
            for i in range(n)
        }
        found.append(Task("text", names, planned.jobs, starts))
    return found


def read_by() -> list[str]:
    """The results files that this experiment needs."""
    of_each = [
        family.file + end for family in FAMILIES.values() for end in ("_tuning", "_tuned", "_kept")
    ]
    return ["recommendation", *of_each, *(family.file + "_any_paired" for family in FAMILIES.values())]


def deployed(tasks: list[Task], results: Results) -> pd.DataFrame:
    """KEYS, replicate, FILE, metric and value: see running.in_runtimes. results: of `read_by`.

    Every runtime that is there runs what it can hold; the others are left out. Raises ParameterError,
    before computing, for a network, data set or width that the benchmarks have not measured.
    """
    for task in tasks:
        task.check(results)
    cells = [cell for task in tasks for cell in task.cells(results)]
    return measured(cells, "files in runtimes", NUMBERS)


def samples(tasks: list[Task], results: Results) -> pd.DataFrame:
    """KEYS, replicate, eval_bits, text: what WIDE writes in llama.cpp; empty where that is missing."""
    cells = []
    for task in tasks:
        if task.wide and running.RUNTIMES[running.LLAMA].there:
            jobs, chosen = task.begun(), task.settings(results)
            own = {key: jobs.shared[key] for key in ("context", "seed")} | {"replicate": 0}
            own |= {"length": 2 * own["context"]}
            for (method, bits), widths in task.widths(results).items():
                arm = Arm(jobs.rivals[0].arm.dataset, WIDE, method, bits)
                cell = jobs.cell(running.writes, arm, chosen[arm], 0, widths=widths, **own)
                cells.append((arm._asdict() | {"replicate": 0}, running.depending(cell)))
    return measured(cells, "samples", ("eval_bits", "text"))


def tables(rows: pd.DataFrame, results: Results) -> dict[str, pd.DataFrame]:
    """Results files from what `deployed` gives.

    deployment: KEYS, FILE (eval_bits FLOAT: nothing rounded), metric, mean, ci_low, ci_high, n.
    deployment_kept, deployment_any_paired: of what runs in running.EXACT, as compare.kept and
    compare.differences give them of fake quantization; margins and deviations are those that tuning
    fixed for the benchmarks (their files of the same endings).
    """
    found = {"deployment": statistics.means(rows, [*KEYS, *FILE, "metric"])}
    exact = rows[(rows.runtime == running.EXACT) & (rows.model != WIDE)]
    exact = exact.assign(scale_rule=np.where(exact.eval_bits == FLOAT, "none", OWN))
    kept, over = [], []
    for family in FAMILIES.values():
        mine = exact[exact.metric == family.metric.name]
        if mine.empty:
            continue
        anywhere = over_bits(mine[mine.train_bits == NO_WIDTH], family.metric.worst)
        at, wide = ["eval_bits", "scale_rule"], ["scale_rule", "quantity"]
        one, all_of_them = (results[family.file + end] for end in ("_kept", "_any_paired"))
        table = compare.kept(mine, mine[:0], _margins(one, at))
        kept.append(_planned(table, one, at))
        table = compare.differences(anywhere, anywhere[:0], _margins(all_of_them, wide), wide)
        over.append(_planned(table, all_of_them, wide))
    return found | {"deployment_kept": pd.concat(kept), "deployment_any_paired": pd.concat(over)}


def _margins(fixed: pd.DataFrame, measure: list[str]) -> pd.Series:
    """(dataset, model, layout, *measure) -> what a benchmark's file says may be lost there."""
    return fixed.groupby([*compare.PLACE, *measure])["margin"].first()


def _planned(table: pd.DataFrame, fixed: pd.DataFrame, measure: list[str]) -> pd.DataFrame:
    """The table with the deviations that a benchmark's file has of the same differences."""
    keys = [*compare.PLACE, *measure, *ARM, "against"]
    table = table.drop(columns="planned_deviation")
    return table.merge(fixed[[*keys, "planned_deviation"]], on=keys, how="left")
