"""Renew requirements.lock: pip resolves pyproject.toml from nothing, and its answer is written down.

No hashes and no local version labels, so that the CPU and the CUDA build of torch both satisfy it;
packages that only torch's CUDA build needs are left out.
"""

import json
import re
import subprocess
import sys

from t0qat import places

ONLY_CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
HEADER = "# Exact versions that `make` installs; renewed by `make lock`.\n"


def main() -> None:
    """Resolve with pip, then write the lock file."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    answer = subprocess.run([*pip, "--report", "-", ".[test]"], cwd=places.ROOT, stdout=-1, check=True)
    places.write(places.ROOT / "requirements.lock", lock_text(json.loads(answer.stdout)))


def lock_text(report: dict) -> str:
    """The lock file for a report of pip: `name==version` lines, sorted by name."""
    pins = {}
    for package in report["install"]:
        name = re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()
        if name != "t0qat" and not ONLY_CUDA.match(name):
            pins[name] = package["metadata"]["version"].split("+")[0]
    return HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))
