"""A subscription from its cursor on: what was there before it from rows, then what comes, without a gap between.

A subscription begins with its queue, at the places that the tail has reached then. What the cursor lacks up to those
places is read from rows; what the queue has follows exactly. A queue that overflows meanwhile begins anew, and the rest
is read from rows too. Once it is live, one that overflows is the end: its subscriber reads too slowly.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

import structlog

from services.common.cursors import decode_cursor, encode_cursor
from services.notification.entries import Part
from services.notification.errors import CursorAhead, CursorExpired, SubscriberTooSlow
from services.notification.feeds import ALL_USERS, Feeds, Positions, behind
from services.notification.filters import EventFilter
from services.notification.hub import Hub, Queue
from services.notification.metrics import CUT_OFF, OPEN, TOLD
from services.notification.tail import Tail

QUIET_SECONDS = 10.0
"""So often a subscriber hears something, however quiet it is."""
CURSOR_SECONDS = 1.0
ENDED_SECONDS = 1.0
"""Until a feed is read again that ends before what was told of it."""
MOST_BYTES = 2_000_000
"""Of events told at once, unless one turn alone has more."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Told:
    """A part of what a subscriber is told; without parts it is a sign of life, or says where the subscription is."""

    parts: Sequence[Part]
    positions: Positions
    """Where all is told behind it. It changes as the subscription goes on: read it at once."""
    live: bool


class Cursors:
    """The cursors that a subscriber is given: one with the first part, then one a second at most."""

    def __init__(self) -> None:
        self._due = float("-inf")

    def of(self, told: Told) -> str:
        """The place behind this part and all before it; empty if one was given a moment ago."""
        now = time.monotonic()
        if now < self._due:
            return ""
        self._due = now + CURSOR_SECONDS
        return encode_cursor(told.positions)


@dataclass(slots=True, eq=False)
class Following:
    """What subscriptions need."""

    tail: Tail
    hub: Hub
    feeds: Feeds
    quiet_seconds: float = QUIET_SECONDS
    most_bytes: int = MOST_BYTES
    over_gaps: bool = False
    """What is not kept any more is passed over and logged, and is no error of the cursor."""

    async def subscribe(self, filter: EventFilter, cursor: str, way: str) -> AsyncGenerator[Told, None]:
        """As `follow`, counted: `way` is how a subscriber is told."""
        events = TOLD.labels(way)
        with OPEN.labels(way).track_inprogress():
            async with aclosing(self.follow(filter, cursor)) as following:
                async for told in following:
                    events.inc(sum(map(len, told.parts)))
                    yield told

    async def follow(self, filter: EventFilter, cursor: str) -> AsyncGenerator[Told, None]:
        """What there is from a cursor on, for as long as somebody asks. Raises CursorInvalid, CursorExpired,
        CursorAhead and SubscriberTooSlow."""
        asked = decode_cursor(cursor) if cursor else None
        await self.tail.begun.wait()
        with self.hub.queue(filter) as queue:
            end = dict(self.tail.positions)
            one = _Subscription(self, queue, dict(end) if asked is None else await self._checked(asked))
            yield Told((), one.positions, live=False)
            async for told in one.told(end):
                yield told

    async def _checked(self, positions: Positions) -> Positions:
        if behind(self.tail.positions, positions) and behind(await self.feeds.heads(), positions):
            raise CursorAhead
        return positions


@dataclass(slots=True, eq=False)
class _Subscription:
    following: Following
    queue: Queue
    positions: Positions

    async def told(self, end: Positions) -> AsyncGenerator[Told, None]:
        while True:
            async for told in self._stored(end):
                yield told
            if not self.queue.overflowed:
                break
            self._refuse_ended()
            self.queue.reset()
            end = dict(self.following.tail.positions)
        yield Told((), self.positions, live=True)
        loop, quiet = asyncio.get_running_loop(), self.following.quiet_seconds
        last = loop.time()
        while True:
            if self.queue.overflowed:
                self._refuse_ended()
                CUT_OFF.inc()
                raise SubscriberTooSlow
            parts = self._queued()
            if parts or loop.time() >= last + quiet:
                yield Told(parts, self.positions, live=True)
                last = loop.time()
            else:
                await self._wait(last + quiet)

    def _refuse_ended(self) -> None:
        if self.queue.ended:
            raise CursorAhead

    async def _stored(self, end: Positions) -> AsyncGenerator[Told, None]:
        filter, feeds = self.queue.filter, self.following.feeds
        while missing := behind(self.positions, end):
            page = await feeds.read(self.positions, missing, filter.user_id or ALL_USERS)
            ended = not behind(self.positions, page.reached)
            if page.expired and self.following.over_gaps:
                log.error("events were dropped before they were told", partitions=page.expired)
            elif page.expired:
                # Of what lies behind a hole something is there, and what was in it is not: whoever asks must know.
                raise CursorExpired
            parts = [part for entry in page.entries if filter.wants(entry) and (part := filter.part(entry))]
            *portions, last = _portions(parts, self.following.most_bytes)
            for portion in portions:
                # Entries of a page come in order, one partition behind the other: this much is told, and no more.
                self.positions.update((part.entry.partition, part.entry.sequence) for part in portion)
                yield Told(portion, self.positions, live=False)
            self.positions.update(page.reached)
            # Without parts too: who is far behind, and is told nothing, must not ask from the same place for ever.
            yield Told(last, self.positions, live=False)
            if ended:
                # What the tail has told is there no more: the database went back, which the tail is about to notice.
                self._refuse_ended()
                await asyncio.sleep(ENDED_SECONDS)

    def _queued(self) -> list[Part]:
        """What is in the queue, as much as is told at once."""
        parts: list[Part] = []
        size = 0
        for entry in self.queue.take():
            if entry.sequence <= self.positions.get(entry.partition, 0):
                continue
            self.positions[entry.partition] = entry.sequence
            if (part := self.queue.filter.part(entry)) is not None:
                parts.append(part)
                size += len(entry.data)
            if size > self.following.most_bytes:
                return parts
        self._advance()
        return parts

    def _advance(self) -> None:
        """With the queue empty, all that the tail has told was told, or is not wanted."""
        if not self.queue.overflowed:
            for partition, sequence in self.following.tail.positions.items():
                if self.positions.get(partition, 0) < sequence:
                    self.positions[partition] = sequence

    async def _wait(self, until: float) -> None:
        """Returns when there is something in the queue, or at this time of the loop."""
        self.queue.work.clear()
        if self.queue.entries or self.queue.overflowed:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self.queue.work.wait()


def _portions(parts: Sequence[Part], most_bytes: int) -> list[list[Part]]:
    """What was read, in portions that are told one after the other; the last one may be empty."""
    portions: list[list[Part]] = [[]]
    size = 0
    for part in parts:
        if size >= most_bytes:
            portions.append([])
            size = 0
        portions[-1].append(part)
        size += len(part.entry.data)
    return portions
