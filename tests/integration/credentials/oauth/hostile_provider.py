"""A provider that does whatever a test wants of it: errors, other content, endless answers, silence."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.integration.credentials.oauth.openid_provider import Returned


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, with its form."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    body: bytes


Write = Callable[[bytes], Awaitable[None]]
Behaviour = Callable[[Asked, Write], Awaitable[None]]


def answer(
    status: int, body: bytes | str | dict[str, Any], kind: str = "application/json", **headers: str
) -> Behaviour:
    """Always the same."""
    content = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body

    async def behave(asked: Asked, write: Write) -> None:
        lines = [f"HTTP/1.1 {status} x", f"content-type: {kind}", f"content-length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await write("\r\n".join([*lines, "connection: close", "", ""]).encode() + content)

    return behave


def tokens(name: str = "new", **more: object) -> dict[str, Any]:
    """A good answer."""
    return {
        "access_token": f"access-{name}",
        "refresh_token": f"refresh-{name}",
        "token_type": "bearer",
        "expires_in": 3600,
        **more,
    }


async def silence(asked: Asked, write: Write) -> None:
    """Hangs until the caller leaves."""
    await asyncio.Event().wait()


async def endless(asked: Asked, write: Write) -> None:
    """Never stops to send."""
    await write(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await write(b"10000\r\n" + b'"' * 0x10000 + b"\r\n")


async def dripping(asked: Asked, write: Write) -> None:
    """Sends byte by byte, each well within what a read may take."""
    await write(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await write(b" ")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()


async def cut_off(asked: Asked, write: Write) -> None:
    """Closes in the middle."""
    await write(b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{")


async def not_http(asked: Asked, write: Write) -> None:
    """Speaks something else."""
    await write(b"220 mail.example.com ESMTP\r\n")


@dataclass(eq=False)
class HostileProvider:
    """It behaves well until a test says otherwise, path by path."""

    issuer: str = ""
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def calls(self) -> Counter[str]:
        """How often each path was asked."""
        return Counter(asked.path for asked in self.asked)

    def behaves(self, behaviour: Behaviour, path: str = "/token") -> None:
        self.behaviours[path] = behaviour

    async def sign_in(self, url: str) -> Returned:
        """Everybody gets a code."""
        return Returned(url, {"code": "code"})

    def definition(self, **changes: object) -> dict[str, Any]:
        """What a provider's file says of it."""
        oauth2 = {
            "authorization_url": f"{self.issuer}/auth",
            "token_url": f"{self.issuer}/token",
            "authentication": "post",
            "revocation": {"url": f"{self.issuer}/revoke"},
            **changes,
        }
        check = {
            "url": f"{self.issuer}/me",
            "headers": {"Authorization": "Bearer {access_token}"},
            "account_name": "name",
        }
        return {
            "name": "openid",
            "title": "Hostile",
            "types": ["oauth2"],
            "oauth2": oauth2,
            "checks": {"oauth2": check},
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            method, path, _ = (await reader.readline()).decode().split(" ", 2)
            headers = {}
            while (line := (await reader.readline()).decode().strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            form = dict(parse_qsl(body.decode(errors="replace")))
            path = path.partition("?")[0]
            asked = Asked(method, path, headers, form, body)
            self.asked.append(asked)
            await self.behaviours.get(path, answer(200, tokens()))(asked, write)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()


@asynccontextmanager
async def hostile_provider() -> AsyncIterator[HostileProvider]:
    provider = HostileProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.issuer = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.close()
        for task in list(provider.tasks):
            task.cancel()
        await asyncio.gather(*provider.tasks, return_exceptions=True)
