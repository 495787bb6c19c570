"""The results files: what each column means, and reading and writing that hold to it."""

import csv
import re
from pathlib import Path

import pandas as pd

from t0qat.pipeline import places
from t0qat.quantization.quantizers import CODES, SCALES
from t0qat.training.constants import CONSTANTS
from t0qat.training.methods import REGISTRY
from t0qat.training.models import MODELS
from t0qat.training.tasks import IMAGES, TASKS

# Losses are mean squared errors: of the synthetic target in its own units, of the diabetes target
# in units of its variance. Intervals are 95 %.
COLUMNS = {
    "method": "a name in methods.REGISTRY",
    "other": "the method it is compared with",
    "dataset": "a name in tasks.TASKS or tasks.IMAGES, or what images.load or corpora.load takes;"
    " with _ and the name of a model: that model's, on images in place of the one with a hidden layer",
    "quantity": "what the row is about",
    "range": "integer codes used: full or narrow",
    "scale": "rule for the grid's step: absmax or mse",
    "bits": "bit-width of the integer grid, 1 to 16",
    "flipped": "how many of the lowest bits of every integer code are inverted",
    "id": "of a claim, as in paper/claims.toml",
    "claim": "in our own words",
    "statistic": "what decides it",
    "verdict": "supported, not supported, contradicted, or not testable here",
    "value": "what the estimate is compared with",
    "n": "independent replicates behind the row, or blocks of text",
    "reported": "the paper's number; empty where it has none",
    "reported_percentile": "percentage of single runs below the reported number",
    "mean": "mean over replicates",
    "std": "standard deviation over replicates",
    "ci_low": "lower end of the interval of the mean or estimate",
    "ci_high": "upper end of the interval of the mean or estimate",
    "q025": "2.5 % point of single runs",
    "median": "median of single runs",
    "q975": "97.5 % point of single runs",
    "noise_scale": "standard deviation of the weight noise, in units of the weights unless relative",
    "weights": "whose: those at the start, or those trained by a method",
    "exact": "the same by theory",
    "z": "estimate minus exact, in standard errors",
    "reduction": "fraction by which the drop of `other` is smaller than that of `method`",
    "network": "a name in theory.NETWORKS",
    "schedule": "of the learning rate, a name in training.SCHEDULES",
    "epoch": "after how many",
    "estimate": "mean paired difference, probability, scaling of least mean loss, or Monte Carlo mean",
    "p_holm": "two-sided p-value after Holm's correction over the file",
    "detectable": "smallest difference that this n sees with 90 % power",
    "xi_scaling": "the training noise is xi times this",
    "scaling": "a scaling with a name: published (80000) or xi_alone (1)",
    "factor": "by which the scaling that it is compared with is larger",
    "arm": "how the training noise is set: published, xi_alone, tuned, matched or plain",
    "other_arm": "the arm it is compared with",
    "constant": "a name in constants.CONSTANTS",
    "magnitude": "of the constant, dimensionless",
    "multiplier": "that makes it the published noise scale",
    "largest_difference": "of a trained parameter from one trained with xi at the same product",
    "model": "a name in models.MODELS, or what language.plan takes, with its variant as ending",
    "train_bits": "bit-width that the method trained for; 0: none in particular",
    "eval_bits": "bit-width of the weights that are read; 32: not rounded",
    "scale_rule": "for the grid's step: absmax, mse, learned, own (that the method fixes), or none",
    "metric": "as of trained.at_widths",
    "against": "plain, random_bits, best_baseline, or unrounded (plain training, not rounded)",
    "other_bits": "bit-width that `other` trained for; 0: none in particular",
    "learning_rate": "at the start of training",
    "strength": "the method's own setting that was tuned, see its line in methods.REGISTRY",
    "gradients": "evaluations on one batch, of all the row's replicates",
    "chosen": "1: the candidate with which the arm was trained, 0: another",
    "sha256": "of the text in UTF-8",
    "characters": "of the text",
    "python": "the version that the default text comes with",
    "text": "what the model writes after the start of the scored part, as a JSON string",
    "target": "of the synthetic task: sum or normal",
    "target_noise": "standard deviation of the noise on the target",
    "baseline_noise": "standard deviation of Standard QAT's training noise, in units of the weights",
    "evaluation_noise": "standard deviation of the evaluation noise, in units of the weights",
}
# Names, and which there are where a registry says so.
NAMES = {
    "method": REGISTRY,
    "other": REGISTRY,
    "dataset": {*TASKS, *IMAGES},
    "range": CODES,
    "scale": SCALES,
    "quantity": None,
    "id": None,
    "weights": None,
    "network": None,
    "schedule": None,
    "scaling": None,
    "arm": None,
    "other_arm": None,
    "constant": CONSTANTS,
    "model": MODELS,
    "scale_rule": {*SCALES, "learned", "own", "none"},
    "metric": None,
    "against": None,
    "target": {"sum", "normal"},
}
PROSE = {"claim", "statistic", "verdict", "sha256", "python", "text"}
# Names that a reader may give, beside those of a registry.
ANY_NAME = {"vision": {"dataset"}, "language": {"dataset", "model"}, "precision": {"dataset"}}
# Numbers that were set, not measured: they say which row it is.
SETTINGS = {"bits", "flipped", "factor", "xi_scaling", "target_noise", "baseline_noise"}
SETTINGS |= {"evaluation_noise", "noise_scale", "reduction", "epoch", "train_bits", "eval_bits"}
SETTINGS |= {"learning_rate", "strength"}
# What was chosen by measuring, so that another machine may choose otherwise.
CHOICES = {"chosen", "other", "other_bits"}
MAY_BE_EMPTY = {
    "table1": {"reported", "reported_percentile"},  # where the paper has no number
    "calibration_verdicts": {"p_holm"},  # where there was nothing to test
    "vision_tuning": {"strength", "ci_low", "ci_high"},  # of methods that have none; of one replicate
    "language_tuning": {"strength", "ci_low", "ci_high"},
    # where unmeasured
    "claims": {"estimate", "ci_low", "ci_high", "n", "value", "p_holm", "detectable"},
}

