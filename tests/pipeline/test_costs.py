"""What a notebook costs is what it used, and the record of it holds only what was computed at once."""

import json
import re
import shutil

import pytest
from projects import Project, with_toys

from t0qat.pipeline import costs

pytestmark = pytest.mark.chain
CELLS = """
import os, time

def work(seconds, megabytes, x):
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass
    held = b"x" * (megabytes * 10**6)
    time.sleep(2)  # of which half a second would do to be seen
    return os.getpid()
"""
NOTEBOOK = """
import os, toycells
from t0qat.pipeline import grid, places

def cell(x, **more):
    return grid.Cell(toycells.work, {{"seconds": 0, "megabytes": 0, "x": x}} | more, (toycells,))

assert os.getpid() not in grid.run([{cells}], "cells")
places.write(places.stage() / "paper/results/{output}.txt", "done")
"""
FIRST = "cell(0, megabytes=1000), cell(1, seconds=4), cell(2, seconds=4)"


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """Toy notebooks that `make paper` has run: 01_toy of three cells, 02_more of these and two more."""
    toys = with_toys(tmp_path_factory.mktemp("made"))
    (toys.root / "src/toycells.py").write_text(CELLS)
    toys.environment["LOKY_MAX_CPU_COUNT"] = "2"
    toys.notebook("01_toy", NOTEBOOK.format(cells=FIRST, output="toy"))
    toys.notebook("02_more", NOTEBOOK.format(cells=f"{FIRST}, cell(3), cell(4)", output="more"))
    done = toys.run("run")
    assert done.returncode == 0, done.stderr
    return toys, done


@pytest.fixture
def made(first_run, tmp_path) -> Project:
    """A copy of it to change."""
    toys, _ = first_run
    shutil.copytree(toys.root, tmp_path / "a copy")
    project = Project(tmp_path / "a copy")
    project.environment["LOKY_MAX_CPU_COUNT"] = "2"
    return project


def record(project: Project) -> dict:
    return json.loads((project.root / costs.RECORD).read_text())


def said(done) -> dict[str, str]:
    """What a run says at its end of the cells of each notebook that ran."""
    line = r"^(\w+): [\d,]+ s(?:, ([\d,]+ cells \(and [\d,]+ kept from before\)))?, [\d.]+ GB"
    return dict(re.findall(line, done.stderr, re.M))


def test_the_record_has_what_kernel_and_workers_used_and_a_run_ends_with_it(first_run):
    toys, done = first_run
    first, more = record(toys)["01_toy"], record(toys)["02_more"]
    assert list(record(toys)) == ["01_toy", "02_more"]
    assert (first["cells"], more["cells"]) == (3, 2)
    assert (first["cores"], more["cores"]) == (2, 2)
    assert first["peak_memory_mb"] > max(1000, more["peak_memory_mb"] + 800)
    assert first["core_seconds"] > 8
    assert first["seconds"] > 4  # two cores, eight seconds
    ends = [line.split(":")[0] for line in done.stderr.splitlines()[-2:]]
    assert ends == list(said(done)) == ["01_toy", "02_more"]
    assert said(done) == {
        "01_toy": "3 cells (and 0 kept from before)",
        "02_more": "2 cells (and 3 kept from before)",
    }


def test_only_what_is_computed_at_once_replaces_an_entry(made):
    before = record(made)
    made.environment["LOKY_MAX_CPU_COUNT"] = "1"
    here = NOTEBOOK.replace("assert os.getpid() not in ", "")
    made.notebook("01_toy", here.format(cells="cell(5), cell(6)", output="toy"))
    made.notebook("02_more", here.format(cells=f"{FIRST}, cell(5), cell(7), cell(8)", output="more"))
    done = made.run("run")
    assert said(done) == {
        "01_toy": "2 cells (and 0 kept from before)",
        "02_more": "2 cells (and 4 kept from before)",
    }
    after = record(made)
    assert after["01_toy"]["cells"] == 2
    assert after["01_toy"]["peak_memory_mb"] < before["01_toy"]["peak_memory_mb"] - 800
    assert after["02_more"] == before["02_more"]


def test_without_its_record_a_run_is_as_fresh_as_before(made):
    path = made.root / costs.RECORD
    for content in ("{}", '{"01_toy": 7}', "<<<<<<< ours"):
        path.write_text(content)
        assert costs.read(made.root) == {}
        assert made.run("status").stdout.splitlines() == ["01_toy: fresh", "02_more: fresh"]
    path.unlink()
    done = made.run("run")
    assert (done.returncode, said(done)) == (0, {})
    assert not path.exists()


@pytest.mark.parametrize("how", ["params", "cluster"])  # others may not touch paper/ at all
def test_what_is_not_a_plain_make_paper_here_is_said_and_not_recorded(toys, how):
    (toys.root / "mine.toml").write_text("replicates = 9")
    before = (toys.root / costs.RECORD).read_bytes()
    more = {"CLUSTER": "tcp://127.0.0.1:9"} if how == "cluster" else {}
    arguments = ["--params", "mine.toml"] if how == "params" else []
    done = toys.run("run", *arguments, env=toys.environment | more)
    assert (done.returncode, said(done)) == (0, {"01_toy": ""}), done.stderr
    assert (toys.root / costs.RECORD).read_bytes() == before


def test_a_gap_in_the_record_costs_no_other_entry(tmp_path):
    assert costs.read(tmp_path) == {}
    costs.record("02_more", costs.Cost(cells=2), tmp_path)
    costs.record("01_toy", costs.Cost(cells=1, seconds=1.26), tmp_path)
    costs.record("02_more", costs.Cost(cells=3), tmp_path)
    kept = costs.read(tmp_path)
    assert list(kept) == ["01_toy", "02_more"]
    assert kept["01_toy"].seconds == 1.3
    assert kept["02_more"].cells == 3
