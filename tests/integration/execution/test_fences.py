"""Who may write, and until when: the fence of a turn, the lease and its clock, claims (rules 3, 7, 10 and 18)."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import asyncpg
import msgspec
import psycopg
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, ClaimResponse, Holding
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output
from blockyard.runner.v1.task_pb2 import Task
from blockyard.runner.v1.task_service_pb2 import CheckRunsRequest

from services.common.bus import BusError, Delivery
from services.execution import run_checks
from services.execution.engine import Claimed, Fact
from services.execution.leases import Leases
from services.execution.repository.leases import TAKING, LeaseRepository
from services.execution.repository.turns import TurnRepository
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import Held, ProtocolRunner, Silent, running
from tests.integration.execution.test_guarantees import echo, first_run, one_node
from tests.integration.execution.test_lost_commits import WAITING_TURNS, looking
from tests.stack.postgres import as_role
from tests.waiting import until


async def test_who_takes_over_waits_for_the_turn_on_its_way_and_fences_the_next(postgres: PostgresServer) -> None:
    # The lease is long: it is another's word that ends this one, not the clock.
    async with (
        house(postgres, lease_seconds=30) as built,
        looking(built) as rows,
        looking(built) as taker,
        looking(built) as witness,
        running(built.bus, {"work": first_run(echo, Held)}) as runner,
    ):
        one_node(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start()
        await until(lambda: runner.held, "the task runs")
        await until(lambda: witness.fetchval("SELECT count(*) = 2 FROM turns"), "it is told that it does")
        replica_id = await witness.fetchval("SELECT replica_id FROM replicas")
        undone = rows.transaction()
        await undone.start()
        await rows.execute(SAME_TURN, UUID(execution.id))
        await finish_held(runner, b"7")
        turn = await until(lambda: witness.fetchval(WAITING_TURNS), "a turn is on its way")
        taking = asyncio.create_task(taker.execute("DELETE FROM replicas WHERE replica_id = $1", replica_id))
        blocked = "SELECT $2 = ANY(pg_blocking_pids($1))"
        await until(lambda: witness.fetchval(blocked, taker.get_server_pid(), turn), "the take-over waits for it")
        await undone.rollback()
        await taking
        await client.events(execution.id)
        assert await client.results(execution.id) == {"out": [7]}
        other = await client.start()
        await client.events(other.id)
        owners = [row["owner"] for row in await rows.fetch("SELECT DISTINCT owner FROM partitions")]
        assert replica_id not in owners


SAME_TURN = """
INSERT INTO turns (execution_id, turn, partition, feed_sequence, first_event, last_event, node_executions,
    commands_through, now_ms, facts, events, checksum)
