"""What `make` calls: python -m t0qat run | one | status | verify | keep | site | lock | pin."""

import argparse
import logging
import sys
import warnings
from pathlib import Path

from t0qat.paper import PAPER
from t0qat.pipeline import pin, places


def main(arguments: list[str] | None = None) -> int:
    """Run one command; expected errors become their own lines and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m t0qat", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = {
        "run": "run what is not fresh and typeset",
        "status": "say what is fresh",
        "verify": "re-run everything elsewhere and compare every number",
        "keep": "accept generated files that were edited by hand",
    }
    for name, text in about.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--profile", choices=places.PROFILES, default="paper")
        if name == "run":
            command.add_argument("--params", type=Path, help="a file of changed parameters")
    one = commands.add_parser("one", help="run one notebook with your parameters, into build/run")
    one.add_argument("notebook")
    one.add_argument("--params", type=Path, help="a file of changed parameters")
    commands.add_parser("site", help="a static site in build/site")
    commands.add_parser("lock", help="renew requirements.lock")
    commands.add_parser("pin", help='lines for a shell: eval "$(python -m t0qat pin)"')
    given = parser.parse_args(arguments)
    try:
        return _call(given)
    except KeyboardInterrupt:
        # What the tasks of a kernel that was stopped in their midst still say is no news to the reader.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore", RuntimeWarning)
        sys.unraisablehook = lambda _: None
        print("t0qat: stopped; what was published before is in place", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"t0qat: {error.strerror} ({error.filename})", file=sys.stderr)
        print(
            "what was published before is in place; mend it and run the same command again",
            file=sys.stderr,
        )
        return 1
    except Exception as error:
        # By its module: to import every room for its errors would keep a reader waiting for seconds.
        if not type(error).__module__.startswith("t0qat."):
            raise
        print(f"t0qat: {error}", file=sys.stderr)
        return 1


def _call(given: argparse.Namespace) -> int:
    if given.command == "run":
        from t0qat.pipeline import runner

        runner.make(PAPER, places.RUNS[given.profile], given.params)
    elif given.command == "one":
        from t0qat.pipeline import runner

        for line in runner.make_one(PAPER, given.notebook, given.params):
            print(line)
    elif given.command in ("status", "keep"):
        from t0qat.pipeline import runner

        for line in getattr(runner, given.command)(PAPER, places.RUNS[given.profile]):
            print(line)
    elif given.command == "verify":
        from t0qat.pipeline import verify

        return min(verify.verify(PAPER, given.profile), 1)
    elif given.command == "site":
        from t0qat.explorer import site
        from t0qat.pipeline import receipts

        print(f"open {receipts.shown(site.build(PAPER))}")
    elif given.command == "lock":
        from t0qat.pipeline import lock

        lock.main()
    elif given.command == "pin":
        pin.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
