"""The language benchmark: every training method on causal language models, at every bit-width.

Each small model is trained from nothing once a replicate, plainly; a cell (room `fine_tuning`) goes on
from there with one method for a fixed number of steps, and no_noise is the control at the same budget.
All methods of a replicate share start and windows. Learning rate and strength are tuned on replicates
of their own, on the validation part of the text. Every replicate reads the same text: intervals over
replicates are about new starts and windows, intervals over blocks about other text of the same kind.
"""

import json
import platform
from typing import Any, NamedTuple

import pandas as pd
import torch

from t0qat import corpora, grid, language_models, statistics
from t0qat.arms import KEYS, NO_WIDTH, Arm, listed
from t0qat.benchmark import NUMBERS, TUNING, Jobs, Setting, files, measured, ranked, settings
from t0qat.benchmark import Run as Measured
from t0qat.compare import Metric
from t0qat.fine_tuning import (
    EVERYTHING,
    GROUPS,
    cell,
    fine_tune_and_write,
    layout,
    numbered,
    pretraining_cell,
)
from t0qat.methods import REGISTRY
from t0qat.parameters import ParameterError, bit_list, checked

METHODS = ("no_noise", "t0_qat", "t0_qat_tuned", "xi_alone", "gptq", "ste", "lsq")
METHODS += ("matched_noise", "diffq", "random_bits")
ON_EVERYTHING = ("no_noise", "t0_qat", "ste")  # with embeddings and head, for comparison
METRIC = Metric("bits_per_character", less_is_better=True)


class Run(NamedTuple):
    """What was measured: rows of KEYS, replicate, eval_bits, scale_rule, metric, value and block.

    metric, value and block are what fine_tuning.fine_tune_and_round says of each model.
    """

    tuning: pd.DataFrame  # one row a candidate
    validation: pd.DataFrame  # of the chosen candidates, on the text that they were chosen on
    test: pd.DataFrame
    samples: pd.DataFrame  # KEYS, eval_bits, text
    text: pd.DataFrame  # dataset, sha256, characters, python


