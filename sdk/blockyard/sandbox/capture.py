"""Keeps what comes out of a pipe, up to a limit."""

import asyncio
import os


class Capture(asyncio.Protocol):
    """The reading end of a pipe in the event loop."""

    def __init__(self, limit: int, changed: asyncio.Event) -> None:
        """`changed` is set whenever something has come, and at the end."""
        self.content = bytearray()
        self.overflowed = False
        self.closed = False
        self._limit = limit
        self._changed = changed
        self._transport: asyncio.ReadTransport | None = None

    async def connect(self, descriptor: int) -> None:
        """Takes the descriptor over."""
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self, pipe)
        self._transport = transport

    @property
    def ended(self) -> bool:
        """Whether nothing more comes, or is wanted."""
        return self.closed or self.overflowed

    def text(self) -> str:
        """What has come, as text."""
        return self.content.decode(errors="replace")

    def close(self) -> None:
        """Stops reading."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self.content += data
        if len(self.content) > self._limit:
            del self.content[self._limit :]
            self.overflowed = True
            # Not closed: the program would end by a signal of its own before it is stopped for this.
            if self._transport is not None:
                self._transport.pause_reading()
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self.closed = True
        self._changed.set()
