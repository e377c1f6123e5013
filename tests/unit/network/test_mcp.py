"""Tools of a real MCP server are called through egress: results, refusals, and what is sent to whom."""

import asyncio
import subprocess
import sys
import time
from typing import Any

import pytest
from aiohttp import web
from blockyard.block import BlockError, Context, Effect
from blockyard.block.preparation import prepare
from blockyard.egress import EgressFailed, EgressRefused, EgressTimeout, EgressTooLarge

from blocks.mcp.tools import ListMCPToolsBlock, MCPToolBlock
from tests.unit.egress.network import Names, egress, http_server
from tests.unit.network.mcp_server import NAME, TOKEN, mcp_server
from tests.waiting import until

REFERENCE = {"id": "1", "provider": "mcp", "type": "oauth2"}


def tool_block(seconds: float = 30.0) -> MCPToolBlock:
    return MCPToolBlock(
        lambda: egress("*.example", Names.of(mcp_example="127.0.0.1", other_example="127.0.0.1")), seconds
    )


async def called(url: str, tool: str, *, unlocked: Any = None, block: MCPToolBlock | None = None, **inputs: Any) -> Any:
    """What the tool gives; raises what makes the block fail."""
    asked = {"server_url": url, "selected_tool": tool, **inputs}
    if unlocked is not None:
        asked["credentials"] = REFERENCE
    block = block or tool_block()
    given = {} if unlocked is None else {"credentials": unlocked}
    [(pin, value)] = [output async for output in block.execute(prepare(block, asked), Context(), given)]
    assert pin == "result"
    return value


@pytest.mark.parametrize(
    "options", [{}, {"json_response": True}, {"stateless": True}], ids=["stream", "json", "stateless"]
)
async def test_tool_gives_its_structured_content(options: dict[str, bool]) -> None:
    with mcp_server(**options) as server:
        value = await called(server.url, "weather", tool_arguments={"city": "Berlin", "days": 2})
    assert value == {"city": "Berlin", "degrees": 22.0}
    assert server.calls == ["Berlin"]
    assert {host.partition(":")[0] for host in server.hosts} == {NAME}
    assert set(server.authorizations) == {""}


async def test_links_can_lead_to_single_arguments() -> None:
    with mcp_server() as server:
        inputs: dict[str, Any] = {"tool_arguments_#_city": "Oslo", "tool_arguments_#_days": 3}
        assert await called(server.url, "weather", **inputs) == {"city": "Oslo", "degrees": 23.0}


@pytest.mark.parametrize(
    ("tool", "arguments", "value"),
    [
        ("greet", {"name": "Ada ☕"}, "Hello, Ada ☕!"),
        ("as_json", {}, {"numbers": [1, 2]}),
        ("picture", {}, ["a dot", {"type": "image", "data": "aGk=", "mimeType": "image/png"}]),
    ],
)
async def test_tool_gives_what_it_sends(tool: str, arguments: dict[str, Any], value: Any) -> None:
    with mcp_server() as server:
        assert await called(server.url, tool, tool_arguments=arguments) == value


async def test_tool_that_fails_says_why_without_the_token() -> None:
    with (
        mcp_server() as server,
        pytest.raises(BlockError, match=r"fail: the tool failed: .*the well is dry") as failure,
    ):
        await called(server.url, "fail", unlocked={"access_token": TOKEN})
    assert TOKEN not in str(failure.value)


async def test_unknown_tool_is_an_error() -> None:
    with mcp_server() as server, pytest.raises(BlockError, match=r"[Uu]nknown tool"):
        await called(server.url, "missing")


async def test_arguments_that_the_server_refuses_are_an_error() -> None:
    with mcp_server() as server, pytest.raises(BlockError, match="days"):
        await called(server.url, "weather", tool_arguments={"city": "Berlin", "days": "many"})
    assert server.calls == []


