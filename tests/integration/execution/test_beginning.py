"""A start whose partition is held where it is accepted: its row and its first turn are one transaction."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias, cast
from uuid import UUID

import asyncpg
import grpc
import pytest
from asyncpg.transaction import Transaction
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1.execution_pb2 import Execution, ExecutionStatus
from prometheus_client import REGISTRY

from services.common.blobs import BlobStore
from services.common.ids import new_id
from services.execution.accepting import Acceptance, RequestIdTaken
from services.execution.config import ExecutionSettings
from services.execution.engine import Reported, Topology
from services.execution.engine.plan import Plan, encode_plan
from services.execution.large_values import LIMIT, LargeValues
from services.execution.live import Arrival, Receipt
from services.execution.loading import Loader
from services.execution.metrics import METRICS
from services.execution.owner import Owner, owning
from services.execution.records import ExecutionRow, NewExecution
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.retention import Retention
from services.execution.repository.turns import TurnRepository
from services.execution.residence import SOON_SECONDS
from services.execution.starting import Starter
from services.execution.watching import Watchers
from tests import signing
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_fences import SAME_TURN, finish_held
from tests.integration.execution.test_guarantees import one_node
from tests.integration.execution.test_large_values import lead_to
from tests.integration.execution.test_looking import database, new
from tests.integration.execution.test_lost_commits import (
    UNCONFIRMED_TURNS,
    WAITING_TURNS,
    answers,
    hold,
    let_go,
    looking,
    waiting_for_a_standby,
)
from tests.metrics import value
from tests.stack.object_store import BUCKET_URL, object_store
from tests.stack.postgres import as_role, running_postgres
from tests.unit.engine.simulation import PlanBuilder
from tests.unit.engine.test_bounds import nothing
from tests.waiting import until

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

TOGETHER = """
SELECT e.xmin = t.xmin AND e.create_time = e.start_time FROM executions e JOIN turns t USING (execution_id)
WHERE execution_id = $1 AND turn = 1
"""
"""Whether an execution's row is as the transaction of its first turn has written it: older ones have another time."""

EXECUTIONS = "SELECT count(*) FROM executions"
FEEDS = "SELECT array_agg(feed_sequence ORDER BY feed_sequence) AS sequences FROM turns GROUP BY partition"


def passing(built: House, graph_id: str = "graph") -> None:
    """A graph that gives its input "number" as its result "out": all of it within its first turn."""
    graph = built.graph(graph_id)
    graph.input("number")
    graph.output("out")
    graph.link("number.result", "out.value")
    built.catalogue.add(graph)


async def ready_to_begin(built: House, *clients: Client, graph_id: str = "graph", **fields: Any) -> None:
    """From here on the graph's plan is stored and known, by the first start of it, and all partitions are driven."""
    for client in clients:
        await client.start(graph_id, **fields)
    for partition in range(built.settings.get("partitions", 4)):
        await until(partial(answers, built, partition), f"partition {partition} is open")
    async with looking(built) as rows:
        begun = "SELECT count(*) = 0 FROM executions WHERE status = 1 AND parked IS NULL"
        await until(lambda: rows.fetchval(begun), "the first ones have had their turns, or cannot have them")


async def is_gapless(rows: Rows) -> bool:
    """Whether the feed of each partition has all numbers from 1 on."""
    feeds = [feed["sequences"] for feed in await rows.fetch(FEEDS)]
    return bool(feeds) and all(feed == list(range(1, len(feed) + 1)) for feed in feeds)


@asynccontextmanager
async def no_turns(built: House) -> AsyncIterator[Rows]:
    """Within, turns wait for a lock: on the connection that is given."""
    async with looking(built) as lock, lock.transaction():
        await lock.execute("LOCK TABLE turns IN SHARE MODE")
        yield lock


async def loaded(number: int) -> None:
    """Returns when so many executions are in memory."""
    METRICS.loaded.set(-1)
    await until(
        lambda: REGISTRY.get_sample_value("blockyard_executions_loaded") == number, f"{number} executions are loaded"
    )


