"""Blocks that send a request of the user's own making."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

from blockyard.block import (
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    HostScopedCredentials,
    SchemaField,
)
from blockyard.block.resources import Factory
from blockyard.egress import Answer, Egress, EgressError, open_egress
from blockyard.egress.targets import parse_target
from blockyard.files import is_reference

from blocks.files.files import MediaFile, read_bytes
from blocks.network.request_bodies import Upload, as_form, as_json, as_multipart, name_for

MAX_UPLOAD_BYTES = 64 << 20
"""All files of a request together, since they are sent from memory."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


class HttpMethod(StrEnum):
    """What a request asks for."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    PATCH = "PATCH"
    OPTIONS = "OPTIONS"
    HEAD = "HEAD"


class RequestInput(BlockSchema):
    url: str = SchemaField(description="Where to send the request.", placeholder="https://api.example.com")
    method: HttpMethod = SchemaField(description="What the request asks for.", default=HttpMethod.POST)
    headers: dict[str, str] = SchemaField(description="Headers of the request.", default_factory=dict)
    json_format: bool = SchemaField(
        title="JSON format", description="Send the body as JSON; as a form otherwise.", default=True
    )
    body: dict[str, Any] | None = SchemaField(description="Body of the request, or fields of the form.", default=None)
    files_name: str = SchemaField(description="Name of the form's field for files.", default="file")
    files: list[MediaFile] = SchemaField(description="Files to send with a form.", default_factory=list)


class RequestOutput(BlockSchema):
    response: Any = SchemaField(description="Body of an answer that says that it went well (2xx).")
    client_error: Any = SchemaField(description="Body of an answer that says that the request was wrong (4xx).")
    server_error: Any = SchemaField(description="Body of any other answer.")
    error: str = SchemaField(description="Why there is no answer.")


def with_scheme(url: str) -> str:
    """The URL as it can be sent: with http:// where it has no scheme, and without bare spaces."""
    url = url.strip().replace(" ", "%20")
    return url if _SCHEME.match(url) else f"http://{url}"


async def send(egress: Egress, request: RequestInput, headers: Mapping[str, str], context: Context) -> Answer:
    """The answer to the request, of whatever status. An EgressError or BlockExecutionError says why there is none."""
    if request.files and request.json_format:
        raise BlockExecutionError(
            "files: cannot be sent as JSON: set json_format to false, and put the form's fields into body"
        )
    content_type, body = "", None
    if request.files:
        uploads: list[Upload] = []
        room = MAX_UPLOAD_BYTES
        for number, file in enumerate(request.files):
            uploads.append(await _upload(egress, file, number, context))
            room -= len(uploads[-1].content)
            if room < 0:
                raise BlockExecutionError(f"files: are together larger than the limit of {MAX_UPLOAD_BYTES} bytes")
        content_type, body = as_multipart(request.body or {}, request.files_name, uploads)
    elif request.body is not None:
        content_type, body = as_json(request.body) if request.json_format else as_form(request.body)
    sent = dict(headers)
    if request.files:
        # Only we know the boundary.
        sent = {name: value for name, value in sent.items() if name.lower() != "content-type"}
    if content_type and "content-type" not in {name.lower() for name in sent}:
        sent["Content-Type"] = content_type
    return await egress.fetch(request.method.value, with_scheme(request.url), headers=sent, body=body)


