"""How a call is made: with the token, a deadline, errors of our own tree, and repeats where a repeat is safe."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from blockyard.errors import CallError, RateLimited, Unavailable, from_rpc_error

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

DEFAULT_DEADLINE = 30.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
LONGEST_OUTAGE = 120.0
LONGEST_LIMIT = 5.0
"""Seconds that a call which came too soon waits by itself; whoever has to wait for longer is told."""


class Caller:
    """Makes the calls of one client. Stubs come in as arguments, so it knows no service."""

    def __init__(self, token: str, deadline: float = DEFAULT_DEADLINE) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.deadline = deadline

    async def __call__(
        self,
        method: Callable[..., Any],  # Any: the stub's multi-callable, whose type differs between sync and async stubs
        request: Request,
        answer: type[Response],
        *,
        repeatable: bool,
        deadline: float | None = None,
    ) -> Response:
        """Calls `method` and gives its answer. One that is `repeatable` is tried again while the service is away,
        and any that came a little too soon, which had no effect: until `deadline` seconds have passed in all."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.deadline if deadline is None else deadline)
        pause = FIRST_PAUSE
        while True:
            try:
                response = await method(request, metadata=self._metadata, timeout=max(end - loop.time(), 0.001))
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error)
                wait = max(failure.retry_after or 0.0, pause * random.uniform(0.5, 1.0))
                if not _may_repeat(failure, repeatable) or loop.time() + wait >= end:
                    raise failure from error
                await asyncio.sleep(wait)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                assert isinstance(response, answer)
                return response

    async def stream(
        self, method: Callable[..., Any], request: Request, answer: type[Response], longest_silence: float | None = None
    ) -> AsyncGenerator[Response]:
        """Calls a streaming method, which has no deadline of its own, and gives its answers.

        Where the service shows that it lives, Unavailable is raised after `longest_silence` seconds without an answer:
        a proxy in between may keep the connection of one that hangs.
        """
        call = method(request, metadata=self._metadata)
        try:
            while True:
                async with asyncio.timeout(longest_silence):
                    response = await call.read()
                if response is grpc.aio.EOF:
                    return
                assert isinstance(response, answer)
                yield response
        except TimeoutError as error:
            raise Unavailable(f"nothing was heard for {longest_silence:g} seconds") from error
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            call.cancel()


def _may_repeat(failure: CallError, repeatable: bool) -> bool:
    if isinstance(failure, RateLimited):
        return failure.retry_after is not None and failure.retry_after <= LONGEST_LIMIT
    return repeatable and isinstance(failure, Unavailable)


class Pauses:
    """Pauses between attempts to connect again: they grow, with jitter, and begin anew after success.

    After `longest_outage` seconds without success the failure is raised.
    """

    def __init__(self, longest_outage: float = LONGEST_OUTAGE) -> None:
        self._longest_outage = longest_outage
        self.reset()

    def reset(self) -> None:
        """There was success: the next pause is a short one again."""
        self._next = FIRST_PAUSE
        self._since: float | None = None

    async def wait(self, failure: CallError) -> None:
        """Waits before the next attempt."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since > self._longest_outage:
            raise failure
        await asyncio.sleep(max(failure.retry_after or 0.0, self._next * random.uniform(0.5, 1.0)))
        self._next = min(self._next * 2, LONGEST_PAUSE)
