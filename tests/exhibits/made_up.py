"""Results files with made-up numbers, and what is typeset of them."""

import functools
import itertools
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from t0qat.experiments import arms, circuits, on_circuits, recommendation
from t0qat.experiments.arms import FLOAT
from t0qat.experiments.noise_choice import ARMS, MEASURED
from t0qat.paper import IMAGES, PAPER
from t0qat.pipeline import claims, decision, latex, lookups, places, typeset
from t0qat.quantization.rounding import OWN_GRIDS
from t0qat.training.constants import CONSTANTS, REPORTED_REDUCTION
from t0qat.training.methods import REGISTRY, named, on_layer

TEXTS = "".join((places.ROOT / name).read_text() for name in typeset.texts())
LOOKED_UP = sorted(pair for pair in lookups.used(TEXTS) if pair[0] != lookups.ANSWER)
HOSTILE = r"A & B_1 50% $x$ #2 {y} ~z^ \input{w}"


HOSTILE_ESCAPED = (
    r"A \& B\_1 50\% \$x\$ \#2 \{y\} \textasciitilde{}z\textasciicircum{} \textbackslash{}input\{w\}"
)


DATASETS = ("synthetic", "diabetes", "digits")
SUBJECTS = [  # of precision
    {"dataset": dataset, "model": model}
    for dataset, model in (
        ("synthetic", "linear"), ("digits", "small_cnn"), ("pydoc_topics", "small_llama")
    )
]  # fmt: skip


def frames() -> dict[str, pd.DataFrame]:
    """Every results file of the exhibits, with random but orderly numbers; a copy, to be changed."""
    return {name: table.copy() for name, table in _frames().items()}


