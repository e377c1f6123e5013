"""Events as server-sent events: GET /api/events with the filter in the query.

    event: blockyard.node.completed       the type of the CloudEvent
    id: <cursor>                          now and then; a browser sends the last one as Last-Event-ID and resumes there
    data: {...}                           the CloudEvent

A line ":" is a sign of life. An error after the beginning comes as the last event, `error`, with google.rpc.Status.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.notification.asking import check_filter, filter_of
from services.notification.filters import EventFilter
from services.notification.following import Cursors, Following, Told
from services.notification.places import Places
from services.notification.web.errors import error_json
from services.notification.web.questions import of_query
from services.notification.web.visitors import Gate, Visitor

SEND_SECONDS = 30.0
"""A reader that takes nothing for so long is cut off."""
HEADERS = {
    "cache-control": "no-cache, no-transform",
    # Proxies that buffer would hold events back.
    "x-accel-buffering": "no",
}


class EventStream(StreamingResponse):
    """Ends once its reader takes nothing for a while."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As a response does it."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        with suppress(TimeoutError):
            await super().__call__(scope, receive, send_in_time)


@dataclass(frozen=True, slots=True)
class Streams:
    """The endpoint."""

    gate: Gate
    following: Following
    places: Places

    async def stream(self, request: Request) -> StreamingResponse:
        """Answers with events for as long as the visitor listens."""
        visitor = await self.gate.admit(request.headers.get("authorization", ""), request)
        filter = filter_of(of_query(request.query_params))
        cursor = request.headers.get("last-event-id") or request.query_params.get("cursor", "")
        told = self._told(visitor, filter, cursor)
        # Whatever is wrong with the cursor is known with the first part, and can be answered as an error still.
        first = await anext(told)
        return EventStream(_with(first, told), media_type="text/event-stream", headers=HEADERS)

    async def _told(self, visitor: Visitor, filter: EventFilter, cursor: str) -> AsyncIterator[bytes]:
        with self.places.connected(), self.places.taken():
            begun, cursors = False, Cursors()
            try:
                async for told in self.following.subscribe(filter, cursor, "sse"):
                    await self.gate.check(visitor)
                    check_filter(filter, visitor.caller)
                    yield _text(told, cursors.of(told))
                    begun = True
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except Exception as error:
                if not begun:
                    raise
                yield b"event: error\ndata: " + orjson.dumps(error_json(error)) + b"\n\n"


def _text(told: Told, place: str) -> bytes:
    """What is told at once. The cursor stands with the last event, since it lies behind all of them."""
    events = [event for part in told.parts for event in part.cloud_events]
    lines = [b"event: " + _type(event) + b"\ndata: " + event for event in events]
    cursor = f"id: {place}".encode()
    if not lines:
        # An id without data is remembered, and nothing is dispatched.
        return cursor + b"\n\n" if place else b":\n\n"
    if place:
        lines[-1] = cursor + b"\n" + lines[-1]
    return b"\n\n".join(lines) + b"\n\n"


def _type(event: bytes) -> bytes:
    """The type of an encoded CloudEvent, without reading all of it."""
    begin = event.index(b'"type":"') + 8
    return event[begin : event.index(b'"', begin)]


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for one in rest:
        yield one
