"""The client against the real execution service, with a small catalogue and a small runner."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from blockyard.client import Client, ExecutionStatus, NodeStatus
from blockyard.connection import Connection
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import ExecutionCancelled, ExecutionFailed, InvalidArgument, NotFound
from blockyard.events import EventKind
from blockyard.runner.v1.task_pb2 import Task

from services.common import identity
from tests.integration.execution.house import SECRET, House, house
from tests.integration.execution.protocol_runner import Block, Held, running
from tests.integration.execution.test_answers import eight_nodes
from tests.integration.execution.test_guarantees import echo


def add(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs["a"] + 1


def hold(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held
    yield


def fail(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise ValueError("no voice")
    yield


def numbers(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for number in range(inputs["count"]):
        yield "item", number


BLOCKS: dict[str, Block] = {"add": add, "hold": hold, "fail": fail, "numbers": numbers}


@asynccontextmanager
async def client_of(built: House, user_id: str = "anna") -> AsyncIterator[Client]:
    """The client of a user. The small catalogue has no public methods, so there are no graphs to list."""
    address = (built.folder / next(path.name for path in built.folder.glob("port-*"))).read_text().strip()
    execution = f"127.0.0.1:{address}"
    token = identity.user_token(SECRET, user_id, "user", 300)
    async with Client(Connection(execution, execution, token)) as client:
        yield client


@asynccontextmanager
async def prepared(postgres: PostgresServer) -> AsyncIterator[tuple[House, Client]]:
    """A service with the graphs `one` (a + 1), `many` (a fan-out of 500), `held` and `failing`."""
    async with house(postgres) as built:
        for name, block in (("one", "add"), ("held", "hold"), ("failing", "fail")):
            graph = built.graph(name)
            graph.input("a")
            graph.node("node", block)
            graph.output("out")
            graph.link("a.result", "node.a")
            graph.link("node.result", "out.value")
            built.catalogue.add(graph)
        graph = built.graph("many")
        graph.node("numbers", many=("item",), count=500)
        graph.node("one", "add")
        graph.node("gather", "COLLECT")
        graph.output("all")
        graph.link("numbers.item", "one.a")
        graph.link("one.result", "gather.item")
        graph.link("gather.items", "all.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, BLOCKS), client_of(built) as client:
            yield built, client


async def test_a_run_from_start_to_result(postgres: PostgresServer) -> None:
    async with prepared(postgres) as (_, client):
        execution = await client.executions.start("one", {"a": 2**62}, labels={"for": "test"})
        assert await execution.result(timeout=20) == {"out": [2**62 + 1]}

        ended = await execution.get()
        assert (ended.status, ended.inputs, ended.labels) == (
            ExecutionStatus.COMPLETED,
            {"a": 2**62},
            {"for": "test"},
        )
        (node,) = [node async for node in execution.nodes("node")]
        assert (node.status, node.outputs) == (NodeStatus.COMPLETED, {"result": [2**62 + 1]})
        assert node.task_id == f"{execution.id}-{node.number}"


async def test_results_larger_than_an_answer_come_whole(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        eight_nodes(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), client_of(built) as client:
            value = "x" * 900_000
            execution = await client.executions.start("graph", {"value": value})
            assert await execution.result(timeout=30) == {f"out{at}": [value] for at in range(8)}


async def test_events_come_once_in_order_and_can_be_resumed(postgres: PostgresServer) -> None:
    async with prepared(postgres) as (_, client):
        execution = await client.executions.start("many")
        events = [event async for event in execution.watch()]

        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert events[-1].kind is EventKind.EXECUTION_COMPLETED
        assert sum(event.kind is EventKind.NODE_COMPLETED for event in events) == 503
        assert [event async for event in execution.watch(after=1_000)] == events[1_000:]
        assert [event async for event in client.executions.events(execution.id)] == events
        assert [event async for event in execution.watch(after=len(events))] == []


async def test_an_execution_that_waits_is_explained_and_stopped(postgres: PostgresServer) -> None:
    async with prepared(postgres) as (_, client):
        execution = await client.executions.start("held", {"a": 1})
        async with asyncio.timeout(20):
            async for event in execution.watch():
                if event.kind is EventKind.NODE_STARTED:
                    break

        explained = await execution.explain()
        assert [waiting.node_id for waiting in explained.waiting] == ["node"]
        assert "node" in explained.summary

        assert (await execution.stop()).status is ExecutionStatus.CANCELLED
        assert (await execution.explain()).summary == "It has ended: CANCELLED."
        with pytest.raises(ExecutionCancelled):
            await execution.result(timeout=20)


async def test_a_failure_is_told_with_its_message(postgres: PostgresServer) -> None:
    async with prepared(postgres) as (_, client):
        execution = await client.executions.start("failing", {"a": 1})
        with pytest.raises(ExecutionFailed, match="no voice"):
            await execution.result(timeout=20)
        (node,) = [node async for node in execution.nodes("node")]
        assert (node.status, node.error, node.error_reason) == (NodeStatus.FAILED, "no voice", "BLOCK_ERROR")


async def test_lists_go_over_pages_and_filter(postgres: PostgresServer) -> None:
    async with prepared(postgres) as (_, client):
        for number in range(5):
            await client.executions.start("one", {"a": number}, labels={"number": str(number)})
        failed = await client.executions.start("failing", {"a": 1})
        await failed.wait(timeout=20)

        assert len([one async for one in client.executions.list(page_size=2)]) == 6
        found = client.executions.list(statuses=[ExecutionStatus.FAILED])
        assert [one.id async for one in found] == [failed.id]
        assert [one.labels async for one in client.executions.list(labels={"number": "3"})] == [{"number": "3"}]


async def test_bad_inputs_and_unknown_ids_are_errors_of_their_own(postgres: PostgresServer) -> None:
    async with prepared(postgres) as (built, client):
        with pytest.raises(InvalidArgument) as caught:
            await client.executions.start("one", {"b": 1})
        assert caught.value.reason == "INPUTS_INVALID"
        assert [violation.field for violation in caught.value.violations] == ["inputs.b"]

        execution = await client.executions.start("one", {"a": 1})
        async with client_of(built, "somebody-else") as other:
            with pytest.raises(NotFound) as hidden:
                await other.executions.get(execution.id)
        assert hidden.value.reason == "EXECUTION_NOT_FOUND"
        with pytest.raises(NotFound):
            await client.executions.get("no id at all")