@pytest.mark.parametrize("unlocked", [{"access_token": TOKEN}, {"api_key": TOKEN}], ids=["oauth2", "api key"])
async def test_token_is_sent_with_every_request(unlocked: Any) -> None:
    with mcp_server(wants_token=True) as server:
        assert await called(server.url, "greet", unlocked=unlocked, tool_arguments={"name": "Ada"}) == "Hello, Ada!"
    assert set(server.authorizations) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("unlocked", [None, {"access_token": "another secret"}])
async def test_wrong_token_is_told_without_it(unlocked: Any) -> None:
    with (
        mcp_server(wants_token=True) as server,
        pytest.raises(BlockError, match=r"does not take the credentials, or wants some \(status 401\)") as failure,
    ):
        await called(server.url, "greet", unlocked=unlocked)
    assert "another secret" not in str(failure.value)


async def test_token_does_not_follow_a_redirect_to_another_host() -> None:
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.Response(status=403)

    async with http_server(take) as other:

        async def send_on(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"http://other.example:{other}/mcp"})

        async with http_server(send_on) as port:
            with pytest.raises(BlockError):
                await called(f"http://{NAME}:{port}/mcp", "greet", unlocked={"access_token": TOKEN})
    assert set(seen) <= {""}


async def test_redirect_on_the_same_host_is_followed() -> None:
    with mcp_server(wants_token=True) as server:
        url = server.url.removesuffix("/mcp") + "/elsewhere"
        value = await called(url, "greet", unlocked={"access_token": TOKEN}, tool_arguments={"name": "Ada"})
    assert value == "Hello, Ada!"


async def test_tool_that_takes_too_long_is_given_up() -> None:
    with mcp_server() as server:
        start = time.monotonic()
        with pytest.raises(EgressTimeout, match="not done within 1 s"):
            await called(server.url, "wait", block=tool_block(1.0))
        assert time.monotonic() - start < 10


async def test_cancelled_run_ends_at_once() -> None:
    with mcp_server() as server:
        run = asyncio.create_task(called(server.url, "wait"))
        await until(lambda: server.calls == ["wait"], "the tool runs")
        run.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert time.monotonic() - start < 1


async def test_result_that_is_too_large_is_refused() -> None:
    with mcp_server(json_response=True) as server, pytest.raises(EgressTooLarge):
        await called(server.url, "much")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0x7f.1", "169.254.169.254", "internal.example"])
async def test_internal_server_is_not_reached(host: str) -> None:
    with mcp_server() as server:
        port = server.url.rpartition(":")[2]
        block = MCPToolBlock(lambda: egress("", Names.of(internal_example="127.0.0.1")))
        with pytest.raises(EgressRefused, match="which is not reached from here"):
            await called(f"http://{host}:{port}", "weather", block=block, tool_arguments={"city": "Berlin"})
    assert server.calls == []
    assert server.hosts == set()


async def test_server_that_is_not_there_is_told() -> None:
    with pytest.raises(EgressFailed, match="its host cannot be found"):
        await called("https://unknown.example/mcp", "greet")


@pytest.mark.parametrize(
    ("status", "content_type", "body", "words"),
    [
        (404, "text/html", "<p>not here</p>", r"status 404"),
        (500, "text/plain", "broken", r"status 500"),
        (200, "text/html", "<p>Hello</p>", "content type"),
        (200, "application/json", "{", "."),
        (200, "application/json", '{"hello": 1}', "."),
    ],
)
async def test_server_of_something_else_is_told(status: int, content_type: str, body: str, words: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, content_type=content_type, text=body)

    async with http_server(answer) as port:
        with pytest.raises(BlockError, match=words):
            await called(f"http://{NAME}:{port}/mcp", "greet", block=tool_block(5.0))


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}


