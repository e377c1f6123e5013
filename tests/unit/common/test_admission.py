"""What stands before every call, over real gRPC: limits, ids of requests, and what the audit log is told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.execution.v1 import execution_service_pb2, execution_service_pb2_grpc
from blockyard.graph.v1 import graph_service_pb2, graph_service_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common import audit, grpc_server, identity
from services.common.audit import AuditLog
from services.common.errors import Unavailable
from services.common.permissions import Role
from tests import signing
from tests.unit.common import test_grpc_server as servers
from tests.unit.common.directory import Directory
from tests.unit.common.raw_calls import call_raw
from tests.waiting import until

GET = graph_service_pb2.GetGraphRequest(graph_id="any")


@dataclass(eq=False)
class Records:
    """Keeps entries in memory, as the account service does in its database."""

    entries: list[AuditEntry] = field(default_factory=list)
    away: bool = False
    calls: int = 0

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        self.calls += 1
        if self.away:
            raise Unavailable
        known = {one.id for one in self.entries}
        self.entries += [one for one in entries if one.id not in known]


class Graphs(servers.Graphs):
    """Deletes graphs as well."""

    async def DeleteGraph(
        self, request: graph_service_pb2.DeleteGraphRequest, context: object
    ) -> graph_service_pb2.DeleteGraphResponse:
        if request.graph_id in servers.FAILURES:
            raise servers.FAILURES[request.graph_id]
        return graph_service_pb2.DeleteGraphResponse()


class Ticking(execution_service_pb2_grpc.ExecutionServiceServicer):
    """Streams an answer whenever the test says so."""

    def __init__(self) -> None:
        self.ticks = asyncio.Semaphore(0)

    async def WatchExecution(
        self, request: execution_service_pb2.WatchExecutionRequest, context: object
    ) -> AsyncIterator[execution_service_pb2.WatchExecutionResponse]:
        while True:
            await self.ticks.acquire()
            yield execution_service_pb2.WatchExecutionResponse()


@dataclass(eq=False)
class Server:
    """A running server, and callers of it."""

    address: str
    channel: grpc.aio.Channel
    records: Records
    directory: Directory
    ticking: Ticking

    def get(self, user_id: str = "ada", role: str = "user", **metadata: str) -> Any:
        return graph_service_pb2_grpc.GraphServiceStub(self.channel).GetGraph(
            GET, metadata=self.metadata(user_id, role, **metadata), timeout=10
        )

    def delete(self, graph_id: str, user_id: str = "ada", **metadata: str) -> Any:
        return graph_service_pb2_grpc.GraphServiceStub(self.channel).DeleteGraph(
            graph_service_pb2.DeleteGraphRequest(graph_id=graph_id), metadata=self.metadata(user_id, **metadata)
        )

    def watch(self, user_id: str = "ada") -> Any:
        return execution_service_pb2_grpc.ExecutionServiceStub(self.channel).WatchExecution(
            execution_service_pb2.WatchExecutionRequest(), metadata=self.metadata(user_id), timeout=30
        )

    def metadata(self, user_id: str, role: str = "user", **more: str) -> list[tuple[str, str]]:
        token = identity.user_token(signing.JWT_SECRET, user_id, role, 600)
        return [
            ("authorization", f"Bearer {token}"),
            *((name.replace("_", "-"), value) for name, value in more.items()),
        ]


@asynccontextmanager
async def serving(**changes: object) -> AsyncIterator[Server]:
    records, directory, ticking = Records(), Directory(), Ticking()  # type: ignore[abstract]
    registrations: list[grpc_server.Registration] = [
        (graph_service_pb2_grpc.add_GraphServiceServicer_to_server, Graphs()),  # type: ignore[abstract]
        (execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server, ticking),
    ]
    async with AsyncExitStack() as stack:
        settings = servers.settings(**changes)
        server = grpc_server.serve(settings, registrations, {}, identities=directory, recorder=records)
        listening = await stack.enter_async_context(server)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(listening.address))
        yield Server(listening.address, channel, records, directory, ticking)


async def headers(call: Any) -> dict[str, str]:
    return {key: value for key, value in await call.initial_metadata() if key.startswith("x-ratelimit")}


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def test_a_limited_call_tells_what_is_left_and_the_next_too_many_when_it_may_come() -> None:
    async with serving(rate_limit_read="2/hour") as server:
        first = server.get()
        await first
        await server.get()
        refused_call = server.get()
        error = await refusal(refused_call)

        assert await headers(first) == {
            "x-ratelimit-limit": "2",
            "x-ratelimit-remaining": "1",
            "x-ratelimit-reset": "1800",
        }
        assert (error.code(), servers.reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert 1700 < servers.details(error, error_details_pb2.RetryInfo).retry_delay.seconds <= 1800
        assert (await headers(refused_call))["x-ratelimit-remaining"] == "0"


async def test_limits_hold_for_each_user_and_each_class_apart() -> None:
    async with serving(rate_limit_read="1/hour", rate_limit_write="1/hour") as server:
        await server.get("ada")
        await server.get("ben")
        await server.delete("any", "ada")

        assert servers.reason(await refusal(server.get("ada"))) == "RATE_LIMITED"
        assert servers.reason(await refusal(server.delete("any", "ada"))) == "RATE_LIMITED"


async def test_replicas_let_their_part_through() -> None:
    async with serving(rate_limit_read="4/hour", rate_limit_replicas=2) as server:
        await server.get()
        call = server.get()
        await call

        assert (await headers(call))["x-ratelimit-limit"] == "2"
        assert servers.reason(await refusal(server.get())) == "RATE_LIMITED"


async def test_a_stream_counts_once_and_tells_what_is_left_before_its_first_answer() -> None:
    async with serving(rate_limit_read="2/hour") as server:
        call = server.watch()

        server.ticking.ticks.release()
        assert (await headers(call))["x-ratelimit-remaining"] == "1"
        for _ in range(3):
            server.ticking.ticks.release()
            await call.read()
        await server.get()
        assert servers.reason(await refusal(server.get())) == "RATE_LIMITED"
        call.cancel()


async def test_a_stream_that_is_refused_begins_with_the_refusal_and_so_is_an_error_over_http() -> None:
    async with serving(rate_limit_read="1/hour") as server:
        await server.get()
        call = server.watch()

        assert servers.reason(await refusal(call.read())) == "RATE_LIMITED"
        assert await headers(call) == {}
        assert ("x-ratelimit-remaining", "0") in list(await call.trailing_metadata())


async def test_without_limits_nothing_is_told_and_health_is_never_limited() -> None:
    async with serving(rate_limit_write="1/hour") as server:
        call = server.get()
        await call
        assert await headers(call) == {}
        health = health_pb2_grpc.HealthStub(server.channel)
        for _ in range(5):
            await health.Check(health_pb2.HealthCheckRequest())


async def test_who_is_refused_by_a_limit_is_noted_a_few_times() -> None:
    async with serving(rate_limit_read="1/hour") as server:
        await server.get()
        for _ in range(30):
            await refusal(server.get())
        await server.delete("last")

        await until(lambda: any(one.resource == "graphs/last" for one in server.records.entries), "all is noted")
        refused = [one for one in server.records.entries if one.outcome == "RATE_LIMITED"]
        assert 1 <= len(refused) <= 10
        assert refused[0].actor == "ada"


async def test_the_id_of_a_request_comes_back_or_is_made() -> None:
    async with serving() as server:
        given, made, odd = server.get(x_request_id="trace-7"), server.get(), server.get(x_request_id="a b" * 100)
        failed = server.delete("missing", x_request_id="trace-8")
        ids = []
        for call in (given, made, odd):
            await call
            ids.append(dict(await call.trailing_metadata())["x-request-id"])
        await refusal(failed)

        assert ids[0] == "trace-7"
        assert [len(one) for one in ids[1:]] == [32, 32]
        assert dict(await failed.trailing_metadata())["x-request-id"] == "trace-8"


async def test_where_a_call_came_from_is_noted_as_trusted_proxies_say() -> None:
    async with serving(trusted_proxies="127.0.0.0/8") as trusting, serving() as careful:
        for server in (trusting, careful):
            await server.delete("g-1", x_forwarded_for="203.0.113.5, 198.51.100.7", x_request_id="r-1")

        for server, address in ((trusting, "198.51.100.7"), (careful, "127.0.0.1")):
            await until(lambda server=server: server.records.entries, "the call is noted")  # type: ignore[misc]
            [entry] = server.records.entries
            assert (entry.address, entry.request_id, entry.resource) == (address, "r-1", "graphs/g-1")
            assert entry.action == "blockyard.graph.v1.GraphService/DeleteGraph"


async def test_reading_is_not_noted_and_what_fails_is() -> None:
    async with serving() as server:
        await server.get()
        await refusal(server.delete("missing"))
        await server.delete("there")

        await until(lambda: len(server.records.entries) == 2, "two calls are noted")
        assert [one.outcome for one in server.records.entries] == ["GRAPH_NOT_FOUND", "OK"]


async def test_entries_wait_while_they_cannot_be_kept_and_none_comes_twice_or_is_missing() -> None:
    async with serving() as server:
        server.records.away = True
        for number in range(5):
            await server.delete(f"graph-{number}")
        await until(lambda: server.records.calls >= 2, "it is tried again")
        server.records.away = False

        await until(lambda: len(server.records.entries) == 5, "all are kept", seconds=10)
        assert [one.resource for one in server.records.entries] == [f"graphs/graph-{number}" for number in range(5)]


async def test_a_full_queue_drops_what_comes_and_counts_it() -> None:
    records = Records(away=True)
    log = AuditLog(records, most=3)
    identity.set_caller(identity.Caller("ada", Role.USER))
    before = audit.DROPPED._value.get()

    for number in range(5):
        log.record(audit.entry("test", f"things/{number}"))
    records.away = False
    await log.flush()

    assert [one.resource for one in records.entries] == ["things/0", "things/1", "things/2"]
    assert audit.DROPPED._value.get() - before == 2


async def test_what_a_header_holds_can_be_kept_whatever_it_is() -> None:
    delete = "/blockyard.graph.v1.GraphService/DeleteGraph"
    async with serving() as server:
        for agent in (b"nul\x00", b"\x1b[31mred\x7f", b"\xff\xfe\x85", "\u2028".encode(), b"a" * 5_000):
            await call_raw(server.address, delete, [(b"user-agent", agent), (b"x-request-id", agent)])

        await until(lambda: len(server.records.entries) == 5, "all are noted")
        agents = [one.user_agent for one in server.records.entries]
        ids = [one.request_id for one in server.records.entries]
    assert all(agent.isprintable() and len(agent) <= 200 for agent in agents)
    assert all(len(request_id) == 32 and request_id.isalnum() for request_id in ids)
    assert agents[0] == "nul "


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\xff\xfe", b"\x93" * 1_000])
async def test_bytes_that_are_no_message_are_refused_in_words_to_who_may_call(data: bytes) -> None:
    async with serving() as server:
        delete: Any = server.channel.unary_unary("/blockyard.graph.v1.GraphService/DeleteGraph")
        watch: Any = server.channel.unary_stream("/blockyard.execution.v1.ExecutionService/WatchExecution")

        stranger = await refusal(delete(data, timeout=10))
        known = await refusal(delete(data, metadata=server.metadata("ada"), timeout=10))
        watcher = await refusal(watch(data, metadata=server.metadata("ada"), timeout=10).read())

        assert servers.reason(stranger) == "TOKEN_MISSING"
        for error in (known, watcher):
            assert (error.code(), servers.reason(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        await until(lambda: len(server.records.entries) == 2, "both are noted")
        assert [(one.actor, one.resource) for one in server.records.entries] == [("", "graphs"), ("ada", "graphs")]


async def test_two_tokens_in_one_call_are_none() -> None:
    async with serving() as server:
        twice = [*server.metadata("ada"), *server.metadata("bob")]
        call = graph_service_pb2_grpc.GraphServiceStub(server.channel).GetGraph(GET, metadata=twice, timeout=10)

        assert servers.reason(await refusal(call)) == "TOKEN_INVALID"


async def test_who_is_not_known_does_not_fill_the_log_while_the_account_service_is_away() -> None:
    async with serving() as server:
        server.directory.away = True
        for number in range(30):
            key = [("authorization", f"Bearer by_abcdefgh_{number:043}")]
            call = graph_service_pb2_grpc.GraphServiceStub(server.channel).DeleteGraph(
                graph_service_pb2.DeleteGraphRequest(), metadata=key, timeout=10
            )
            assert (await refusal(call)).code() is grpc.StatusCode.UNAVAILABLE
        server.directory.away = False
        await server.delete("mine")

        await until(lambda: server.records.entries, "what was done is noted")
        assert [one.actor for one in server.records.entries] == ["ada"]


async def test_what_is_not_sent_yet_is_sent_at_the_end() -> None:
    async with serving() as server:
        await server.delete("last")
        records = server.records

    assert [one.resource for one in records.entries] == ["graphs/last"]


async def test_a_stream_tells_nothing_more_to_a_user_who_was_disabled() -> None:
    async with serving() as server:
        call = server.watch("ada")
        server.ticking.ticks.release()
        await call.read()
        server.directory.disabled.add("ada")

        async def ended() -> str:
            server.ticking.ticks.release()
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                return servers.reason(error)
            return ""

        assert await until(ended, "the stream ends", seconds=8) == "USER_DISABLED"
