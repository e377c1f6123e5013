"""Following events: in order, each once, without gaps, over lost connections."""

import asyncio
from collections.abc import Iterator

import blockyard
import grpc
import pytest
from blockyard.errors import DeadlineExceeded, HistoryGap
from blockyard.event.v1 import event_pb2
from blockyard.events import Event
from blockyard.execution.v1.execution_pb2 import EXECUTION_STATUS_RUNNING
from blockyard.values import NO_JSON

from tests.unit.client.memory_services import EXECUTION_ID, TOKEN, Script, events_of_a_run, serve, status


@pytest.fixture
def script() -> Script:
    return Script(events=events_of_a_run(3))


@pytest.fixture
def address(script: Script) -> Iterator[str]:
    with serve(script) as address:
        yield address


def followed(address: str, after: int = 0) -> list[Event]:
    async def work() -> list[Event]:
        async with blockyard.connect(address, TOKEN) as client:
            return [event async for event in client.events(EXECUTION_ID, after)]

    return asyncio.run(work())


def test_all_events_come_in_order_and_the_last_ends_it(address: str) -> None:
    events = followed(address)
    assert [event.sequence for event in events] == list(range(1, 9))
    assert [event.is_last for event in events] == [False] * 7 + [True]


def test_a_broken_stream_is_resumed_where_it_broke(script: Script, address: str) -> None:
    script.break_streams_after = [2, 0, 3]
    assert [event.sequence for event in followed(address)] == list(range(1, 9))
    watches = [call for call in script.calls if call.startswith("Watch")]
    assert watches == ["WatchExecution 0", "WatchExecution 2", "WatchExecution 2", "WatchExecution 5"]


def test_what_a_message_left_out_is_fetched(script: Script, address: str) -> None:
    script.unsaid = {3, 4}
    assert [event.sequence for event in followed(address)] == list(range(1, 9))


def test_what_is_told_twice_comes_once(script: Script, address: str) -> None:
    script.said_twice = {1, 4, 7}
    assert [event.sequence for event in followed(address)] == list(range(1, 9))


def test_a_gap_that_cannot_be_filled_is_an_error(script: Script, address: str) -> None:
    script.unsaid = script.gone = {3, 4}
    with pytest.raises(HistoryGap, match="events 3 to 4"):
        followed(address)


def test_an_outage_longer_than_a_deadline_is_outlived(script: Script, address: str) -> None:
    script.break_streams_after = [2]
    script.unsaid = {6, 7}
    slow = status(grpc.StatusCode.DEADLINE_EXCEEDED, "PostgreSQL is away")
    script.faults_of = {"GetExecution": [slow, slow], "ListEvents": [slow, slow]}
    assert [event.sequence for event in followed(address)] == list(range(1, 9))
    assert script.faults_of == {"GetExecution": [], "ListEvents": []}


def test_following_begins_after_a_sequence(address: str) -> None:
    assert [event.sequence for event in followed(address, after=6)] == [7, 8]


def test_following_behind_the_end_ends_at_once(script: Script, address: str) -> None:
    assert followed(address, after=8) == []
    assert not any(call.startswith("Watch") for call in script.calls)


def test_waiting_gives_up_at_its_timeout(script: Script, address: str) -> None:
    script.status = EXECUTION_STATUS_RUNNING
    script.events.pop()

    async def work() -> None:
        async with blockyard.connect(address, TOKEN) as client:
            await client.executions.wait(EXECUTION_ID, timeout=0.3)

    with pytest.raises(DeadlineExceeded, match=r"after 0\.3 seconds"):
        asyncio.run(work())


@pytest.mark.parametrize("value", [b"NaN", b"{", b'"\xff"'])
def test_a_value_that_is_no_json_is_absent_and_stops_nobody(value: bytes) -> None:
    event = Event.from_proto("e", event_pb2.Event(sequence=7, pin="out", value=value))
    assert (event.value, event.absence, event.message) == (None, "MISSING", NO_JSON)


def test_values_of_events_are_decoded(script: Script, address: str) -> None:
    script.events[2].value = b'{"n": 9007199254740993}'
    assert followed(address)[2].value == {"n": 9007199254740993}
