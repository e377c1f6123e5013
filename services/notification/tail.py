"""Follows all feeds at their end: each turn once, those of a partition in order, none left out.

message of NATS -> told     if all before it were told; it says which was the one before (Blockyard-Feed)
               -> dropped   if it was told before: a publisher tells what it is not sure of again
               -> rows      if something before it is missing: what is missing is read from the execution service
NATS was away  -> heads     what was committed meanwhile is read
silence        -> heads     now and then: the last message of a partition may have been lost without a next one
heads go back  -> anew      the database was restored, or promoted without its last commits: all subscriptions end
other history  -> compared  with rows: if they are not what was told, the database went back, however long feeds are

Messages come over a plain subscription, as soon as they are published. Nothing here is kept but a few numbers for each
partition, so a replica that starts anew begins at the end of that moment.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog
from blockyard.feeds import PLACE_HEADER, FeedPlace

from services.common.backoff import delays
from services.common.bus import Bus, Delivery
from services.notification.entries import Entry, entry_of
from services.notification.feeds import Feeds, Heads, Positions, behind
from services.notification.metrics import FILLED
from services.notification.trails import Span, Trail, differing, trails_at

SUBJECT = "blockyard.event.*.*.*"
LOOK_SECONDS = 3.0

log = structlog.stdlib.get_logger(__name__)


class Tail:
    """One for each process. `tell` is called with every turn, from the loop."""

    def __init__(self, bus: Bus, feeds: Feeds, tell: Callable[[Entry], None], end: Callable[[], None]) -> None:
        """`end` is called when what was told is not there any more, and numbers are given again."""
        self.positions: Positions = {}
        """All up to here was told."""
        self.begun = asyncio.Event()
        """Set once positions are known."""
        self._bus = bus
        self._feeds = feeds
        self._tell = tell
        self._end = end
        self._missing: Positions = {}
        """Up to where a partition is to be read from rows; until then its messages are not looked at."""
        self._look = asyncio.Event()
        self._heads: Positions = {}
        """At the last look."""
        self._back = False
        """At the last look less was committed than had been told before."""
        self.history = ""
        """Of the database, at the last look."""
        self._changed = False
        """It was another one at the look before."""
        self._trails: dict[int, Trail] = {}
        self._pauses = delays()

    async def run(self) -> None:
        """Tells until it is cancelled."""
        subscription = await self._bus.subscribe(SUBJECT, self._on_message)
        forget = self._bus.on_reconnect(self._on_reconnect)
        try:
            await self._begin()
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._look.wait()
                self._look.clear()
                try:
                    await self._catch_up()
                except grpc.aio.AioRpcError as error:
                    log.warning("feeds cannot be read", reason=error.details())
                    self._look.set()
                    await asyncio.sleep(next(self._pauses))
                else:
                    self._pauses = delays()
        finally:
            forget()
            subscription.unsubscribe()

    async def _begin(self) -> None:
        """What is committed now was told before, by whoever. Messages come already, so nothing falls in between."""
        while not self.begun.is_set():
            try:
                await self._begin_at_the_end()
            except grpc.aio.AioRpcError as error:
                log.warning("the execution service is awaited", reason=error.details())
                await asyncio.sleep(next(self._pauses))
            else:
                self.begun.set()

    async def _begin_at_the_end(self) -> None:
        """Takes what is committed now for told."""
        while True:
            heads = await self._feeds.look()
            trails = await trails_at(self._feeds, heads.positions)
            if (await self._feeds.look()).history == heads.history:
                break
        self.positions.clear()
        self.positions.update(heads.positions)
        self._trails, self.history = trails, heads.history

    async def is_healthy(self) -> bool:
        """Ready once it is known where the feeds end: subscriptions begin there."""
        return self.begun.is_set()

    def _on_reconnect(self) -> None:
        # All that was committed before this moment is looked for, messages may have been lost.
        self._heads = {}
        self._look.set()

    def _on_message(self, delivery: Delivery) -> None:
        place = FeedPlace.parse(delivery.header(PLACE_HEADER))
        if place is None or not self.begun.is_set():
            return
        partition, at = place.partition, self.positions.get(place.partition, 0)
        if place.sequence <= at:
            return
        if partition not in self._missing and place.before <= at:
            self._tell_next(entry_of(delivery, place))
            return
        self._missing[partition] = max(place.sequence, self._missing.get(partition, 0))
        self._look.set()

    async def _catch_up(self) -> None:
        """Reads what is known to be missing, and what was there at the last look and was not told since."""
        if not self._missing:
            told, last = dict(self.positions), self._heads
            for trail in self._trails.values():
                trail.split()
            spans = {partition: trail.whole for partition, trail in self._trails.items()}
            heads = await self._feeds.look()
            if await self._has_gone_back(heads, told, spans):
                await self._begin_anew()
                return
            self._heads = heads.positions
            self._missing.update(behind(self.positions, last or self._heads))
        while self._missing:
            page = await self._feeds.read(self.positions, dict(self._missing))
            if not behind(self.positions, page.reached):
                # A turn that a message told of, and no row has: the next look says why.
                self._missing.clear()
                return
            if page.expired:
                log.error("events were dropped before they were told", partitions=page.expired)
            for entry in page.entries:
                FILLED.inc()
                self._tell_once(entry)
            for partition, reached in page.reached.items():
                self.positions[partition] = max(reached, self.positions.get(partition, 0))
            self._missing = behind(self.positions, self._missing)

    async def _has_gone_back(self, heads: Heads, told: Positions, spans: dict[int, Span]) -> bool:
        """Whether rows are not what was told before these heads were asked for.

        Another history alone says nothing: a server that was started again, or a standby that was promoted with all
        commits, has what was told. It is compared a second time, since a message of before may have been on its way.
        In the same history feeds that are too short are believed when they are so twice in a row.
        """
        back, changed = behind(heads.positions, told), heads.history != self.history
        if changed or self._changed:
            gone = await differing(self._feeds, spans, told)
        else:
            gone = sorted(back) if self._back else []
        if gone:
            log.error("feeds have gone back, as of a database that was restored", partitions=gone)
            return True
        if not changed and not back:
            for trail in self._trails.values():
                trail.shorten()
        self._back, self._changed, self.history = bool(back), changed, heads.history
        return False

    async def _begin_anew(self) -> None:
        """With the rows as they are now; who is told must begin anew too."""
        await self._begin_at_the_end()
        self._missing.clear()
        self._heads = {}
        self._back = self._changed = False
        self._end()

    def _tell_once(self, entry: Entry) -> None:
        if entry.sequence > self.positions.get(entry.partition, 0):
            self._tell_next(entry)

    def _tell_next(self, entry: Entry) -> None:
        partition = entry.partition
        if partition not in self._trails:
            self._trails[partition] = Trail(Span(self.positions.get(partition, 0)))
        self._trails[partition].add(entry.sequence, entry.data)
        self.positions[partition] = entry.sequence
        self._tell(entry)
