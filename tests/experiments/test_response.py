"""The response surface: single cells against plain loops, lengths of training, and the best rates."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

from t0qat.experiments import on_text, response, trial, tuning, vision
from t0qat.experiments.arms import Arm
from t0qat.experiments.response import FIRST
from t0qat.paper import PAPER
from t0qat.pipeline import results
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.quantizers import Grid, quantize
from t0qat.training import tasks
from t0qat.training.constants import XI
from t0qat.training.loop import warmup_cosine
from t0qat.training.models import MODELS
from t0qat.training.streams import stream

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"replicates": 2, "few_replicates": 2, "models": ["mlp", "small_gpt2"], "budgets": [0.5, 1]}
TINY |= {"scalings": [100], "shares": [0.3], "image_rates": [0.02], "text_rates": [0.003]}
TINY |= {"bits": [4], "epochs": 2, "context": 16, "pretraining_steps": 3, "steps": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def rows(corpus, tmp_path_factory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response.grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(response.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        patch.setattr(response.grid.joblib, "cpu_count", lambda: 1)
        return response.surface(**TINY | {"corpus": corpus})


def value(rows: pd.DataFrame, **keys) -> float:
    for name, at in keys.items():
        rows = rows[rows[name].isna() if at is None else rows[name] == at]
    return rows.value.item()


def shifts(method: str, weights: dict, draws: np.random.Generator) -> dict:
    """What each step adds to the weights before it looks at the loss."""
    found = {}
    for name, w in weights.items():
        if method == "t0_qat_tuned":
            size = XI * 100
        elif method == "relative_noise" and w.ndim > 1:
            size = 0.3 * (w.flatten(1) ** 2).mean(1).sqrt()[:, None]
        else:
            continue
        found[name] = size * torch.from_numpy(draws.standard_normal(w.shape, np.float32))
    return found


@pytest.mark.parametrize("method", ["no_noise", "t0_qat_tuned", "relative_noise"])
@pytest.mark.parametrize(("budget", "epochs"), [(0.5, 1), (1, 2)])
def test_a_value_is_that_of_a_plain_loop(rows, method, budget, epochs):
    """Adam by hand on the same split, start, order and draws; every shift is taken back."""
    i = FIRST + 1
    data = tasks.held_out_quarter(tasks.IMAGES["digits"](i, 0), i, 0)
    inputs, classes, others, target = map(torch.from_numpy, data)
    net = MODELS["mlp"](stream("initialization", i), (1, 8, 8), 10)
    weights, optimizer = dict(net.named_parameters()), torch.optim.Adam(net.parameters(), fused=True)
    draws, order = stream("training_noise", i), stream("batch_order", i)
    count = round(len(inputs) / 64)
    for epoch in range(epochs):
        mixed = torch.from_numpy(order.permutation(len(inputs)))
        for number, part in enumerate(mixed.tensor_split(count)):
            done = (epoch * count + number) / (epochs * count)
            optimizer.param_groups[0]["lr"] = 0.02 * warmup_cosine(done)
            optimizer.zero_grad()
            with torch.no_grad():
                clean = {name: w.clone() for name, w in weights.items()}
                for name, shift in shifts(method, weights, draws).items():
                    weights[name].add_(shift)
            cross_entropy(net(inputs[part]), classes[part]).backward()
            with torch.no_grad():
                for name, w in clean.items():
                    weights[name].copy_(w)
            optimizer.step()
    net.eval()
    strength = {"t0_qat_tuned": 100, "relative_noise": 0.3}.get(method)
    where = {"model": "mlp", "method": method, "strength": strength, "budget": budget, "replicate": 1}
    with torch.no_grad():
        expected = cross_entropy(net(others), target).item()
        assert value(rows, **where, eval_bits=32) == pytest.approx(expected, rel=1e-4)
        for w in weights.values():
            if w.ndim > 1:
                codes, step = quantize(w.flatten(1), Grid(4, scale="mse"))
                w.copy_((codes * step).view_as(w))
        expected = cross_entropy(net(others), target).item()
    assert value(rows, **where, eval_bits=4) == pytest.approx(expected, rel=1e-3)


def test_language_models_go_on_from_a_start_of_their_own(rows, corpus):
    i = FIRST + 1
    shared = {"context": 16, "schedule": "warmup_cosine", "seed": 0, "device": "cpu"}
    start = on_text.pretrain(
        dataset=corpus, model="small_gpt2", replicate=i, batch_size=16, pretraining_steps=3,
        pretraining_rate=0.004, **shared,
    )  # fmt: skip
    made = trial.train(
        "text", Arm(corpus, "small_gpt2", "random_bits", 0), 0.003, math.nan, part="validation",
        replicate=i, starts={("small_gpt2", i): start}, steps=2, batch_size=8, **shared,
    )  # fmt: skip
    learner = made.opened(made.made(), **made.arguments)
    where = {"model": "small_gpt2", "method": "random_bits", "strength": None, "budget": 0.5}
    expected = learner.criterion(learner.net, blocks=16, block_windows=8)
    assert value(rows, **where, replicate=1, eval_bits=32) == pytest.approx(expected, rel=1e-12)


def test_every_curve_is_there_and_no_training_is_one_of_tuning_or_test(rows):
    assert len(rows) == 2 * 2 * 4 * 2 * 2  # networks, budgets, curves, replicates, widths
    (task,) = response._tasks(response_parameters(models=["deep_cnn"], epochs=12))
    found = task.trainings([("no_noise", math.nan), ("random_bits", math.nan)], [0.333, 1, 3])
    seen = {(label["budget"], cell.reads.arguments["epochs"]) for label, cell in found}
    assert seen == {(0.333, 4), (1, 12), (3, 36)}
    assert {cell.reads.arguments["part"] for _, cell in found} == {"validation"}
    least = min(cell.reads.arguments["replicate"] for _, cell in found)
    tuned = vision.plan(replicates=2, few_replicates=2, trainings=1000).rivals
    assert least > tuning.FIRST + max(seen for one in tuned for _, seen in one.rounds)


def response_parameters(**changed) -> dict:
    return TINY | {"dataset": "digits", "corpus": "pydoc_topics", "seed": 0} | changed


def test_a_short_budget_is_one_epoch_at_least():
    (task,) = response._tasks(response_parameters(models=["mlp"]))
    ((_, cell), *_) = task.trainings([("no_noise", math.nan)], [0.001])
    assert cell.reads.arguments["epochs"] == 1


def made_up(method: str, strength: float, rate: float, values: list[float]) -> list[dict]:
    where = {"dataset": "digits", "model": "mlp", "method": method, "strength": strength}
    where |= {"budget": 1, "eval_bits": 2, "learning_rate": rate}
    return [where | {"replicate": i, "value": value} for i, value in enumerate(values)]


def test_each_curve_is_compared_at_its_own_best_rate():
    rows = made_up("no_noise", math.nan, 0.1, [1.0, 2.0, 3.0])
    rows += made_up("no_noise", math.nan, 0.2, [1.5, 2.0, 2.2])  # the better mean
    rows += made_up("t0_qat_tuned", 30, 0.1, [1.0, 1.0, 1.6])[::-1]  # the better mean
    rows += made_up("t0_qat_tuned", 30, 0.2, [0.0, 4.0, 0.0])
    rows += made_up("t0_qat_tuned", 300, 0.1, [2.0, 2.0, 2.0])  # equal means: the lower rate
    rows += made_up("t0_qat_tuned", 300, 0.2, [1.0, 2.0, 3.0])
    plain, some, more = response.best(pd.DataFrame(rows)).to_dict("records")
    assert (plain["best_rate"], plain["loss"]) == (0.2, pytest.approx(1.9))
    assert all(math.isnan(plain[name]) for name in ("estimate", "ci_low", "ci_high"))
    assert (some["best_rate"], some["loss"], some["n"]) == (0.1, pytest.approx(1.2), 3)
    test = stats.ttest_rel([1.0, 1.0, 1.6], [1.5, 2.0, 2.2])
    expected = [np.mean([-0.5, -1.0, -0.6]), *test.confidence_interval(0.95)]
    np.testing.assert_allclose([some[k] for k in ("estimate", "ci_low", "ci_high")], expected)
    assert (more["best_rate"], more["estimate"]) == (0.1, pytest.approx(0.1))


def test_the_tables_keep_curves_without_a_strength_and_come_back_from_their_files(rows, tmp_path):
    made = response.tables(rows)
    assert {*made["response"].method} == {"no_noise", *response.METHODS}
    for name, table in made.items():
        path = tmp_path / f"paper/results/{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(results.text(PAPER, name, table))
        back = results.read(PAPER, name, tmp_path)
        pd.testing.assert_frame_equal(
            back, table[PAPER.columns_of(name)].reset_index(drop=True), check_dtype=False, rtol=1e-7
        )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"models": ["resnet"]}, "models: 'resnet' is unknown or twice"),
        ({"budgets": [1, 0.5]}, "budgets = "),
        ({"bits": [16]}, "networks are read at 2 to 8 bits"),
        ({"dataset": "none.npz"}, "no images there"),
    ],
)
def test_bad_parameters_stop_before_computing(monkeypatch, wrong, told):
    monkeypatch.setattr(response.grid, "run", None)
    with pytest.raises(ParameterError, match=told):
        response.surface(**TINY | wrong)
