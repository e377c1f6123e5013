"""Who reads too slowly is cut off with what it has, and goes on from there; nobody else notices. Who is far behind gets
on, whatever lies between."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from blockyard.dev.postgres import PostgresServer

from services.common.cursors import encode_cursor
from services.notification.errors import CursorExpired, SubscriberTooSlow
from services.notification.feeds import TURNS
from services.notification.filters import EventFilter
from services.notification.following import Told
from tests.integration.execution.house import house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.notification.house import tailing
from tests.integration.notification.test_subscribing import connected, run_some
from tests.waiting import until

ANNA = EventFilter("anna")
COPIES = """
INSERT INTO execution.turns SELECT execution_id, turn + 100 + n, partition,
    (SELECT max(feed_sequence) + n FROM execution.turns t WHERE t.partition = o.partition),
    first_event, last_event, node_executions, commands_through, now_ms, facts, events, checksum
FROM (SELECT * FROM execution.turns ORDER BY turn DESC LIMIT 1) o, generate_series(1, $1::int) n
"""


async def sequences_until(told: AsyncIterator[Told], count: int) -> dict[str, list[int]]:
    """What is told, until it is so many events."""
    found: dict[str, list[int]] = {}
    while sum(map(len, found.values())) < count:
        for part in (await anext(told)).parts:
            sequences = found.setdefault(part.entry.execution_id, [])
            sequences.extend(event.sequence for event in part.batch.events)
    return found


async def test_a_subscriber_that_does_not_read_is_cut_off_and_resumes(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built, most_entries=3) as following:
            slow = following.follow(ANNA, "")
            cursor = encode_cursor((await anext(slow)).positions)
            assert (await anext(slow)).live
            lengths = await run_some(built, 4)
            heads = await following.feeds.heads()
            await until(lambda: following.tail.positions == heads, "all has come")
            with pytest.raises(SubscriberTooSlow):
                await anext(slow)
            again = following.follow(ANNA, cursor)
            found = await sequences_until(again, sum(lengths.values()))
            assert found == {key: list(range(1, last + 1)) for key, last in lengths.items()}
            await again.aclose()


async def test_what_comes_while_a_subscriber_reads_its_past_is_read_from_rows_too(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built, most_entries=3) as following:
            lengths = await run_some(built, 4)
            told = following.follow(ANNA, encode_cursor({}))
            await anext(told)
            # More than the queue holds, before anything of the past was read.
            lengths |= await run_some(built, 4)
            found = await sequences_until(told, sum(lengths.values()))
            assert found == {key: list(range(1, last + 1)) for key, last in lengths.items()}
            await told.aclose()


async def test_a_subscriber_gets_on_over_what_others_did(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built) as following:
            await run_some(built, 3)
            heads = await following.feeds.heads()
            told = following.follow(EventFilter("bert"), encode_cursor({}))
            begun, page, live = [(len(one.parts), one.live, dict(one.positions)) async for one in first(told, 3)]
            assert begun == (0, False, {})
            # Its reader may be cut off at any time, and then goes on from here.
            assert page == (0, False, {partition: at for partition, at in heads.items() if at})
            assert live[:2] == (0, True)
            await told.aclose()


async def test_what_is_not_kept_any_more_is_no_silent_hole_wherever_it_lies(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}):
            await run_some(built, 1)
        async with connected(built) as connection:
            # Behind the first page.
            await connection.execute(COPIES, 2 * TURNS)
            await connection.execute(
                "DELETE FROM execution.turns WHERE turn > 100 AND feed_sequence = $1", TURNS * 3 // 2
            )
        async with tailing(built) as following:
            told = following.follow(ANNA, encode_cursor({}))
            with pytest.raises(CursorExpired):
                await until_live(told)


async def until_live(told: AsyncIterator[Told]) -> None:
    async for one in told:
        if one.live:
            return


async def first(told: AsyncIterator[Told], many: int) -> AsyncIterator[Told]:
    for _ in range(many):
        yield await anext(told)


async def test_each_portion_of_a_page_says_where_it_ends(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        one_node(built)
        await built.add_replica()
        async with running(built.bus, {"work": echo}), tailing(built) as following:
            lengths = await run_some(built, 3)
            found: dict[str, list[int]] = {}
            cursor = encode_cursor({})
            while sum(map(len, found.values())) < sum(lengths.values()):
                # Each time it is cut off behind the first portion, and goes on where that has ended.
                told = replace(following, most_bytes=1).follow(ANNA, cursor)
                begun, one = [part async for part in first(told, 2)]
                await told.aclose()
                assert not begun.parts
                for part in one.parts:
                    found.setdefault(part.entry.execution_id, []).extend(event.sequence for event in part.batch.events)
                cursor = encode_cursor(one.positions)
            assert found == {key: list(range(1, last + 1)) for key, last in lengths.items()}
