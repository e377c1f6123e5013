"""The airports workflow, run by the engine and the built-in blocks alone, gives what plain Python computes."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from blockyard import values
from blockyard.block import Block
from blockyard.block.catalogue import describe
from blockyard.block.dynamic_pins import MISSING, base_pin, select
from blockyard.block.loader import load_blocks
from blockyard.block.preparation import prepare
from blockyard.graphs import load_graph

from services.execution.engine import (
    Continued,
    Effects,
    Fact,
    Finish,
    Machine,
    NodeExecution,
    Output,
    Plan,
    Reported,
    Started,
    State,
    Topology,
)
from services.execution.planning import Limits, compile_plan
from tests.e2e import airports_in_python as plain

BLOCKS = load_blocks(["blocks"], entry_points=False)


class InMemoryRun:
    """An execution without services: tasks run one after the other, in an order drawn from the seed."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._topology = Topology(plan)
        self._machine = Machine(self._topology, State(seed=seed))
        self._random = random.Random(seed)
        self._queued: list[NodeExecution] = []
        self.results: dict[str, list[Any]] = {}
        self.runs: Counter[str] = Counter()

    async def run(self, inputs: dict[str, Any]) -> None:
        """Runs it to its end."""
        self._apply([Started({name: values.encode(value) for name, value in inputs.items()})])
        while not self._machine.ended:
            assert self._queued, "nothing can run, and it has not ended"
            self._random.shuffle(self._queued)
            taken, self._queued = self._queued[:500], self._queued[500:]
            self._apply([await self._report(execution) for execution in taken])

    def _apply(self, facts: list[Fact]) -> None:
        effects = self._machine.apply(facts, 1_000)
        self._take(effects)
        while effects.more:
            effects = self._machine.apply([Continued()], 1_000)
            self._take(effects)

    def _take(self, effects: Effects) -> None:
        self._queued += effects.queued
        for output in effects.outputs:
            self.results.setdefault(output.name, []).append(values.decode(output.value))

    async def _report(self, execution: NodeExecution) -> Reported:
        node = self._plan.nodes[execution.node]
        block: Block = BLOCKS.blocks[node.block_id]
        self.runs[block.name] += 1
        raw = json.loads(self._topology.inputs(execution.node, execution.values))
        selectors = {link.source_pin for link in self._plan.links if link.source == execution.node}
        outputs: list[Output] = []
        numbers: Counter[str] = Counter()
        async for pin, value in block.execute(prepare(block, raw)):
            outputs.append(Output(pin, numbers[pin], values.encode(value)))
            for selector in sorted(selectors):
                if selector != pin and base_pin(selector) == pin and (part := select(selector, value)) is not MISSING:
                    outputs.append(Output(selector, numbers[pin], values.encode(part)))
            numbers[pin] += 1
        finish = Finish(failed=False, outputs=len(outputs))
        return Reported(execution.number, execution.attempt, 1, tuple(outputs), finish)


def plan() -> Plan:
    graph = load_graph(plain.GRAPH)
    for node in graph.nodes:
        node.block_id = BLOCKS.by_name[node.block_id].id
    blocks = {block.id: describe(block) for block in BLOCKS.blocks.values()}
    return compile_plan(graph, blocks, Limits(1_000_000, 3_600_000, 60_000))


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_airports_workflow_gives_what_plain_python_computes(seed: int) -> None:
    latitude, longitude, radius_km = 21.3069, -157.8583, 5000.0
    expected = plain.airports(latitude, longitude, radius_km)
    run = InMemoryRun(plan(), seed)
    table = plain.DATA.read_text(encoding="utf-8")

    await run.run({"csv": table, "latitude": latitude, "longitude": longitude, "radius_km": radius_km})

    assert 0 < len(expected) < len(plain.rows())
    assert run.results == {"states": [plain.states(expected)], "nearest": [plain.nearest(expected)]}
    assert run.runs.total() == plain.NODES_A_ROW * len(plain.rows()) + 4
