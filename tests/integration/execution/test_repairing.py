"""NATS loses everything while executions run, and an administrator has it repaired: all is rebuilt, nothing is lost."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.runner.v1.task_pb2 import Task

from services.common import identity
from services.common.bus import EVENTS, RESULTS, TASKS
from tests.integration.execution.house import SECRET, Client, House, house
from tests.integration.execution.protocol_runner import running
from tests.waiting import until

FOUND, MADE, CHANGED = messages.STREAM_REPAIR_FOUND, messages.STREAM_REPAIR_MADE, messages.STREAM_REPAIR_CHANGED


def add(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs["a"] + 1


def chain(built: House) -> None:
    graph = built.graph()
    graph.input("first")
    graph.node("one", "add")
    graph.node("two", "add")
    graph.output("last")
    graph.link("first.result", "one.a")
    graph.link("one.result", "two.a")
    graph.link("two.result", "last.value")
    built.catalogue.add(graph)


async def repaired(client: Client) -> messages.RepairStreamsResponse | None:
    """None while NATS is away."""
    metadata = [("authorization", f"Bearer {identity.user_token(SECRET, 'root', 'admin', 300)}")]
    try:
        answer: messages.RepairStreamsResponse = await client.stub.RepairStreams(
            messages.RepairStreamsRequest(), metadata=metadata, timeout=20
        )
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return None
        raise
    return answer


async def until_whole(client: Client) -> list[messages.RepairStreamsResponse]:
    """All answers until nothing is missing."""
    answers: list[messages.RepairStreamsResponse] = []

    async def whole() -> bool:
        answer = await repaired(client)
        answers.extend([answer] if answer is not None else [])
        return answer is not None and answer.whole

    await until(whole, "the streams are whole", 40)
    return answers


async def test_all_is_rebuilt_under_load_and_every_execution_ends_once(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        chain(built)
        await built.add_replica()
        await built.add_replica()
        client = built.client()
        started: list[str] = []

        async def load() -> None:
            while True:
                started.append((await client.start(inputs={"first": len(started)})).id)
                await asyncio.sleep(0)

        async with running(built.bus, {"add": add}):
            loading = asyncio.create_task(load())
            await until(lambda: len(started) > 20, "there is load")
            await built.nats.kill()
            await built.nats.wipe()
            before = len(started)
            await until(lambda: len(started) > before + 20, "starts are accepted without NATS")
            await built.nats.start()
            first = await repaired(client)
            await until(lambda: len(started) > before + 40, "starts are accepted meanwhile")
            loading.cancel()
            await asyncio.wait([loading])
            answers = [*([first] if first is not None else []), *await until_whole(client)]
            assert {one.name for one in answers[-1].streams} == {RESULTS, TASKS, EVENTS, "NOTICES"}
            # NOTICES is made by whoever needs it first, here by the repair alone.
            assert MADE in {one.repair for answer in answers for one in answer.streams if one.name == "NOTICES"}
            for number, execution_id in enumerate(started):
                events = await client.events(execution_id, timeout=40)
                kinds = [event.kind for event in events]
                assert kinds.count(EventKind.EVENT_KIND_EXECUTION_COMPLETED) == 1
                assert await client.results(execution_id) == {"last": [number + 2]}


async def test_what_is_well_is_called_whole_while_executions_go_on(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        chain(built)
        await built.add_replica()
        client = built.client()
        await until_whole(client)  # which makes the stream of notices
        ended = asyncio.Event()

        async def load() -> None:
            while True:
                await client.events((await client.start(inputs={"first": 1})).id)
                ended.set()

        async with running(built.bus, {"add": add}):
            loading = asyncio.create_task(load())
            await asyncio.wait_for(ended.wait(), 20)
            answer = await repaired(client)
            assert answer is not None
            assert answer.whole
            loading.cancel()
            await asyncio.wait([loading])


async def test_where_nothing_is_wrong_nothing_is_done_and_another_configuration_is_put_right(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        await built.add_replica()
        client = built.client()
        answer = (await until_whole(client))[-1]
        assert {one.repair for one in answer.streams} == {FOUND}
        assert (answer.partitions, answer.unheld_partitions, answer.deaf_partitions) == (4, 0, 0)

        (wanted,) = [await built.bus.jetstream.configuration(EVENTS)]
        await built.bus.jetstream.ensure_stream({**wanted, "max_bytes": 1 << 20})
        changed = await repaired(client)
        assert changed is not None
        answer = changed
        assert {one.name: one.repair for one in answer.streams}[EVENTS] == CHANGED
        assert not answer.whole
        assert (await built.bus.jetstream.configuration(EVENTS))["max_bytes"] == wanted["max_bytes"]

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.call("RepairStreams", messages.RepairStreamsRequest())
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
