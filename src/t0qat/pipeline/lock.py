"""Renew requirements.lock and environment.yml: pip resolves pyproject.toml, and that is written.

No hashes and no local version labels, so that the CPU and the CUDA build of torch both satisfy the
lock; packages that only torch's CUDA build needs are left out.
"""

import json
import re
import subprocess
import sys
import tomllib

from t0qat.pipeline import pin, places

PYTHON = "3.11"
ONLY_CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
LOCK_HEADER = "# Exact versions that `make` installs; renewed by `make lock`.\n"
CONDA_HEADER = f"""\
# For conda and Binder: the direct dependencies at the versions of requirements.lock; by `make lock`.
name: {places.PACKAGE}
channels:
  - conda-forge
dependencies:
  - python={PYTHON}
  - pip
"""
CONDA_FOOTER = """\
  - pip:
      - --editable .
variables:
"""


def main() -> None:
    """Resolve with pip, then write both files."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    # For the oldest Python of the series: a package may need a later patch version than a reader has.
    oldest = ["--python-version", PYTHON, "--only-binary=:all:", "--target", places.BUILD / "resolved"]
    command = [*pip, *oldest, "--report", "-", *requirements("paper", "test", "browser")]
    pins = resolved(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    lock = LOCK_HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))
    places.write(places.ROOT / "requirements.lock", lock)
    lines = [f"  - {CONDA_NAMES.get(name, name)}={pins[name]}\n" for name in direct_dependencies()]
    pinned = [f'  {name}: "{value}"\n' for name, value in (pin.KERNELS | pin.ONE_THREAD).items()]
    conda = CONDA_HEADER + "".join(lines) + CONDA_FOOTER + "".join(pinned)
    places.write(places.ROOT / "environment.yml", conda)


def resolved(report: dict) -> dict[str, str]:
    """Versions by normalized name, from pip's installation report."""
    pins = {}
    for package in report["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        if name != places.PACKAGE and not ONLY_CUDA.match(name):
            pins[name] = package["metadata"]["version"].split("+")[0]
    return pins


def requirements(*extras: str) -> list[str]:
    """What pyproject.toml asks for, with these of its optional parts."""
    project = tomllib.loads((places.ROOT / "pyproject.toml").read_text())["project"]
    return sum((project["optional-dependencies"][extra] for extra in extras), project["dependencies"])


def direct_dependencies() -> list[str]:
    """The names of the requirements, without what only browser tests need: conda has no such build."""
    return sorted(re.match(r"[\w-]+", requirement)[0] for requirement in requirements("paper", "test"))
