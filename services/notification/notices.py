"""Takes in the notices of all services, each exactly once, for what is sent out by itself.

A notice is acked once the transaction that takes it in is committed; one that comes again after that is known by its
id. Any replica takes what it is given: the consumer is shared.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from blockyard.event.v1.notice_pb2 import Notice
from google.protobuf.message import DecodeError

from services.common.backoff import delays
from services.common.bus import NOTICES, NOTICES_CONFIGURATION, Bus, BusError, Delivery, PullConsumer
from services.common.database import PASSING
from services.notification.repository.followers import Connection
from services.notification.repository.notices_taken import TakenNoticeRepository

CONSUMER = "notification"
SUBJECT = "blockyard.notice.>"
AT_ONCE = 100
WAIT_SECONDS = 20.0
KEPT = timedelta(days=8)
"""The stream has notices for seven days: nothing older comes again."""
FORGET_SECONDS = 3_600.0

Take = Callable[[Connection, Sequence[Notice]], Awaitable[bool]]
"""Inserts what is owed for these notices, and says whether that was anything."""

log = structlog.stdlib.get_logger(__name__)


class NoticeIntake:
    """Takes in notices for as long as `run` runs. `taken` is called when something is owed."""

    def __init__(self, bus: Bus, rows: TakenNoticeRepository, takes: Sequence[Take], taken: Callable[[], None]) -> None:
        self._bus = bus
        self._rows = rows
        self._takes = takes
        self._taken = taken
        self._forget_at = 0.0

    async def run(self) -> None:
        """Takes in until it is cancelled."""
        await self._make_stream()
        consumer = PullConsumer(self._bus, NOTICES, CONSUMER, SUBJECT)
        pauses = delays()
        try:
            while True:
                deliveries = await consumer.fetch(AT_ONCE, WAIT_SECONDS)
                try:
                    await self._take_all(deliveries)
                    await self._forget()
                except PASSING as error:
                    log.warning("notices wait to be taken in", reason=str(error) or type(error).__name__)
                    consumer.hand_back(deliveries)
                    await asyncio.sleep(next(pauses))
                else:
                    consumer.ack_all(deliveries)
                    pauses = delays()
        finally:
            await consumer.close()

    async def _make_stream(self) -> None:
        """Whoever publishes a notice makes the stream as well: which of the two comes first does not matter."""
        pauses = delays()
        while True:
            try:
                await self._bus.jetstream.ensure_stream(NOTICES_CONFIGURATION)
            except BusError as error:
                log.warning("notices cannot be read yet", reason=str(error))
                await asyncio.sleep(next(pauses))
            else:
                return

    async def _take_all(self, deliveries: Sequence[Delivery]) -> None:
        notices = {UUID(notice.id): notice for one in deliveries if (notice := _read(one)) is not None}
        if notices:
            await self._take(notices)

    async def _take(self, notices: Mapping[UUID, Notice]) -> None:
        async with self._rows.taking(sorted(notices), datetime.now(UTC)) as (connection, new):
            owed = False
            for notice in (notice for key, notice in notices.items() if key in new):
                try:
                    async with connection.transaction():
                        owed |= any([await take(connection, (notice,)) for take in self._takes])
                except PASSING:
                    raise
                except Exception:  # an edge: what one notice has must not keep all others waiting
                    log.exception("a notice cannot be taken in and is left out", notice_id=notice.id)
        if owed:
            self._taken()

    async def _forget(self) -> None:
        if time.monotonic() > self._forget_at:
            self._forget_at = time.monotonic() + FORGET_SECONDS
            await self._rows.forget(datetime.now(UTC) - KEPT)


def _read(delivery: Delivery) -> Notice | None:
    """The notice in a message; None of what is none, which is left out."""
    try:
        notice = Notice.FromString(delivery.data)
        UUID(notice.id)
    except (DecodeError, ValueError):
        log.error("a message is no notice and is left out", subject=delivery.subject)
        return None
    return notice
