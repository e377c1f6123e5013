"""Calls: errors with their details, repeats where they are safe, exact values."""

import asyncio
from collections.abc import Iterator
from typing import Any

import blockyard
import grpc
import pytest
from blockyard import errors
from blockyard.client import Client
from blockyard.event.v1.event_pb2 import ValueAbsence
from blockyard.execution.v1.execution_pb2 import EXECUTION_STATUS_CANCELLED, EXECUTION_STATUS_FAILED
from blockyard.execution.v1.execution_service_pb2 import AbsentResult
from blockyard.graphs import Graph
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, QuotaFailure, RetryInfo

from tests.unit.client.memory_services import EXECUTION_ID, GRAPH_ID, TOKEN, Script, events_of_a_run, serve, status


@pytest.fixture
def script() -> Script:
    return Script(events=events_of_a_run(1))


@pytest.fixture
def address(script: Script) -> Iterator[str]:
    with serve(script) as address:
        yield address


def client(address: str, token: str = TOKEN, deadline: float = 10.0) -> Client:
    return blockyard.connect(address, token, deadline=deadline)


def test_an_error_carries_reason_violations_and_retry_time(script: Script, address: str) -> None:
    script.faults.append(
        status(
            grpc.StatusCode.INVALID_ARGUMENT,
            "The graph is not valid.",
            ErrorInfo(reason="GRAPH_INVALID", domain="blockyard"),
            BadRequest(field_violations=[{"field": "nodes[2].inputs.text", "description": "expected a string, got 7"}]),
            RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
        )
    )

    async def work() -> None:
        async with client(address) as connected:
            await connected.graphs.create(Graph("broken"))

    with pytest.raises(errors.InvalidArgument) as caught:
        asyncio.run(work())

    assert caught.value.reason == "GRAPH_INVALID"
    assert caught.value.violations == (errors.FieldViolation("nodes[2].inputs.text", "expected a string, got 7"),)
    assert caught.value.retry_after == 1.5
    assert str(caught.value) == "The graph is not valid.\n  - nodes[2].inputs.text: expected a string, got 7"


@pytest.mark.parametrize(
    "detail",
    [
        QuotaFailure(violations=[{"subject": "executions", "description": "1,000 of 1,000 are unfinished"}]),
        PreconditionFailure(violations=[{"subject": "executions", "description": "1,000 of 1,000 are unfinished"}]),
    ],
    ids=["quota", "precondition"],
)
def test_limits_and_preconditions_are_violations_too(script: Script, address: str, detail: Message) -> None:
    script.faults.append(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many.", detail))

    async def work() -> None:
        async with client(address) as connected:
            await connected.executions.start(GRAPH_ID)

    with pytest.raises(errors.LimitReached) as caught:
        asyncio.run(work())
    assert caught.value.violations == (errors.FieldViolation("executions", "1,000 of 1,000 are unfinished"),)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDenied),
        (grpc.StatusCode.ALREADY_EXISTS, errors.AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.ABORTED, errors.Conflict),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitReached),
        (grpc.StatusCode.INTERNAL, errors.InternalError),
        (grpc.StatusCode.OUT_OF_RANGE, errors.OutOfRange),
        (grpc.StatusCode.DATA_LOSS, errors.DataLoss),
        (grpc.StatusCode.UNKNOWN, errors.CallError),
    ],
)
def test_each_status_code_has_its_error(
    script: Script, address: str, code: grpc.StatusCode, kind: type[errors.CallError]
) -> None:
    script.faults.append(status(code, "no"))

    async def work() -> None:
        async with client(address) as connected:
            await connected.executions.get(EXECUTION_ID)

    with pytest.raises(errors.CallError) as caught:
        asyncio.run(work())
    assert type(caught.value) is kind
    assert caught.value.message == "no"


def test_a_read_is_repeated_while_the_service_is_away(script: Script, address: str) -> None:
    script.faults += [status(grpc.StatusCode.UNAVAILABLE, "starting")] * 2

    async def work() -> str:
        async with client(address) as connected:
            return (await connected.executions.get(EXECUTION_ID)).id

    assert asyncio.run(work()) == EXECUTION_ID
    assert script.calls == ["GetExecution"] * 3


def test_a_start_is_repeated_with_the_same_request_id(script: Script, address: str) -> None:
    script.faults.append(status(grpc.StatusCode.UNAVAILABLE, "away"))

    async def work() -> None:
        async with client(address) as connected:
            await connected.executions.start(GRAPH_ID, request_id="mine")

    asyncio.run(work())
    assert [start.request_id for start in script.starts] == ["mine"]
    assert script.calls == ["StartExecution"] * 2


def test_a_fork_is_not_repeated(script: Script, address: str) -> None:
    script.faults.append(status(grpc.StatusCode.UNAVAILABLE, "away"))

    async def work() -> None:
        async with client(address) as connected:
            await connected.graphs.fork(GRAPH_ID)

    with pytest.raises(errors.Unavailable):
        asyncio.run(work())
    assert script.calls == ["ForkGraph"]


