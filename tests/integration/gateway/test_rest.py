"""REST as the edge makes it of gRPC, and what it refuses before a service hears of it."""

import asyncio
import json
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from blockyard.dev.edge import WORKERS
from blockyard.event.v1.event_pb2 import Event
from blockyard.execution.v1.execution_pb2 import Execution
from blockyard.execution.v1.execution_service_pb2 import (
    GetExecutionResponse,
    StartExecutionRequest,
    StartExecutionResponse,
    WatchExecutionResponse,
)
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.graph_service_pb2 import (
    CreateGraphRequest,
    CreateGraphResponse,
    GetGraphResponse,
    UpdateGraphRequest,
    UpdateGraphResponse,
)
from google.protobuf.json_format import MessageToDict

from tests.integration.gateway.conftest import BODY_BYTES, TIMEOUT_SECONDS, Front, fronted
from tests.integration.gateway.upstream import Context, answering
from tests.waiting import until

CREATE = "graph.v1.GraphService/CreateGraph"
GET = "graph.v1.GraphService/GetGraph"
START = "execution.v1.ExecutionService/StartExecution"
WATCH = "execution.v1.ExecutionService/WatchExecution"
GET_EXECUTION = "execution.v1.ExecutionService/GetExecution"
CREATED = CreateGraphResponse(graph=Graph(id="g", version=3))
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def error(answer: Any) -> tuple[str, str]:  # Any: an answer of the client
    """Reason and message of an error in the form that all of them have."""
    content = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(content["code"], int)
    (info,) = [detail for detail in content["details"] if detail["@type"].endswith("google.rpc.ErrorInfo")]
    assert info["domain"] == "blockyard"
    return info["reason"], content["message"]


async def test_path_query_and_body_become_one_request_and_the_answer_json(front: Front) -> None:
    front.answer(CREATE, answering(CREATED))
    graph = {"name": "made", "nodes": [{"id": "a", "block_id": "b", "inputs": {"any": [1, {"thing": None}]}}]}
    answer = await front.client.post("/api/graphs", params={"request_id": "once"}, json=graph)
    assert (answer.status_code, answer.json()) == (200, MessageToDict(CREATED))
    request = CreateGraphRequest.FromString(front.graph.calls[0].request)
    assert (request.request_id, request.graph.name, request.graph.nodes[0].block_id) == ("once", "made", "b")
    assert MessageToDict(request.graph.nodes[0].inputs) == {"any": [1, {"thing": None}]}


async def test_an_update_of_all_fields_is_asked_for_by_a_star(front: Front) -> None:
    front.answer("graph.v1.GraphService/UpdateGraph", answering(UpdateGraphResponse()))
    answer = await front.client.patch("/api/graphs/g", params={"updateMask": "*"}, json={"name": "new"})
    assert answer.status_code == 200
    request = UpdateGraphRequest.FromString(front.graph.calls[0].request)
    assert (list(request.update_mask.paths), request.graph.id, request.graph.name) == (["*"], "g", "new")


async def test_integers_of_64_bits_are_texts_and_taken_in_both_forms(front: Front) -> None:
    front.answer(GET_EXECUTION, answering(GetExecutionResponse(execution=Execution(id="e", node_executions=2**60))))
    answer = await front.client.get("/api/executions/e")
    assert answer.json()["execution"]["nodeExecutions"] == str(2**60)