@functools.cache
def _frames() -> dict[str, pd.DataFrame]:
    draws = np.random.default_rng(1)

    def interval(center: float) -> dict:
        half = draws.uniform(0.01, 0.2)
        return {"ci_low": center - half, "ci_high": center + half, "n": 2000}

    def loss(**keys) -> dict:
        mean = draws.uniform(1, 9)
        return keys | {"mean": mean} | interval(mean)

    def difference(**keys) -> dict:
        estimate = draws.uniform(-1, 1)
        extra = {"p_holm": draws.uniform(0, 0.1), "detectable": draws.uniform(0.1, 1)}
        return keys | {"estimate": estimate} | interval(estimate) | extra

    def explored(**keys) -> dict:
        """Lower, higher, within the margin and undecided: all four come."""
        row = difference(**keys)
        p_equal = draws.choice([0.01, 0.5], p=[0.3, 0.7])
        row |= {"p_bh": row.pop("p_holm"), "p_equal": p_equal, "margin": 0.5}
        return row | {"skewness": draws.normal(), "planned_deviation": draws.uniform(0.1, 1)}

    quantities = ("full_precision", "quantized", "drop")
    of_run = {"evaluation_noise": 0.4458}
    points = {"std": 1.25, "q025": 0.5, "median": 4.5, "q975": 9.5}
    single = [
        loss(method=method, quantity=quantity)
        | of_run
        | points
        | {"reported": 3.3, "reported_percentile": 41.0}
        for method in on_layer()
        for quantity in quantities
    ]
    for row in single:
        if row["method"] == "no_noise":
            row |= {"reported": np.nan, "reported_percentile": np.nan}
    pairs = ("drop_difference", "chance_of_reported_reduction", "chance_t0_worse_quantized")
    grid = {"range": "full", "scale": "absmax"}
    cells = [(dataset, method) for dataset in DATASETS for method in on_layer()]
    tables = {
        "table1": single,
        "table1_paired": [
            {"quantity": pairs[0], "estimate": 0.5, "ci_low": 0.25, "ci_high": 0.75, "n": 2000},
            {"quantity": pairs[1], "estimate": 0.36, "ci_low": 0.35, "ci_high": 0.37, "n": 2000},
            {"quantity": pairs[2], "estimate": 0.9985, "ci_low": 0.9975, "ci_high": 0.9991, "n": 2000},
        ],
        "table1_same_method": [
            {
                "method": method,
                "estimate": share,
                "ci_low": share - 0.01,
                "ci_high": share + 0.01,
                "n": 2000,
            }
            for method, share in zip(on_layer(), (0.21, 0.38, 0.19), strict=True)
        ],
        "integer_grids": [
            loss(dataset=dataset, method=method, bits=bits, quantity=quantity)
            for dataset, method in cells
            for bits in (4, 2)
            for quantity in quantities
        ],
        "integer_grids_paired": [
            difference(
                dataset=dataset, method="t0_qat", other=other, bits=bits, quantity=quantity, **grid
            )
            for dataset, other in cells
            if other != "t0_qat"
            for bits in (4, 2)
            for quantity in quantities[1:]
        ],
        "integer_grids_overall": [
            difference(dataset=dataset, method="t0_qat", other="standard_qat", quantity=quantity)
            for dataset in DATASETS
            for quantity in quantities[1:]
        ],
    }
    asked = (*on_layer(), "xi_alone")
    tables |= {
        "precision_full": [loss(**subject, method=method) for subject in SUBJECTS for method in asked],
        "precision_knee": [
            difference(**subject, method=method, range=codes, scale=scale, quantity=quantity)
            for subject in SUBJECTS
            for method in asked
            for codes, scale in (("full", "absmax"), ("narrow", "mse"))
            for quantity in ("knee", "xi_bits", "difference", "distance")
        ],
        "precision_flips": [
            difference(**subject, bits=8, flipped=flipped, method="t0_qat", other=other)
            for subject in SUBJECTS
            for flipped in (1, 2)
            for other in asked
            if other != "t0_qat"
        ],
    }
    losses = ("full_precision", "quantized")
    settings = [
        {"target": target, "target_noise": 0.1, "baseline_noise": 0.4, "evaluation_noise": noise}
        for target in ("sum", "normal")
        for noise in (0.3, 0.5)
    ]
    agreement = ("acceptance_half", "acceptance", "acceptance_double", "p_value", *pairs)
    scalings = (0.0, 1.0, 80_000.0)
    tables |= {
        "scale": [
            loss(xi_scaling=scaling, quantity=quantity)
            for quantity in ("explained_full_precision", *losses)
            for scaling in scalings
        ],
        "scale_best": [
            {"quantity": q, "estimate": 1.0, "ci_low": 0.0, "ci_high": 2.0, "n": 2000} for q in losses
        ],
        "scale_excess": [difference(xi_scaling=s, quantity=q) for q in losses for s in scalings],
        "scale_neighbours": [
            difference(scaling=scaling, factor=factor, quantity="quantized")
            for scaling in ("published", "xi_alone")
            for factor in (0.5, 2.0)
        ],
        "scale_arms": [
            loss(dataset=dataset, arm=arm, quantity=quantity) | points
            for dataset in DATASETS
            for arm in ARMS
            for quantity in ("log_scaling", *MEASURED)
        ],
        "scale_tuning": [
            difference(dataset=dataset, quantity=quantity, arm=arm, other_arm=other)
            for quantity in MEASURED
            for dataset in DATASETS
            for arm, other in itertools.combinations(ARMS, 2)
        ],
        "constants": [
            difference(dataset=dataset, constant=constant, quantity=quantity)
            for dataset in DATASETS
            for constant in CONSTANTS
            for quantity in ("unexplained_added", "unexplained_added_published", "unexplained_from_xi")
            if (constant, quantity) != ("xi", "unexplained_from_xi")
        ],
        "constants_product": [
            {"dataset": dataset, "constant": constant, "magnitude": magnitude}
            | {"multiplier": 32 / 3 / magnitude, "largest_difference": 0.0, "n": 2000}
            for dataset in DATASETS
            for constant, magnitude in CONSTANTS.items()
        ],
        "calibration": [
            setting | {"quantity": quantity, "estimate": 0.5} | interval(0.5)
            for setting in settings
            for quantity in agreement
        ],
        "calibration_verdicts": [
            setting | {"id": id, "verdict": decision.UNDECIDED, "p_corrected": 0.5}
            for setting in settings
            for id in ("C1", "C2")
        ],
    }
    networks, sigmas = ("linear", "relu_mlp"), (0.01, 0.1, 32 / 3)
    chances = {"target": "sum", "noise_scale": 0.4458, "z": 1.5, "exact": 0.3}
    tables |= {
        "theory": [
            difference(target="sum", noise_scale=s, weights="t0_qat", quantity="drop_mean")
            | {"exact": 2.0, "z": draws.uniform(-3, 3)}
            for s in sigmas
        ],
        "theory_reduction": [
            chances | difference(method=method, other=other, reduction=REPORTED_REDUCTION)
            for method, other in itertools.product(("standard_qat", "t0_qat"), repeat=2)
        ],
        "theory_expansion": [
            loss(network=network, noise_scale=s, quantity=quantity)
            for network in networks
            for quantity in ("excess", "predicted", "ratio")
            for s in sigmas
        ],
        "theory_norms": [
            loss(network=network, noise_scale=s, quantity=quantity)
            for network in networks
            for s in (0.0, 32 / 3)
            for quantity in ("loss", "weight_norm", "curvature")
        ],
        "theory_training": [
            loss(method=method, schedule=schedule, epoch=epoch, quantity=quantity)
            for method in on_layer()
            for schedule in ("constant", "decaying")
            for epoch in (0, 300, 3000)
            for quantity in ("explained", "left", "left_predicted")
        ],
    }
    tables |= vision_rows(loss, explored) | language_rows(loss, explored)
    tables |= response_rows(loss, difference)
    made = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    made |= recommended(made)
    made |= deployed(made, loss)
    made |= {name: pd.DataFrame(rows) for name, rows in circuit_rows(loss, difference).items()}
    made["integer_grids_conventions"] = made["integer_grids"].assign(**grid)
    made |= claims.decide(made)
    return {name: table[PAPER.columns_of(name)] for name, table in made.items()}


