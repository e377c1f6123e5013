"""`python -m tests.e2e.rest [options of "schemathesis run"]`: tries the REST face of a stack of its own at length.

Without options 50 requests are made up for each operation, the same ones each time; `--max-examples 500` makes more.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blockyard.dev import Stack

from tests.e2e.rest.run import run

EXAMPLES = "50"


async def main(options: Sequence[str]) -> int:
    """Print all that schemathesis says; 1 if something is wrong."""
    if "--max-examples" not in options:
        options = [*options, "--max-examples", EXAMPLES]
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder) / "home", runners=1, notifications=1, edge=True) as stack:
            outcome = await run(stack, Path(folder), options)
    print(outcome.output)
    for name, answers in sorted(outcome.answers.items()):
        print(f"{name}: {', '.join(f'{status} {count}x' for status, count in sorted(answers.items()))}")
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
