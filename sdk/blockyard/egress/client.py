"""The one way out: every request of a block is made here.

It is built on aiohttp, whose connector connects to exactly what its resolver hands over and still sends the name as
Host, SNI and for the certificate. So the check sits in the resolver, between look-up and connect, and nothing can come
between them. Addresses that are written in the URL do not pass the resolver: the policy sees them before. What aiohttp
would do by itself and we could not check is off: redirects, unpacking, cookies, proxies from the environment.
"""

import asyncio
import codecs
import io
import math
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver

from blockyard import values
from blockyard.egress.bodies import Plain, decoder_for, text_of
from blockyard.egress.connecting import connect_to_one
from blockyard.egress.errors import EgressFailed, EgressRefused, EgressTimeout, EgressTooLarge
from blockyard.egress.exchanges import Exchange, new_exchange
from blockyard.egress.failures import told, total_timeout
from blockyard.egress.policy import EgressLimits, EgressPolicy
from blockyard.egress.proxies import ProxyServer
from blockyard.egress.resolving import CheckedResolver
from blockyard.egress.targets import read_host, shown

# Further requests wait for a connection, for as long as they may wait to connect.
MAX_CONNECTIONS = 200
MAX_HEADERS = 128
MAX_HEADER_BYTES = 16 << 10
_BYTES_BETWEEN_PAUSES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its whole body."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    url: str
    """Where it came from, after redirects."""
    body: bytes
    charset: str

    def text(self) -> str:
        """The body as text; what does not fit its charset is replaced."""
        return text_of(self.body, self.charset)

    def json(self) -> Any:
        """The body as JSON; an EgressFailed if it is none."""
        try:
            return values.parse(self.body.removeprefix(codecs.BOM_UTF8))
        except (ValueError, RecursionError) as error:
            raise EgressFailed(f"{shown(self.url)}: the answer cannot be read as JSON: {error}") from error


