"""Waits for the browser that a provider of OAuth 2 sends back to this machine (RFC 8252, section 7.3).

Anything that runs here can send requests to the listener, and any page in the browser too: only one with the state of
this very authorization ends the waiting, the first of them, and all others are answered and forgotten.
"""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from blockyard.errors import BlockyardError, DeadlineExceeded

HOST = "127.0.0.1"
PATH = "/callback"
LONGEST_REQUEST = 16 << 10
SECONDS_TO_READ = 5.0
MOST_CONNECTIONS = 16

_DONE = "You can close this window and go back to the terminal."
_NOT_THIS = "This is no answer to the authorization that is waited for."


@dataclass(frozen=True, slots=True)
class Returned:
    """What the provider sent back."""

    code: str = field(repr=False)
    error: str
    issuer: str


class Callback:
    """A listener on 127.0.0.1, and what came to it."""

    def __init__(self) -> None:
        self.redirect_uri = ""
        self._state = b""
        self._returned: asyncio.Future[Returned] = asyncio.get_running_loop().create_future()
        self._connections = 0

    def expect(self, state: str) -> None:
        """From now on an answer with this state is taken. Before, none is: nobody could know it."""
        self._state = state.encode()

    async def wait(self, seconds: float) -> Returned:
        """What came back."""
        try:
            async with asyncio.timeout(seconds):
                return await self._returned
        except TimeoutError:
            raise DeadlineExceeded(
                f"the browser did not come back within {seconds:g} seconds; nothing was connected"
            ) from None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection."""
        self._connections += 1
        try:
            if self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(SECONDS_TO_READ):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_answer(*self._judge(head)))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever it was, it was not the browser that is waited for
        finally:
            self._connections -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _judge(self, head: bytes) -> tuple[int, str]:
        """Status and words for a request; the one that is waited for is taken."""
        request_line, *headers = head.decode("latin-1").split("\r\n")
        parts = request_line.split(" ")
        if len(parts) != 3 or parts[0] != "GET":
            return 405, _NOT_THIS
        hosts = [line.partition(":")[2].strip() for line in headers if line.lower().startswith("host:")]
        if hosts != [urlsplit(self.redirect_uri).netloc]:
            return 400, _NOT_THIS  # a name of somebody else's that leads here
        try:
            target = urlsplit(parts[1])
            query = parse_qs(target.query, max_num_fields=20, errors="strict")
        except ValueError:
            return 400, _NOT_THIS
        if target.path != PATH:
            return 404, _NOT_THIS
        state = query.get("state", [])
        if not self._state or len(state) != 1 or not hmac.compare_digest(state[0].encode(), self._state):
            return 400, _NOT_THIS
        if not self._returned.done():
            first = {name: values[0] for name, values in query.items()}
            self._returned.set_result(Returned(first.get("code", ""), first.get("error", ""), first.get("iss", "")))
        return 200, _DONE


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[Callback]:
    """A listener while the context is open; port 0 takes a free one."""
    callback = Callback()
    try:
        server = await asyncio.start_server(callback.serve, HOST, port, limit=LONGEST_REQUEST)
    except OSError as error:
        raise BlockyardError(
            f"cannot listen on {HOST}:{port} ({error.strerror or error}): choose another --redirect-port"
        ) from error
    callback.redirect_uri = f"http://{HOST}:{server.sockets[0].getsockname()[1]}{PATH}"
    try:
        yield callback
    finally:
        server.close()


def _answer(status: int, words: str) -> bytes:
    """A page without anything of the request in it."""
    reason = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}[status]
    page = f"<!doctype html><meta charset=utf-8><title>Blockyard</title><p>{words}</p>\n".encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(page)}\r\n"
        "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + page
