"""Networks in runtimes: what is measured, against plain computations, and whose trainings they are."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import log_loss
from torch import nn

from t0qat.experiments import deployment, language, learning, on_images, on_text, running, speed, vision
from t0qat.experiments.arms import FLOAT, Arm
from t0qat.paper import PAPER
from t0qat.pipeline import notebooks
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import gguf_file, rounding
from t0qat.quantization.quantizers import Grid, quantize
from t0qat.quantization.rounding import Network
from t0qat.training import images, language_models
from t0qat.training.methods import REGISTRY
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")
needs_llama = pytest.mark.skipif(
    not running.RUNTIMES[running.LLAMA].there,
    reason="llama.cpp's binding is not installed (make runtimes)",
)
SHARED = {"layout": "channels", "part": "test", "replicate": 0, "seed": 0, "device": "cpu"}
CELL = {"method": "no_noise", "versions": {}}


@pytest.fixture(scope="module")
def mlp():
    """A little trained: the loss of one that is not is cut at that of a guess."""
    network = on_images.begin(dataset="digits", model="mlp", epochs=3, batch_size=64, **SHARED)
    plain = REGISTRY["no_noise"].objective()
    extra = learning.learn(network, plain, 0.02, "cosine", batch_size=64, replicate=0, seed=0)
    return network._replace(extra=extra)


def numbers(rows: list[list], runtime: str, bits: int) -> dict[str, float]:
    return {key: value for name, _, width, key, value in rows if (name, width) == (runtime, bits)}


def test_a_file_scores_what_numpy_gives_of_the_rounded_weights(mlp):
    rows = running.in_runtimes(mlp, widths=[3], metric="loss", where=[running.EXACT], **CELL)
    found = numbers(rows, running.EXACT, 3)
    _, _, others, target = images.load("digits").split(0, 0)
    first, second = (m for m in mlp.net if isinstance(m, nn.Linear))

    def values(layer):
        codes, step = quantize(layer.weight.detach().double(), Grid(3, scale="mse"), 1)
        return (codes * step).numpy(), layer.bias.detach().double().numpy()

    (w1, b1), (w2, b2) = values(first), values(second)
    logits = np.maximum(others.reshape(len(others), -1) @ w1.T + b1, 0) @ w2.T + b2
    chances = np.exp(logits - logits.max(1, keepdims=True))
    expected = log_loss(target, chances / chances.sum(1, keepdims=True), labels=range(10))
    assert found["loss"] == pytest.approx(expected, abs=2e-6)
    assert found["accuracy"] == np.mean(logits.argmax(1) == target)
    assert (found["predictions"], found["differing"], found["untied"]) == (len(others), 0, 0)
    assert found["floor_bytes"] == math.ceil(3 * (64 * 32 + 32 * 10) / 8)
    # In a container of 4 bits: half a byte a code, and a step for each row of 64 or 32.
    assert found["weight_bytes"] == (64 * 32 + 32 * 10) / 2 + 4 * (32 + 10)
    assert abs(found["difference"]) < 1e-6 < found["file_bytes"] - found["weight_bytes"]


def test_a_file_of_other_codes_is_noticed(mlp, monkeypatch):
    """The check can fail: a file whose codes are shifted by one level."""
    runtime = running.RUNTIMES[running.EXACT]

    def shifted(net, example, codes, bits, path):
        moved = {n: c._replace(codes=(c.codes + 1).clamp(max=1)) for n, c in codes.items()}
        return runtime.write(net, example, moved, bits, path)

    monkeypatch.setitem(running.RUNTIMES, running.EXACT, runtime._replace(write=shifted))
    rows = running.in_runtimes(mlp, widths=[2], metric="loss", where=[running.EXACT], **CELL)
    found = numbers(rows, running.EXACT, 2)
    assert found["differing"] > 20 and found["untied"] > 20 and abs(found["difference"]) > 1e-3
    assert numbers(rows, running.EXACT, FLOAT)["differing"] == 0


@needs_llama
def test_llama_cpp_runs_what_its_containers_hold():
    network = on_text.begin(
        dataset="pydoc_topics",
        model="small_llama",
        start=None,
        context=16,
        steps=1,
        batch_size=2,
        **SHARED,
    )
    network = network._replace(extra={})
    judged = {"blocks": 2, "block_windows": 3}
    rows = running.in_runtimes(
        network, widths=[8, 4, 2], metric="bits_per_character", where=[running.LLAMA], **CELL, **judged
    )
    assert {(bits, name) for _, name, bits, *_ in rows} == {(32, "F32"), (8, "Q8_0"), (4, "Q4_0")}
    for bits, tolerance in {FLOAT: 1e-3, 8: 0.02, 4: 0.02}.items():
        found = numbers(rows, running.LLAMA, bits)
        assert abs(found["difference"]) < tolerance and found["predictions"] == 2 * 3 * 16
    # 34 bytes a block of 32 codes of 8 bits, 18 of 4.
    count = sum(p.numel() for name, p in network.net.named_parameters() if p.ndim > 1)
    assert numbers(rows, running.LLAMA, 8)["weight_bytes"] == count / 32 * 34
    assert numbers(rows, running.LLAMA, 4)["weight_bytes"] == count / 32 * 18


def test_trainings_are_those_of_the_benchmark():
    """The same key, and so the same weights: nothing is trained again."""
    paper = {n.experiment: n.parameters("paper", {}) for n in notebooks.load(PAPER)}
    theirs = vision.plan(**paper["vision"])
    asked = {k: v for k, v in paper["deployment"].items() if k not in ("rounds", "repeats")}
    mine, texts = deployment.plan(**asked | {"models": ["deep_cnn", "residual_cnn", "small_gpt2"]})
    for arm in (Arm("digits", "deep_cnn", "lsq", 4), Arm("digits", "residual_cnn", "t0_qat_tuned", 0)):
        keys = [jobs.training(arm, (0.02, 30.0), 1, "test").key for jobs in (theirs, mine.jobs)]
        assert keys[0] == keys[1] and theirs.replicates[arm] == mine.jobs.replicates[arm]
    theirs = language.plan(**paper["language"])
    assert theirs.starts()["small_gpt2", 1].key == texts.starts["small_gpt2", 1].key
    arm, starts = Arm("pydoc_topics", "small_gpt2", "lsq", 4), {("small_gpt2", 1): "a start"}
    every = [
        jobs._replace(shared=jobs.shared | {"starts": starts}) for jobs in (theirs.jobs, texts.jobs)
    ]
    first, second = (jobs.training(arm, (0.02, 30.0), 1, "test").key for jobs in every)
    assert first == second and theirs.jobs.judged == texts.jobs.judged


def tuned() -> dict[str, pd.DataFrame]:
    arms = [
        Arm("t", model, method, bits)
        for model in ("small_gpt2", "small_llama")
        for method, bits in (("no_noise", 0), ("random_bits", 0), ("ste", 2))
        if model == "small_gpt2" or bits == 0
    ]
    rows = [
        a._asdict() | {"learning_rate": 0.1 + i, "strength": 0.0, "chosen": 1}
        for i, a in enumerate(arms)
    ]
    picks = {"family": "text", "pick": "recommended", "method": ["ste", "no_noise"]}
    picks |= {"eval_bits": [2, 8], "train_bits": [2, 0]}
    return {"language_tuning": pd.DataFrame(rows), "language_tuned": pd.DataFrame(rows),
            "recommendation": pd.DataFrame(picks)}  # fmt: skip


def test_which_arms_run_and_with_whose_settings():
    small, wide = deployment.plan(replicates=2, few_replicates=2, models=["small_gpt2", "wide_llama"])
    every = [8, 4, 3, 2]
    assert small.widths(tuned()) == {
        ("no_noise", 0): every, ("random_bits", 0): every, ("t0_qat_tuned", 0): every, ("ste", 2): [2],
    }  # fmt: skip
    assert wide.widths(tuned()) == {("no_noise", 0): every, ("random_bits", 0): every}
    first = {a.method: s for a, s in small.settings(tuned()).items() if a.model == "small_gpt2"}
    found = wide.settings(tuned())
    assert {a.model for a in found} == {"wide_llama"}
    assert {a.method: s for a, s in found.items()} == first


def test_at_8_bits_alone_methods_without_a_width_run():
    (wide,) = deployment.plan(replicates=2, few_replicates=2, models=["wide_llama"], bits=[8])
    assert wide.widths(tuned()) == {("no_noise", 0): [8], ("random_bits", 0): [8]}


def test_an_unknown_network_is_named():
    with pytest.raises(ParameterError, match="models: 'resnet' is unknown or twice"):
        deployment.plan(replicates=2, few_replicates=2, models=["resnet"])


@pytest.mark.parametrize(
    ("asked", "source", "message"),
    [
        ({"models": ["mlp"], "bits": [8, 3]}, "digits", "bits: 3: vision_kept.csv has 8, 4"),
        ({"models": ["mlp"], "bits": [8, 5]}, "digits", "bits: 5: vision_kept.csv has 8, 4"),
        ({"models": ["small_cnn"]}, "digits", "small_cnn on digits: vision_tuning.csv has mlp"),
        ({"models": ["mlp"]}, "other", "models: mlp on digits: vision_tuning.csv has mlp on other"),
        ({"models": ["wide_llama"]}, "digits", "wide_llama on pydoc_topics: language_tuning.csv"),
    ],
)  # fmt: skip
def test_what_the_benchmark_has_not_measured_is_named_before_computing(
    asked, source, message, monkeypatch
):
    monkeypatch.setattr("t0qat.pipeline.grid.run", lambda *_: pytest.fail("it computes"))
    images = pd.DataFrame([Arm(source, "mlp", "no_noise", 0)._asdict()])
    known = {"vision_tuning": images, "vision_tuned": images}
    known |= dict.fromkeys(("vision_kept", "language_kept"), pd.DataFrame({"eval_bits": [8, 4]}))
    tasks = deployment.plan(**{"replicates": 2, "few_replicates": 2, "bits": [8, 4]} | asked)
    with pytest.raises(ParameterError, match=message):
        deployment.deployed(tasks, tuned() | known)


def test_differences_of_what_runs_follow_from_its_values_and_the_benchmark_s_margins():
    draws = np.random.default_rng(0)
    rows = [
        {"dataset": "digits", "model": "mlp", "layout": "channels", "method": method, "train_bits": 0}
        | {"replicate": i, "runtime": runtime, "format": "int4", "eval_bits": bits, "metric": "loss"}
        | {"value": draws.uniform()}
        for method in ("no_noise", "random_bits")
        for i in range(5)
        for runtime in (running.EXACT, running.LLAMA)
        for bits in (FLOAT, 4, 2)
    ]
    rows = pd.DataFrame(rows)
    place = {"dataset": "digits", "model": "mlp", "layout": "channels", "scale_rule": "own"}
    arm = {"method": "random_bits", "train_bits": 0}
    kept = [
        place | arm | {"eval_bits": bits, "against": "unrounded", "margin": bits / 100}
        | {"planned_deviation": 0.5}
        for bits in (4, 2)
    ]  # fmt: skip
    over = [
        place | arm | {"quantity": q, "against": "plain", "margin": 0.07, "planned_deviation": 0.6}
        for q in ("mean", "worst")
    ]
    known = {"vision_kept": pd.DataFrame(kept), "vision_any_paired": pd.DataFrame(over)}
    found = deployment.tables(rows, known)
    value = rows[rows.runtime == running.EXACT].set_index(["method", "eval_bits", "replicate"])["value"]
    value = value.sort_index()
    row = found["deployment_kept"].set_index(["method", "eval_bits"]).loc[("random_bits", 2)]
    pairs = value["random_bits", 2] - value["no_noise", FLOAT]
    low, high = stats.t.interval(0.95, 4, pairs.mean(), stats.sem(pairs))
    assert row[["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx([pairs.mean(), low, high])
    assert (row.margin, row.planned_deviation, row.n) == (0.02, 0.5, 5)
    wide = found["deployment_any_paired"].query("method == 'random_bits' and quantity == 'worst'")
    worst = [np.maximum(value[m, 4], value[m, 2]).to_numpy() for m in ("random_bits", "no_noise")]
    assert wide.estimate.item() == pytest.approx((worst[0] - worst[1]).mean())
    assert (wide.margin.item(), wide.planned_deviation.item()) == (0.07, 0.6)
    assert {*found["deployment"].runtime} == {running.EXACT, running.LLAMA}


def test_ratios_are_to_the_float_file_of_the_same_round_and_runtime():
    rows = pd.DataFrame(
        {"model": "layer", "runtime": runtime, "format": "x", "eval_bits": bits, "round": number}
        | {"quantity": quantity, "value": value}
        for runtime, bits, value in (
            ("onnxruntime", FLOAT, 8.0), ("onnxruntime", 4, 4.0), ("onnxruntime_8", 4, 2.0),
            ("llama_cpp", FLOAT, 30.0), ("llama_cpp", 4, 10.0),
        )
        for number, value in ((0, value), (1, value * (1 if bits == FLOAT else 2)))
        for quantity in ("milliseconds", "megabytes")
    )  # fmt: skip
    found = speed.beside_floats(rows).set_index(["runtime", "round", "quantity"])["value"]
    expected = {("onnxruntime", 0): 2, ("onnxruntime_8", 0): 4, ("llama_cpp", 0): 3}
    expected |= {("onnxruntime", 1): 1, ("onnxruntime_8", 1): 2, ("llama_cpp", 1): 1.5}
    assert found.xs("faster", level="quantity").to_dict() == expected
    assert found.xs("smaller", level="quantity").to_dict() == expected


def test_memory_is_what_a_process_grows_by(tmp_path, monkeypatch):
    """A runtime that takes 64 million bytes is seen to."""
    taken = running.RUNTIMES[running.EXACT]._replace(
        ask=lambda _: lambda inputs: np.full(8_000_000, 2.0)
    )
    monkeypatch.setitem(running.RUNTIMES, running.EXACT, taken)
    case = speed.Case("layer", running.EXACT, "x", 4, tmp_path, torch.zeros(1, 2))
    assert 60 < speed.growth(case) < 110


@needs_llama
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_what_llama_cpp_changes_is_as_much_as_rounding_inputs_to_8_bits_does(tmp_path, bits):
    """Its outputs differ from fake quantization's by about what torch's do with inputs of every layer
    rounded in blocks as long as the weights'; its file of floats, whose inputs stay floats, differs far
    less."""
    draws = stream("initialization", 0, 0)
    net = language_models.laid_out(language_models.small("wide_llama", 96, 64, draws)).eval()
    ids = torch.from_numpy(draws.integers(96, size=(2, 64)))
    codes = rounding.codes_of(Network(net), "nearest", bits, "mse")
    runtime = running.RUNTIMES[running.LLAMA]

    def ran(some):
        runtime.write(net, ids, some, bits, tmp_path / "model.gguf")
        return runtime.ask(tmp_path / "model.gguf")(ids)

    def rounded_inputs(layer, given):
        blocks = given[0].unflatten(-1, (-1, gguf_file.CONTAINERS[bits].block))
        step = blocks.abs().amax(-1, keepdim=True) / 127
        return ((blocks / step).round() * step).flatten(-2)

    def size(difference):
        return difference.square().mean().sqrt().item()

    twin = rounding.rounded(net, runtime.kept(codes))
    with torch.no_grad():
        floats, exact = net(ids), twin(ids)
        for name, layer in twin.named_modules():
            if f"{name}.weight" in codes:
                layer.register_forward_pre_hook(rounded_inputs)
        simulated = twin(ids)
    changed = size(torch.from_numpy(ran(codes)) - exact)
    assert 0.5 < changed / size(simulated - exact) < 2
    assert size(torch.from_numpy(ran({})) - floats) < changed / 20
