"""Publishing into streams: all messages of a call go out at once, their acks come in on one shared inbox.

The number and the bytes in flight are bounded over all callers; further callers wait, in the order they came.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Sequence

from services.common.bus.client import BusClient
from services.common.bus.messages import Ack, Delivery, Message, PublishRefused, Refusal

DEFAULT_MAX_IN_FLIGHT = 4096
MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024

_ACK = re.compile(rb'\{"stream": ?"([^"]+)", ?"seq": ?(\d+)(, ?"duplicate": ?true)?')
# Server error codes: insufficient resources, resources exceeded for the server or account, maximum bytes or messages.
_FULL_CODES = frozenset({10023, 10028, 10047, 10077})

Answer = Ack | PublishRefused


class _Batch:
    """The messages of one call, and how many answers are missing."""

    __slots__ = ("answers", "done", "in_flight", "missing")

    def __init__(self, size: int) -> None:
        self.answers: list[Answer | None] = [None] * size
        self.missing = size
        self.in_flight = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, position: int, answer: Answer) -> None:
        if self.answers[position] is None:
            self.answers[position] = answer
            self.missing -= 1
            if not self.missing and not self.done.done():
                self.done.set_result(None)

    def refuse_rest(self, refusal: PublishRefused) -> None:
        for position, answer in enumerate(self.answers):
            if answer is None:
                self.answer(position, refusal)


class Publisher:
    """Publishes into streams over one connection."""

    def __init__(self, client: BusClient, inbox: str, max_in_flight: int = DEFAULT_MAX_IN_FLIGHT) -> None:
        self._client = client
        self._prefix = f"{inbox}."
        self._max_in_flight = max_in_flight
        self._next_token = 0
        self._bytes = 0
        # By token: the batch, the position in it, and the size.
        self._in_flight: dict[int, tuple[_Batch, int, int]] = {}
        self._room_waiters: deque[asyncio.Future[None]] = deque()
        client.add_subscription(f"{self._prefix}*", "", self._on_answer)

    async def publish_all(self, messages: Sequence[Message], timeout: float) -> list[Answer]:
        """One answer for each message, in order, after at most `timeout` seconds."""
        if not messages:
            return []
        batch = _Batch(len(messages))
        timer = asyncio.get_running_loop().call_later(timeout, self._expire, batch)
        first_token = self._next_token
        try:
            position = 0
            while position < len(messages) and batch.missing:
                position = self._send_some(batch, messages, position)
                if position < len(messages):
                    await self._room(batch)
            await batch.done
        finally:
            timer.cancel()
            self._forget(batch, first_token)
        return [answer for answer in batch.answers if answer is not None]

    def disconnected(self) -> None:
        """Nothing that is in flight will be answered any more."""
        batches = {id(batch): batch for batch, _, _ in self._in_flight.values()}
        self._in_flight.clear()
        self._bytes = 0
        for batch in batches.values():
            batch.in_flight = 0
            batch.refuse_rest(PublishRefused(Refusal.DISCONNECTED, "the connection was lost"))
        self._wake_waiters()

    def _send_some(self, batch: _Batch, messages: Sequence[Message], position: int) -> int:
        """Send as many as there is room for; answers the position of the first that was not sent."""
        parts: list[bytes] = []
        sent = 0
        start, first_token = position, self._next_token
        while position < len(messages):
            if len(self._in_flight) >= self._max_in_flight or self._bytes > MAX_BYTES_IN_FLIGHT:
                break
            message = messages[position]
            payload = message.payload
            token = self._next_token
            head = _head(message, f"{self._prefix}{token}")
            size = len(head) + len(payload) + 2
            if size > self._client.max_payload:
                # The server would close the connection on it, under everybody else.
                batch.answer(position, PublishRefused(Refusal.TOO_LARGE, f"{len(payload)} bytes"))
            else:
                parts += (head, payload, b"\r\n")
                sent += size
                self._bytes += size
                batch.in_flight += 1
                self._in_flight[token] = (batch, position, size)
                self._next_token += 1
            position += 1
        if parts and not self._client.send_many(parts, sent):
            self._forget(batch, first_token)
            for late in range(start, len(messages)):
                batch.answer(late, PublishRefused(Refusal.DISCONNECTED, "not connected"))
            return len(messages)
        return position

    async def _room(self, batch: _Batch) -> None:
        """Wait until something in flight was answered, or the batch has ended."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room_waiters.append(waiter)
        await asyncio.wait((waiter, batch.done), return_when=asyncio.FIRST_COMPLETED)
        if not waiter.done():
            self._room_waiters.remove(waiter)

    def _on_answer(self, delivery: Delivery) -> None:
        entry = self._in_flight.pop(int(delivery.subject[len(self._prefix) :]), None)
        if entry is None:
            return
        batch, position, size = entry
        self._bytes -= size
        batch.in_flight -= 1
        match = _ACK.match(delivery.data)
        if match is not None:
            batch.answer(position, Ack(match[1].decode(), int(match[2]), match[3] is not None))
        else:
            batch.answer(position, _refusal(delivery))
        # Half of the room at once, rather than a wake-up for each ack.
        if self._room_waiters and len(self._in_flight) <= self._max_in_flight // 2:
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        waiters, self._room_waiters = self._room_waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _expire(self, batch: _Batch) -> None:
        batch.refuse_rest(PublishRefused(Refusal.TIMEOUT, "no answer in time"))

    def _forget(self, batch: _Batch, first_token: int) -> None:
        """Free the room of what a batch leaves unanswered: it timed out, was cancelled, or could not be sent."""
        if not batch.in_flight:
            return
        for token in range(first_token, self._next_token):
            entry = self._in_flight.get(token)
            if entry is not None and entry[0] is batch:
                del self._in_flight[token]
                self._bytes -= entry[2]
                batch.in_flight -= 1
        self._wake_waiters()


def _head(message: Message, reply: str) -> bytes:
    """The control line and the headers of a publish."""
    payload_size = len(message.payload)
    if " " in message.subject:
        raise ValueError(f"not a subject: {message.subject!r}")
    if message.message_id is None and not message.headers:
        return f"PUB {message.subject} {reply} {payload_size}\r\n".encode()
    lines = "NATS/1.0\r\n"
    if message.message_id is not None:
        lines += f"Nats-Msg-Id: {message.message_id}\r\n"
    if message.headers:
        lines += "".join(f"{name}: {value}\r\n" for name, value in message.headers.items())
    if lines.count("\n") != 1 + (message.message_id is not None) + len(message.headers or ()):
        raise ValueError(f"a header of a message on {message.subject} holds a line break")
    headers = f"{lines}\r\n".encode()
    size = len(headers)
    return b"%b%b" % (f"HPUB {message.subject} {reply} {size} {size + payload_size}\r\n".encode(), headers)


def _refusal(delivery: Delivery) -> PublishRefused:
    if delivery.status == 503:
        return PublishRefused(Refusal.NO_STREAM, "no stream takes this subject")
    try:
        error = json.loads(delivery.data)["error"]
        code, description = int(error.get("err_code", 0)), str(error.get("description", ""))
    except (ValueError, KeyError, TypeError):
        return PublishRefused(Refusal.REJECTED, f"an answer that is none: {delivery.data[:100]!r}")
    return PublishRefused(Refusal.STREAM_FULL if code in _FULL_CODES else Refusal.REJECTED, description)