class StreamedAnswer:
    """An answer whose body is still to come."""

    def __init__(self, response: aiohttp.ClientResponse, exchange: Exchange, limits: EgressLimits, deadline: float):
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = str(exchange.target.url)
        self.charset = response.charset or "utf-8"
        self.length = response.content_length
        """Bytes of the body as they are sent, if the server says so."""
        self._response = response
        self._what = exchange.target.shown
        self._limits = limits
        self._deadline = deadline

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, unpacked, as it comes. An EgressTooLarge as soon as it is larger than the limit."""
        decoder = decoder_for(self.headers.get("Content-Encoding", ""))
        limit = self._limits.response_bytes
        if isinstance(decoder, Plain) and (self.length or 0) > limit:
            raise self._too_large()
        sent = unpacked = pause_at = 0
        while data := await self._read():
            sent += len(data)
            for piece in decoder.feed(data):
                unpacked += len(piece)
                if unpacked > limit:
                    raise self._too_large()
                yield piece
                if unpacked > pause_at:
                    # A body that is there already, or unfolds to much, must not hold the event loop.
                    pause_at = unpacked + _BYTES_BETWEEN_PAUSES
                    await asyncio.sleep(0)
            # What unfolds to nothing is bounded too.
            if sent > limit:
                raise self._too_large()
        decoder.finish()

    async def read(self) -> bytes:
        """The whole body."""
        body = bytearray()
        async for piece in self.chunks():
            body += piece
        return bytes(body)

    async def _read(self) -> bytes:
        if asyncio.get_running_loop().time() >= self._deadline:
            raise total_timeout(self._what, self._limits)
        with told(self._what, self._limits, self._deadline):
            async with asyncio.timeout_at(self._deadline):
                return await self._response.content.readany()

    def _too_large(self) -> EgressTooLarge:
        return EgressTooLarge(f"{self._what}: the answer is larger than {self._limits.response_bytes} bytes")


class Egress:
    """A client for HTTP under a policy; an async context manager. Many requests share it: it keeps no cookies."""

    def __init__(
        self,
        policy: EgressPolicy | None = None,
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`resolver` looks names up (the system's if None). `tls` has other certificates than the system's."""
        self.policy = policy or EgressPolicy()
        self._resolver = resolver
        self._tls = tls
        self._resources = AsyncExitStack()
        self._checked: CheckedResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Egress":
        checked = CheckedResolver(self.policy, self._resolver or aiohttp.ThreadedResolver())
        connector = aiohttp.TCPConnector(
            resolver=checked,
            # A kept answer would be one that was checked, too; without it a name is asked for whenever we connect.
            use_dns_cache=False,
            limit=MAX_CONNECTIONS,
            ssl=self._tls if self._tls is not None else True,
        )
        self._session = await self._resources.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                skip_auto_headers=("Content-Type",),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
                max_headers=MAX_HEADERS,
            )
        )
        self._resources.push_async_callback(checked.close)
        self._checked = checked
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = self._checked = None
        await self._resources.aclose()

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limits: EgressLimits | None = None,
        proxy: ProxyServer | None = None,
        follow: bool = True,
    ) -> AsyncIterator[StreamedAnswer]:
        """The answer at the end of all redirects, of any status, its body to be read with `chunks`.

        `limits` are the policy's if None. Without `follow` a redirect is an answer like any other. Raises an
        EgressError: Refused, Failed, Timeout, TooLarge.
        """
        limits = limits or self.policy.limits
        if proxy is not None:
            proxy.check(self.policy)
        deadline = asyncio.get_running_loop().time() + limits.total_seconds
        exchange = new_exchange(method, url, headers or {}, body)
        first = exchange.target.shown
        for _ in range(limits.redirects + 1):
            self.policy.check(exchange.target)
            response = await self._send(exchange, limits, deadline, proxy)
            try:
                location = response.headers.get("Location") if follow else None
                following = exchange.following(response.status, location)
                if following is None:
                    yield StreamedAnswer(response, exchange, limits, deadline)
                    return
            finally:
                # The connection is used again only if all of the answer was read.
                response.close()
            exchange = following
        raise EgressRefused(first, f"redirects more than {limits.redirects} times")

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limits: EgressLimits | None = None,
        proxy: ProxyServer | None = None,
    ) -> Answer:
        """As `stream`, with the whole body in memory."""
        async with self.stream(method, url, headers=headers, body=body, limits=limits, proxy=proxy) as answer:
            content = await answer.read()
            return Answer(answer.status, answer.headers, answer.url, content, answer.charset)

    async def checked_addresses(self, host: str, port: int) -> list[str]:
        """Addresses to connect to at that port with something else than HTTP; never connect to the name itself.

        For mail and databases: their own ports are theirs to check, so the policy's do not count.
        """
        assert self._checked is not None, "an Egress is used inside `async with`"
        name, address = read_host(host)
        self.policy.check_host(name, address, port)
        if address is not None:
            return [str(address)]
        limits = self.policy.limits
        try:
            async with asyncio.timeout(limits.connect_seconds):
                with told(name, limits, math.inf):
                    return [found["host"] for found in await self._checked.resolve(host, port, socket.AF_UNSPEC)]
        except TimeoutError as error:
            raise EgressTimeout(f"{name}: not looked up within {limits.connect_seconds:g} s") from error

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connection, not blocking, to one of the `checked_addresses`, for another protocol than HTTP.

        TLS is up to the protocol: the name in it is that of the host, never the address.
        """
        addresses = await self.checked_addresses(host, port)
        what = f"{read_host(host)[0]}:{port}"
        return await connect_to_one(addresses, port, what, self.policy.limits.connect_seconds)

    async def _send(
        self, exchange: Exchange, limits: EgressLimits, deadline: float, proxy: ProxyServer | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "an Egress is used inside `async with`"
        target = exchange.target
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=limits.connect_seconds,
            sock_connect=limits.connect_seconds,
            sock_read=limits.read_seconds,
        )
        headers = dict(exchange.headers)
        if proxy is not None and target.url.scheme == "http":
            # Without TLS the proxy reads the request itself; with it, there is one to the proxy before it.
            headers |= proxy.headers
        with told(target.shown, limits, deadline):
            async with asyncio.timeout_at(deadline):
                return await self._session.request(
                    exchange.method,
                    target.url,
                    headers=headers,
                    data=None if exchange.body is None else io.BytesIO(exchange.body),
                    allow_redirects=False,
                    timeout=timeout,
                    proxy=None if proxy is None else proxy.url,
                    proxy_headers=None if proxy is None else proxy.headers,
                )