class Plan(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    arms: list[Arm]  # that are tuned
    variants: list[Arm]  # that take the candidate of the arm whose name has no ending
    candidates: list[list[Setting]]  # of each arm
    pretraining: dict[str, Any]  # arguments of every pretraining
    shared: dict[str, Any]  # arguments of every fine-tuning
    tuning_replicates: int
    replicates: int

    @property
    def numbers(self) -> list[int]:
        """Of all replicates, those of tuning last."""
        return [*range(self.replicates), *range(TUNING, TUNING + self.tuning_replicates)]

    def starts(self) -> list[tuple[tuple[str, int], grid.Cell]]:
        """(model, replicate) and its pretraining, for the models of language_models.SMALL."""
        places = dict.fromkeys((arm.dataset, arm.model) for arm in self.arms)
        return [
            ((model, i), pretraining_cell(corpus, model, i, **self.pretraining))
            for corpus, model in places
            if model in language_models.SMALL
            for i in self.numbers
        ]

    def jobs(self, arms: list[Arm], candidates: list[list[Setting]], starts: dict) -> Jobs:
        """Of these arms, from these starts."""
        shared = self.shared | {"starts": starts}
        return Jobs(arms, candidates, shared, self.tuning_replicates, self.replicates, cell)


@checked
def plan(
    *,
    replicates: int,
    tuning_replicates: int,
    corpus: str = corpora.DEFAULT,
    model: str = "small_gpt2, small_llama",
    variants: str = "groups, everything",
    methods: str = "all",
    bits: str = "8, 4, 3, 2",
    candidates: int = 5,
    lowest_rate: float = 0.0003,
    highest_rate: float = 0.01,
    context: int = 64,
    pretraining_steps: int = 1000,
    pretraining_rate: float = 0.004,
    steps: int = 64,
    batch_size: int = 16,
    schedule: str = "warmup_cosine",
    blocks: int = 16,
    block_windows: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line.

    methods: "all", or names from METHODS with commas; plain fine-tuning is always run.
    """
    widths = bit_list(bits)
    if not {*widths} <= {*range(2, 9)}:
        raise ParameterError(f"bits = {bits!r}: language models are trained for 2 to 8 bits")
    if not lowest_rate < highest_rate:
        raise ParameterError(f"lowest_rate = {lowest_rate}: must be below highest_rate = {highest_rate}")
    names = [name.strip() for name in model.split(",")]
    if len({*names}) < len(names):
        raise ParameterError(f"model = {model!r}: a model stands there twice")
    text = corpora.load(corpus)
    for name in names:
        _try(text, name, context, blocks)
    endings = [f"_{word.strip()}" for word in variants.split(",") if word.strip()]
    if not {*endings} <= {GROUPS, EVERYTHING}:
        raise ParameterError(f"variants = {variants!r}: allowed are groups and everything")
    wanted = {"no_noise", *(METHODS if methods == "all" else listed("methods", methods, METHODS))}
    every = [method for method in METHODS if method in wanted]
    run = {GROUPS: every, EVERYTHING: [method for method in every if method in ON_EVERYTHING]}
    arms = [arm for name in names for arm in _arms(corpus, name, every, widths)]
    others = [arm for n in names for e in endings for arm in _arms(corpus, n + e, run[e], widths)]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    both = {"context": context, "batch_size": batch_size, "seed": seed, "device": device}
    both |= {"schedule": schedule}
    pretraining = both | {"pretraining_steps": pretraining_steps, "pretraining_rate": pretraining_rate}
    shared = both | {"steps": steps, "widths": list(widths)}
    shared |= {"blocks": blocks, "block_windows": block_windows}
    tried = [arm.candidates(candidates, lowest_rate, highest_rate) for arm in arms]
    return Plan(arms, others, tried, pretraining, shared, tuning_replicates, replicates)


def _arms(corpus: str, model: str, names: list[str], widths: tuple[int, ...]) -> list[Arm]:
    return [
        Arm(corpus, model, name, bits)
        for name in names
        for bits in (widths if REGISTRY[name].for_bits else (NO_WIDTH,))
    ]


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

    The candidate of fewest bits per character on the validation part after rounding is chosen, see
    benchmark.ranked. Of equals it is the first: the first strength, then the lowest rate.
    """
    planned = plan(**parameters)
    begun = planned.starts()
    packed = grid.run([cell for _, cell in begun], "starts")
    starts = dict(zip((place for place, _ in begun), packed, strict=True))
    jobs = planned.jobs(planned.arms, planned.candidates, starts)
    numbers = *NUMBERS, "block"
    tried = measured(jobs.tuning(), "tuning", numbers)
    tuning = ranked(jobs, over_text(tried), METRIC)
    chosen = settings(tuning)
    known = [tried.merge(tuning[tuning.chosen == 1][[*KEYS, "candidate"]])]
    taken = [chosen[arm._replace(model=layout(arm.model)[0])] for arm in planned.variants]
    if taken:
        others = planned.jobs(planned.variants, [[setting] for setting in taken], starts)
        known.append(measured(others.tuning(), "validation", numbers))
    final = planned.jobs([*planned.arms, *planned.variants], [], starts)
    test = measured(final.final([*chosen.values(), *taken]), "models", numbers)
    samples = written(planned, chosen, starts)
    return Run(tuning.drop(columns="candidate"), pd.concat(known), test, samples, text_of(planned))


def text_of(planned: Plan) -> pd.DataFrame:
    """dataset, sha256 (of the text in UTF-8), characters, and python, whose version the default has."""
    text = corpora.load(planned.arms[0].dataset)
    row = {"dataset": text.name, "sha256": text.sha256, "characters": len(text.text)}
    return pd.DataFrame([row | {"python": platform.python_version()}])


def over_text(rows: pd.DataFrame) -> pd.DataFrame:
    """One value a model in place of one a block: the mean over blocks."""
    keys = [*KEYS, "candidate", "replicate", "eval_bits", "scale_rule", "metric"]
    keys = [key for key in keys if key in rows]
    return rows.groupby(keys, sort=False)["value"].mean().reset_index()


def written(planned: Plan, chosen: dict[Arm, Setting], starts: dict) -> pd.DataFrame:
    """KEYS, eval_bits and text: what models of replicate 0 write at each bit-width, as a JSON string."""
    length = 4 * planned.shared["context"]
    arms = [arm for arm in planned.arms if arm.method in ("no_noise", "t0_qat")]
    shared = {k: v for k, v in planned.shared.items() if k not in ("blocks", "block_windows")}
    shared |= {"function": fine_tune_and_write, "rule": "mse", "length": length, "part": "test"}
    cells = [cell(arm, *chosen[arm], 0, starts=starts, **shared) for arm in arms]
    return pd.DataFrame(
        arm._asdict() | {"eval_bits": bits, "text": json.dumps(text)}
        for arm, found in zip(arms, grid.run(cells, "samples"), strict=True)
        for bits, text in found
    )


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files language..., see benchmark.files, and three more.

    Metrics are those of fine_tuning.fine_tune_and_round; a difference is positive where `method` needs
    more bits per character. language_blocks: KEYS, eval_bits, scale_rule, mean, ci_low, ci_high, n:
    bits per character of n blocks of text, each averaged over replicates first. language_samples and
    language_text: as Run has them.
    """
    means = Measured(run.tuning, over_text(run.validation), over_text(run.test))
    keys = [*KEYS, "eval_bits", "scale_rule"]
    blocks = run.test[run.test.metric == METRIC.name]
    blocks = blocks.groupby([*keys, "block"], sort=False)["value"].mean().reset_index()
    return files("language", means, METRIC) | {
        "language_blocks": statistics.means(blocks, keys),
        "language_samples": run.samples,
        "language_text": run.text,
    }
