"""The vision benchmark: cells against plain loops, tuning and comparisons by hand, exported codes."""

import json
import os
import subprocess
import sys
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from scipy import stats
from scipy.io import arff
from sklearn.datasets import load_digits
from statsmodels.stats.power import TTestPower
from torch.nn.functional import cross_entropy

from t0qat.experiments import arms, benchmark, compare, trained, trial, tuning, vision
from t0qat.experiments.arms import KEYS, Arm
from t0qat.pipeline import grid, pin
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import export
from t0qat.quantization.quantizers import SCALES, Grid
from t0qat.quantization.rounding import ROUNDINGS, rounded
from t0qat.training import images, methods, models, noise, rounders, tasks, views
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream

SHARED = {"epochs": 1, "batch_size": 128, "schedule": "cosine", "seed": 0, "device": "cpu"}
WIDTHS = [4, 2]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As cells are computed; more threads only wait for one another."""
    with pin.one_thread():
        yield


def training(model="mlp", method="no_noise", bits=0, *, replicate=0, part="test", rate=0.01, **other):
    strength = other.pop("strength", None)
    arm = Arm(other.pop("dataset", "digits"), model, method, bits)
    return trial.train(arm, rate, strength, replicate=replicate, part=part, **SHARED | other)


def compute(model="mlp", method="no_noise", bits=0, *, ask=trained.at_widths, **other):
    """What a training is asked, in this process."""
    return by_metric(asked(training(model, method, bits, **other), method, ask))


def asked(made, method, ask=trained.at_widths, widths=WIDTHS):
    return ask(made.opened(made.made(), **made.arguments), method=method, widths=widths)


def by_metric(numbers):
    """Rows of a cell as metric -> rows [bits, scale rule, value]."""
    found = {metric: [] for *_, metric, _ in numbers}
    for bits, rule, metric, value in numbers:
        found[metric].append([bits, rule, value])
    return found


def torch_loop(replicate, part, epochs=2):
    """An MLP on digits, written out: its accuracy at float, and rounded to 4 and 2 bits by hand."""
    data = tasks.digits(replicate)
    inputs, target, test, truth = map(torch.from_numpy, data)
    if part == "validation":
        order = stream("validation_split", replicate).permutation(1348)
        test, truth = inputs[order[:337]], target[order[:337]]
        inputs, target = inputs[order[337:]], target[order[337:]]
    net = models.MODELS["mlp"](stream("initialization", replicate))
    adam, mix = torch.optim.Adam(net.parameters(), lr=0.01), stream("batch_order", replicate)
    batches = round(len(inputs) / 128)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * batches)
    for _ in range(epochs):
        for batch in np.array_split(mix.permutation(len(inputs)), batches):
            adam.zero_grad()
            cross_entropy(net(inputs[batch]), target[batch]).backward()
            adam.step()
            cosine.step()
    start = {name: p.clone() for name, p in net.state_dict().items()}
    shares, weights = {}, [name for name in start if name.endswith("weight")]
    norm = sum(start[name].square().sum().item() for name in weights) ** 0.5
    for bits in (32, 4, 2):
        for name in weights:
            w = start[name]
            step = 2 * w.abs().amax(1, keepdim=True) / (2**bits - 1)
            low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
            if bits < 32:
                net.get_parameter(name).data = (w / step).round().clamp(low, high) * step
        shares[bits] = (net(test).argmax(1) == truth).double().mean().item()
    return shares, norm, epochs * batches


@pytest.mark.parametrize("part", ["test", "validation"])
def test_a_cell_is_a_plain_loop_with_rounding_by_hand(part):
    found = compute(replicate=3, part=part, epochs=2)
    shares, norm, steps = torch_loop(3, part)
    assert [row[:2] for row in found["accuracy"]] == [
        [32, "none"], [4, "absmax"], [4, "mse"], [2, "absmax"], [2, "mse"]
    ]  # fmt: skip
    by = {(bits, rule): share for bits, rule, share in found["accuracy"]}
    size = 449 if part == "test" else 337
    for bits in (32, 4, 2):  # one image may sit on an edge
        rule = "none" if bits == 32 else "absmax"
        assert by[bits, rule] == pytest.approx(shares[bits], abs=1.5 / size)
        assert by[bits, rule] * size == pytest.approx(round(by[bits, rule] * size))
    assert found["weight_norm"] == [[32, "none", pytest.approx(norm, rel=1e-4)]]
    assert found["gradients"] == [[32, "none", steps]]
    size = 4 * (64 * 32 + 32 + 32 * 10 + 10)
    codes = {b: b * (64 * 32 + 32 * 10) // 8 + 2 * 4 * 42 for b in (4, 2)}  # steps and biases: 4 bytes
    assert found["bytes"] == [[32, "none", size]] + [[b, r, codes[b]] for b, r, _ in found["differing"]]
    assert [row[2] for row in found["differing"]] == [0] * 4


def test_tuning_never_sees_the_test_part(monkeypatch):
    data = tasks.digits(0)
    poisoned = data._replace(
        test_inputs=np.full_like(data.test_inputs, np.nan), test_target=data.test_target[::-1].copy()
    )
    clean = compute(part="validation")
    loaded = images.load("digits")._replace(split=lambda replicate, seed: poisoned)
    monkeypatch.setattr(images, "load", lambda name: loaded)
    assert compute(part="validation") == clean
    parts = tasks.held_out_quarter(data, 5)
    assert [len(part) for part in parts] == [1011, 1011, 337, 337]
    both = np.concatenate([parts.inputs, parts.test_inputs])
    assert np.array_equal(np.unique(both, axis=0), np.unique(data.inputs, axis=0))
    assert not np.array_equal(tasks.held_out_quarter(data, 6).target, parts.target)


def test_methods_of_a_replicate_share_split_start_and_batch_order(monkeypatch):
    seen = []

    def watch(net, inputs, target, objective, draws, *, order, **_):
        mixed = order.permutation(len(inputs))[:5].tolist()
        seen.append(([p.sum().item() for p in net.parameters()], inputs.sum().item(), mixed))

    monkeypatch.setattr(trial.training, "train", watch)
    for method, bits in (("no_noise", 0), ("ste", 2), ("lsq", 4), ("random_bits", 0)):
        compute(method=method, bits=bits)
    assert all(other == seen[0] for other in seen)
    compute(replicate=1)
    assert seen[-1] != seen[0]


def test_lsq_is_read_at_its_own_step_at_its_own_width_and_gptq_by_its_own_rounding():
    lsq = compute(method="lsq", bits=2, strength=0.1)
    assert [row[:2] for row in lsq["accuracy"]][-3:] == [[2, "absmax"], [2, "mse"], [2, "learned"]]
    assert [4, "learned"] not in [row[:2] for row in lsq["accuracy"]]
    gptq, plain = compute("small_cnn", "gptq"), compute("small_cnn")
    assert gptq["weight_norm"] == plain["weight_norm"] and gptq["accuracy"][0] == plain["accuracy"][0]
    assert gptq["accuracy"] != plain["accuracy"]


def test_xi_alone_is_t0_qat_at_scaling_one_and_barely_moves_a_weight():
    alone, plain = compute(method="xi_alone"), compute()
    assert alone == compute(method="t0_qat_tuned", strength=1.0) != plain
    norm = pytest.approx(plain["weight_norm"][0][2], rel=0.01)
    assert alone["weight_norm"][0][2] == norm
    loud = compute(method="t0_qat")
    assert loud["weight_norm"][0][2] != norm


def test_two_gradients_a_step_take_half_the_epochs():
    sam, plain = training(method="sam", epochs=4, strength=0.1), training(epochs=4)
    assert (sam.arguments["epochs"], plain.arguments["epochs"]) == (2, 4)
    spent = [by_metric(asked(made, "sam"))["gradients"] for made in (sam, plain)]
    assert spent[0] == spent[1] == [[32, "none", 44]]


def test_methods_that_train_alike_are_one_training_with_all_its_settings_named():
    assert training(method="gptq").key == training().key
    alone, tuned = training(method="xi_alone"), training(method="t0_qat_tuned", strength=1.0)
    assert alone.key == tuned.key != training(method="t0_qat").key
    assert tuned.arguments["settings"] == {"xi_scaling": 1.0}
    assert training(method="ste", bits=2).arguments["settings"] == {"bits": 2}
    assert training(method="lsq", bits=2, strength=0.3).arguments["settings"] == {
        "bits": 2,
        "step_rate": 0.3,
    }


def test_every_method_is_an_arm_and_tries_every_rate_with_every_strength():
    found = arms.arms("digits", ["small_cnn"], ["mlp", "residual_cnn"], (8, 3))
    methods_of = {m: {a.method for a in found if a.model == m} for m in ("small_cnn", "mlp")}
    assert methods_of["small_cnn"] == set(REGISTRY)
    assert len(methods_of["mlp"]) >= 6 and {"no_noise", "t0_qat", "random_bits"} <= methods_of["mlp"]
    for arm in found:
        assert arm.train_bits in ((8, 3) if arm.registered.for_bits else (0,))
        tried = arm.candidates(4, 0.001, 0.1)
        assert {rate for rate, _ in tried} == {0.001, 0.00464, 0.0215, 0.1}
        assert len(tried) == len({*tried}) == 4 * max(1, len(arm.registered.values))
    assert [rate for rate, _ in Arm("digits", "mlp", "no_noise", 0).candidates(1, 0.01, 1.0)] == [0.1]


def test_every_arm_is_tuned_with_as_many_gradients():
    jobs = vision.plan(replicates=2, few_replicates=2)
    totals = {}
    for arm, candidates, rounds in jobs.rivals:
        before = [0, *(seen for _, seen in rounds)]
        spent = sum(size * (seen - b) for (size, seen), b in zip(rounds, before, strict=False))
        assert rounds[0][0] == len(candidates)
        cost = jobs.training(arm, candidates[0], 0, "validation").arguments["epochs"]
        totals[arm] = spent * cost * arm.registered.gradients
        assert arm.registered.loud or (rounds[-1][0] == 2 and rounds[-1][1] >= 8)
    assert {total for arm, total in totals.items() if not arm.registered.loud} == {28 * 8}
    assert {total for arm, total in totals.items() if arm.registered.loud} == {3 * 2 * 8}


def test_named_methods_run_with_plain_training_on_all_models():
    found = arms.arms("digits", ["small_cnn"], ["mlp"], (4, 2), ["sam", "ste"])
    one = [("no_noise", 0), ("ste", 4), ("ste", 2), ("sam", 0)]
    for model in ("small_cnn", "mlp"):
        assert [(a.method, a.train_bits) for a in found if a.model == model] == one
    both = arms.arms("digits", ["mlp"], [], (2,), ["ste", "no_noise"])
    assert both == arms.arms("digits", ["mlp"], [], (2,), ["ste"])


OWN = """
import json, sys
from pathlib import Path
from t0qat.pipeline import grid
from t0qat.training import methods
from t0qat.experiments import vision
grid.STORE = Path(sys.argv[1])
grid.weights.FOLDER = Path(sys.argv[1])
def mine():
    return lambda parameter, noise: SHARE * parameter
