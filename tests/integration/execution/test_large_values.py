"""Large values that the engine puts together, and a blob store that is slow, away, or gone for good (rule 21)."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.runner.v1.task_pb2 import Task

from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import looking
from tests.stack.object_store import BUCKET_URL, ObjectStore, object_store
from tests.waiting import until

TEXT = "x" * 100_000


def collecting(built: House, *, then_work: bool = False) -> None:
    """A graph "large" that collects five texts: small each, and too large for a message together."""
    graph = built.graph("large")
    graph.node("texts", many=("item",))
    graph.node("gather", "COLLECT")
    graph.link("texts.item", "gather.item")
    if then_work:
        graph.node("work")
        graph.link("gather.items", "work.a")
    else:
        graph.output("all")
        graph.link("gather.items", "all.value")
    built.catalogue.add(graph)


def texts(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for _ in range(5):
        yield "item", TEXT


def lead_to(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


LOADS = "SELECT loads FROM executions WHERE execution_id = $1"


@pytest.mark.parametrize("failing", [False, True], ids=["hangs", "fails"])
async def test_while_the_blob_store_is_away_only_those_wait_that_need_it(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, failing: bool
) -> None:
    async with object_store() as store, house(postgres, partitions=1, blob_url=BUCKET_URL, lease_seconds=30) as built:
        lead_to(store, monkeypatch)
        one_node(built)
        collecting(built)
        await built.add_replica()
        store.failing = failing
        if not failing:
            store.answers.clear()
        async with running(built.bus, {"work": echo, "texts": texts}), looking(built) as rows:
            client = built.client()
            large = await client.start("large")
            await until(lambda: store.asked >= 1, "the large value is on its way")
            for _ in range(3):
                small = await client.start()
                await client.events(small.id)
                assert await client.results(small.id) == {"out": [1]}
            assert (await client.get(large.id)).status == ExecutionStatus.EXECUTION_STATUS_RUNNING
            assert await rows.fetchval(LOADS, UUID(large.id)) == 0
            store.failing = False
            store.answers.set()
            events = await client.events(large.id)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert await client.results(large.id) == {"all": [[TEXT] * 5]}


async def test_a_stop_that_comes_while_a_large_value_is_kept_is_taken_after_it(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with object_store() as store, house(postgres, partitions=1, blob_url=BUCKET_URL, lease_seconds=30) as built:
        lead_to(store, monkeypatch)
        collecting(built, then_work=True)
        await built.add_replica()
        store.answers.clear()
        async with running(built.bus, {"texts": texts, "work": echo}):
            client = built.client()
            large = await client.start("large")
            await until(lambda: store.asked >= 1, "the large value is on its way")
            stopping = messages.StopExecutionRequest(execution_id=large.id)
            await client.call("StopExecution", stopping, timeout=1)
            store.answers.set()
            events = await client.events(large.id)
            assert events[-1].kind == EventKind.EVENT_KIND_EXECUTION_CANCELLED
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def test_a_replica_that_goes_while_a_large_value_is_kept_leaves_it_to_the_next(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with object_store() as store, house(postgres, partitions=1, blob_url=BUCKET_URL, lease_seconds=30) as built:
        lead_to(store, monkeypatch)
        collecting(built)
        first = await built.add_replica()
        store.answers.clear()
        async with running(built.bus, {"texts": texts}):
            large = await built.client().start("large")
            await until(lambda: store.asked >= 1, "the large value is on its way")
            await built.add_replica()
            await first.close()
            store.answers.set()
            client = built.client(replica=1)
            events = await client.events(large.id)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert await client.results(large.id) == {"all": [[TEXT] * 5]}
