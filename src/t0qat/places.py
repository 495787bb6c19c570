"""Where things are: the project folder, a profile's output folder, the private folder of a run."""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PROFILES = ("paper", "smoke")
STAGE = "T0QAT_STAGE"  # set by the pipeline for a notebook's kernel: where it may write
PROFILE = "T0QAT_PROFILE"


def profile() -> str:
    """The profile of this run; "notebook" where a reader runs the notebook by hand."""
    return os.environ.get(PROFILE, "notebook")


def home(profile: str) -> Path:
    """The folder under which a profile's paper/ and figures/ lie; only `paper` has the project's own."""
    return BUILD / profile if profile == "smoke" else ROOT


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
