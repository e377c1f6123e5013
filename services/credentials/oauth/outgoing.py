"""Requests to providers: the one place of the vault that makes them.

They go where a provider's file says and nowhere else: redirects are not followed. Each has a deadline, and an answer is
read up to a bound.
"""

import asyncio
import json
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx2

ANSWER_BYTES = 256 << 10
MAX_CONNECTIONS = 20
"""To a host: a provider that hangs holds up nobody but itself. Further requests wait, and their deadlines run."""

_HEADERS = {"User-Agent": "Blockyard (+https://blockyard.dev)", "Accept-Encoding": "identity"}
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class ProviderAway(Exception):
    """The provider cannot be reached, or says that it has trouble; the message says which. It may be asked again."""


class ProviderMisbehaved(Exception):
    """The provider answered with something else than a provider should; the message says what."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request. What is secret is in headers and body, which are not printed."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None
    what: str
    """What it is called in messages: "the token endpoint of GitHub"."""

    def __repr__(self) -> str:
        return f"Outgoing({self.method} {self.what})"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, which may hold a secret."""

    status: int
    content_type: str
    body: bytes

    def __repr__(self) -> str:
        return f"Reply({self.status}, {self.content_type!r}, {len(self.body)} bytes)"

    def json_object(self) -> dict[str, Any] | None:
        """The body as a JSON object; None if it is none."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None


class Requests:
    """Sends requests; an async context manager. It keeps no cookies, and nothing of one answer for the next."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the time for a whole request, the wait for a connection included."""
        self._seconds = seconds
        # By host, of which there are as many as the files of providers name.
        self._clients: dict[str, httpx2.AsyncClient] = {}

    async def __aenter__(self) -> "Requests":
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def send(self, outgoing: Outgoing) -> Reply:
        """The answer of whatever status below 500; raises ProviderAway or ProviderMisbehaved."""
        try:
            async with asyncio.timeout(self._seconds):
                reply = await self._send(outgoing)
        except (TimeoutError, httpx2.TimeoutException):
            raise ProviderAway(f"{outgoing.what} did not answer within {self._seconds:g} s") from None
        except (httpx2.RequestError, httpx2.InvalidURL, UnicodeError) as error:
            # The sentences of the client may hold the URL, and that a key.
            raise ProviderAway(f"{outgoing.what} cannot be reached ({type(error).__name__})") from None
        if 300 <= reply.status < 400:
            host = urlsplit(outgoing.url).hostname
            raise ProviderMisbehaved(f"{outgoing.what} ({host}) redirects, which is not followed")
        if reply.status >= 500 or reply.status == 429:
            raise ProviderAway(f"{outgoing.what} answers with status {reply.status}")
        return reply

    async def _send(self, outgoing: Outgoing) -> Reply:
        headers = {**_HEADERS, **outgoing.headers}
        content = None if outgoing.body is None else outgoing.body.encode()
        client = self._client_of(urlsplit(outgoing.url).netloc)
        async with client.stream(outgoing.method, outgoing.url, headers=headers, content=content) as response:
            client.cookies.clear()
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > ANSWER_BYTES:
                    raise _too_large(outgoing)
            packed = response.headers.get("content-encoding", "identity").strip().lower()
            unpacked = bytes(body) if packed in ("", "identity") else _unpacked(outgoing, bytes(body), packed)
            return Reply(response.status_code, response.headers.get("content-type", ""), unpacked)

    def _client_of(self, host: str) -> httpx2.AsyncClient:
        if host not in self._clients:
            self._clients[host] = httpx2.AsyncClient(
                verify=_tls(),
                follow_redirects=False,
                timeout=httpx2.Timeout(self._seconds),
                limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=30.0),
            )
        return self._clients[host]


def _unpacked(outgoing: Outgoing, body: bytes, packed: str) -> bytes:
    """Of those who pack though they were asked not to. What unfolds to more than an answer may have is not unfolded."""
    if packed not in _WINDOW_BITS:
        raise ProviderMisbehaved(f"{outgoing.what} packs its answer in a way that was not asked for")
    try:
        unpacked = zlib.decompressobj(_WINDOW_BITS[packed]).decompress(body, ANSWER_BYTES + 1)
    except zlib.error:
        raise ProviderMisbehaved(f"{outgoing.what} answers with something else than the {packed} it says") from None
    if len(unpacked) > ANSWER_BYTES:
        raise _too_large(outgoing)
    return unpacked


def _too_large(outgoing: Outgoing) -> ProviderMisbehaved:
    return ProviderMisbehaved(f"{outgoing.what} answers with more than {ANSWER_BYTES} bytes")


@cache
def _tls() -> ssl.SSLContext:
    # To read all certificates takes longer than most answers.
    return ssl.create_default_context()
