"""Runs all checks over one block. Blocks come from third parties: whatever one raises is a finding."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from blockyard.block.block import Block
from blockyard.block.checks.errors import check_errors
from blockyard.block.checks.function import check_function
from blockyard.block.checks.results import CheckResult, Finding
from blockyard.block.checks.safety import check_safety
from blockyard.block.checks.schema import check_schema
from blockyard.block.checks.speed import BOUND_SECONDS, check_speed

CHECKS = ("schema", "function", "error", "speed", "safety")
"""The checks by name, in their order."""

LONGEST_SECONDS = 120.0


async def run_checks(
    block: Block, *, bound_seconds: float = BOUND_SECONDS, longest_seconds: float = LONGEST_SECONDS
) -> list[CheckResult]:
    """The result of each check, in the order of CHECKS; nothing is raised for a block that fails.

    `bound_seconds` is what the median run of a pure block's test case may take, `longest_seconds` what each check may.
    One at a time in a process: safety watches what the process does.
    """
    checks: dict[str, Callable[[Block], Awaitable[Finding]]] = {
        "schema": check_schema,
        "function": check_function,
        "error": check_errors,
        "speed": partial(check_speed, bound_seconds=bound_seconds),
        "safety": check_safety,
    }
    results = []
    for name in CHECKS:
        started = time.perf_counter()
        finding = await _guarded(checks[name], block, longest_seconds)
        results.append(CheckResult(block.name, name, finding, time.perf_counter() - started))
    return results


async def _guarded(check: Callable[[Block], Awaitable[Finding]], block: Block, seconds: float) -> Finding:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await check(block)
    except TimeoutError as error:
        if limit.expired():
            return Finding((f"did not end within {seconds:g} s",))
        return _raised(error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody has cancelled this: the block itself raised it.
        return _raised(error)
    # A block may raise anything, SystemExit included.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a finding; see the top of the module
        return _raised(error)


def _raised(error: BaseException) -> Finding:
    # An AssertionError is a sentence of ours, or of the test that the author has written.
    if isinstance(error, AssertionError) and str(error):
        words = str(error)
    else:
        words = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Finding((words,))
