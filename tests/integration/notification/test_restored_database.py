"""A database that went back in time is believed: who is told what executions do begins anew, and is told so."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from blockyard.dev.postgres import PostgresServer

from services.common.cursors import encode_cursor
from services.notification.errors import CursorAhead
from services.notification.filters import EventFilter
from services.notification.following import Told
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.notification.house import tailing
from tests.integration.notification.test_subscribing import connected, run_some
from tests.waiting import until

ANNA = EventFilter("anna")


async def go_back(built: House) -> None:
    """As if a backup from before all executions had been restored."""
    async with connected(built) as connection, connection.transaction():
        await connection.execute("DELETE FROM execution.turns")
        await connection.execute("UPDATE execution.partitions SET published_through = 0, owner = NULL")


async def told_for_ever(told: AsyncIterator[Told]) -> None:
    async with asyncio.timeout(60):
        async for _ in told:
            pass


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
