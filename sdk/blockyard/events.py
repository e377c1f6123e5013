"""Events of executions, in order and without gaps: what they say, and how to follow them over lost connections.

`follow` watches one execution through ExecutionService. It resumes after the last sequence it has seen, drops repeats,
and fills a gap from ListEvents before it goes on.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from blockyard import values
from blockyard.calls import LONGEST_OUTAGE, Caller, Pauses
from blockyard.errors import CallError, DeadlineExceeded, HistoryGap, NotFound, OutOfRange, Unavailable
from blockyard.event.v1 import event_pb2
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.records import ExecutionStatus, absence_name, moment, node_error_reason

if TYPE_CHECKING:
    from blockyard.execution.v1.execution_service_pb2_grpc import (
        ExecutionServiceAsyncStub,  # there for type checkers alone
    )

PAGE = 1_000


class EventKind(Enum):
    """What happened."""

    UNSPECIFIED = 0
    EXECUTION_STARTED = 1
    EXECUTION_WAITING = 2
    EXECUTION_OUTPUT = 3
    EXECUTION_COMPLETED = 4
    EXECUTION_FAILED = 5
    EXECUTION_CANCELLED = 6
    NODE_QUEUED = 7
    NODE_STARTED = 8
    NODE_OUTPUT = 9
    NODE_COMPLETED = 10
    NODE_FAILED = 11
    NODE_RETRYING = 12
    NODE_CANCELLED = 13
    NODE_AMBIGUOUS = 14
    NODE_WAITING = 15


LAST_KINDS = frozenset({EventKind.EXECUTION_COMPLETED, EventKind.EXECUTION_FAILED, EventKind.EXECUTION_CANCELLED})
"""Kinds after which an execution has no more events."""

_KINDS = {kind.value: kind for kind in EventKind}
_LAST = frozenset(kind.value for kind in LAST_KINDS)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an execution did. `node_execution` is 0 and `node_id` empty in events of the execution itself."""

    execution_id: str
    sequence: int
    kind: EventKind
    time: datetime | None
    node_execution: int
    node_id: str
    attempt: int
    pin: str
    index: int
    value: Any  # Any: a JSON value is what the block made it
    provisional: bool
    message: str
    reason: str
    wakes: datetime | None
    output_name: str
    absence: str = ""
    """Why an output comes without its value: "MISSING" or "TOO_LARGE"; `message` says more."""
    graph_id: str = ""
    """Its graph, and who owns the execution: known where many executions are followed, empty where one is watched."""
    user_id: str = ""
    waits_for_person: bool = False
    """Of a node that is NODE_WAITING or NODE_AMBIGUOUS: somebody is to decide."""

    @property
    def is_last(self) -> bool:
        """True if the execution has ended with this event."""
        return self.kind in LAST_KINDS

    @classmethod
    def from_proto(cls, execution_id: str, proto: event_pb2.Event, graph_id: str = "", user_id: str = "") -> "Event":
        """The value of a message. A kind that is newer than this package is UNSPECIFIED, and a value that is no JSON is
        absent: nobody may be stopped by what a runner made wrongly."""
        value, absence, message = None, absence_name(proto.value_absence), proto.message
        if proto.value:
            try:
                value = values.decode(proto.value)
            except ValueError:
                absence, message = "MISSING", values.NO_JSON
        return cls(
            execution_id=execution_id,
            sequence=proto.sequence,
            kind=_KINDS.get(proto.kind, EventKind.UNSPECIFIED),
            time=moment(proto, "time"),
            node_execution=proto.node_execution,
            node_id=proto.node_id,
            attempt=proto.attempt,
            pin=proto.pin,
            index=proto.index,
            value=value,
            provisional=proto.provisional,
            message=message,
            reason=node_error_reason(proto.reason),
            wakes=moment(proto, "wake_time"),
            output_name=proto.output_name,
            absence=absence,
            graph_id=graph_id,
            user_id=user_id,
            waits_for_person=proto.waits_for_person,
        )


