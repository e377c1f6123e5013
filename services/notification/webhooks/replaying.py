"""Sends again what happened since a place or a time: reads feeds, part by part, and fills the queue of the webhook.

Each part and the place behind it are one transaction, so any replica goes on where another one ended. The queue is
filled no further than half of its bounds, but for what one turn has: the rest waits in the feeds, where it is anyway.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import grpc
import structlog
from blockyard.event.v1.event_pb2 import EventBatch

from services.common.backoff import delays
from services.common.cursors import decode_cursor, encode_cursor
from services.common.database import PASSING
from services.notification.clock import Clock
from services.notification.entries import with_events
from services.notification.errors import CursorAhead
from services.notification.feeds import Feeds, Page, Positions, behind
from services.notification.repository.queues import insert_deliveries
from services.notification.repository.replays import ReplayRepository, ReplayStep, Superseded
from services.notification.repository.webhooks import WebhookRepository
from services.notification.webhooks import metrics
from services.notification.webhooks.records import NewDelivery, Webhook
from services.notification.webhooks.taking import wanted

LEASE_SECONDS = 20.0
FULL_SECONDS = 2.0
"""A replay waits so long when its queue is full."""
LOOK_SECONDS = 2.0
MOST_AT_ONCE = 5_000
"""Deliveries that a step queues, but for what one turn has."""
EXPIRED = "Some of what was asked for is not kept any more; the rest is sent."
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.stdlib.get_logger(__name__)


class Replayer:
    """Replays for as long as `run` runs; any number of replicas may."""

    def __init__(
        self,
        rows: ReplayRepository,
        webhooks: WebhookRepository,
        feeds: Feeds,
        queued: Callable[[], None],
        clock: Clock,
        most: int,
        most_bytes: int,
    ) -> None:
        """`queued` is called when there is work for senders; `most` deliveries, of so many bytes, may wait for a
        webhook."""
        self._rows = rows
        self._webhooks = webhooks
        self._feeds = feeds
        self._queued = queued
        self._clock = clock
        self._most = most
        self._most_bytes = most_bytes
        self._work = asyncio.Event()

    async def begin(self, webhook: Webhook, cursor: str, start_time: datetime | None) -> None:
        """Asks for a replay; raises CursorInvalid and CursorAhead."""
        positions = decode_cursor(cursor) if cursor else {}
        heads = await self._feeds.heads()
        if behind(heads, positions):
            raise CursorAhead
        until = encode_cursor(heads)
        start = start_time or BEGINNING
        await self._rows.begin(webhook.webhook_id, encode_cursor(positions), until, start, self._clock())
        self._work.set()

    async def run(self) -> None:
        """Replays until it is cancelled."""
        pauses = delays()
        while True:
            self._work.clear()
            try:
                while (replay := await self._rows.claim(LEASE_SECONDS)) is not None:
                    await self._step(replay)
                    pauses = delays()
            except Superseded:
                continue
            except (*PASSING, grpc.aio.AioRpcError) as error:
                log.warning("replays of webhooks wait", reason=str(error) or type(error).__name__)
                await asyncio.sleep(next(pauses))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._work.wait()

    async def _step(self, replay: ReplayStep) -> None:
        """Queues the next part, or leaves the replay alone for a while if the queue is full enough."""
        number = self._most // 2 - replay.listener.pending
        size = self._most_bytes // 2 - replay.listener.pending_bytes
        if number <= 0 or size <= 0:
            await self._rows.put_off(replay, FULL_SECONDS)
            return
        positions, until = decode_cursor(replay.cursor), decode_cursor(replay.until)
        missing, message = behind(positions, until), replay.message
        deliveries: list[NewDelivery] = []
        if missing:
            page = await self._feeds.read(positions, missing, replay.listener.user_id)
            went_on = behind(positions, page.reached)
            if page.expired and replay.start_time == BEGINNING:
                message = EXPIRED
            deliveries, reached = await _fitting(replay, page, min(number, MOST_AT_ONCE), size)
            positions |= reached
            # Feeds that end sooner are those of a database that was restored since: there is no more.
            missing = behind(positions, until) if went_on else {}
        async with self._webhooks.transaction() as connection:
            queued = 0
            if deliveries:
                queued = await insert_deliveries(connection, deliveries, self._clock(), again=True)
            cursor = encode_cursor(positions)
            await self._rows.step(connection, replay, cursor, queued, message, done=not missing)
        metrics.QUEUED.inc(queued)
        if queued:
            self._queued()


async def _fitting(replay: ReplayStep, page: Page, number: int, size: int) -> tuple[list[NewDelivery], Positions]:
    """What is wanted of a page, as far as there is room, and up to where that is all. The turn that fills it is in."""
    found: list[NewDelivery] = []
    reached: Positions = {}
    for entry in page.entries:
        if len(found) >= number or size <= 0:
            return found, reached
        for _, delivery in wanted(since(entry.batch, replay.start_time), [replay.listener]):
            found.append(delivery)
            size -= len(delivery.body)
        reached[entry.partition] = entry.sequence
        # Between two turns the loop goes on.
        await asyncio.sleep(0)
    return found, page.reached


def since(batch: EventBatch, start: datetime) -> EventBatch:
    """The events of that time or later."""
    if start == BEGINNING:
        return batch
    return with_events(batch, (event for event in batch.events if event.time.ToDatetime(UTC) >= start))
