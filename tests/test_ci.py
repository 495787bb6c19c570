"""What continuous integration says of its steps."""

import re
import shutil
import subprocess

from projects import ROOT

FAILING = """#!/bin/sh
case $1 in
  test-portable) seq 100; exit 3;;
  smoke) seq 200 300;;
esac
"""


def run(folder, make: str) -> subprocess.CompletedProcess:
    """.ci/run in an empty folder where every tool is there and `make` is this script."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    for tool in ("make", "pdftotext", "chromium", "qemu-x86_64"):
        (folder / tool).write_text(make)
        (folder / tool).chmod(0o755)
    command = ["bash", ".ci/run"]
    environment = {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def steps(done) -> list[tuple[str, int]]:
    """The steps of the report at the end, each with its budget of minutes."""
    found = re.findall(r"^(\S.*?) +\d+\.\d min of +(\d+)$", done.stdout, re.M)
    return [(name, int(budget)) for name, budget in found]


def test_a_step_that_fails_ends_it_and_its_last_20_lines_say_why(tmp_path):
    done = run(tmp_path, FAILING)
    assert done.returncode == 1
    end = done.stdout[done.stdout.index("failed") :].splitlines()
    assert end[0] == "failed; the end of build/ci/test-portable.log:"
    assert end[1:21] == [str(i) for i in range(81, 101)]
    assert [name for name, _ in steps(done)][-2:] == ["smoke test-portable", "all"]
    kept = (tmp_path / "build/ci/test-portable.log").read_text().splitlines()
    assert kept == [str(i) for i in range(1, 101)]


def test_every_test_target_is_in_a_step_and_all_together_keep_to_their_budget(tmp_path):
    done = run(tmp_path, "#!/bin/sh\n")
    assert done.returncode == 0, done.stdout
    *each, (_, budget) = steps(done)
    targets = re.findall(r"^(test[a-z-]*|smoke):", (ROOT / "Makefile").read_text(), re.M)
    assert {*targets, "tools", "setup", "latex", "runtimes"} == set(
        " ".join(name for name, _ in each).split()
    )
    assert sum(minutes for _, minutes in each) <= budget == 40


def test_without_llama_cpp_it_goes_on_and_says_so(tmp_path):
    done = run(tmp_path, '#!/bin/sh\n[ "$1" != runtimes ] || { echo no wheel; exit 2; }\n')
    assert done.returncode == 0, done.stdout
    said = done.stdout[done.stdout.index("runtimes") :].splitlines()[1:3]
    assert said == ["no wheel", "going on without llama.cpp: tests that run GGUF files are skipped"]
    (tmp_path / "with").mkdir()
    assert "going on" not in run(tmp_path / "with", "#!/bin/sh\n").stdout


def test_a_step_that_says_nothing_for_minutes_is_waited_for(tmp_path):
    (tmp_path / "sleep").write_text("#!/bin/sh\nexec /bin/sleep 0.1\n")  # a minute
    (tmp_path / "sleep").chmod(0o755)
    done = run(tmp_path, "#!/bin/sh\nexec /bin/sleep 0.5\n")
    assert done.returncode == 0, done.stdout + done.stderr
