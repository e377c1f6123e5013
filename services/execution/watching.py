"""Who watches executions on this replica, and how committed events come to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from uuid import UUID

from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind

from services.common.bus import Bus
from services.execution.feed import subject
from services.execution.recent import RecentEvents
from services.execution.records import Watched
from services.execution.repository.executions import ExecutionRepository

TERMINAL = frozenset(
    {
        EventKind.EVENT_KIND_EXECUTION_COMPLETED,
        EventKind.EVENT_KIND_EXECUTION_FAILED,
        EventKind.EVENT_KIND_EXECUTION_CANCELLED,
    }
)

HELD = 1_000
"""Messages held for a slow watcher; past that it reads from rows."""

LOOK_SECONDS = 2.0
"""A watcher that hears nothing for so long looks at the rows: a message may have been lost on its way."""


class Watchers:
    """Brings the messages of committed turns to those who watch."""

    def __init__(self) -> None:
        self._queues: dict[bytes, set[asyncio.Queue[bytes]]] = {}
        self.recent = RecentEvents()

    def tell(self, key: bytes, events: bytes) -> None:
        """Passes on the EventBatch bytes of an execution's committed turn."""
        for queue in self._queues.get(key, ()):
            if not queue.full():
                queue.put_nowait(events)

    @contextlib.contextmanager
    def watching(self, key: bytes) -> Iterator["asyncio.Queue[bytes]"]:
        """A queue of the execution's messages from now on."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(HELD)
        self._queues.setdefault(key, set()).add(queue)
        try:
            yield queue
        finally:
            queues = self._queues[key]
            queues.discard(queue)
            if not queues:
                del self._queues[key]


async def watch(
    watched: Watched,
    after: int,
    watchers: Watchers,
    bus: Bus,
    executions: ExecutionRepository,
    local: Callable[[int], bool],
) -> AsyncIterator[list[Event]]:
    """An execution's events above `after`, in order and without gaps, until its last.

    `local` says whether a partition is held here. Messages are hints that come soon; whatever does not follow the last
    one seen is read from rows.
    """
    execution_id = watched.execution_id
    with watchers.watching(execution_id.bytes) as queue:
        # Who drives the execution here tells directly; what another replica does comes over NATS.
        here = local(watched.partition)
        recent = watchers.recent.of(execution_id.bytes) if here else None
        subscription = (
            None
            if here
            else await bus.subscribe(
                subject(watched.user_id, watched.graph_id, str(execution_id)),
                lambda message: watchers.tell(execution_id.bytes, message.data),
            )
        )
        try:
            last = after
            if recent is not None and after <= recent.last:
                events = _events(recent.batches)
                last = recent.last
                if after < last:
                    yield events[after:]
                if events and events[-1].kind in TERMINAL:
                    return
            else:
                async for events in _stored(executions, execution_id, last):
                    yield events
                    last = events[-1].sequence
                    if events[-1].kind in TERMINAL:
                        return
                if after and await executions.has_ended_by(execution_id, last):
                    return
            while True:
                told = await _next(queue)
                events = [event for event in told if event.sequence > last]
                if told and not events:
                    if told[-1].kind in TERMINAL:
                        return
                    continue
                if events and events[0].sequence == last + 1:
                    yield events
                    last = events[-1].sequence
                    if events[-1].kind in TERMINAL:
                        return
                    continue
                async for found in _stored(executions, execution_id, last):
                    yield found
                    last = found[-1].sequence
                    if found[-1].kind in TERMINAL:
                        return
                if await executions.has_ended_by(execution_id, last):
                    return
        finally:
            if subscription is not None:
                subscription.unsubscribe()


def _events(batches: Sequence[bytes]) -> list[Event]:
    return [event for batch in batches for event in EventBatch.FromString(batch).events]


async def _next(queue: "asyncio.Queue[bytes]") -> list[Event]:
    """The next message's events; none if nothing came for a while."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return list(EventBatch.FromString(await queue.get()).events)
    except TimeoutError:
        return []


async def _stored(executions: ExecutionRepository, execution_id: UUID, after: int) -> AsyncIterator[list[Event]]:
    async for last, data in executions.event_batches(execution_id, after):
        events = [event for event in EventBatch.FromString(data).events if event.sequence > after]
        if events:
            yield events
        after = last
