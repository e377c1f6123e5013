"""The connection: nats-py's client for connecting, TLS, credentials and reconnecting, with its hot paths replaced.

Bytes go out in one write for every two turns of the event loop, and messages are handed to their handler straight from
the read loop, without a queue and a task for each subscription. That is worth a factor of five to ten.
It reaches into nats-py's internals, so its version is pinned; tests/integration/bus covers what is relied on.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import Any

import structlog
from nats import errors as nats_errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol import command
from nats.protocol.parser import Parser

from services.common import expiry, tls
from services.common.bus.messages import Delivery
from services.common.nats_access import NatsAccess

READ_SIZE = 256 * 1024
WRITE_BUFFER_LIMIT = 64 * 1024 * 1024
"""Unsent bytes beyond which nothing more is taken: the server has stopped reading."""

Handler = Callable[[Delivery], None]

log = structlog.stdlib.get_logger(__name__)


class BusParser(Parser):
    """The protocol's parser: control lines are found by search instead of eight regular expressions on each."""

    def __init__(self, client: "BusClient") -> None:
        self._client = client
        super().__init__(client)

    def reset(self) -> None:
        """Forget what was read of a connection that ended."""
        self._chunks: list[bytes] = []
        self._have = 0
        self._needed = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take the bytes read, and hand over every message that is complete."""
        self._chunks.append(data)
        self._have += len(data)
        if self._have < self._needed:
            return
        buffer = data if len(self._chunks) == 1 else b"".join(self._chunks)
        # Cleared first: a disconnect from within resets the parser, and what follows must not undo that.
        self.reset()
        position, needed = await self._parse(buffer)
        if position < len(buffer):
            rest = buffer[position:]
            self._chunks, self._have, self._needed = [rest], len(rest), needed

    async def _parse(self, buffer: bytes) -> tuple[int, int]:
        """How far the buffer was used up, and how many bytes from there the next message needs at least."""
        position = 0
        dispatch = self._client.dispatch
        while True:
            line_end = buffer.find(b"\r\n", position)
            if line_end < 0:
                return position, 0
            body = line_end + 2
            operation = buffer[position]
            if operation == 77:  # MSG <subject> <sid> [reply] <size>
                words = buffer[position + 4 : line_end].split()
                end = body + int(words[-1])
                if len(buffer) < end + 2:
                    return position, end + 2 - position
                reply = words[2].decode() if len(words) == 4 else ""
                dispatch(int(words[1]), Delivery(words[0].decode(), reply, buffer[body:end]))
                position = end + 2
            elif operation == 72:  # HMSG <subject> <sid> [reply] <size of headers> <size>
                words = buffer[position + 5 : line_end].split()
                end = body + int(words[-1])
                if len(buffer) < end + 2:
                    return position, end + 2 - position
                start = body + int(words[-2])
                reply = words[2].decode() if len(words) == 5 else ""
                dispatch(int(words[1]), Delivery(words[0].decode(), reply, buffer[start:end], buffer[body:start]))
                position = end + 2
            else:
                line, position = buffer[position:line_end], body
                await self._control(line)

    async def _control(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        match word.upper():
            case b"PING":
                await self._client.answer_ping()
            case b"PONG":
                await self._client._process_pong()
            case b"INFO":
                await self._client._process_info(json.loads(rest))
            case b"-ERR":
                await self._client._process_err(rest.decode("utf-8", "replace").lower())
            case b"+OK" | b"":
                pass
            case _:
                raise nats_errors.ProtocolError(f"nats: unknown line {line[:40]!r}")


class BusClient(Client):
    """nats-py's client with synchronous sending and dispatching, that never gives up its connection for good."""

    def __init__(self, access: NatsAccess) -> None:
        super().__init__()
        self._access = access
        self._ps = BusParser(self)
        self._handlers: dict[int, Handler] = {}
        self._write_scheduled = False

    # -- sending

    def send(self, *parts: bytes) -> bool:
        """Queue bytes of the protocol for this turn's write; False, and nothing queued, without a connection."""
        if not self.is_connected or self._pending_data_size > WRITE_BUFFER_LIMIT:
            return False
        self._pending.extend(parts)
        self._pending_data_size += sum(map(len, parts))
        self._write_soon()
        return True

    def send_many(self, parts: list[bytes], size: int) -> bool:
        """As send, for many parts of a known size together."""
        if not self.is_connected or self._pending_data_size > WRITE_BUFFER_LIMIT:
            return False
        self._pending.extend(parts)
        self._pending_data_size += size
        self._write_soon()
        return True

    def _write_soon(self) -> None:
        """Schedules a write for after the next turn of the loop.

        What is sent now often wakes tasks that send as well, so their bytes go along: every write wakes the server.
        """
        if not self._write_scheduled:
            self._write_scheduled = True
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._write)

    def _write(self) -> None:
        self._write_scheduled = False
        if not self._pending or not self.is_connected or self._transport is None:
            return
        if self.unwritten > WRITE_BUFFER_LIMIT:
            # The server reads no more. What is pending waits; send() takes nothing beyond the limit meanwhile.
            asyncio.get_running_loop().call_later(0.05, self._write)
            self._write_scheduled = True
            return
        parts, self._pending, self._pending_data_size = self._pending, [], 0
        self._transport.write(b"".join(parts))

    @property
    def unwritten(self) -> int:
        """Bytes that the socket has not taken yet."""
        writer = getattr(self._transport, "_io_writer", None)
        return int(writer.transport.get_write_buffer_size()) if writer is not None else 0

    async def flush_to_server(self, timeout: float) -> None:
        """Return when the server has handled everything sent so far."""
        self._write()
        await self.flush(timeout)  # type: ignore[arg-type]  # annotated int, used as seconds

    async def _process_pong(self) -> None:
        """As nats-py's, which ends the connection over an answer that nobody waits for any more."""
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def answer_ping(self) -> None:
        """Tell the server that this side lives."""
        self.send(b"PONG\r\n")

    # -- receiving

    def add_subscription(self, subject: str, queue: str, handler: Handler) -> int:
        """Have messages of a subject handed to `handler`, now and after every reconnect; answers its number."""
        self._sid += 1
        number = self._sid
        # Known to nats-py only so that it subscribes again after a reconnect; it is not started, so it costs no task.
        self._subs[number] = Subscription(self, number, subject, queue=queue)
        self._handlers[number] = handler
        self.send(command.sub_cmd(subject, queue, number))
        return number

    def end_subscription(self, number: int) -> None:
        """Ask the server for no more; what is on its way is still handed over."""
        if self._subs.pop(number, None) is not None:
            self.send(b"UNSUB %d\r\n" % number)

    def remove_subscription(self, number: int) -> None:
        """No more messages from it, those on their way included."""
        self.end_subscription(number)
        self._handlers.pop(number, None)

    def dispatch(self, number: int, delivery: Delivery) -> None:
        """Hand a message to its subscription's handler."""
        handler = self._handlers.get(number)
        if handler is None:
            return
        try:
            handler(delivery)
        except Exception:  # the read loop is an edge: one handler's bug must not take the connection from the others
            log.exception("a handler of the bus failed", subject=delivery.subject)

    # -- who is who

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Made at each connection: certificates are renewed while a process runs."""
        return tls.client_context(self._access.tls)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """The first thing that a server says. nats-py takes it at its word when it says that it speaks no TLS."""
        server = self._current_server
        if initial_connection and server is not None and server.uri.scheme == "tls" and not info.get("tls_required"):
            raise nats_errors.Error("the server does not demand TLS, and the URL begins with tls://")
        await super()._process_info(info, initial_connection)

    def _connect_command(self) -> bytes:
        """Says who this is, with the password of this moment."""
        if self._access.user:
            self.options.update(user=self._access.user, password=self._access.password())
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            expiry.note_nats(self._transport._io_writer.get_extra_info("ssl_object"))
        return super()._connect_command()

    # -- staying connected

    async def _read_loop(self) -> None:
        while not (self.is_closed or self.is_reconnecting) and self._transport is not None:
            try:
                if self._transport.at_eof():
                    raise nats_errors.UnexpectedEOF
                await self._ps.parse(await self._transport.read(READ_SIZE))
            except asyncio.CancelledError:
                return
            except Exception as error:  # noqa: BLE001  # an edge: whatever was read, a new connection starts clean
                await self._process_op_err(error)
                return

    async def _process_err(self, err_msg: str) -> None:
        """Errors of the server: nats-py closes for good on most of them, this client connects again."""
        error = nats_errors.Error(f"nats: {err_msg}")
        await self._error_cb(error)
        if "permissions violation" not in err_msg and "invalid subject" not in err_msg:
            await self._process_op_err(error)

    async def _attempt_reconnect(self) -> None:
        # What was not written is reported as refused, so it must not be sent late; subscriptions are sent again anyway.
        self._pending, self._pending_data_size = [], 0
        # nats-py closes politely and waits for that, which never ends when the server has stopped reading.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        while True:
            try:
                await super()._attempt_reconnect()
            except Exception as error:  # noqa: BLE001  # an edge: nats-py's own slips here would leave the process cut off for ever
                await self._error_cb(error)
                await asyncio.sleep(self.options["reconnect_time_wait"])
            else:
                return
