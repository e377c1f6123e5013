"""Events as CloudEvents in JSON."""

import json

import pytest
from blockyard.common.v1.errors_pb2 import NODE_ERROR_REASON_TIMEOUT
from blockyard.event.v1 import event_pb2
from blockyard.event.v1.event_pb2 import Event, EventBatch
from blockyard.event.v1.notice_pb2 import NOTICE_KIND_LOW_BALANCE, Notice
from blockyard.values import NO_JSON
from google.protobuf.timestamp_pb2 import Timestamp

from services.notification.cloudevents import cloud_event, cloud_events, cloud_notice, event_type

NOON = Timestamp(seconds=1_800_000_000, nanos=5_000_000)


def batch(*events: Event) -> EventBatch:
    return EventBatch(execution_id="e1", graph_id="g1", graph_version=3, user_id="anna", events=events)


def test_an_event_of_an_execution_is_a_cloud_event() -> None:
    ended = Event(sequence=12, kind=event_pb2.EVENT_KIND_EXECUTION_COMPLETED, time=NOON)
    assert json.loads(cloud_event(batch(ended), ended)) == {
        "specversion": "1.0",
        "id": "e1:12",
        "source": "/graphs/g1/executions/e1",
        "type": "blockyard.execution.completed",
        "time": "2027-01-15T08:00:00.005Z",
        "datacontenttype": "application/json",
        "sequence": "12",
        "sequencetype": "Integer",
        "data": {
            "executionId": "e1",
            "graphId": "g1",
            "graphVersion": 3,
            "userId": "anna",
            "sequence": 12,
            "kind": "EVENT_KIND_EXECUTION_COMPLETED",
        },
    }


def test_who_waits_for_what_is_told() -> None:
    review = Event(sequence=3, kind=event_pb2.EVENT_KIND_NODE_WAITING, node_id="review", waits_for_person=True)
    turn = EventBatch(execution_id="e2", user_id="anna", parent_execution_id="e1", events=[review])
    data = json.loads(cloud_event(turn, review))["data"]
    assert (data["parentExecutionId"], data["waitsForPerson"]) == ("e1", True)


def test_values_are_the_json_values_themselves_exact_and_null_included() -> None:
    output = Event(
        sequence=1,
        kind=event_pb2.EVENT_KIND_NODE_OUTPUT,
        time=NOON,
        node_execution=4,
        node_id="double",
        attempt=1,
        pin="result",
        value=b'{"n": 12345678901234567890123, "t": "\xc3\xa4"}',
    )
    nothing = Event(sequence=2, kind=event_pb2.EVENT_KIND_EXECUTION_OUTPUT, output_name="out", value=b"null")
    first, second = cloud_events(batch(output, nothing))
    told = json.loads(first)
    assert (told["type"], told["subject"]) == ("blockyard.node.output", "double")
    data = told["data"]
    assert data["value"] == {"n": 12345678901234567890123, "t": "ä"}
    assert (data["nodeExecution"], data["nodeId"], data["attempt"], data["pin"], data["index"]) == (
        4,
        "double",
        1,
        "result",
        0,
    )
    assert json.loads(second)["data"]["value"] is None
    assert json.loads(second)["data"]["outputName"] == "out"


def output(value: bytes) -> Event:
    return Event(sequence=1, kind=event_pb2.EVENT_KIND_NODE_OUTPUT, time=NOON, pin="result", value=value)


@pytest.mark.parametrize(
    "value",
    [
        b'1}},\n\nevent: blockyard.execution.completed\ndata: {"a":{"b":1',
        b'1},"type":"forged","x":{"y":1',
        b'"\xff"',
        b"NaN",
        b"{",
        b'"a\nb"',
    ],
)
def test_a_value_that_is_no_json_is_absent_and_forges_nothing(value: bytes) -> None:
    told = cloud_event(batch(output(value)), output(value))
    data = json.loads(told)["data"]
    assert b"\n" not in told
    assert "value" not in data
    assert (data["valueAbsence"], data["message"]) == ("VALUE_ABSENCE_MISSING", NO_JSON)


def test_a_value_over_several_lines_is_told_in_one_exactly() -> None:
    event = output(b'{\r\n  "n": 12345678901234567890123,\n  "t": "a\\nb"\n}\n')
    told = cloud_event(batch(event), event)
    assert not {*b"\r\n"} & {*told}
    assert json.loads(told)["data"]["value"] == {"n": 12345678901234567890123, "t": "a\nb"}


def test_what_went_wrong_is_told_by_name() -> None:
    failed = Event(
        sequence=3,
        kind=event_pb2.EVENT_KIND_NODE_RETRYING,
        node_id="a",
        message="too slow",
        reason=NODE_ERROR_REASON_TIMEOUT,
        wake_time=NOON,
        value_absence=event_pb2.VALUE_ABSENCE_TOO_LARGE,
    )
    data = json.loads(cloud_event(batch(failed), failed))["data"]
    assert data["message"] == "too slow"
    assert data["reason"] == "NODE_ERROR_REASON_TIMEOUT"
    assert data["wakeTime"] == "2027-01-15T08:00:00.005Z"
    assert data["valueAbsence"] == "VALUE_ABSENCE_TOO_LARGE"
    assert "value" not in data


def test_kinds_that_are_newer_than_the_service_are_told_all_the_same() -> None:
    newer = Event(sequence=1, time=NOON)
    newer.MergeFromString(bytes([0x10, 99]))
    told = json.loads(cloud_event(batch(newer), newer))
    assert (told["type"], told["data"]["kind"]) == ("blockyard.event.kind99", 99)
    assert event_type(event_pb2.EVENT_KIND_NODE_AMBIGUOUS) == "blockyard.node.ambiguous"


def test_executions_without_a_graph_have_a_source_too() -> None:
    begun = Event(sequence=1, kind=event_pb2.EVENT_KIND_EXECUTION_STARTED)
    told = json.loads(cloud_event(EventBatch(execution_id="e1", user_id="anna", events=[begun]), begun))
    assert told["source"] == "/executions/e1"
    assert "graphId" not in told["data"]


def test_a_notice_is_a_cloud_event_too() -> None:
    notice = Notice(id="n1", user_id="anna", kind=NOTICE_KIND_LOW_BALANCE, time=NOON, details={"balance": "5"})
    told = json.loads(cloud_notice(notice))
    assert (told["id"], told["source"], told["type"]) == ("n1", "/users/anna", "blockyard.notice.low_balance")
    assert told["data"] == {"userId": "anna", "kind": "NOTICE_KIND_LOW_BALANCE", "details": {"balance": "5"}}
