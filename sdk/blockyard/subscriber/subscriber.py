"""Brings together what tells of events: messages of NATS, claims of the notification service, and rows.

message     -> what is new in it is handled; before it, from rows, what is missing
claim       -> messages have a moment to fulfil it; what is missing then is handled from rows
handled     -> acknowledged, and in the checkpoint within a second

Whatever is lost with NATS, or by acknowledging what no checkpoint has, is found by claims at the next start: they begin
at the checkpoint's cursor. What was handled after the last checkpoint is handled once more after a crash.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from blockyard.errors import HistoryGap
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.event.v1.event_pb2 import EventKind as KindOfProto
from blockyard.events import Event
from blockyard.feeds import PLACE_HEADER, FeedPlace, user_word
from blockyard.notification.v1.notification_service_pb2 import EventFilter, SubscribeResponse
from blockyard.subscriber.checkpoints import Checkpoint, CheckpointInvalid, Checkpoints
from blockyard.subscriber.ledger import Claim, Ledger
from blockyard.subscriber.pulling import Pull, Source
from blockyard.values import BLOB_KEY

if TYPE_CHECKING:
    from blockyard.client import Client  # there for type checkers alone: it knows of this package's siblings

Handler = Callable[[Event], Awaitable[None]]

OWN_STREAM = "SUBSCRIBED"
SHARED_STREAM = "EVENTS"
STREAM_BYTES = 512 << 20
WITNESSED = (
    KindOfProto.EVENT_KIND_EXECUTION_STARTED,
    KindOfProto.EVENT_KIND_EXECUTION_WAITING,
    KindOfProto.EVENT_KIND_EXECUTION_COMPLETED,
    KindOfProto.EVENT_KIND_EXECUTION_FAILED,
    KindOfProto.EVENT_KIND_EXECUTION_CANCELLED,
)
GRACE_SECONDS = 2.0
"""What messages have to fulfil a claim."""
SAVE_SECONDS = 1.0
MOST_CLAIMS = 10_000
"""Open at once; the notification service is not listened to meanwhile."""
QUEUE = 4
"""Parts of messages and of claims that wait to be looked at."""
_MARK = BLOB_KEY.encode()

log = logging.getLogger(__name__)


class Subscriber:
    """One of one checkpoint; two at the same time would each handle everything, or miss each other's."""

    def __init__(
        self,
        client: "Client",
        nats_url: str,
        user: str,
        checkpoints: Checkpoints,
        *,
        name: str = "subscriber",
        graphs: Collection[str] = (),
        shared: bool = False,
        stream_bytes: int = STREAM_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Plans one for what executions of `user` do, all or those of some graphs. `client` is entered already.

        `nats_url` leads to an account of a subscriber, where the stream SUBSCRIBED is made, at most `stream_bytes`
        large; with `shared` to that of the services, where EVENTS is used as it is. `name` is that of the durable
        consumer: another checkpoint needs another one.
        """
        word = user if user == "*" else user_word(user)
        subject = f"blockyard.event.{word}.*.*"
        own = () if shared else (subject, f"blockyard.notice.{word}")
        stream = SHARED_STREAM if shared else OWN_STREAM
        self._source = Source(nats_url, stream, name, subject, own, stream_bytes, tls)
        self._client = client
        self._user = user
        self._graphs = frozenset(graphs)
        self._checkpoints = checkpoints
        self._saved = 0.0

    async def run(self, handle: Handler) -> None:
        """Calls `handle` with each event, one after the other, until it is cancelled or something is raised.

        What `handle` raises ends it; the event comes again at the next start. Raises HistoryGap for events that are
        missing and no longer kept, OutOfRange for a checkpoint that is too old, or was kept before the database was
        restored, CheckpointInvalid, and what calls raise. Without a checkpoint it begins with what happens from now on;
        an execution that runs already is told from its first event.
        """
        self._handle = handle
        checkpoint = await self._load()
        self._ledger = Ledger(checkpoint.cursor, dict(checkpoint.seen))
        self._pull = Pull(self._source, checkpoint.time)
        self._queue: asyncio.Queue[list[Msg] | SubscribeResponse] = asyncio.Queue(QUEUE)
        self._room = asyncio.Event()
        self._begun = asyncio.Event()
        self._kept = (checkpoint.cursor, 0)
        self._count = 0
        self._said = False
        try:
            async with asyncio.TaskGroup() as group:
                producers = [group.create_task(self._listen()), group.create_task(self._witness())]
                try:
                    await self._work()
                finally:
                    for producer in producers:
                        producer.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._save()

    async def _load(self) -> Checkpoint:
        text = await self._checkpoints.load()
        if text is None:
            return Checkpoint(self._user, "")
        checkpoint = Checkpoint.from_json(text)
        if checkpoint.user != self._user:
            raise CheckpointInvalid(
                f"this checkpoint is of the events of {checkpoint.user}, and this subscriber is for {self._user}"
            )
        return checkpoint

    async def _save(self) -> None:
        """Keeps how far it is, once there is a cursor: without one nothing was promised yet."""
        ledger, now = self._ledger, datetime.now(UTC)
        state = (ledger.cursor, self._count)
        if ledger.cursor and state != self._kept:
            await self._checkpoints.save(Checkpoint(self._user, ledger.cursor, ledger.seen, now).to_json())
            self._kept = state
            self._pull.since = now
        self._saved = asyncio.get_running_loop().time()

    # -- what comes in

    async def _listen(self) -> None:
        # What came before the first cursor is nobody's: the cursor says from where on there is something to tell.
        await self._begun.wait()
        async with aclosing(self._pull.messages()) as source:
            async for messages in source:
                await self._queue.put(messages)

    async def _witness(self) -> None:
        filter = EventFilter(user_id=self._user, graph_ids=self._graphs, kinds=WITNESSED)
        async with aclosing(self._client.subscription(filter, self._ledger.cursor).answers()) as answers:
            async for answer in answers:
                await self._queue.put(answer)
                while len(self._ledger) > MOST_CLAIMS:
                    self._room.clear()
                    await self._room.wait()

    # -- what is made of it

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            claim = self._ledger.first_open()
            self._room.set()
            if self._ledger.cursor:
                self._begun.set()
            if loop.time() >= self._saved + SAVE_SECONDS:
                await self._save()
            if claim is not None and self._ledger.is_due(claim, loop.time(), self._is_idle()):
                await self._fulfil(claim)
                continue
            try:
                async with asyncio.timeout(SAVE_SECONDS if claim is None else GRACE_SECONDS / 4):
                    came = await self._queue.get()
            except TimeoutError:
                continue
            if isinstance(came, SubscribeResponse):
                self._ledger.claim(came.batches, came.cursor, loop.time() + GRACE_SECONDS)
            else:
                for message in came:
                    await self._take(message)
                await self._pull.ack(came)

    def _is_idle(self) -> bool:
        """Whether nothing waits here, nor in the stream as far as messages come from there."""
        coming = asyncio.get_running_loop().time() < self._pull.last_came + GRACE_SECONDS
        return self._queue.empty() and not (self._pull.pending > 0 and coming)

    async def _take(self, message: Msg) -> None:
        try:
            batch = EventBatch.FromString(message.data)
        except DecodeError:
            log.error("a message on %s holds no events", message.subject)
            return
        place = FeedPlace.parse((message.headers or {}).get(PLACE_HEADER, ""))
        seen = self._ledger.handled_of(batch.execution_id, place)
        if batch.events:
            self._ledger.brought(batch)
        if seen is None or not batch.events or (self._graphs and batch.graph_id not in self._graphs):
            return
        if batch.events[0].sequence > seen + 1:
            async for event in self._rows(batch.execution_id, seen, batch.events[0].sequence - 1):
                await self._handled(replace(event, graph_id=batch.graph_id, user_id=batch.user_id))
        for proto in batch.events:
            if proto.sequence > seen:
                event = Event.from_proto(batch.execution_id, proto, batch.graph_id, batch.user_id)
                await self._handled(await self._whole(event) if _MARK in proto.value else event)

    async def _fulfil(self, claim: Claim) -> None:
        seen = self._ledger.seen.get(claim.execution_id, 0)
        if not self._pull.last_came and not self._said:
            self._said = True
            log.warning(
                "no message has come from NATS, so events are read from rows, later: do those of %s come there?",
                self._user,
            )
        log.info("execution %s: events %d to %d are read from rows", claim.execution_id, seen + 1, claim.sequence)
        async for event in self._rows(claim.execution_id, seen, claim.sequence):
            await self._handled(replace(event, graph_id=claim.graph_id, user_id=claim.user_id))

    async def _whole(self, event: Event) -> Event:
        """With its value instead of the reference to the blob store."""
        try:
            async for found in self._rows(event.execution_id, event.sequence - 1, event.sequence):
                return replace(found, graph_id=event.graph_id, user_id=event.user_id)
        except HistoryGap:
            return replace(event, value=None, absence="MISSING")
        return event

    def _rows(self, execution_id: str, after: int, last: int) -> AsyncIterator[Event]:
        return self._client.executions.between(execution_id, after, last)

    async def _handled(self, event: Event) -> None:
        await self._handle(event)
        self._ledger.handled(event.execution_id, event.sequence)
        self._count += 1
