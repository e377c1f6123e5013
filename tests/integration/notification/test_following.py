"""The SDK's stream of all executions against the real services: over restarts of them, and from a cursor."""

import asyncio
from contextlib import aclosing

from blockyard.client import Client
from blockyard.connection import Connection
from blockyard.dev.postgres import PostgresServer
from blockyard.events import Event
from blockyard.subscriptions import EventStream

from services.common import identity
from tests import signing
from tests.integration.execution.house import House
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_recovery import loop
from tests.integration.notification.house import Notifier, notifier, notifying
from tests.integration.notification.test_subscribing import LOOP, START, run_some
from tests.waiting import until


def client_of(built: House, told: Notifier, user_id: str = "anna") -> Client:
    token = identity.user_token(signing.JWT_SECRET, user_id, "user", 300)
    execution = built.replicas[0].address
    return Client(Connection("127.0.0.1:1", execution, token, notification_address=told.address))


def sequences(events: list[Event]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for event in events:
        found.setdefault(event.execution_id, []).append(event.sequence)
    return found


def whole(lengths: dict[str, int]) -> dict[str, list[int]]:
    return {execution_id: list(range(1, length + 1)) for execution_id, length in lengths.items()}


async def test_a_stream_outlives_the_service_and_is_resumed_by_its_cursor(postgres: PostgresServer) -> None:
    async with notifying(postgres) as (built, told):
        loop(built, 10)
        port = int(told.address.rpartition(":")[2])
        events: list[Event] = []
        async with (
            running(built.bus, LOOP),
            client_of(built, told) as client,
            aclosing(client.events(after=START)) as stream,
        ):

            async def read() -> None:
                async for event in stream:
                    events.append(event)

            reading = asyncio.create_task(read())
            lengths = await run_some(built, 3)
            await until(lambda: sequences(events) == whole(lengths), "all is told")
            await told.close()
            lengths |= await run_some(built, 3)
            again = await notifier(built, port=port)
            try:
                await until(lambda: sequences(events) == whole(lengths), "what came meanwhile is told")
                await until(lambda: stream.cursor != START, "the cursor moves")
                reading.cancel()
                await asyncio.wait({reading})
                lengths = await run_some(built, 2)
                fresh = await until_whole(client.events(after=stream.cursor), lengths)
                assert {event.user_id for event in fresh} == {"anna"}
            finally:
                await again.close()


async def until_whole(stream: EventStream, lengths: dict[str, int]) -> list[Event]:
    """What comes until these executions were told to their ends."""
    found: list[Event] = []
    async with aclosing(stream):
        async for event in stream:
            found.append(event)
            if whole(lengths).items() <= sequences(found).items():
                break
    return found