async def follow(
    stub: "ExecutionServiceAsyncStub", call: Caller, execution_id: str, after: int = 0
) -> AsyncGenerator[Event]:
    """All events after sequence `after`, those to come included; ends with the execution.

    Lost connections are made again. Raises HistoryGap if events that are missing are past retention.
    """
    seen = after
    async with aclosing(_batches(stub, call, execution_id, after)) as batches:
        async for protos in batches:
            for proto in protos:
                if proto.sequence <= seen:
                    continue
                if proto.sequence > seen + 1:
                    async for missing in fill(stub, call, execution_id, seen, proto.sequence - 1):
                        yield missing
                seen = proto.sequence
                yield Event.from_proto(execution_id, proto)


async def until_end(stub: "ExecutionServiceAsyncStub", call: Caller, execution_id: str, after: int) -> None:
    """Waits for the last event. Cheaper than `follow`: the events are received but not looked into."""
    async for _ in _batches(stub, call, execution_id, after):
        pass


async def _batches(
    stub: "ExecutionServiceAsyncStub", call: Caller, execution_id: str, after: int
) -> AsyncGenerator[Sequence[event_pb2.Event]]:
    """What watching gives, over lost connections, up to the last event. Parts may come twice."""
    last = after
    pauses = Pauses()
    while True:
        request = messages.WatchExecutionRequest(execution_id=execution_id, after_sequence=last)
        source = call.stream(stub.WatchExecution, request, messages.WatchExecutionResponse)
        failure: CallError = Unavailable("the stream of events ended before the execution")
        try:
            # A watch that begins behind the last event would wait for ever.
            if last and await _complete(stub, call, execution_id, last):
                return
            async with aclosing(source) as answers:
                async for answer in answers:
                    pauses.reset()
                    if answer.events:
                        yield answer.events
                        last = max(last, answer.events[-1].sequence)
                        if answer.events[-1].kind in _LAST:
                            return
        except (Unavailable, DeadlineExceeded) as error:
            failure = error
        except OutOfRange as error:
            raise HistoryGap(f"events after {last} of execution {execution_id} are no longer kept") from error
        await pauses.wait(failure)


async def fill(
    stub: "ExecutionServiceAsyncStub",
    call: Caller,
    execution_id: str,
    after: int,
    last: int,
    longest_outage: float = LONGEST_OUTAGE,
) -> AsyncGenerator[Event]:
    """The events after `after` up to `last`, all of them, over lost connections; raises HistoryGap."""
    pauses = Pauses(longest_outage)
    while after < last:
        try:
            async for event in list_events(stub, call, execution_id, after, last):
                if event.sequence != after + 1:
                    break
                after = event.sequence
                pauses.reset()
                yield event
            if after < last:
                raise HistoryGap(f"events {after + 1} to {last} of execution {execution_id} are missing")
        except (Unavailable, DeadlineExceeded) as error:
            await pauses.wait(error)
        except (NotFound, OutOfRange) as error:
            raise HistoryGap(f"events {after + 1} to {last} of execution {execution_id} are no longer kept") from error


async def list_events(
    stub: "ExecutionServiceAsyncStub", call: Caller, execution_id: str, after: int = 0, last: int | None = None
) -> AsyncGenerator[Event]:
    """The events after `after` that are there now, up to sequence `last`."""
    while last is None or after < last:
        request = messages.ListEventsRequest(execution_id=execution_id, after_sequence=after, page_size=PAGE)
        answer = await call(stub.ListEvents, request, messages.ListEventsResponse, repeatable=True)
        for proto in answer.events:
            if last is not None and proto.sequence > last:
                return
            after = proto.sequence
            yield Event.from_proto(execution_id, proto)
        if answer.complete or not answer.events:
            return


async def _complete(stub: "ExecutionServiceAsyncStub", call: Caller, execution_id: str, seen: int) -> bool:
    """True if no event comes after `seen` any more."""
    request = messages.GetExecutionRequest(execution_id=execution_id)
    answer = await call(stub.GetExecution, request, messages.GetExecutionResponse, repeatable=True)
    ended = ExecutionStatus(answer.execution.status).ended
    return ended and answer.execution.last_event_sequence <= seen
