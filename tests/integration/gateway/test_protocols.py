"""What else the edge speaks: gRPC and gRPC-Web as they are, many calls at once, and services that go and come."""

import asyncio
import json
import re
import struct
import time
from collections import Counter

import grpc
import pytest
from blockyard.account.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
)
from blockyard.execution.v1 import execution_service_pb2_grpc
from blockyard.execution.v1.execution_pb2 import Execution
from blockyard.execution.v1.execution_service_pb2 import (
    GetExecutionRequest,
    GetExecutionResponse,
    WatchExecutionRequest,
    WatchExecutionResponse,
)
from blockyard.graph.v1 import graph_service_pb2_grpc
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.graph_service_pb2 import GetGraphRequest, GetGraphResponse
from grpc_status import rpc_status

from services.common import error_status
from services.common.errors import NotFound
from services.gateway.contract import public_methods
from tests.integration.gateway.conftest import TIMEOUT_SECONDS, Front
from tests.integration.gateway.upstream import Context, answering, failing
from tests.metrics import OF_THE_EDGE
from tests.waiting import until

GET = "graph.v1.GraphService/GetGraph"
GET_EXECUTION = "execution.v1.ExecutionService/GetExecution"
WATCH = "execution.v1.ExecutionService/WatchExecution"
FOUND = GetExecutionResponse(execution=Execution(id="e"))