def test_nobody_at_the_address_is_said_within_the_deadline() -> None:
    async def work() -> None:
        async with client("127.0.0.1:1", deadline=0.5) as connected:
            await connected.graphs.get(GRAPH_ID)

    with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)) as caught:
        asyncio.run(work())
    assert "reached" in str(caught.value) or "in time" in str(caught.value)


def test_a_wrong_token_is_unauthenticated(address: str) -> None:
    async def work() -> None:
        async with client(address, token="another") as connected:
            await connected.graphs.get(GRAPH_ID)

    with pytest.raises(errors.Unauthenticated):
        asyncio.run(work())


def test_results_are_put_together_from_their_pages(script: Script, address: str) -> None:
    script.results = b'{"a": [1], "b": [2]}'
    script.more_results = [b'{"b": [3, 4]}', b"{}", b'{"b": [5], "c": [6]}']

    async def work() -> object:
        async with client(address) as connected:
            return await connected.executions.results(EXECUTION_ID)

    assert asyncio.run(work()) == {"a": [1], "b": [2, 3, 4, 5], "c": [6]}


def absent(output: str, index: int, absence: ValueAbsence.ValueType, message: str) -> AbsentResult:
    return AbsentResult(output=output, index=index, absence=absence, message=message)


TOO_LARGE = ValueAbsence.VALUE_ABSENCE_TOO_LARGE


@pytest.mark.parametrize(
    ("absence", "kind", "reason"),
    [
        (ValueAbsence.VALUE_ABSENCE_MISSING, errors.DataLoss, "VALUE_MISSING"),
        (TOO_LARGE, errors.OutOfRange, "VALUE_TOO_LARGE"),
    ],
)
def test_a_result_that_cannot_be_had_is_an_error_that_has_all_others(
    script: Script, address: str, absence: ValueAbsence.ValueType, kind: type[errors.CallError], reason: str
) -> None:
    script.results = b'{"a": [1, null], "b": [null]}'
    script.more_results = [b'{"b": [3, null]}']
    script.absent_results = {
        0: [absent("b", 0, TOO_LARGE, "it is large")],
        1: [absent("b", 1, absence, "it is not there")],
    }
    results = {"a": [1, None], "b": [None, 3, None]}

    async def work(absent_as_none: bool) -> object:
        async with client(address) as connected:
            return await connected.run(GRAPH_ID, absent_as_none=absent_as_none)

    with pytest.raises(kind) as caught:
        asyncio.run(work(absent_as_none=False))

    assert isinstance(caught.value, errors.ResultsIncomplete)
    assert (caught.value.results, caught.value.reason) == (results, reason)
    assert [(one.output, one.index) for one in caught.value.absent_values] == [("b", 0), ("b", 2)]
    assert caught.value.message.startswith("Output 'b': it is ")
    assert asyncio.run(work(absent_as_none=True)) == results


def test_what_is_null_is_not_absent(script: Script, address: str) -> None:
    script.results = b'{"a": [null]}'

    async def work() -> object:
        async with client(address) as connected:
            return await connected.run(GRAPH_ID)

    assert asyncio.run(work()) == {"a": [None]}


def test_a_reason_for_an_absence_that_is_newer_than_the_client_is_told(script: Script, address: str) -> None:
    newer: Any = 99  # enums of proto3 are open
    script.absent_results = {0: [absent("a", 0, newer, "it is elsewhere")]}

    async def work() -> object:
        async with client(address) as connected:
            return await connected.executions.results(EXECUTION_ID)

    with pytest.raises(errors.ResultsIncomplete, match="it is elsewhere") as caught:
        asyncio.run(work())
    assert [one.absence for one in caught.value.absent_values] == ["UNKNOWN"]


def test_integers_of_64_bits_survive(script: Script, address: str) -> None:
    large = 2**63 - 1
    script.results = b'{"n": [9223372036854775807]}'

    async def work() -> tuple[object, object]:
        async with client(address) as connected:
            handle = await connected.executions.start(GRAPH_ID, {"n": large})
            return (await handle.get()).inputs["n"], (await handle.result())["n"]

    assert asyncio.run(work()) == (large, [large])


def test_the_result_of_a_failed_execution_is_an_error(script: Script, address: str) -> None:
    script.status, script.status_message = EXECUTION_STATUS_FAILED, "node shout failed: no voice"

    async def work() -> None:
        async with client(address) as connected:
            await connected.executions.handle(EXECUTION_ID).result()

    with pytest.raises(errors.ExecutionFailed, match="no voice") as caught:
        asyncio.run(work())
    assert caught.value.execution_id == EXECUTION_ID


def test_a_stopped_execution_has_no_result(script: Script, address: str) -> None:
    script.status = EXECUTION_STATUS_CANCELLED

    async def work() -> None:
        async with client(address) as connected:
            await connected.run(GRAPH_ID)

    with pytest.raises(errors.ExecutionCancelled):
        asyncio.run(work())


def test_lists_go_over_all_pages(script: Script, address: str) -> None:
    for number in range(3):
        script.graphs[str(number)] = Graph(f"graph {number}").to_proto()

    async def work() -> list[str]:
        async with client(address) as connected:
            return [graph.name async for graph in connected.graphs.list()]

    assert asyncio.run(work()) == ["graph 0", "graph 1", "graph 2"]
