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
from projects import Project, with_toys, write_toy

pytestmark = pytest.mark.faults
SMOKE = ("run", "--profile", "smoke")
KILLS = 30


def start(project: Project, *arguments: str, **more: str) -> subprocess.Popen:
    """A run in a process group of its own, with more in its environment."""
    command = [sys.executable, "-m", "t0qat", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"cwd": project.root, "env": project.environment | more, "start_new_session": True}
    # A shell starts what runs in its background deaf to Ctrl-C, and so would these be.
    hearing = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, preexec_fn=hearing, **pipes, **options)


def left_behind(project: Project, patience: float = 120) -> list[str]:
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


PUBLISHED = ("build/smoke/paper", "build/smoke/figures")
# In the driver alone: each rename that puts something in place is noted, and before a wanted one the
# driver, or its whole group, is killed.
RENAMES = """
import os, signal, sys
log, last, group = (os.environ.pop(name, "") for name in ("RENAMES", "LAST", "GROUP"))
places = [os.path.join(os.getcwd(), "build", name, "") for name in ("smoke", "stamps")]
done = 0
def rename(event, arguments):
    global done
    if event == "os.rename" and str(arguments[1]).startswith(tuple(places)):
        if str(done) == last:
            os.killpg(0, signal.SIGKILL) if group else os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        with open(log, "a") as file:
            file.write(os.path.relpath(arguments[1]) + "\\n")
if log:
    sys.addaudithook(rename)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Toy notebooks that have not run, what a smoke run of them leaves, its renames and its seconds."""
    pristine = with_toys(tmp_path_factory.mktemp("pristine"))
    more = write_toy("'x\\n' * 100_000").replace("toy.txt", "more.txt")
    pristine.notebook("02_more", more, "seed = 0")
    (pristine.root / "src/sitecustomize.py").write_text(RENAMES)
    folder = tmp_path_factory.mktemp("undisturbed")
    project = Project(shutil.copytree(pristine.root, folder / "a copy"))
    started = time.monotonic()
    done = project.run(*SMOKE, env=project.environment | {"RENAMES": str(folder / "renames")})
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    files, renames = project.files(*PUBLISHED), (folder / "renames").read_text().splitlines()
    assert set(files) < set(renames)
    return pristine, files, renames, seconds


def killed(folder, pristine: Project, expected: dict[str, bytes], at: int | float, group: bool):
    """Kill a smoke run, at a rename or after seconds, run it again, and say what is not as it must."""
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
        if isinstance(at, int):
            own = {"RENAMES": str(folder / "renames"), "LAST": str(at), "GROUP": "1" * group}
            process = start(project, *SMOKE, **own)
        else:
            process = start(project, *SMOKE)
            time.sleep(at)
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(at, int) and process.returncode != -signal.SIGKILL:
            wrong.append("it was not killed")
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
    return [f"killed at {at} ({'group' if group else 'driver'}): {what}" for what in wrong]


def test_after_a_kill_at_any_moment_the_same_command_ends_as_if_undisturbed(undisturbed, tmp_path):
    """Before each rename that publishes, of the driver alone and of all its group; else at any time."""
    pristine, expected, renames, seconds = undisturbed
    moments = random.Random(0)
    kills = [(i, group) for i in range(len(renames)) for group in (False, True)]
    assert len(kills) < KILLS
    kills += [(moments.uniform(0, 1.2 * seconds), i % 2 == 0) for i in range(len(kills), KILLS)]
    # Two at a time: on small machines more would only stretch every run past its moment.
    with ThreadPoolExecutor(max(2, os.cpu_count() - 1)) as pool:
        jobs = [
            pool.submit(killed, tmp_path / str(i), pristine, expected, at, group)
            for i, (at, group) in enumerate(kills)
        ]
        wrong = [line for job in jobs for line in job.result()]
    assert not wrong


SLEEP = "import time\nprint('asleep')\ntime.sleep(3600)\n" + write_toy("'x\\n1\\n'")
ENDLESS = "\\documentclass{article}\\begin{document}\\loop\\iftrue\\repeat\\end{document}\n"


@pytest.mark.parametrize(
    ("where", "after"), [("notebook", 2), ("notebook", 0.1), ("notebook", 0.5), ("latex", 2)]
)
def test_ctrl_c_stops_a_run_in_its_midst_and_leaves_no_process(tmp_path, where, after):
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
    _, told = process.communicate(timeout=300)  # what it does goes on for an hour, or for ever
    print(f"stopped after {time.monotonic() - started:.1f} s")
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "t0qat: stopped; what was published before is in place", told
    assert left_behind(project) == []


def test_a_second_run_is_refused_while_the_first_is_at_work_and_names_it(tmp_path):
    project = with_toys(tmp_path)
    project.notebook("01_toy", SLEEP)
    first = start(project, *SMOKE)
    lock = project.root / "build/lock"
    while not (lock.is_file() and lock.read_text()):
        time.sleep(0.1)
    second = project.run(*SMOKE)
    first_alive = first.poll() is None
    while first.poll() is None:  # a Ctrl-C that comes while libraries are imported may be lost in them
        os.killpg(first.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            first.communicate(timeout=60)
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
        assert "toy.txt" in lines[0]
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
    code = "import of_cells\nfrom t0qat.pipeline import grid\n"
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
        assert "paper/results/toy.txt" in lines[0]
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
    assert project.files("paper")["paper/results/toy.txt"] == b"x\n2\n"
