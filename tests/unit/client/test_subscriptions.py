"""Events of many executions: each once, in order and without gaps, over connections that break in every way."""

from collections.abc import Iterator
from contextlib import aclosing

import blockyard
import grpc
import pytest
from blockyard import sync
from blockyard.errors import HistoryGap, InvalidArgument, LimitReached, OutOfRange
from blockyard.event.v1.event_pb2 import Event as EventMessage
from blockyard.event.v1.event_pb2 import EventKind as Kind
from blockyard.event.v1.event_pb2 import ValueAbsence
from blockyard.events import Event, EventKind
from blockyard.notification.v1.notification_service_pb2 import SubscribeResponse
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from tests.generators import left_open
from tests.unit.client.memory_notifications import NotificationScript, Told, told
from tests.unit.client.memory_services import EXECUTION_ID, TOKEN, Script, events_of_a_run, serve, status

AWAY = status(grpc.StatusCode.UNAVAILABLE, "going away")
RUN = events_of_a_run(3)
"""Eight events."""
SOON = RetryInfo(retry_delay=Duration(nanos=1_000_000))
TOO_SLOW = status(
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    "too slow",
    ErrorInfo(reason="SUBSCRIBER_TOO_SLOW", domain="blockyard"),
    SOON,
)


@pytest.fixture
def script() -> Script:
    return Script(events=list(RUN))


@pytest.fixture
def notifications(script: Script) -> NotificationScript:
    return script.notifications


@pytest.fixture
def address(script: Script) -> Iterator[str]:
    with serve(script) as address:
        yield address


async def first(address: str, many: int, after: str = "") -> tuple[list[Event], list[int | str]]:
    """The first events of a stream of all executions, and its cursor after each."""
    events: list[Event] = []
    cursors: list[int | str] = []
    async with blockyard.connect(address, TOKEN) as client, aclosing(client.events(after=after)) as stream:
        async for event in stream:
            events.append(event)
            cursors.append(stream.cursor)
            if len(events) == many:
                break
    return events, cursors


async def test_a_stream_goes_on_from_its_last_cursor_and_tells_nothing_twice(
    notifications: NotificationScript, address: str
) -> None:
    notifications.connections = [
        Told([told("a", RUN[:3], "one"), told("b", RUN[:2])], AWAY),
        Told([], AWAY),
        Told([told("a", RUN[1:4]), told("b", RUN[:4], "two")]),
    ]

    events, cursors = await first(address, 8)

    assert [(event.execution_id, event.sequence) for event in events] == [
        *(("a", number) for number in (1, 2, 3)),
        *(("b", number) for number in (1, 2)),
        ("a", 4),
        *(("b", number) for number in (3, 4)),
    ]
    assert [request.cursor for request in notifications.requests] == ["", "one", "one"]
    assert cursors == ["", "", "one", "one", "one", "one", "one", "two"], "a cursor is behind the last of its answer"
    assert {(event.graph_id, event.user_id) for event in events} == {("graph", "anna")}


async def test_a_reader_that_was_too_slow_resumes_by_itself(notifications: NotificationScript, address: str) -> None:
    notifications.connections = [
        Told([told("a", RUN[:1], "one")], TOO_SLOW),
        Told([SubscribeResponse(cursor="two")], TOO_SLOW),
        Told([told("a", RUN[1:2])]),
    ]

    events, _ = await first(address, 2)

    assert [event.sequence for event in events] == [1, 2]
    assert [request.cursor for request in notifications.requests] == ["", "one", "two"]


async def test_what_was_left_out_is_fetched(notifications: NotificationScript, address: str) -> None:
    notifications.connections = [Told([told(EXECUTION_ID, [*RUN[:2], *RUN[5:]])])]

    events, _ = await first(address, 8)

    assert [event.sequence for event in events] == list(range(1, 9))
    assert {(event.graph_id, event.user_id) for event in events} == {("graph", "anna")}


async def test_a_gap_that_cannot_be_filled_is_an_error(
    script: Script, notifications: NotificationScript, address: str
) -> None:
    notifications.connections = [Told([told(EXECUTION_ID, [*RUN[:2], *RUN[5:]])])]
    script.gone = {4}

    with pytest.raises(HistoryGap, match="events 4 to 5"):
        await first(address, 8)


async def test_a_value_that_is_too_large_for_the_stream_is_fetched(
    script: Script, notifications: NotificationScript, address: str
) -> None:
    absent = EventMessage(
        sequence=3, kind=Kind.EVENT_KIND_NODE_OUTPUT, value_absence=ValueAbsence.VALUE_ABSENCE_TOO_LARGE
    )
    script.events[2] = EventMessage(sequence=3, kind=Kind.EVENT_KIND_NODE_OUTPUT, value=b'"large"')
    notifications.connections = [Told([told(EXECUTION_ID, [absent])])]

    ((event,), _) = await first(address, 1)

    assert (event.value, event.absence, event.graph_id) == ("large", "", "graph")


async def test_with_kinds_a_sequence_that_jumps_is_no_gap(notifications: NotificationScript, address: str) -> None:
    notifications.connections = [Told([told(EXECUTION_ID, [RUN[0], RUN[-1]])])]

    async with blockyard.connect(address, TOKEN) as client:
        kinds = [EventKind.EXECUTION_STARTED, EventKind.EXECUTION_COMPLETED]
        stream = client.events(graph=["graph"], kinds=kinds, user="*", after="cursor")
        events = [await anext(stream), await anext(stream)]
        await stream.aclose()

    assert [event.sequence for event in events] == [1, 8]
    (request,) = notifications.requests
    assert (list(request.filter.graph_ids), list(request.filter.kinds)) == (["graph"], [1, 4])
    assert (request.filter.user_id, request.cursor) == ("*", "cursor")


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.OUT_OF_RANGE, OutOfRange), (grpc.StatusCode.RESOURCE_EXHAUSTED, LimitReached)],
)
async def test_what_no_repetition_heals_is_said(
    notifications: NotificationScript, address: str, code: grpc.StatusCode, kind: type[Exception]
) -> None:
    notifications.connections = [Told([], status(code, "no"))]

    with pytest.raises(kind):
        await first(address, 1)


async def test_the_cursor_of_one_execution_is_its_sequence(address: str) -> None:
    async with blockyard.connect(address, TOKEN) as client:
        stream = client.events(EXECUTION_ID, kinds=[EventKind.NODE_COMPLETED])
        events = [await anext(stream), await anext(stream)]
        resumed = [event async for event in client.events(EXECUTION_ID, stream.cursor)]
        await stream.aclose()

    assert [event.sequence for event in events] == [3, 5]
    assert [event.sequence for event in resumed] == [6, 7, 8]


async def test_a_sequence_is_no_cursor_of_many_executions(address: str) -> None:
    async with blockyard.connect(address, TOKEN) as client:
        with pytest.raises(InvalidArgument, match="give the cursor"):
            client.events(after=7)


def test_the_sync_face_has_the_same_stream(notifications: NotificationScript, address: str) -> None:
    notifications.connections = [Told([told("a", RUN[:2], "one")])]

    with sync.connect(address, TOKEN) as client:
        stream = client.events()
        events = [next(stream), next(stream)]
        cursor = stream.cursor
        stream.close()

    assert [event.sequence for event in events] == [1, 2]
    assert cursor == "one"


async def test_a_stream_that_is_closed_has_closed_its_connection(address: str) -> None:
    with left_open() as left:
        async with blockyard.connect(address, TOKEN) as client:
            stream = client.events(EXECUTION_ID)
            await anext(stream)
            await stream.aclose()
        assert left == []
