"""The language benchmark: every training method on causal language models, at every bit-width.

Each small model is trained from nothing once a replicate, plainly; a cell (room `fine_tuning`) goes on
from there with one method for a fixed number of steps, and no_noise is the control at the same budget.
All methods of a replicate share start and windows. Learning rate and strength are tuned on replicates
of their own, on the validation part of the text. Every replicate reads the same text: intervals over
replicates are about new starts and windows, intervals over blocks about other text of the same kind.
"""

import functools
from typing import Any, NamedTuple

import pandas as pd
import torch

from t0qat import corpora, grid, language_models, statistics, vision
from t0qat.arms import KEYS, NO_WIDTH, Arm
from t0qat.compare import differences, kept, own_width, with_chosen
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
from t0qat.vision import TUNING

METHODS = ("no_noise", "t0_qat", "t0_qat_tuned", "xi_alone", "gptq", "ste", "lsq")
METHODS += ("matched_noise", "diffq", "random_bits")
ON_VARIANTS = ("no_noise", "t0_qat", "ste", "random_bits")  # where not all are run
METRIC = "bits_per_character"


class Run(NamedTuple):
    """What was measured: rows of KEYS, replicate, eval_bits, scale_rule, metric, value and block.

    metric, value and block are what fine_tuning.fine_tune_and_round says of each model.
    """

    tuning: pd.DataFrame  # one row a candidate
    validation: pd.DataFrame  # of the chosen candidates, on the text that they were chosen on
    test: pd.DataFrame
    samples: pd.DataFrame  # KEYS, eval_bits, text
    text: pd.DataFrame  # dataset, sha256, characters


class Plan(NamedTuple):
    """The cells of a benchmark, as far as they are known before it starts."""

    arms: list[Arm]  # that are tuned
    variants: list[Arm]  # that take the candidate of the arm whose name has no ending
    candidates: list[list[tuple[float, float]]]  # of each arm
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

    def jobs(self, arms: list[Arm], candidates, starts: dict) -> vision.Jobs:
        """vision.Jobs of these arms, from these starts."""
        from_here = functools.partial(self.cell, starts=starts)
        return vision.Jobs(arms, candidates, {}, self.tuning_replicates, self.replicates, from_here)

    def cell(self, arm: Arm, *candidate_and_replicate, part: str, starts, **more) -> grid.Cell:
        # Tuning asks for the widths that an arm is chosen by, the test for all.
        own = {"widths": [arm.train_bits]} if part == "validation" and arm.train_bits else {}
        settings = self.shared | own | more
        return cell(arm, *candidate_and_replicate, part, starts=starts, **settings)