def _joined(credentials: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Headers of both; those that the user has given win, in whatever case their names are written."""
    names = {name.lower() for name in given}
    return {**{name: value for name, value in credentials.items() if name.lower() not in names}, **given}


async def _upload(egress: Egress, file: str, number: int, context: Context) -> Upload:
    """The file of a reference, of a data URI, of a URL, or text that stands for itself."""
    if is_reference(file):
        info = await context.files.info(file)
        return Upload(info.name, info.content_type, await context.files.read_bytes(file))
    if file.startswith(("http://", "https://")):
        answer = await egress.fetch("GET", file)
        if not 200 <= answer.status < 300:
            raise BlockExecutionError(f"files[{number}]: its server answered with status {answer.status}")
        content_type = _media_type(answer.headers.get("Content-Type", ""))
        name = unquote(urlsplit(file).path).rsplit("/", 1)[-1]
        return Upload(name or name_for(content_type, number), content_type, answer.body)
    content_type = _media_type(file[5:].partition(",")[0]) if file.startswith("data:") else "text/plain"
    return Upload(name_for(content_type, number), content_type, read_bytes(file))


def _media_type(text: str) -> str:
    match = _MEDIA_TYPE.match(text)
    return match.group() if match else "application/octet-stream"


def output_of(answer: Answer) -> tuple[str, Any]:
    """(pin, value): the pin by the status, the value by the content type."""
    value: Any = answer.text()
    if answer.headers.get("Content-Type", "").lower().startswith("application/json"):
        value = answer.json() if answer.body else None
    if 200 <= answer.status < 300:
        return "response", value
    return ("client_error" if 400 <= answer.status < 500 else "server_error"), value


_TEST_ANSWERS = {
    "https://api.example.com/sent": Answer(
        201, {"Content-Type": "application/json; charset=utf-8"}, "", b'{"id": 7}', "utf-8"
    ),
    "https://api.example.com/text": Answer(200, {"Content-Type": "text/plain"}, "", b"done", "utf-8"),
    "https://api.example.com/missing": Answer(404, {"Content-Type": "text/plain"}, "", b"not here", "utf-8"),
    "https://api.example.com/broken": Answer(503, {"Content-Type": "text/plain"}, "", b"later", "utf-8"),
}
_TEST_INPUTS: list[dict[str, Any]] = [
    {"url": "https://api.example.com/sent", "body": {"name": "Ada"}},
    {"url": "https://api.example.com/text", "method": "GET"},
    {"url": "https://api.example.com/missing", "method": "DELETE"},
    {"url": "https://api.example.com/broken"},
    {"url": "http://169.254.169.254/latest/meta-data"},
]
_TEST_OUTPUTS: list[tuple[str, Any]] = [
    ("response", {"id": 7}),
    ("response", "done"),
    ("client_error", "not here"),
    ("server_error", "later"),
    ("error", lambda message: "instance metadata" in message),
]


async def _test_exchange(context: Context, request: RequestInput, headers: Mapping[str, str]) -> Answer:
    """Stands for the network in the blocks' own tests; what is no example goes the real way, and is refused there."""
    answer = _TEST_ANSWERS.get(request.url)
    if answer is not None:
        return answer
    async with open_egress() as egress:
        return await send(egress, request, headers, context)


class SendWebRequestBlock(Block):
    class Input(RequestInput):
        pass

    class Output(RequestOutput):
        pass

    def __init__(self, open_client: Factory[Egress] = open_egress) -> None:
        """`open_client` opens what requests are sent with; a runner opens it once."""
        self._open_client = open_client
        super().__init__(
            id="6595ae1f-b924-42cb-9a41-551a0611c4b4",
            description="Sends a request to a web address and gives the answer.",
            categories={BlockCategory.OUTPUT, BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            # The method is an input, and POST by default: a repeat may do something again.
            effect=Effect.ONCE,
            test_input=_TEST_INPUTS,
            test_output=_TEST_OUTPUTS,
            test_mock={"exchange": _test_exchange},
        )

    async def exchange(self, context: Context, request: RequestInput, headers: Mapping[str, str]) -> Answer:
        """Sends the request with these headers."""
        async with context.resource(self._open_client) as egress:
            return await send(egress, request, headers, context)

    async def run(self, input_data: Input, context: Context) -> BlockOutput:
        yield output_of(await self.exchange(context, input_data, input_data.headers))


class SendAuthenticatedWebRequestBlock(Block):
    class Input(RequestInput):
        credentials: CredentialsReference = CredentialsField(
            provider="http",
            types=["host_scoped"],
            discriminator="url",
            description="Headers for the host of the URL, such as Authorization. They go to no other host.",
        )

    class Output(RequestOutput):
        pass

    def __init__(self, open_client: Factory[Egress] = open_egress) -> None:
        """`open_client` opens what requests are sent with; a runner opens it once."""
        self._open_client = open_client
        reference = {"id": "4f0d3a1c-6b7e-4a55-9c1e-0d2b5c8e7f10", "provider": "http", "type": "host_scoped"}
        super().__init__(
            id="fff86bcd-e001-4bad-a7f6-2eae4720c8dc",
            description="Sends a request with credentials for its host, and gives the answer.",
            categories={BlockCategory.OUTPUT, BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.ONCE,  # as SendWebRequestBlock
            test_input=[{**inputs, "credentials": reference} for inputs in _TEST_INPUTS],
            test_output=_TEST_OUTPUTS,
            test_mock={"exchange": _test_exchange},
            test_credentials={
                "credentials": {"host": "*.example.com", "headers": {"Authorization": "Bearer example"}},
            },
        )

    async def exchange(self, context: Context, request: RequestInput, headers: Mapping[str, str]) -> Answer:
        """Sends the request with these headers."""
        async with context.resource(self._open_client) as egress:
            return await send(egress, request, headers, context)

    async def run(self, input_data: Input, context: Context, credentials: HostScopedCredentials) -> BlockOutput:
        try:
            target = parse_target(with_scheme(input_data.url))
        except EgressError as error:
            raise BlockExecutionError(f"url: {error}") from error
        headers = _joined(credentials.headers_for(target), input_data.headers)
        yield output_of(await self.exchange(context, input_data, headers))
