"""A database that went back in time is believed: who is told what executions do begins anew, and is told so."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import grpc
import pytest
from blockyard.dev.postgres import PostgresServer, start_postgres

from services.common.cursors import encode_cursor
from services.notification.errors import CursorAhead
from services.notification.filters import EventFilter
from services.notification.following import Following, Told
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_lost_commits import copy_with_owner, put_back, restore
from tests.integration.notification.house import tailing
from tests.integration.notification.test_subscribing import connected, run_some
from tests.stack.postgres import running_postgres
from tests.waiting import until

ANNA = EventFilter("anna")

OTHERS = """
INSERT INTO execution.turns SELECT execution_id, turn + 1000 * (1 + number), partition, number,
    first_event, last_event, node_executions, commands_through, now_ms, facts, events, checksum
FROM (SELECT * FROM execution.turns WHERE partition = $1 AND events <> '' LIMIT 1) AS o, generate_series(
    (SELECT max(feed_sequence) + 1 FROM execution.turns WHERE partition = $1), $2::bigint
) AS number
"""
"""Turns in a partition up to a place in its feed."""


async def go_back(built: House) -> None:
    """As if a backup from before all executions had been restored."""
    async with connected(built) as connection, connection.transaction():
        await connection.execute("DELETE FROM execution.turns")
        await connection.execute("UPDATE execution.partitions SET published_through = 0, owner = NULL")


async def told_for_ever(told: AsyncIterator[Told]) -> None:
    async with asyncio.timeout(60):
        async for _ in told:
            pass


async def run_until_all_have(built: House, following: Following) -> None:
    """Runs executions, and some in each partition, as soon as the services find the database again."""

    async def all_have_more() -> bool:
        try:
            await run_some(built, 1)
            now = await following.feeds.heads()
        except grpc.aio.AioRpcError:
            return False
        return all(now[partition] > sequence for partition, sequence in before.items())

    await following.tail.begun.wait()
    before = dict(following.tail.positions)
    await until(all_have_more, "something has happened in each partition", seconds=60)

    async def all_has_come() -> bool:
        return following.tail.positions == await following.feeds.heads()

    await until(all_has_come, "all has come")


async def keep(own: PostgresServer, backup: Path) -> None:
    """Copies the data directory while the server is down."""
    await own.stop()
    shutil.copytree(own.data_dir, backup, copy_function=copy_with_owner)


async def retire(built: House, told: dict[int, int]) -> None:
    """Drops all turns, as retention does with old ones."""
    async with connected(built) as connection:

        async def all_is_published() -> bool:
            rows = await connection.fetch("SELECT partition, published_through FROM execution.partitions")
            return dict(map(tuple, rows)) == told

        await until(all_is_published, "it is noted that all is published")
        await connection.execute("DELETE FROM execution.turns")


def go_back_to(own: PostgresServer, backup: Path, promoted: bool) -> None:
    """The disk is as it was then, or a standby that had got this much is promoted."""
    restore(own, backup) if promoted else put_back(own, backup)


async def overtake(built: House, own: PostgresServer, told: dict[int, int]) -> None:
    """Other turns are committed in the places of those that were lost, before anybody looks."""
    async with await start_postgres(own.data_dir) as elsewhere:
        connection = await asyncpg.connect(built.database_url.replace(own.address, elsewhere.address))
        try:
            await until(lambda: connection.fetchval("SELECT NOT pg_is_in_recovery()"), "it takes commits")
            for partition, sequence in told.items():
                await connection.execute(OTHERS, partition, sequence + 1)
        finally:
            await connection.close()


async def test_subscriptions_end_and_begin_anew_when_the_database_was_restored(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built) as following:
            live, behind = following.follow(ANNA, ""), following.follow(ANNA, encode_cursor({}))
            await anext(live)
            assert (await anext(live)).live
            assert not (await anext(behind)).live
            await run_some(built, 4)
            heads = await following.feeds.heads()
            await until(lambda: following.tail.positions == heads, "all has come")
            assert any(heads.values())

            await go_back(built)

            with pytest.raises(CursorAhead):
                await told_for_ever(live)
            assert not any(following.tail.positions.values())
            with pytest.raises(CursorAhead):
                await told_for_ever(behind)
            again = following.follow(ANNA, "")
            await anext(again)
            assert (await anext(again)).live
            await again.aclose()


async def test_a_feed_of_which_less_is_there_than_was_told_is_read_to_its_end_and_not_past_it(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built) as following:
            await run_some(built, 4)
            heads = await following.feeds.heads()
            await until(lambda: following.tail.positions == heads, "all has come")
            resumed = following.follow(ANNA, encode_cursor({}))
            await anext(resumed)

            await go_back(built)

            places: list[int] = []

            async def note_places() -> None:
                async for told in resumed:
                    places.extend(told.positions.values())

            with pytest.raises(CursorAhead):
                await asyncio.wait_for(note_places(), 60)
            assert not any(places)


@pytest.mark.parametrize("promoted", [True, False])
async def test_subscriptions_end_though_other_turns_have_taken_the_places_of_those_that_were_lost(
    tmp_path: Path, promoted: bool
) -> None:
    async with running_postgres() as own, house(own) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built) as following:
            await run_until_all_have(built, following)
            await keep(own, tmp_path / "backup")
            await own.start()
            live = following.follow(ANNA, "")
            await anext(live)
            assert (await anext(live)).live
            await run_until_all_have(built, following)
            told = dict(following.tail.positions)
            await own.kill()
            go_back_to(own, tmp_path / "backup", promoted)
            await overtake(built, own, told)

            await own.start()

            with pytest.raises(CursorAhead):
                await told_for_ever(live)
            again = following.follow(ANNA, "")
            await anext(again)
            assert (await anext(again)).live
            await run_until_all_have(built, following)
            assert (await anext(again)).parts
            await again.aclose()


@pytest.mark.parametrize(("promoted", "kept"), [(True, True), (False, True), (False, False)])
async def test_subscriptions_go_on_when_a_server_is_started_again_or_promoted_with_all_commits(
    tmp_path: Path, promoted: bool, kept: bool
) -> None:
    async with running_postgres() as own, house(own) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built) as following:
            live = following.follow(ANNA, "")
            await anext(live)
            assert (await anext(live)).live
            await run_until_all_have(built, following)
            begun = following.tail.positions.copy()
            history = following.tail.history
            if not kept:
                await retire(built, begun)
            await keep(own, tmp_path / "backup")
            go_back_to(own, tmp_path / "backup", promoted)
            await own.start()
            await until(lambda: following.tail.history != history, "the other history is found")
            await run_until_all_have(built, following)
            end = following.tail.positions.copy()
            assert all(end[partition] > sequence for partition, sequence in begun.items())
            async with asyncio.timeout(60):
                async for told in live:
                    if told.positions == end:
                        break
            await live.aclose()
