"""A start follows the edit before it, however busy the graph is."""

import asyncio

from blockyard.client import Client
from blockyard.graphs import Graph

EDITS = 5


def constant(value: int) -> Graph:
    graph = Graph("edited while it runs")
    stored = graph.add("StoreValueBlock", input=value)
    graph.output("value", stored["output"])
    return graph


async def test_a_start_of_a_busy_graph_follows_the_edit_before_it(client: Client) -> None:
    made = await client.graphs.create(constant(0))
    edited = asyncio.Event()

    async def keep_busy() -> int:
        count = 0
        while not edited.is_set():
            await client.executions.start(made.id)
            count += 1
        return count

    async with asyncio.TaskGroup() as tasks:
        busy = [tasks.create_task(keep_busy()) for _ in range(3)]
        for value in range(1, EDITS + 1):
            await client.graphs.update(made.id, constant(value))
            assert await client.run(made.id, timeout=60) == {"value": [value]}
        edited.set()
    assert sum(task.result() for task in busy) > EDITS
