"""Tells users what is no execution's event: a service's notices go from its rows to the stream NOTICES.

A row is written in the transaction of what it tells, and goes once the stream has it. So a notice may be published
twice, with the same id, and is never left out, however long NATS is away.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from uuid import UUID

import structlog
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind
from blockyard.feeds import user_word

from services.common.backoff import delays
from services.common.bus import NOTICES_CONFIGURATION, Ack, Bus, BusError, Message, PublishRefused, Refusal
from services.common.database import AWAY
from services.common.notice_rows import NoticeRepository, PendingNotice

AT_ONCE = 100
"""Notices published in one go."""
LOOK_SECONDS = 30.0
"""How often rows are looked at without having been told of any: another replica may have ended before it published."""

FAILURES: tuple[type[Exception], ...] = (BusError, *AWAY)

log = structlog.stdlib.get_logger(__name__)


def new_notice(
    notice_id: UUID, user_id: str, kind: NoticeKind.ValueType, time: datetime, details: Mapping[str, str]
) -> PendingNotice:
    """A notice to be kept in a row, in the transaction of what it tells."""
    notice = Notice(id=str(notice_id), user_id=user_id, kind=kind, details=details)
    notice.time.FromDatetime(time)
    return PendingNotice(notice_id, user_id, notice.SerializeToString())


def subject(user_id: str) -> str:
    """Where a user's notices go. Ids of users may hold dots, which would part the subject."""
    return f"blockyard.notice.{user_word(user_id)}"


class NoticePublisher:
    """Publishes a service's notices for as long as `run` runs; any number of replicas may."""

    def __init__(self, rows: NoticeRepository, connect: Callable[[], AbstractAsyncContextManager[Bus]]) -> None:
        self._rows = rows
        self._connect = connect
        self._work = asyncio.Event()

    def wake(self) -> None:
        """There are notices to publish."""
        self._work.set()

    async def run(self) -> None:
        """Publishes until it is cancelled. The service serves without NATS: only this waits for it."""
        async with self._connect() as bus:
            bus.on_reconnect(self.wake)
            pauses = delays()
            while True:
                self._work.clear()
                try:
                    await self._publish(bus)
                except FAILURES as error:
                    log.warning("notices wait to be published", reason=str(error) or type(error).__name__)
                    await self._rest(next(pauses))
                else:
                    pauses = delays()
                    await self._rest(LOOK_SECONDS)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._work.wait()
        except TimeoutError:
            return

    async def _publish(self, bus: Bus) -> None:
        while notices := await self._rows.oldest(AT_ONCE):
            messages = [Message(subject(one.user_id), one.data, str(one.notice_id)) for one in notices]
            answers = await bus.publish_all(messages)
            taken = [one.notice_id for one, answer in zip(notices, answers, strict=True) if isinstance(answer, Ack)]
            await self._rows.delete(taken)
            refused = [answer for answer in answers if isinstance(answer, PublishRefused)]
            if any(answer.refusal is Refusal.NO_STREAM for answer in refused):
                await bus.jetstream.ensure_stream(NOTICES_CONFIGURATION)
            elif refused:
                raise BusError(refused[0].reason)
