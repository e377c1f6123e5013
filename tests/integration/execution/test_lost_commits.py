"""Turns whose commit nobody confirmed, and partitions that are taken while parts are away."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import grpc
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1.execution_pb2 import ExecutionStatus
from blockyard.execution.v1.execution_service_pb2 import ListEventsRequest
from blockyard.graph.v1.block_pb2 import Effect
from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, Holding
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output
from blockyard.runner.v1.task_pb2 import Task

from services.common.bus import BusError
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.ledger import MemoryLedger, serving
from tests.integration.execution.protocol_runner import Held, ProtocolRunner, running
from tests.integration.execution.test_guarantees import echo, node_executions, one_node
from tests.stack.postgres import running_postgres
from tests.waiting import until

WAITING_TURNS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO turns%'
"""

ROLLBACKS = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"

UNCONFIRMED_TURNS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'SyncRep' AND query LIKE '%INSERT INTO turns%'
"""


@asynccontextmanager
async def looking(built: House) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(built.database_url, server_settings={"search_path": "execution"})
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_first_turn_whose_commit_is_not_confirmed_begins_once(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as connection, looking(built) as other:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            client = built.client()
            async with connection.transaction():
                await connection.execute("LOCK TABLE turns IN SHARE MODE")
                execution = await client.start()
                pid = await until(lambda: other.fetchval(WAITING_TURNS), "the first turn waits for the lock")
                await other.execute("SELECT pg_terminate_backend($1, 20000)", pid)
                await until(lambda: _loaded_again(other, pid), "the first turn is tried again")
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert [node.node_id for node in await node_executions(client, execution.id)] == ["work", "out"]


async def _loaded_again(connection: "asyncpg.Connection[asyncpg.Record]", pid: int) -> bool:
    return any(row["pid"] != pid for row in await connection.fetch(WAITING_TURNS))


@asynccontextmanager
async def waiting_for_a_standby(rows: "asyncpg.Connection[asyncpg.Record]", built: House) -> AsyncIterator[None]:
    """Within, commits wait for a standby that never comes: the first one that waits shows that it is so."""
    over = asyncio.Event()

    async def write(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.execute("CREATE TABLE first_to_wait (number int)")
        while not over.is_set():
            await connection.execute("INSERT INTO first_to_wait VALUES (1)")

    async with looking(built) as other:
        await rows.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await rows.execute("SELECT pg_reload_conf()")
        writing = asyncio.create_task(write(other))
        try:
            await until(lambda: rows.fetchval(FIRST_TO_WAIT), "commits wait")
            yield
        finally:
            over.set()
            await rows.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await rows.execute("SELECT pg_reload_conf()")
            await writing


FIRST_TO_WAIT = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'SyncRep' AND query LIKE '%first_to_wait%'
AND pid <> pg_backend_pid()
"""


async def test_a_commit_that_happened_but_was_not_confirmed_counts_and_is_charged_once() -> None:
    ledger = MemoryLedger(balances={"anna": 100})
    async with (
        running_postgres() as own,
        serving(ledger) as address,
        house(own, lease_seconds=30, credits_enabled=True, account_address=address, credits_hold=10) as built,
        looking(built) as rows,
    ):
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            client = built.client()
            execution = await client.start()
            await until(lambda: len(runner.held) == 1, "the node runs")
            # A commit is on disk before it waits for a standby: who is cut off there is not told that it happened.
            async with waiting_for_a_standby(rows, built):
                await let_go(runner, execution.id)
                pid = await until(lambda: rows.fetchval(UNCONFIRMED_TURNS), "the turn waits for the standby")
                await rows.execute("SELECT pg_terminate_backend($1, 20000)", pid)
            events = await client.events(execution.id)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert await client.results(execution.id) == {"out": [1]}
            assert [node.node_id for node in await node_executions(client, execution.id)] == ["work", "out"]
            await until(lambda: ledger.charges, "it is charged")
            assert (ledger.balances["anna"], ledger.repeated) == (97, 0)
            # A statement that is repeated fails again and again, until the lease ends and all memory is dropped.
            assert await rows.fetchval(ROLLBACKS) < 20


async def test_executions_of_partitions_that_are_taken_while_nats_is_away_go_on_when_it_is_back(
    postgres: PostgresServer,
) -> None:
    # With a long lease: a slow machine must not end it while NATS is away.
    async with house(postgres, lease_seconds=30) as built, looking(built) as connection:
        one_node(built)
        await built.add_replica()
        await built.add_replica()
        shared = "SELECT count(DISTINCT owner) = 2 FROM partitions"
        await until(lambda: connection.fetchval(shared), "both replicas hold partitions")
        # While NATS is away, one that is about to take partitions does not get to look for more.
        for partition in range(4):
            await until(partial(answers, built, partition), f"partition {partition} is open")
        await built.nats.kill()
        gone = await connection.fetchval(
            "DELETE FROM replicas WHERE replica_id = (SELECT min(owner) FROM partitions) RETURNING replica_id"
        )
        taken = "SELECT count(*) = 4 FROM partitions JOIN replicas ON replica_id = owner WHERE owner <> $1"
        await until(lambda: connection.fetchval(taken, gone), "the other replica holds all partitions")
        started = [await built.client(replica=at % 2).start() for at in range(8)]
        swept = "SELECT count(*) = 0 FROM executions WHERE status = 1"
        await until(lambda: connection.fetchval(swept), "all have begun though NATS is away")
        assert await connection.fetchval("SELECT count(*) FROM executions WHERE parked IS NOT NULL") == 0
        await built.nats.start()
        async with running(built.bus, {"work": echo}):
            for execution in started:
                await built.client().events(execution.id)
                assert await built.client().results(execution.id) == {"out": [1]}