async def test_grpc_passes_with_its_errors_whole(front: Front) -> None:
    said = error_status.status_of(NotFound("There is no such graph."))
    front.answer(GET, failing(said))
    front.answer(WATCH, answering(WatchExecutionResponse(), WatchExecutionResponse()))
    async with grpc.aio.insecure_channel(front.edge.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await graph_service_pb2_grpc.GraphServiceStub(channel).GetGraph(GetGraphRequest(graph_id="g"))
        executions = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        watched = [one async for one in executions.WatchExecution(WatchExecutionRequest(execution_id="e"))]
    assert rpc_status.from_call(refused.value) == said
    assert len(watched) == 2


async def test_a_deadline_of_the_caller_may_be_later_than_the_edges(front: Front) -> None:
    async def answer(_: bytes, context: Context) -> None:
        late = time.monotonic() + TIMEOUT_SECONDS + 1
        await until(lambda: time.monotonic() > late, "it takes longer than calls may")
        await context.write(GetGraphResponse().SerializeToString())

    front.answer(GET, answer)
    async with grpc.aio.insecure_channel(front.edge.address) as channel:
        await graph_service_pb2_grpc.GraphServiceStub(channel).GetGraph(GetGraphRequest(), timeout=20)


async def test_what_is_not_public_does_not_exist_outside(front: Front) -> None:
    front.answer("account.v1.IdentityService/Identify", answering(identity_service_pb2.IdentifyResponse()))
    async with grpc.aio.insecure_channel(front.edge.address) as channel:
        stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Identify(identity_service_pb2.IdentifyRequest())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (await front.client.post("/blockyard.graph.v1.GraphService/GetGraph", json={})).status_code == 404


async def test_every_address_of_the_contract_leads_to_its_method(front: Front) -> None:
    said = error_status.status_of(NotFound())
    there = [method for method in public_methods() if method.domain != "account"]
    for method in there:
        front.answer(method.path.removeprefix("/blockyard."), failing(said))
    wrong: list[str] = []
    addresses = [(method, binding) for method in there for binding in method.bindings]
    for method, binding in addresses:
        path = re.sub(r"\{[^}]*\}", "7", binding.path)
        answer = await front.client.request(binding.verb, path, json={} if binding.body else None)
        upstreams = (front.graph, *front.execution)
        called = {call.method for upstream in upstreams for call in upstream.calls}
        if (answer.status_code, called) != (404, {method.path}):
            wrong.append(f"{binding.verb} {path}: {answer.status_code} {called}")
        for upstream in upstreams:
            upstream.calls.clear()
    assert len(there) > 50
    assert wrong == []


async def test_a_service_that_is_away_is_unavailable_to_grpc(front: Front) -> None:
    async with grpc.aio.insecure_channel(front.edge.address) as channel:
        stub = account_service_pb2_grpc.AccountServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as away:
            await stub.GetUser(account_service_pb2.GetUserRequest())
    assert away.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "{" not in (away.value.details() or "")


async def test_grpc_web_passes_in_its_frames(front: Front) -> None:
    front.answer(GET, answering(GetGraphResponse(graph=Graph(id="g"))))
    request = GetGraphRequest(graph_id="g").SerializeToString()
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": "https://app.example"}
    body = struct.pack(">BI", 0, len(request)) + request
    answer = await front.client.post("/blockyard.graph.v1.GraphService/GetGraph", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    kind, length = struct.unpack_from(">BI", answer.content)
    assert (kind, GetGraphResponse.FromString(answer.content[5 : 5 + length]).graph.id) == (0, "g")
    end, _ = struct.unpack_from(">BI", answer.content, 5 + length)
    assert end == 0x80
    assert b"grpc-status:0" in answer.content[10 + length :]


async def test_a_hundred_calls_at_once_are_shared_by_the_replicas(front: Front) -> None:
    await front.whole()
    front.answer(GET_EXECUTION, answering(FOUND))
    answers = await asyncio.gather(*(front.client.get(f"/api/executions/{number}") for number in range(100)))
    assert Counter(answer.status_code for answer in answers) == {200: 100}
    asked = [GetExecutionRequest.FromString(call.request) for one in front.execution for call in one.calls]
    assert {request.execution_id for request in asked} == {str(number) for number in range(100)}
    assert all(len(one.calls) >= 40 for one in front.execution)


async def test_a_replica_that_dies_is_not_missed_and_when_all_are_gone_they_are_waited_for(front: Front) -> None:
    await front.whole()
    front.answer(GET_EXECUTION, answering(FOUND))
    first, second = front.execution
    await first.stop()
    answers = [await front.client.get("/api/executions/e") for _ in range(20)]
    assert Counter(answer.status_code for answer in answers) == {200: 20}

    await second.stop()
    away = await front.client.get("/api/executions/e")
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    assert away.json()["details"][0]["reason"] == "UNAVAILABLE"

    await first.start()
    await second.start()

    async def back() -> bool:
        return (await front.client.get("/api/executions/e")).status_code == 200

    await until(back, "the service is back")


async def logged_as(front: Front, request_id: str) -> dict[str, object]:
    """What the edge logs of a call."""
    log_file = front.edge.process.log_file

    def entry() -> str:
        return next((line for line in log_file.read_text().splitlines() if f'"{request_id}"' in line), "")

    logged: dict[str, object] = json.loads(await until(entry, "the call is logged"))
    return logged


async def test_each_call_is_logged_as_json_without_its_query(front: Front) -> None:
    front.answer(GET, failing(error_status.status_of(NotFound())))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"x-request-id": "logged", "traceparent": trace, "user-agent": 'a "test"'}
    await front.client.get("/api/graphs/g?version=17", headers=headers)
    logged = await logged_as(front, "logged")
    assert logged["path"] == "/api/graphs/g"
    assert logged["rpc"] == "/blockyard.graph.v1.GraphService/GetGraph"
    assert (logged["method"], logged["status"], logged["upstream"]) == ("GET", 404, "graph")
    assert (logged["traceparent"], logged["address"]) == (trace, "127.0.0.1")


async def test_what_a_call_was_is_said_by_the_edge_and_not_by_who_calls(front: Front) -> None:
    front.answer(GET, answering(GetGraphResponse()))
    forged = {"x-envoy-original-method": "DELETE", "x-envoy-original-path": "/forged"}
    await front.client.get("/api/graphs/g", headers=forged | {"x-request-id": "forged-call"})
    await front.client.get("/nothing", headers=forged | {"x-request-id": "forged-nothing"})
    metadata = front.graph.calls[0].metadata
    assert (metadata["x-envoy-original-method"], metadata["x-envoy-original-path"]) == ("GET", "/api/graphs/g")
    for request_id, path in (("forged-call", "/api/graphs/g"), ("forged-nothing", "/nothing")):
        logged = await logged_as(front, request_id)
        assert (logged["method"], logged["path"]) == ("GET", path)


async def test_probes_and_metrics_are_apart_and_nothing_else_of_the_administration_is(front: Front) -> None:
    observed = f"http://127.0.0.1:{front.edge.observation_port}"
    assert (await front.client.get(f"{observed}/ready")).text == "LIVE\n"
    await front.whole()
    metrics = (await front.client.get(f"{observed}/metrics")).text
    for one in OF_THE_EDGE:
        assert f"# TYPE {one.name} {one.kind}\n" in metrics
        for name in one.samples():
            first = metrics.partition(f"\n{name}{{")[2].partition("}")[0]
            assert set(one.labels) <= set(re.findall(r"(\w+)=", first)), name
    for path in ("/config_dump", "/quitquitquit", "/stats"):
        assert (await front.client.post(f"{observed}{path}")).status_code == 404
        assert (await front.client.get(path)).status_code == 404
