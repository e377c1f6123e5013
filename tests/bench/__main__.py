"""`python -m tests.bench`: measures, writes build/bench.json and prints a table. Ends with 2 if that cannot be done."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop
from blockyard.dev import DevelopmentStackError
from blockyard.errors import BlockyardError

from tests.bench.completions import NotCompleted
from tests.bench.raw.pipeline import RawPipelineError
from tests.bench.run import SCENARIOS, Settings, run_bench

JSON_FILE = Path(__file__).parents[2] / "build" / "bench.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it and gives the exit code."""
    options = _parse(arguments)
    settings = Settings(only=options.only or SCENARIOS[options.quick], quick=options.quick)
    home = Path(tempfile.mkdtemp(prefix="blockyard-bench-"))
    keep = True
    try:
        report = uvloop.run(run_bench(settings, home, _say))
        keep = options.keep
    except KeyboardInterrupt:
        keep = options.keep
        return 130
    except (DevelopmentStackError, BlockyardError, NotCompleted, RawPipelineError) as error:
        _say(f"Nothing could be measured: {error}")
        return 2
    finally:
        if keep:
            _say(f"Its data and logs are in {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    report.write(options.json)
    report.say(_say)
    _say(f"\nWritten to {options.json}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./task bench --",
        description="Measures a stack of its own, and what PostgreSQL and NATS alone reach in the same run.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer repetitions, and without queue, level, streaming, credits and events",
    )
    parser.add_argument("--only", type=_names, metavar="NAMES", help=f"of {','.join(SCENARIOS[False])}, with commas")
    parser.add_argument("--json", type=Path, default=JSON_FILE, metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    return parser.parse_args(arguments)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in SCENARIOS[False]]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SCENARIOS[False])}")
    return names


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