async def test_every_answer_carries_the_headers_that_keep_browsers_safe_and_no_banner(front: Front) -> None:
    front.answer(GET, answering(GetGraphResponse()))
    answers = [await front.client.get(path) for path in ("/api/graphs/g", "/nothing", "/api/graphs/g?wrong=1", "/ws")]
    assert [answer.status_code for answer in answers] == [200, 404, 400, 503]
    for answer in answers:
        assert answer.headers.items() >= SECURITY.items()
        assert "server" not in answer.headers
        assert not [name for name in answer.headers if name.startswith(("x-envoy", "grpc-"))]
        assert "strict-transport-security" not in answer.headers
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b'{"nmae": "x"}', "nmae"),
        (b'{"nodes": [{}, {"id": "a", "imputs": {}}]}', "nodes[1].imputs"),
        (b' { "limits" : { "max_duratoin" : "1s" } , "links":[ ] , "zz" : [[{"\\"":1}]] } ', "limits.max_duratoin, zz"),
        (b'{"graph_id": "not in the body of this method"}', "graph_id"),
    ],
    ids=["plain", "in a list", "several", "of another message"],
)
async def test_fields_that_do_not_exist_are_refused_by_their_place(front: Front, content: bytes, named: str) -> None:
    front.answer(CREATE, answering(CREATED))
    answer = await front.client.post("/api/graphs", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert error(answer) == ("INVALID_REQUEST", f"{named}: there is no such field.")
    assert front.graph.calls == []


@pytest.mark.parametrize("depth", [2, 4_000, 10_000])
async def test_lists_within_lists_are_refused_at_once_and_hold_nobody_up(front: Front, depth: int) -> None:
    front.answer(CREATE, answering(CREATED))
    front.answer(GET, answering(GetGraphResponse()))
    nested = b"[" * depth + b"]" * depth
    content = b'{"nodes":[%b]}' % b",".join([nested] * (BODY_BYTES // len(nested) // 2))
    kind = {"content-type": "application/json"}
    log = front.edge.process.log_file
    async with asyncio.TaskGroup() as group:
        posts = [front.client.post("/api/graphs", content=content, headers=kind) for _ in range(2 * WORKERS)]
        refused = [group.create_task(post) for post in posts]
        assert (await front.client.get("/api/graphs/g")).status_code == 200
    for answer in refused:
        assert answer.result().status_code == 400
        assert error(answer.result()) == ("INVALID_REQUEST", "nodes[0]: no list may stand within a list here.")
    assert "script log" not in log.read_text()


async def test_of_many_fields_that_do_not_exist_the_first_are_named(front: Front) -> None:
    front.answer(CREATE, answering(CREATED))
    answer = await front.client.post("/api/graphs", json={f"n{number}": number for number in range(100_000)})
    assert answer.status_code == 400
    assert error(answer)[1] == ", ".join(f"n{number}" for number in range(10)) + ": there is no such field."


async def test_names_within_free_values_and_maps_are_the_callers_own(front: Front) -> None:
    front.answer(START, answering(StartExecutionResponse()))
    body = {"inputs": {"any": {"name": ["{", '"', "\\"]}}, "labels": {"my": "own"}, "credentials": {"n.pin": "id"}}
    answer = await front.client.post("/api/graphs/g/execute/2", json=body)
    assert answer.status_code == 200, answer.text
    (call,) = [call for upstream in front.execution for call in upstream.calls]
    request = StartExecutionRequest.FromString(call.request)
    assert (request.graph_id, request.graph_version, dict(request.labels)) == ("g", 2, {"my": "own"})
    assert MessageToDict(request.inputs) == body["inputs"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"name":',
        b"{",
        b"[1]",
        b"nonsense",
        b'{"name": 5}',
        b'{"name": "a"}}',
        b'{"nodes": [{"id": ]}',
        b'{"nodes":' * 5000,
        b'{"inputSchema":' + b"[" * 50_000,
        b"\x00\xff",
        b'"\\',
    ],
    ids=lambda content: content[:12].decode(errors="replace"),
)
async def test_what_is_no_json_of_the_method_is_refused(front: Front, content: bytes) -> None:
    front.answer(CREATE, answering(CREATED))
    answer = await front.client.post("/api/graphs", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert error(answer)[0] == "INVALID_REQUEST"
    assert front.graph.calls == []


@pytest.mark.parametrize(
    ("query", "named"), [("wrong=1", '"wrong"'), ("graph_version=x", "graph_version"), ("version_=1", '"version_"')]
)
async def test_parameters_that_do_not_exist_or_fit_are_refused_by_name(front: Front, query: str, named: str) -> None:
    front.answer(GET, answering(GetGraphResponse()))
    answer = await front.client.get(f"/api/graphs/g?{query.replace('graph_version', 'version')}")
    assert answer.status_code == 400
    assert named.replace("graph_version", "version") in error(answer)[1]
    assert front.graph.calls == []


async def test_a_path_is_refused_with_what_it_takes_and_an_unknown_one_says_so(front: Front) -> None:
    wrong = await front.client.request("PUT", "/api/graphs/g")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "DELETE, GET, PATCH")
    assert error(wrong) == ("INVALID_REQUEST", "This path takes DELETE, GET, PATCH.")
    unknown = await front.client.get("/api/graph")
    assert unknown.status_code == 404
    assert error(unknown)[0] == "PATH_NOT_FOUND"


async def test_a_body_must_be_json_and_say_so(front: Front) -> None:
    front.answer(CREATE, answering(CREATED))
    form = await front.client.post("/api/graphs", data={"name": "x"})
    assert form.status_code == 415
    assert "content-type: application/json" in error(form)[1]
    spelled = {"content-type": "application/json; charset=utf-8"}
    assert (await front.client.post("/api/graphs", content=b"{}", headers=spelled)).status_code == 200


async def test_bodies_and_headers_have_limits(front: Front) -> None:
    front.answer(CREATE, answering(CREATED))
    fits = await front.client.post("/api/graphs", json={"description": "a" * (BODY_BYTES - 100)})
    assert fits.status_code == 200
    large = await front.client.post("/api/graphs", json={"description": "a" * BODY_BYTES})
    assert (large.status_code, error(large)[0]) == (413, "INVALID_REQUEST")
    headers = await front.client.get("/api/graphs/g", headers={"x-long": "a" * 40_000})
    assert (headers.status_code, error(headers)[0]) == (431, "INVALID_REQUEST")


async def test_a_body_that_is_too_large_as_a_message_is_too_large(front: Front) -> None:
    front.answer(CREATE, answering(CREATED))
    # gRPC's own limit is 4 MiB at this upstream, and a number takes 13 bytes in google.protobuf.Struct.
    dense = await front.client.post("/api/graphs", json={"inputSchema": {"numbers": [1] * 500_000}})
    assert (dense.status_code, dense.json()["code"], error(dense)[0]) == (413, 8, "INVALID_REQUEST")


async def test_a_large_answer_comes_whole(front: Front) -> None:
    text = "ä" * 2_000_000
    front.answer(GET, answering(GetGraphResponse(graph=Graph(description=text))))
    assert (await front.client.get("/api/graphs/g")).json()["graph"]["description"] == text


async def test_answers_of_a_stream_come_one_by_one_and_unheld(front: Front) -> None:
    seen = asyncio.Event()

    async def answer(_: bytes, context: Context) -> None:
        for sequence in (1, 2):
            message = WatchExecutionResponse(events=[Event(sequence=sequence)])
            await context.write(message.SerializeToString())
            await seen.wait()

    front.answer(WATCH, answer)
    async with front.client.stream("GET", "/api/executions/e:watch", params={"after_sequence": 7}) as answers:
        lines = answers.aiter_lines()
        first = json.loads(await anext(lines))
        seen.set()
        rest = [json.loads(line) async for line in lines]
    assert answers.headers["content-type"] == "application/x-ndjson"
    assert [first, *rest] == [{"events": [{"sequence": "1"}]}, {"events": [{"sequence": "2"}]}]


async def test_a_stream_may_be_silent_for_longer_than_a_call_may_take(front: Front) -> None:
    async def answer(_: bytes, context: Context) -> None:
        late = time.monotonic() + TIMEOUT_SECONDS + 1
        await until(lambda: time.monotonic() > late, "it takes longer than calls may")
        await context.write(WatchExecutionResponse().SerializeToString())

    front.answer(WATCH, answer)
    assert (await front.client.get("/api/executions/e:watch")).text == "{}\n"


async def test_a_call_that_takes_too_long_is_given_up_and_the_service_knew_until_when(front: Front) -> None:
    remaining: list[float | None] = []

    async def answer(_: bytes, context: Context) -> None:
        remaining.append(context.time_remaining())
        await asyncio.Event().wait()

    front.answer(GET, answer)
    late = await front.client.get("/api/graphs/g")
    assert (late.status_code, error(late)[0]) == (504, "UNAVAILABLE")
    assert remaining[0] is not None
    assert 0 < remaining[0] <= TIMEOUT_SECONDS + 1


@pytest.mark.parametrize(
    ("code", "status", "reason", "retry_after"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, "UNAVAILABLE", None),
        (grpc.StatusCode.UNAVAILABLE, 503, "UNAVAILABLE", "1"),
        (grpc.StatusCode.UNIMPLEMENTED, 501, "INVALID_REQUEST", None),
        (grpc.StatusCode.INTERNAL, 500, "INTERNAL", None),
    ],
)
async def test_errors_of_the_library_of_a_service_have_the_form_of_all(
    front: Front, code: grpc.StatusCode, status: int, reason: str, retry_after: str | None
) -> None:
    async def answer(_: bytes, context: Context) -> None:
        await context.abort(code, 'said "so", {shortly}')

    front.answer(CREATE, answer)
    answered = await front.client.post("/api/graphs", json={})
    assert (answered.status_code, error(answered)) == (status, (reason, 'said "so", {shortly}'))
    assert answered.headers.get("retry-after") == retry_after


async def test_headers_of_the_caller_reach_the_service(front: Front) -> None:
    front.answer(GET, answering(GetGraphResponse()))
    sent = {
        "authorization": "Bearer token",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-request-id": "mine",
        "x-hub-signature-256": "sha256=ab",
    }
    answer = await front.client.get("/api/graphs/g", headers=sent | {"x-forwarded-for": "192.0.2.1"})
    assert front.graph.calls[0].metadata.items() >= sent.items()
    # Of a caller on the same machine the edge writes the machine's own address, whatever that is.
    before, _, added = front.graph.calls[0].metadata["x-forwarded-for"].partition(",")
    assert before == "192.0.2.1"
    assert ip_address(added)
    assert answer.headers["x-request-id"] == "mine"


async def test_pages_of_allowed_origins_may_call_and_no_others(front: Front) -> None:
    front.answer(GET, answering(GetGraphResponse()))
    asked = {"access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}
    allowed = await front.client.options("/api/graphs/g", headers={"origin": "https://app.example", **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "PATCH" in allowed.headers["access-control-allow-methods"]
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    called = await front.client.get("/api/graphs/g", headers={"origin": "https://app.example"})
    assert "retry-after" in called.headers["access-control-expose-headers"]
    refused = await front.client.options("/api/graphs/g", headers={"origin": "https://evil.example", **asked})
    called = await front.client.get("/api/graphs/g", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in {*refused.headers, *called.headers}


async def test_a_client_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    slow = {"BLOCKYARD_EDGE_CLIENT_RATE": "1", "BLOCKYARD_EDGE_CLIENT_BURST": "3"}
    async with fronted(tmp_path, slow) as front:
        front.answer(GET, answering(GetGraphResponse()))
        answers = [await front.client.get("/api/graphs/g") for _ in range(10)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:3] == [200, 200, 200]
    limited = answers[statuses.index(429)]
    assert (error(limited)[0], limited.headers["retry-after"]) == ("RATE_LIMITED", "1")
    assert limited.headers.items() >= SECURITY.items()
