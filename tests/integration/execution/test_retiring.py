"""What is past retention goes, its blobs too; what is alive or young stays (rules 15 and 21)."""

import asyncio
import gzip
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.egress import open_egress
from blockyard.files import Access, FileMissing, FilePlace, Files
from blockyard.runner.v1.task_pb2 import Task
from blockyard.values import encode_reference

from services.common.blobs import BlobReference, BlobStore, BlobStoreAway, blob_key
from services.common.ids import first_id, new_id
from services.execution.large_values import LargeValues
from services.execution.repository.retention import TABLES, WEEK, WEEKS_AHEAD, Retention, week_of
from services.execution.retiring import DELETED_AT_ONCE, archive_of, drop_old, retire
from services.runner.files import BlobFiles
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_lost_commits import looking
from tests.stack.postgres import as_role
from tests.waiting import until

ENDED, RUNNING = 4, 2
WAITS_FOR_OUTPUTS = """SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
    WHERE c.relname ~ '^outputs' AND l.mode = 'AccessExclusiveLock' AND NOT l.granted)"""
SLOW_DELETION = """
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN OLD; END';
    CREATE TRIGGER slowly BEFORE DELETE ON executions FOR EACH ROW EXECUTE FUNCTION slowly();
"""

REFUSED_DELETION = """
    CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END';
    CREATE TRIGGER refused BEFORE DELETE ON executions FOR EACH ROW EXECUTE FUNCTION refused();
"""


async def execution_of(
    rows: "asyncpg.Connection[asyncpg.Record]", moment: datetime, status: int, end: datetime | None = None
) -> UUID:
    """An execution that began at this moment, and ended then if nothing else is said, in a partition of its week."""
    week = week_of(moment)
    for table in TABLES:
        await rows.execute(
            f"CREATE TABLE IF NOT EXISTS {table}_{week:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{first_id(week)}') TO ('{first_id(week + WEEK)}')"
        )
    execution_id = UUID(int=first_id(moment).int | new_id().int & ((1 << 80) - 1))
    await rows.execute(
        """INSERT INTO executions (execution_id, user_id, graph_id, graph_version, partition, plan_hash, rules, inputs,
        status, end_time) VALUES ($1, 'anna', 'g', 1, 0, '', 1, '{}', $2, $3)""",
        execution_id,
        status,
        (end or moment) if status == ENDED else None,
    )
    return execution_id


async def blob_of(store: BlobStore, execution_id: UUID) -> BlobReference:
    return await store.put(blob_key(str(execution_id), f"{execution_id}-1", "run", "hash"), b"large")


def blob_store(built: House) -> BlobStore:
    return BlobStore(f"file://{built.folder / 'blobs'}")


