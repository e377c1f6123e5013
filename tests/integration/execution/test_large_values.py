"""Large values that the engine puts together, and a blob store that is slow, away, or gone for good (rule 21)."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecutionStatus
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output
from blockyard.runner.v1.task_pb2 import Task

from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import Block, Held, running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import WAITING_TURNS, looking
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


def count(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", "it ran"


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held
    yield


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


async def test_what_runners_have_done_for_an_execution_that_waits_takes_no_room_of_others(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with object_store() as store, house(postgres, partitions=1, blob_url=BUCKET_URL, lease_seconds=30) as built:
        lead_to(store, monkeypatch)
        one_node(built)
        graph = built.graph("both")
        graph.node("texts", many=("item",))
        graph.node("gather", "COLLECT")
        graph.link("texts.item", "gather.item")
        for number in range(20):
            graph.node(f"slow {number}", "slow")
        built.catalogue.add(graph)
        await built.add_replica()
        store.answers.clear()
        # Eight tasks may be out at once.
        async with running(built.bus, {"work": echo, "texts": held, "slow": held}, slots=4) as runner:
            client = built.client()
            large = await client.start("both")
            await until(lambda: len(runner.held) == 8, "the window is full")
            tasks = sorted(runner.held.values(), key=lambda task: task.node_id != "texts")
            runner.held.clear()
            items = [Output(pin="item", index=at, value=json.dumps(TEXT).encode()) for at in range(5)]
            await runner.say(tasks[0], 1, items, Finish(outcome=Outcome.OUTCOME_COMPLETED))
            await until(lambda: store.asked >= 1, "the large value is on its way")
            for task in tasks[1:]:
                await runner.say(task, 1, [], Finish(outcome=Outcome.OUTCOME_COMPLETED))
            small = await client.start()
            await client.events(small.id)
            store.answers.set()
            answered = {task.node_execution for task in tasks}
            request = messages.ListNodeExecutionsRequest(execution_id=large.id)

            async def all_taken_in() -> bool:
                listed = await client.call("ListNodeExecutions", request)
                done = {one.number for one in listed.node_executions if one.status == NODE_COMPLETED}
                return answered <= done

            await until(all_taken_in, "what was done meanwhile is recorded")


NODE_COMPLETED = NodeExecutionStatus.NODE_EXECUTION_STATUS_COMPLETED


async def test_a_large_input_that_waits_for_the_blob_store_outlives_a_commit_that_was_not_confirmed(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with object_store() as store, house(postgres, partitions=1, blob_url=BUCKET_URL, lease_seconds=30) as built:
        lead_to(store, monkeypatch)
        graph = built.graph("large")
        graph.node("texts", many=("item",))
        graph.node("gather", "COLLECT")
        graph.node("count")
        graph.output("counted")
        graph.node("slow")
        graph.link("texts.item", "gather.item")
        graph.link("gather.items", "count.a")
        graph.link("count.result", "counted.value")
        built.catalogue.add(graph)
        await built.add_replica()
        # The event of the collected list is kept; the input of the next node is not.
        store.well = 1

        blocks: dict[str, Block] = {"texts": held, "count": count, "slow": held}
        async with running(built.bus, blocks) as runner, looking(built) as rows, looking(built) as witness:
            client = built.client()
            large = await client.start("large")
            await until(lambda: len(runner.held) == 2, "both run")
            slow, yielding = sorted(runner.held.values(), key=lambda task: task.node_id)
            runner.held.clear()
            # In two messages: NATS takes 8 MiB.
            items = [Output(pin="item", index=at, value=json.dumps(TEXT).encode()) for at in range(90)]
            await runner.say(yielding, 1, items[:45])
            await runner.say(yielding, 1, items[45:], Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=90))
            await until(lambda: store.asked >= 3, "the large input cannot be kept")
            async with rows.transaction():
                await rows.execute("LOCK TABLE turns IN SHARE MODE")
                await runner.say(slow, 1, [], Finish(outcome=Outcome.OUTCOME_COMPLETED))
                pid = await until(lambda: witness.fetchval(WAITING_TURNS), "a turn waits for the lock")
                await witness.execute("SELECT pg_terminate_backend($1, 20000)", pid)
            asked = store.asked
            await until(lambda: store.asked >= asked + 3, "it is loaded again, and its input is tried again")
            store.well = None

            async def has_ended() -> bool:
                return (await client.get(large.id)).status >= ExecutionStatus.EXECUTION_STATUS_COMPLETED

            await until(has_ended, "it has ended")
            assert await client.results(large.id) == {"counted": ["it ran"]}


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
