"""The speed check: how long a run of a pure block's test cases takes.

Of pure blocks alone: what others take is a matter of what they wait for.
"""

import statistics
import time
from collections.abc import Mapping
from typing import Any

from blockyard.block.block import Block
from blockyard.block.checks.results import Finding
from blockyard.block.kinds import Effect
from blockyard.block.testing import cases_of, mocked, outputs_of

BOUND_SECONDS = 0.05
"""What the median run of a test case may take, unless another bound is given."""

ROUNDS = 15
LEAST_ROUNDS = 3
# After this the rounds of a slow case are cut short.
BUDGET_SECONDS = 0.5


async def check_speed(block: Block, *, bound_seconds: float = BOUND_SECONDS) -> Finding:
    """Compares the median of each case with the bound; the remark is the largest median."""
    if block.effect is not Effect.PURE:
        return Finding(remark=f"effect {block.effect.name}: only pure blocks are measured", applies=False)
    with mocked(block):
        medians = [await _median(block, case) for case in cases_of(block)]
    bound = f"{bound_seconds * 1000:g} ms"
    complaints = [
        f"case {number}: the median run takes {median * 1000:.1f} ms, more than the bound of {bound}"
        for number, median in enumerate(medians)
        if median > bound_seconds
    ]
    return Finding(tuple(complaints), remark=f"{max(medians) * 1000:.2f} ms" if medians else "")


async def _median(block: Block, case: Mapping[str, Any]) -> float:
    """Seconds; from prepared inputs to outputs as JSON, as in a runner."""
    rounds: list[float] = []
    while len(rounds) < ROUNDS and (len(rounds) < LEAST_ROUNDS or sum(rounds) < BUDGET_SECONDS):
        started = time.perf_counter()
        await outputs_of(block, case)
        rounds.append(time.perf_counter() - started)
    return statistics.median(rounds)
