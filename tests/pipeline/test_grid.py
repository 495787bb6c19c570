"""Cells are computed once, kept whole, resumed after kills, and equal wherever they run."""

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from joblib.externals.loky import get_reusable_executor

from t0qat.experiments import expansion
from t0qat.pipeline import grid, pin, places, progress
from t0qat.pipeline.grid import Cell, GridError
from t0qat.training.streams import stream

# A module of cells as workers import it. Each call leaves a file, by which calls are counted.
TOYS = '''
import os, pathlib, time, uuid

import numpy as np
from t0qat.training.streams import stream

def note(folder, name):
    path = pathlib.Path(folder, f"{name}-{uuid.uuid4()}")
    path.write_text(str(os.getpid()))

def draw(folder, replicate, seconds=0.0):
    """Floats whose last bits a rounded copy would lose."""
    note(folder, replicate)
    time.sleep(seconds)
    values = stream("data", replicate, 7).standard_normal(300)
    return {"replicate": replicate, "values": values.tolist(), "norm": float(np.linalg.norm(values))}

def plain(x):
    return x

def doubled(x):
    return 2 * x

def with_method(folder, method, x):
    note(folder, method)
    return globals()[method](x)

def fail(folder, replicate, bad):
    note(folder, replicate)
    if replicate == bad:
        raise ValueError("no such\\nluck")
    return replicate

def give(what):
    return {"nan": float("nan"), "inf": [float("inf")], "set": {1}, "int64": np.int64(1)}[what]

def die():
    os._exit(9)

def die_once(folder, x):
    path = pathlib.Path(folder, "died")
    if x == 2 and not path.exists():
        path.touch()
        os._exit(9)
    return x

def exhaust():
    raise MemoryError
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The module of cells, where worker processes that several tests share find it."""
    folder = tmp_path_factory.mktemp("toys")
    (folder / "toys.py").write_text(TOYS)
    sys.path.insert(0, str(folder))
    import toys

    yield toys
    sys.path.remove(str(folder))
    get_reusable_executor().shutdown(kill_workers=True)


@pytest.fixture
def toys(module, tmp_path, monkeypatch):
    """It, with an empty folder for the notes of this test, a copy to edit, and two processes."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    (tmp_path / "toys.py").write_text(TOYS)
    module.notes = tmp_path / "notes"
    module.notes.mkdir()
    return module


def draws(toys, number: int, **more) -> list[Cell]:
    options = {"folder": str(toys.notes)} | more
    return [Cell(toys.draw, {"replicate": i} | options, ()) for i in range(number)]


def expected(number: int) -> list[dict]:
    """What the cells give, from numpy alone."""
    values = [stream("data", i, 7).standard_normal(300) for i in range(number)]
    return [
        {"replicate": i, "values": v.tolist(), "norm": float(np.linalg.norm(v))}
        for i, v in enumerate(values)
    ]


def calls(toys, name="") -> int:
    return len(list(toys.notes.glob(f"{name}*")))


def environment(tmp_path, **more) -> dict[str, str]:
    path = os.pathsep.join([str(Path(grid.__file__).parents[2]), str(tmp_path)])
    # Toys change within the second that tells compiled files from others.
    fresh = {"PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | fresh | more


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
        monkeypatch.setattr(grid, "versions", lambda changed=changed: changed)
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


SCRIPT = """
import json, pathlib, sys
import toys
from t0qat.pipeline import grid
grid.STORE = pathlib.Path(sys.argv[1])
exec(sys.argv[2])
"""


def script(tmp_path, code: str, **more) -> list:
    """A fresh interpreter that runs code with the toys, and the store of this test."""
    command = [sys.executable, "-c", SCRIPT, str(grid.STORE), code]
    return subprocess.Popen(
        command, env=environment(tmp_path, **more), cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


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


def wait(ready, process, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@contextlib.contextmanager
def cluster(tmp_path, workers: int = 2, threads: int = 1, path: str | None = None, **more: str):
    """A real scheduler on a free port and workers, each a process: (address, workers)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    env = environment(tmp_path, **more) | ({"PYTHONPATH": path} if path else {})
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen([*dask, "--port", str(port), "--no-dashboard"], env=env, **quiet)
    one = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny"]
    started = [
        subprocess.Popen([*one, "--nthreads", str(threads), "--host", "127.0.0.1"], env=env, **quiet)
        for _ in range(workers)
    ]
    from distributed import Client

    try:
        with Client(address, timeout=300, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=600) if workers else None
        yield address, started
    finally:
        for process in (*started, scheduler):
            process.kill()
            process.wait()


@pytest.mark.faults
def test_a_cluster_that_loses_a_worker_gives_the_bits_of_this_machine(toys, tmp_path, monkeypatch):
    cells = draws(toys, 16, seconds=0.2)
    with cluster(tmp_path) as (address, workers):
        code = f"""
from t0qat.pipeline.grid import Cell
options = {cells[0].arguments!r}
cells = [Cell(toys.draw, options | {{"replicate": i}}, ()) for i in range(16)]
print(json.dumps(grid.run(cells, "draws")))
"""
        driver = script(tmp_path, code, CLUSTER=address)
        pids = lambda: [path.read_text() for path in toys.notes.iterdir()]  # noqa: E731
        wait(lambda: pids().count(str(workers[0].pid)) >= 2, driver)
        workers[0].kill()
        out, told = driver.communicate(timeout=600)
        assert out, told
        assert json.loads(out) == expected(16)
        assert {str(worker.pid) for worker in workers} == set(pids())
        assert len(list(grid.STORE.rglob("[!.]*.json"))) == 16
        before = calls(toys)
        stored = {path.name: path.read_bytes() for path in grid.STORE.rglob("*.json")}
        assert grid.run(cells, "draws") == expected(16)
        assert calls(toys) == before
        # A failing cell, on a cluster.
        monkeypatch.setenv("CLUSTER", address)
        bad = {"folder": str(toys.notes), "bad": 1}
        with pytest.raises(GridError) as caught:
            grid.run([Cell(toys.fail, bad | {"replicate": i}, ()) for i in range(3)][::-1], "things")
        assert str(caught.value).endswith('"replicate": 1}): ValueError: no such')
        # Workers that have already loaded other sources.
        real = grid.source_of
        monkeypatch.setattr(grid, "source_of", lambda thing: "0" if thing is toys.draw else real(thing))
        with pytest.raises(GridError, match="sources changed since processes started"):
            grid.run(draws(toys, 2), "draws")
    monkeypatch.delenv("CLUSTER")
    monkeypatch.setattr(grid, "STORE", tmp_path / "local")
    monkeypatch.setattr(grid, "source_of", real)
    grid.run(cells, "draws")
    assert {path.name: path.read_bytes() for path in grid.STORE.rglob("*.json")} == stored


@pytest.mark.faults
def test_results_that_a_worker_took_with_it_are_computed_again(toys, tmp_path):
    cells = {cell.key: cell for cell in draws(toys, 8, seconds=0.2)}
    with (
        cluster(tmp_path) as (address, workers),
        contextlib.closing(grid._on_cluster(address, cells)) as work,
    ):
        got = [next(work)]
        # Every cell has ended, each worker holds some, and the first result alone was fetched.
        wait(lambda: calls(toys) == 8, workers[0])
        time.sleep(1)
        workers[0].kill()
        wait(lambda: calls(toys) > 8, workers[1])
        got += work
    assert {key: json.loads(result) for key, result, *_ in got} == dict(
        zip(cells, expected(8), strict=True)
    )


@pytest.mark.faults
def test_a_scheduler_that_dies_is_one_line(toys, tmp_path):
    cells = {cell.key: cell for cell in draws(toys, 8, seconds=0.2)}
    with cluster(tmp_path) as (address, _), contextlib.closing(grid._on_cluster(address, cells)) as work:
        next(work)
        (scheduler,) = (
            child
            for child in psutil.Process().children()
            if "dask_scheduler" in " ".join(child.cmdline())
        )
        scheduler.kill()
        with pytest.raises(GridError, match="scheduler died; the cells that ended are kept"):
            list(work)


def test_workers_with_other_sources_versions_or_threads_are_refused(toys, tmp_path, monkeypatch):
    source = Path(grid.__file__).parents[1]
    other = shutil.copytree(source, tmp_path / "other" / "t0qat")
    streams = other / "training/streams.py"
    streams.write_text(streams.read_text() + "# edited\n")
    path = os.pathsep.join([str(other.parent), str(tmp_path)])
    with cluster(tmp_path, workers=1, threads=2, path=path) as (address, _):
        monkeypatch.setenv("CLUSTER", address)

        def refused() -> str:
            with pytest.raises(GridError) as caught:
                grid.run(draws(toys, 2), "draws")
            (line,) = str(caught.value).splitlines()
            assert line.startswith(f"CLUSTER = {address}: worker tcp://127.0.0.1:")
            return line

        assert "runs 2 cells at once; start it with --nthreads 1" in refused()
        monkeypatch.setattr("distributed.Client.nthreads", lambda self: dict.fromkeys(_workers(self), 1))
        line = refused()
        assert "differs in t0qat.training.streams (" in line
        assert "restart it" in line
        here = grid.versions()
        monkeypatch.setattr(grid, "versions", lambda: here | {"torch": "9.9"})
        assert f"differs in torch ({here['torch']}, here 9.9)" in refused()
    assert calls(toys) == 0


@pytest.mark.skipif(not pin.possible(), reason="this processor cannot be pinned")
def test_a_worker_that_is_not_pinned_as_we_are_is_refused(toys, tmp_path, monkeypatch):
    others = {"MKL_CBWR": "AUTO"} if pin.in_force() else pin.settings()
    with cluster(tmp_path, workers=1, **others) as (address, _):
        monkeypatch.setenv("CLUSTER", address)
        with pytest.raises(GridError, match=r"differs in pin \((not )?in force, here (not )?in force\)"):
            grid.run(draws(toys, 2), "draws")
    assert calls(toys) == 0


def _workers(client) -> list[str]:
    return list(client.scheduler_info()["workers"])


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "not an address"])
def test_an_address_where_nobody_answers_is_one_line(toys, monkeypatch, address):
    monkeypatch.setenv("CLUSTER", address)
    monkeypatch.setattr(grid, "PATIENCE", 1)
    with pytest.raises(GridError) as caught:
        grid.run(draws(toys, 2), "draws")
    assert str(caught.value).startswith(f"CLUSTER = {address}: no dask scheduler answers there")
    assert "\n" not in str(caught.value)


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


def test_a_kernel_shows_progress_and_keeps_nothing_of_it(toys, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    setup = "import pathlib, toys\nfrom t0qat.pipeline import grid\n"
    setup += f"grid.STORE = pathlib.Path({str(tmp_path)!r})"
    options = {"folder": str(toys.notes), "seconds": 0.6}
    work = f"cells = [grid.Cell(toys.draw, {options!r} | {{'replicate': i}}, ()) for i in range(3)]\n"
    work += "done = grid.run(cells, 'networks')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (setup, work)])
    for name, value in environment(tmp_path, LOKY_MAX_CPU_COUNT="1").items():
        monkeypatch.setenv(name, value)
    seen = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            if message["header"]["msg_type"] in ("display_data", "update_display_data"):
                seen.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    Client(notebook, timeout=600, kernel_name="python3").execute()
    assert seen[0].startswith("networks:   0%")
    assert "3/3" in seen[-1]
    assert [cell.outputs for cell in notebook.cells] == [[], []]


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
