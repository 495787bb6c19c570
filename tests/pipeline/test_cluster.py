"""Cells on a cluster: the bits of this machine, whatever dies, and workers that are refused."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from toy_cells import FIXTURES, calls, cluster, draws, expected, script, wait

from t0qat.pipeline import cells as cells_
from t0qat.pipeline import grid, pin
from t0qat.pipeline.grid import Cell, GridError

module, toys = FIXTURES


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
        real, name = cells_.source_of, "source_of"
        monkeypatch.setattr(cells_, name, lambda thing: "0" if thing is toys.draw else real(thing))
        with pytest.raises(GridError, match="sources changed since processes started"):
            grid.run(draws(toys, 2), "draws")
    monkeypatch.delenv("CLUSTER")
    monkeypatch.setattr(grid, "STORE", tmp_path / "local")
    monkeypatch.setattr(cells_, name, real)
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