async def test_a_database_that_went_back_in_time_is_believed(tmp_path: Path) -> None:
    """A restored or promoted PostgreSQL may lack the last commits: what memory knows beyond it is dropped."""
    # With a long lease, so that it is the database's history that ends the life of the replica.
    async with running_postgres() as own, house(own, lease_seconds=60) as built:
        graph = built.graph()
        graph.node("first", effect=Effect.EFFECT_IDEMPOTENT, a=1)
        graph.node("second", effect=Effect.EFFECT_IDEMPOTENT)
        graph.output("out")
        graph.link("first.result", "second.a")
        graph.link("second.result", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"first": hold, "second": hold}) as runner:
            client = built.client()
            started = [(await client.start()).id for _ in range(2)]
            await until(lambda: len(runner.held) == 2, "the first nodes run")
            await own.stop()
            backup = tmp_path / "backup"
            shutil.copytree(own.data_dir, backup, copy_function=copy_with_owner)
            await own.start()
            for execution_id in started:
                await let_go(runner, execution_id)
            await until(lambda: len(runner.held) == 2, "the second nodes run")
            await own.kill()
            restore(own, backup)
            await own.start()
            # The connection is found broken in a turn of the first; the other one is in no turn then.
            for execution_id in started:
                await let_go(runner, execution_id)
                await let_go_all_until_it_ends(runner, client, execution_id)
            for execution_id in started:
                assert await client.results(execution_id) == {"out": [1]}
                events = await client.call("ListEvents", ListEventsRequest(execution_id=execution_id))
                assert [event.sequence for event in events.events] == list(range(1, len(events.events) + 1))
                nodes = await node_executions(client, execution_id)
                assert [node.node_id for node in nodes] == ["first", "second", "out"]


async def answers(built: House, partition: int) -> bool:
    run = Holding(execution_id=bytes(16), node_execution=1, attempt=1, partition=partition, run_id=1)
    try:
        await built.bus.request(f"blockyard.claim.{partition}", ClaimRequest(run=run).SerializeToString(), 2.0)
    except BusError:
        return False
    return True


def hold(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


def copy_with_owner(source: str, target: str) -> None:
    shutil.copy2(source, target)
    owner = os.stat(source)
    os.chown(target, owner.st_uid, owner.st_gid)


def restore(server: PostgresServer, backup: Path) -> None:
    """Puts the data directory back to what it was; PostgreSQL begins a new timeline on it."""
    signal = backup / "recovery.signal"
    signal.touch()
    with (backup / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    owner = os.stat(server.data_dir)
    os.chown(signal, owner.st_uid, owner.st_gid)
    put_back(server, backup)


def put_back(server: PostgresServer, backup: Path) -> None:
    """The same, and PostgreSQL does not know that it was done."""
    owner = os.stat(server.data_dir)
    shutil.rmtree(server.data_dir)
    shutil.copytree(backup, server.data_dir, copy_function=copy_with_owner)
    for folder in [server.data_dir, *(path for path in Path(server.data_dir).rglob("*") if path.is_dir())]:
        os.chown(folder, owner.st_uid, owner.st_gid)


async def let_go(runner: ProtocolRunner, execution_id: str) -> None:
    """The runs of an execution that are held end, each with the value that it was given."""
    for key, task in list(runner.held.items()):
        if task.execution_id == UUID(execution_id).bytes:
            del runner.held[key]
            value = json.dumps(json.loads(task.inputs)["a"]).encode()
            finish = Finish(outcome=Outcome.OUTCOME_COMPLETED, stats=b'{"cost": 3}')
            await runner.say(task, 1, [Output(pin="result", value=value)], finish)


async def let_go_all_until_it_ends(runner: ProtocolRunner, client: Client, execution_id: str) -> None:
    async def is_over() -> bool:
        await let_go(runner, execution_id)
        try:
            return bool((await client.get(execution_id)).status >= ExecutionStatus.EXECUTION_STATUS_COMPLETED)
        except grpc.aio.AioRpcError:
            return False

    await until(is_over, "the end of the execution")


async def test_a_replica_ends_though_nobody_can_say_what_was_committed() -> None:
    async with running_postgres() as own, house(own, lease_seconds=2) as built:
        one_node(built)
        replica = await built.add_replica()
        async with running(built.bus, {"work": hold}) as runner:
            execution = await built.client().start()
            await until(lambda: len(runner.held) == 1, "the node runs")
            await own.kill()
            await let_go(runner, execution.id)
            async with asyncio.timeout(30):
                await replica.close()
            built.replicas.clear()
        await own.start()
