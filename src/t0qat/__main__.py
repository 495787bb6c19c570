"""What `make` calls: python -m t0qat run | one | status | verify | agree | keep | site | lock | pin."""

import argparse
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from pkgutil import resolve_name

from t0qat.paper import PAPER
from t0qat.pipeline import places

OPTIONS = {
    "notebook": {},
    "--profile": {"choices": places.PROFILES, "default": "paper"},
    "--params": {"type": Path, "help": "a file of changed parameters"},
    "other": {"type": Path, "help": "a checkout in which the paper was run, as on other seeds"},
}
# What is called, and imported only then, with which options, and what it does.
COMMANDS = {
    "run": ("pipeline.runner:make", "--profile --params", "run what is not fresh and typeset"),
    "one": ("pipeline.runner:make_one", "notebook --params", "run one notebook, into build/run"),
    "status": ("pipeline.runner:status", "--profile", "say what is fresh"),
    "verify": ("pipeline.verify:verify", "--profile", "re-run elsewhere and compare every number"),
    "agree": ("experiments.other_seeds:compared", "other", "say whether another run decides alike"),
    "keep": ("pipeline.runner:keep", "--profile", "accept generated files that were edited by hand"),
    "site": ("explorer.site:build", "", "a static site in build/site"),
    "lock": ("pipeline.lock:main", "", "renew requirements.lock"),
    "pin": ("pipeline.pin:main", "", 'lines for a shell: eval "$(python -m t0qat pin)"'),
}


def main() -> int:
    """Run one command; expected errors become their own lines and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m t0qat", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, options, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        for option in options.split():
            command.add_argument(option, **OPTIONS[option])
    sys.unraisablehook = _press_again
    try:
        return _call(**vars(parser.parse_args()))
    except KeyboardInterrupt:
        # What the tasks of a kernel that was stopped in their midst still say is no news to the reader.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore", RuntimeWarning)
        sys.unraisablehook = lambda _: None
        return _say("t0qat: stopped; what was published before is in place", 130)
    except BrokenPipeError:  # whoever reads the lines, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        mend = "what was published before is in place; mend it and run the same command again"
        return _say(f"t0qat: {error.strerror} ({error.filename})\n{mend}")
    except Exception as error:
        # By its module: to import every room for its errors would keep a reader waiting for seconds.
        if not type(error).__module__.startswith("t0qat."):
            raise
        return _say(f"t0qat: {error}")


def _press_again(unraisable) -> None:
    """A Ctrl-C that came where Python raises nothing, as in an import's clean-up, comes once more."""
    if unraisable.exc_type is KeyboardInterrupt:
        main_thread = threading.main_thread().ident
        again = threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT))
        again.daemon = True  # nothing is left to stop where the run ends before
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _say(line: str, status: int = 1) -> int:
    print(line, file=sys.stderr)
    return status


def _call(command: str, **options) -> int:
    """Print the lines that the command's function gives, or the page that it made."""
    function = resolve_name(f"t0qat.{COMMANDS[command][0]}")
    made = function(**options) if command in ("lock", "pin") else function(PAPER, **options)
    if isinstance(made, Path):
        made = [f"open {made.relative_to(places.ROOT)}"]
    for line in made or ():
        print(line)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
