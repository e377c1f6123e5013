"""A channel over TLS that goes on when certificates are renewed: gRPC reads them once, when a channel is made."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from services.common import tasks
from services.common.tls import Material, TlsFiles, Watched

GRACE_SECONDS = 60.0
"""How long calls under way on the channel before may go on."""


class RenewingChannel(grpc.aio.Channel):
    """Behaves as the channel that `open_with` makes, which is made again once the files have changed."""

    def __init__(self, files: TlsFiles, open_with: Callable[[Material], grpc.aio.Channel]) -> None:
        self._watched = Watched(files)
        self._open = open_with
        self._channel = open_with(self._watched.material)
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel of this moment."""
        if self._watched.changed():
            before, self._channel = self._channel, self._open(self._watched.material)
            task = asyncio.get_running_loop().create_task(before.close(GRACE_SECONDS), name="channel before")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """End it, and what is left of those before."""
        await tasks.end(self._closing)
        await self._channel.close(grace)

    async def __aenter__(self) -> "RenewingChannel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel of this moment."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the channel of this moment."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the channel of this moment."""
        await self.current().channel_ready()

    # Any below: as gRPC's own stubs have the methods of any service.

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """A method with one request and one answer."""
        return _Method(self, "unary_unary", arguments, named)

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """A method with a stream of answers."""
        return _Method(self, "unary_stream", arguments, named)

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """A method with a stream of requests."""
        return _Method(self, "stream_unary", arguments, named)

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """A method with streams of both."""
        return _Method(self, "stream_stream", arguments, named)


class _Method:
    """A method of a stub: each call goes over the channel of its moment."""

    def __init__(self, renewing: RenewingChannel, kind: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._renewing = renewing
        self._kind = kind
        self._arguments = arguments
        self._named = named
        self._channel: grpc.aio.Channel | None = None
        self._method: Any = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        channel = self._renewing.current()
        if channel is not self._channel:
            self._channel = channel
            self._method = getattr(channel, self._kind)(*self._arguments, **self._named)
        return self._method(*arguments, **named)
