"""The recommendation elsewhere: values against plain computations, and which settings are used."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

from t0qat.experiments import language, on_text, trained, transfer, trial
from t0qat.experiments.arms import Arm
from t0qat.experiments.compare import Metric
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization.quantizers import Grid, quantize
from t0qat.quantization.rounding import rounded
from t0qat.training import tasks

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"replicates": 2, "models": ["mlp", "small_llama"], "epochs": 1, "context": 16}
TINY |= {"pretraining_steps": 3, "steps": 2, "device": "cpu"}
RATES = {("no_noise", 0): 0.02, ("ste", 4): 0.01, ("random_bits", 0): 0.003}


def results() -> dict[str, pd.DataFrame]:
    """Files of tuning: the family's first network chose RATES, another chose none of them."""
    found = {}
    for file, names in {"vision": ("few", "deep_cnn", "mlp"), "language": ("small_gpt2",)}.items():
        arms = [
            Arm("d", model, method, bits)
            for model in names
            for method, bits in RATES
            if model != "few" or method == "no_noise"
        ]
        first = names[-2] if len(names) > 1 else names[0]
        rates = [RATES[a.method, a.train_bits] if a.model == first else 0.5 for a in arms]
        rows = [
            arm._asdict() | {"learning_rate": rate, "strength": math.nan, "chosen": 1}
            for arm, rate in zip(arms, rates, strict=True)
        ]
        rows += [row | {"learning_rate": 0.7, "chosen": 0} for row in rows]
        rows += [row | {"learning_rate": 0.9, "layout": "groups"} for row in rows[:1]]
        found |= {f"{file}_tuning": pd.DataFrame(rows), f"{file}_tuned": pd.DataFrame(rows)}
    return found


PICKS = pd.DataFrame(
    {"family": family, "pick": pick, "eval_bits": bits, "method": method, "train_bits": trained}
    for family in ("images", "text")
    for pick, bits, method, trained in (
        ("recommended", 8, "no_noise", 0),
        ("recommended", 4, "ste", 4),
        ("one_for_all", 8, "random_bits", 0),
        ("one_for_all", 4, "random_bits", 0),
        ("cheaper", 4, "gptq", 0),  # not tried elsewhere, and has no setting here
    )
)


@pytest.fixture(scope="module")
def rows(corpus, tmp_path_factory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer.grid, "STORE", tmp_path_factory.mktemp("cells"))
        patch.setattr(transfer.grid.weights, "FOLDER", tmp_path_factory.mktemp("weights"))
        patch.setattr(transfer.grid.joblib, "cpu_count", lambda: 1)
        tasks = transfer.plan(**TINY | {"corpus": corpus})
        # A pick has a row for each network and quantity of the benchmark.
        return transfer.tried(tasks, pd.concat([PICKS, PICKS]), results())


def of(rows: pd.DataFrame, **keys) -> dict:
    for name, at in keys.items():
        rows = rows[rows[name] == at]
    (row,) = rows.to_dict("records")
    return row


def image_loss(method: str, bits: int, width: int | None, replicate: int) -> float:
    """Test loss of this arm's network on the digits, trained at its rate of RATES."""
    made = trial.train(
        "images", Arm("digits", "mlp", method, bits), RATES[method, bits], math.nan, part="test",
        replicate=replicate, epochs=1, batch_size=64, schedule="warmup_cosine", seed=0, device="cpu",
    )  # fmt: skip
    net = made.opened(made.made(), **made.arguments).net
    *_, others, target = map(torch.from_numpy, tasks.IMAGES["digits"](replicate, 0))
    with torch.no_grad():
        for w in net.parameters():
            if width and w.ndim > 1:
                rule = "mse" if method == "no_noise" else "absmax"
                codes, step = quantize(w.flatten(1), Grid(width, scale=rule))
                w.copy_((codes * step).view_as(w))
        return cross_entropy(net(others), target).item()


def ends(differences: list[float]) -> list[float]:
    mean = np.mean(differences)
    return [mean, *stats.t.interval(0.95, len(differences) - 1, mean, stats.sem(differences))]


@pytest.mark.parametrize(
    ("pick", "arm", "width"),
    [
        ("recommended", ("no_noise", 0), 8),
        ("recommended", ("ste", 4), 4),
        ("one_for_all", ("random_bits", 0), 4),
    ],
)
def test_images_are_those_of_networks_rounded_by_hand(rows, pick, arm, width):
    mine = [image_loss(*arm, width, i) for i in range(2)]
    plain = [image_loss("no_noise", 0, width, i) for i in range(2)]
    whole = [image_loss("no_noise", 0, None, i) for i in range(2)]
    others = {"loss": [0.0, 0.0], "minus_unrounded": whole}
    others |= {"minus_plain": plain} if arm[0] != "no_noise" else {}
    where = {"model": "mlp", "pick": pick, "eval_bits": width}
    here = rows[(rows.model == "mlp") & (rows["pick"] == pick) & (rows.eval_bits == width)]
    assert {*here.quantity} == {*others}
    for quantity, other in others.items():
        row = of(rows, **where, quantity=quantity)
        shown = [row[c] for c in ("estimate", "ci_low", "ci_high")]
        np.testing.assert_allclose(shown, ends(np.subtract(mine, other)), rtol=1e-3, atol=1e-5)
        assert row["n"] == 2
        cost = np.mean(np.subtract(plain, whole))
        margin = math.nan if quantity == "loss" else max(0.02, 0.1 * cost)
        np.testing.assert_allclose(row["margin"], margin, rtol=1e-3)