async def refusal(call: "asyncio.Future[Any]") -> grpc.StatusCode:
    """What a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code()


async def test_a_start_and_its_first_turn_are_one_transaction(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with no_turns(built):
            starting = asyncio.create_task(client.start(inputs={}, labels={"colour": "red"}, priority=7))
            await until(lambda: rows.fetchval(WAITING_TURNS), "the first turn is on its way")
            assert await rows.fetchval(EXECUTIONS) == 1
            assert not starting.done()
        execution = await starting
        assert await rows.fetchval(TOGETHER, UUID(execution.id))
        assert execution.status == ExecutionStatus.EXECUTION_STATUS_RUNNING
        assert (dict(execution.labels), execution.priority) == ({"colour": "red"}, 7)
        # Nobody runs its node, so it is still as it was when it was answered.
        assert await client.get(execution.id) == execution


async def test_an_execution_that_ends_within_its_first_turn_is_answered_as_it_ended(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        execution = await client.start(inputs={"number": 7})
        assert execution.status == ExecutionStatus.EXECUTION_STATUS_COMPLETED
        assert execution.end_time == execution.start_time == execution.create_time
        assert await client.get(execution.id) == execution
        assert await client.results(execution.id) == {"out": [7]}
        told = [event.sequence for event in await client.events(execution.id)]
        assert told == list(range(1, execution.last_event_sequence + 1))
        assert await rows.fetchval(TOGETHER, UUID(execution.id))
        await loaded(0)


async def test_repeats_of_a_request_id_within_a_turn_give_one_execution(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with no_turns(built):
            first = asyncio.create_task(client.start(inputs={"number": 0}))
            await until(lambda: rows.fetchval(WAITING_TURNS), "a turn is on its way")
            repeated = [client.start(inputs={"number": 1}, request_id="once") for _ in range(10)]
            others = [client.start(inputs={"number": at}, request_id=f"other {at}") for at in range(3)]
            others += [client.start(inputs={"number": at}) for at in range(3)]
            starting = [asyncio.create_task(start) for start in (*repeated, *others)]
            await loaded(17)
        await first
        started = await asyncio.gather(*starting)
        assert len({execution.id for execution in started[:10]}) == 1
        assert len({execution.id for execution in started}) == 1 + 6
        for execution, number in zip(started[10:], [0, 1, 2, 0, 1, 2], strict=True):
            assert await client.results(execution.id) == {"out": [number]}
            assert await rows.fetchval(TOGETHER, UUID(execution.id))
        assert await client.results(started[0].id) == {"out": [1]}
        assert await rows.fetchval(EXECUTIONS) == 2 + 1 + 6
        assert await is_gapless(rows)


async def test_another_request_with_the_same_id_in_the_same_turn_is_refused(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with no_turns(built):
            first = asyncio.create_task(client.start(inputs={"number": 0}))
            await until(lambda: rows.fetchval(WAITING_TURNS), "a turn is on its way")
            starts = [client.start(inputs={"number": number}, request_id="once") for number in (1, 2)]
            starting = [asyncio.create_task(start) for start in starts]
            await loaded(3)
        await first
        answers = await asyncio.gather(*starting, return_exceptions=True)
        (refused,) = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        (execution,) = [answer for answer in answers if isinstance(answer, Execution)]
        assert refused.code() == grpc.StatusCode.ALREADY_EXISTS
        assert (await client.get(execution.id)).status == ExecutionStatus.EXECUTION_STATUS_COMPLETED
        assert await rows.fetchval(EXECUTIONS) == 2 + 1
        assert await is_gapless(rows)


async def lock_turns(connection: Rows) -> Transaction:
    """A transaction that keeps turns waiting: those that come after it, not the one that waits already."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE turns IN SHARE MODE")
    return transaction


async def lock_turns_after_the_next(connection: Rows, rows: Rows) -> "asyncio.Task[Transaction]":
    """The same, in line behind the turn that waits at this moment."""
    locking = asyncio.create_task(lock_turns(connection))
    await until(lambda: rows.fetchval(WAITING_LOCKS), "the next lock is in line")
    return locking


