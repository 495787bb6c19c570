"""The pin reaches the libraries of every process that an entry point starts, and of no other."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from projects import ROOT

from t0qat.pipeline import pin

FREE = {name: value for name, value in os.environ.items() if name not in pin.KERNELS | pin.ONE_THREAD}
needs_pin = pytest.mark.skipif(not pin.possible(), reason="this processor cannot be pinned")
# What the libraries say of themselves.
ASK = """
import json, numpy, torch
from numpy._core._multiarray_umath import __cpu_features__ as kernels
from threadpoolctl import threadpool_info
blas = {b["architecture"] for b in threadpool_info() if b["internal_api"] == "openblas"}
threads = {b["num_threads"] for b in threadpool_info()}
print(json.dumps([torch.backends.cpu.get_cpu_capability(), *blas, kernels["X86_V4"], *threads]))
"""


def python(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@needs_pin
def test_its_lines_pin_a_shell_and_the_libraries_heed_them():
    interpreter = shlex.quote(sys.executable)
    shell = f'eval "$({interpreter} -m t0qat pin)" && exec {interpreter} -c "$1"'
    ask = f"{ASK}\nfrom t0qat.pipeline import pin\nprint(pin.in_force())"
    done = subprocess.run(
        ["bash", "-c", shell, "bash", ask], env=FREE, capture_output=True, text=True, check=True
    )
    libraries, in_force = done.stdout.splitlines()
    assert json.loads(libraries) == ["AVX2", "Haswell", False, 1]
    assert in_force == "True"


@needs_pin
def test_make_pins_whatever_the_shell_says():
    command = ["make", "--silent", "--eval", "show: ; @env", "show"]
    hostile = FREE | {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "7"}
    told = subprocess.run(command, cwd=ROOT, env=hostile, capture_output=True, text=True, check=True)
    assert {f"{name}={value}" for name, value in pin.settings().items()} <= {*told.stdout.splitlines()}


@needs_pin
def test_make_holds_notebooks_to_their_digits(project):
    """One digit of an answer is changed."""
    notebook = project.root / "notebooks/01_table1.ipynb"
    committed = notebook.read_text()
    digit = re.search(r"(?<=of our )\d", committed)
    other = str((int(digit[0]) + 1) % 10)
    notebook.write_text(committed[: digit.start()] + other + committed[digit.end() :])
    rule = f"one: ; @$(NBVAL) {notebook.relative_to(project.root)}"
    command = ["make", "--silent", "--eval", rule, "one", f"VENV_PYTHON={shlex.quote(sys.executable)}"]
    alone = {key: value for key, value in project.environment.items() if not key.startswith("MAKE")}
    options = {"cwd": project.root, "env": alone | {"MFLAGS": ""}, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode == 2 and "1 failed" in done.stdout, done.stdout


def test_the_kernel_that_notebooks_ask_for_is_pinned():
    assert KernelSpecManager().get_kernel_spec("python3").env == pin.settings()


@needs_pin
def test_what_is_set_after_a_process_started_does_not_count():
    late = (
        "import os; from t0qat.pipeline import pin; os.environ |= pin.settings(); print(pin.in_force())"
    )
    assert python(late, FREE) == "False"


def test_importing_the_package_pins_nothing():
    code = "import os; before = dict(os.environ); "
    code += "import t0qat.experiments.vision; print(before == os.environ)"
    assert python(code, FREE) == "True"


@needs_pin
def test_the_pipeline_pins_its_kernels_from_a_shell_that_is_not(toys):
    toys.notebook("02_pin", "from t0qat.pipeline import pin, places\n" + WRITE)
    toys.environment = FREE | {"PYTHONPATH": toys.environment["PYTHONPATH"]}
    done = toys.run("run", "--profile", "smoke")
    home = toys.root / "build/smoke/paper/results"
    assert (home / "pin.txt").read_text() == "True", done.stderr
    machine = json.loads((home / "pin.json").read_text())["machine"]
    assert machine["pinned"] is True
    assert "processor" not in machine


WRITE = "places.write(places.stage() / 'paper/results/pin.txt', str(pin.in_force()))"


def test_a_processor_without_avx2_is_not_pinned_and_told_so(monkeypatch, capsys):
    monkeypatch.setattr(pin, "possible", lambda: False)
    pin.in_force.cache_clear()
    assert not pin.in_force()
    pin.in_force.cache_clear()
    pin.main()
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"export {name}=1" for name in pin.ONE_THREAD]
    assert "not pinned" in told.err
