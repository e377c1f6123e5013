"""Publishes the events of committed turns to the stream EVENTS, each partition's in the order of its feed.

Rows have them all: what cannot be held in memory is dropped and read again from there, as is everything above
`published_through` after a take-over or a loss of the stream. A message may so be published twice, never left out.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from blockyard.event.v1.event_pb2 import EventBatch, EventKind
from blockyard.feeds import NO_GRAPH, PLACE_HEADER, FeedPlace, user_word

from services.common.bus import Ack, Bus, Message, PublishRefused, Refusal
from services.common.database import TROUBLE
from services.execution.records import FeedEntry
from services.execution.repository.turns import TurnRepository
from services.execution.telling import time_text

log = structlog.get_logger()

AT_ONCE = 512
"""Messages published in one go."""

GATHER = 0.005
"""Seconds between two waves of messages, unless one tells the end of an execution: each costs two wake-ups."""

PAUSE = 0.5
"""Seconds before publishing is tried again."""


@dataclass(slots=True, eq=False)
class Feed:
    """A partition's: what was committed, what is published."""

    committed: int
    published: int
    behind: bool
    """True while messages above `published` are to be read from rows."""
    offered: int = 0
    """Newest that was known to be committed when it was left to the rows."""
    told: int = 0
    """Newest that has a message, or may have one: what a reader must have before the next."""


@dataclass(frozen=True, slots=True)
class Told:
    """A committed turn's message."""

    partition: int
    feed_sequence: int
    message: Message
    ends: bool
    """Whether it tells the end of its execution."""


def subject(user_id: str, graph_id: str, execution_id: str) -> str:
    """Where an execution's events go. Ids of users may hold dots, which would part the subject."""
    return f"blockyard.event.{user_word(user_id)}.{graph_id or NO_GRAPH}.{execution_id}"


def event_message(batch: EventBatch, entry: FeedEntry, kinds: str, place: FeedPlace) -> Message:
    """The message of a turn: CloudEvents 1.0 attributes in headers (binary mode)."""
    time = time_text(batch.events[0].time.ToMilliseconds())
    return message_of(
        batch.user_id,
        batch.graph_id,
        batch.execution_id,
        entry.events,
        entry.first_event,
        entry.last_event,
        kinds,
        time,
        place,
    )


def message_of(
    user_id: str,
    graph_id: str,
    execution_id: str,
    payload: bytes,
    first: int,
    last: int,
    kinds: str,
    time: str,
    place: FeedPlace,
) -> Message:
    """As event_message, from what is at hand at the commit."""
    identity = f"{execution_id}:{first}-{last}"
    return Message(
        subject=subject(user_id, graph_id, execution_id),
        payload=payload,
        message_id=identity,
        headers={
            PLACE_HEADER: str(place),
            "Blockyard-Kinds": kinds,
            "ce-specversion": "1.0",
            "ce-id": identity,
            "ce-source": f"/graphs/{graph_id}/executions/{execution_id}" if graph_id else f"/executions/{execution_id}",
            "ce-type": "blockyard.event.v1.EventBatch",
            "ce-time": time,
            "content-type": "application/protobuf",
        },
    )


