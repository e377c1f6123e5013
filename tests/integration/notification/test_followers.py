"""What is owed for events is inserted exactly once, whoever follows and whatever ends in between."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from blockyard.cursors import encode_cursor
from blockyard.dev.postgres import PostgresServer

from services.common import database, tasks
from services.notification.entries import Entry
from services.notification.followers import LEASE_SECONDS, Follower, Take, TooManyOwed
from services.notification.repository.followers import Connection, FollowerRepository
from tests.integration.execution.house import House
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.notification.house import notifying, tailing
from tests.integration.notification.test_subscribing import connected, run_some
from tests.stack.postgres import as_role
from tests.waiting import until

BEHIND = (
    "INSERT INTO followers (name, positions) VALUES ('outgoing', $1) ON CONFLICT (name) DO UPDATE SET positions = $1"
)
DROPPED = """
DELETE FROM execution.turns t
USING (SELECT partition, execution_id FROM execution.turns ORDER BY feed_sequence LIMIT 1) o
WHERE (t.partition, t.execution_id) = (o.partition, o.execution_id) RETURNING t.execution_id
"""
"""As retention does; the execution whose turns were the first of a feed."""
NOTES = "CREATE TABLE notes (execution_id text NOT NULL, sequence bigint NOT NULL)"


async def note(connection: Connection, entries: Sequence[Entry]) -> bool:
    """Owes a row for each event."""
    rows = [(entry.execution_id, event.sequence) for entry in entries for event in entry.batch.events]
    await connection.executemany("INSERT INTO notes VALUES ($1, $2)", rows)
    return True


@asynccontextmanager
async def followed(built: House, take: Take) -> AsyncIterator[None]:
    """A replica that follows, until it is ended without any order."""
    url = as_role(built.database_url, "notification")
    async with database.connect(url, "notification", pool_size=3) as pool, tailing(built) as following:
        follower = Follower(FollowerRepository(pool), following, [take], lambda: None)
        work = asyncio.create_task(follower.run())
        try:
            yield
        finally:
            await tasks.end([work])


@asynccontextmanager
async def noting(postgres: PostgresServer) -> AsyncIterator[tuple[House, "asyncpg.Connection[asyncpg.Record]"]]:
    """A house where nobody follows yet, and a connection to the table of notes."""
    async with notifying(postgres) as (built, told):
        one_node(built)
        await told.resources.aclose()
        connection = await asyncpg.connect(as_role(built.database_url, "notification"))
        try:
            await connection.execute("SET search_path TO notification")
            await connection.execute(NOTES)
            yield built, connection
        finally:
            await connection.close()


async def noted(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, list[int]]:
    rows = await connection.fetch(
        "SELECT execution_id, array_agg(sequence ORDER BY sequence) FROM notes GROUP BY execution_id"
    )
    return {row[0]: row[1] for row in rows}


async def test_each_event_is_taken_in_once_though_replicas_come_and_go(postgres: PostgresServer) -> None:
    async with noting(postgres) as (built, connection):
        lengths: dict[str, int] = {}

        async def complete() -> bool:
            return await noted(connection) == {key: list(range(1, last + 1)) for key, last in lengths.items()}

        async with running(built.bus, {"work": echo}):
            for _ in range(3):
                async with followed(built, note), followed(built, note):
                    lengths |= await run_some(built, 3)
                # Nobody follows meanwhile.
                lengths |= await run_some(built, 2)
            async with followed(built, note):
                await until(complete, "each event was taken in once")


async def test_a_turn_that_cannot_be_taken_in_keeps_no_other_waiting(postgres: PostgresServer) -> None:
    async with noting(postgres) as (built, connection):
        bad: list[str] = []

        async def choosy(connection: Connection, entries: Sequence[Entry]) -> bool:
            await note(connection, entries)
            bad.extend(() if bad else [entries[0].execution_id])
            if any(entry.execution_id in bad for entry in entries):
                raise ValueError("this one cannot be taken in")
            return True

        async with running(built.bus, {"work": echo}), followed(built, choosy):
            lengths = await run_some(built, 4)
            await until(lambda: bool(bad), "one is refused")
            wanted = {key: list(range(1, last + 1)) for key, last in lengths.items() if key not in bad}
            await until(lambda: _same(connection, wanted), "the others were taken in")


async def _same(connection: "asyncpg.Connection[asyncpg.Record]", wanted: dict[str, list[int]]) -> bool:
    return await noted(connection) == wanted


async def test_who_gets_the_lease_back_goes_on_where_the_row_says(postgres: PostgresServer) -> None:
    async with noting(postgres) as (built, connection), running(built.bus, {"work": echo}), followed(built, note):
        lengths = await run_some(built, 2)
        once = {key: list(range(1, last + 1)) for key, last in lengths.items()}
        await until(lambda: _same(connection, once), "all was taken in")
        # As if another replica had followed meanwhile, and had come to another place.
        stepped = "UPDATE followers SET version = version + 1, positions = $1"
        await connection.execute(stepped, encode_cursor({}))
        twice = {key: sorted(2 * sequences) for key, sequences in once.items()}
        await until(lambda: _same(connection, twice), "it goes on from that place")


async def test_fewer_turns_are_taken_in_at_once_until_there_is_time_for_them(postgres: PostgresServer) -> None:
    async with noting(postgres) as (built, connection):
        tried: list[int] = []

        async def slow(connection: Connection, entries: Sequence[Entry]) -> bool:
            tried.append(len(entries))
            await note(connection, entries)
            if len(entries) > 2:
                # As PostgreSQL ends what takes too long.
                raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")
            if len(entries) > 1:
                raise TooManyOwed
            return True

        async with running(built.bus, {"work": echo}):
            lengths = await run_some(built, 4)
            await connection.execute(BEHIND, encode_cursor({}))
            async with followed(built, slow):
                once = {key: list(range(1, last + 1)) for key, last in lengths.items()}
                await until(lambda: _same(connection, once), "each was taken in once, alone")
        assert max(tried) > 2


async def test_what_is_not_kept_any_more_is_left_out_in_its_partition_alone(postgres: PostgresServer) -> None:
    async with noting(postgres) as (built, connection), running(built.bus, {"work": echo}):
        lengths = await run_some(built, 6)
        async with connected(built) as database_of_all:
            gone = str(await database_of_all.fetchval(DROPPED))
        left = {key: list(range(1, last + 1)) for key, last in lengths.items() if key != gone}
        await connection.execute(BEHIND, encode_cursor({}))
        async with followed(built, note):
            await until(lambda: _within(connection, left), "what is kept was taken in")


async def _within(connection: "asyncpg.Connection[asyncpg.Record]", wanted: dict[str, list[int]]) -> bool:
    return wanted.items() <= (await noted(connection)).items()


async def test_the_lease_is_kept_while_nothing_happens(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        one_node(built)
        await told.resources.aclose()
        async with followed(built, note), connected(built) as connection:
            held = "SELECT held_until FROM notification.followers"
            ends = await until(lambda: connection.fetchval(f"{held} WHERE held_until > now()"), "it is held")

            async def renewed_in_time() -> bool:
                nonlocal ends
                before, ends = ends, await connection.fetchval(held)
                # By the database's clock: who was held up may be late once, and not each time.
                longer = (ends - before).total_seconds()
                return bool(0 < longer <= LEASE_SECONDS / 2)

            await until(renewed_in_time, "it is held for longer while half of the time is left")
