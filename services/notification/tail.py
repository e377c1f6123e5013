"""Follows all feeds at their end: each turn once, those of a partition in order, none left out.

message of NATS -> told     if all before it were told; it says which was the one before (Blockyard-Feed)
               -> dropped   if it was told before: a publisher tells what it is not sure of again
               -> rows      if something before it is missing: what is missing is read from the execution service
NATS was away  -> heads     what was committed meanwhile is read
silence        -> heads     now and then: the last message of a partition may have been lost without a next one
heads go back  -> anew      the database was restored, or promoted without its last commits: all subscriptions end

Messages come over a plain subscription, as soon as they are published. Nothing here is kept but one number for each
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
from services.notification.feeds import Feeds, Positions, behind
from services.notification.metrics import FILLED

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
                self.positions.update(await self._feeds.heads())
            except grpc.aio.AioRpcError as error:
                log.warning("the execution service is awaited", reason=error.details())
                await asyncio.sleep(next(self._pauses))
            else:
                self.begun.set()

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
            self.positions[partition] = place.sequence
            self._tell(entry_of(delivery, place))
            return
        self._missing[partition] = max(place.sequence, self._missing.get(partition, 0))
        self._look.set()

    async def _catch_up(self) -> None:
        """Reads what is known to be missing, and what was there at the last look and was not told since."""
        if not self._missing:
            told, last = dict(self.positions), self._heads
            self._heads = await self._feeds.heads()
            self._believe(told)
            self._missing.update(behind(self.positions, last or self._heads))
        while self._missing:
            page = await self._feeds.read(self.positions, dict(self._missing))
            if page.expired:
                log.error("events were dropped before they were told", partitions=page.expired)
            for entry in page.entries:
                FILLED.inc()
                self._tell_once(entry)
            for partition, reached in page.reached.items():
                self.positions[partition] = max(reached, self.positions.get(partition, 0))
            self._missing = behind(self.positions, self._missing)

    def _believe(self, told: Positions) -> None:
        """Begins anew where the feeds end, if that was before what was told when they were asked, twice in a row."""
        back = behind(self._heads, told)
        if back and self._back:
            log.error("feeds have gone back, as of a database that was restored", partitions=sorted(back))
            self.positions.clear()
            self.positions.update(self._heads)
            self._end()
            back = {}
        self._back = bool(back)

    def _tell_once(self, entry: Entry) -> None:
        if entry.sequence > self.positions.get(entry.partition, 0):
            self.positions[entry.partition] = entry.sequence
            self._tell(entry)
