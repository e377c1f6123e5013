"""Graphs run through the real service, with a small runner."""

from collections.abc import Iterator
from typing import Any

from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.runner.v1.task_pb2 import Task

from tests.integration.execution.house import house
from tests.integration.execution.protocol_runner import running
from tests.metrics import value

COUNTED = {
    "blockyard_executions_started_total": {},
    "blockyard_executions_ended_total": {"status": "completed"},
    "blockyard_execution_seconds_count": {},
    "blockyard_node_executions_total": {"status": "completed"},
}


def add(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs["a"] + 1


def numbers(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for number in range(inputs["count"]):
        yield "item", number


async def test_a_chain_runs_to_its_results_with_all_its_events(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.input("first")
        graph.node("one", "add")
        graph.node("two", "add")
        graph.output("last")
        graph.link("first.result", "one.a")
        graph.link("one.result", "two.a")
        graph.link("two.result", "last.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"add": add}):
            client = built.client()
            before = {name: value(name, **labels) for name, labels in COUNTED.items()}
            execution = await client.start(inputs={"first": 2**62})
            events = await client.events(execution.id)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert events[0].kind == EventKind.EVENT_KIND_EXECUTION_STARTED
            assert events[-1].kind == EventKind.EVENT_KIND_EXECUTION_COMPLETED
            assert await client.results(execution.id) == {"last": [2**62 + 2]}
            ended = await client.get(execution.id)
            assert ended.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED
            assert ended.node_executions == 4
            counted = {name: value(name, **labels) - before[name] for name, labels in COUNTED.items()}
            assert counted == dict.fromkeys(COUNTED, 1) | {"blockyard_node_executions_total": 4}


async def test_a_fan_out_is_collected_in_its_order(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("numbers", many=("item",), count=1000)
        graph.node("one", "add")
        graph.node("gather", "COLLECT")
        graph.output("all")
        graph.link("numbers.item", "one.a")
        graph.link("one.result", "gather.item")
        graph.link("gather.items", "all.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"add": add, "numbers": numbers}):
            client = built.client()
            execution = await client.start()
            await client.events(execution.id)
            assert await client.results(execution.id) == {"all": [list(range(1, 1001))]}


async def test_a_collected_list_too_large_for_a_message_reaches_the_next_node_and_the_reader(
    postgres: PostgresServer,
) -> None:
    def many(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        for number in range(200):
            yield "item", "x" * 2000 + str(number)

    async with house(postgres) as built:
        graph = built.graph()
        graph.node("many", many=("item",))
        graph.node("gather", "COLLECT")
        graph.node("look")
        graph.output("all")
        graph.output("seen")
        graph.link("many.item", "gather.item")
        graph.link("gather.items", "all.value")
        graph.link("gather.items", "look.a")
        graph.link("look.result", "seen.value")
        built.catalogue.add(graph)
        await built.add_replica()

        def look(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            yield "result", inputs["a"]

        async with running(built.bus, {"many": many, "look": look}) as runner:
            client = built.client()
            execution = await client.start()
            events = await client.events(execution.id)
            results = await client.results(execution.id)
            assert [len(item) for item in results["all"][0]] == [2000 + len(str(at)) for at in range(200)]
            (seen,) = results["seen"]
            assert seen == results["all"][0]
            assert max(len(task.inputs) for task in runner.ran) < 1000
            assert max(len(event.value) for event in events) > 256 << 10


async def test_watching_from_the_last_event_on_ends_at_once(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph()
        graph.node("one", "add", a=1)
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"add": add}):
            client = built.client()
            execution = await client.start()
            events = await client.events(execution.id)
            assert await client.events(execution.id, after=events[-1].sequence, timeout=5) == []
            assert await client.events(execution.id, after=events[-1].sequence + 10, timeout=5) == []
            assert await client.events(execution.id, after=events[-2].sequence, timeout=5) == events[-1:]
