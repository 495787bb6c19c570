"""Where things are: the project folder, what each run fills, the private folder of a notebook."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PROFILES = ("paper", "smoke")
STAGE = "T0QAT_STAGE"  # set by the pipeline for a notebook's kernel: where it may write
RUN = "T0QAT_RUN"  # likewise: a name in RUNS


@dataclass(frozen=True)
class Run:
    """A way to run the notebooks: whose parameters, and the folder whose paper/ it fills."""

    name: str
    profile: str
    home: Path


RUNS = {
    run.name: run
    for run in (
        Run("paper", "paper", ROOT),  # the only one that writes the project's own paper/ and figures/
        Run("smoke", "smoke", BUILD / "smoke"),
        Run("verify", "paper", BUILD / "verify"),
        Run("verify-smoke", "smoke", BUILD / "verify-smoke"),
    )
}


def current() -> Run:
    """The run that this process belongs to; outside the pipeline, a reader's own, with no profile."""
    return RUNS.get(os.environ.get(RUN), Run("notebook", "notebook", ROOT))


def stage() -> Path:
    """Where the running notebook leaves its outputs: the pipeline's private folder, or a scratch one."""
    return Path(os.environ.get(STAGE, BUILD / "notebook"))


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
