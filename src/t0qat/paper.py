"""What this paper holds: every experiment with its results, exhibits and figures, and every column.

A new experiment is an entry in EXPERIMENTS, beside its notebook and its module in `experiments` and in
`exhibits`.
"""

from pathlib import Path

from t0qat.pipeline import places
from t0qat.pipeline.paper import Column, Exhibit, Experiment, Paper, name, number, prose, setting

# Losses are mean squared errors: of the synthetic target in its own units, of the diabetes target
# in units of its variance. Intervals are 95 %.
COLUMNS: dict[str, Column] = {
    "method": name("a name in methods.REGISTRY", "t0qat.training.methods:REGISTRY"),
    "other": name("the method it is compared with", "t0qat.training.methods:REGISTRY", chosen=True),
    "dataset": name(
        "a name in tasks.TASKS or tasks.IMAGES, or what images.load or corpora.load takes; with _ and"
        " the name of a model: that model's, on images in place of the one with a hidden layer",
        "t0qat.training.tasks:DATASETS",
    ),
    "quantity": name("what the row is about"),
    "range": name("integer codes used: full or narrow", "t0qat.quantization.quantizers:CODES"),
    "scale": name("rule for the grid's step: absmax or mse", "t0qat.quantization.quantizers:SCALES"),
    "bits": setting("bit-width of the integer grid, 1 to 16"),
    "flipped": setting("how many of the lowest bits of every integer code are inverted"),
    "id": name("of a claim, as in paper/claims.toml"),
    "claim": prose("in our own words"),
    "column": name("of a claim: as_published, or scale_tuned"),
    "condition": prose("what is held against what; a positive estimate is better"),
    "as_published": prose("the verdict with the published scaling; empty where nothing is claimed"),
    "scale_tuned": prose("the verdict with the scaling that tuning finds; likewise"),
    "verdict": prose("supported, contradicted, no effect, undecided, or not testable here"),
    "p_better": number("p-value of being no better, or worse by the margin, of this condition alone"),
    "p_worse": number("p-value of being no worse, likewise"),
    "p_corrected": number("p-value of the step of the column, times the size of the family"),
    "n": number("independent replicates behind the row, or blocks of text"),
    "reported": number("the paper's number; empty where it has none"),
    "reported_percentile": number("percentage of single runs below the reported number"),
    "mean": number("mean over replicates"),
    "std": number("standard deviation over replicates"),
    "ci_low": number("lower end of the interval of the mean or estimate"),
    "ci_high": number("upper end of the interval of the mean or estimate"),
    "q025": number("2.5 % point of single runs"),
    "median": number("median of single runs"),
    "q975": number("97.5 % point of single runs"),
    "noise_scale": setting("standard deviation of weight noise, in units of weights unless relative"),
    "weights": name("whose: those at the start, or those trained by a method"),
    "exact": number("the same by theory"),
    "z": number("estimate minus exact, in standard errors"),
    "reduction": setting("fraction by which the drop of `other` is smaller than that of `method`"),
    "network": name("a name in theory.NETWORKS"),
    "schedule": name("of the learning rate, a name in training.SCHEDULES"),
    "epoch": setting("after how many"),
    "estimate": number("mean paired difference, chance, scaling of least loss, or Monte Carlo mean"),
    "p_holm": number("two-sided p-value after Holm's correction over the family that its room says"),
    "margin": number("what may be lost and counts as nothing"),
    "p_bh": number("two-sided p-value after Benjamini and Hochberg's correction over the file"),
    "p_equal": number(
        "p-value of the margin or more, to either side; likewise corrected, but for claims"
    ),
    "detectable": number("smallest difference that this n sees with 90 % power"),
    "skewness": number("of the paired differences, bias corrected"),
    "planned_deviation": number("of the paired differences in tuning, by which n is planned"),
    "wanted": number("pairs that see the margin with 90 % power, by the deviation in tuning"),
    "xi_scaling": setting("the training noise is xi times this"),
    "scaling": name("a scaling with a name: published (80000) or xi_alone (1)"),
    "factor": setting("by which the scaling that it is compared with is larger"),
    "arm": name("how the training noise is set", "t0qat.experiments.noise_choice:ARMS"),
    "other_arm": name("the arm it is compared with", "t0qat.experiments.noise_choice:ARMS"),
    "constant": name("a name in constants.CONSTANTS", "t0qat.training.constants:CONSTANTS"),
    "magnitude": number("of the constant, dimensionless"),
    "multiplier": number("that makes it the published noise scale"),
    "largest_difference": number("of a trained parameter from one trained with xi at the same product"),
    "model": name(
        "a name in models.MODELS, or what language.plan takes", "t0qat.experiments.precision:MODEL_NAMES"
    ),
    "layout": name(
        "of the weights that are rounded: channels (a step each), groups (of them, a step each), or"
        " everything (embeddings and head too)",
        "t0qat.training.language_models:LAYOUTS",
    ),
    "train_bits": setting("bit-width that the method trained for; 0: none in particular"),
    "eval_bits": setting("bit-width of the weights that are read; 32: not rounded"),
    "scale_rule": name(
        "for the grid's step: absmax, mse, learned, seq, quest or sliced (a grid of the method's own),"
        " own (that the method fixes), or none",
        "t0qat.experiments.compare:SCALE_RULES",
    ),
    "metric": name("as of trained.at_widths"),
    "against": name("plain, random_bits, best_baseline, or unrounded (plain training, not rounded)"),
    "other_bits": number("bit-width that `other` trained for; 0: none in particular", chosen=True),
    "learning_rate": setting("at the start of training"),
    "strength": setting("the method's own setting, tuned or varied, see its line in methods.REGISTRY"),
    "budget": setting("length of training, as a multiple of the benchmark's"),
    "best_rate": number("the learning rate of the least mean loss", chosen=True),
    "loss": number("mean over replicates, at that rate or of the chosen candidate"),
    "gradients": number("evaluations on one batch, of all the row's replicates"),
    "chosen": number("1: the candidate with which the arm was trained, 0: another", chosen=True),
    "bos": prose("that the model's tokenizer puts before a text and so stands before every window"),
    "sha256": prose("of the text in UTF-8"),
    "characters": number("of the text"),
    "python": prose("the version that the default text comes with"),
    "text": prose("what the model writes after the start of the scored part, as a JSON string"),
    "family": name("of tasks: images or text", "t0qat.experiments.recommendation:FAMILIES"),
    "pick": name("recommended, cheaper or one_for_all", "t0qat.experiments.recommendation:PICKS"),
    "behind": number("how much more it lost in tuning than the arm that lost least there"),
    "cost": number("gradient evaluations of one training"),
    "serves": number("how many bit-widths share that training"),
    "runtime": name("what ran the file", "t0qat.experiments.running:RUNTIMES"),
    "format": name("of the rounded weights in the file: a container of ONNX or of GGUF"),
    "machine": prose("the processor"),
    "target": name("of the synthetic task: sum or normal", "t0qat.training.tasks:TARGETS"),
    "target_noise": setting("standard deviation of the noise on the target"),
    "baseline_noise": setting(
        "standard deviation of Standard QAT's training noise, in units of weights"
    ),
    "evaluation_noise": setting("standard deviation of the evaluation noise, in units of the weights"),
}
MEAN = "mean ci_low ci_high n"
ESTIMATE = "estimate ci_low ci_high n"
TEST = f"{ESTIMATE} p_holm detectable"
ARM = "layout method train_bits"
PICK = "family pick eval_bits dataset* model* method train_bits"
AGAINST = f"method train_bits against other other_bits {ESTIMATE} margin p_bh p_equal detectable"
AGAINST += " skewness? planned_deviation?"


