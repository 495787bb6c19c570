"""Where things are: the project folder, what each run fills, the private folder of a notebook."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BUILD = ROOT / "build"
PACKAGE = __name__.partition(".")[0]
PROFILES = ("paper", "smoke")
STAGE = "T0QAT_STAGE"  # set by the pipeline for a notebook's kernel: where it may write
RUN = "T0QAT_RUN"  # likewise: a name in RUNS, or that of a run of one notebook


@dataclass(frozen=True)
class Run:
    """A way to run notebooks: whose parameters, the folder whose paper/ it fills, which kept cells."""

    name: str
    profile: str
    home: Path
    cells: str  # runs with the same word share what they have computed
    one: str = ""  # the notebook that it runs alone

    @property
    def reads(self) -> Path:
        """The folder below which a notebook finds what the others made."""
        return ROOT if self.one else self.home


RUNS = {
    run.name: run
    for run in (
        Run("paper", "paper", ROOT, "paper"),  # the only one that writes the project's own paper/
        Run("smoke", "smoke", BUILD / "smoke", "smoke"),
        Run("verify", "paper", BUILD / "verify", "verify"),
        Run("verify-smoke", "smoke", BUILD / "verify-smoke", "verify-smoke"),
        Run("outputs", "notebook", ROOT, "outputs"),  # makes or checks the committed notebooks' outputs
    )
}
ONE = "run/"  # begins the name of a run of one notebook


def of_one(notebook: str) -> Run:
    """A reader's run of this notebook alone."""
    name = f"{ONE}{notebook}"
    return Run(name, "paper", BUILD / name, "paper", one=notebook)


def current() -> Run:
    """The run that this process belongs to; outside the pipeline, a reader's own, with no profile."""
    name = os.environ.get(RUN, "")
    if name.startswith(ONE):
        return of_one(name.removeprefix(ONE))
    return RUNS.get(name, Run("notebook", "notebook", ROOT, "paper"))


def stage() -> Path:
    """Where the running notebook leaves its outputs: the pipeline's private folder, or a scratch one."""
    return Path(os.environ.get(STAGE, BUILD / "notebook"))


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a reader sees the old content or the new, never a part."""
    write_set({path: content.encode() if isinstance(content, str) else content})


def write_set(files: dict[Path, bytes]) -> None:
    """Write every file or, where one cannot be written, none; each appears whole, in this order.

    Raises OSError naming the file. Only a kill between two renames can leave some new and some old.
    """
    waiting = {path: path.with_name(f".{path.name}.new") for path in files}
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with waiting[path].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path, new in waiting.items():
            new.replace(path)
    except BaseException as error:
        for new in waiting.values():
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a failed write, unlike a failed open, does not name its file
        raise
