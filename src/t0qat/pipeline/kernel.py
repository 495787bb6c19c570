"""Run one notebook in a kernel of its own, and say in one line what stopped it."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from t0qat.pipeline import pin, places, progress
from t0qat.pipeline.notebooks import Notebook
from t0qat.pipeline.places import Run

QUIET = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "TOKENIZERS_PARALLELISM": "false"}


class PipelineError(RuntimeError):
    """Something stopped the pipeline; at most five lines say what, what was kept, what to do."""


def execute(notebook: Notebook, run: Run, parameters: dict[str, Any], stage: Path) -> None:
    """Leave the executed notebook in its stage; raises PipelineError where it stops."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    os.environ |= pin.settings() | QUIET | {places.STAGE: str(stage), places.RUN: run.name}
    kept = stage / f"{notebook.name}.ipynb"
    reads = str(stage / "reads.txt")
    record = f"from t0qat.pipeline import recorder as _r; _r.start({reads!r}, {str(places.ROOT)!r})"
    bar = {"desc": f"  {notebook.name}", "leave": False, "disable": None}
    try:
        with _log_noise(stage / "kernel.log") as terminal, progress.follow(stage, terminal):
            papermill.execute_notebook(
                str(notebook.path),
                str(kept),
                parameters=parameters,
                kernel_name="python3",
                language="python",
                cwd=str(notebook.path.parent),
                progress_bar=bar | {"file": terminal},
                execution_timeout=notebook.cell_limit_seconds,
                # No port is opened; a kernel that does not heed Ctrl-C is killed after two seconds.
                config=Config({"KernelManager": {"transport": "ipc", "shutdown_wait_time": 2}}),
                extra_arguments=[f"--IPKernelApp.exec_lines={record}", "--HistoryManager.enabled=False"],
            )
    except papermill.PapermillExecutionError as error:
        what = f"{error.ename}: {error.evalue}".splitlines()[0]
    except CellTimeoutError:
        what = f"took longer than {notebook.cell_limit_seconds} s"
    except DeadKernelError:
        what = "its kernel died"
    except OSError as error:
        what = f"{error.strerror or error} ({error.filename or 'no file named'})"
    else:
        return
    with contextlib.suppress(OSError):  # on a full disk the message must do
        places.write(places.BUILD / run.name / "failed" / kept.name, kept.read_bytes())
    raise PipelineError(f"{notebook.name}.ipynb, {_stopped_at(kept)}: {what}")


def _stopped_at(executed: Path) -> str:
    """The last cell that was started, `cell 5 (first line)`, counted as in the source."""
    try:
        cells = json.loads(executed.read_bytes())["cells"]
    except (OSError, ValueError):
        return "in a cell that could not be noted"
    added = {"injected-parameters", "papermill-error-cell-tag"}
    own = [cell for cell in cells if not added & set(cell["metadata"].get("tags", []))]
    started = [i for i, c in enumerate(own) if c["metadata"].get("papermill", {}).get("start_time")]
    if not started:
        return "before its first cell"
    return f"cell {started[-1] + 1} ({''.join(own[started[-1]]['source']).splitlines()[0]})"


@contextlib.contextmanager
def _log_noise(log: Path) -> Iterator[TextIO]:
    """Send what kernels and libraries say on standard error to a file; yields the real one."""
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w") as terminal, log.open("wb") as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)
