"""What this paper holds: every experiment with its results, exhibits and figures.

A new experiment is an entry in EXPERIMENTS, beside its notebook, its module in `experiments` and in
`exhibits`, and what it answers, see `exhibits.answers`.
"""

from pathlib import Path

from t0qat.experiments.columns import COLUMNS
from t0qat.pipeline import places
from t0qat.pipeline.paper import Exhibit, Experiment, Paper

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
        f"{file}_tuning": f"{on} {ARM} learning_rate strength? short? mean? ci_low? ci_high? n?"
        " gradients chosen",
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
        {
            "table1": shown("table1:table1", "table1"),
            "table1_chances": shown("table1:chances", "table1_paired table1_same_method"),
        },
        "table1",
    ),
    "integer_grids": Experiment(
        {
            "integer_grids": f"dataset method bits quantity {MEAN}",
            "integer_grids_conventions": f"dataset method bits range scale quantity {MEAN}",
            "integer_grids_paired": f"dataset bits range scale quantity method other {TEST}",
            "integer_grids_overall": f"dataset quantity method other {ESTIMATE} detectable",
        },
        {
            "integer_grids": shown("grids:integer_grids", "integer_grids"),
            "integer_grids_counts": shown("grids:counts", "integer_grids_paired integer_grids_overall"),
        },
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
        {
            "theory": shown("theory:theory", "theory_expansion theory_norms"),
            "theory_checks": shown("theory:checks", "theory theory_reduction"),
            "theory_learned": shown("theory:learned", "theory_training"),
        },
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
            "scale": shown("scale:scale", "scale_arms scale_tuning"),
            "scale_sweep": shown("scale:sweep", "scale scale_excess scale_neighbours"),
            "scale_best": shown("scale:best", "scale_best scale_excess"),
            "constants": shown("scale:constants_table", "constants constants_product"),
            "calibration": shown("calibration:calibration", "calibration calibration_verdicts"),
            "calibration_answers": shown("calibration:answers", "calibration calibration_verdicts"),
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
        {
            "precision": shown("precision:precision", "precision_full precision_knee"),
            "precision_flips": shown("precision:flips", "precision_flips"),
        },
        "precision",
    ),
    "vision": Experiment(
        IMAGES,
        {
            "vision_methods": shown("methods:methods", "vision"),
            "vision": shown("vision:vision"),
            "vision_size": shown("vision:size", "vision vision_tuning vision_paired"),
            "vision_shown": shown("vision:shown", "vision vision_paired"),
            "vision_keeps": shown("vision:keeps", "vision vision_kept"),
            "vision_scalings": shown("vision:scalings", "vision vision_tuning"),
            "vision_replicas": shown("vision:replicas", "vision vision_paired"),
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
            "language_size": shown("language:size", "language language_tuning language_paired"),
            "language_shown": shown("language:shown", "language language_paired"),
            "language_keeps": shown("language:keeps", "language language_kept"),
            "language_scalings": shown("language:scalings", "language language_tuning"),
            "language_rates": shown("language:rates", "language_tuning"),
            "language_replicas": shown("language:replicas", "language language_paired"),
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
        {
            "response": shown("response:response", "response response_best"),
            "response_counts": shown("response:counts", "response_best"),
        },
        "response",
    ),
    "recommendation": Experiment(
        {
            "recommendation": f"{PICK} cost serves quantity {ESTIMATE} margin?",
            "recommendation_arms": "family eval_bits method train_bits loss behind margin cost serves",
            "recommendation_transfer": f"{PICK} quantity {ESTIMATE} margin?",
        },
        {
            "recommendation": shown(
                "recommendation:recommendation", "recommendation recommendation_arms"
            ),
            "recommendation_transfer": shown("recommendation:transfer", "recommendation_transfer"),
            "recommendation_short": shown("story:recommendation_short"),
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
    "circuits": Experiment(
        {
            "circuits": f"model* way channel channel_strength eval_bits shots metric {MEAN}",
            "circuits_robust": f"model* way channel {MEAN}",
            "circuits_paired": f"model* channel way other_way {TEST}",
            "circuits_tuning": "model* way learning_rate strength? short? mean? ci_low? ci_high? n?"
            " gradients chosen",
        },
        {
            "circuits": shown("circuits:circuits"),
            "circuits_differences": shown("circuits:differences", "circuits_paired"),
        },
        "circuits",
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
            "claims_verdicts": shown("story:claims_verdicts", "claims verdicts"),
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
    answer="t0qat.exhibits.answers:answer",
    blocks={
        "results": "t0qat.exhibits.readme:results",
        "questions": "t0qat.exhibits.readme:questions",
        "verdicts": "t0qat.exhibits.readme:verdicts",
        "methods": "t0qat.exhibits.readme:methods",
        "speed": "t0qat.exhibits.deployment:readme",
    },
    outside="language_text",
    adaptive="vision_tuning vision_tuned language_tuning language_tuned circuits_tuning",
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
