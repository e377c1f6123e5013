"""`python -m tests.chaos`: a chaos run. Ends with 1 if anything that was promised did not hold, with 2 if the
stack could not be run at all."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blockyard.dev import DevelopmentStackError

from tests.chaos.faults import FaultKind
from tests.chaos.report import say_report
from tests.chaos.run import Settings, run_chaos
from tests.stack.scratch import keep_files_in_memory

EXECUTIONS_A_FAULT = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it and gives the exit code."""
    options = _parse(arguments)
    faults = (
        options.faults if options.faults is not None else max(len(FaultKind), options.executions // EXECUTIONS_A_FAULT)
    )
    settings = Settings(options.seed, options.executions, faults)
    keep_files_in_memory()
    home = Path(tempfile.mkdtemp(prefix="blockyard-chaos-"))
    keep = True
    try:
        report = asyncio.run(run_chaos(settings, home, _say))
        say_report(report, _say)
        if options.json:
            report.write(options.json)
        keep = options.keep or not report.all_well
    except KeyboardInterrupt:
        _say(f"interrupted; the seed was {settings.seed}")
        keep = options.keep
        return 130
    except DevelopmentStackError as error:
        _say(f"The stack does not run, so nothing could be checked: {error}")
        return 2
    finally:
        if keep:
            _say(f"Its data and logs are in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    return 0 if report.all_well else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./task chaos --",
        description="Runs mixed executions while processes are killed and frozen, and checks that nothing is lost.",
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="draws executions and faults")
    parser.add_argument("--executions", type=_positive, default=500, help="how many to start (500)")
    parser.add_argument(
        "--faults", type=int, help="how many faults; by default every kind, and more with more executions"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts and findings there")
    parser.add_argument("--keep", action="store_true", help="keep data and logs even if all is well")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