VALUES ($1, 3, 0, 0, 0, 0, 0, 0, 0, '', '', 0)
"""
"""The row of a turn to come: whoever writes that turn waits in the middle of it."""


async def test_a_replica_takes_nothing_that_another_takes_while_it_looks(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as other, looking(built) as witness:
        pool = await asyncpg.create_pool(as_role(built.database_url, "execution"), min_size=1, max_size=2)
        try:
            leases = LeaseRepository(pool)
            await leases.join("first", "127.0.0.1:1", 60, 4)
            # What another replica does when both begin at once, as after an outage of PostgreSQL.
            joining = other.transaction()
            await joining.start()
            await other.execute("SELECT pg_advisory_xact_lock($1)", TAKING)
            taking = asyncio.create_task(leases.take("first", 4))
            await until(lambda: witness.fetchval(WAITS_FOR_LOCK), "the first one waits for its turn")
            await other.execute(JOINED)
            await other.execute("UPDATE partitions SET owner = 'second' WHERE partition < 2")
            await joining.commit()
            assert sorted(lease.partition for lease in await taking) == [2, 3]
        finally:
            await pool.close()


JOINED = (
    "INSERT INTO replicas (replica_id, address, expires_at) VALUES ('second', '127.0.0.1:2', now() + interval '1 h')"
)
WAITS_FOR_LOCK = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


async def test_a_replica_writes_nothing_where_another_is_the_owner(postgres: PostgresServer) -> None:
    # Whatever it believes itself: its lease holds, and it was never told.
    async with (
        house(postgres, lease_seconds=30) as built,
        looking(built) as rows,
        running(built.bus, {"work": first_run(echo, Held)}) as runner,
    ):
        one_node(built)
        await built.add_replica()
        client = built.client()
        execution = await client.start()
        await until(lambda: runner.held, "the task runs")
        await until(lambda: rows.fetchval("SELECT count(*) = 2 FROM turns"), "it is told that it does")
        believes = await rows.fetchval("SELECT replica_id FROM replicas")
        await rows.execute(JOINED)
        await rows.execute("UPDATE partitions SET owner = 'second'")
        await finish_held(runner, b"7")
        gone = "SELECT NOT EXISTS (SELECT FROM replicas WHERE replica_id = $1)"
        await until(lambda: rows.fetchval(gone, believes), "it has given up what it believed")
        assert await rows.fetchval("SELECT count(*) FROM turns") == 2
        await rows.execute("DELETE FROM replicas WHERE replica_id = 'second'")
        await client.events(execution.id)
        assert await client.results(execution.id) == {"out": [7]}


async def test_only_the_owner_parks_an_execution(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        execution = await built.client().start()
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        try:
            turns = TurnRepository(pool)
            begun = "SELECT EXISTS (SELECT FROM turns WHERE execution_id = $1)"
            await until(
                lambda: rows.fetchval(begun, UUID(execution.id)), "it has had its turn, which would end the park"
            )
            parked = "SELECT parked FROM executions WHERE execution_id = $1"
            await turns.park("one that was taken over", UUID(execution.id), "it cannot be loaded here", 3600)
            assert await rows.fetchval(parked, UUID(execution.id)) is None
            owner = await until(lambda: rows.fetchval("SELECT max(owner) FROM partitions"), "it is owned")
            await turns.park(owner, UUID(execution.id), "it cannot be loaded here", 3600)
            assert await rows.fetchval(parked, UUID(execution.id)) == "it cannot be loaded here"
        finally:
            await pool.close()


async def finish_held(runner: ProtocolRunner, value: bytes) -> None:
    """The run that the runner holds gives this value."""
    (task,) = runner.held.values()
    runner.held.clear()
    await runner.say(task, 1, [Output(pin="result", value=value)], Finish(outcome=Outcome.OUTCOME_COMPLETED))


async def test_a_turn_that_hangs_is_given_up_before_the_lease_ends(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=2) as built, looking(built) as rows, looking(built) as witness:
        one_node(built)
        await built.add_replica()
        ages: list[float] = []
        begun: list[object] = []

        async def given_up() -> bool:
            """True once another turn is on its way than the first."""
            turn = await witness.fetchrow(WAITING_SINCE)
            if turn is None:
                return False
            begun.append(turn["query_start"])
            if turn["query_start"] != begun[0]:
                return True
            ages.append(turn["age"])
            return False

        async with running(built.bus, {"work": echo}):
            client = built.client()
            async with rows.transaction():
                await rows.execute("LOCK TABLE turns IN SHARE MODE")
                execution = await client.start()
                await until(given_up, "the turn that hung is given up")
            assert max(ages) < 2
            await client.events(execution.id)


async def test_a_result_whose_commit_is_not_confirmed_is_handed_back_to_the_stream(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows, looking(built) as witness:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Held)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.held, "the task runs")
            await until(lambda: witness.fetchval("SELECT count(*) = 2 FROM turns"), "it is told that it does")
            async with rows.transaction():
                await rows.execute("LOCK TABLE turns IN SHARE MODE")
                await finish_held(runner, b"7")
                # The runner is no help: the stream alone has the result.
                runner.kept.clear()
                turn = await until(lambda: witness.fetchval(WAITING_TURNS), "the result's turn is on its way")
                await witness.execute("SELECT pg_terminate_backend($1, 20000)", turn)
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [7]}
            assert len(runner.ran) == 1


WAITING_SINCE = """
SELECT query_start, extract(epoch FROM clock_timestamp() - query_start)::float8 AS age FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO turns%'
"""


async def test_a_claim_is_answered_after_it_is_committed(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built, looking(built) as rows, looking(built) as witness:
        one_node(built, effect=Effect.EFFECT_ONCE)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            taken: list[Task] = []
            runner._run = lambda task: _note(taken, task)  # type: ignore[method-assign]  # it takes tasks, no more
            execution = await built.client().start()
            await until(lambda: taken, "the task has come")
            async with rows.transaction():
                await rows.execute("LOCK TABLE turns IN SHARE MODE")
                asking = asyncio.create_task(claim(built, runner, taken[0], 7))
                await until(lambda: witness.fetchval(WAITING_TURNS), "the claim's turn is on its way")
                await built.bus.flush()
                assert not asking.done()
                assert await claims(witness, execution.id) == []
            assert (await asking).granted
            assert await claims(witness, execution.id) == [7]
            assert not (await claim(built, runner, taken[0], 8)).granted
            assert await claims(witness, execution.id) == [7]


async def test_a_claim_is_answered_into_an_inbox_and_nowhere_else(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built:
        one_node(built)
        await built.add_replica()
        told: list[str] = []
        await until(lambda: is_answered(built), "the partition has an owner")
        for subject in ("blockyard.task.other", "_INBOX.runner.work.here"):
            await built.bus.subscribe(subject, lambda delivery: told.append(delivery.subject))
        for reply in ("blockyard.task.other", "$JS.API.STREAM.DELETE.TASKS", "_INBOX.runner.work.here"):
            await built.bus.publish("blockyard.claim.3", b"", reply)

        await until(lambda: "_INBOX.runner.work.here" in told, "the last one is answered")
        assert told == ["_INBOX.runner.work.here"]


async def is_answered(built: House) -> bool:
    """Whether somebody answers to claims of a partition."""
    try:
        answer = await built.bus.request("blockyard.claim.3", b"", 1.0)
    except BusError:
        return False
    return not ClaimResponse.FromString(answer.data).granted


async def _note(taken: list[Task], task: Task) -> None:
    taken.append(task)


async def claim(built: House, runner: ProtocolRunner, task: Task, run_id: int) -> ClaimResponse:
    request = ClaimRequest(
        runner_id=runner.runner_id,
        run=Holding(
            execution_id=task.execution_id,
            node_execution=task.node_execution,
            attempt=task.attempt,
            partition=task.partition,
            run_id=run_id,
        ),
    )
    answer = await built.bus.request(f"blockyard.claim.{task.partition}", request.SerializeToString(), 20.0)
    return ClaimResponse.FromString(answer.data)


async def claims(rows: "asyncpg.Connection[asyncpg.Record]", execution_id: str) -> list[int]:
    """The runs whose claims are committed."""
    found = await rows.fetch("SELECT facts FROM turns WHERE execution_id = $1 ORDER BY turn", UUID(execution_id))
    facts = [fact for row in found for fact in msgspec.msgpack.decode(row["facts"], type=list[Fact])]
    return [fact.run for fact in facts if isinstance(fact, Claimed)]


# The lease itself


@asynccontextmanager
async def leases(built: House, seconds: float) -> AsyncIterator[tuple[Leases, asyncpg.Pool]]:
    """A replica that does nothing but hold its lease, and its pool of one connection."""
    url = as_role(built.database_url, "execution")
    pool = await asyncpg.create_pool(url, min_size=1, max_size=1, server_settings={"search_path": "execution"})
    replica = Leases(LeaseRepository(pool), url, secrets.token_hex(16), "here", seconds, 4, lambda: None)
    try:
        async with replica.joined():
            yield replica, pool
    finally:
        await pool.close()


async def test_a_lease_is_renewed_while_the_loop_turns_whatever_the_pool_does(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, leases(built, 1) as (replica, pool):
        async with pool.acquire():
            ends = "SELECT expires_at FROM replicas WHERE replica_id = $1"
            first = await rows.fetchval(ends, replica.replica_id)
            renewed = "SELECT expires_at > $2 FROM replicas WHERE replica_id = $1"
            await until(lambda: rows.fetchval(renewed, replica.replica_id, first), "it is renewed")
        assert replica.valid


async def test_a_lease_is_not_renewed_while_the_loop_stands_still(postgres: PostgresServer) -> None:
    async with house(postgres) as built, leases(built, 1) as (replica, _):
        await until(lambda: replica.clock_offset != 0, "it was renewed before")
        stand_still_until_expired(built, replica.replica_id)
        assert not replica.valid
        await asyncio.wait_for(replica.lost.wait(), 10)


async def test_a_replica_that_stood_still_begins_anew_and_loses_nothing(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=1.5) as built, looking(built) as rows:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": first_run(echo, Silent)}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: runner.ran, "the task runs")
            before = await rows.fetchval("SELECT replica_id FROM replicas")
            stand_still_until_expired(built, before)
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert await rows.fetchval("SELECT count(*) FROM replicas WHERE replica_id = $1", before) == 0
            assert await answers_of_owners(built, 0, 3) == 3


def more_than(answers: list[Delivery], count: int) -> bool:
    return len(answers) > count


async def answers_of_owners(built: House, partition: int, questions: int) -> int:
    """How many answers come to so many questions, one after the other, that a partition's owner answers.

    Others that think they are it have answered the questions before the last one by then, over the same connection.
    """
    answers: list[Delivery] = []
    inbox = built.bus.new_inbox()
    subscription = await built.bus.subscribe(inbox, answers.append)
    for _ in range(questions):
        before = len(answers)
        await built.bus.publish(run_checks.subject(partition), CheckRunsRequest().SerializeToString(), inbox)
        await until(partial(more_than, answers, before), "the owner answers")
    subscription.unsubscribe()
    return len(answers)


def stand_still_until_expired(built: House, replica_id: str) -> None:
    """Keeps the event loop from turning until the lease has ended by PostgreSQL's clock."""
    expired = "SELECT expires_at < clock_timestamp() FROM execution.replicas WHERE replica_id = %s"
    deadline = time.monotonic() + 15
    with psycopg.connect(built.database_url, autocommit=True) as connection:
        while connection.execute(expired, (replica_id,)).fetchone() == (False,):
            assert time.monotonic() < deadline, "the lease was renewed though the loop stands still"


