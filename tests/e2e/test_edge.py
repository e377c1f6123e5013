"""The edge in front of the real services: the client, REST and its errors, and whom services take for the caller."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import blockyard
import httpx2
import websockets
from blockyard.dev import Stack
from blockyard.graphs import Graph

from services.gateway.contract import public_methods
from services.gateway.paths import shape

REST = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()


@asynccontextmanager
async def calling(stack: Stack, user: str = "rest") -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {stack.user_token(user)}"}
    async with httpx2.AsyncClient(base_url=stack.edge.url, headers=headers, timeout=30) as client:
        yield client


def documented() -> Iterator[tuple[str, str]]:
    """Each verb and path that the page about REST names."""
    for row in re.findall(r"^\| (`[A-Z]+ .*?) \|", REST, re.MULTILINE):
        for verbs, path in re.findall(r"`([A-Z ]+) (/[^`]+)`", row):
            yield from ((verb, shape(path)) for verb in verbs.split())


def test_every_path_of_the_page_about_rest_is_there() -> None:
    there = {(one.verb, shape(one.path)) for method in public_methods() for one in method.bindings}
    assert len(list(documented())) > 30
    assert set(documented()) - there == set()


async def test_the_client_reaches_all_services_at_the_one_address(stack: Stack) -> None:
    graph = Graph("squares")
    each = graph.add("StepThroughItemsBlock", items=graph.input("numbers"))
    square = graph.add("FormulaBlock", formula="n ** 2", values={"n": each["item"]})
    graph.output("squares", graph.add("CollectBlock", item=square["result"])["items"])
    async with blockyard.connect(stack.edge.address, stack.user_token("edge")) as client:
        assert await client.run(graph, {"numbers": [1, 2, 3]}, timeout=30) == {"squares": [[1.0, 4.0, 9.0]]}
        assert [one async for one in client.credentials.list()] == []
        key = await client.account.create_key("for rest")
    async with calling(stack) as rest:
        mine = await rest.get("/api/graphs", headers={"authorization": f"Bearer {key.key.get_secret_value()}"})
    assert [one["name"] for one in mine.json()["graphs"]] == ["squares"]


async def test_a_block_is_run_by_one_request_that_waits_for_its_end(stack: Stack) -> None:
    async with calling(stack) as rest:
        body = {"inputs": {"text": "hello", "operation": "upper"}}
        answer = await rest.post("/api/blocks/TextProcessingBlock/execute", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["nodeExecution"]["outputs"]["processed_text"] == ["HELLO"]


async def test_events_come_over_a_web_socket_and_as_server_sent_events(stack: Stack) -> None:
    graph = Graph("told")
    graph.output("text", graph.add("TextProcessingBlock", text="a", operation="upper")["processed_text"])
    async with (
        blockyard.connect(stack.edge.address, stack.user_token("told")) as client,
        calling(stack, "told") as rest,
    ):
        token = {"authorization": f"Bearer {stack.user_token('told')}"}
        address = f"ws://{stack.edge.address}/ws"
        async with (
            websockets.connect(address, additional_headers=token) as socket,
            rest.stream("GET", "/api/events") as stream,
        ):
            assert json.loads(await socket.recv())["type"] == "authenticated"
            await socket.send(json.dumps({"type": "subscribe", "id": "all", "filter": {}}))
            while json.loads(await socket.recv())["type"] != "live":
                pass
            lines = stream.aiter_lines()
            await anext(lines)  # the stream has begun
            await client.run(graph, timeout=30)
            last = "blockyard.execution.completed"
            types: list[str] = []
            while last not in types:
                types += [event["type"] for event in json.loads(await socket.recv()).get("events", [])]
            while await anext(lines) != f"event: {last}":
                pass
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["x-content-type-options"] == "nosniff"


async def test_pages_are_served_for_browsers(stack: Stack) -> None:
    async with calling(stack) as rest:
        health, contract, page = [await rest.get(path) for path in ("/health", "/openapi.json", "/docs")]
    assert health.json()["status"] == "SERVING"
    assert contract.json()["openapi"].startswith("3.")
    assert page.headers["content-type"].startswith("text/html")
    # The page says itself what it may load; the headers of the edge stay with all else.
    assert "style-src" in page.headers["content-security-policy"]
    assert health.headers["content-security-policy"].startswith("default-src 'none'")


async def test_services_refuse_in_the_form_and_status_of_rest(stack: Stack) -> None:
    async with calling(stack) as rest:
        unknown = await rest.get("/api/graphs/none")
        nobody = await rest.get("/api/graphs", headers={"authorization": "Bearer nonsense"})
        wrong = await rest.post("/api/graphs", json={"name": "empty"})
        forbidden = await rest.get("/api/users")
    reasons = [answer.json()["details"][0]["reason"] for answer in (unknown, nobody, wrong, forbidden)]
    assert [answer.status_code for answer in (unknown, nobody, wrong, forbidden)] == [404, 401, 400, 403]
    assert reasons == ["GRAPH_NOT_FOUND", "TOKEN_INVALID", "GRAPH_INVALID", "PERMISSION_DENIED"]
    assert wrong.json()["details"][1]["fieldViolations"][0]["field"] == "nodes"
