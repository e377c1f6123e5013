"""Feeds as other services read them: each turn, in order, and what is not kept any more is never passed over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from blockyard.runner.v1 import feed_service_pb2 as messages

from services.common import migrate
from services.common.errors import InvalidArgument
from services.execution.feed_api import FeedApi
from services.execution.repository.feeds import FeedPart, FeedRepository
from services.execution.repository.portions import BYTES_READ
from services.execution.repository.retention import Retention
from services.execution.starting import StartRequest
from tests.integration.execution.stored_starts import stored
from tests.stack.postgres import as_role

ADD = """
INSERT INTO turns (execution_id, turn, partition, feed_sequence, first_event, last_event, node_executions,
    commands_through, now_ms, facts, events, checksum)
VALUES ($1, $2::int, 0, $2, $2, $2, 0, 0, 0, '', $3, 0)
"""
LAST = 9
"""Turns in the feed."""


@pytest.fixture(scope="module")
def schema(database_url: str) -> str:
    migrate.migrate(database_url, ["execution"], {"execution": None})
    return as_role(database_url, "execution")


@asynccontextmanager
async def fed(schema: str, events: bytes = b"events", silent: int = 0) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """A feed in which anna and bert take turns; `silent` has no events."""
    settings = {"search_path": "execution"}
    async with asyncpg.create_pool(schema, min_size=1, max_size=1, server_settings=settings) as pool:
        await Retention(pool).make_partitions()
        # A role of services may not truncate.
        await pool.execute("DELETE FROM turns")
        await pool.execute("DELETE FROM executions")
        await pool.execute("DELETE FROM partitions")
        await pool.execute("INSERT INTO partitions (partition, published_through) VALUES (0, $1)", LAST)
        anna, bert = [await stored(pool, StartRequest(user_id, {}, "", "graph")) for user_id in ("anna", "bert")]
        for number in range(1, LAST + 1):
            told = b"" if number == silent else events
            await pool.execute(ADD, anna if number % 2 else bert, number, told)
        yield pool


async def read(
    pool: "asyncpg.Pool[asyncpg.Record]", after: int = 0, user_id: str = "", limit: int = 100
) -> tuple[list[int], int, bool]:
    """The places of the turns that are told, up to where, and whether something is not kept."""
    parts = await FeedRepository(pool).read({0: after}, {0: LAST}, user_id, limit)
    part: FeedPart = parts[0]
    return [place for place, _ in part.turns], part.reached, part.gap


async def test_a_feed_is_read_whole_or_of_one_user(schema: str) -> None:
    async with fed(schema, silent=3) as pool:
        assert await read(pool) == ([1, 2, 4, 5, 6, 7, 8, 9], 9, False)
        assert await read(pool, user_id="anna") == ([1, 5, 7, 9], 9, False)
        assert await read(pool, user_id="nobody") == ([], 9, False)
        assert await read(pool, after=9) == ([], 9, False)


async def test_a_part_ends_after_so_many_turns_or_bytes(schema: str) -> None:
    async with fed(schema, b"e" * (BYTES_READ // 4 // 2)) as pool:
        assert await read(pool, after=2, limit=3) == ([3, 4], 4, False)
        assert await read(pool, after=2, limit=1, user_id="bert") == ([], 3, False)
        assert await read(pool, after=2, user_id="bert") == ([4, 6], 7, False)


@pytest.mark.parametrize("user_id", ["", "anna", "bert"])
@pytest.mark.parametrize("dropped", [1, 4, 5, 9])
async def test_a_turn_that_is_not_kept_is_told_wherever_it_was(schema: str, dropped: int, user_id: str) -> None:
    async with fed(schema) as pool:
        await pool.execute("DELETE FROM turns WHERE feed_sequence = $1", dropped)
        assert (await read(pool, user_id=user_id))[1:] == (9, True)
        assert not (await read(pool, after=dropped, user_id=user_id))[2]


async def test_what_is_not_kept_is_told_with_the_part_that_it_is_missing_in(schema: str) -> None:
    async with fed(schema) as pool:
        await pool.execute("DELETE FROM turns WHERE feed_sequence = 4")
        assert await read(pool, limit=3) == ([1, 2, 3], 3, False)
        assert await read(pool, after=3, limit=3) == ([5, 6, 7], 7, True)


@pytest.mark.parametrize("user_id", ["anna", "bert"])
async def test_a_turn_whose_execution_is_dropped_already_is_not_kept(schema: str, user_id: str) -> None:
    async with fed(schema) as pool:
        await pool.execute("DELETE FROM executions WHERE user_id = 'anna'")
        assert (await read(pool, user_id=user_id))[2]
        assert not (await read(pool, after=9, user_id=user_id))[2]


async def test_partitions_of_which_something_is_not_kept_are_named(schema: str) -> None:
    async with fed(schema) as pool:
        await pool.execute("DELETE FROM turns WHERE feed_sequence = 4")
        place = messages.FeedPosition
        request = messages.ReadFeedsRequest(
            after=[place(partition=0, sequence=2), place(partition=1)],
            through=[place(partition=0, sequence=LAST), place(partition=1), place(partition=2)],
            user_id="anna",
        )
        api = FeedApi(FeedRepository(pool))
        answer = await api.ReadFeeds(request, None)  # type: ignore[arg-type]  # it asks nothing of the call
        assert [(one.position.sequence, one.batch) for one in answer.turns] == [
            (number, b"events") for number in (3, 5, 7, 9)
        ]
        assert [(one.partition, one.sequence) for one in answer.reached] == [(0, LAST), (1, 0)]
        assert list(answer.expired_partitions) == [0]
        with pytest.raises(InvalidArgument):
            await api.ReadFeeds(messages.ReadFeedsRequest(after=[place(partition=0)]), None)  # type: ignore[arg-type]


async def test_nothing_past_the_end_of_a_feed_is_reached(schema: str) -> None:
    async with fed(schema) as pool:
        feeds = FeedRepository(pool)
        assert (await feeds.heads()).sequences == {0: LAST}
        for after in (LAST - 2, LAST):
            part = (await feeds.read({0: after}, {0: LAST + 5}, "", 100))[0]
            assert (part.reached, part.gap) == (LAST, False)
        assert (await feeds.read({0: LAST + 2}, {0: LAST + 5}, "", 100))[0] == FeedPart([], LAST + 2, False)
        assert (await feeds.read({7: 0}, {7: 5}, "", 100))[7] == FeedPart([], 0, False)
