"""From results files to what is typeset: a table and the macros of each experiment, and the README.

Everything here is a function of the results files alone, so a changed number changes the text. One
module an experiment; `words` has what they share.
"""

from collections.abc import Callable

from t0qat.exhibits import language, precision, published, scale, theory, verdicts, vision
from t0qat.exhibits.words import Results
from t0qat.pipeline.results import BENCHMARK

# experiment -> (the results it reads, the function that makes its table and macros)
EXHIBITS: dict[str, tuple[tuple[str, ...], Callable[[Results], tuple[str, dict[str, str]]]]] = {
    "table1": (("table1", "table1_paired", "table1_same_method"), published.table1),
    "theory": (
        ("theory", "theory_reduction", "theory_expansion", "theory_norms", "theory_training"),
        theory.theory,
    ),
    "claims": (("claims",), verdicts.claims_table),
    "precision": (("precision_full", "precision_knee", "precision_flips"), precision.precision),
    "integer_grids": (
        ("integer_grids", "integer_grids_conventions", "integer_grids_paired", "integer_grids_overall"),
        published.integer_grids,
    ),
    "scale": (
        ("scale", "scale_best", "scale_excess", "scale_neighbours", "scale_arms", "scale_tuning"),
        scale.scale,
    ),
    "constants": (("constants", "constants_product"), scale.constants_table),
    "calibration": (("calibration", "calibration_verdicts"), scale.calibration),
    "vision": (tuple(BENCHMARK), vision.vision),
    "vision_differences": (("vision", "vision_any_paired"), vision.differences),
    "vision_few": (("vision",), vision.few),
    "vision_rules": (("vision",), vision.rules),
    "language": (
        (
            *(name.replace("vision", "language") for name in BENCHMARK),
            "language_blocks",
            "language_text",
        ),
        language.language,
    ),
    "language_differences": (("language", "language_any_paired"), language.differences),
    "language_layouts": (("language", "language_paired"), language.layouts),
    "language_samples": (("language", "language_samples"), language.samples),
}
