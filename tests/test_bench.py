"""What is timed is what it is said to be; the times themselves are not tested."""

import sys

import pandas as pd
import pytest
import torch
from joblib.externals.loky import get_reusable_executor

import bench
from t0qat.experiments import arms
from t0qat.paper import PAPER
from t0qat.pipeline import costs, grid, notebooks
from t0qat.training import plain
from t0qat.training.methods import REGISTRY
from t0qat.training.views import Method

CELLS = """
import pathlib, uuid, torch

def training(folder, x):
    pathlib.Path(folder, str(uuid.uuid4())).touch()
    return {"threads": torch.tensor(torch.get_num_threads())}

def opened(weights, folder, x):
    return weights["threads"].item()

def threads(trained):
    return trained
"""


@pytest.fixture
def several(tmp_path, monkeypatch):
    """Cells that tell how many threads training had, which leaves a file each time; two processes."""
    (tmp_path / "told.py").write_text(CELLS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    notes = tmp_path / "notes"
    notes.mkdir()
    import told

    trainings = [
        grid.Training(told.training, {"folder": str(notes), "x": x}, (), opened=told.opened)
        for x in range(4)
    ]
    yield [grid.Cell(told.threads, {}, (), reads=training) for training in trainings], notes
    del sys.modules["told"]
    get_reusable_executor().shutdown(kill_workers=True)


def test_the_loop_has_torchs_threads_the_grid_one_each_and_both_compute_every_time(several):
    cells, notes = several
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for times in (1, 2):
            assert bench.in_loop(cells) == [3] * 4
            assert bench.in_grid(cells) == [1] * 4
            assert len(list(notes.iterdir())) == 8 * times
    finally:
        torch.set_num_threads(before)
    assert not list(grid.STORE.rglob("*.json"))


def test_every_method_has_its_cost_and_plain_training_costs_one(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "BATCH", 2000)  # one step
    monkeypatch.setitem(REGISTRY, "mine", Method("Mine", plain.no_noise, "none"))
    costs = bench.step_costs()
    assert sorted(costs.index) == sorted(method.label for method in REGISTRY.values())
    assert "Mine" in costs.index
    assert costs["No noise"] == 1
    assert (costs > 0).all()


def test_medians_are_of_ratios_within_a_round_and_leave_out_the_warm_up(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 3)
    clock = iter([100, 1, 2, 4, 3, 3, 4, 40])  # a and b by turns
    monkeypatch.setattr(bench, "seconds", lambda work: next(clock))
    assert bench.medians({"a": None, "b": None}, "a").to_dict() == {"a": 1, "b": 2}


def test_sizes_of_the_integer_model_are_those_of_its_bits_steps_and_biases(monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    found = bench.integer_models()
    weights, channels = 9 * 16 + 9 * 16 * 32 + 512 * 10, 16 + 32 + 10
    for bits in (8, 4, 3, 2):
        size = weights * bits / 8 + 4 * channels + 4 * channels
        assert found["size"][bits] == pytest.approx(size / (4 * (weights + channels)))
    assert (found > 0).all(axis=None)


def test_the_last_line_has_all_ratios(monkeypatch, capsys):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    for name in ("ROUNDS", "GRID_ROUNDS", "LOOPS", "FORWARDS"):
        monkeypatch.setattr(bench, name, 1)
    monkeypatch.setattr(bench, "REPLICATES", range(2))
    monkeypatch.setattr(bench, "BATCH", 2000)
    few = {"models": ["mlp"], "epochs": 1, "batch_size": 2000}
    monkeypatch.setattr(bench, "NETWORKS", bench.NETWORKS | few)
    tiny = {"models": ["small_gpt2"], "methods": ["t0_qat"], "steps": 1, "context": 8, "bits": [2]}
    tiny |= {"trained_bits": [2]}
    monkeypatch.setattr(bench, "LANGUAGE", bench.LANGUAGE | tiny)
    monkeypatch.setattr(bench, "pin_costs", lambda: pd.Series({"linear": 1.0, "language": 1.5}))
    bench.main(PAPER)
    *lines, last = capsys.readouterr().out.splitlines()
    name, *ratios = last.split()
    assert name == "bench:"
    values = {key: float(value) for key, value in (ratio.split("=") for ratio in ratios)}
    assert list(values) == ["unique", "shared", "floor", "vision", "language", "pin"]
    assert values["pin"] == 1.5  # of the costliest
    assert all(value > 0 for name, value in values.items() if name != "floor")  # that rounds to 0 here
    assert any(line.startswith(REGISTRY["sam"].label) for line in lines)
    assert {notebook.name for notebook in notebooks.load(PAPER)} < {line.split(" ")[0] for line in lines}
    assert len(bench.vision_cells()) == 2 * len(
        arms.arms("digits", "mlp", ["no_noise", "t0_qat", "random_bits"], (4, 3, 2))
    )
    assert len(bench.language_cells()) == 2 * 2  # plain and T0-QAT, two replicates each


def test_core_minutes_are_those_of_the_record_and_a_gap_where_it_has_none(tmp_path):
    first, *others = (notebook.name for notebook in notebooks.load(PAPER))
    costs.record(first, costs.Cost(seconds=60, core_seconds=90), tmp_path)
    costs.record("gone", costs.Cost(seconds=60, core_seconds=90), tmp_path)
    found = bench.core_minutes(PAPER, tmp_path)
    assert list(found.index) == [first, *others]
    assert found[first] == 1.5
    assert found[others].isna().all()


def test_the_steps_that_the_pin_is_timed_on_run(monkeypatch):
    monkeypatch.setattr(bench, "REPLICATES", range(2))
    monkeypatch.setattr(bench, "BATCH", 2000)
    monkeypatch.setattr(bench, "FORWARDS", 1)
    times = bench.plain_steps()
    assert list(times) == ["linear", "vision", "language"]
    assert all(time > 0 for time in times.values())
