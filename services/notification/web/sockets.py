"""Events over a WebSocket, `/ws`: JSON messages, several subscriptions on one connection.

    -> {"type": "authenticate", "token": "..."}          unless the header `authorization` has it; again to renew it
    <- {"type": "authenticated", "user_id": "..."}
    -> {"type": "subscribe", "id": "a", "filter": {"execution_ids": [], "graph_ids": [], "kinds": []}, "cursor": "..."}
    <- {"type": "subscribed", "id": "a", "cursor": "..."}
    <- {"type": "events", "id": "a", "events": [{...}]}   CloudEvents: what there is, one or many
    <- {"type": "cursor", "id": "a", "cursor": "..."}     behind all that was told; now and then
    <- {"type": "live", "id": "a"}                        what was there at the beginning is told
    <- {"type": "error", "id": "a", "error": {...}}       google.rpc.Status; with an id, that subscription has ended
    -> {"type": "unsubscribe", "id": "a"}                 <- {"type": "unsubscribed", "id": "a"}
    -> {"type": "ping"}                                   <- {"type": "pong"}
    <- {"type": "heartbeat", "time": "..."}               when there was nothing else for a while

Messages without "id" are of the connection. What is no such message is answered with an error, and nothing else ends.
An error that ends the connection is told before the end, whose close code says of which sort it is.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from services.common import identity, tasks
from services.common.errors import BlockyardError, InvalidArgument, PermissionDenied, Unauthenticated, Violation
from services.common.identity import TokenInvalid, TokenMissing
from services.notification.asking import check_filter, filter_of
from services.notification.errors import TooManyConnections, TooManySubscriptions
from services.notification.filters import EventFilter
from services.notification.following import Cursors, Following
from services.notification.places import Places
from services.notification.web.errors import close_code, error_answer, error_json
from services.notification.web.questions import of_json
from services.notification.web.visitors import Gate, Visitor

AUTHENTICATE_SECONDS = 10.0
"""A connection that has not said who it is for so long is closed."""
SEND_SECONDS = 30.0
"""A reader that takes nothing for so long is cut off."""
QUIET_SECONDS = 10.0
MOST_SUBSCRIPTIONS = 100
"""On one connection."""
LONGEST_ID = 100
SUBSCRIBE = ("type", "id", "filter", "cursor")
"""What such a message has."""
MESSAGE_BYTES = 256 << 10
"""Of events in one message, unless one alone has more: clients take 1 MiB at once, many of them no more."""

TOO_SLOW = 4429
"""Close code: what is sent is not read. The others are those of errors."""

log = structlog.stdlib.get_logger(__name__)


class NotAMessage(InvalidArgument):
    """This is no message that a client sends."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """The endpoint."""

    gate: Gate
    following: Following
    places: Places

    async def serve(self, socket: WebSocket) -> None:
        """Talks until one side has enough."""
        try:
            with self.places.connected():
                await self._talk(socket)
        except TooManyConnections as error:
            await socket.send_denial_response(error_answer(error))

    async def _talk(self, socket: WebSocket) -> None:
        await socket.accept()
        connection = _Connection(self, socket)
        try:
            await connection.talk()
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await connection.close(TOO_SLOW, "what is sent is not read")
        except BlockyardError as error:
            await connection.refuse(error)
        finally:
            await tasks.end([*connection.subscriptions.values(), *connection.background])


@dataclass(slots=True, eq=False)
class _Connection:
    sockets: Sockets
    socket: WebSocket
    subscriptions: "dict[str, asyncio.Task[None]]" = field(default_factory=dict)
    background: "list[asyncio.Task[None]]" = field(default_factory=list)
    visitor: Visitor | None = None
    _sent_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ended: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def talk(self) -> None:
        """Takes messages one after the other, until something ends the connection."""
        await self._greet()
        self.background.append(asyncio.create_task(self._beat(), name="heartbeat"))
        listening = asyncio.create_task(self._listen(), name="listen")
        self.background.append(listening)
        await asyncio.wait({listening, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        await (self._ended if self._ended.done() else listening)

    async def _greet(self) -> None:
        authorization = self.socket.headers.get("authorization", "")
        if authorization:
            await self._let_in(authorization)
            return
        try:
            async with asyncio.timeout(AUTHENTICATE_SECONDS):
                while self.visitor is None:
                    await self._answer(await self.socket.receive())
        except TimeoutError as error:
            raise TokenMissing('The first message must be {"type": "authenticate", "token": "..."}.') from error

    async def _let_in(self, authorization: str) -> None:
        visitor = await self.sockets.gate.admit(authorization, self.socket)
        if self.visitor is not None and visitor.caller.user_id != self.visitor.caller.user_id:
            raise TokenInvalid("The token of another user does not renew this connection. Open another one.")
        self.visitor = visitor
        await self._send({"type": "authenticated", "user_id": visitor.caller.user_id})

    async def _listen(self) -> None:
        while True:
            await self._answer(await self.socket.receive())

    async def _answer(self, received: Any) -> None:  # Any: a message of ASGI
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005), received.get("reason"))
        try:
            await self._take(_message(received))
        except BlockyardError as error:
            # Who may not be here is refused as by the header, and does not wait for the time to authenticate to end.
            refused = isinstance(error, PermissionDenied) and self.visitor is None
            if refused or isinstance(error, Unauthenticated):
                raise
            await self._error(error)

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "authenticate":
            await self._let_in(f"Bearer {_text(message, 'token')}")
        elif self.visitor is None:
            raise TokenMissing('The first message must be {"type": "authenticate", "token": "..."}.')
        elif kind == "subscribe":
            await self._subscribe(_text(message, "id"), message)
        elif kind == "unsubscribe":
            await self._unsubscribe(_text(message, "id"))
        elif kind == "ping":
            await self._send({"type": "pong"})
        else:
            known = "authenticate, subscribe, unsubscribe, ping"
            raise NotAMessage(violations=[Violation("type", f"{kind!r} is none of {known}")])

    async def _subscribe(self, key: str, message: dict[str, Any]) -> None:
        assert self.visitor is not None, "it was asked before"
        if key in self.subscriptions:
            raise NotAMessage(violations=[Violation("id", f"there is a subscription {key!r} on this connection")])
        if len(self.subscriptions) >= MOST_SUBSCRIPTIONS:
            raise TooManySubscriptions(f"A connection takes {MOST_SUBSCRIPTIONS} subscriptions. End some of them.")
        if unknown := sorted(message.keys() - SUBSCRIBE):
            described = f"not known; known are {', '.join(SUBSCRIBE)}"
            raise NotAMessage(violations=[Violation(one, described) for one in unknown])
        asked = message.get("filter", {})
        if not isinstance(asked, dict):
            raise NotAMessage(violations=[Violation("filter", "an object is expected")])
        cursor = message.get("cursor", "")
        if not isinstance(cursor, str):
            raise NotAMessage(violations=[Violation("cursor", "a string is expected")])
        self.sockets.gate.count(self.visitor.caller)
        identity.set_caller(self.visitor.caller)
        filter = filter_of(of_json(asked))
        task = asyncio.create_task(self._follow(key, filter, cursor), name=f"subscription {key}")
        self.subscriptions[key] = task

    async def _unsubscribe(self, key: str) -> None:
        task = self.subscriptions.pop(key, None)
        if task is None:
            raise NotAMessage(violations=[Violation("id", f"there is no subscription {key!r} on this connection")])
        await tasks.end((task,))
        await self._send({"type": "unsubscribed", "id": key})

    async def _follow(self, key: str, filter: EventFilter, cursor: str) -> None:
        """Tells one subscription until it ends."""
        try:
            with self.sockets.places.taken():
                await self._tell_all(key, filter, cursor)
        except (Unauthenticated, WebSocketDisconnect, TimeoutError) as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - the edge: every exception is told, or logged with a reference
            self.subscriptions.pop(key, None)
            with suppress(WebSocketDisconnect):
                await self._send({"type": "error", "id": key, "error": error_json(error)})

    async def _tell_all(self, key: str, filter: EventFilter, cursor: str) -> None:
        assert self.visitor is not None, "it was asked before"
        begun = live = False
        cursors = Cursors()
        quoted = orjson.dumps(key)
        async for told in self.sockets.following.subscribe(filter, cursor, "websocket"):
            await self.sockets.gate.check(self.visitor)
            check_filter(filter, self.visitor.caller)
            cursor = cursors.of(told)
            if not begun:
                begun = True
                await self._send({"type": "subscribed", "id": key, "cursor": cursor})
                continue
            for events in _messages_of(event for part in told.parts for event in part.cloud_events):
                await self._write(b'{"type":"events","id":' + quoted + b',"events":[' + events + b"]}")
            if told.live and not live:
                live = True
                await self._send({"type": "live", "id": key})
            if cursor:
                await self._send({"type": "cursor", "id": key, "cursor": cursor})

    async def _beat(self) -> None:
        """A sign of life when there was nothing else; and whoever may be told nothing more is told so."""
        assert self.visitor is not None, "it was asked before"
        try:
            while True:
                await asyncio.sleep(max(0.0, self._sent_at + QUIET_SECONDS - time.monotonic()) or QUIET_SECONDS)
                await self.sockets.gate.check(self.visitor)
                if time.monotonic() - self._sent_at >= QUIET_SECONDS:
                    await self._send({"type": "heartbeat", "time": datetime.now(UTC).isoformat()})
        except (BlockyardError, WebSocketDisconnect, TimeoutError) as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        """Something in the background ends the connection."""
        if not self._ended.done():
            self._ended.set_exception(error)

    async def _error(self, error: BlockyardError) -> None:
        await self._send({"type": "error", "error": error_json(error)})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._write(orjson.dumps(message))

    async def _write(self, text: bytes) -> None:
        async with self._lock, asyncio.timeout(SEND_SECONDS):
            await self.socket.send_text(text.decode())
        self._sent_at = time.monotonic()

    async def refuse(self, error: BlockyardError) -> None:
        """Tells the error that ends the connection, and ends it."""
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._error(error)
        await self.close(close_code(error), error.message)

    async def close(self, code: int, reason: str) -> None:
        """Says why, if the other side still listens."""
        if self.socket.application_state is not WebSocketState.DISCONNECTED:
            with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.socket.close(code, reason[:100])


def _messages_of(events: Iterable[bytes]) -> Iterator[bytes]:
    """The events as they stand in messages, of which none is larger than it need be."""
    together: list[bytes] = []
    size = 0
    for event in events:
        if together and size + len(event) > MESSAGE_BYTES:
            yield b",".join(together)
            together, size = [], 0
        together.append(event)
        size += len(event) + 1
    if together:
        yield b",".join(together)


def _message(received: Any) -> dict[str, Any]:
    text = received.get("text")
    if text is None:
        raise NotAMessage("Messages are text, with a JSON object in it. This one is binary.")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotAMessage(f"This is no JSON: {error}.") from error
    if not isinstance(message, dict):
        raise NotAMessage("A JSON object is expected.")
    return message


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    longest = LONGEST_ID if name == "id" else 20_000
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise NotAMessage(violations=[Violation(name, f"a string of 1 to {longest} characters is expected")])
    return value
