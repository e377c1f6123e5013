"""Whether a node costs the same however many there are: in one execution, and in many executions at once."""

import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.bench.figures import Spread, significant
from tests.bench.laboratory import EXECUTION_SERVICE, Laboratory
from tests.bench.report import Row, Section
from tests.bench.usage import CLIENT, difference, peak_memory, processor_seconds

CHAIN_LENGTH = 10
MEBIBYTE = 1 << 20

NODES_IN_ONE = {1_000: 9, 10_000: 3, 100_000: 1}
"""Repetitions by the number of nodes in one execution."""

EXECUTIONS_AT_ONCE = {1: 40, 10: 20, 100: 7, 1_000: 3}
"""Repetitions by the number of executions at once."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a node costs, in microseconds."""

    elapsed: Spread
    service: float
    """Of the processor, in the execution service."""
    stack: float
    """Of the processor, in all processes of the stack."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "us_per_node": significant(self.elapsed.median),
            "execution_service_processor_us": significant(self.service),
            "stack_processor_us": significant(self.stack),
        }


async def measure_level(here: Laboratory) -> Section:
    """Cost a node by size, and what the largest size takes of memory."""
    await here.fresh_execution_service()
    in_one: dict[int, Cost] = {}
    at_once: dict[int, Cost] = {}
    for count, repetitions in EXECUTIONS_AT_ONCE.items():
        here.say(f"  {count:,} executions at once")
        measure = partial(here.time_chains, count, CHAIN_LENGTH)
        at_once[count] = await _cost(here, measure, count * CHAIN_LENGTH, repetitions)
    async with peak_memory(here.stack, EXECUTION_SERVICE) as peak:
        for nodes, repetitions in NODES_IN_ONE.items():
            here.say(f"  {nodes:,} nodes in one execution")
            in_one[nodes] = await _cost(here, partial(here.time_fan_out, nodes), nodes, repetitions)
    largest = max(NODES_IN_ONE)
    seconds = in_one[largest].elapsed.median * largest / 1e6
    return Section(
        {
            f"fanout_{largest}_s": significant(seconds),
            f"fanout_{largest}": {
                "execution_service_mib_before": significant(peak.before / MEBIBYTE),
                "execution_service_mib_peak": significant(peak.most / MEBIBYTE),
            },
            "level": {
                "nodes_in_one_execution": {str(count): cost.to_json() for count, cost in in_one.items()},
                "executions_at_once": {str(count): cost.to_json() for count, cost in at_once.items()},
            },
        },
        [
            Row(f"fan-out of {largest:,}, collected", "s", Spread.of([seconds])),
            Row("execution service before it", "MiB", Spread.of([peak.before / MEBIBYTE])),
            Row("execution service at most", "MiB", Spread.of([peak.most / MEBIBYTE])),
        ],
        [_table("nodes in one execution", in_one), _table("chains of 10 at once", at_once)],
    )


async def _cost(here: Laboratory, measure: Callable[[], Awaitable[float]], nodes: int, repetitions: int) -> Cost:
    await measure()
    # A pause of this process would be counted as the stack's.
    gc.collect()
    before = processor_seconds(here.stack)
    elapsed = [1e6 * await measure() / nodes for _ in range(repetitions)]
    used = difference(before, processor_seconds(here.stack))
    per_node = 1e6 / nodes / repetitions
    whole = sum(seconds for name, seconds in used.items() if name != CLIENT)
    return Cost(Spread.of(elapsed), used[EXECUTION_SERVICE] * per_node, whole * per_node)


def _table(what: str, costs: dict[int, Cost]) -> str:
    head = f"Cost of a node, µs:\n  {what:>24} {'elapsed':>10} {'processor, service':>20} {'processor, stack':>18}"
    lines = [
        f"  {count:24,} {cost.elapsed.median:10.0f} {cost.service:20.0f} {cost.stack:18.0f}"
        for count, cost in costs.items()
    ]
    return "\n".join([head, *lines])
