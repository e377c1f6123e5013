"""What surrounds the methods of a service, over real gRPC."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.common.v1 import errors_pb2
from blockyard.execution.v1 import execution_service_pb2, execution_service_pb2_grpc
from blockyard.graph.v1 import graph_service_pb2, graph_service_pb2_grpc
from blockyard.runner.v1 import catalogue_service_pb2, catalogue_service_pb2_grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from services.common import grpc_client, grpc_server, identity
from services.common.config import ServiceSettings
from services.common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    StartRefused,
    Violation,
)
from services.common.grpc_server import Listening, Registration
from services.common.tokens import ServiceTokens
from tests import signing

SECRET = signing.JWT_SECRET


class GraphNotFound(NotFound):
    """The graph does not exist or belongs to somebody else."""

    reason = errors_pb2.ERROR_REASON_GRAPH_NOT_FOUND


class GraphNotRunnable(FailedPrecondition):
    """The graph can no longer run."""

    reason = errors_pb2.ERROR_REASON_GRAPH_NOT_RUNNABLE


class TooManyExecutions(ResourceExhausted):
    """There are too many unfinished executions."""

    reason = errors_pb2.ERROR_REASON_TOO_MANY_EXECUTIONS


FAILURES: dict[str, Exception] = {
    "missing": GraphNotFound(),
    "bad": InvalidArgument(violations=[Violation("nodes[2].inputs.text", "expected a string, got 7")]),
    "awful": InvalidArgument("é" * 3000, violations=[Violation(f"nodes[{n}]", "wrong " * 50) for n in range(5000)]),
    "stale": GraphNotRunnable(violations=[Violation("nodes[0].block_id", "is gone")]),
    "many": TooManyExecutions(violations=[Violation("user:ada", "100 of 100")]),
    "full": asyncpg.DiskFullError("could not extend file"),
    "away": ConnectionRefusedError("connect call failed"),
    "closed": asyncpg.InterfaceError("connection is closed"),
    "released": asyncpg.InterfaceError(
        "cannot call Connection.fetchval(): connection has been released back to the pool"
    ),
    "cut": asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    "misused": asyncpg.InterfaceError("the server expects 1 argument for this query, 2 were passed"),
    "slow": asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
    "broken": KeyError("a secret inside"),
}


class Graphs(graph_service_pb2_grpc.GraphServiceServicer):
    """Fails as the graph id says, or answers with the caller."""

    async def GetGraph(
        self, request: graph_service_pb2.GetGraphRequest, context: object
    ) -> graph_service_pb2.GetGraphResponse:
        if request.graph_id in FAILURES:
            raise FAILURES[request.graph_id]
        response = graph_service_pb2.GetGraphResponse()
        response.graph.name = identity.current_caller().user_id
        return response


class Executions(execution_service_pb2_grpc.ExecutionServiceServicer):
    """Streams two answers, then fails as the execution id says, or waits to be cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def WatchExecution(
        self, request: execution_service_pb2.WatchExecutionRequest, context: object
    ) -> AsyncIterator[execution_service_pb2.WatchExecutionResponse]:
        for _ in range(2):
            yield execution_service_pb2.WatchExecutionResponse()
        if request.execution_id in FAILURES:
            raise FAILURES[request.execution_id]
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


class Catalogue(catalogue_service_pb2_grpc.CatalogueServiceServicer):
    """Passes a call on, as the execution service does with the graph service."""

    def __init__(self) -> None:
        self.calls = 0

    async def GetRunnableGraph(
        self, request: catalogue_service_pb2.GetRunnableGraphRequest, context: object
    ) -> catalogue_service_pb2.GetRunnableGraphResponse:
        self.calls += 1
        if request.graph_id == "twice" and self.calls < 3:
            raise FAILURES["away"]
        if request.graph_id in FAILURES:
            raise FAILURES[request.graph_id]
        return catalogue_service_pb2.GetRunnableGraphResponse()


# The stubs have every method abstract. At run time one that a servicer lacks answers UNIMPLEMENTED, and none is called.
def graphs() -> Registration:
    return graph_service_pb2_grpc.add_GraphServiceServicer_to_server, Graphs()  # type: ignore[abstract]


def catalogue() -> Registration:
    return catalogue_service_pb2_grpc.add_CatalogueServiceServicer_to_server, Catalogue()  # type: ignore[abstract]


def executions() -> Registration:
    return execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server, Executions()  # type: ignore[abstract]


class Server:
    """A running server, and the clients of it."""

    def __init__(self, listening: Listening, channel: grpc.aio.Channel, executions: Executions) -> None:
        self.address = listening.address
        self.executions = executions
        self.channel = channel
        self.graphs = graph_service_pb2_grpc.GraphServiceStub(channel)
        self.watch = execution_service_pb2_grpc.ExecutionServiceStub(channel).WatchExecution
        self.health = health_pb2_grpc.HealthStub(channel)
        self.token = (("authorization", f"Bearer {identity.user_token(SECRET, 'ada', 'user', 60)}"),)

    async def get(self, graph_id: str) -> graph_service_pb2.GetGraphResponse:
        request = graph_service_pb2.GetGraphRequest(graph_id=graph_id)
        return await self.graphs.GetGraph(request, metadata=self.token, timeout=10)