def recommended(made: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The files of the recommendation, by the rule; elsewhere the same came out as on one network."""
    tables = recommendation.recommend(made)
    there = tables["recommendation"].query("model in ['deep_cnn', 'small_llama']")
    there = there.assign(model=there.model.map({"deep_cnn": "mlp"}).fillna(there.model))
    return tables | {"recommendation_transfer": there.reset_index(drop=True)}


def deployed(made: dict[str, pd.DataFrame], loss) -> dict[str, pd.DataFrame]:
    """The files of networks in runtimes, which kept what fake quantization had."""
    runs = [("onnxruntime", "int4"), ("onnxruntime_8", "int4"), ("llama_cpp", "Q4_0")]
    networks = [("digits", "deep_cnn", "loss"), ("pydoc_topics", "wide_llama", "bits_per_character")]
    methods = [("no_noise", 0), ("random_bits", 0), ("t0_qat_tuned", 0), ("seq", 2)]
    counts = {"predictions": 450, "differing": 3, "untied": 1, "largest": 1e-6, "difference": 1e-5}
    sizes = {"file_bytes": 900, "weight_bytes": 300, "floor_bytes": 250}
    rows, speeds = [], []
    for dataset, model, metric in networks:
        for (runtime, form), bits in itertools.product(runs, (FLOAT, 4, 2)):
            if (runtime == "llama_cpp" and model != "wide_llama") or (
                runtime == "onnxruntime_8" and bits == FLOAT
            ):
                continue
            file = {"runtime": runtime, "format": form, "eval_bits": bits}
            for method, trained in methods:
                arm = {"layout": "channels", "method": method, "train_bits": trained}
                where = {"dataset": dataset, "model": model} | arm | file
                rows.append(loss(metric=metric, **where))
                for name, value in (counts | sizes).items():
                    whole = {"mean": value, "ci_low": value, "ci_high": value, "n": 8}
                    rows.append(where | {"metric": name} | whole)
            named = {"machine": "a processor", "model": model} | file
            quantities = ["milliseconds", "megabytes", *(["faster", "smaller"] if bits != FLOAT else [])]
            speeds += [loss(quantity=quantity, **named) for quantity in quantities]
    for end in ("kept", "any_paired"):
        both = (made[f"{file}_{end}"] for file in ("vision", "language"))
        made[f"deployment_{end}"] = pd.concat(both, ignore_index=True)
    return {
        "deployment": pd.DataFrame(rows),
        "deployment_speed": pd.DataFrame(speeds),
        **{name: table for name, table in made.items() if name.startswith("deployment_")},
    }


def arms_of(models, few, bits) -> list[arms.Arm]:
    """Those of the vision benchmark."""
    known = named(lambda method: method.images)
    where = [(model, known) for model in models]
    where += [(model, [name for name in known if REGISTRY[name].few]) for model in few]
    return [arm for model, run in where for arm in arms.arms("digits", model, run, bits)]


def vision_rows(
    loss, difference, models=("small_cnn", "deep_cnn"), few=("mlp", "residual_cnn"), bits=(4, 2)
):
    """The files of image networks, orderly but for their numbers; LSQ is the reference everywhere.

    loss, difference: keys -> a row of one mean, or of one paired estimate.
    """
    found = arms_of(models, few, bits)
    return benchmark_rows("vision", "loss", found, loss, difference, bits)


CURVES = [("no_noise", np.nan), ("t0_qat_tuned", 30), ("t0_qat_tuned", 100), ("t0_qat_tuned", 300)]
CURVES += [("relative_noise", 0.03), ("relative_noise", 0.1), ("random_bits", np.nan)]
NETWORKS = (("digits", "deep_cnn"), ("pydoc_topics", "small_gpt2"))


def response_rows(loss, difference, networks=NETWORKS, budgets=(0.333, 1, 3), bits=(32, 4, 3, 2)):
    """The files of the response surface, orderly but for their numbers, at one learning rate."""
    tables = {"response": [], "response_best": []}
    for (dataset, model), budget, (method, strength), width in itertools.product(
        networks, budgets, CURVES, bits
    ):
        keys = {"dataset": dataset, "model": model, "method": method, "strength": strength}
        keys |= {"budget": budget, "eval_bits": width}
        tables["response"].append(loss(**keys, learning_rate=0.01))
        row = keys | {"best_rate": 0.01, "loss": loss()["mean"]} | difference()
        if method == "no_noise":
            row |= dict.fromkeys(("estimate", "ci_low", "ci_high"), np.nan)
        tables["response_best"].append(row)
    return tables


def circuit_rows(
    loss,
    difference,
    models=("circuit_38", "circuit_0123"),
    ways=tuple(on_circuits.WAYS),
    strengths=(0.01, 0.1, 0.3),
):
    """The files of circuits, orderly but for their numbers."""
    tables = {name: [] for name in PAPER.experiments["circuits"].results}
    for model, way in itertools.product(models, ways):
        keys = {"model": model, "way": way}
        tables["circuits_robust"] += [loss(**keys, channel=channel) for channel in circuits.SHOWN]
        for channel, bits in itertools.product((on_circuits.NONE, *on_circuits.DEVICE), (FLOAT, 4)):
            for strength in (0.0,) if channel == on_circuits.NONE else strengths:
                at = keys | {"channel": channel, "channel_strength": strength, "eval_bits": bits}
                measured = [(0, "accuracy"), (0, "loss"), (0, "moved"), (1024, "accuracy")]
                tables["circuits"] += [loss(**at, shots=n, metric=metric) for n, metric in measured]
        others = [on_circuits.PLAIN] if way != on_circuits.PLAIN else []
        others += [on_circuits.CHANNEL] if way == on_circuits.TUNED else []
        pairs = list(itertools.product(others, circuits.SHOWN))
        pairs += [(circuits.GUESS, on_circuits.NONE)] if way == on_circuits.PUBLISHED else []
        tables["circuits_paired"] += [
            difference(**keys, other_way=other, channel=channel) for other, channel in pairs
        ]
        tables["circuits_tuning"] += [
            loss(
                **keys, learning_rate=rate, strength=strength, short=2.0, gradients=7, chosen=int(i == 0)
            )
            for i, (rate, strength) in enumerate(
                itertools.product((0.1, 1.0), on_circuits.WAYS[way].values or (np.nan,))
            )
        ]
    return tables


TEXT = named(lambda method: method.text)


def language_rows(
    loss,
    difference,
    models=("small_gpt2", "small_llama"),
    few=(),
    groups=("no_noise", "t0_qat_tuned", "gptq", "ste", "lsq"),
    everything=("no_noise", "t0_qat", "ste"),
    bits=(4, 2),
):
    """The files of language models, likewise."""
    ways = [("channels", models, TEXT), ("channels", few, [m for m in TEXT if REGISTRY[m].few])]
    ways += [("groups", models, groups), ("everything", models, everything)]
    found = [
        arm
        for layout, where, run in ways
        for model in where
        for arm in arms.arms("pydoc", model, run, bits, layout)
    ]
    tables = benchmark_rows("language", "bits_per_character", found, loss, difference, bits)
    own = [arm for arm in found if arm.layout == "channels"]
    tables["language_tuning"] = [row for row in tables["language_tuning"] if row["layout"] == "channels"]
    shown = [(arm, b) for arm in own if arm.method in ("no_noise", "t0_qat") for b in (FLOAT, *bits)]
    return tables | {
        "language_blocks": [
            {k: v for k, v in row.items() if k != "metric"}
            for row in tables["language"]
            if row["metric"] == "bits_per_character" and row["scale_rule"] != "own"
        ],
        "language_text": [
            {
                "dataset": "pydoc",
                "model": model,
                "bos": "",
                "sha256": "0123456789abcdef" * 4,
                "characters": 465048,
                "python": "3.11.7",
            }
            for model in models
        ],
        "language_samples": [
            arm._asdict() | {"eval_bits": b, "text": json.dumps(f"{arm.model} {arm.method} at {b}")}
            for arm, b in shown
        ],
    }


def benchmark_rows(file, metric, found, loss, difference, bits):
    """The files of a benchmark with these arms."""
    tables = {name.replace("vision", file): [] for name in IMAGES}
    for arm in found:
        keys = arm._asdict()
        tables[file + "_tuning"] += [
            loss(**keys, learning_rate=rate, strength=strength, gradients=7, chosen=int(i == 0))
            | {"short": float("nan")}
            for i, (rate, strength) in enumerate(arm.candidates(5, 0.003, 0.06))
        ]

        def pairs(width, keys=keys, **place):
            named = [("plain", "no_noise", 0), ("random_bits", "random_bits", 0)]
            named += [("best_baseline", "ste" if keys["method"] == "lsq" else "lsq", width)]
            return [
                difference(**keys, **place, against=against, other=other, other_bits=b)
                for against, other, b in named
                if (keys["method"], keys["train_bits"]) != (other, b)
            ]

        for width in (FLOAT, *bits):
            if arm.train_bits in (0, width) or width == FLOAT:
                tables[file + "_tuned"].append(loss(**keys, eval_bits=width))
            rules = ["none"] if width == FLOAT else ["absmax", "mse", "own"]
            rules += [rule for rule in [arm.registered.rule(width, arm.train_bits)] if rule in OWN_GRIDS]
            for rule in rules:
                at = {"eval_bits": width, "scale_rule": rule}
                metrics = [metric] + ["bytes", "differing"] * (rule in ("absmax", "mse"))
                metrics += ["accuracy"] * (metric == "loss")
                metrics += ["bytes", "weight_norm", "gradients"] * (width == FLOAT)
                tables[file] += [loss(**keys, **at, metric=m) for m in metrics]
                if arm.train_bits in (0, width) and rule in ("own", "none"):
                    tables[file + "_paired"] += pairs(width, **at)
                    if width != FLOAT:
                        kept = {"against": "unrounded", "other": "no_noise", "other_bits": 0}
                        tables[file + "_kept"].append(difference(**keys, **at, **kept))
        for quantity in ("mean", "worst"):
            at = {"scale_rule": "own", "quantity": quantity}
            tables[file + "_any"].append(loss(**keys, **at))
            tables[file + "_any_paired"] += pairs(bits[-1], **at)
    return tables


def typeset(tables: dict[str, pd.DataFrame], changed: str) -> Iterator[str]:
    """All that is made from one results file: tables, macros, and what is looked up."""
    for make in PAPER.exhibits.values():
        if changed in make.files:
            body, macros = make(tables)
            yield body + latex.macro_lines(macros)
    for kind, place in LOOKED_UP:
        if place.startswith(f"{changed}/"):
            yield lookups.look_up(kind, place, tables.__getitem__)


def differs(tables: dict[str, pd.DataFrame], changed: str, original: list[str]) -> bool:
    """Whether any of this is not as it was; what comes after the first that is not is not made."""
    return any(new != old for new, old in zip(typeset(tables, changed), original, strict=True))