def accuracies(run):
    rows = run.test[(run.test.metric == "accuracy") & (run.test.method != "no_noise")]
    return rows.value.tolist()
options = json.loads(sys.argv[2])
found = []
for SHARE in (1.0, 0.0):
    methods.METHODS["mine"] = views.Method("Mine", mine, "none")
    run = vision.benchmark(methods=["mine"], **options)
    found.append(accuracies(run))
plain = run.test[(run.test.metric == "accuracy") & (run.test.method == "no_noise")]
print(json.dumps([found, plain.value.tolist()]))
"""


def test_a_scripts_own_method_runs_in_every_process_and_follows_its_changes(tmp_path):
    command = [sys.executable, "-c", OWN, str(tmp_path), json.dumps(TINY)]
    done = subprocess.run(
        command, env=os.environ | {"LOKY_MAX_CPU_COUNT": "2"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (same, nothing), plain = json.loads(done.stdout)
    assert same == pytest.approx(plain, abs=0.01) and min(same) > 0.3  # the same but for rounding
    assert max(nothing) < 0.3  # weights that no gradient reaches
    kept = len(list(tmp_path.rglob("*.json")))
    assert kept == 4 + 3  # plain training alone: tuned, and tested


def test_a_module_of_ones_own_determines_its_cells(tmp_path, monkeypatch):
    path = tmp_path / "of_my_own.py"
    path.write_text("def mine():\n    return lambda parameter, noise: parameter\n")
    monkeypatch.syspath_prepend(tmp_path)
    import of_my_own

    line = views.Method("Mine", of_my_own.mine, "none")
    monkeypatch.setitem(methods.METHODS, "mine", line)
    made = training(method="mine")
    assert made.kept and of_my_own in made.code and methods in made.code
    assert trained.asked(trained.at_widths, made, "mine", widths=WIDTHS).kept
    del sys.modules["of_my_own"]


MEMORY = """
import resource, sys
from t0qat.training import models
from t0qat.pipeline import pin
from t0qat.experiments import trained, trial
from t0qat.experiments.arms import Arm
shared = {"epochs": 1, "batch_size": 64, "schedule": "cosine", "seed": 0, "device": "cpu"}
with pin.one_thread():
    for model in models.MODELS:
        for method, bits in (("gptq", 0), ("parq", 4)):  # these bring the most along
            arm = Arm("digits", model, method, bits)
            made = trial.train(arm, 0.01, 10.0, replicate=0, part="test", **shared)
            opened = made.opened(made.made(), **made.arguments)
            assert len(trained.at_widths(opened, method=method, widths=[4, 2])) > 10
        print(model, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_a_process_that_computes_cells_of_every_model_stays_below_two_gib():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    most = dict(line.split() for line in done.stdout.splitlines())
    assert list(most) == list(models.MODELS)
    assert all(50e6 < int(size) < 2 * 2**30 for size in most.values()), most


def test_a_changed_method_changes_its_own_cells_only():
    reached = {name: {f.__name__ for f in arms.sources(REGISTRY[name])} for name in REGISTRY}
    assert "ste" in reached["random_bits"] and "straight_rounding" in reached["random_bits"]
    assert "kurtosis" in reached["kure"] and "kurtosis" not in reached["sam"]
    assert {"learned_rounding", "first_steps"} <= reached["lsq"]
    assert "t0_qat" in reached["xi_alone"] and "additive_noise" in reached["xi_alone"]
    assert "noise_from" in reached["matched_noise"] and "Objective" in reached["parq"]

    def key(method, bits=0):
        made = training(method=method, bits=bits, strength=0.1)
        return trained.asked(trained.at_widths, made, method, widths=WIDTHS).key

    before = {m: key(m, 4 if REGISTRY[m].for_bits else 0) for m in REGISTRY}
    assert len({*before.values()}) == len(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "kurtosis", another_kurtosis)
        another_kurtosis.__module__ = "t0qat.training.methods"
        changed = {m for m in REGISTRY if key(m, 4 if REGISTRY[m].for_bits else 0) != before[m]}
    assert changed == {"kure"}
    with pytest.MonkeyPatch.context() as patch:
        line = REGISTRY["xi_alone"]._replace(build=partial(noise.t0_qat, 2.0))
        patch.setitem(methods.VARIANTS, "xi_alone", line)
        assert key("xi_alone") != before["xi_alone"]


def another_kurtosis(weights):
    return weights.sum()


TINY = {"replicates": 3, "few_replicates": 2, "models": ["mlp"], "few_models": [], "bits": [4, 2]}
TINY |= {"trained_bits": [4, 2], "trainings": 4, "rates": 2, "lowest_rate": 0.01, "highest_rate": 0.04}
TINY |= {"epochs": 2, "batch_size": 128, "schedule": "cosine", "device": "cpu"}
SOME = ("no_noise", "xi_alone", "ste", "random_bits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        patch.setattr(grid.joblib, "cpu_count", lambda: 1)
        found = [arm for arm in arms.arms("digits", ["mlp"], [], (4, 2)) if arm.method in SOME]
        patch.setattr(vision, "arms", lambda *_: found)
        return vision.benchmark(**TINY)


def test_the_least_loss_after_rounding_by_the_own_rule_is_chosen(run):
    table = run.tuning
    assert len(table) == 10 and (table.n == 2).all() and table.strength.isna().all()
    assert (table.groupby(KEYS, sort=False).chosen.sum() == 1).all()
    for key, group in table.groupby(KEYS, sort=False):
        scores = []
        for rate in group.learning_rate:
            per = []
            for i in (10**9, 10**9 + 1):
                cell = compute(
                    key[1], key[2], key[3], replicate=i, part="validation", rate=rate, epochs=2
                )
                rule = "absmax" if key[2] in ("ste", "random_bits") else "mse"
                losses = {(b, r): loss for b, r, loss in cell["loss"]}
                per.append(np.mean([losses[b, rule] for b in ((key[3],) if key[3] else (4, 2))]))
            scores.append(np.mean(per))
        assert group["mean"].tolist() == pytest.approx(scores)
        assert (
            group.learning_rate[group.chosen == 1].item() == group.learning_rate.iloc[np.argmin(scores)]
        )
        low, high = stats.t.interval(0.95, 1, np.mean(per), stats.sem(per))
        assert group[["ci_low", "ci_high"]].iloc[-1].tolist() == pytest.approx([low, high])


def test_the_tables_have_one_row_a_key_and_follow_from_the_cells(run):
    made = vision.tables(run)
    keys = {
        "vision": [*KEYS, "eval_bits", "scale_rule", "metric"],
        "vision_any": [*KEYS, "scale_rule", "quantity"],
        "vision_paired": ["model", "eval_bits", "scale_rule", "method", "train_bits", "against"],
        "vision_kept": ["model", "eval_bits", "scale_rule", "method", "train_bits"],
        "vision_any_paired": ["model", "scale_rule", "quantity", "method", "train_bits", "against"],
        "vision_tuning": [*KEYS, "learning_rate", "strength"],
    }
    assert set(made) == set(keys)
    for name, table in made.items():
        assert not table.duplicated(keys[name]).any(), name
        measured = table.drop(columns=["strength"], errors="ignore")
        assert measured.notna().all(axis=None), name
    rate = run.tuning.query("method == 'ste' and train_bits == 2 and chosen == 1").learning_rate.item()
    cells = [compute("mlp", "ste", 2, replicate=i, rate=rate, epochs=2) for i in range(3)]
    for bits, rule in ((32, "none"), (4, "mse"), (2, "absmax")):
        values = [{(b, r): a for b, r, a in c["accuracy"]}[bits, rule] for c in cells]
        row = made["vision"].query(
            "method == 'ste' and train_bits == 2 and eval_bits == @bits and scale_rule == @rule"
            " and metric == 'accuracy'"
        )
        assert row["mean"].item() == pytest.approx(np.mean(values)) and row["n"].item() == 3
    worst = [min(a for b, r, a in c["accuracy"] if r == "mse") for c in cells]
    row = made["vision_any"].query(
        "method == 'ste' and train_bits == 2 and scale_rule == 'mse' and quantity == 'worst'"
    )
    assert row["mean"].item() == pytest.approx(np.mean(worst))
    norm = [c["weight_norm"][0][2] for c in cells]
    row = made["vision"].query("method == 'ste' and train_bits == 2 and metric == 'weight_norm'")
    assert row["mean"].item() == pytest.approx(np.mean(norm))


def synthetic_rows(values: dict, **more) -> pd.DataFrame:
    """Rows of accuracy at 2 bits: (method, train_bits, rule) -> values of replicates."""
    return pd.DataFrame(
        {"dataset": "d", "model": "m", "method": method, "train_bits": bits, "replicate": i}
        | {"eval_bits": 2, "scale_rule": rule, "metric": "accuracy", "value": value}
        for (method, bits, rule), each in values.items()
        for i, value in enumerate(each)
    )


def test_differences_are_paired_corrected_and_against_the_baseline_that_lost_least_in_tuning():
    draws = np.random.default_rng(3)
    arms_ = [("no_noise", 0), ("random_bits", 0), ("ste", 2), ("t0_qat", 0)]
    test = {(*arm, "own"): draws.normal(0.9, 0.05, 12) for arm in arms_}
    test["no_noise", 0, "own"] += 1.0  # the best in the test, which must not count
    test["t0_qat", 0, "own"] = test["t0_qat", 0, "own"][:5]  # fewer replicates, the first ones
    known = {(*arm, "own"): [v, v] for arm, v in zip(arms_, (0.5, 0.2, 0.3, 0.1), strict=True)}
    rows = synthetic_rows(test).sample(frac=1, random_state=1)
    losses = synthetic_rows(known).rename(columns={"value": "loss"})
    table = compare.differences(rows, losses, ["eval_bits", "scale_rule"])
    best = table[table.against == "best_baseline"].set_index("method").other.to_dict()
    assert best == {m: "random_bits" for m in ("no_noise", "ste", "t0_qat")} | {"random_bits": "ste"}
    p = []
    for row in table.itertuples():
        n = 5 if "t0_qat" in (row.method, row.other) else 12
        keys = (row.method, row.train_bits, "own"), (row.other, row.other_bits, "own")
        pair = [test[key][:n] for key in keys]
        assert row.estimate == pytest.approx(np.mean(pair[0] - pair[1])) and row.n == n
        p.append(stats.ttest_rel(*pair).pvalue)
        power = TTestPower().power(row.detectable / np.std(pair[0] - pair[1], ddof=1), n, 0.05)
        assert power == pytest.approx(0.9, abs=1e-6)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)).clip(max=1)
    assert table.p_holm.to_numpy()[order] == pytest.approx(stepped)


