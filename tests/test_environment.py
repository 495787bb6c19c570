"""The dependency files agree, and conda can parse its own."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler import MatchSpec

from t0qat.pipeline import lock, pin
from t0qat.training.methods import REGISTRY

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "requirements.lock").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))
WHOLE = yaml.safe_load((ROOT / "environment.yml").read_text())
CONDA = WHOLE["dependencies"]


def test_the_lock_pins_every_package_exactly_without_hashes_or_local_labels():
    for line in LINES[1:]:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
    assert LINES[1:] == sorted(LINES[1:], key=lambda line: line.split("==")[0])
    assert not [name for name in PINS if name.startswith("nvidia") or name == "triton"]


def test_what_is_installed_here_is_what_the_lock_says():
    installed = {canonicalize_name(d.metadata["Name"]): d.version.split("+")[0] for d in distributions()}
    wrong = {name: installed.get(name) for name, exact in PINS.items() if installed.get(name) != exact}
    assert not wrong


def test_the_lock_is_complete_so_that_pip_need_not_resolve():
    command = [sys.executable, "-m", "pip", "check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_environment_yml_lists_the_direct_dependencies_at_the_locked_versions():
    specs = [MatchSpec(text, strict=True) for text in CONDA if isinstance(text, str)]
    names = {spec.name.normalized: str(spec.version) for spec in specs if spec.version}
    python = names.pop("python")
    assert python.startswith("==3.11") or python.startswith("3.11")
    direct = {lock.CONDA_NAMES.get(name, name): PINS[name] for name in lock.direct_dependencies()}
    assert {name: version.removeprefix("==").rstrip(".*") for name, version in names.items()} == direct
    assert CONDA[-1] == {"pip": ["--editable ."]}
    assert WHOLE["variables"] == pin.KERNELS | pin.ONE_THREAD


BLOCKED = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class Rest(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Rest
import torch
from t0qat import convert, export, load, prepare, runtime_agrees, save
from t0qat.pipeline.parameters import ParameterError
from t0qat.quantization import sealed_file
from t0qat.training.methods import REGISTRY

def refused(act):
    try:
        act()
    except ParameterError as error:
        print(error)

for method in REGISTRY:
    model, inputs = torch.nn.Sequential(torch.nn.Linear(4, 4)), torch.ones(2, 4)
    qat = prepare(model, method)
    optimizer = qat.optimizer(torch.optim.Adam(model.parameters()), steps=1)
    qat.loss(*qat.objective.batches * [lambda: model(inputs).square().sum()]).backward()
    optimizer.step()
    converted = convert(model, inputs=inputs if method == "gptq" else None)
    save(converted, "model.safetensors")
    assert torch.equal(load("model.safetensors", model)(inputs), converted(inputs))
export(converted, "model.onnx")
refused(lambda: runtime_agrees(converted, "model.onnx", inputs))
refused(lambda: export(converted, "model.gguf"))
sealed_file.write(Path("model.gguf"), sealed_file.EMPTY.encode())
refused(lambda: runtime_agrees(converted, "model.gguf", inputs))
print(len(REGISTRY), *sorted({{name.partition(".")[0] for name in sys.modules}} & {names!r}))
"""


def test_without_the_extras_a_model_of_the_readers_own_trains_converts_and_is_exported(tmp_path):
    """As after `pip install .`: what only the extras bring cannot be imported, the runtimes neither."""
    installed = {canonicalize_name(d.metadata["Name"]): d for d in distributions()}
    due, core = [canonicalize_name(re.match(r"[\w-]+", text)[0]) for text in lock.requirements()], set()
    while due:
        name = due.pop()
        if name in core or name not in installed:
            continue
        core.add(name)
        needed = map(Requirement, installed[name].requires or ())
        due += [
            canonicalize_name(r.name) for r in needed if not r.marker or r.marker.evaluate({"extra": ""})
        ]
    belongs = packages_distributions()
    others = {
        module
        for module, names in belongs.items()
        if not {canonicalize_name(name) for name in names} & (core | {"t0qat"})
    }
    assert {"pandas", "jupyterlab", "transformers", "matplotlib", "onnxruntime"} <= others
    command = [sys.executable, "-c", BLOCKED.format(names=others | {"ik_llama_cpp"})]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "onnxruntime is not installed; pip install '.[runtimes]' brings it",
        "model: it is a Sequential; GGUF takes a LlamaForCausalLM of transformers",
        "ik_llama_cpp is not installed; pip install '.[runtimes]' brings it",
        str(len(REGISTRY)),
    ]


def test_a_report_of_pip_becomes_pins_that_hold_for_every_build_of_torch():
    def package(name, version):
        return {"metadata": {"name": name, "version": version}}

    report = [package("Torch", "2.13.0+cpu"), package("nvidia-cublas", "1"), package("triton", "3")]
    report += [package("t0qat", "0.1.0"), package("Typing_Extensions", "4.1")]
    assert lock.resolved({"install": report}) == {"torch": "2.13.0", "typing-extensions": "4.1"}


def test_requirements_of_the_project_are_met_by_the_lock():
    """All but llama.cpp, which has no wheel for some machines: its version is in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    outside = []
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        requirement = Requirement(text)
        if (name := canonicalize_name(requirement.name)) in PINS:
            assert requirement.specifier.contains(PINS[name]), text
        else:
            outside.append(str(requirement.specifier)[:2] + name)
    assert outside == ["==ik-llama-cpp-python"]


def test_make_runtimes_says_in_one_line_that_there_is_no_wheel(tmp_path):
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\nexit 1\n")
    pip.chmod(0o755)
    command = ["make", "--old-file=setup", "runtimes", f"VENV_PYTHON={pip}"]
    # Not as a part of the make that runs the tests, which would say where each works.
    alone = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=alone | {"MFLAGS": ""})
    assert done.returncode == 2
    assert re.fullmatch(r"no wheel of ik-llama-cpp-python can be had here: [^\n]*\n", done.stdout)
