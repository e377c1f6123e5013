"""Notices: a user hears of a low balance once, over NATS, however long that is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from blockyard.dev.nats import NatsServer, start_nats
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind

from services.common import bus as nats
from services.common.bus import NOTICES, Bus
from services.common.ids import new_id
from services.common.notices import NoticePublisher
from tests.integration.account.ledgers import Replica, charge, house
from tests.waiting import until


@pytest.fixture(scope="module")
def replica(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Replica]:
    stack = AsyncExitStack()
    try:
        opened = runner.run(stack.enter_async_context(house(postgres)))
        yield runner.run(opened.replica())
    finally:
        runner.run(stack.aclose())


@pytest.fixture
def server(runner: asyncio.Runner, tmp_path: Path) -> Iterator[NatsServer]:
    started = runner.run(start_nats(tmp_path / "nats"))
    yield started
    runner.run(started.kill())


@asynccontextmanager
async def publishing(replica: Replica, server: NatsServer) -> AsyncIterator[NoticePublisher]:
    """The rows of this replica are published meanwhile."""
    publisher = NoticePublisher(replica.notices, partial(nats.connect, server.url, "account"))
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def waiting(replica: Replica) -> int:
    """Notices that are not published."""
    number: int = await replica.pool.fetchval("SELECT count(*) FROM notices")
    return number


async def published(bus: Bus) -> list[Notice]:
    """All that the stream has."""
    info = await bus.stream_info(NOTICES)
    assert info is not None
    found: list[Notice] = []
    consumer = nats.PullConsumer(bus, NOTICES, f"test-{new_id()}", "blockyard.notice.>")
    while len(found) < info.messages:
        found += [Notice.FromString(one.data) for one in await consumer.fetch(100, 1.0)]
    return found


async def test_a_low_balance_is_told_over_nats_with_what_it_is_and_what_its_bound_was(
    replica: Replica, server: NatsServer
) -> None:
    user = await replica.new_user(credits=100, low_balance=50)
    await replica.ledger.settle("one", [charge(user, new_id(), amount=60)])
    async with publishing(replica, server), nats.connect(server.url, "test") as bus:

        async def all_published() -> bool:
            return not await waiting(replica)

        await until(all_published, "the notice is published and its row gone")
        [notice] = await published(bus)
        subjects = await bus.jetstream.subjects(NOTICES, "blockyard.notice.>")
    assert (notice.user_id, notice.kind) == (user, NoticeKind.NOTICE_KIND_LOW_BALANCE)
    assert dict(notice.details) == {"balance": "40", "low_balance": "50"}
    assert notice.time.seconds > 0
    assert subjects == {f"blockyard.notice.{user}"}


async def test_a_user_is_told_again_only_after_the_balance_was_above_the_bound(replica: Replica) -> None:
    user = await replica.new_user(credits=100, low_balance=50)

    async def told() -> int:
        number: int = await replica.pool.fetchval("SELECT count(*) FROM notices WHERE user_id = $1", user)
        return number

    await replica.ledger.settle("one", [charge(user, new_id(), amount=60)])
    await replica.ledger.settle("one", [charge(user, new_id(), amount=10)])
    assert await told() == 1
    await replica.give(user, 10)
    await replica.give(user, -1)
    assert await told() == 1
    await replica.give(user, 100)
    await replica.give(user, -100)
    assert await told() == 2
    await replica.pool.execute("DELETE FROM notices WHERE user_id = $1", user)


async def test_charges_that_are_refused_as_a_whole_tell_nothing(replica: Replica) -> None:
    user, execution = await replica.new_user(credits=100, low_balance=50), new_id()
    await replica.ledger.settle("one", [charge(user, execution, amount=10)])
    await replica.ledger.settle("one", [charge(user, execution, amount=10), charge(user, execution, amount=90)])
    assert await replica.pool.fetchval("SELECT count(*) FROM notices WHERE user_id = $1", user) == 0


async def test_notices_wait_while_nats_is_away_and_outlast_the_loss_of_the_stream(
    replica: Replica, server: NatsServer
) -> None:
    async def all_published() -> bool:
        return not await waiting(replica)

    async with publishing(replica, server) as publisher:
        await replica.told()
        publisher.wake()
        await until(all_published, "the notice is published")
        await server.wipe()
        user = await replica.told()
        publisher.wake()
        assert await waiting(replica) == 1
        await server.start()
        await until(all_published, "the notice is published into a stream that is made anew")
        async with nats.connect(server.url, "test") as bus:
            assert [notice.user_id for notice in await published(bus)] == [user]


async def test_two_replicas_that_publish_the_same_rows_tell_each_notice_once(
    replica: Replica, server: NatsServer
) -> None:
    async def all_published() -> bool:
        return not await waiting(replica)

    users = {await replica.told() for _ in range(5)}
    async with publishing(replica, server), publishing(replica, server), nats.connect(server.url, "test") as bus:
        await until(all_published, "the notices are published")
        told = [notice.user_id for notice in await published(bus)]
    assert (len(told), set(told)) == (5, users)
