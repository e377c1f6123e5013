"""Blocks that use the tools of servers of the Model Context Protocol (MCP), over streamable HTTP."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from blockyard.block import (
    ApiKeyCredentials,
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    OAuth2Credentials,
    SchemaField,
)
from blockyard.block.resources import Factory
from blockyard.egress import Egress, open_egress
from blockyard.egress.targets import parse_target
from pydantic import BeforeValidator, SecretStr

from blocks.formats.json_schema_checks import check_value
from blocks.mcp.calls import CALL_SECONDS, McpServer, call_tool, list_tools

ServerCredentials: TypeAlias = OAuth2Credentials | ApiKeyCredentials
# Files have an empty object where there are none.
OptionalCredentials = Annotated[CredentialsReference | None, BeforeValidator(lambda value: value or None)]


def credentials_field() -> Any:
    """A token for the server, if it wants one."""
    return CredentialsField(
        provider="mcp",
        types=["oauth2", "api_key"],
        named_only=True,
        description="A token for the server, sent to it as a bearer token; none if it wants none.",
        default=None,
    )


def server_at(url: str, credentials: ServerCredentials | None, seconds: float) -> McpServer:
    """The server at that URL, with what it is asked with."""
    if isinstance(credentials, ApiKeyCredentials):
        token: SecretStr | None = credentials.api_key
    else:
        token = credentials.access_token if credentials is not None else None
    return McpServer(parse_target(url.strip()), token, seconds)


_TEST_URL = "https://mcp.example.com/mcp"
_TEST_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}


async def _test_call(_: Context, server: McpServer, tool: str, arguments: Mapping[str, Any]) -> Any:
    if tool != "weather":
        raise BlockExecutionError(f"{tool}: the tool failed: Unknown tool")
    return {"city": arguments["city"], "degrees": 21}


class MCPToolBlock(Block):
    class Input(BlockSchema):
        server_url: str = SchemaField(
            title="Server URL", description="Where the MCP server is.", placeholder="https://mcp.example.com/mcp"
        )
        credentials: OptionalCredentials = credentials_field()
        selected_tool: str = SchemaField(description="The tool to call.", placeholder="get_weather", default="")
        tool_input_schema: dict[str, Any] = SchemaField(
            description="JSON schema of the tool's arguments; they are checked against it.",
            default_factory=dict,
            hidden=True,
        )
        tool_description: str = SchemaField(description="What the tool does.", default="", hidden=True)
        tool_arguments: dict[str, Any] = SchemaField(description="The tool's arguments.", default_factory=dict)

    class Output(BlockSchema):
        result: Any = SchemaField(description="What the tool gives: an object, a text, or a list of what it sends.")
        error: str = SchemaField(description="Why the tool was not called, or failed.")

    def __init__(self, open_client: Factory[Egress] = open_egress, call_seconds: float = CALL_SECONDS) -> None:
        """`open_client` opens what the server is reached with; a call ends after `call_seconds`."""
        self._open_client = open_client
        self._call_seconds = call_seconds
        asked = {"server_url": _TEST_URL, "selected_tool": "weather", "tool_input_schema": _TEST_SCHEMA}
        reference = {"id": "0d5f9c1e-4a83-4d7e-9f66-2b6f7a1c3e58", "provider": "mcp", "type": "oauth2"}
        super().__init__(
            id="a0a4b1c2-d3e4-4f56-a7b8-c9d0e1f2a3b4",
            description="Calls a tool of an MCP server.",
            categories={BlockCategory.DEVELOPER_TOOLS, BlockCategory.AI},
            input_schema=self.Input,
            output_schema=self.Output,
            # A tool may do anything.
            effect=Effect.ONCE,
            timeout=CALL_SECONDS + 30,
            test_input=[
                {**asked, "credentials": {}, "tool_arguments": {"city": "Berlin"}},
                {**asked, "credentials": reference, "tool_arguments": {"city": "Oslo", "days": 2}},
                {**asked, "tool_arguments": {"days": 2}},
                {**asked, "tool_arguments": {"city": "Oslo", "days": 0}},
                {"server_url": _TEST_URL},
                {"server_url": _TEST_URL, "selected_tool": "unknown"},
            ],
            test_output=[
                ("result", {"city": "Berlin", "degrees": 21}),
                ("result", {"city": "Oslo", "degrees": 21}),
                ("error", "tool_arguments: 'city' is a required property"),
                ("error", "tool_arguments.days: 0 is less than the minimum of 1"),
                ("error", "selected_tool: is empty; ListMCPToolsBlock gives the tools of a server"),
                ("error", "unknown: the tool failed: Unknown tool"),
            ],
            test_mock={"call": _test_call},
            test_credentials={"credentials": {"access_token": "example token"}},
        )

    async def call(self, context: Context, server: McpServer, tool: str, arguments: Mapping[str, Any]) -> Any:
        """What the tool gives."""
        async with context.resource(self._open_client) as egress:
            return await call_tool(egress, server, tool, arguments)

    async def run(
        self, input_data: Input, context: Context, credentials: ServerCredentials | None = None
    ) -> BlockOutput:
        tool = input_data.selected_tool.strip()
        if not tool:
            raise BlockExecutionError("selected_tool: is empty; ListMCPToolsBlock gives the tools of a server")
        server = server_at(input_data.server_url, credentials, self._call_seconds)
        check_value(input_data.tool_arguments, input_data.tool_input_schema, "tool_arguments", "tool_input_schema")
        yield "result", await self.call(context, server, tool, input_data.tool_arguments)


async def _test_listing(_: Context, server: McpServer) -> list[dict[str, Any]]:
    if server.target.host == "nothing.example.com":
        raise BlockExecutionError("https://nothing.example.com/mcp: its host cannot be found")
    return [{"name": "weather", "description": "Tells the weather.", "input_schema": _TEST_SCHEMA}]


class ListMCPToolsBlock(Block):
    class Input(BlockSchema):
        server_url: str = SchemaField(
            title="Server URL", description="Where the MCP server is.", placeholder="https://mcp.example.com/mcp"
        )
        credentials: OptionalCredentials = credentials_field()

    class Output(BlockSchema):
        tools: list[dict[str, Any]] = SchemaField(description="The tools: name, description and input_schema of each.")
        names: list[str] = SchemaField(description="Their names.")
        error: str = SchemaField(description="Why the server could not be asked.")

    def __init__(self, open_client: Factory[Egress] = open_egress, call_seconds: float = CALL_SECONDS) -> None:
        """As MCPToolBlock."""
        self._open_client = open_client
        self._call_seconds = call_seconds
        reference = {"id": "0d5f9c1e-4a83-4d7e-9f66-2b6f7a1c3e58", "provider": "mcp", "type": "oauth2"}
        super().__init__(
            id="1db80740-1df8-4907-bf3d-1ff427c3777d",
            description="Lists the tools of an MCP server, with what each takes.",
            categories={BlockCategory.DEVELOPER_TOOLS, BlockCategory.AI},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            timeout=CALL_SECONDS + 30,
            test_input=[
                {"server_url": _TEST_URL},
                {"server_url": _TEST_URL, "credentials": reference},
                {"server_url": "https://nothing.example.com/mcp"},
            ],
            test_output=[
                *[("tools", lambda tools: tools[0]["input_schema"] == _TEST_SCHEMA), ("names", ["weather"])] * 2,
                ("error", "https://nothing.example.com/mcp: its host cannot be found"),
            ],
            test_mock={"ask": _test_listing},
            test_credentials={"credentials": {"access_token": "example token"}},
        )

    async def ask(self, context: Context, server: McpServer) -> list[dict[str, Any]]:
        """The server's tools."""
        async with context.resource(self._open_client) as egress:
            return await list_tools(egress, server)

    async def run(
        self, input_data: Input, context: Context, credentials: ServerCredentials | None = None
    ) -> BlockOutput:
        tools = await self.ask(context, server_at(input_data.server_url, credentials, self._call_seconds))
        yield "tools", tools
        yield "names", [tool["name"] for tool in tools]