async def test_times_are_postgresqls_from_the_first_moment_on(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    # Nothing of ours is replaced: this machine's clock is an hour ahead of PostgreSQL's.
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    async with house(postgres) as built, looking(built) as rows, leases(built, 1) as (replica, _):
        clock = "SELECT extract(epoch FROM clock_timestamp())::float8"
        assert abs(replica.now_ms() / 1000 - await rows.fetchval(clock)) < 60
        at_first = replica.clock_offset
        await until(lambda: replica.clock_offset != at_first, "the clock is looked at again")
        assert abs(replica.now_ms() / 1000 - await rows.fetchval(clock)) < 60


async def test_the_holder_stops_when_the_row_says_so_and_not_later(postgres: PostgresServer) -> None:
    async with (
        house(postgres) as built,
        looking(built) as rows,
        looking(built) as witness,
        leases(built, 3) as (replica, _),
    ):
        held_up = f"{RENEWAL_HELD_UP} AND clock_timestamp() - query_start > interval '0.6 seconds'"
        async with holding_the_row(rows, replica):
            # The row's time runs from when the renewal was sent, however late its answer comes.
            await until(lambda: witness.fetchval(held_up), "a renewal is held up")
        renewed = "SELECT expires_at > now() + interval '1.8 seconds' FROM replicas WHERE replica_id = $1"
        await until(lambda: witness.fetchval(renewed, replica.replica_id), "it was renewed")
        async with holding_the_row(rows, replica):
            ended = "SELECT expires_at < clock_timestamp() FROM replicas WHERE replica_id = $1"
            await until(lambda: witness.fetchval(ended, replica.replica_id), "the lease has ended")
            assert not replica.valid


RENEWAL_HELD_UP = """
SELECT true FROM pg_stat_activity
WHERE application_name = 'blockyard-execution-lease' AND datname = current_database() AND wait_event_type = 'Lock'
"""


@asynccontextmanager
async def holding_the_row(rows: "asyncpg.Connection[asyncpg.Record]", replica: Leases) -> AsyncIterator[None]:
    """No renewal of this replica gets through meanwhile."""
    async with rows.transaction():
        await rows.execute("SELECT FROM replicas WHERE replica_id = $1 FOR UPDATE", replica.replica_id)
        yield
