"""What continuous integration says of its steps."""

import re
import shutil
import subprocess

from conftest import ROOT

MAKE = """#!/bin/sh
[ "$*" != "test" ] || { seq 100; exit 3; }
"""


def run(folder, make: str) -> subprocess.CompletedProcess:
    """.ci/run in an empty folder where every tool is there and `make` does what it is told."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    for tool in ("make", "pdftotext", "chromium"):
        (folder / tool).write_text(make)
        (folder / tool).chmod(0o755)
    command = ["bash", ".ci/run"]
    environment = {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def steps(done) -> list[str]:
    """The steps of the report at the end, each with its minutes and its budget."""
    found = re.findall(r"^(\S+) +\d+\.\d min of +(\d+)$", done.stdout, re.M)
    return [name for name, budget in found if int(budget)]


def test_a_step_that_fails_ends_it_and_its_last_20_lines_say_why(tmp_path):
    done = run(tmp_path, MAKE)
    assert done.returncode == 1
    assert "test failed (build/ci/test.log):\n81\n" in done.stdout
    assert "\n80\n" not in done.stdout and "\n100\n" in done.stdout
    assert steps(done) == ["tools", "set-up", "test", "all"]
    assert (tmp_path / "build/ci/test.log").read_text().splitlines() == [str(i) for i in range(1, 101)]


def test_every_test_target_is_a_step_and_all_together_have_their_budget(tmp_path):
    done = run(tmp_path, "#!/bin/sh\n")
    assert done.returncode == 0, done.stdout
    targets = re.findall(r"^(test[a-z-]*|smoke):", (ROOT / "Makefile").read_text(), re.M)
    assert {*targets, "tools", "set-up", "all"} == set(steps(done))
    budgets = re.findall(r"^step \S+ (\d+) ", (ROOT / ".ci/run").read_text(), re.M)
    assert sum(map(int, budgets)) <= 41