def test_what_is_kept_is_measured_from_plain_training_that_is_not_rounded():
    draws = np.random.default_rng(5)
    values = {(m, 0, "mse"): draws.normal(0.9, 0.05, 9) for m in ("no_noise", "t0_qat")}
    unrounded = draws.normal(0.95, 0.01, 9)
    float_rows = synthetic_rows({("no_noise", 0, "none"): unrounded}).assign(eval_bits=32)
    worse = synthetic_rows({("t0_qat", 0, "none"): unrounded - 0.5}).assign(eval_bits=32)
    rows = pd.concat([synthetic_rows(values), worse, float_rows]).sample(frac=1, random_state=2)
    table = compare.kept(rows).set_index("method")
    for method in ("no_noise", "t0_qat"):
        difference = values[method, 0, "mse"] - unrounded
        low, high = stats.t.interval(0.95, 8, difference.mean(), stats.sem(difference))
        row = table.loc[method]
        assert [row.estimate, row.ci_low, row.ci_high] == pytest.approx([difference.mean(), low, high])
        assert (row.other, row.against, row.n) == ("no_noise", "unrounded", 9)


def test_each_method_is_judged_by_the_rule_that_it_fixes():
    test = {(m, b, r): [k, 9.0] for m, b in (("ste", 2), ("lsq", 2), ("lsq", 4), ("kure", 0))
            for k, r in enumerate(("absmax", "mse", "learned"))
            if r != "learned" or (m, b) == ("lsq", 2)}  # fmt: skip
    rows = compare.with_own_rule(synthetic_rows(test), vision.ACCURACY)
    own = rows[rows.scale_rule == "own"].groupby(["method", "train_bits"]).value.first()
    assert own.to_dict() == {("ste", 2): 0, ("lsq", 2): 2, ("lsq", 4): 1, ("kure", 0): 1}
    assert len(rows) == 2 * 9 + 2 * 4


