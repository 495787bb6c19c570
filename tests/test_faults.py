"""Kills, full disks and hangs: nothing lost, nothing half-written, nobody left behind.

Slow, so `make test` leaves them out; `make test-faults` runs them.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest
from conftest import Project, copy, with_toys, write_toy

pytestmark = pytest.mark.faults
SMOKE = ("run", "--profile", "smoke")
KILLS = 30


def start(project: Project, *arguments: str) -> subprocess.Popen:
    """A run in a process group of its own."""
    command = [sys.executable, "-m", "t0qat", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"cwd": project.root, "env": project.environment, "start_new_session": True}
    # A shell starts what runs in its background deaf to Ctrl-C, and so would these be.
    hearing = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, preexec_fn=hearing, **pipes, **options)


def left_behind(project: Project, patience: float = 10) -> list[str]:
    """Processes that still work in the project's copy after some patience."""
    end = time.monotonic() + patience
    while (found := _at_work(project)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def _at_work(project: Project) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if any(str(project.root) in text for text in (process.cwd(), *words)):
                found.append(" ".join(words))
    return found


AGAIN = ("01_", "01b_", "99_", "table1", "integer_grids", "claims", "main")  # what a run makes again
PUBLISHED = ("build/smoke/paper", "build/smoke/figures")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A copy with three notebooks and the PDF to make, what a smoke run leaves there, and its time.

    The other notebooks are made once, here: thirty kills with all of them would take an hour.
    """
    pristine = copy(tmp_path_factory.mktemp("pristine"))
    done = pristine.run(*SMOKE)
    assert done.returncode == 0, done.stderr
    for path in (pristine.root / "build").rglob("*"):
        if path.stem.partition(".")[0].startswith(AGAIN) and path.is_file():
            path.unlink()
    folder = tmp_path_factory.mktemp("undisturbed")
    project = Project(shutil.copytree(pristine.root, folder / "a copy"))
    started = time.monotonic()
    done = project.run(*SMOKE)
    assert done.stderr.count(": runs, ") == 3
    assert done.returncode == 0, done.stderr
    return pristine, project.files(*PUBLISHED), time.monotonic() - started


def killed(
    folder, pristine: Project, moment: float, group: bool, expected: dict[str, bytes]
) -> list[str]:
    """Kill a smoke run at a moment, run it again, and say what is not as it must be."""
    project = Project(shutil.copytree(pristine.root, folder / "a copy"))
    wrong, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            for name, data in project.files(*PUBLISHED).items():
                if data != expected.get(name):
                    wrong.append(f"{name} was torn")
            time.sleep(0.01)

    reader = threading.Thread(target=watch)
    reader.start()
    try:
        process = start(project, *SMOKE)
        time.sleep(moment)
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate()
        again = project.run(*SMOKE)
    finally:
        stop.set()
        reader.join()
    if again.returncode:
        wrong.append(f"the second run failed: {again.stderr}")
    if project.files(*PUBLISHED) != expected:
        wrong.append("what is published differs from an undisturbed run")
    wrong += [f"left behind: {command}" for command in left_behind(project)]
    shutil.rmtree(project.root)
    return [f"killed at {moment:.2f} s ({'group' if group else 'driver'}): {what}" for what in wrong]


def test_after_a_kill_at_any_moment_the_same_command_ends_as_if_undisturbed(undisturbed, tmp_path):
    pristine, expected, seconds = undisturbed
    moments = random.Random(0)
    # Two at a time: on small machines more would only stretch every run past its moment.
    with ThreadPoolExecutor(max(2, os.cpu_count() - 1)) as pool:
        jobs = []
        for i in range(KILLS):
            moment, folder = moments.uniform(0, 1.2 * seconds), tmp_path / str(i)
            jobs.append(pool.submit(killed, folder, pristine, moment, i % 2 == 0, expected))
        wrong = [line for job in jobs for line in job.result()]
    assert not wrong


SLEEP = "import time\nprint('asleep')\ntime.sleep(60)\n" + write_toy("'x\\n1\\n'")
ENDLESS = "\\documentclass{article}\\begin{document}\\loop\\iftrue\\repeat\\end{document}\n"


@pytest.mark.parametrize(
    ("where", "after"), [("notebook", 2), ("notebook", 0.1), ("notebook", 0.5), ("latex", 2)]
)
def test_ctrl_c_stops_within_five_seconds_and_leaves_no_process(tmp_path, where, after):
    project = with_toys(tmp_path)
    if where == "notebook":
        project.notebook("01_toy", SLEEP)
    else:
        (project.root / "paper/main.tex").write_text(ENDLESS)
    process = start(project, *SMOKE)
    marker = "ipykernel_launcher" if where == "notebook" else "pdflatex"
    while not any(marker in words for words in _at_work(project)):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(after)  # a kernel that is still starting is deaf to Ctrl-C
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    assert told.splitlines()[-1] == "t0qat: stopped; what was published before is in place"
    assert left_behind(project, 5) == []


def test_a_second_run_is_refused_while_the_first_is_at_work_and_names_it(tmp_path):
    project = with_toys(tmp_path)
    project.notebook("01_toy", SLEEP)
    first = start(project, *SMOKE)
    while not _at_work(project):
        time.sleep(0.1)
    time.sleep(2)
    second = project.run(*SMOKE)
    first_alive = first.poll() is None
    os.killpg(first.pid, signal.SIGINT)
    first.communicate(timeout=30)
    assert first_alive
    assert second.returncode == 1
    assert second.stderr.splitlines() == [
        f"t0qat: another run is at work here (process {first.pid}); wait for it"
    ]


@contextlib.contextmanager
def mounted(folder, *options: str):
    """A small or read-only file system in place of a folder; needs root, as in the CI's container."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let the test mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def end_of(done: subprocess.CompletedProcess) -> list[str]:
    """The lines, five at most, in which a failed run says what went wrong."""
    assert done.returncode == 1
    lines = done.stderr[done.stderr.index("t0qat: ") :].splitlines()
    assert len(lines) <= 5
    return lines


def test_a_disk_that_fills_up_in_a_cell_is_named_and_the_old_outputs_stay(tmp_path):
    project = with_toys(tmp_path)
    with mounted(project.root / "build", "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        assert project.run(*SMOKE).returncode == 0
        before = project.files("build/smoke/paper")
        project.notebook("01_toy", write_toy("'1\\n' * 4_000_000"))
        done = project.run(*SMOKE)
        lines = end_of(done)
        assert "01_toy.ipynb, cell 2" in lines[0]
        assert "No space left on device" in lines[0]
        assert "toy.csv" in lines[0]
        assert "run the same command again" in lines[-1]
        assert project.files("build/smoke/paper") == before
        project.notebook("01_toy", write_toy("'1\\n'"))
        assert project.run(*SMOKE).returncode == 0


CELLS = """
def much(x):
    return "x" * 3_000_000

def exhaust(x):
    raise MemoryError
"""


@pytest.mark.parametrize(
    ("function", "told"),
    [("much", "No space left on device: '.*/build/cells/.*json"), ("exhaust", ": MemoryError$")],
)
def test_a_cell_that_finds_no_room_on_disk_or_in_memory_is_one_line(tmp_path, function, told):
    project = with_toys(tmp_path)
    (project.root / "src/of_cells.py").write_text(CELLS)
    code = "import of_cells\nfrom t0qat import grid\n"
    code += f"grid.run([grid.Cell(of_cells.{function}, {{'x': i}}, ()) for i in range(4)], 'cells')\n"
    project.notebook("01_toy", code + write_toy("'1\\n'"))
    with mounted(project.root / "build", "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        lines = end_of(project.run(*SMOKE))
    assert "01_toy.ipynb, cell 2" in lines[0]
    assert re.search(told, lines[0]), lines
    assert "run the same command again" in lines[-1]


def test_a_full_results_folder_gets_all_of_a_set_or_nothing_of_it(tmp_path):
    project = with_toys(tmp_path)
    with mounted(project.root / "paper/results", "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        assert project.run("run").returncode == 0
        before = project.files("paper", "figures")
        project.notebook("01_toy", write_toy("'1\\n' * 100_000"))
        done = project.run("run")
        lines = end_of(done)
        assert "01_toy.ipynb: No space left on device" in lines[0]
        assert "paper/results/toy.csv" in lines[0]
        assert project.files("paper", "figures") == before


def test_a_read_only_results_folder_is_named_and_nothing_changes(tmp_path):
    project = with_toys(tmp_path)
    assert project.run("run").returncode == 0
    results = project.root / "paper/results"
    before = project.files("paper", "figures")
    project.notebook("01_toy", write_toy("'x\\n2\\n'"))
    with mounted(results, "--bind", "-o", "ro", str(results)):
        done = project.run("run")
        lines = end_of(done)
        assert "01_toy.ipynb: Read-only file system" in lines[0]
        assert "paper/results" in lines[0]
        assert project.files("paper", "figures") == before
    done = project.run("run")
    assert done.returncode == 0, done.stderr
    assert project.files("paper")["paper/results/toy.csv"] == b"x\n2\n"
