"""Judges a block by its schema, its test cases, its errors, its speed and its safety, as `blockyard blocks test` does.

def test_greeting() -> None:
    for result in asyncio.run(run_checks(GreetingBlock())):
        assert result.passed, str(result)
"""

from blockyard.block.checks.results import CheckResult, Finding
from blockyard.block.checks.running import CHECKS, run_checks

__all__ = ["CHECKS", "CheckResult", "Finding", "run_checks"]