WAITING_LOCKS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE turns%'
"""


async def test_a_request_id_counts_as_used_only_if_what_used_it_is_stored(postgres: PostgresServer) -> None:
    async with (
        house(postgres, partitions=1, lease_seconds=30) as built,
        looking(built) as rows,
        looking(built) as one,
        looking(built) as other,
    ):
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        lock = await lock_turns(one)
        first = asyncio.create_task(client.start(inputs={"number": 0}))
        await until(lambda: rows.fetchval(WAITING_TURNS), "a turn is on its way")
        repeats = [client.start(inputs={"number": 1}, request_id="once") for _ in range(2)]
        repeating = [asyncio.create_task(repeat) for repeat in repeats]
        await loaded(3)
        next_lock = await lock_turns_after_the_next(other, rows)
        await lock.rollback()
        lock = await next_lock
        await until(lambda: rows.fetchval(WAITING_TURNS), "the turn with both is on its way")
        next_lock = await lock_turns_after_the_next(one, rows)
        await lock.rollback()
        lock = await next_lock
        # The turn has failed, since both had one id; it is tried with one of them, and nobody learns how that ended.
        pid = await until(lambda: rows.fetchval(WAITING_TURNS), "what is left of the turn is on its way")
        await rows.execute("SELECT pg_terminate_backend($1, 20000)", pid)
        await lock.rollback()
        answers = await asyncio.gather(*repeating, return_exceptions=True)
        codes = {answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
        assert codes == {grpc.StatusCode.UNAVAILABLE}
        again = await client.start(inputs={"number": 1}, request_id="once")
        assert {answer.id for answer in answers if isinstance(answer, Execution)} <= {again.id}
        await client.events((await first).id)
        await client.events(again.id)
        assert await client.results(again.id) == {"out": [1]}
        assert await rows.fetchval(EXECUTIONS) == 2 + 1
        assert await is_gapless(rows)


async def test_a_request_id_that_comes_to_two_replicas_at_once_gives_one_execution(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        clients = []
        for at in range(2):
            await built.add_replica()
            clients.append(built.client(replica=at))
        shared = "SELECT count(DISTINCT owner) = 2 FROM partitions"
        await until(lambda: rows.fetchval(shared), "both replicas hold partitions")
        await ready_to_begin(built, *clients)
        for number in range(5):
            async with no_turns(built):
                starting = [asyncio.create_task(start_once(client, number)) for client in clients]
                await until(lambda: rows.fetchval(BOTH_WAIT), "each replica has it in a turn")
            one, other = await asyncio.gather(*starting)
            assert one == other
            assert await clients[0].results(one.id) == {"out": [number]}
        assert await rows.fetchval(EXECUTIONS) == 2 + 5
        assert await is_gapless(rows)


async def test_turns_of_two_replicas_with_the_same_request_ids_do_not_wait_for_each_other(
    postgres: PostgresServer,
) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows, looking(built) as other:
        passing(built)
        clients = []
        for at in range(2):
            await built.add_replica()
            clients.append(built.client(replica=at))
        shared = "SELECT count(DISTINCT owner) = 2 FROM partitions"
        await until(lambda: rows.fetchval(shared), "both replicas hold partitions")
        await ready_to_begin(built, *clients)
        held_up = other.transaction()
        await held_up.start()
        await other.execute(TAKE, new_id(), "once 10")
        async with no_turns(built):
            first = [asyncio.create_task(client.start(inputs={"number": 0})) for client in clients]
            await until(lambda: rows.fetchval(BOTH_WAIT), "each replica has a turn on its way")
            there = [start_once(clients[0], number) for number in range(20)]
            back = [start_once(clients[1], number) for number in reversed(range(20))]
            starting = [asyncio.create_task(start) for start in (*there, *back)]
            await loaded(21)
        await asyncio.gather(*first)
        await until(lambda: rows.fetchval(BOTH_WAIT), "both wait for one of the ids")
        await held_up.rollback()
        started = await asyncio.gather(*starting)
        assert [execution.id for execution in started[:20]] == [execution.id for execution in reversed(started[20:])]
        assert await rows.fetchval(EXECUTIONS) == 2 + 2 + 20
        assert await is_gapless(rows)


async def start_once(client: Client, number: int) -> Execution:
    return await client.start(inputs={"number": number}, request_id=f"once {number}")


BOTH_WAIT = f"SELECT count(*) = 2 FROM ({WAITING_TURNS}) AS waiting"


async def test_starts_that_are_stored_without_turns_keep_to_the_order_of_turns(database_url: str) -> None:
    """Of request ids: so a transaction that has one of them and wants another never waits for one that has it."""
    async with database(database_url) as pool, database(database_url) as others:
        acceptance = Acceptance(ExecutionRepository(pool), 0, lambda new: None, lambda row: None)
        storing = asyncio.create_task(acceptance.run())
        async with others.acquire() as other, others.acquire() as witness:
            async with other.transaction():
                await other.execute(TAKE, new_id(), "a")
                requests = ("z", "a")
                starting = [
                    asyncio.create_task(acceptance.accept(dataclasses.replace(new(), request_id=request), None))
                    for request in requests
                ]
                waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')"
                await until(lambda: witness.fetchval(waits), "they wait for the first id")
                await other.execute(TAKE, new_id(), "z")
            answers = await asyncio.gather(*starting, return_exceptions=True)
        storing.cancel()
        assert [type(answer) for answer in answers] == [RequestIdTaken, RequestIdTaken]


TAKE = """
INSERT INTO executions (execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules, inputs, request_id)
VALUES ($1, 'anna', 'graph', 1, 0, '', 1, '{}', $2)
"""


async def test_many_that_repeat_the_same_ids_over_two_replicas_are_answered_alike(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        clients = []
        for at in range(2):
            await built.add_replica()
            clients.append(built.client(replica=at))
            # Some begin with their first turn and some do not: not every replica knows the plan.
        await ready_to_begin(built, clients[0])
        started = await asyncio.gather(*(start_once(clients[at % 2], at // 10) for at in range(200)))
        for number in range(20):
            (execution_id,) = {execution.id for execution in started[10 * number : 10 * number + 10]}
            await clients[0].events(execution_id)
            assert await clients[0].results(execution_id) == {"out": [number]}
        assert await rows.fetchval(EXECUTIONS) == 1 + 20
        assert await is_gapless(rows)


async def test_a_start_whose_commit_is_broken_off_is_answered_with_that_and_can_be_repeated(
    postgres: PostgresServer,
) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with no_turns(built):
            starting = asyncio.create_task(client.start(inputs={"number": 1}, request_id="once"))
            pid = await until(lambda: rows.fetchval(WAITING_TURNS), "its first turn is on its way")
            await rows.execute("SELECT pg_terminate_backend($1, 20000)", pid)
            assert await refusal(starting) == grpc.StatusCode.UNAVAILABLE
        execution = await client.start(inputs={"number": 1}, request_id="once")
        await client.events(execution.id)
        assert await client.results(execution.id) == {"out": [1]}
        assert await rows.fetchval(EXECUTIONS) == 1 + 1
        assert await is_gapless(rows)


@pytest.mark.parametrize("request_id", ["once", ""])
async def test_a_start_that_was_stored_though_nobody_confirmed_it_is_there_once(request_id: str) -> None:
    async with running_postgres() as own, house(own, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with waiting_for_a_standby(rows, built):
            starting = asyncio.create_task(client.start(inputs={"number": 1}, request_id=request_id))
            pid = await until(lambda: rows.fetchval(UNCONFIRMED_TURNS), "its first turn waits for the standby")
            await rows.execute("SELECT pg_terminate_backend($1, 20000)", pid)
        assert await refusal(starting) == grpc.StatusCode.UNAVAILABLE
        stored = await rows.fetchval("SELECT max(execution_id::text) FROM executions")
        assert await rows.fetchval(TOGETHER, UUID(stored))
        assert await client.results(stored) == {"out": [1]}
        if request_id:
            assert (await client.start(inputs={"number": 1}, request_id=request_id)).id == stored
        assert await rows.fetchval(EXECUTIONS) == 1 + 1
        await client.events((await client.start()).id)
        assert await is_gapless(rows)


async def test_while_a_commit_is_in_doubt_starts_are_stored_without_turns(postgres: PostgresServer) -> None:
    async with (
        house(postgres, partitions=1, lease_seconds=30) as built,
        looking(built) as rows,
        looking(built) as holder,
    ):
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with holder.transaction():
            # As a turn would that nobody waits for any more: until it ends it is not known what was committed.
            await holder.execute("SELECT FROM replicas FOR KEY SHARE")
            async with no_turns(built):
                first = asyncio.create_task(client.start(inputs={"number": 0}))
                pid = await until(lambda: rows.fetchval(WAITING_TURNS), "its first turn is on its way")
                waiting = [asyncio.create_task(client.start(inputs={"number": at})) for at in range(3)]
                await loaded(4)
                await rows.execute("SELECT pg_terminate_backend($1, 20000)", pid)
                assert await refusal(first) == grpc.StatusCode.UNAVAILABLE
            started = await asyncio.gather(*waiting)
            started.append(await client.start(inputs={"number": 3}))
            assert {execution.status for execution in started} == {ExecutionStatus.EXECUTION_STATUS_QUEUED}
            assert await rows.fetchval("SELECT count(*) FROM turns") == 1
        for number, execution in enumerate(started):
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [number]}
        assert await rows.fetchval(EXECUTIONS) == 1 + 4
        assert await is_gapless(rows)


async def test_a_start_on_a_replica_that_was_taken_over_is_stored_all_the_same(postgres: PostgresServer) -> None:
    # The lease is long: it is another's word that ends this one, not the clock.
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        lost = value("blockyard_leases_lost_total")
        async with no_turns(built):
            starting = asyncio.create_task(client.start(inputs={"number": 1}))
            await until(lambda: rows.fetchval(WAITING_TURNS), "its first turn is on its way")
            gone = await rows.fetchval("DELETE FROM replicas RETURNING replica_id")
        execution = await starting
        assert execution.status == ExecutionStatus.EXECUTION_STATUS_QUEUED
        await client.events(execution.id)
        assert await client.results(execution.id) == {"out": [1]}
        assert value("blockyard_leases_lost_total") == lost + 1
        assert await rows.fetchval("SELECT count(*) FROM partitions WHERE owner = $1", gone) == 0
        assert await rows.fetchval(EXECUTIONS) == 1 + 1
        assert await is_gapless(rows)


async def test_a_start_whose_replica_loses_its_lease_in_the_middle_of_the_commit_is_not_kept_waiting(
    postgres: PostgresServer,
) -> None:
    async with house(postgres, lease_seconds=10) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with no_turns(built):
            starting = asyncio.create_task(client.start(inputs={"number": 1}, request_id="once"))
            await until(lambda: rows.fetchval(WAITING_TURNS), "its first turn is on its way")
            await rows.execute("DELETE FROM replicas")
            # Whether it was stored is not known to who has broken off.
            assert await refusal(starting) == grpc.StatusCode.UNAVAILABLE
        execution = await client.start(inputs={"number": 1}, request_id="once")
        await client.events(execution.id)
        assert await client.results(execution.id) == {"out": [1]}
        assert await rows.fetchval(EXECUTIONS) == 1 + 1
        assert await is_gapless(rows)


PARKINGS = "blockyard_executions_parked_total"


def nameless_input(built: House) -> None:
    """A graph that the engine cannot carry out."""
    graph = built.graph("bad")
    graph.node("in", "INPUT", value=1)
    built.catalogue.add(graph)


def name_with_nul(built: House) -> None:
    """A graph with a result that PostgreSQL cannot store."""
    graph = built.graph("bad")
    graph.input("number")
    graph.node("out", "OUTPUT", name="a name with \x00 in it")
    graph.link("number.result", "out.value")
    built.catalogue.add(graph)


@pytest.mark.parametrize(
    ("bad_graph", "inputs", "why"),
    [(nameless_input, {}, "the engine failed"), (name_with_nul, {"number": 1}, "cannot be stored")],
)
async def test_an_execution_that_cannot_have_its_first_turn_is_stored_and_parked(
    postgres: PostgresServer, bad_graph: Callable[[House], None], inputs: dict[str, Any], why: str
) -> None:
    async with house(postgres, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        bad_graph(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        await ready_to_begin(built, client, graph_id="bad", inputs=inputs)
        earlier = "SELECT count(*) = 1 FROM executions WHERE parked IS NOT NULL"
        await until(lambda: rows.fetchval(earlier), "the one before it is parked")
        parkings = REGISTRY.get_sample_value(PARKINGS)
        async with no_turns(built):
            first = asyncio.create_task(client.start(inputs={"number": 0}))
            await until(lambda: rows.fetchval(WAITING_TURNS), "a turn is on its way")
            starting = asyncio.create_task(client.start("bad", inputs=inputs))
            healthy = [asyncio.create_task(client.start(inputs={"number": at})) for at in range(1, 4)]
        bad = await starting
        parked = "SELECT parked FROM executions WHERE execution_id = $1"
        assert why in str(await until(lambda: rows.fetchval(parked, UUID(bad.id)), "it is parked"))
        assert REGISTRY.get_sample_value(PARKINGS) == (parkings or 0) + 1
        for number, start in enumerate([first, *healthy]):
            assert await client.results((await start).id) == {"out": [number]}
        assert await rows.fetchval("SELECT count(*) FROM executions WHERE parked IS NULL") == 1 + 4
        assert await is_gapless(rows)


async def test_a_start_is_stored_though_its_turn_fails_for_another_execution(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        one_node(built)
        passing(built, "passing")
        await built.add_replica()
        client = built.client()
        async with running(built.bus, {"work": hold}) as runner:
            broken = await client.start()
            await until(lambda: runner.held, "its node runs")
            await until(lambda: rows.fetchval("SELECT count(*) = 2 FROM turns"), "it is told that it does")
            await ready_to_begin(built, client, graph_id="passing")
            await rows.execute(SAME_TURN, UUID(broken.id))
            async with no_turns(built):
                first = asyncio.create_task(client.start("passing", inputs={"number": 0}))
                await until(lambda: rows.fetchval(WAITING_TURNS), "a turn is on its way")
                await finish_held(runner, b"7")
                second = asyncio.create_task(client.start("passing", inputs={"number": 1}))
                await loaded(3)
            for number, start in enumerate([first, second]):
                execution = await start
                await client.events(execution.id)
                assert await client.results(execution.id) == {"out": [number]}
            parked = "SELECT parked FROM executions WHERE execution_id = $1"
            reason = await until(lambda: rows.fetchval(parked, UUID(broken.id)), "the broken one is parked")
            assert "cannot be replayed" in reason


async def test_who_does_not_wait_for_a_start_disturbs_nobody(postgres: PostgresServer) -> None:
    async with house(postgres, partitions=1, lease_seconds=30) as built, looking(built) as rows:
        passing(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        cancelled = cancelled_starts()
        async with no_turns(built):
            first = asyncio.create_task(client.start(inputs={"number": 0}, request_id="first"))
            await until(lambda: rows.fetchval(WAITING_TURNS), "its turn is on its way")
            second = asyncio.create_task(client.start(inputs={"number": 1}, request_id="second"))
            others = [asyncio.create_task(client.start(inputs={"number": at})) for at in range(3)]
            await loaded(5)
            first.cancel()
            second.cancel()
            await until(lambda: cancelled_starts() == cancelled + 2, "the replica knows that they are gone")
        for number, other in enumerate(others):
            assert await client.results((await other).id) == {"out": [number]}
        for number, request_id in enumerate(["first", "second"]):
            execution = await client.start(inputs={"number": number}, request_id=request_id)
            assert await client.results(execution.id) == {"out": [number]}
        assert await rows.fetchval(EXECUTIONS) == 1 + 5
        assert await is_gapless(rows)


def cancelled_starts() -> float:
    """How many starts their callers have broken off."""
    method = "/blockyard.execution.v1.ExecutionService/StartExecution"
    labels = {"method": method, "code": "CANCELLED"}
    return REGISTRY.get_sample_value("blockyard_grpc_server_call_seconds_count", labels) or 0.0


@asynccontextmanager
async def alone(postgres: PostgresServer, plan: Plan) -> AsyncIterator[tuple[Owner, NewExecution]]:
    """An owner of the only partition, and an execution of the plan there, of which it has not been told."""
    execution = dataclasses.replace(new(b"hash of the plan"), partition=0)
    async with (
        house(postgres) as built,
        asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"}) as pool,
    ):
        await Retention(pool).make_partitions()
        values: dict[str, Any] = {
            **signing.SETTINGS,
            "nats_url": built.nats.url,
            "graph_address": built.catalogue_address,
            "database_url": as_role(built.database_url, "execution"),
            "partitions": 1,
            "lease_seconds": 30,
        }
        loader = Loader(TurnRepository(pool))
        loader.remember(execution.plan_hash, Topology(plan))
        large_values = LargeValues(BlobStore(f"file://{built.folder / 'blobs'}"))
        settings = ExecutionSettings(**values)
        # Nothing here runs another graph.
        starter = cast("Starter", None)
        async with owning(settings, pool, built.bus, loader, Watchers(), large_values, starter, None) as owner:
            await until(lambda: owner.own_partitions() == [0], "the partition is held")
            await ExecutionRepository(pool).start([execution], {execution.plan_hash: encode_plan(plan)})
            yield owner, execution


async def test_an_execution_that_was_found_in_the_rows_before_its_start_is_told_of_is_in_memory_once(
    postgres: PostgresServer,
) -> None:
    builder = PlanBuilder()
    builder.node("work", nothing)
    async with alone(postgres, builder.plan()) as (owner, execution):
        # As a look at the rows does.
        owner.residence.hint(execution.execution_id)
        key = execution.execution_id.bytes
        found = await until(lambda: owner.driver.live.get(key), "it is found in the rows")
        assert owner.accepted(ExecutionRow.accepted(execution, datetime.now(UTC)))
        assert owner.driver.live[key] is found


async def test_what_comes_for_a_partition_that_was_just_given_up_is_passed_on_soon(postgres: PostgresServer) -> None:
    builder = PlanBuilder()
    builder.node("work", nothing)
    async with alone(postgres, builder.plan()) as (owner, execution):
        owner.residence.hint(execution.execution_id)
        key = execution.execution_id.bytes
        await until(lambda: key in owner.driver.live, "it is in memory")
        # The only partition belongs to the first of the replicas, by their ids.
        await owner.lease_rows.join("0", "127.0.0.1:1", 3600.0, 1)
        await until(lambda: not owner.leases.held, "the partition is given up")
        asked: list[float] = []
        receipt = Receipt(lambda: None, lambda: None, asked.append, "runner", 0, 1)
        owner.driver.arrive(Arrival(key, Reported(1, 1, 7), receipt))
        await until(lambda: asked, "it is handed back")
        assert asked == [SOON_SECONDS]


async def test_a_start_for_which_there_is_no_room_in_memory_waits_as_a_row(postgres: PostgresServer) -> None:
    async with house(postgres, loaded_executions=1) as built, looking(built) as rows:
        one_node(built)
        passing(built, "passing")
        await built.add_replica()
        client = built.client()
        async with running(built.bus, {"work": hold}) as runner:
            await ready_to_begin(built, client, graph_id="passing")
            await loaded(0)
            long = await client.start()
            await until(lambda: len(runner.held) == 1, "it is in memory, and stays there")
            execution = await client.start("passing", inputs={"number": 1})
            assert execution.status == ExecutionStatus.EXECUTION_STATUS_QUEUED
            turns = "SELECT count(*) FROM turns WHERE execution_id = $1"
            assert await rows.fetchval(turns, UUID(execution.id)) == 0
            await let_go(runner, long.id)
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}


async def test_executions_that_begin_with_their_first_turn_count_among_the_unfinished(
    postgres: PostgresServer,
) -> None:
    async with house(postgres, unended_executions=3) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        started = [await client.start() for _ in range(2)]
        for execution in started:
            assert await rows.fetchval(TOGETHER, UUID(execution.id))
        assert await refusal(asyncio.ensure_future(client.start())) == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_start_with_large_inputs_takes_nothing_of_a_turn(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        # None of them is large, all of them are.
        texts = dict.fromkeys(("one", "two", "three"), "x" * (LIMIT // 2))
        graph = built.graph()
        for name in texts:
            graph.input(name)
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        async with no_turns(built):
            execution = await client.start(inputs=texts)
            assert execution.status == ExecutionStatus.EXECUTION_STATUS_QUEUED
            assert await rows.fetchval(EXECUTIONS) == 1 + 1
        await client.events(execution.id)
        assert (await client.get(execution.id)).status == ExecutionStatus.EXECUTION_STATUS_COMPLETED


async def test_a_start_does_not_wait_for_the_blob_store(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with object_store() as store, house(postgres, partitions=1, blob_url=BUCKET_URL, lease_seconds=30) as built:
        lead_to(store, monkeypatch)
        text = "x" * (LIMIT + 1)
        graph = built.graph()
        graph.node("text", "INPUT", name="text", value=text)
        graph.output("out")
        graph.link("text.result", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        await ready_to_begin(built, client)
        store.answers.clear()
        execution = await client.start(request_id="once")
        assert execution.status == ExecutionStatus.EXECUTION_STATUS_QUEUED
        assert (await client.start(request_id="once")).id == execution.id
        store.answers.set()
        await client.events(execution.id)
        assert await client.results(execution.id) == {"out": [text]}
        async with looking(built) as rows:
            assert await rows.fetchval(EXECUTIONS) == 1 + 1
            assert await is_gapless(rows)
