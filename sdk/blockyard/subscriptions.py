"""Events of many executions, as NotificationService tells them: in order for each execution, each once, without gaps.

What is told again after a lost connection is dropped, by the last sequence that was seen of each execution; a sequence
that was left out, which none should be, is asked of ListEvents, and so is a value that is too large for this stream.
"""

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from blockyard.calls import Caller, Pauses
from blockyard.errors import (
    CallError,
    DeadlineExceeded,
    HistoryGap,
    InvalidArgument,
    LimitReached,
    PermissionDenied,
    Unavailable,
)
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.event.v1.event_pb2 import EventKind as KindOfProto
from blockyard.events import Event, EventKind
from blockyard.notification.v1 import notification_service_pb2 as messages

if TYPE_CHECKING:  # there for type checkers alone
    from blockyard.client.executions import ExecutionsClient
    from blockyard.notification.v1.notification_service_pb2_grpc import NotificationServiceAsyncStub

SILENCE_SECONDS = 45.0
"""Without an answer in that time the connection is made anew: the service says something every 15 seconds."""
MOST_EXECUTIONS = 50_000
"""Executions whose last sequence is remembered, those that were heard of last."""
TOO_SLOW = "SUBSCRIBER_TOO_SLOW"


class EventStream(AsyncIterator[Event]):
    """Events, with `async for`. The connection ends with `aclose()`, or with the iteration."""

    def __init__(self, source: "Callable[[EventStream], AsyncIterator[Event]]", cursor: int | str) -> None:
        self.cursor = cursor
        """Give it as `after` to go on behind the events that came, the last one included. Of many executions it moves
        once a second at most, so that some of them may come again."""
        self._events = source(self)

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Ends it."""
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()


def event_stream(
    executions_client: "ExecutionsClient",
    stub: "Callable[[], NotificationServiceAsyncStub]",
    call: Caller,
    *,
    executions: Collection[str],
    graphs: Collection[str],
    kinds: Collection[EventKind],
    user: str,
    after: int | str,
) -> EventStream:
    """The stream for what is asked: of one execution alone it is watched, else NotificationService is asked."""
    if len(executions) == 1 and not graphs and not user and (isinstance(after, int) or not after):
        (execution_id,) = executions
        watching = _Watching(executions_client, execution_id, frozenset(kinds))
        return EventStream(watching.events, after or 0)
    if isinstance(after, int) and after:
        raise InvalidArgument("after: a sequence is of one execution; of many, give the cursor of a stream")
    filter = messages.EventFilter(
        execution_ids=executions,
        graph_ids=graphs,
        kinds=[KindOfProto.ValueType(kind.value) for kind in kinds],
        user_id=user,
    )
    subscription = Subscription(stub(), executions_client, call, filter, str(after or ""))
    return EventStream(subscription.events, str(after or ""))


class _Watching:
    """One execution, through ExecutionService."""

    def __init__(self, client: "ExecutionsClient", execution_id: str, kinds: frozenset[EventKind]) -> None:
        self._client = client
        self._execution_id = execution_id
        self._kinds = kinds

    async def events(self, stream: EventStream) -> AsyncIterator[Event]:
        async with aclosing(self._client.watch(self._execution_id, int(stream.cursor))) as watched:
            async for event in watched:
                stream.cursor = event.sequence
                if not self._kinds or event.kind in self._kinds:
                    yield event


class Subscription:
    """What one subscriber was told, over lost connections."""

    def __init__(
        self,
        stub: "NotificationServiceAsyncStub",
        executions: "ExecutionsClient",
        call: Caller,
        filter: messages.EventFilter,
        cursor: str,
        *,
        most_executions: int = MOST_EXECUTIONS,
    ) -> None:
        self._stub = stub
        self._executions = executions
        self._call = call
        self._filter = filter
        self._cursor = cursor
        self._most = most_executions
        self._seen: OrderedDict[str, int] = OrderedDict()

    async def events(self, stream: EventStream) -> AsyncIterator[Event]:
        """All events, and the stream's cursor kept behind the last one given."""
        async with aclosing(self.answers()) as answers:
            async for answer in answers:
                held: Event | None = None
                for batch in answer.batches:
                    async for event in self._new(batch):
                        if held is not None:
                            yield held
                        held = event
                # Told with the last event of the answer: the cursor is behind it, and not behind those before.
                stream.cursor = answer.cursor or stream.cursor
                if held is not None:
                    yield held

    async def answers(self) -> AsyncGenerator[messages.SubscribeResponse]:
        """What the service says, for ever: it is asked again from the last cursor on. Parts may come twice."""
        pauses = Pauses()
        begun = False
        while True:
            request = messages.SubscribeRequest(filter=self._filter, cursor=self._cursor)
            failure: CallError = Unavailable("the stream of events ended")
            source = self._call.stream(self._stub.Subscribe, request, messages.SubscribeResponse, SILENCE_SECONDS)
            try:
                async with aclosing(source) as answers:
                    async for answer in answers:
                        if not begun:
                            # Whoever follows for days outlives any outage; a wrong address is said after a while.
                            begun, pauses = True, Pauses(math.inf)
                        pauses.reset()
                        self._cursor = answer.cursor or self._cursor
                        yield answer
            except (Unavailable, DeadlineExceeded) as error:
                failure = error
            except LimitReached as error:
                # The service may not know yet that the last connection has ended, and count it.
                if not begun and error.reason != TOO_SLOW:
                    raise
                failure = error
            await pauses.wait(failure)

    async def _new(self, batch: EventBatch) -> AsyncIterator[Event]:
        """The events of a batch that were not told yet, and before them those that were left out."""
        seen = self._seen.get(batch.execution_id)
        for proto in batch.events:
            if seen is not None and proto.sequence <= seen:
                continue
            if seen is not None and proto.sequence > seen + 1 and not self._filter.kinds:
                async for missing in self._between(batch.execution_id, seen, proto.sequence - 1):
                    yield _of(batch, missing)
            seen = proto.sequence
            self._remember(batch.execution_id, seen)
            yield await self._whole(Event.from_proto(batch.execution_id, proto, batch.graph_id, batch.user_id))

    def _between(self, execution_id: str, after: int, last: int) -> AsyncIterator[Event]:
        return self._executions.between(execution_id, after, last)

    async def _whole(self, event: Event) -> Event:
        """With its value, if ListEvents has it."""
        if event.absence != "TOO_LARGE":
            return event
        try:
            async for found in self._between(event.execution_id, event.sequence - 1, event.sequence):
                return replace(found, graph_id=event.graph_id, user_id=event.user_id)
        except (HistoryGap, PermissionDenied):
            return event
        return event

    def _remember(self, execution_id: str, sequence: int) -> None:
        self._seen[execution_id] = sequence
        self._seen.move_to_end(execution_id)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)


def _of(batch: EventBatch, event: Event) -> Event:
    return replace(event, graph_id=batch.graph_id, user_id=batch.user_id)
