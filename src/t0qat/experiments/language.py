"""The language benchmark: every training method on causal language models, at every bit-width.

Each small model is trained from nothing, plainly; a training (room `on_text`) goes on from there
with one method for a fixed number of steps, and no_noise is the control at the same budget. All methods
of a replicate share start and windows. Learning rate and strength are tuned on replicates of their own,
on the validation part of the text; these share a few starts, each with windows of its own. Every
replicate reads the same text: intervals over replicates are about new starts and windows, intervals over
blocks about other text of the same kind.
"""

import json
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from t0qat.experiments import on_text
from t0qat.experiments.arms import CHANNELS, KEYS, Arm, arms, chosen, each_known, each_once
from t0qat.experiments.benchmark import NUMBERS, Jobs, Run, files, measured, planned, tuned
from t0qat.experiments.compare import Metric
from t0qat.experiments.on_text import numbered, pretraining_cell
from t0qat.experiments.settings import checked
from t0qat.experiments.tuning import FIRST, Setting
from t0qat.pipeline import grid, statistics
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import corpora, language_models
from t0qat.training.methods import REGISTRY, named

METRIC = Metric("bits_per_character", less_is_better=True)


class Plan(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    jobs: Jobs  # from starts that are not there yet
    laid_out: list[Arm]  # arms of other layouts, which take the settings of those in channels
    pretraining: dict[str, Any]  # arguments of every pretraining
    tuning_starts: int

    def starts(self) -> dict[tuple[str, int], grid.Cell]:
        """(model, replicate) -> its pretraining, for the models of language_models.SMALL."""
        trained = dict.fromkeys((one.arm.dataset, one.arm.model) for one in self.jobs.rivals)
        return {
            (model, i): pretraining_cell(dataset, model, i, **self.pretraining)
            for dataset, model in trained
            if model in language_models.SMALL
            for i in self.begins().values()
        }

    def begins(self) -> dict[int, int]:
        """Replicate -> the replicate whose pretraining it goes on from; those of tuning share a few."""
        last = max(seen for one in self.jobs.rivals for _, seen in one.rounds)
        tests = max(self.jobs.replicates.values())
        own = {i: i for i in range(tests)}
        return own | {FIRST + i: FIRST + i % self.tuning_starts for i in range(last)}

    def begun(self) -> Jobs:
        """The jobs, after all pretraining."""
        cells = self.starts()
        packed = dict(zip(cells, grid.run([*cells.values()], "starts"), strict=True))
        models = {model for model, _ in packed}
        starts = {(m, i): packed[m, begin] for i, begin in self.begins().items() for m in models}
        return self.jobs._replace(shared=self.jobs.shared | {"starts": starts})


@checked
def plan(
    *,
    replicates: int,
    corpus: str = corpora.DEFAULT,
    models: Sequence[str] = ("small_gpt2",),
    few_models: Sequence[str] = ("small_llama",),
    groups: Sequence[str] = ("t0_qat_tuned", "gptq", "ste", "lsq"),
    everything: Sequence[str] = ("t0_qat", "ste"),
    methods: Sequence[str] | str = "all",
    bits: Sequence[int] = (8, 4, 3, 2),
    trained_bits: Sequence[int] = (4, 3, 2),
    trainings: int = 25,
    tuning_starts: int = 2,
    rates: int = 5,
    lowest_rate: float = 0.00001,
    highest_rate: float = 0.016,
    context: int = 32,
    pretraining_steps: int = 2000,
    pretraining_batch_size: int = 16,
    pretraining_rate: float = 0.004,
    steps: int = 96,
    batch_size: int = 8,
    schedule: str = "warmup_cosine",
    blocks: int = 16,
    block_windows: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line.

    methods: "all", or names of those that run on text; plain fine-tuning is always run. All run on
    `models` and, unless they are named, few on few_models. groups: those that are also run on `models`
    with a step for each group of language_models.GROUP weights; everything: those with embeddings and
    head rounded too; both with plain fine-tuning if there are any. bits: that models are read at;
    trained_bits: those that methods of one bit-width train for. trainings: that tune an arm, from so
    many tuning_starts. steps: of a method with one gradient evaluation a step.
    """
    given, text = locals(), corpora.load(corpus)
    for name in each_once("models", [*models, *few_models]):
        _try(text, name, context, blocks)
    known = named(lambda method: method.text)
    every = few = chosen(methods, known)
    if methods == "all":
        few = [name for name in known if REGISTRY[name].few]
    ways = [(CHANNELS, models, every), (CHANNELS, few_models, few)]
    for layout, some in (("groups", groups), ("everything", everything)):
        wanted = {"no_noise", *each_known(layout, some, known)}
        ways += [(layout, models, [method for method in every if method in wanted])] if some else []
    found = [
        arm
        for layout, where, run in ways
        for name in where
        for arm in arms(corpus, name, run, trained_bits, layout)
    ]
    others = [arm for arm in found if arm.layout != CHANNELS]
    shared = "context", "schedule", "seed"
    jobs = planned(
        "text", dict.fromkeys(found, replicates), given, shared=(*shared, "steps", "batch_size"),
        judged=("blocks", "block_windows"), laid_out=others,
    )  # fmt: skip
    pretraining = {name: jobs.shared[name] for name in (*shared, "device")}
    pretraining |= {"pretraining_steps": pretraining_steps, "pretraining_rate": pretraining_rate}
    pretraining["batch_size"] = pretraining_batch_size
    return Plan(jobs, others, pretraining, tuning_starts)


def _try(text: corpora.Corpus, model: str, context: int, blocks: int) -> None:
    """Raise ParameterError, in one line, unless the model reads the text and its parts suffice."""
    small = model in language_models.SMALL
    tokens = corpora.characters(text) if small else language_models.checkpoint(model, context)[1]
    for part in (text.training, text.validation, text.test):
        shown = f"corpus = {text.name!r}"
        rows = corpora.windows(numbered(part, tokens, text, model), context, context, shown)
        if len(rows) < blocks:
            few = f"a part of {len(rows)} contexts of {context} is shorter than {blocks} blocks"
            raise ParameterError(f"{shown}: {few}")


def benchmark(**parameters) -> Run:
    """Pretrain, tune every arm, then fine-tune it on all replicates: parameters as `plan` takes them.

    The test values have a column block. An arm of another layout lost in tuning what the arm did whose
    setting it takes.
    """
    planned = plan(**parameters)
    jobs = planned.begun()
    tuning, losses, chosen = tuned(jobs)
    settings = chosen | {arm: chosen[_in_channels(arm)] for arm in planned.laid_out}
    numbers = *NUMBERS, "block"
    test = measured(jobs.tests(settings), "models", numbers).fillna({"block": -1})
    lost = [losses]
    for arm in planned.laid_out:
        mine = (losses[KEYS] == list(_in_channels(arm))).all(axis=1)
        lost.append(losses[mine].assign(layout=arm.layout))
    more = {"language_samples": written(jobs, chosen), "language_text": text_of(jobs)}
    return Run(tuning, pd.concat(lost), test, more)


def _in_channels(arm: Arm) -> Arm:
    return arm._replace(layout=CHANNELS)


def text_of(jobs: Jobs) -> pd.DataFrame:
    """What each model reads: dataset, model, bos (that stands before every window, or empty), sha256 (of
    the text in UTF-8), characters, and python, whose version the default has."""
    text = corpora.load(jobs.rivals[0].arm.dataset)
    row = {"dataset": text.name, "sha256": text.sha256, "characters": len(text.text)}
    row["python"] = platform.python_version()
    models = dict.fromkeys(one.arm.model for one in jobs.rivals)
    return pd.DataFrame(row | {"model": m, "bos": language_models.begins_with(m)} for m in models)


def averaged(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The mean value of all rows of each of these keys."""
    return rows.groupby(keys, sort=False)["value"].mean().reset_index()


def written(jobs: Jobs, chosen: dict[Arm, Setting]) -> pd.DataFrame:
    """KEYS, eval_bits and text: what models of replicate 0 write at each bit-width, as a JSON string."""
    context = jobs.shared["context"]
    how = {"widths": jobs.widths, "rule": "mse", "length": 4 * context, "context": context}
    how |= {"replicate": 0, "seed": jobs.shared["seed"]}
    arms = [arm for arm in chosen if arm.method in ("no_noise", "t0_qat")]
    cells = [jobs.cell(on_text.write, arm, chosen[arm], 0, **how) for arm in arms]
    return pd.DataFrame(
        arm._asdict() | {"eval_bits": bits, "text": json.dumps(text)}
        for arm, found in zip(arms, grid.run(cells, "samples"), strict=True)
        for bits, text in found
    )


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files language..., see benchmark.files, and three more.

    Metrics: trained.at_widths and on_text.begin; a difference is positive where `method` needs more
    bits per character. language_blocks: KEYS, eval_bits, scale_rule, mean, ci_low, ci_high, n:
    bits per character of n blocks of text, each averaged over replicates first. language_samples and
    language_text: see `written` and `text_of`.
    """
    keys = [*KEYS, "eval_bits", "scale_rule"]
    means = run._replace(test=averaged(run.test, [*keys, "metric", "replicate"]))
    blocks = averaged(run.test[run.test.metric == METRIC.name], [*keys, "block"])
    more = run.more | {"language_blocks": statistics.means(blocks, keys)}
    return files("language", means, METRIC) | more
