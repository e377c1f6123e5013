"""Turns whose commit nobody confirmed, and partitions that are taken while parts are away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from blockyard.dev.postgres import PostgresServer

from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, node_executions, one_node
from tests.waiting import until

WAITING_TURNS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO turns%'
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
                await other.execute("SELECT pg_terminate_backend($1)", pid)
                await until(lambda: _loaded_again(other, pid), "the first turn is tried again")
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [1]}
            assert [node.node_id for node in await node_executions(client, execution.id)] == ["work", "out"]


async def _loaded_again(connection: "asyncpg.Connection[asyncpg.Record]", pid: int) -> bool:
    return any(row["pid"] != pid for row in await connection.fetch(WAITING_TURNS))


async def test_executions_of_partitions_that_are_taken_while_nats_is_away_go_on_when_it_is_back(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as connection:
        one_node(built)
        await built.add_replica()
        await built.add_replica()
        shared = "SELECT count(DISTINCT owner) = 2 FROM partitions"
        await until(lambda: connection.fetchval(shared), "both replicas hold partitions")
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