def test_a_training_is_made_once_and_what_is_asked_later_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "STORE", tmp_path / "cells")
    monkeypatch.setattr(grid.weights, "FOLDER", tmp_path / "weights")
    trained_, train = [], trial.training.train
    count = lambda *a, **k: trained_.append(1) or train(*a, **k)  # noqa: E731
    monkeypatch.setattr(trial.training, "train", count)
    plain, gptq = training(), training(method="gptq")
    cells = [trained.asked(trained.at_widths, plain, "no_noise", widths=[4]),
             trained.asked(trained.at_widths, gptq, "gptq", widths=[4])]  # fmt: skip
    first = grid.run(cells, "x")
    assert len(trained_) == 1 and first[0] != first[1]
    later = trained.asked(trained.at_widths, plain, "no_noise", widths=[2, 4])
    (found,) = grid.run([later], "x")
    assert len(trained_) == 1 and [row for row in found if row[0] != 2] == first[0]
    (path,) = tmp_path.glob("weights/*/*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # a flipped bit is noticed, and costs a training
    path.write_bytes(content)
    again = trained.asked(trained.at_widths, plain, "no_noise", widths=[3])
    grid.run([again], "x")
    assert len(trained_) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bits": [16, 4]}, r"bits = \[16, 4\]"),
        ({"models": ["mlp", "none"]}, "'none' is unknown"),
        ({"models": ["mlp"], "few_models": ["mlp"]}, "'mlp' is unknown or twice"),
        ({"methods": ["ste", "none"]}, r"methods: 'none' is unknown or twice; known are .*t0_qat.*kure"),
        ({"methods": ["ste", "ste"]}, r"methods = .*: allowed is a list, each once"),
        ({"methods": ["no_noise"]}, r"methods = \['no_noise'\]: name one to compare"),
        ({"trainings": 2}, "trainings = 2: fewer than 3 candidates"),
        ({"trained_bits": [5]}, r"trained_bits = \[5\]: allowed are those of bits"),
        ({"lowest_rate": 0.5}, "lowest_rate = 0.5: "),
        ({"dataset": "nowhere.npz"}, "dataset = 'nowhere.npz': "),
        ({"replicates": 1}, "replicates = 1: "),
        ({"speed": 1}, "speed"),
    ],
)
def test_wrong_parameters_stop_in_one_line_before_anything_is_trained(wrong, message, monkeypatch):
    monkeypatch.setattr(grid, "run", None)
    with pytest.raises(ParameterError, match=message) as caught:
        vision.benchmark(**{"replicates": 2, "few_replicates": 2} | wrong)
    assert "\n" not in str(caught.value)


