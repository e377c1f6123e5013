"""One attempt: a POST under the operator's rules for outgoing requests, and what is to be said of the answer."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from blockyard.egress import EgressError, EgressLimits, EgressPolicy

from services.notification.clock import Clock
from services.notification.cloudevents import CONTENT_TYPE
from services.notification.webhooks.records import Attempt
from services.notification.webhooks.schedule import retry_after

if TYPE_CHECKING:
    from blockyard.egress import Egress

USER_AGENT = "Blockyard-Webhooks/1 (+https://blockyard.dev)"
READ_BYTES = 1_024
"""More is not read of an answer."""
SHOWN_CHARACTERS = 500
"""Of an error."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt, and what the endpoint asks for."""

    attempt: Attempt
    retry_after: float | None = None
    """Seconds."""
    secret_lost: bool = False
    """It could not be signed, and nothing was sent."""

    @property
    def succeeded(self) -> bool:
        """Whether it was taken."""
        return not self.attempt.error


class Poster:
    """Sends to endpoints; an async context manager. Redirects are not followed; no proxy, cookie or login is used."""

    def __init__(self, policy: EgressPolicy, seconds: float, clock: Clock, tls: ssl.SSLContext | None = None) -> None:
        """An answer is waited for so long, to its end. `tls` has other certificates than the system's."""
        self._policy = policy
        self._tls = tls
        self._clock = clock
        # The answer is bounded by reading no more of it; a large one is no failure.
        self._limits = EgressLimits(min(seconds, 10.0), seconds, seconds, response_bytes=1 << 60, redirects=0)
        self._resources = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._egress: Egress | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def _open(self) -> "Egress":
        """The client. Whoever has no webhooks does without it, and without the time that its import takes."""
        async with self._opening:
            if self._egress is None:
                from blockyard.egress import Egress

                self._egress = await self._resources.enter_async_context(Egress(self._policy, tls=self._tls))
            return self._egress

    async def post(self, number: int, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Sends; whatever goes wrong is in what it returns."""
        egress = await self._open()
        now, began = self._clock(), time.monotonic()
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity",
            **headers,
        }
        status, error, text = 0, "", ""
        wait: float | None = None
        try:
            async with egress.stream(
                "POST", url, headers=headers, body=body, limits=self._limits, follow=False
            ) as answer:
                status = answer.status
                wait = retry_after(answer.headers, now)
                read = bytearray()
                async for piece in answer.chunks():
                    read += piece
                    if len(read) >= READ_BYTES:
                        break
                if not 200 <= status <= 299:
                    text = bytes(read[:READ_BYTES]).decode("utf-8", "replace")
                    error = _refusal(status)
        except EgressError as failure:
            error = str(failure)[:SHOWN_CHARACTERS]
        took = round((time.monotonic() - began) * 1000)
        return Sent(Attempt(number, now, status, took, printable(error), printable(text)), wait)


def _refusal(status: int) -> str:
    if 300 <= status <= 399:
        return f"answered {status}: redirects are not followed, so give the address that it leads to"
    return f"answered {status}"


def printable(text: str) -> str:
    """Text that a table can hold and a terminal can show."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)