# As of benchmark.files: of image networks; those of language models hold the same.
BENCHMARK = {
    "vision": "dataset model method train_bits eval_bits scale_rule metric mean ci_low ci_high n",
    "vision_any": "dataset model method train_bits scale_rule quantity mean ci_low ci_high n",
    "vision_kept": "dataset model eval_bits scale_rule method train_bits against other other_bits"
    " estimate ci_low ci_high n p_holm detectable",
    "vision_paired": "dataset model eval_bits scale_rule method train_bits against other other_bits"
    " estimate ci_low ci_high n p_holm detectable",
    "vision_any_paired": "dataset model scale_rule quantity method train_bits against other other_bits"
    " estimate ci_low ci_high n p_holm detectable",
    "vision_tuning": "dataset model method train_bits learning_rate strength mean ci_low ci_high n"
    " gradients chosen",
}
FILES = {
    "table1": "method quantity reported mean std ci_low ci_high q025 median q975 reported_percentile n",
    "table1_same_method": "method estimate ci_low ci_high n",
    "table1_paired": "quantity estimate ci_low ci_high n",
    "integer_grids": "dataset method bits quantity mean ci_low ci_high n",
    "integer_grids_conventions": "dataset method bits range scale quantity mean ci_low ci_high n",
    "integer_grids_paired": "dataset bits range scale quantity method other"
    " estimate ci_low ci_high n p_holm detectable",
    "integer_grids_overall": "dataset quantity method other estimate ci_low ci_high n detectable",
    "theory": "target noise_scale weights quantity exact estimate ci_low ci_high n z",
    "theory_reduction": "target noise_scale method other reduction exact estimate ci_low ci_high n z",
    "theory_expansion": "network noise_scale quantity mean ci_low ci_high n",
    "theory_norms": "network noise_scale quantity mean ci_low ci_high n",
    "theory_training": "method schedule epoch quantity mean ci_low ci_high n",
    "precision": "dataset method bits range scale quantity mean ci_low ci_high n",
    "precision_full": "dataset method mean ci_low ci_high n",
    "precision_knee": "dataset method range scale quantity estimate ci_low ci_high n",
    "precision_flips": "dataset bits flipped method other estimate ci_low ci_high n p_holm detectable",
    "precision_flips_added": "dataset method bits flipped mean ci_low ci_high n",
    "scale": "xi_scaling quantity mean ci_low ci_high n",
    "scale_best": "quantity estimate ci_low ci_high n",
    "scale_excess": "xi_scaling quantity estimate ci_low ci_high n p_holm detectable",
    "scale_neighbours": "scaling factor quantity estimate ci_low ci_high n p_holm detectable",
    "scale_arms": "dataset arm quantity mean std ci_low ci_high q025 median q975 n",
    "scale_tuning": "dataset quantity arm other_arm estimate ci_low ci_high n p_holm detectable",
    "constants": "dataset constant quantity estimate ci_low ci_high n p_holm detectable",
    "constants_product": "dataset constant magnitude multiplier largest_difference n",
    "calibration": "target target_noise baseline_noise evaluation_noise quantity"
    " estimate ci_low ci_high n",
    "calibration_verdicts": "target target_noise baseline_noise evaluation_noise id verdict p_holm",
    **BENCHMARK,
    **{name.replace("vision", "language"): columns for name, columns in BENCHMARK.items()},
    "language_blocks": "dataset model method train_bits eval_bits scale_rule mean ci_low ci_high n",
    "language_samples": "dataset model method train_bits eval_bits text",
    "language_text": "dataset sha256 characters python",
    "claims": "id claim statistic estimate ci_low ci_high n verdict value p_holm detectable",
}


