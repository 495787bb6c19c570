"""Cells are computed once, kept whole, resumed after kills, and equal wherever they run."""

import json
import math
import os
import signal
from dataclasses import replace
from functools import partial

import psutil
import pytest
from joblib.externals.loky import get_reusable_executor
from toy_cells import FIXTURES, TOYS, calls, draws, environment, expected, script, wait

from t0qat.experiments import expansion
from t0qat.pipeline import grid, places, progress
from t0qat.pipeline.grid import Cell, GridError

module, toys = FIXTURES


@pytest.mark.parametrize("processes", ["1", "2"])
def test_results_come_in_order_to_the_last_bit_and_are_computed_once(toys, monkeypatch, processes):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", processes)
    cells = draws(toys, 9)
    turned = cells[::-1] + cells[:2]
    assert grid.run(turned, "draws") == expected(9)[::-1] + expected(2)
    assert calls(toys) == 9
    assert grid.run(cells, "draws") == expected(9)
    assert list(grid.run(cells, "draws")[0]) == ["replicate", "values", "norm"], (
        "columns keep their order"
    )
    assert calls(toys) == 9
    pids = {path.read_text() for path in toys.notes.iterdir()}
    assert (str(os.getpid()) in pids) == (processes == "1")


def test_the_key_follows_function_arguments_code_and_versions(toys, monkeypatch, tmp_path):
    base = Cell(toys.draw, {"a": 1, "b": [2, None]}, (toys.plain,))
    keys = [
        base.key,
        Cell(toys.fail, base.arguments, base.code).key,
        Cell(toys.draw, {"a": 1.0, "b": [2, None]}, base.code).key,
        Cell(toys.draw, {"a": True, "b": [2, None]}, base.code).key,
        Cell(toys.draw, base.arguments, (toys.doubled,)).key,
        Cell(toys.draw, base.arguments, (toys,)).key,
    ]
    (tmp_path / "data.txt").write_text("a")
    keys.append(Cell(toys.draw, base.arguments, (tmp_path / "data.txt",)).key)
    (tmp_path / "other.txt").write_text("b")
    keys.append(Cell(toys.draw, base.arguments, (tmp_path / "other.txt",)).key)
    assert len(set(keys)) == len(keys)
    assert Cell(toys.draw, {"b": (2, None), "a": 1}, (toys.plain,)).key == base.key
    for name in ("python", "numpy", "torch"):
        changed = grid.versions() | {name: "0"}
        monkeypatch.setattr("t0qat.pipeline.cells.versions", lambda changed=changed: changed)
        assert base.key not in keys
        monkeypatch.undo()


def test_paper_notebooks_and_one_notebooks_runs_share_what_they_computed(toys, monkeypatch):
    cells = draws(toys, 1)
    for name in ("paper", "run/06_language", ""):
        monkeypatch.setenv(places.RUN, name)
        assert grid.run(cells, "draws") == expected(1)
    assert calls(toys) == 1


def test_each_other_run_has_a_store_of_its_own(toys, monkeypatch):
    cells = draws(toys, 1)
    for count, name in enumerate(["paper", "verify", "smoke", "outputs"], 1):
        monkeypatch.setenv(places.RUN, name)
        grid.run(cells, "draws")
        grid.run(cells, "draws")
        assert calls(toys) == count
        assert len(list((grid.STORE / name).rglob("*.json"))) == 1


def test_verify_forgets_its_own_cells_only(monkeypatch, tmp_path):
    from t0qat.pipeline import verify

    monkeypatch.setattr(places, "BUILD", tmp_path)
    kept = [tmp_path / "cells" / name / "ab" / "c.json" for name in ("verify", "paper")]
    for path in kept:
        places.write(path, "{}")
    verify._forget(places.Run("verify", "paper", tmp_path / "verify", "verify"))
    assert [path.exists() for path in kept] == [False, True]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-10],
        lambda b: b"",
        lambda b: b.replace(b'"replicate": 2', b'"replicate": 3'),
        lambda b: b"[1]",
        lambda b: b"\xff" + b,
    ],
)
def test_a_damaged_file_is_computed_anew_and_it_alone(toys, damage):
    cells = draws(toys, 4)
    grid.run(cells, "draws")
    path = grid._path(cells[2].key)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert grid.run(cells, "draws") == expected(4)
    assert [calls(toys, i) for i in range(4)] == [1, 1, 2, 1]
    assert path.read_bytes() == whole


