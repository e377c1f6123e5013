"""Calls: errors with their details, repeats where they are safe, exact values."""

import asyncio
from collections.abc import Iterator

import blockyard
import grpc
import pytest
from blockyard import errors
from blockyard.client import Client
from blockyard.execution.v1.execution_pb2 import EXECUTION_STATUS_CANCELLED, EXECUTION_STATUS_FAILED
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