def shown(function: str, files: str = "") -> Exhibit:
    """What "room:function" of the exhibits makes of these results files, or of all of its experiment."""
    return Exhibit(f"t0qat.exhibits.{function}", files.split())


def benchmark(file: str, on: str) -> dict[str, str]:
    """What experiments.benchmark.files gives; on: the columns that say what it is run on."""
    return {
        file: f"{on} {ARM} eval_bits scale_rule metric {MEAN}",
        f"{file}_any": f"{on} {ARM} scale_rule quantity {MEAN}",
        f"{file}_kept": f"{on} layout eval_bits scale_rule {AGAINST}",
        f"{file}_paired": f"{on} layout eval_bits scale_rule {AGAINST}",
        f"{file}_any_paired": f"{on} layout scale_rule quantity {AGAINST}",
        f"{file}_tuning": f"{on} {ARM} learning_rate strength? mean ci_low? ci_high? n gradients chosen",
        f"{file}_tuned": f"{on} {ARM} eval_bits mean ci_low? ci_high? n",
    }


IMAGES, TEXT = benchmark("vision", "dataset* model"), benchmark("language", "dataset* model*")
EXPERIMENTS = {
    "table1": Experiment(
        {
            "table1": "method quantity evaluation_noise reported? mean std ci_low ci_high q025 median"
            " q975 reported_percentile? n",
            "table1_paired": f"quantity {ESTIMATE}",
            "table1_same_method": f"method {ESTIMATE}",
        },
        {"table1": shown("table1:table1", "table1")},
        "table1",
    ),
    "integer_grids": Experiment(
        {
            "integer_grids": f"dataset method bits quantity {MEAN}",
            "integer_grids_conventions": f"dataset method bits range scale quantity {MEAN}",
            "integer_grids_paired": f"dataset bits range scale quantity method other {TEST}",
            "integer_grids_overall": f"dataset quantity method other {ESTIMATE} detectable",
        },
        {"integer_grids": shown("grids:integer_grids")},
        "integer_grids",
    ),
    "theory": Experiment(
        {
            "theory": f"target noise_scale weights quantity exact {ESTIMATE} z",
            "theory_reduction": f"target noise_scale method other reduction exact {ESTIMATE} z",
            "theory_expansion": f"network noise_scale quantity {MEAN}",
            "theory_norms": f"network noise_scale quantity {MEAN}",
            "theory_training": f"method schedule epoch quantity {MEAN}",
        },
        {"theory": shown("theory:theory")},
        "theory theory_expansion theory_training",
    ),
    "scale": Experiment(
        {
            "scale": f"xi_scaling quantity {MEAN}",
            "scale_best": f"quantity {ESTIMATE}",
            "scale_excess": f"xi_scaling quantity {TEST}",
            "scale_neighbours": f"scaling factor quantity {TEST}",
            "scale_arms": "dataset arm quantity mean std ci_low ci_high q025 median q975 n",
            "scale_tuning": f"dataset quantity arm other_arm {TEST}",
            "constants": f"dataset constant quantity {TEST}",
            "constants_product": "dataset constant magnitude multiplier largest_difference n",
            "calibration": f"target target_noise baseline_noise evaluation_noise quantity {ESTIMATE}",
            "calibration_verdicts": "target target_noise baseline_noise evaluation_noise id verdict"
            " p_corrected?",
        },
        {
            "scale": shown(
                "scale:scale", "scale scale_best scale_excess scale_neighbours scale_arms scale_tuning"
            ),
            "constants": shown("scale:constants_table", "constants constants_product"),
            "calibration": shown("calibration:calibration", "calibration calibration_verdicts"),
        },
        "scale constants calibration",
    ),
    "precision": Experiment(
        {
            "precision": f"dataset* model method bits range scale quantity {MEAN}",
            "precision_full": f"dataset* model method {MEAN}",
            "precision_knee": f"dataset* model method range scale quantity {ESTIMATE}",
            "precision_flips": f"dataset* model bits flipped method other {TEST}",
            "precision_flips_added": f"dataset* model method bits flipped {MEAN}",
        },
        {"precision": shown("precision:precision", "precision_full precision_knee precision_flips")},
        "precision",
    ),
    "vision": Experiment(
        IMAGES,
        {
            "vision_methods": shown("methods:methods", "vision"),
            "vision": shown("vision:vision"),
            "vision_differences": shown("vision:differences", "vision vision_any_paired"),
            "vision_few": shown("vision:few", "vision"),
            "vision_convergence": shown("vision:convergence", "vision vision_paired"),
            "vision_accuracy": shown("vision:accuracy", "vision"),
            "vision_rules": shown("vision:rules", "vision"),
        },
        "vision vision_matrix",
    ),
    "language": Experiment(
        TEXT
        | {
            "language_blocks": f"dataset* model* {ARM} eval_bits scale_rule {MEAN}",
            "language_samples": f"dataset* model* {ARM} eval_bits text",
            "language_text": "dataset* model* bos? sha256 characters python",
        },
        {
            "language": shown("language:language"),
            "language_differences": shown("language:differences", "language language_any_paired"),
            "language_few": shown("language:few", "language"),
            "language_convergence": shown("language:convergence", "language language_paired"),
            "language_layouts": shown("language:layouts", "language language_paired"),
            "language_samples": shown("language:samples", "language language_samples"),
        },
        "language language_matrix",
    ),
    "response": Experiment(
        {
            "response": f"dataset* model* method strength? budget eval_bits learning_rate {MEAN}",
            "response_best": "dataset* model* method strength? budget eval_bits best_rate loss estimate?"
            " ci_low? ci_high? n",
        },
        {"response": shown("response:response", "response response_best")},
        "response",
    ),
    "recommendation": Experiment(
        {
            "recommendation": f"{PICK} cost serves quantity {ESTIMATE} margin?",
            "recommendation_arms": "family eval_bits method train_bits loss behind margin cost serves",
            "recommendation_transfer": f"{PICK} quantity {ESTIMATE} margin?",
        },
        {
            "recommendation": shown("recommendation:recommendation"),
            "recommendation_transfer": shown("recommendation:transfer", "recommendation_transfer"),
        },
    ),
    "deployment": Experiment(
        {
            "deployment": f"dataset* model* {ARM} runtime format eval_bits metric {MEAN}",
            "deployment_kept": f"dataset* model* layout eval_bits scale_rule {AGAINST}",
            "deployment_any_paired": f"dataset* model* layout scale_rule quantity {AGAINST}",
            "deployment_speed": f"machine model* runtime format eval_bits quantity {MEAN}",
        },
        {
            "deployment": shown("deployment:deployment", "deployment"),
            "deployment_inexact": shown("deployment:inexact", "deployment"),
        },
        "deployment",
    ),
    "claims": Experiment(
        {
            "claims": "id column condition estimate? ci_low? ci_high? n? margin p_better? p_worse?"
            " p_equal? p_corrected? detectable? skewness? wanted?",
            "verdicts": "id claim as_published? scale_tuned?",
            "claims_exploratory": f"id condition {ESTIMATE} p_bh",
        },
        {
            "claims": shown("verdicts:verdict_table", "claims verdicts"),
            "claims_conditions": shown("verdicts:condition_table", "claims verdicts"),
            "claims_exploratory": shown("verdicts:exploratory_table", "claims_exploratory"),
            "claims_changed": shown("verdicts:changed_table", "claims verdicts"),
        },
    ),
}
PAPER = Paper(
    experiments=EXPERIMENTS,
    columns=COLUMNS,
    check="t0qat.experiments.settings:check",
    sample_sizes="replicates network_replicates few_replicates wide_replicates calibration_replicates"
    " draws networks noise_pairs probes rounds repeats",
    answer="t0qat.exhibits.answers:fill",
    blocks={"results": "t0qat.exhibits.verdicts:readme", "speed": "t0qat.exhibits.deployment:readme"},
    outside="language_text",
    adaptive="vision_tuning vision_tuned language_tuning language_tuned",
    timed="deployment_speed",
    unpinned="deployment",
    derived="deployment_kept deployment_any_paired claims claims_exploratory",
    optional={"llama_cpp": "ik_llama_cpp"},
)


def publish(experiment: str, tables: dict, figures: dict):
    """As pipeline.publish.publish, of this paper: what a notebook calls."""
    from t0qat.pipeline.publish import publish

    return publish(PAPER, experiment, tables, figures)


def read(file: str, home: Path = places.ROOT):
    """As pipeline.results.read, of this paper."""
    from t0qat.pipeline.results import read

    return read(PAPER, file, home)