@pytest.mark.parametrize(
    ("schema", "arguments", "words"),
    [
        (SCHEMA, {}, r"^tool_arguments: 'city' is a required property$"),
        (SCHEMA, {"city": 7}, r"^tool_arguments\.city: 7 is not of type 'string'$"),
        (SCHEMA, {"city": 7, "days": 0}, r"^tool_arguments\.city: .*; tool_arguments\.days: 0 is less than"),
        ({"type": "nonsense"}, {}, "^tool_input_schema: is no JSON schema"),
        ({"$ref": "http://127.0.0.1:9/schema"}, {}, "^tool_input_schema: refers to 'http://127.0.0.1:9/schema'"),
        ({"$ref": "#"}, {}, "^tool_input_schema: refers to itself without end"),
    ],
)
async def test_arguments_are_checked_before_the_server_is_asked(schema: Any, arguments: Any, words: str) -> None:
    block = MCPToolBlock(lambda: egress(""))
    with pytest.raises(BlockError, match=words):
        await called(f"http://{NAME}/mcp", "weather", block=block, tool_input_schema=schema, tool_arguments=arguments)


async def test_pattern_of_a_schema_costs_no_time() -> None:
    schema = {
        "properties": {"a": {"pattern": "^(a+)+$"}},
        "patternProperties": {"^(a+)+$": {"type": "string"}},
        "additionalProperties": False,
    }
    start = time.process_time()
    with mcp_server() as server:
        arguments = {"name": "Ada", "a": "a" * 40 + "b", "a" * 40 + "b": 1}
        assert await called(server.url, "greet", tool_input_schema=schema, tool_arguments=arguments) == "Hello, Ada!"
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("url", "words"),
    [("", "expected a URL"), ("ftp://mcp.example/", "only http and https"), ("http://a:b@mcp.example/", "password")],
)
async def test_url_that_is_none_is_told(url: str, words: str) -> None:
    with pytest.raises(BlockError, match=words):
        await called(url, "greet")


@pytest.mark.parametrize("unlocked", [{"username": "me"}, {}, 7])
async def test_credentials_without_a_token_are_told(unlocked: Any) -> None:
    with pytest.raises(BlockError, match="credentials: expected a credential with access_token or api_key"):
        await called("https://mcp.example/mcp", "greet", unlocked=unlocked)


async def test_tools_are_listed_with_what_they_take() -> None:
    with mcp_server() as server:
        block = ListMCPToolsBlock(lambda: egress("*.example", Names.of(mcp_example="127.0.0.1")))
        outputs = {pin: value async for pin, value in block.execute({"server_url": server.url}, Context())}
        assert outputs["names"] == ["weather", "greet", "as_json", "picture", "fail", "wait", "much"]
        tool = outputs["tools"][0]
        assert (tool["name"], tool["description"]) == ("weather", "Tells the weather of a city.")
        assert tool["input_schema"]["required"] == ["city"]
        # What is listed can be called with.
        inputs = {"tool_input_schema": tool["input_schema"], "tool_arguments": {"city": "Oslo"}}
        assert (await called(server.url, "weather", **inputs))["city"] == "Oslo"


async def test_pages_of_tools_without_end_are_bounded_in_memory() -> None:
    pages = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal pages
        if request.method != "POST":
            return web.Response(status=405)
        asked = await request.json()
        if "id" not in asked:
            return web.Response(status=202)
        if asked["method"] == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "endless", "version": "1"},
            }
        elif asked["method"] == "tools/list":
            pages += 1
            tool = {"name": f"tool{pages}", "description": "x" * (8 << 20), "inputSchema": {"type": "object"}}
            result = {"tools": [tool], "nextCursor": str(pages)}
        else:
            error = {"code": -32601, "message": "there is no such method"}
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    async with http_server(answer) as port:
        block = ListMCPToolsBlock(lambda: egress("*.example", Names.of(mcp_example="127.0.0.1")))
        with pytest.raises(EgressTooLarge, match="its answers are larger than"):
            async for _ in block.execute({"server_url": f"http://mcp.example:{port}/mcp"}, Context()):
                pass
    assert pages == 4


def test_calls_are_never_repeated_and_listings_may_be() -> None:
    assert MCPToolBlock().effect is Effect.ONCE
    assert ListMCPToolsBlock().effect is Effect.IDEMPOTENT


def test_client_is_imported_with_the_first_call_alone() -> None:
    load = "import sys; from blockyard.block.loader import load_blocks; load_blocks(['blocks'], entry_points=False)"
    subprocess.run([sys.executable, "-c", f"{load}; assert 'mcp' not in sys.modules"], check=True)
