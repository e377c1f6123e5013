"""`blockyard credentials connect`: the listener for the browser, and what a hostile one can do to it: nothing."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from blockyard.cli.loopback import MOST_CONNECTIONS, Callback, Returned, listening
from blockyard.credentials.v1 import credentials_service_pb2 as vault
from blockyard.errors import BlockyardError, DeadlineExceeded

from tests.unit.client.memory_accounts import CREDENTIAL_ID, STATE
from tests.unit.client.memory_services import Script

GOOD = f"/callback?code=the-code&state={STATE}&iss=https%3A%2F%2Fprovider.example"


async def ask(
    callback: Callback | str, target: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, str]:
    """Status and page of a request, as a browser sends it."""
    address = urlsplit(callback if isinstance(callback, str) else callback.redirect_uri).netloc
    return await say(
        address, f"{method} {target} HTTP/1.1\r\nHost: {address if host is None else host}\r\n\r\n".encode()
    )


async def say(address: str, request: bytes) -> tuple[int, str]:
    """Status and page of what comes back; 0 if the connection is closed without an answer."""
    name, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    answer = b""
    with suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, page = answer.decode("latin-1").partition("\r\n\r\n")
    return (int(head.split()[1]), page) if head else (0, "")


@asynccontextmanager
async def waiting(seconds: float = 20) -> AsyncIterator[tuple[Callback, asyncio.Task[Returned]]]:
    async with listening() as callback:
        callback.expect(STATE)
        task = asyncio.create_task(callback.wait(seconds))
        yield callback, task
        task.cancel()


async def test_the_answer_with_the_state_is_taken() -> None:
    async with waiting() as (callback, task):
        status, page = await ask(callback, GOOD)
        assert (status, await task) == (200, Returned("the-code", "", "https://provider.example"))
        assert "close this window" in page


async def test_a_refusal_of_the_provider_is_an_answer_too() -> None:
    async with waiting() as (callback, task):
        await ask(callback, f"/callback?error=access_denied&state={STATE}")
        assert await task == Returned("", "access_denied", "")


STRAY = [
    ("/callback?code=evil&state=guessed", 400),
    ("/callback?code=evil", 400),
    ("/callback", 400),
    (f"/callback?code=evil&state={STATE}&state=guessed", 400),
    (f"/callback?code=evil&state={STATE}x", 400),
    ("/callback?code=%ff&state=%ff", 400),
    ("/callback?" + "&".join(f"a{number}=b" for number in range(100)), 400),
    (f"/favicon.ico?code=evil&state={STATE}", 404),
    (f"/callback/x?code=evil&state={STATE}", 404),
    ("/", 404),
    ("http://[/callback", 400),
]


@pytest.mark.parametrize(("target", "status"), STRAY)
async def test_a_stray_request_is_answered_and_forgotten(target: str, status: int) -> None:
    async with waiting() as (callback, task):
        found, page = await ask(callback, target)
        assert found == status
        assert "evil" not in page
        assert not task.done()
        await ask(callback, GOOD)
        assert (await task).code == "the-code"


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "get"])
async def test_other_methods_are_refused(method: str) -> None:
    async with waiting() as (callback, task):
        assert (await ask(callback, GOOD, method=method))[0] == 405
        assert not task.done()


@pytest.mark.parametrize("host", ["evil.example", "localhost", "", "127.0.0.1"])
async def test_a_name_of_somebody_else_is_refused(host: str) -> None:
    async with waiting() as (callback, task):
        assert (await ask(callback, GOOD, host=host))[0] == 400
        assert not task.done()


@pytest.mark.parametrize(
    "request_bytes",
    [b"\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000],
    ids=["empty", "tls", "short", "endless"],
)
async def test_what_is_no_request_does_no_harm(request_bytes: bytes) -> None:
    async with waiting() as (callback, task):
        status, _ = await say(urlsplit(callback.redirect_uri).netloc, request_bytes)
        assert status in (0, 405)
        await ask(callback, GOOD)
        assert (await task).code == "the-code"


async def test_the_first_answer_counts() -> None:
    async with waiting() as (callback, task):
        await ask(callback, GOOD)
        assert (await ask(callback, GOOD.replace("the-code", "another")))[0] == 200
        assert (await task).code == "the-code"


async def test_silent_connections_are_bounded_and_end() -> None:
    async with waiting() as (callback, task):
        address = urlsplit(callback.redirect_uri)
        assert address.hostname is not None
        silent = [await asyncio.open_connection(address.hostname, address.port) for _ in range(MOST_CONNECTIONS)]
        refused = await ask(callback, GOOD)
        assert refused[0] == 0
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        await ask(callback, GOOD)
        assert (await task).code == "the-code"
        for _, writer in silent:
            writer.close()


async def test_nothing_is_taken_before_a_state_is_known() -> None:
    async with listening() as callback:
        assert (await ask(callback, "/callback?code=evil&state="))[0] == 400


async def test_the_waiting_ends() -> None:
    async with listening() as callback:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.01 seconds; nothing was connected"):
            await callback.wait(0.01)


async def test_a_port_that_is_taken_is_said() -> None:
    async with listening() as callback:
        port = urlsplit(callback.redirect_uri).port
        assert port is not None
        with pytest.raises(BlockyardError, match="choose another --redirect-port"):
            async with listening(port):
                pass


async def connecting(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from blockyard.cli import main; main()",
        *("credentials", "connect", "github", "--no-browser", *options),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def redirect_uri(process: asyncio.subprocess.Process, script: Script) -> str:
    """Where the provider would send the browser; known once the address to open is printed."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while not re.search(rb"https://provider\.example/authorize", await process.stderr.readline()):
            assert process.returncode is None
    return str(script.office.request(vault.StartAuthorizationRequest).redirect_uri)


async def test_the_command_connects_an_account(offices: Script) -> None:
    process = await connecting("--scope", "repo", "--title", "work", "--json")
    uri = await redirect_uri(process, offices)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", uri)
    assert (await ask(uri, "/callback?code=evil&state=x"))[0] == 400
    assert (await ask(uri, GOOD))[0] == 200
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, json.loads(output)["id"]) == (0, CREDENTIAL_ID)
    started = offices.office.request(vault.StartAuthorizationRequest)
    assert (started.provider, list(started.scopes), started.title) == ("github", ["repo"], "work")
    done = offices.office.request(vault.CompleteAuthorizationRequest)
    assert (done.state, done.code, done.issuer) == (STATE, "the-code", "https://provider.example")


async def test_the_command_gives_up_when_nobody_comes(offices: Script) -> None:
    process = await connecting("--wait", "1")
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert b"did not come back within 1 seconds" in errors
    assert b"Traceback" not in errors
    assert "CompleteAuthorization" not in offices.calls