def test_language_models_go_on_from_starts_of_their_own(rows, corpus):
    shared = {"context": 16, "schedule": "warmup_cosine", "seed": 0, "device": "cpu"}
    found = []
    for i in range(2):
        start = on_text.pretrain(
            dataset=corpus, model="small_llama", replicate=i, batch_size=16, pretraining_steps=3,
            pretraining_rate=0.004, **shared,
        )  # fmt: skip

        def opened(method, bits, i=i, start=start):
            made = trial.train(
                "text", Arm(corpus, "small_llama", method, bits), RATES[method, bits], math.nan,
                part="test", replicate=i, starts={("small_llama", i): start}, steps=2, batch_size=8,
                **shared,
            )  # fmt: skip
            return made.opened(made.made(), **made.arguments)

        plain, ste = opened("no_noise", 0), opened("ste", 4)
        net = rounded(ste.net, trained.codes_of(ste, "ste", 4, "absmax"))
        score = {"blocks": 16, "block_windows": 8}
        found.append(ste.criterion(net, **score) - plain.criterion(plain.net, **score))
    row = of(rows, model="small_llama", pick="recommended", eval_bits=4, quantity="minus_unrounded")
    shown = [row[c] for c in ("estimate", "ci_low", "ci_high")]
    np.testing.assert_allclose(shown, ends(found), rtol=1e-3, atol=1e-5)


def test_every_pick_is_read_at_its_widths_on_every_network(rows):
    assert len(rows) == 2 * (2 + 3 + 3 + 3)  # networks; plain training is not compared with itself
    assert {*rows.model} == {"mlp", "small_llama"}
    assert not rows[(rows.method == "no_noise") & (rows.quantity == "minus_plain")].size


def cells_of(models: list[str], monkeypatch) -> list:
    """The cells that would be computed there."""
    seen = []

    def run(cells, words):
        seen.extend(cells)
        return [[] for _ in cells] if words == "starts" else 1 / 0

    monkeypatch.setattr(transfer.grid, "run", run)
    with pytest.raises(ZeroDivisionError):
        transfer.tried(transfer.plan(**TINY | {"models": models}), PICKS, results())
    return seen


def test_rates_are_those_of_the_familys_first_network_with_all_methods(monkeypatch):
    cells = cells_of(["small_cnn"], monkeypatch)
    rates = {cell.reads.arguments["method"]: cell.reads.arguments["learning_rate"] for cell in cells}
    assert rates == {"no_noise": 0.02, "ste": 0.01, "random_bits": 0.003}
    assert {cell.reads.arguments["part"] for cell in cells} == {"test"}
    assert {cell.reads.arguments["replicate"] for cell in cells} == {0, 1}


def test_starts_are_the_benchmarks_own_so_that_nothing_is_pretrained_again(monkeypatch):
    shared = {name: TINY[name] for name in ("context", "pretraining_steps", "steps", "device")}
    benchmark = language.plan(replicates=2, **shared)
    cells = cells_of(["small_llama"], monkeypatch)
    starts = [cell for cell in cells if cell.function is on_text.pretrain]
    own = benchmark.starts()
    assert [cell.key for cell in starts] == [own["small_llama", i].key for i in range(2)]


def test_a_paired_difference_is_that_of_the_same_replicates():
    arm = {"dataset": "d", "model": "m", "layout": "channels", "metric": "loss"}
    plain = {"method": "no_noise", "train_bits": 0}
    ste = {"method": "ste", "train_bits": 4, "eval_bits": 4, "scale_rule": "absmax"}
    numbers = {"plain": [1.0, 2.0, 4.0], "whole": [0.5, 1.0, 1.5], "ste": [0.9, 1.5, 4.5]}
    kinds = {"plain": plain | {"eval_bits": 4, "scale_rule": "mse"}, "ste": ste}
    kinds["whole"] = plain | {"eval_bits": 32, "scale_rule": "none"}
    values = pd.DataFrame(
        arm | kinds[kind] | {"replicate": i, "value": value}
        for kind, some in numbers.items()
        for i, value in enumerate(some)
    ).sample(frac=1, random_state=0)
    chosen = pd.DataFrame([{"pick": "recommended", "eval_bits": 4, "method": "ste", "train_bits": 4}])
    table = transfer.held(chosen, values, Metric("loss", less_is_better=True)).set_index("quantity")
    for quantity, other in {"minus_plain": "plain", "minus_unrounded": "whole"}.items():
        test = stats.ttest_rel(numbers["ste"], numbers[other])
        row = table.loc[quantity]
        np.testing.assert_allclose([row.ci_low, row.ci_high], test.confidence_interval(0.95))
        assert row.margin == pytest.approx(0.1 * (7 - 3) / 3)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"models": ["resnet"]}, "models: 'resnet' is unknown or twice"),
        ({"replicates": 1}, "replicates = 1"),
        ({"dataset": "none.npz"}, "no images there"),
    ],
)
def test_bad_parameters_stop_before_computing(wrong, told):
    with pytest.raises(ParameterError, match=told):
        transfer.plan(**TINY | wrong)
