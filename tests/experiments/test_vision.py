"""The vision benchmark: cells against plain loops, tuning and tables by hand."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from on_digits import asked, by_metric, compute, training
from scipy import stats
from torch.nn.functional import cross_entropy

from t0qat.experiments import benchmark, trained, tuning, vision
from t0qat.experiments.arms import KEYS
from t0qat.pipeline import grid
from t0qat.pipeline.parameters import ParameterError
from t0qat.training import (
    images,
    loop,
    models,
    tasks,
)
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")


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

    def watch(net, inputs, target, method, draws, *, order, **_):
        mixed = order.permutation(len(inputs))[:5].tolist()
        seen.append(([p.sum().item() for p in net.parameters()], inputs.sum().item(), mixed))

    monkeypatch.setattr(loop, "train", watch)
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
    pairs = (sam, "sam"), (plain, "no_noise")
    spent = [by_metric(asked(*pair))["gradients"] for pair in pairs]
    assert spent[0] == spent[1] == [[32, "none", 44]]


def test_every_arm_is_tuned_with_as_many_gradients():
    """To one training, as the short ones are counted by their length."""
    jobs = vision.plan(replicates=2, few_replicates=2, trainings=23)
    totals = {}
    for rivals in jobs.rivals:
        arm, candidates, rounds = rivals
        before = [0, *(seen for _, seen in rounds)]
        spent = sum(size * (seen - b) for (size, seen), b in zip(rounds, before, strict=False))
        assert rivals.cut == (len(candidates) > 8)
        assert rounds[0][0] == (math.ceil(len(candidates) / 4) if rivals.cut else len(candidates))
        spent += tuning.SHORT * len(candidates) * rivals.cut
        cost = jobs.training(arm, candidates[0], 0, "validation").arguments["epochs"]
        totals[arm] = spent * cost / arm.registered.share
        assert arm.registered.loud or (rounds[-1][0] == 2 and rounds[-1][1] >= 8)
    assert all(22 <= total / 12 <= 23 for arm, total in totals.items() if not arm.registered.loud)
    assert {total for arm, total in totals.items() if arm.registered.loud} == {3 * 2 * 12}


OWN = """
import json, sys
from pathlib import Path
from t0qat.pipeline import grid
from t0qat.training import methods, views
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
    methods.REGISTRY["mine"] = views.Method("Mine", mine, "none", few=True)
    run = vision.benchmark(**options | {"methods": ["mine"]})
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
            made = trial.train("images", arm, 0.01, 10.0, replicate=0, part="test", **shared)
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


TINY = {"replicates": 3, "few_replicates": 2, "models": ["mlp"], "few_models": [], "bits": [4, 2]}


TINY |= {"trained_bits": [4, 2], "trainings": 4, "rates": 2, "lowest_rate": 0.01, "highest_rate": 0.04}


TINY |= {"epochs": 2, "batch_size": 128, "schedule": "cosine", "device": "cpu"}


TINY |= {"methods": ["no_noise", "xi_alone", "ste", "random_bits"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        patch.setattr(grid.joblib, "cpu_count", lambda: 1)
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
        "vision_tuned": [*KEYS, "eval_bits"],
    }
    assert set(made) == set(keys)
    for name, table in made.items():
        assert not table.duplicated(keys[name]).any(), name
        # Two seeds tell no skewness, and arms that share no seed of tuning no deviation; few candidates
        # need no short training.
        unmeasured = ["strength", "skewness", "planned_deviation", "short"]
        measured = table.drop(columns=unmeasured, errors="ignore")
        assert measured.notna().all(axis=None), name
    rate = run.tuning.query("method == 'ste' and train_bits == 2 and chosen == 1").learning_rate.item()
    cells = [compute("mlp", "ste", 2, replicate=i, rate=rate, epochs=2) for i in range(3)]
    for bits, rule in ((32, "none"), (4, "mse"), (2, "absmax")):
        values = [{(b, r): a for b, r, a in c["loss"]}[bits, rule] for c in cells]
        row = made["vision"].query(
            "method == 'ste' and train_bits == 2 and eval_bits == @bits and scale_rule == @rule"
            " and metric == 'loss'"
        )
        assert row["mean"].item() == pytest.approx(np.mean(values)) and row["n"].item() == 3
    worst = [max(a for b, r, a in c["loss"] if r == "mse") for c in cells]
    row = made["vision_any"].query(
        "method == 'ste' and train_bits == 2 and scale_rule == 'mse' and quantity == 'worst'"
    )
    assert row["mean"].item() == pytest.approx(np.mean(worst))
    norm = [c["weight_norm"][0][2] for c in cells]
    row = made["vision"].query("method == 'ste' and train_bits == 2 and metric == 'weight_norm'")
    assert row["mean"].item() == pytest.approx(np.mean(norm))


def test_a_training_is_made_once_and_what_is_asked_later_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "STORE", tmp_path / "cells")
    monkeypatch.setattr(grid.weights, "FOLDER", tmp_path / "weights")
    trained_, train = [], loop.train
    count = lambda *a, **k: trained_.append(1) or train(*a, **k)  # noqa: E731
    monkeypatch.setattr(loop, "train", count)
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
        ({"trainings": 2}, "trainings = 2: 4 candidates take 4 or more"),
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


def test_images_that_are_not_square_or_have_colours_train(tmp_path):
    draws = np.random.default_rng(0)
    for size, shape in (((6, 9), (1, 6, 9)), ((3, 8, 8), (3, 8, 8)), ((192,), (3, 8, 8))):
        path = str(tmp_path / f"{len(size)}.npz")
        np.savez(path, X=draws.integers(0, 256, (40, *size), np.uint8), y=np.arange(40) % 3)
        loaded = images.load(path)
        assert loaded.shape == shape and loaded.classes == 3
        part = loaded.split(0, 0)
        assert part.inputs.min() >= -1 and part.inputs.max() <= 1 and len(part.test_target) == 10
        made = training("deep_cnn", "random_bits", dataset=path)
        assert 0 <= by_metric(asked(made, "random_bits"))["accuracy"][0][2] <= 1
        assert any(str(thing) == path for thing in made.code)


def test_the_same_numbers_in_one_process_or_two(run, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "STORE", tmp_path / "cells")
    monkeypatch.setattr(grid.weights, "FOLDER", tmp_path / "weights")
    monkeypatch.setattr(grid.joblib, "cpu_count", lambda: 2)
    settings = {arm: s for arm, s in tuning.chosen(run.tuning).items() if arm.method == "ste"}
    again = benchmark.measured(vision.plan(**TINY).tests(settings), "networks")
    get_reusable_executor().shutdown(kill_workers=True)
    once = run.test[run.test.method == "ste"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, once, check_exact=True)