@cache
def after_an_epoch(model: str):
    """A network after one epoch of plain training."""
    inputs, target, *_ = map(torch.from_numpy, tasks.digits(1))
    net = models.MODELS[model](stream("initialization", 1))
    trial.training.train(
        net, inputs, target, REGISTRY["no_noise"].objective(), stream("training_noise", 1),
        epochs=1, learning_rate=0.01, loss=cross_entropy, batch_size=64, order=stream("batch_order", 1),
    )  # fmt: skip
    return net.eval()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("model", models.MODELS)
def test_exported_codes_name_every_test_image_as_the_fake_quantized_network(model, bits):
    net = after_an_epoch(model)
    test = torch.from_numpy(tasks.digits(1).test_inputs)
    for scale in SCALES:
        on = Grid(bits, scale=scale)
        codes = ROUNDINGS["nearest"](net, on, {}, None)
        exported = export.export(net, codes, on)
        fresh = models.MODELS[model](stream("initialization", 2))
        ran = export.runnable(exported, fresh)
        for name in codes:
            code = ran.state_dict()[name]
            assert torch.equal(code, code.round()) and code.unique().numel() <= 2**bits
        fake = rounded(net, codes)
        torch.testing.assert_close(ran(test), fake(test), rtol=1e-4, atol=1e-4)
        assert torch.equal(ran(test).argmax(1), fake(test).argmax(1))
        weights = [p.numel() for p in net.parameters() if p.ndim > 1]
        assert exported.code_bytes == sum(-(-bits * n // 8) for n in weights)
        state = sum(t.nbytes for n, t in net.state_dict().items() if n not in codes)
        channels = sum(len(net.get_parameter(name)) for name in codes)
        assert exported.total_bytes == exported.code_bytes + 4 * channels + state


def test_packed_bits_are_those_of_the_codes_and_come_back():
    on = Grid(3)
    codes = torch.tensor([[-4.0, 3.0, 0.0], [-1.0, 2.0, -3.0]])
    packed = export.pack(codes, on)
    # Raised by 4: 0 7 4 3 6 1
    assert packed == int("000111100011110001" + "000000", 2).to_bytes(3, "big")
    assert torch.equal(export.unpack(packed, codes.shape, on), codes)


def test_learned_codes_export_as_well():
    net = models.MODELS["mlp"](stream("initialization", 0))
    extra = rounders.lsq(bits=2).extra(dict(net.named_parameters()))
    codes = ROUNDINGS["learned"](net, Grid(2), extra, None)
    test = torch.from_numpy(tasks.digits(0).test_inputs)
    ran = export.runnable(export.export(net, codes, Grid(2)), net)
    assert torch.equal(ran(test).argmax(1), rounded(net, codes)(test).argmax(1))


def save(folder, X, y):
    path = folder / "my images.npz"
    np.savez(path, X=X, y=y)
    images.load.cache_clear()
    return str(path)


def test_digits_as_a_file_are_digits(tmp_path):
    pixels, labels = load_digits(return_X_y=True)
    for X, y in ((pixels, labels), (pixels.reshape(-1, 8, 8), np.array([f"no. {k}" for k in labels]))):
        loaded = images.load(save(tmp_path, X, y))
        assert loaded.shape == (1, 8, 8) and loaded.classes == 10
        for mine, theirs in zip(loaded.split(2, 5), tasks.digits(2, 5), strict=True):
            assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    assert images.load("digits")[1:] == ((1, 8, 8), 10)


def test_images_that_are_not_square_or_have_colours_train(tmp_path):
    draws = np.random.default_rng(0)
    for size, shape in (((6, 9), (1, 6, 9)), ((3, 8, 8), (3, 8, 8)), ((192,), (3, 8, 8))):
        path = save(tmp_path, draws.integers(0, 256, (40, *size), np.uint8), np.arange(40) % 3)
        loaded = images.load(path)
        assert loaded.shape == shape and loaded.classes == 3
        part = loaded.split(0, 0)
        assert part.inputs.min() >= -1 and part.inputs.max() <= 1 and len(part.test_target) == 10
        made = training("deep_cnn", "random_bits", dataset=path)
        assert 0 <= by_metric(asked(made, "random_bits"))["accuracy"][0][2] <= 1
        assert any(str(thing) == path for thing in made.code)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.ones((10, 4)), np.arange(10)),
        (np.random.default_rng(0).random((10, 5)), np.arange(10)),
        (np.random.default_rng(0).random((10, 4)), np.arange(9)),
        (np.random.default_rng(0).random((10, 4)), np.zeros(10)),
        (np.random.default_rng(0).random((4, 4)), np.arange(4)),
        (np.full((10, 4), np.nan), np.arange(10)),
        (np.array([["a"] * 4] * 10), np.arange(10)),
        (np.array([[None] * 4] * 10), np.arange(10)),
        (np.random.default_rng(0).random(10), np.arange(10)),
    ],
    ids=["constant", "no square", "labels", "one class", "few", "nan", "text", "objects", "flat"],
)
def test_a_malformed_file_is_named_in_one_line(tmp_path, X, y):
    with pytest.raises(ParameterError, match=r"^dataset = '.*my images.npz': ") as caught:
        images.load(save(tmp_path, X, y))
    assert "\n" not in str(caught.value)