class ResultsError(ValueError):
    """A results file that is missing or malformed, in one line."""


def text(name: str, table: pd.DataFrame) -> str:
    """The table as its file holds it: columns in order, nine significant digits."""
    return table[FILES[name].split()].to_csv(index=False, float_format="%.9g", lineterminator="\n")


def read(name: str, home: Path = places.ROOT) -> pd.DataFrame:
    """The results file of that name; raises ResultsError where it is missing, cut short or malformed."""
    path = home / "paper" / "results" / f"{name}.csv"
    shown = f"paper/results/{name}.csv"
    columns = FILES[name].split()
    if not path.is_file():
        raise ResultsError(f"{shown} is missing; `make paper` makes it")
    try:
        content = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ResultsError(f"{shown}: byte {error.start} is not text") from None
    *whole, rest = content.split("\n")
    for number, line in enumerate(whole, 1):
        if not line.isprintable():
            raise ResultsError(f"{shown}, line {number}: {line!r} holds a character that is not text")
    lines = [next(csv.reader([line]), []) for line in whole]
    if lines[:1] != [columns]:
        raise ResultsError(f"{shown}, line 1: the columns must be {','.join(columns)}")
    if len(lines) < 2 or rest:
        raise ResultsError(f"{shown} is cut short at line {len(lines) + bool(rest)}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise ResultsError(
                f"{shown}, line {number}: {len(columns)} fields are needed, not {len(line)}"
            )
        for column, cell in zip(columns, line, strict=True):
            if not _fits(name, column, cell):
                raise ResultsError(f"{shown}, line {number}: {column} = {cell!r} is not as it must be")
    table = pd.DataFrame(lines[1:], columns=columns)
    numbers = [column for column in columns if column not in {*NAMES, *PROSE}]
    return table.assign(**{column: pd.to_numeric(table[column].replace("", None)) for column in numbers})


def _fits(file: str, column: str, cell: str) -> bool:
    if column in PROSE:
        return bool(cell.strip())
    if column in NAMES:
        if column in ANY_NAME.get(file.partition("_")[0], ()):
            return bool(cell.strip())
        return cell in NAMES[column] if NAMES[column] else cell.isidentifier()
    if cell == "":
        return column in MAY_BE_EMPTY.get(file, ())
    if column == "bits":
        return cell.isdecimal() and 1 <= int(cell) <= 16
    if column == "n":
        return cell.isascii() and cell.isdecimal() and int(cell) >= 1
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", cell, re.ASCII) is not None
