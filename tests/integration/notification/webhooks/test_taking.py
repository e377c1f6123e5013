"""However much is owed, a transaction inserts no more than it has time for, and the loop goes on meanwhile."""

import asyncio
from uuid import uuid4

import pytest
from blockyard.event.v1.event_pb2 import EVENT_KIND_NODE_COMPLETED, EventBatch

from services.notification.entries import Entry
from services.notification.followers import TooManyOwed
from services.notification.webhooks.records import Filter, Listener
from services.notification.webhooks.taking import _made
from tests.integration.notification.webhooks.office import Office, office

ADDRESS = "http://127.0.0.1:9999/"


def turn(execution_id: str, events: int, size: int = 0) -> Entry:
    batch = EventBatch(execution_id=execution_id, graph_id="g1", graph_version=1, user_id="anna")
    for number in range(events):
        batch.events.add(sequence=number + 1, kind=EVENT_KIND_NODE_COMPLETED, node_id="n", message="x" * size)
    return Entry.of_turn(0, 1, batch.SerializeToString())


async def taken(house: Office, *entries: Entry) -> int:
    """How many deliveries wait once these were taken in."""
    async with house.pool.acquire() as connection, connection.transaction():
        await house.first.taking.take(connection, entries)
        waiting: int = await connection.fetchval("SELECT sum(pending) FROM webhook_queues")
    return waiting


async def test_turns_that_owe_too_many_deliveries_are_not_taken_in_together(tables: str) -> None:
    async with office(tables) as house:
        for _ in range(10):
            await house.webhook(ADDRESS)
        with pytest.raises(TooManyOwed):
            await taken(house, turn("e1", 300), turn("e2", 300))
        with pytest.raises(TooManyOwed):
            await taken(house, turn("e1", 1, size=600_000), turn("e2", 1, size=600_000))
        assert await taken(house, turn("e1", 200), turn("e2", 200)) == 4_000


async def test_one_turn_is_never_too_many(tables: str) -> None:
    async with office(tables) as house:
        for _ in range(10):
            await house.webhook(ADDRESS)
        assert await taken(house, turn("e1", 1_000)) == 10_000


async def test_the_loop_goes_on_while_many_deliveries_are_made() -> None:
    listeners = [Listener(uuid4(), "anna", ADDRESS, Filter(), 0, 0) for _ in range(10)]
    rounds = 0

    async def go_on() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    going = asyncio.create_task(go_on())
    made = await _made([turn("e1", 1_000)], {"anna": listeners})
    going.cancel()
    assert [len(made[one]) for one in listeners] == [1_000] * 10
    # For no more than five hundred does it stand still.
    assert rounds >= 10_000 // 500
