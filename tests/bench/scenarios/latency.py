"""Executions of one node, one after another: from StartExecution to the completed event that the client watches."""

import time

from tests.bench.completions import NotCompleted
from tests.bench.figures import Spread, percentile, significant
from tests.bench.laboratory import Laboratory
from tests.bench.loads import Load, chain
from tests.bench.report import Bound, Row, Section

EXECUTIONS = 300
WARM = 50

MEDIAN_REQUIRED = Bound(8.0, 3.0, at_most=True)
SLOWEST_REQUIRED = Bound(25.0, 25.0, at_most=True)


async def measure_latency(here: Laboratory) -> Section:
    """Median and 99th percentile, in milliseconds."""
    load = chain(1)
    graph_id = await here.graph(load.graph)
    timed = [await _one(here, load, graph_id) for _ in range(WARM + EXECUTIONS)][WARM:]
    accepted = [milliseconds for milliseconds, _ in timed]
    own = [milliseconds for _, milliseconds in timed]
    raw = [1e3 * seconds for seconds in (await here.raw.run(1, WARM + EXECUTIONS)).turns][WARM:]
    middle, slow = percentile(own, 50), percentile(own, 99)
    raw_middle, raw_slow = percentile(raw, 50), percentile(raw, 99)
    return Section(
        {
            "latency_ms": {
                "p50": significant(middle),
                "p99": significant(slow),
                "highest": significant(max(own)),
                "accepted_p50": significant(percentile(accepted, 50)),
                "executions": EXECUTIONS,
                "raw_p50": significant(raw_middle),
                "raw_p99": significant(raw_slow),
                "ratio": significant(raw_middle / middle),
            }
        },
        [
            Row(
                "one node, p50",
                "ms",
                _point(middle, own),
                _point(raw_middle, raw),
                raw_middle / middle,
                MEDIAN_REQUIRED,
            ),
            Row("one node, p99", "ms", _point(slow, own), _point(raw_slow, raw), raw_slow / slow, SLOWEST_REQUIRED),
        ],
    )


async def _one(here: Laboratory, load: Load, graph_id: str) -> tuple[float, float]:
    """Milliseconds until one execution was accepted, and until it had completed."""
    began = time.perf_counter()
    execution = await here.client.executions.start(graph_id, load.inputs)
    accepted = 1e3 * (time.perf_counter() - began)
    last = None
    async for event in execution.watch():
        last = event
    took = 1e3 * (time.perf_counter() - began)
    if last is None or last.kind.name != "EXECUTION_COMPLETED":
        raise NotCompleted(f"execution {execution.id} ended with {last}")
    return accepted, took


def _point(value: float, samples: list[float]) -> Spread:
    return Spread(value, min(samples), max(samples), len(samples))
