"""What is past retention goes, its blobs too; what is alive or young stays (rules 15 and 21)."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
from blockyard.dev.postgres import PostgresServer

from services.common.blobs import BlobReference, BlobStore, blob_key
from services.execution.large_values import LargeValues
from services.execution.repository.retention import TABLES, WEEK, Retention, first_id, week_of
from services.execution.retiring import retire
from services.execution.starting import new_id
from tests.integration.execution.house import House, house
from tests.integration.execution.test_lost_commits import looking
from tests.waiting import until

ENDED, RUNNING = 4, 2


async def execution_of(rows: "asyncpg.Connection[asyncpg.Record]", moment: datetime, status: int) -> UUID:
    """An execution that began at this moment, in a partition of its week."""
    week = week_of(moment)
    for table in TABLES:
        await rows.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_{week:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{first_id(week)}') TO ('{first_id(week + WEEK)}')"
        )
    execution_id = UUID(int=first_id(moment).int | new_id().int & ((1 << 80) - 1))
    await rows.execute(
        """INSERT INTO executions (execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules, inputs,
        status) VALUES ($1, 'anna', 'g', 1, 0, '', 1, '{}', $2)""",
        execution_id,
        status,
    )
    return execution_id


async def blob_of(store: BlobStore, execution_id: UUID) -> BlobReference:
    return await store.put(blob_key(str(execution_id), f"{execution_id}-1", "run", "hash"), b"large")


def kept(built: House, reference: BlobReference) -> bool:
    return (Path(built.folder) / "blobs" / reference.key).exists()


async def test_an_executions_rows_and_blobs_stay_until_it_has_ended_and_is_past_retention(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        store = BlobStore(f"file://{built.folder / 'blobs'}")
        now = datetime.now(UTC)
        old = await execution_of(rows, now - timedelta(days=80), ENDED)
        old_and_alive = await execution_of(rows, now - timedelta(days=60), RUNNING)
        young = await execution_of(rows, now - timedelta(days=10), ENDED)
        blobs = {id_: await blob_of(store, id_) for id_ in (old, old_and_alive, young)}
        retiring = asyncio.create_task(retire(Retention(pool), LargeValues(store), 30.0))
        await until(lambda: not kept(built, blobs[old]), "the old one's blob is gone")
        left = {row["execution_id"] for row in await rows.fetch("SELECT execution_id FROM executions")}
        assert left == {old_and_alive, young}
        assert kept(built, blobs[old_and_alive])
        assert kept(built, blobs[young])
        retiring.cancel()
        await asyncio.wait([retiring])
        await pool.close()


async def test_ids_are_in_the_order_of_time_and_lie_in_their_weeks_partition(postgres: PostgresServer) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    ids = [new_id() for _ in range(100)]
    after = datetime.now(UTC) + timedelta(seconds=1)
    assert all(first_id(before) <= id_ < first_id(after) for id_ in ids)
    assert {id_.version for id_ in ids} == {7}
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        await Retention(pool).make_partitions()
        await rows.execute("INSERT INTO snapshots VALUES ($1, 1, 1, 0, '')", ids[0])
        table = await rows.fetchval("SELECT tableoid::regclass::text FROM snapshots")
        assert table == f"snapshots_{week_of(before):%Y%m%d}"
        await pool.close()
