"""Asks a server of the Model Context Protocol: which tools it has, and what one of them gives.

The client is imported with the first call: it takes seconds, and every process that runs blocks imports this package.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blockyard import values
from blockyard.block import BlockExecutionError
from blockyard.egress import Egress, EgressLimits, EgressTimeout
from blockyard.egress.targets import Target
from pydantic import SecretStr

from blocks.network.server_words import without

if TYPE_CHECKING:
    from mcp.client.client import Client
    from mcp_types import CallToolResult, ContentBlock, Tool

CALL_SECONDS = 300.0
"""For a call with all that belongs to it."""
MAX_TOOLS = 1_000


@dataclass(frozen=True, slots=True)
class McpServer:
    """A server, and what lets us in."""

    target: Target
    token: SecretStr | None
    seconds: float = CALL_SECONDS


class McpFailure(BlockExecutionError):
    """The server could not be asked, or the tool failed."""


async def call_tool(egress: Egress, server: McpServer, name: str, arguments: Mapping[str, Any]) -> Any:
    """What the tool gives: its structured content if there is some, or else its text and whatever else it sends."""
    async with _connected(egress, server) as client:
        result = await client.call_tool(name, dict(arguments))
        if result.is_error:
            words = " ".join(text for item in result.content if (text := getattr(item, "text", "")))
            raise McpFailure(f"{name}: the tool failed: {_without_token(server, words or 'it does not say why')}")
        return _value_of(result)


async def list_tools(egress: Egress, server: McpServer) -> list[dict[str, Any]]:
    """The server's tools, each with name, description and input_schema."""
    found: list[dict[str, Any]] = []
    async with _connected(egress, server) as client:
        cursor: str | None = None
        while len(found) < MAX_TOOLS:
            page = await client.list_tools(cursor=cursor)
            found += [_plain_tool(tool) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor or not page.tools:
                break
    return found[:MAX_TOOLS]


def _plain_tool(tool: "Tool") -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description or "", "input_schema": tool.input_schema}


@asynccontextmanager
async def _connected(egress: Egress, server: McpServer) -> AsyncIterator["Client"]:
    """A client that has greeted the server. What goes wrong inside is raised as an McpFailure or EgressError."""
    # In a thread, since a runner's event loop must not stand still for so long.
    await asyncio.to_thread(_import_client)
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared.exceptions import MCPError
    from mcp_types import Implementation

    from blocks.mcp.transport import EgressTransport

    limits = EgressLimits(total_seconds=server.seconds, read_seconds=server.seconds)
    transport = EgressTransport(egress, limits)
    headers = {} if server.token is None else {"Authorization": f"Bearer {server.token.get_secret_value()}"}
    try:
        async with (
            asyncio.timeout(server.seconds),
            httpx2.AsyncClient(transport=transport, headers=headers, timeout=None) as http,
            Client(
                streamable_http_client(str(server.target.url), http_client=http),
                client_info=Implementation(name="blockyard", version="1"),
                cache=None,
            ) as client,
        ):
            yield client
    except TimeoutError as error:
        raise EgressTimeout(f"{server.target.shown}: not done within {server.seconds:g} s") from error
    except (MCPError, httpx2.HTTPError, RuntimeError, ValueError, ExceptionGroup) as error:
        if isinstance(error, BlockExecutionError):
            raise
        raise _failure(server, transport.failure, transport.refusal, error) from None


def _import_client() -> None:
    for name in ("mcp.client.client", "mcp.client.streamable_http", "blocks.mcp.transport"):
        importlib.import_module(name)


def _failure(server: McpServer, failure: Exception | None, status: int, error: BaseException) -> Exception:
    """The cause that says most: what egress refused, then what HTTP said, then what MCP said."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    if isinstance(inner, BlockExecutionError):
        return inner
    if failure is not None:
        return failure
    if status in (401, 403):
        return McpFailure(f"{server.target.shown}: does not take the credentials, or wants some (status {status})")
    words = _without_token(server, str(inner) or type(inner).__name__)
    said = f" (status {status})" if status else ""
    return McpFailure(f"{server.target.shown}: {words}{said}")


def _without_token(server: McpServer, text: str) -> str:
    return without(text, server.token.get_secret_value()) if server.token is not None else without(text)


def _value_of(result: "CallToolResult") -> Any:
    if result.structured_content is not None:
        return result.structured_content
    items = [_plain(item) for item in result.content]
    return items[0] if len(items) == 1 else items


def _plain(item: "ContentBlock") -> Any:
    """Text as it is, or the value if it is a JSON object or list; anything else as MCP writes it."""
    if item.type != "text":
        return item.model_dump(mode="json", by_alias=True, exclude_none=True)
    text: str = item.text
    if text.lstrip()[:1] in ("{", "["):
        try:
            return values.parse(text)
        except (ValueError, RecursionError):
            return text
    return text