async def stop(retiring: "asyncio.Task[None]", pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    retiring.cancel()
    await asyncio.wait([retiring])
    await pool.close()


def kept(built: House, reference: BlobReference) -> bool:
    return (Path(built.folder) / "blobs" / reference.key).exists()


async def test_an_executions_rows_and_blobs_stay_until_it_has_ended_and_is_past_retention(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        store = blob_store(built)
        now = datetime.now(UTC)
        old = await execution_of(rows, now - timedelta(days=80), ENDED)
        old_and_alive = await execution_of(rows, now - timedelta(days=60), RUNNING)
        young = await execution_of(rows, now - timedelta(days=10), ENDED)
        blobs = {id_: await blob_of(store, id_) for id_ in (old, old_and_alive, young)}
        retiring = asyncio.create_task(retire(Retention(pool), LargeValues(store), 30.0))
        await until(lambda: not kept(built, blobs[old]), "the old one's blob is gone")
        gone = "SELECT NOT EXISTS (SELECT FROM executions WHERE execution_id = $1)"
        await until(lambda: rows.fetchval(gone, old), "and then its row")
        left = {row["execution_id"] for row in await rows.fetch("SELECT execution_id FROM executions")}
        assert left == {old_and_alive, young}
        assert kept(built, blobs[old_and_alive])
        assert kept(built, blobs[young])
        await stop(retiring, pool)


async def test_files_go_with_their_execution_and_those_in_workspaces_stay(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        store = blob_store(built)
        now = datetime.now(UTC)
        old, young = [await execution_of(rows, now - timedelta(days=days), ENDED) for days in (80, 10)]
        files = {one: Files(Access(str(one), "anna", "1"), BlobFiles(store), open_egress) for one in (old, young)}
        kept_with = {one: await files[one].store(b"x" * (2 << 20), "a.bin") for one in (old, young)}
        in_workspace = await files[old].store(b"mine", "a.txt", place=FilePlace.WORKSPACE)

        await drop_old(Retention(pool), LargeValues(store), now - timedelta(days=30))

        with pytest.raises(FileMissing):
            await files[old].read_bytes(kept_with[old])
        assert await store.sizes(str(old)) == []
        assert len(await files[young].read_bytes(kept_with[young])) == 2 << 20
        assert await files[young].read_bytes(in_workspace) == b"mine"
        await pool.close()


async def test_turns_are_written_while_the_drop_of_another_table_waits(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, looking(built) as reader:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        now = datetime.now(UTC)
        old = await execution_of(rows, now - timedelta(days=80), ENDED)
        await Retention(pool).make_partitions()
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT FROM outputs")  # as a backup does, for hours
        retiring = asyncio.create_task(retire(Retention(pool), LargeValues(blob_store(built)), 30.0))
        await until(lambda: rows.fetchval(WAITS_FOR_OUTPUTS), "the drop waits for the reader")
        await rows.execute("INSERT INTO turns VALUES ($1, 1, 0, 1, 1, 1, 0, 0, 0, '', '', 0)", new_id(), timeout=5)
        await reading.rollback()
        table = f"turns_{week_of(now - timedelta(days=80)):%Y%m%d}"
        await until(lambda: rows.fetchval("SELECT to_regclass($1) IS NULL", table), "the week is dropped")
        assert not await rows.fetchval("SELECT EXISTS (SELECT FROM executions WHERE execution_id = $1)", old)
        await stop(retiring, pool)


async def test_partitions_are_made_beside_readers_and_turns(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows, looking(built) as reader:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        await Retention(pool).make_partitions()
        newest = f"turns_{week_of(datetime.now(UTC)) + WEEKS_AHEAD * WEEK:%Y%m%d}"
        await rows.execute(f"DROP TABLE {newest}")
        async with reader.transaction():
            await reader.execute("INSERT INTO turns VALUES ($1, 1, 0, 1, 1, 1, 0, 0, 0, '', '', 0)", new_id())
            await asyncio.wait_for(Retention(pool).make_partitions(), 5)
        later = first_id(datetime.now(UTC) + WEEKS_AHEAD * WEEK)
        await rows.execute("INSERT INTO turns VALUES ($1, 1, 0, 2, 1, 1, 0, 0, 0, '', '', 0)", later)
        assert await rows.fetchval(f"SELECT count(*) FROM {newest}") == 1
        indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = $1"
        assert await rows.fetchval(indexes, newest) == await rows.fetchval(indexes, "turns")
        await pool.close()


async def test_a_week_whose_deletion_takes_longer_than_a_statement_may_goes_all_the_same(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        limits = {"search_path": "execution", "statement_timeout": "300"}
        pool = await asyncpg.create_pool(built.database_url, server_settings=limits, command_timeout=0.3)
        for _ in range(10):
            await execution_of(rows, datetime.now(UTC) - timedelta(days=80), ENDED)
        await rows.execute(SLOW_DELETION)
        retiring = asyncio.create_task(retire(Retention(pool), LargeValues(blob_store(built)), 30.0))
        await until(lambda: rows.fetchval("SELECT count(*) = 0 FROM executions"), "all are deleted", 10)
        await stop(retiring, pool)


async def test_rows_stay_while_their_blobs_cannot_be_deleted(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        now = datetime.now(UTC)
        old = await execution_of(rows, now - timedelta(days=80), ENDED)
        store = blob_store(built)
        blob = await blob_of(store, old)
        broken = built.folder / "blobs" / str(old) / "broken"
        broken.symlink_to(broken)  # The store cannot list what is below the execution.
        with pytest.raises(BlobStoreAway):
            await drop_old(Retention(pool), LargeValues(store), now - timedelta(days=30))
        assert await rows.fetchval("SELECT count(*) FROM executions") == 1
        broken.unlink()
        assert await drop_old(Retention(pool), LargeValues(store), now - timedelta(days=30)) == 1
        assert await rows.fetchval("SELECT count(*) FROM executions") == 0
        assert not kept(built, blob)
        await pool.close()


async def test_all_of_a_week_that_is_larger_than_a_slice_goes(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        now = datetime.now(UTC)
        for _ in range(5):
            await execution_of(rows, now - timedelta(days=80), ENDED)
        store = blob_store(built)
        assert await drop_old(Retention(pool), LargeValues(store), now - timedelta(days=30), at_once=2) == 5
        assert await rows.fetchval("SELECT count(*) FROM executions") == 0
        await pool.close()


async def history_of(rows: "asyncpg.Connection[asyncpg.Record]", execution_id: UUID) -> None:
    """A row in two of the tables that are partitioned."""
    await rows.execute("INSERT INTO turns VALUES ($1, 1, 0, 1, 1, 1, 0, 0, 0, '', '', 0)", execution_id)
    await rows.execute("INSERT INTO outputs VALUES ($1, 1, 'out', '{}', '1')", execution_id)


async def histories(rows: "asyncpg.Connection[asyncpg.Record]") -> set[UUID]:
    turns, outputs = [
        {row["execution_id"] for row in await rows.fetch(f"SELECT execution_id FROM {table}")}
        for table in ("turns", "outputs")
    ]
    assert turns == outputs
    return turns


async def test_what_ended_goes_while_a_living_execution_holds_its_week(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        retention, store, now = Retention(pool), blob_store(built), datetime.now(UTC)
        monday = week_of(now - timedelta(days=80))
        alive = await execution_of(rows, monday + timedelta(days=1), RUNNING)
        ended = [await execution_of(rows, monday + timedelta(hours=hour), ENDED) for hour in (1, 2, 30, 40)]
        blobs = {id_: await blob_of(store, id_) for id_ in (alive, *ended)}
        for id_ in blobs:
            await history_of(rows, id_)
        assert await drop_old(retention, LargeValues(store), now - timedelta(days=30), at_once=2) == 4
        assert await histories(rows) == {alive}
        assert [row["execution_id"] for row in await rows.fetch("SELECT execution_id FROM executions")] == [alive]
        assert [id_ for id_, blob in blobs.items() if kept(built, blob)] == [alive]
        assert await drop_old(retention, LargeValues(store), now - timedelta(days=30)) == 0
        assert await histories(rows) == {alive}
        await rows.execute("UPDATE executions SET status = $1, end_time = $2", ENDED, now - timedelta(days=31))
        assert await drop_old(retention, LargeValues(store), now - timedelta(days=30)) == 1
        assert not kept(built, blobs[alive])
        assert await rows.fetchval("SELECT to_regclass($1) IS NULL", f"turns_{monday:%Y%m%d}")
        await pool.close()


async def test_what_ran_for_long_is_kept_as_long_after_its_end_as_others_are(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        store, now = blob_store(built), datetime.now(UTC)
        long = await execution_of(rows, now - timedelta(days=80), ENDED, end=now - timedelta(days=29))
        await history_of(rows, long)
        blob = await blob_of(store, long)
        assert await drop_old(Retention(pool), LargeValues(store), now - timedelta(days=30)) == 0
        assert await histories(rows) == {long}
        assert await rows.fetchval("SELECT count(*) FROM executions") == 1
        assert kept(built, blob)
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


async def test_a_held_week_goes_in_few_statements_but_a_large_execution_in_its_own(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        asked: list[list[UUID]] = []

        async def listen(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            connection.add_query_logger(
                lambda query: asked.append(query.args[0]) if query.query.startswith("DELETE FROM turns") else None
            )

        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"}, init=listen)
        monday = week_of(datetime.now(UTC) - timedelta(days=80))
        alive = await execution_of(rows, monday + timedelta(days=1), RUNNING)
        ended = [await execution_of(rows, monday + timedelta(hours=hour), ENDED) for hour in range(20)]
        for id_ in (alive, *ended):
            await history_of(rows, id_)
        await rows.execute("UPDATE executions SET last_event = 10, node_executions = 2")
        large = ended[7]
        await rows.execute("UPDATE executions SET last_event = $2 WHERE execution_id = $1", large, DELETED_AT_ONCE)
        before = datetime.now(UTC) - timedelta(days=30)
        assert await drop_old(Retention(pool), LargeValues(blob_store(built)), before) == 20
        assert asked == [ended[:7], [large], ended[8:]]
        assert await histories(rows) == {alive}
        await pool.close()


def add(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs["a"] + 1


def archived(built: House, execution_id: UUID | str) -> list[dict[str, Any]]:
    """The lines of an execution's file in the archive."""
    (file,) = (built.folder / "archive").glob(f"*/{execution_id}.jsonl.gz")
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


async def test_executions_are_written_to_the_archive_before_they_go_with_all_services_down(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        graph = built.graph()
        graph.input("first")
        graph.node("one", "add")
        graph.output("last")
        graph.link("first.result", "one.a")
        graph.link("one.result", "last.value")
        built.catalogue.add(graph)
        replica = await built.add_replica()
        async with running(built.bus, {"add": add}):
            client = built.client()
            execution_id = (await client.start(inputs={"first": 2**62})).id
            events = await client.events(execution_id)
        await replica.close()
        now = datetime.now(UTC)
        old = await execution_of(rows, now - timedelta(days=80), ENDED)
        places = {name: (built.folder / name).as_uri() for name in ("blobs", "archive")}

        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.execution.retire", "--days", "70"),
            env={
                **os.environ,
                "BLOCKYARD_DATABASE_URL": as_role(built.database_url, "execution"),
                "BLOCKYARD_BLOB_URL": places["blobs"],
                "BLOCKYARD_RETENTION_ARCHIVE_URL": places["archive"],
            },
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await program.communicate()
        assert (program.returncode, told) == (0, b"1 executions past retention were dropped.\n")
        assert [line["execution"]["id"] for line in archived(built, old)] == [str(old)]
        left = [str(row["execution_id"]) for row in await rows.fetch("SELECT execution_id FROM executions")]
        assert left == [execution_id]

        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        large_values = LargeValues(blob_store(built))
        archive = archive_of(places["archive"], pool, large_values)
        assert await drop_old(Retention(pool), large_values, now + 2 * WEEK, archive=archive) == 1
        await pool.close()
        execution, *rest = archived(built, execution_id)
        assert execution["execution"]["inputs"] == {"first": 2**62}
        nodes = [line["node_execution"] for line in rest if "node_execution" in line]
        assert [node["outputs"] for node in nodes if node["node_id"] == "one"] == [{"result": [2**62 + 1]}]
        told_events = [line["event"] for line in rest if "event" in line]
        assert [int(event["sequence"]) for event in told_events] == [event.sequence for event in events]
        assert 2**62 + 1 in [event.get("value") for event in told_events]


async def test_nothing_goes_while_the_archive_cannot_be_written(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        await execution_of(rows, datetime.now(UTC) - timedelta(days=80), ENDED)
        large_values = LargeValues(blob_store(built))
        archive = archive_of((built.folder / "archive").as_uri(), pool, large_values)
        (built.folder / "archive").rmdir()
        (built.folder / "archive").write_text("no folder")
        with pytest.raises(BlobStoreAway):
            await drop_old(Retention(pool), large_values, datetime.now(UTC) - timedelta(days=30), archive=archive)
        assert await rows.fetchval("SELECT count(*) FROM executions") == 1
        await pool.close()


async def with_input(rows: "asyncpg.Connection[asyncpg.Record]", execution_id: UUID, value: bytes) -> None:
    """A node execution whose input "a" this is."""
    await rows.execute(
        "INSERT INTO node_executions VALUES ($1, 1, 'one', 'add', 4, 1, 1, 1, 1, 1, 1, $2, '\\x90', '', 0, '')",
        execution_id,
        b'{"a":' + value + b"}",
    )


def inputs_kept(built: House, execution_id: UUID) -> list[dict[str, Any]]:
    """The inputs of node executions in the archive."""
    return [line["node_execution"]["inputs"] for line in archived(built, execution_id) if "node_execution" in line]


async def test_what_was_archived_is_not_written_again_when_a_drop_was_broken_off(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        retention, store, before = Retention(pool), blob_store(built), datetime.now(UTC) - timedelta(days=30)
        monday = week_of(before - 4 * WEEK)
        await execution_of(rows, monday, RUNNING)  # holds the week: rows go one by one
        old = await execution_of(rows, monday + timedelta(hours=1), ENDED)
        blob = await store.put(blob_key(str(old), f"{old}-1", "run", "hash"), b'"large"')
        await with_input(rows, old, encode_reference(blob.key, blob.size, blob.sha256))
        archive = archive_of((built.folder / "archive").as_uri(), pool, LargeValues(store))
        await rows.execute(REFUSED_DELETION)
        with pytest.raises(asyncpg.RaiseError):
            await drop_old(retention, LargeValues(store), before, archive=archive)
        assert not kept(built, blob)
        assert await rows.fetchval("SELECT count(*) FROM node_executions") == 0
        await rows.execute("DROP TRIGGER refused ON executions")
        assert await drop_old(retention, LargeValues(store), before, archive=archive) == 1
        assert inputs_kept(built, old) == [{"a": "large"}]
        await pool.close()


async def test_children_are_archived_before_the_blobs_that_they_share_with_their_root_go(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built, looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        retention, store, now = Retention(pool), blob_store(built), datetime.now(UTC)
        root = await execution_of(rows, now - timedelta(days=80), ENDED, end=now - timedelta(days=60))
        child, grandchild = [await execution_of(rows, now - timedelta(days=days), ENDED) for days in (70, 61)]
        for one, parent in ((child, root), (grandchild, child)):
            await rows.execute(
                "UPDATE executions SET parent_execution_id = $2, root_execution_id = $3 WHERE execution_id = $1",
                *(one, parent, root),
            )
            blob = await store.put(blob_key(str(root), f"{one}-1", "run", "hash"), b'"large"')
            await with_input(rows, one, encode_reference(blob.key, blob.size, blob.sha256))
        archive = archive_of((built.folder / "archive").as_uri(), pool, LargeValues(store))
        both = [drop_old(retention, LargeValues(store), now - timedelta(days=30), archive=archive) for _ in range(2)]
        assert sum(await asyncio.gather(*both)) == 3, "each is counted by whoever deletes it"
        assert [inputs_kept(built, one) for one in (child, grandchild)] == [[{"a": "large"}]] * 2
        assert await store.sizes(str(root)) == []
        await pool.close()
