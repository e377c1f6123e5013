"""The audit log as services write it: who did what, on what, from where, and what came of it.

What changes secrets, keys, users or credits is written in the transaction of the change, by the service that makes it.
Everything else that is worth an entry is noted by the server's interceptor, gathered here, and sent to the account
service. Entries carry ids that are drawn here, so that one which is sent twice is kept once.
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import structlog
from blockyard.account.v1.account_pb2 import AuditEntry
from prometheus_client import Counter

from services.common import tasks
from services.common.backoff import delays
from services.common.errors import Unavailable
from services.common.identity import current_caller

MOST_AT_ONCE = 500
GATHER_SECONDS = 0.2
LAST_SECONDS = 5.0
"""How long a stopping service tries to send what it still has."""
LONGEST_TEXT = 200

log = structlog.stdlib.get_logger(__name__)

DROPPED = Counter("blockyard_audit_entries_dropped_total", "Audit entries that found the queue full")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from."""

    address: str = ""
    user_agent: str = ""
    request_id: str = ""


_origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - it is frozen


def current_origin() -> Origin:
    """Where the present call came from; of work that no call asked for, nothing is known."""
    return _origin.get()


def set_origin(origin: Origin) -> None:
    """Note it for the rest of this context: for the server's interceptor."""
    _origin.set(origin)


def entry(action: str, resource: str, details: Mapping[str, str] | None = None, *, outcome: str = "OK") -> AuditEntry:
    """An entry about what the present caller does. Details never hold a secret."""
    caller = current_caller()
    return entry_of(caller.user_id, caller.api_key_id, current_origin(), action, resource, outcome, details)


def entry_of(
    actor: str,
    api_key_id: str,
    origin: Origin,
    action: str,
    resource: str,
    outcome: str,
    details: Mapping[str, str] | None = None,
) -> AuditEntry:
    """An entry about what this actor does, or failed to do, now."""
    made = AuditEntry(
        id=str(uuid.uuid4()),
        actor=actor,
        api_key_id=api_key_id,
        action=action,
        resource=cleaned(resource),
        outcome=outcome,
        address=origin.address,
        user_agent=origin.user_agent,
        request_id=origin.request_id,
        details={name: cleaned(value) for name, value in (details or {}).items()},
    )
    made.time.FromNanoseconds(time.time_ns() // 1000 * 1000)  # as exactly as PostgreSQL keeps it
    return made


def cleaned(text: str) -> str:
    """Bounded, and without what would make a log or a table unreadable."""
    return "".join(character if character.isprintable() else " " for character in text[:LONGEST_TEXT])


class Recorder(Protocol):
    """Keeps entries: the account service by its database, the others by a call to it."""

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Keep these; those that are kept already stay as they are. Raises Unavailable."""


class AuditLog:
    """Gathers the entries of this process and hands them on, in order, as often as it takes."""

    def __init__(self, recorder: Recorder, most: int) -> None:
        self._recorder = recorder
        self._most = most
        self._queue: deque[AuditEntry] = deque()
        self._work = asyncio.Event()
        self._overflowing = False

    def record(self, noted: AuditEntry) -> None:
        """Take an entry. Where the queue is full it is counted, logged and dropped: calls never wait for the log."""
        if len(self._queue) >= self._most:
            DROPPED.inc()
            if not self._overflowing:
                log.error("audit entries are dropped: the account service does not take them", waiting=self._most)
            self._overflowing = True
            return
        self._queue.append(noted)
        self._work.set()

    async def run(self) -> None:
        """Hand on for ever."""
        while True:
            await self._work.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._work.clear()
            await self._send_all()

    async def flush(self) -> None:
        """Hand on what is left."""
        await self._send_all()

    async def _send_all(self) -> None:
        pauses = delays(first=0.2, longest=5.0)
        while self._queue:
            batch = [self._queue[number] for number in range(min(MOST_AT_ONCE, len(self._queue)))]
            try:
                await self._recorder.record(batch)
            except Unavailable as error:
                log.warning("audit entries wait for the account service", waiting=len(self._queue), reason=str(error))
                await asyncio.sleep(next(pauses))
                continue
            for _ in batch:
                self._queue.popleft()
            self._overflowing = False


@asynccontextmanager
async def gathering(recorder: Recorder, most: int) -> AsyncIterator[AuditLog]:
    """An audit log that hands on while the context is open, and what is left at its end, if that is not long."""
    gathered = AuditLog(recorder, most)
    task = asyncio.create_task(gathered.run(), name="audit log")
    try:
        yield gathered
    finally:
        await tasks.end((task,))
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await gathered.flush()
        except TimeoutError:
            log.error("audit entries are lost at the end of the service: they could not be handed on")
