"""A module of cells, fresh interpreters that run it, and clusters of real processes."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from t0qat.pipeline import grid
from t0qat.pipeline.grid import Cell
from t0qat.training.streams import stream

# A module of cells as workers import it. Each call leaves a file, by which calls are counted.
TOYS = '''
import os, pathlib, time, uuid

import numpy as np
from t0qat.pipeline import progress
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

def parts(seconds):
    """A long cell that says how far it is."""
    for _ in progress.told(range(3), "layer"):
        time.sleep(seconds)

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

held = []

def grow(x):
    """Keeps 400 MB in its process; says which that is."""
    held.append(np.ones(50_000_000))
    time.sleep(1.2)
    return os.getpid()
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
    del sys.modules["toys"]
    get_reusable_executor().shutdown(kill_workers=True)


@pytest.fixture
def toys(module, tmp_path, monkeypatch):
    """It, with an empty folder for the notes of this test, a copy to edit, and two processes."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    (tmp_path / "toys.py").write_text(TOYS)
    module.notes = tmp_path / "notes"
    module.notes.mkdir()
    return module


FIXTURES = module, toys


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
