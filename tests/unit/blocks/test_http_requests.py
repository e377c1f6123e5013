"""Requests of blocks against a server: what is sent, on which pin the answer comes, who gets credentials."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import BodyPartReader, web
from blockyard.block import BlockError, BlockExecutionError, BlockInputError, Context, Effect, HostScopedCredentials
from blockyard.block.preparation import prepare
from blockyard.block.resources import Resources
from blockyard.egress.targets import parse_target

from blocks.network.http_requests import SendAuthenticatedWebRequestBlock, SendWebRequestBlock
from tests.unit.blocks.web import client_for, outputs_of
from tests.unit.egress.network import http_server
from tests.unit.files.stores import files_of, store_of

REFERENCE = {"id": "1", "provider": "http", "type": "host_scoped"}


async def echo(request: web.Request) -> web.Response:
    """Tells what came."""
    told: dict[str, Any] = {
        "method": request.method,
        "path": request.path_qs,
        "headers": dict(request.headers),
        "content_type": request.content_type,
    }
    if request.content_type == "multipart/form-data":
        told["parts"] = []
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            content = (await part.read()).decode()
            told["parts"].append([part.name, part.filename, part.headers.get("Content-Type"), content])
    else:
        told["body"] = await request.text()
    return web.json_response(told)


async def sent(**inputs: Any) -> dict[str, Any]:
    """What the server gets."""
    async with http_server(echo) as port:
        [(pin, told)] = await outputs_of(
            SendWebRequestBlock(client_for(port)), url=f"http://api.example.com:{port}/a?b=c", **inputs
        )
    assert pin == "response"
    assert isinstance(told, dict)
    return told


async def test_request_is_a_post_of_json_by_default() -> None:
    told = await sent(body={"name": "Ada", "ages": [36, None]}, headers={"X-A": "b"})
    assert (told["method"], told["path"], told["content_type"]) == ("POST", "/a?b=c", "application/json")
    assert told["body"] == '{"name":"Ada","ages":[36,null]}'
    assert told["headers"]["X-A"] == "b"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_method_is_the_chosen_one(method: str) -> None:
    told = await sent(method=method)
    assert (told["method"], told["body"]) == (method, "")
    assert "Content-Type" not in told["headers"]


async def test_form_is_sent_where_no_json_is_wanted() -> None:
    told = await sent(json_format=False, body={"a": "x y&", "b": [1, "two"], "c": True, "d": None, "é": {"k": 1}})
    assert told["content_type"] == "application/x-www-form-urlencoded"
    assert told["body"] == "a=x+y%26&b=1&b=two&c=true&%C3%A9=%7B%22k%22%3A1%7D"


async def test_content_type_of_the_user_wins() -> None:
    told = await sent(body={"a": 1}, headers={"content-type": "application/vnd.example+json"})
    assert told["content_type"] == "application/vnd.example+json"


async def test_files_are_sent_as_a_form_with_their_fields() -> None:
    files = ["data:text/csv;base64,YSxiCg==", "data:image/png;base64,aGk=", "plain text"]
    told = await sent(
        json_format=False,
        body={"field": "one"},
        files=files,
        files_name='up"load',
        headers={"Content-Type": "multipart/form-data"},
    )
    assert told["parts"] == [
        ["field", None, None, "one"],
        ["up%22load", "file.csv", "text/csv", "a,b\n"],
        ["up%22load", "file1.png", "image/png", "hi"],
        ["up%22load", "file2.txt", "text/plain", "plain text"],
    ]


async def test_file_of_a_url_is_fetched_under_the_same_policy() -> None:
    async def handle(request: web.Request) -> web.Response:
        if request.path == "/files/my report.csv":
            return web.Response(text="a,b", content_type="text/csv")
        return await echo(request)

    async with http_server(handle) as port:
        block = SendWebRequestBlock(client_for(port))
        url = f"http://api.example.com:{port}"
        [(_, told)] = await outputs_of(block, url=url, json_format=False, files=[f"{url}/files/my%20report.csv"])
        assert told["parts"] == [["file", "my report.csv", "text/csv", "a,b"]]
        with pytest.raises(BlockError, match="instance metadata"):
            await outputs_of(block, url=url, json_format=False, files=["http://169.254.169.254/"])


@pytest.mark.parametrize(
    ("status", "pin"),
    [
        (200, "response"),
        (201, "response"),
        (299, "response"),
        (304, "server_error"),
        (400, "client_error"),
        (404, "client_error"),
        (499, "client_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
async def test_status_chooses_the_pin(status: int, pin: str) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text="" if status == 304 else "said")

    async with http_server(handle) as port:
        [output] = await outputs_of(SendWebRequestBlock(client_for(port)), url=f"http://api.example.com:{port}")
    assert output == (pin, "" if status == 304 else "said")


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("application/json; charset=utf-8", b'\xef\xbb\xbf"\xc3\xa9"', "é"),
        ("application/json", b"", None),
        ("text/plain; charset=latin-1", b"\xe9", "é"),
        ("text/plain; charset=unheard-of", b"a", "a"),
        ("text/html", b"<p>", "<p>"),
        ("application/octet-stream", b"\xff", "\ufffd"),
    ],
)
async def test_content_type_chooses_the_form_of_the_value(content_type: str, body: bytes, value: Any) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": content_type})

    async with http_server(handle) as port:
        [output] = await outputs_of(SendWebRequestBlock(client_for(port)), url=f"http://api.example.com:{port}")
    assert output == ("response", value)


async def test_answer_that_is_not_the_json_that_it_says_is_an_error() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=b"{", headers={"Content-Type": "application/json"})

    async with http_server(handle) as port:
        with pytest.raises(BlockError, match=r"http://api\.example\.com:\d+: the answer cannot be read as JSON"):
            await outputs_of(SendWebRequestBlock(client_for(port)), url=f"http://api.example.com:{port}")


async def test_url_without_scheme_is_http() -> None:
    async with http_server(echo) as port:
        [(pin, told)] = await outputs_of(SendWebRequestBlock(client_for(port)), url=f" example.com:{port}/x ")
    assert (pin, told["path"]) == ("response", "/x")


async def test_spaces_in_a_url_are_encoded() -> None:
    async with http_server(echo) as port:
        url = f"http://example.com:{port}/a b?q=Ada Lovelace"
        [(_, told)] = await outputs_of(SendWebRequestBlock(client_for(port)), url=url)
    assert told["path"] == "/a%20b?q=Ada%20Lovelace"


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"url": "http://x/", "files": ["a"]}, BlockExecutionError, "files: cannot be sent as JSON"),
        ({"url": "http://x/", "method": "BREW"}, BlockInputError, r"inputs\.method"),
        ({"url": "ftp://x/"}, BlockError, "only http and https"),
        ({"url": "http://u:p@x/"}, BlockError, "user name or password"),
        ({"url": "http://127.1/"}, BlockError, "a loopback address"),
        ({"url": "http://x/", "headers": {"A": "b\r\nc"}}, BlockError, "line break"),
    ],
)
async def test_request_that_cannot_be_sent_says_why(inputs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await outputs_of(SendWebRequestBlock(client_for(80)), **inputs)


def test_requests_are_never_repeated() -> None:
    for block in (SendWebRequestBlock(), SendAuthenticatedWebRequestBlock()):
        assert block.effect is Effect.ONCE
        assert block.retry.max_attempts == 1


async def test_runs_of_a_runner_share_one_client() -> None:
    connections: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        connections.add(request.transport)
        return web.Response(text="ok")

    async with http_server(handle) as port, Resources() as resources:
        block = SendWebRequestBlock(client_for(port))
        for _ in range(3):
            inputs = {"url": f"http://api.example.com:{port}"}
            assert [output async for output in block.execute(inputs, Context(resources=resources))] == [
                ("response", "ok")
            ]
    assert len(connections) == 1


async def authenticated(url: str, credentials: Any, **inputs: Any) -> dict[str, Any]:
    """Headers that the server gets; `{port}` is the server's in the URL and the credentials' host."""
    async with http_server(echo) as port:
        block = SendAuthenticatedWebRequestBlock(client_for(port))
        scoped = {**credentials, "host": credentials["host"].format(port=port)}
        [(_, told)] = await outputs_of(block, scoped, url=url.format(port=port), credentials=REFERENCE, **inputs)
    headers: dict[str, Any] = told["headers"]
    return headers


async def test_credentials_go_to_their_host_and_the_users_headers_win() -> None:
    credentials = {"host": "api.example.com:{port}", "headers": {"Authorization": "Bearer secret", "X-Key": "k"}}
    url = "http://api.example.com:{port}/"
    headers = await authenticated(url, credentials, headers={"authorization": "mine"})
    assert {name.lower(): value for name, value in headers.items() if name.lower() in ("authorization", "x-key")} == {
        "authorization": "mine",
        "x-key": "k",
    }
    assert "Bearer secret" not in headers.values()


@pytest.mark.parametrize(
    "host", ["other.example:{port}", "*.other.example:{port}", "api.example.com", "api.example.com:1"]
)
async def test_credentials_go_to_no_other_host(host: str) -> None:
    credentials = {"host": host, "headers": {"Authorization": "Bearer secret"}}
    assert "Authorization" not in await authenticated("http://api.example.com:{port}/", credentials)


async def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    async def handle(request: web.Request) -> web.Response:
        if request.path == "/away":
            return web.Response(status=307, headers={"Location": f"http://other.example:{request.url.port}/"})
        return await echo(request)

    async with http_server(handle) as port:
        block = SendAuthenticatedWebRequestBlock(client_for(port))
        credentials = {"host": f"api.example.com:{port}", "headers": {"X-Secret": "s"}}
        url = f"http://api.example.com:{port}"
        [(_, stays)] = await outputs_of(block, credentials, url=url, credentials=REFERENCE)
        [(_, leaves)] = await outputs_of(block, credentials, url=f"{url}/away", credentials=REFERENCE)
    assert stays["headers"]["X-Secret"] == "s"
    assert "X-Secret" not in leaves["headers"]


@pytest.mark.parametrize(
    ("host", "url", "matches"),
    [
        ("api.example.com", "https://api.example.com/x", True),
        ("api.example.com", "http://api.example.com/x", True),
        ("API.Example.com", "https://api.EXAMPLE.com./x", True),
        ("api.example.com", "https://api.example.com:8443/x", False),
        ("api.example.com:8443", "https://api.example.com:8443/x", True),
        ("api.example.com:8443", "https://api.example.com/x", False),
        ("api.example.com:443", "https://api.example.com/x", True),
        ("api.example.com:443", "http://api.example.com/x", False),
        ("api.example.com", "https://api.example.com.evil.org/x", False),
        ("api.example.com", "https://evil.org/api.example.com", False),
        ("api.example.com", "https://xapi.example.com/", False),
        ("*.example.com", "https://api.example.com/", True),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://evilexample.com/", False),
        ("*.example.com", "https://api.example.com:8443/", False),
        ("*.example.com:8443", "https://api.example.com:8443/", True),
        ("127.0.0.1", "http://0x7f.1/", True),
        ("[::1]:8080", "http://[::1]:8080/", True),
    ],
)
def test_scope_of_credentials_is_a_host_and_its_port(host: str, url: str, matches: bool) -> None:
    credentials = HostScopedCredentials.read({"host": host, "headers": {"A": "b"}})
    assert credentials.headers_for(parse_target(url)) == ({"A": "b"} if matches else {})


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (None, "credentials: missing"),
        ({"host": "api.example.com"}, "look at headers"),
        ({"host": "api.example.com", "headers": {"A": 7}}, "look at headers"),
        ("a secret key", "look at its type"),
        ({"host": "http://api.example.com/", "headers": {}}, "credentials: host"),
        ({"host": "", "headers": {}}, "credentials: host"),
    ],
)
async def test_credentials_that_are_no_such_are_told_without_their_secrets(credentials: Any, words: str) -> None:
    block = SendAuthenticatedWebRequestBlock(client_for(80))
    with pytest.raises(BlockExecutionError, match=words) as failure:
        await outputs_of(block, credentials, url="http://api.example.com/", credentials=REFERENCE)
    assert "secret key" not in str(failure.value)


def test_credentials_do_not_show_their_secrets() -> None:
    assert "Bearer" not in repr(HostScopedCredentials.read({"host": "a.example", "headers": {"A": "Bearer x"}}))


async def test_files_that_are_too_large_together_are_refused_before_they_are_all_read(tmp_path: Path) -> None:
    files = files_of(store_of("folder", tmp_path))
    reference = await files.store(bytes(9 << 20), "large.bin")
    asked = 0

    async def take(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response()

    async with http_server(take) as port:
        block = SendWebRequestBlock(client_for(port))
        inputs = {"url": f"http://api.example.com:{port}/", "json_format": False, "files": [reference] * 200}
        with pytest.raises(BlockExecutionError, match="files: are together larger than the limit of 67108864 bytes"):
            async for _ in block.execute(prepare(block, inputs), Context(run_files=files)):
                pass
    assert asked == 0


async def test_kept_files_are_sent_with_their_names_and_types(tmp_path: Path) -> None:
    files = files_of(store_of("folder", tmp_path))
    reference = await files.store(b"a,b\n", "numbers.csv")
    async with http_server(echo) as port:
        block = SendWebRequestBlock(client_for(port))
        inputs = {"url": f"http://api.example.com:{port}/", "json_format": False, "files": [reference]}
        [(_, told)] = [item async for item in block.execute(prepare(block, inputs), Context(run_files=files))]
    assert told["parts"] == [["file", "numbers.csv", "text/csv", "a,b\n"]]