@checked
def plan(
    *,
    replicates: int,
    tuning_replicates: int,
    corpus: str = corpora.DEFAULT,
    model: str = "small_gpt2, small_llama",
    variants: str = "groups, everything",
    bits: str = "8, 4, 3, 2",
    candidates: int = 5,
    lowest_rate: float = 0.0003,
    highest_rate: float = 0.01,
    context: int = 64,
    pretraining_steps: int = 1000,
    pretraining_rate: float = 0.004,
    steps: int = 64,
    batch_size: int = 16,
    schedule: str = "cosine",
    blocks: int = 16,
    block_windows: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> Plan:
    """What `benchmark` with these parameters will train. Raises ParameterError, one line."""
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
    arms = [arm for name in names for arm in _arms(corpus, name, METHODS, widths)]
    others = [a for n in names for e in endings for a in _arms(corpus, n + e, ON_VARIANTS, widths)]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    both = {"context": context, "batch_size": batch_size, "seed": seed, "device": device}
    pretraining = both | {"pretraining_steps": pretraining_steps, "pretraining_rate": pretraining_rate}
    shared = both | {"steps": steps, "schedule": schedule, "widths": list(widths)}
    shared |= {"blocks": blocks, "block_windows": block_windows}
    tried = [arm.candidates(candidates, lowest_rate, highest_rate) for arm in arms]
    return Plan(arms, others, tried, pretraining, shared, tuning_replicates, replicates)


def _arms(corpus: str, model: str, names: tuple[str, ...], widths: tuple[int, ...]) -> list[Arm]:
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

    A candidate's score on a tuning replicate is its bits per character on the validation part, at the
    best scale rule of each bit-width, averaged over bit-widths: the arm's own, or all for an arm
    without one. The smallest mean score is chosen, of equals the first: the first strength, then the
    lowest rate.
    """
    planned = plan(**parameters)
    begun = planned.starts()
    starts = dict(
        zip((place for place, _ in begun), grid.run([c for _, c in begun], "starts"), strict=True)
    )
    jobs = planned.jobs(planned.arms, planned.candidates, starts)
    tried = measured(jobs.tuning(), "tuning")
    tuning = ranked(jobs, tried)
    chosen = tuning[tuning.chosen == 1]
    values = dict(
        zip(planned.arms, zip(chosen.learning_rate, chosen.strength, strict=True), strict=True)
    )
    arms = [*planned.arms, *planned.variants]
    settings = [values[arm._replace(model=layout(arm.model)[0])] for arm in arms]
    others = planned.jobs(planned.variants, [[s] for s in settings[len(planned.arms) :]], starts)
    known = [tried.merge(chosen[[*KEYS, "candidate"]])]
    known += [measured(others.tuning(), "validation")] if planned.variants else []
    final = planned.jobs(arms, [], starts)
    test = measured(final.final(settings), "models")
    samples = written(planned, values, starts)
    return Run(tuning.drop(columns="candidate"), pd.concat(known), test, samples, corpus_of(planned))


def corpus_of(planned: Plan) -> pd.DataFrame:
    """dataset, sha256 (of the text in UTF-8) and characters."""
    text = corpora.load(planned.arms[0].dataset)
    return pd.DataFrame({"dataset": [text.name], "sha256": text.sha256, "characters": len(text.text)})


def measured(jobs: list[tuple[dict, grid.Cell]], words: str) -> pd.DataFrame:
    """What the cells give, one row a number: what the cell is, and the columns of Run."""
    found = grid.run([cell for _, cell in jobs], words)
    names = ("eval_bits", "scale_rule", "metric", "value", "block")
    return pd.DataFrame(
        label | dict(zip(names, numbers, strict=True))
        for (label, _), rows in zip(jobs, found, strict=True)
        for numbers in rows
    )


def over_text(rows: pd.DataFrame) -> pd.DataFrame:
    """One value a model in place of one a block: the mean over blocks."""
    keys = [*KEYS, "candidate", "replicate", "eval_bits", "scale_rule", "metric"]
    keys = [key for key in keys if key in rows]
    return rows.groupby(keys, sort=False)["value"].mean().reset_index()


def ranked(jobs: vision.Jobs, tried: pd.DataFrame) -> pd.DataFrame:
    """vision.ranked by bits per character, the fewer the better: mean, ci_low and ci_high of these."""
    table = vision.ranked(jobs, _larger_is_better(over_text(tried)))
    ends = {"mean": -table["mean"], "ci_low": -table.ci_high, "ci_high": -table.ci_low}
    return table.assign(**ends)


def _larger_is_better(rows: pd.DataFrame) -> pd.DataFrame:
    """Bits per character, negated, in the place that comparisons look for accuracy in."""
    negated = rows[rows.metric == METRIC].assign(value=lambda r: -r.value, metric="accuracy")
    return pd.concat([negated, rows[rows.metric == "gradients"]])


def written(planned: Plan, values: dict[Arm, tuple[float, float]], starts: dict) -> pd.DataFrame:
    """KEYS, eval_bits and text: what the plainly tuned models of replicate 0 write at each bit-width."""
    length = 4 * planned.shared["context"]
    arms = [arm for arm in planned.arms if arm.method in ("no_noise", "t0_qat")]
    shared = {k: v for k, v in planned.shared.items() if k not in ("blocks", "block_windows")}
    shared |= {"function": fine_tune_and_write, "rule": "mse", "length": length, "part": "test"}
    cells = [cell(arm, *values[arm], 0, starts=starts, **shared) for arm in arms]
    return pd.DataFrame(
        arm._asdict() | {"eval_bits": bits, "text": text}
        for arm, found in zip(arms, grid.run(cells, "samples"), strict=True)
        for bits, text in found
    )


def tables(run: Run) -> dict[str, pd.DataFrame]:
    """The results files. Means, then differences, then what else there is to show.

    language: KEYS, eval_bits (FLOAT: not rounded), scale_rule (absmax, mse, learned, none, or chosen:
    the one that validated best), metric (as of fine_tuning.fine_tune_and_round), mean, ci_low, ci_high,
    n. language_blocks: bits per character over n blocks of text, each averaged over replicates.
    language_paired, language_kept: as of compare.differences and compare.kept, in bits per character:
    positive where `method` needs more.
    """
    test, known = (_larger_is_better(over_text(rows)) for rows in (run.test, run.validation))
    chosen, validated = with_chosen(test, known), with_chosen(known, known)
    here = chosen[own_width(chosen)], validated[own_width(validated)]
    bits = chosen.assign(value=-chosen.value, metric=METRIC)
    keys = [*KEYS, "eval_bits", "scale_rule"]
    others = over_text(run.test[run.test.metric != METRIC])
    blocks = run.test[run.test.metric == METRIC]
    blocks = blocks.groupby([*keys, "block"], sort=False)["value"].mean().reset_index()
    return {
        "language": statistics.means(pd.concat([bits, others]), [*keys, "metric"]),
        "language_blocks": statistics.means(blocks, keys),
        "language_kept": _in_bits(kept(here[0])),
        "language_paired": _in_bits(differences(*here, ["eval_bits", "scale_rule"])),
        "language_tuning": run.tuning,
        "language_samples": run.samples,
        "language_text": run.text,
    }


def _in_bits(table: pd.DataFrame) -> pd.DataFrame:
    """Differences of negated bits per character as differences of bits per character."""
    ends = {"estimate": -table.estimate, "ci_low": -table.ci_high, "ci_high": -table.ci_low}
    return table.assign(**ends)