class Publisher:
    """One message after the other for each partition, several partitions at once, with pipelined acknowledgements."""

    def __init__(self, bus: Bus, turns: TurnRepository, most_bytes: int, stream_missing: Callable[[], None]) -> None:
        self._bus = bus
        self._turns = turns
        self._most_bytes = most_bytes
        self._stream_missing = stream_missing
        self._feeds: dict[int, Feed] = {}
        self._queue: deque[Told] = deque()
        self._bytes = 0
        self._work = asyncio.Event()
        self._went_on = asyncio.Event()
        self._trouble = ""
        self._last_wave = 0.0
        """When messages were published last, in seconds of the loop."""

    def open(self, partition: int, committed: int, published: int) -> None:
        """A partition was taken; what its last owner has not published is read from rows."""
        self._feeds[partition] = Feed(committed, published, behind=published < committed, told=committed)
        self._work.set()

    def close(self, partition: int) -> None:
        """The partition was given up."""
        self._feeds.pop(partition, None)

    def rewind(self) -> None:
        """The stream was lost: what was not acknowledged is published again, from rows."""
        for feed in self._feeds.values():
            feed.behind = True
            feed.offered = feed.committed
        self._queue.clear()
        self._bytes = 0
        self._work.set()

    def next_sequence(self, partition: int) -> int:
        """Draws the feed sequence of the partition's next turn."""
        feed = self._feeds[partition]
        feed.committed += 1
        return feed.committed

    def committed(self, partition: int) -> int:
        """The feed sequence that was drawn last; 0 if the partition is not held."""
        return self._feeds[partition].committed if partition in self._feeds else 0

    def take_back(self, partition: int) -> None:
        """The sequence that was drawn last was not used, for certain."""
        self._feeds[partition].committed -= 1

    def restore(self, partition: int, committed: int) -> None:
        """After a commit that was not confirmed: the rows say how far the feed got."""
        if partition in self._feeds:
            feed = self._feeds[partition]
            feed.committed = feed.told = committed
            feed.offered = min(feed.offered, committed)
            feed.behind = True
            self._work.set()

    def place(self, partition: int, feed_sequence: int) -> FeedPlace:
        """The place of a committed turn that has events, for its message. Asked once for each, in their order."""
        feed = self._feeds.get(partition)
        if feed is None:
            return FeedPlace(partition, feed_sequence - 1, feed_sequence)
        before, feed.told = feed.told, feed_sequence
        return FeedPlace(partition, before, feed_sequence)

    def offer(self, told: Told) -> None:
        """Takes a committed turn's message; past the bound it is left to the rows."""
        feed = self._feeds.get(told.partition)
        if feed is None:
            return
        if feed.behind or self._bytes > self._most_bytes:
            feed.behind = True
            feed.offered = told.feed_sequence
            self._work.set()
            return
        self._queue.append(told)
        self._bytes += len(told.message.payload)
        if told.ends:
            self._work.set()
        elif len(self._queue) == 1:
            loop = asyncio.get_running_loop()
            # At once after a pause: a lone message need not wait for company.
            loop.call_at(max(loop.time(), self._last_wave + GATHER), self._work.set)

    def published(self) -> dict[int, int]:
        """Feed sequence by partition up to which everything is in the stream."""
        return {partition: feed.published for partition, feed in self._feeds.items()}

    async def drained(self) -> None:
        """Returns when all that was committed is published."""
        while self._queue or any(feed.behind for feed in self._feeds.values()):
            await self._went_on.wait()

    async def run(self) -> None:
        """Publishes until it is cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                await self._publish_queued()
            for partition, feed in list(self._feeds.items()):
                if feed.behind:
                    await self._catch_up(partition, feed)
            self._went_on.set()
            self._went_on.clear()

    async def _publish_queued(self) -> None:
        self._last_wave = asyncio.get_running_loop().time()
        batch = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
        self._bytes -= sum(len(told.message.payload) for told in batch)
        answers = await self._bus.publish_all([told.message for told in batch])
        for told, answer in zip(batch, answers, strict=True):
            feed = self._feeds.get(told.partition)
            if feed is None:
                continue
            if isinstance(answer, Ack) and not feed.behind:
                feed.published = told.feed_sequence
            else:
                feed.behind = True
        reason = next((answer.reason for answer in answers if isinstance(answer, PublishRefused)), "")
        if reason:
            log.warning("events were refused by the stream, they will be published again from rows", reason=reason)
            self._look_for_stream(answers)
            await asyncio.sleep(PAUSE)

    async def _catch_up(self, partition: int, feed: Feed) -> None:
        """Publishes from rows until the partition's memory and rows meet."""
        try:
            while self._feeds.get(partition) is feed:
                entries = await self._turns.feed(partition, feed.published, feed.committed, AT_ONCE)
                if not entries and feed.published >= feed.offered:
                    # What is missing yet is in a transaction that has not ended, and will be offered.
                    feed.behind = False
                    return
                if not entries:
                    # Known to be committed, and not to be seen yet.
                    await asyncio.sleep(PAUSE)
                    continue
                messages = _messages(partition, feed.published, entries)
                answers = await self._bus.publish_all(messages)
                refused = [
                    answer
                    for answer in answers
                    if isinstance(answer, PublishRefused) and answer.refusal is not Refusal.TOO_LARGE
                ]
                if refused:
                    if self._trouble != refused[0].reason:
                        # Once for each reason: it is tried every PAUSE, for each partition.
                        self._trouble = refused[0].reason
                        log.warning("events are refused by the stream, trying on", reason=self._trouble)
                    self._look_for_stream(answers)
                    await asyncio.sleep(PAUSE)
                    self._work.set()
                    return
                if not all(isinstance(answer, Ack) for answer in answers):
                    log.error("events that NATS finds too large are left out: ListEvents has them", partition=partition)
                self._trouble = ""
                feed.published = entries[-1].feed_sequence
        except TROUBLE as error:
            log.warning("events cannot be read for publishing", error=str(error))
            await asyncio.sleep(PAUSE)
            self._work.set()

    def _look_for_stream(self, answers: Iterable[Ack | PublishRefused]) -> None:
        if any(isinstance(answer, PublishRefused) and answer.refusal is Refusal.NO_STREAM for answer in answers):
            self._stream_missing()


def _messages(partition: int, before: int, entries: Sequence[FeedEntry]) -> list[Message]:
    """The messages of turns that follow each other in a feed, behind `before`."""
    messages: list[Message] = []
    for entry in entries:
        if entry.events:
            batch = EventBatch.FromString(entry.events)
            kinds = ",".join(sorted({EventKind.Name(event.kind).removeprefix("EVENT_KIND_") for event in batch.events}))
            messages.append(event_message(batch, entry, kinds, FeedPlace(partition, before, entry.feed_sequence)))
            before = entry.feed_sequence
    return messages