def test_another_cells_file_is_not_taken_for_this_ones(toys):
    cells = draws(toys, 2)
    grid.run(cells, "draws")
    grid._path(cells[1].key).write_bytes(grid._path(cells[0].key).read_bytes())
    assert grid.run(cells, "draws") == expected(2)


@pytest.mark.parametrize("what", ["nan", "inf", "set", "int64"])
def test_what_json_does_not_hold_is_refused_and_not_kept(toys, what):
    with pytest.raises(GridError) as caught:
        grid.run([Cell(toys.give, {"what": what}, ())], "things")
    assert f'give({{"what": "{what}"}}): GridError: its result must be JSON values' in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(grid.STORE.rglob("*.json"))
    for bad in (math.nan, math.inf, {1}):
        with pytest.raises(GridError, match=r"plain\(.*its arguments must be JSON values"):
            grid.run([Cell(toys.plain, {"x": bad}, ())], "things")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_failing_cell_is_named_and_finished_ones_are_kept(toys, monkeypatch, processes):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", processes)

    def cells(bad):
        options = {"folder": str(toys.notes), "bad": bad}
        return [Cell(toys.fail, {"replicate": i} | options, ()) for i in range(6)]

    with pytest.raises(GridError) as caught:
        grid.run(cells(4), "things")
    assert str(caught.value).startswith('fail({"replicate": 4')
    assert str(caught.value).endswith("ValueError: no such")
    assert "in fail" in str(caught.value.__cause__)  # where, for whoever reads on
    kept = len(list(grid.STORE.rglob("*.json")))
    assert kept == 4 if processes == "1" else kept >= 1