def test_a_file_without_the_arrays_or_not_npz_is_named_in_one_line(tmp_path):
    path = tmp_path / "other.npz"
    for write in (
        lambda: np.savez(path, x=np.ones(3)),
        lambda: path.write_bytes(b"PK\x03\x04 cut short"),
        lambda: path.write_text("text"),
        lambda: path.write_bytes(b""),
        lambda: np.save(path.open("wb"), np.ones((9, 4))),
    ):
        write()
        images.load.cache_clear()
        with pytest.raises(ParameterError, match=r"^dataset = '.*other.npz': no images there") as caught:
            images.load(str(path))
        assert "\n" not in str(caught.value)


ARFF = """@RELATION toy
@ATTRIBUTE pixel1 REAL
@ATTRIBUTE pixel2 REAL
@ATTRIBUTE pixel3 REAL
@ATTRIBUTE pixel4 REAL
@ATTRIBUTE class {0,1}
@DATA
"""


def test_a_data_set_of_openml_in_its_own_format(tmp_path, monkeypatch):
    path = tmp_path / "toy.arff"
    path.write_text(ARFF + "".join(f"{i},{255 - i},0,255,{i % 2}\n" for i in range(20)))
    frame = pd.DataFrame(arff.loadarff(path)[0])
    labels = frame.pop("class").str.decode("ascii").astype("category")
    asked = []

    def fetch(name, **options):
        asked.append((name, options["version"]))
        return frame, labels

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    images.load.cache_clear()
    loaded = images.load("mnist_784")
    assert asked == [("mnist_784", 1)] and loaded.shape == (1, 2, 2) and loaded.classes == 2
    part = loaded.split(0, 0)
    whole = np.concatenate([part.test_inputs, part.inputs])
    assert sorted(whole[:, 0]) == pytest.approx([2 * i / 255 - 1 for i in range(20)], abs=1e-6)
    truth = np.concatenate([part.test_target, part.target])
    assert np.array_equal(truth, np.rint((whole[:, 0] + 1) / 2 * 255) % 2)

    def offline(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", offline)
    images.load.cache_clear()
    with pytest.raises(ParameterError, match="dataset = 'CIFAR_10': no images there") as caught:
        images.load("CIFAR_10")
    assert "\n" not in str(caught.value)
    images.load.cache_clear()


def test_the_same_numbers_in_one_process_or_two(run, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "STORE", tmp_path / "cells")
    monkeypatch.setattr(grid.weights, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr(grid.joblib, "cpu_count", lambda: 2)
    found = [arm for arm in arms.arms("digits", ["mlp"], [], (4, 2)) if arm.method == "ste"]
    monkeypatch.setattr(vision, "arms", lambda *_: found)
    settings = {arm: setting for arm, setting in tuning.chosen(run.tuning).items() if arm in found}
    again = benchmark.measured(vision.plan(**TINY).tests(settings), "networks")
    get_reusable_executor().shutdown(kill_workers=True)
    once = run.test[run.test.method == "ste"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, once, check_exact=True)
