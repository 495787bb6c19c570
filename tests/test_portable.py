"""Everything that computes gives the committed bits, here and on an emulated Intel processor.

`python tests/steps.py` under the pin prints what tests/steps.json holds.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from t0qat.pipeline import pin

HERE = Path(__file__).parent
COMMITTED = json.loads((HERE / "steps.json").read_text())
EMULATOR = "qemu-x86_64"
pytestmark = [
    pytest.mark.portable,
    pytest.mark.skipif(
        not pin.possible(), reason="this processor cannot be pinned: other bits, no rule"
    ),
]


def steps(*emulator: str, **changed: str) -> dict[str, str]:
    """What steps.py prints under the pin with these changes."""
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    path = os.pathsep.join([str(HERE.parent / "src"), libraries])  # an emulated python knows no .venv
    command = [*emulator, os.path.realpath(sys.executable), str(HERE / "steps.py")]
    environment = os.environ | pin.settings() | {"PYTHONPATH": path} | changed
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_bits_of_every_step_on_this_processor():
    assert steps() == COMMITTED


def test_the_bits_of_every_step_on_an_emulated_haswell():
    if shutil.which(EMULATOR) is None:
        pytest.fail(f"{EMULATOR} is missing: apt-get install qemu-user", pytrace=False)
    assert steps(EMULATOR, "-cpu", "Haswell") == COMMITTED


def test_bits_of_other_kernels_are_noticed():
    found = steps(ATEN_CPU_CAPABILITY="default")
    assert not found.pop("pinned")
    assert [name for name in found if name.startswith("network") and found[name] != COMMITTED[name]]