def test_a_worker_that_dies_once_is_replaced(toys, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    cells = [Cell(toys.die_once, {"folder": str(toys.notes), "x": x}, ()) for x in range(6)]
    assert grid.run(cells, "things") == list(range(6))
    assert (toys.notes / "died").exists()


def test_a_worker_that_dies_is_one_line(toys):
    with pytest.raises(GridError, match=r"a worker process died.*kept") as caught:
        grid.run([Cell(toys.die, {}, ()), *draws(toys, 2)], "things")
    assert "\n" not in str(caught.value)
    assert grid.run(draws(toys, 3), "draws") == expected(3)


def test_a_worker_that_dies_when_all_else_has_ended_is_one_line(toys, tmp_path):
    """In a fresh interpreter, which must not die with it."""
    code = """
import functools, time
last = grid.Cell(toys.die, {}, (), functools.partial(time.sleep, 2))
grid.run([last, grid.Cell(toys.plain, {"x": 1}, ())], "things")
"""
    _, told = script(tmp_path, code, LOKY_MAX_CPU_COUNT="2").communicate(timeout=600)
    # Python's tracker, a process of its own, may add what the dead one left behind.
    *_, last = [line for line in told.splitlines() if "resource_tracker" not in line]
    assert "GridError: a worker process died, perhaps for want of memory" in last
    assert len(list(grid.STORE.rglob("*.json"))) == 1


def test_a_worker_whose_memory_grew_makes_way_without_a_word(toys, monkeypatch, recwarn):
    """A notebook's output would hold the warning now and then."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    processes = grid.run([Cell(toys.grow, {"x": x}, ()) for x in range(8)], "things")
    assert len({*processes}) > 2
    assert [str(warning.message) for warning in recwarn] == []


def test_a_cell_out_of_memory_says_so(toys):
    with pytest.raises(GridError, match=r"^exhaust\(\{\}\): MemoryError$"):
        grid.run([Cell(toys.exhaust, {}, ())], "things")


def test_what_a_notebook_shows_of_a_failing_cell_ends_with_the_one_line(toys, tmp_path):
    bad = {"folder": str(toys.notes), "bad": 1}
    code = f"grid.run([grid.Cell(toys.fail, {bad!r} | {{'replicate': i}}, ()) for i in range(2)], 'x')"
    _, told = script(tmp_path, code, LOKY_MAX_CPU_COUNT="2").communicate(timeout=600)
    assert "in fail" in told
    last = told.splitlines()[-1]
    assert last.startswith("t0qat.pipeline.cells.GridError: fail(")
    assert last.endswith("): ValueError: no such")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_cell_that_is_not_kept_is_computed_each_time_after_what_comes_before_it(
    toys, tmp_path, monkeypatch, processes
):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", processes)
    before = partial(toys.note, str(toys.notes), "before")
    cells = [replace(cell, kept=False, before=before) for cell in draws(toys, 3)]
    for times in (1, 2):
        assert grid.run(cells, "draws") == expected(3)
        assert [calls(toys, i) for i in range(3)] == [times] * 3
        assert calls(toys, "before") == 3 * times
    assert not list(grid.STORE.rglob("*.json"))
    grid.run(draws(toys, 3), "draws")
    grid.run(cells, "draws")
    assert [calls(toys, i) for i in range(3)] == [4] * 3


def test_a_changed_method_runs_its_own_cells_only(toys, tmp_path):
    code = f"""
from t0qat.pipeline.grid import Cell
cells = [
    Cell(toys.with_method, {{"folder": {str(toys.notes)!r}, "method": m, "x": x}}, (getattr(toys, m),))
    for m in ("plain", "doubled") for x in (1, 2)
]
print(json.dumps(grid.run(cells, "methods")))
"""
    first, told = script(tmp_path, code, LOKY_MAX_CPU_COUNT="1").communicate(timeout=600)
    assert first, told
    assert json.loads(first) == [1, 2, 2, 4]
    (tmp_path / "toys.py").write_text(TOYS.replace("2 * x", "3 * x"))
    second, told = script(tmp_path, code, LOKY_MAX_CPU_COUNT="1").communicate(timeout=600)
    assert json.loads(second) == [1, 2, 3, 6], told
    assert (calls(toys, "plain"), calls(toys, "doubled")) == (2, 4)


def test_worker_processes_that_loaded_other_sources_are_refused(toys, tmp_path):
    code = f"""
from t0qat.pipeline.cells import Cell, code
def cells(start):
    one = {{"folder": {str(toys.notes)!r}}}
    return [Cell(toys.draw, one | {{"replicate": i}}, (toys,)) for i in range(start, start + 2)]
code(toys.draw, toys)  # as loaded
path = pathlib.Path(toys.__file__)
path.write_text(path.read_text() + "# changed\\n")
try:
    grid.run(cells(0), "draws")
except grid.GridError as error:
    print(error)
"""
    out, told = script(tmp_path, code, LOKY_MAX_CPU_COUNT="2").communicate(timeout=600)
    assert "sources changed since processes started: restart" in out, told
    assert calls(toys) == 0
    assert not list(grid.STORE.rglob("*.json"))


def test_after_a_kill_its_workers_end_and_a_second_run_computes_only_the_rest(toys, tmp_path):
    cells = draws(toys, 12, seconds=0.3)
    code = f"""
from t0qat.pipeline.grid import Cell
options = {cells[0].arguments!r}
cells = [Cell(toys.draw, options | {{"replicate": i}}, ()) for i in range(12)]
grid.run(cells, "draws")
"""
    driver = script(tmp_path, code, LOKY_MAX_CPU_COUNT="2")
    wait(lambda: len(list(grid.STORE.rglob("[!.]*.json"))) >= 3, driver)
    workers = psutil.Process(driver.pid).children(recursive=True)
    assert len(workers) >= 2
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()  # its pipes may be open in workers
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert not alive
    kept = len(list(grid.STORE.rglob("[!.]*.json")))
    before = calls(toys)
    assert 3 <= kept < 12
    assert grid.run(cells, "draws") == expected(12)
    assert calls(toys) - before == 12 - kept


def test_in_the_pipeline_progress_is_a_line_in_the_stage_that_goes_with_the_grid(
    toys, tmp_path, monkeypatch
):
    monkeypatch.setenv(places.STAGE, str(tmp_path / "stage"))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    path = tmp_path / "stage" / progress.FILE
    lines = []
    write = places.write
    monkeypatch.setattr(
        places, "write", lambda p, c: (lines.append(c) if p == path else None, write(p, c))
    )
    grid.run(draws(toys, 3, seconds=0.6), "networks")
    assert lines[0].startswith("networks:   0%")
    assert "3/3" in lines[-1]
    assert not path.exists()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_bar_ends_with_what_a_long_cell_says_it_is_at(toys, tmp_path, monkeypatch, processes):
    monkeypatch.setenv(places.STAGE, str(tmp_path / "stage"))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", processes)
    get_reusable_executor().shutdown()  # processes that were there do not know this stage
    lines = []
    write = places.write
    monkeypatch.setattr(
        places, "write", lambda p, c: (lines.append(c) if p.name == progress.FILE else None, write(p, c))
    )
    cells = [Cell(toys.parts, {"seconds": 1.2 + i / 100}, (), kept=False) for i in range(2)]
    assert grid.run(cells, "networks") == [None, None]
    assert [line for line in lines if line.endswith("layer 2/3]")]
    assert not {path.name for path in (tmp_path / "stage").iterdir()} & {progress.FILE, progress.PART}
    get_reusable_executor().shutdown()


def test_a_kernel_shows_progress_and_keeps_nothing_of_it(toys, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    setup = "import pathlib, toys\nfrom t0qat.pipeline import grid\n"
    setup += f"grid.STORE = pathlib.Path({str(tmp_path)!r})"
    options = {"folder": str(toys.notes), "seconds": 0.6}
    work = f"cells = [grid.Cell(toys.draw, {options!r} | {{'replicate': i}}, ()) for i in range(3)]\n"
    work += "done = grid.run(cells, 'networks')"
    long = "done = grid.run([grid.Cell(toys.parts, {'seconds': 1.2}, (), kept=False)], 'a model')"
    sources = setup, work, long
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in sources])
    for name, value in environment(tmp_path, LOKY_MAX_CPU_COUNT="1").items():
        monkeypatch.setenv(name, value)
    seen = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            if message["header"]["msg_type"] in ("display_data", "update_display_data"):
                seen.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    Client(notebook, timeout=600, kernel_name="python3").execute()
    assert seen[0] == "networks" and seen[1].startswith("networks:   0%")
    ended = seen.index("a model")
    assert "3/3" in seen[ended - 1]
    assert [line for line in seen[ended:] if line.endswith("layer 2/3]")]
    assert [cell.outputs for cell in notebook.cells] == [[], [], []]


def test_the_tables_of_the_theory_are_those_of_one_process_and_then_come_from_the_store(monkeypatch):
    options = {"noise_pairs": 2, "probes": 2, "epochs": 2, "training_noises": [0], "networks": 2}
    some = {name: expansion.NETWORKS[name] for name in ("linear", "tanh_mlp")}
    monkeypatch.setattr(expansion, "NETWORKS", some)  # processes look theirs up by name
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    tables = expansion.expansion(**options)
    store, number = grid.STORE, 2 * len(some)
    assert len(list(store.rglob("*.json"))) == number
    monkeypatch.setattr(grid, "STORE", store / "alone")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    for one, two in zip(expansion.expansion(**options), tables, strict=True):
        assert one.equals(two)
    monkeypatch.setattr(grid, "STORE", store)
    monkeypatch.setattr(grid, "_compute", None)
    monkeypatch.setattr(grid, "_here", None)
    for again, two in zip(expansion.expansion(**options), tables, strict=True):
        assert again.equals(two)
