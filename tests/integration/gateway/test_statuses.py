"""Errors of services as REST has them: the status that a client expects, and everything that gRPC's status says."""

import grpc
import pytest
from blockyard.common.v1 import errors_pb2
from google.protobuf.json_format import MessageToDict

from services.common import error_status
from services.common.errors import (
    Aborted,
    AlreadyExists,
    BlockyardError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    StorageFull,
    Unauthenticated,
    Unavailable,
    Violation,
)
from services.common.interceptors import RateLimited
from tests.integration.gateway.conftest import Front
from tests.integration.gateway.upstream import failing

GET = "graph.v1.GraphService/GetGraph"
CREATE = "graph.v1.GraphService/CreateGraph"
WATCH = "execution.v1.ExecutionService/WatchExecution"


class NoCredits(ResourceExhausted):
    """The user has no credits left."""

    reason = errors_pb2.ERROR_REASON_INSUFFICIENT_CREDITS


class Disabled(FailedPrecondition):
    """The trigger takes no webhooks now."""

    reason = errors_pb2.ERROR_REASON_TRIGGER_DISABLED


class Late(BlockyardError):
    """It took too long."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


ERRORS = [
    (InvalidArgument(violations=[Violation("nodes[2].inputs.text", "expected a string, got 7")]), 400),
    (FailedPrecondition(), 400),
    (OutOfRange(), 400),
    (Unauthenticated(), 401),
    (NoCredits(metadata={"balance": "0"}), 402),
    (PermissionDenied(), 403),
    (NotFound("There is no graph with the id 'ä \"x\"'."), 404),
    (AlreadyExists(), 409),
    (Aborted(), 409),
    (Disabled(), 409),
    (RateLimited(2.2), 429),
    (StorageFull(), 429),
    (Internal(metadata={"reference": "ab"}), 500),
    (Unavailable(), 503),
    (Late(), 504),
]
HEADERS = {401: ("www-authenticate", "Bearer"), 429: ("retry-after", None), 503: ("retry-after", "1")}

each_error = pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda one: type(one).__name__)


@each_error
async def test_an_error_has_the_status_that_clients_of_rest_expect(
    front: Front, error: BlockyardError, status: int
) -> None:
    said = error_status.status_of(error)
    front.answer(GET, failing(said))
    answer = await front.client.get("/api/graphs/g")
    assert answer.status_code == status
    assert answer.json() == MessageToDict(said)
    assert answer.headers["content-type"] == "application/json"
    name, value = HEADERS.get(status, ("retry-after", ""))
    if value == "":
        assert name not in answer.headers
    elif value is not None:
        assert answer.headers[name] == value


@each_error
async def test_limits_of_rates_sent_before_change_nothing(front: Front, error: BlockyardError, status: int) -> None:
    said = error_status.status_of(error)
    front.answer(GET, failing(said, ("x-ratelimit-limit", "5"), ("x-ratelimit-remaining", "0")))
    answer = await front.client.get("/api/graphs/g")
    assert (answer.status_code, answer.json()) == (status, MessageToDict(said))
    assert answer.headers["x-ratelimit-limit"] == "5"


async def test_whole_seconds_are_waited_for_at_least(front: Front) -> None:
    waits = []
    for seconds in (0.02, 2.2, 30.0):
        front.answer(CREATE, failing(error_status.status_of(RateLimited(seconds))))
        answer = await front.client.post("/api/graphs", json={})
        waits.append(answer.headers["retry-after"])
    assert waits == ["1", "3", "30"]


async def test_what_somebody_has_written_is_not_taken_for_a_reason(front: Front) -> None:
    text = '"reason":"INSUFFICIENT_CREDITS" "retryDelay":"9s"'
    front.answer(CREATE, failing(error_status.status_of(ResourceExhausted(text))))
    answer = await front.client.post("/api/graphs", json={})
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers


async def test_a_stream_that_is_refused_is_an_error_and_no_stream(front: Front) -> None:
    said = error_status.status_of(NotFound())
    front.answer(WATCH, failing(said))
    answer = await front.client.get("/api/executions/e:watch")
    assert (answer.status_code, answer.json()) == (404, MessageToDict(said))


async def test_reading_is_asked_again_elsewhere_and_changing_is_not(front: Front) -> None:
    await front.whole()
    said = error_status.status_of(Unavailable())
    front.answer("execution.v1.ExecutionService/GetExecution", failing(said))
    assert (await front.client.get("/api/executions/e")).status_code == 503
    read = [len(upstream.calls) for upstream in front.execution]
    front.answer("execution.v1.ExecutionService/StopExecution", failing(said))
    assert (await front.client.post("/api/executions/e:stop", json={})).status_code == 503
    changed = [len(upstream.calls) for upstream in front.execution]
    assert sum(read) == 3
    assert min(read) >= 1
    assert sum(changed) == 1