def settings(**changes: object) -> ServiceSettings:
    values: dict[str, object] = {"port": 0, **signing.SETTINGS, "grace_seconds": 1}
    return ServiceSettings.model_validate({**values, **changes})


async def database() -> bool:
    return True


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    watched = executions()
    registrations = [graphs(), watched, catalogue()]
    async with (
        grpc_server.serve(settings(), registrations, {"database": database}) as listening,
        grpc.aio.insecure_channel(listening.address) as channel,
    ):
        yield Server(listening, channel, watched[1])


@pytest.fixture(scope="module")
def server(runner: asyncio.Runner) -> Iterator[Server]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(serving()))
    finally:
        runner.run(stack.aclose())


def details(error: grpc.aio.AioRpcError, kind: type[Message]) -> Any:  # Any: google.rpc has no types
    status = rpc_status.from_call(error)
    assert status is not None
    found = kind()
    assert any(detail.Unpack(found) for detail in status.details), f"{status} has no {kind.__name__}"
    return found


def reason(error: grpc.aio.AioRpcError) -> str:
    info = details(error, error_details_pb2.ErrorInfo)
    assert info.domain == "blockyard"
    return str(info.reason)


async def refused(server: Server, graph_id: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await server.get(graph_id)
    return error.value


async def test_a_method_knows_its_caller(server: Server) -> None:
    assert (await server.get("any")).graph.name == "ada"


async def test_a_call_has_as_much_metadata_as_the_edge_lets_through(server: Server) -> None:
    request = graph_service_pb2.GetGraphRequest(graph_id="any")
    long = ("x-envoy-original-path", "/" + "a" * (32 << 10))

    for _ in range(20):
        # Beyond the library's default some calls are refused, by chance.
        answer = await server.graphs.GetGraph(request, metadata=(*server.token, long), timeout=10)

        assert answer.graph.name == "ada"


async def test_a_call_without_a_token_is_refused(server: Server) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await server.graphs.GetGraph(graph_service_pb2.GetGraphRequest())

    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason(error.value) == "TOKEN_MISSING"


@pytest.mark.parametrize(
    ("graph_id", "code", "expected"),
    [
        ("missing", grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND"),
        ("bad", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ("stale", grpc.StatusCode.FAILED_PRECONDITION, "GRAPH_NOT_RUNNABLE"),
        ("many", grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_EXECUTIONS"),
        ("full", grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL"),
        ("away", grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        ("closed", grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        ("released", grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        ("cut", grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        ("slow", grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        ("misused", grpc.StatusCode.INTERNAL, "INTERNAL"),
        ("broken", grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_each_failure_has_its_code_and_reason(
    server: Server, graph_id: str, code: grpc.StatusCode, expected: str
) -> None:
    error = await refused(server, graph_id)

    assert (error.code(), reason(error)) == (code, expected)


async def test_the_docstring_of_an_error_is_its_message(server: Server) -> None:
    assert (await refused(server, "missing")).details() == "The graph does not exist or belongs to somebody else."


async def test_violations_name_their_fields(server: Server) -> None:
    bad = details(await refused(server, "bad"), error_details_pb2.BadRequest)
    stale = details(await refused(server, "stale"), error_details_pb2.PreconditionFailure)
    many = details(await refused(server, "many"), error_details_pb2.QuotaFailure)

    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("nodes[2].inputs.text", "expected a string, got 7")
    ]
    assert [(v.type, v.subject) for v in stale.violations] == [("GRAPH_NOT_RUNNABLE", "nodes[0].block_id")]
    assert [v.subject for v in many.violations] == ["user:ada"]


async def test_more_violations_than_fit_are_counted(server: Server) -> None:
    error = await refused(server, "awful")

    violations = details(error, error_details_pb2.BadRequest).field_violations
    assert violations[0].field == "nodes[0]"
    assert violations[-1].description == f"and {5000 - len(violations) + 1} more"


async def test_what_passes_may_be_tried_again(server: Server) -> None:
    assert details(await refused(server, "away"), error_details_pb2.RetryInfo).retry_delay.seconds == 1


async def test_an_unexpected_error_tells_a_reference_and_nothing_else(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    error = await refused(server, "broken")

    reference = details(error, error_details_pb2.ErrorInfo).metadata["reference"]
    assert reference in (error.details() or "")
    assert "secret" not in str(rpc_status.from_call(error))


async def test_a_stream_that_fails_has_a_status_too(server: Server) -> None:
    request = execution_service_pb2.WatchExecutionRequest(execution_id="missing")
    call = server.watch(request, metadata=server.token)
    for _ in range(2):
        await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call.read()

    assert (error.value.code(), reason(error.value)) == (grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND")


async def test_a_client_that_leaves_ends_the_stream(server: Server) -> None:
    call = server.watch(execution_service_pb2.WatchExecutionRequest(), metadata=server.token)
    await call.read()
    call.cancel()

    async with asyncio.timeout(5):
        await server.executions.cancelled.wait()


async def test_more_calls_at_once_than_allowed_are_told_to_come_back() -> None:
    token = (("authorization", f"Bearer {identity.user_token(SECRET, 'ada', 'user', 60)}"),)
    async with (
        grpc_server.serve(settings(max_concurrent_calls=1), [executions()], {}) as listening,
        grpc.aio.insecure_channel(listening.address) as channel,
    ):
        watch = execution_service_pb2_grpc.ExecutionServiceStub(channel).WatchExecution
        first = watch(execution_service_pb2.WatchExecutionRequest(), metadata=token)
        await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await watch(execution_service_pb2.WatchExecutionRequest(), metadata=token).read()
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        first.cancel()

    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(server: Server) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    answer = await stub.ServerReflectionInfo(iter([request])).read()

    names = {service.name for service in answer.list_services_response.service}
    assert {"blockyard.graph.v1.GraphService", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("service", ["", "liveness", "blockyard.graph.v1.GraphService"])
async def test_health_needs_no_token(server: Server, service: str) -> None:
    answer = await server.health.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_failing_check_ends_readiness_and_not_liveness() -> None:
    async def away() -> bool:
        raise OSError("gone")

    async with (
        grpc_server.serve(settings(), [graphs()], {"database": away}) as listening,
        grpc.aio.insecure_channel(listening.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        answers = [
            (await health.Check(health_pb2.HealthCheckRequest(service=service))).status
            for service in ("", "blockyard.graph.v1.GraphService", "liveness")
        ]

    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert answers == [not_serving, not_serving, health_pb2.HealthCheckResponse.SERVING]


async def test_a_check_that_holds_soon_is_seen_soon() -> None:
    watched = asyncio.Event()
    in_vain = iter([False, False])

    async def started() -> bool:
        return watched.is_set() and next(in_vain, True)

    async with (
        grpc_server.serve(settings(), [graphs()], {"started": started}) as listening,
        grpc.aio.insecure_channel(listening.address) as channel,
    ):
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watched.set()
        began = time.monotonic()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING

    # With two seconds between three looks it would be at least four.
    assert time.monotonic() - began < 3.5


async def test_a_stopping_server_says_so_first_and_lets_calls_end() -> None:
    async with AsyncExitStack() as stack:
        listening = await stack.enter_async_context(grpc_server.serve(settings(drain_seconds=0.5), [graphs()], {}))
        async with grpc.aio.insecure_channel(listening.address) as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
            stopping = asyncio.create_task(stack.aclose())

            assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            answer = await graph_service_pb2_grpc.GraphServiceStub(channel).GetGraph(
                graph_service_pb2.GetGraphRequest(),
                metadata=(("authorization", f"Bearer {identity.user_token(SECRET, 'ada', 'user', 60)}"),),
            )
            assert answer.graph.name == "ada"
            watching.cancel()
            await stopping


async def test_the_bound_port_is_written_to_a_file(tmp_path: Path) -> None:
    async with grpc_server.serve(settings(port_file=tmp_path / "port"), [], {}) as listening:
        assert (tmp_path / "port").read_text() == f"{listening.port}\n"


async def test_a_port_that_is_taken_is_refused_in_a_sentence(server: Server) -> None:
    port = int(server.address.rpartition(":")[2])

    with pytest.raises(StartRefused, match=f"cannot listen on 127.0.0.1:{port}"):
        async with grpc_server.serve(settings(port=port), [], {}):
            pass


async def test_a_service_calls_another_with_its_own_token_and_repeats_what_may_repeat(server: Server) -> None:
    method = "blockyard.runner.v1.CatalogueService/GetRunnableGraph"
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "execution")
    async with grpc_client.channel(server.address, credentials, idempotent=[method]) as channel:
        catalogue = catalogue_service_pb2_grpc.CatalogueServiceStub(channel)
        await catalogue.GetRunnableGraph(catalogue_service_pb2.GetRunnableGraphRequest(graph_id="twice"))

        with pytest.raises(grpc.aio.AioRpcError) as error:
            await catalogue.GetRunnableGraph(catalogue_service_pb2.GetRunnableGraphRequest(graph_id="missing"))

    assert (error.value.code(), reason(error.value)) == (grpc.StatusCode.NOT_FOUND, "GRAPH_NOT_FOUND")


def test_a_service_renews_its_token_at_half_of_its_life() -> None:
    now = 0.0
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "execution", clock=lambda: now)
    first = credentials.metadata()
    now = 29.0
    assert credentials.metadata() == first
    now = 31.0
    ((_, renewed),) = credentials.metadata()

    assert ServiceTokens(signing.SECRETS).check(renewed.removeprefix("Bearer ")).user_id == "service:execution"
