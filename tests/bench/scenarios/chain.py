"""200 executions of a chain of ten no-ops, started together: node executions a second, and who spends the time."""

from tests.bench.figures import Spread, significant
from tests.bench.laboratory import Laboratory
from tests.bench.report import Bound, Row, Section
from tests.bench.usage import difference, processor_seconds

CHAINS = 200
LENGTH = 10
NODES = CHAINS * LENGTH
REPETITIONS = 9
QUICK_REPETITIONS = 5

REQUIRED = Bound(3_000, 8_000)


async def measure_chain(here: Laboratory) -> Section:
    """Throughput of chains."""
    own: list[float] = []
    raw: list[float] = []
    used: dict[str, float] = {}
    await here.time_chains(CHAINS, LENGTH)
    await here.raw.run(CHAINS, LENGTH)
    for _ in range(QUICK_REPETITIONS if here.quick else REPETITIONS):
        before = processor_seconds(here.stack)
        own.append(NODES / await here.time_chains(CHAINS, LENGTH))
        for name, seconds in difference(before, processor_seconds(here.stack)).items():
            used[name] = used.get(name, 0.0) + seconds
        raw.append(NODES / (await here.raw.run(CHAINS, LENGTH)).seconds)
    figure, limit = Spread.of(own), Spread.of(raw)
    ratio = figure.median / limit.median
    per_node = {name: significant(1e6 * seconds / NODES / len(own)) for name, seconds in used.items()}
    return Section(
        {
            "chain": {
                "node_executions_per_s": significant(figure.median),
                "raw_limit_per_s": significant(limit.median),
                "ratio": significant(ratio),
                "executions": CHAINS,
                "length": LENGTH,
                "counted": f"{NODES} no-ops; the inputs and outputs of the chains come on top and are not counted",
                "spread": figure.to_json(),
                "raw_spread": limit.to_json(),
                "processor_us_per_node": per_node,
            }
        },
        [Row(f"{CHAINS} chains of {LENGTH} no-ops", "nodes/s", figure, limit, ratio, REQUIRED)],
        [
            f"Of the chains only the {NODES} no-ops count, not their inputs and outputs.",
            _table("Processor time of the chains, µs a node:", per_node),
        ],
    )


def _table(head: str, per_node: dict[str, float]) -> str:
    ordered = sorted(per_node.items(), key=lambda item: -item[1])
    lines = [f"  {name:14} {microseconds:8.0f}" for name, microseconds in ordered]
    return "\n".join([head, *lines, f"  {'together':14} {sum(per_node.values()):8.0f}"])
