"""Messages of a durable consumer on JetStream, whatever happens to NATS.

Everything that goes wrong ends the connection, and a new one begins from scratch: it makes the stream and the consumer
if they are not there. nats-py's own reconnecting is not used, since pulls can stall behind it (nats.py#504, #544).
"""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

AT_ONCE = 200
MOST_BYTES = 16 << 20
"""Of messages that one request asks for; more than the largest message has."""
EXPIRES_SECONDS = 30
HEARTBEAT_SECONDS = 2
ACK_SECONDS = 60
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 5
PAUSE_SECONDS = 0.5
EARLIER = timedelta(minutes=5)
"""How far before its checkpoint a consumer begins that has to be made again: clocks differ."""
DAY_SECONDS = 24 * 3600
NANOSECONDS = 1_000_000_000
_ABSENT = frozenset({10014, 10059})
"""JetStream's numbers for a consumer and a stream that are not there."""

_DONE = ("MaxBytes", "Batch Completed", "MaxWaiting")
"""What a refusal says that is none: the request is over, and the next one may be made."""

_TROUBLE = (NatsError, OSError, TimeoutError, EOFError)

log = logging.getLogger(__name__)


class Refused(NatsError):
    """JetStream refused a request."""


@dataclass(frozen=True, slots=True)
class Source:
    """Which consumer of which stream."""

    url: str
    stream: str
    consumer: str
    subject: str
    stream_subjects: tuple[str, ...] = ()
    """Of a stream that is made if it is not there; empty where somebody else makes it."""
    stream_bytes: int = 0
    tls: ssl.SSLContext | None = None


class Pull:
    """Messages as they come; acknowledge them with `ack`."""

    def __init__(self, source: Source, since: datetime | None) -> None:
        self.source = source
        self.since = since
        """Where a consumer begins that has to be made; None means with what is new."""
        self.pending = 0
        """Messages that waited in the stream behind the last one that came."""
        self.last_came = 0.0
        """When that was, in seconds of the loop."""
        self._client: Client | None = None
        self._said = ""

    async def messages(self) -> AsyncGenerator[list[Msg]]:
        """Messages, several at once where several are there, for ever."""
        while True:
            try:
                async with aclosing(self._connection()) as connection:
                    async for messages in connection:
                        self._said = ""
                        yield messages
            except _TROUBLE as error:
                reason = str(error) or type(error).__name__
                if reason != self._said:
                    log.warning("NATS gives no messages, trying on: %s", reason)
                    self._said = reason
            self.pending = 0
            await asyncio.sleep(PAUSE_SECONDS)

    async def ack(self, messages: list[Msg]) -> None:
        """They were handled. What cannot be said comes again."""
        client = self._client
        if client is not None and client.is_connected:
            with suppress(*_TROUBLE):
                for message in messages:
                    await client.publish(message.reply, b"+ACK")

    async def _connection(self) -> AsyncGenerator[list[Msg]]:
        client = await nats.connect(
            self.source.url,
            name=f"blockyard subscriber {self.source.consumer}",
            allow_reconnect=False,
            # Else it tries on by itself for two minutes without a word.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            tls=self.source.tls,
        )
        self._client = client
        try:
            await self._ensure_stream(client)
            await self._ensure_consumer(client)
            async with aclosing(self._pull(client)) as pulled:
                async for messages in pulled:
                    yield messages
        finally:
            self._client = None
            with suppress(*_TROUBLE):
                await client.close()

    async def _on_error(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            log.error("NATS does not let this subscriber do something: %s", error)
        else:
            log.debug("nats: %s", error)

    async def _pull(self, client: Client) -> AsyncGenerator[list[Msg]]:
        inbox = client.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*")
        request = json.dumps(
            {
                "batch": AT_ONCE,
                "max_bytes": MOST_BYTES,
                "expires": EXPIRES_SECONDS * NANOSECONDS,
                "idle_heartbeat": HEARTBEAT_SECONDS * NANOSECONDS,
            }
        ).encode()
        asked = wanted = 0
        while True:
            if wanted <= 0:
                subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.source.stream}.{self.source.consumer}"
                asked += 1
                await client.publish(subject, request, f"{inbox}.{asked}")
                wanted = AT_ONCE
            messages: list[Msg] = []
            while not messages or (subscription.pending_msgs and len(messages) < AT_ONCE):
                message = await subscription.next_msg(timeout=3 * HEARTBEAT_SECONDS)
                status = (message.headers or {}).get("Status", "") if not message.data else ""
                if not status:
                    messages.append(message)
                    wanted -= 1
                elif _ends(status, (message.headers or {}).get("Description", "")):
                    # Of an earlier request it says nothing: that one was taken for done when its messages had come.
                    wanted = 0 if message.subject == f"{inbox}.{asked}" else wanted
                    break
            if messages:
                self._note(messages[-1])
                yield messages

    def _note(self, message: Msg) -> None:
        self.last_came = asyncio.get_running_loop().time()
        # The last word of $JS.ACK.<...>.<pending>, or the one before it in the longer form with a domain.
        words = message.reply.split(".")
        with suppress(ValueError, IndexError):
            self.pending = int(words[8] if len(words) == 9 else words[10])

    async def _ensure_stream(self, client: Client) -> None:
        source = self.source
        if not source.stream_subjects or await self._ask(client, f"STREAM.INFO.{source.stream}", {}) is not None:
            return
        configuration = {
            "name": source.stream,
            "subjects": list(source.stream_subjects),
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": DAY_SECONDS * NANOSECONDS,
            "max_bytes": source.stream_bytes,
        }
        await self._ask(client, f"STREAM.CREATE.{source.stream}", configuration)

    async def _ensure_consumer(self, client: Client) -> None:
        source = self.source
        if await self._ask(client, f"CONSUMER.INFO.{source.stream}.{source.consumer}", {}) is not None:
            return
        configuration: dict[str, Any] = {  # Any: JSON
            "name": source.consumer,
            "durable_name": source.consumer,
            "filter_subject": source.subject,
            "ack_policy": "explicit",
            "ack_wait": ACK_SECONDS * NANOSECONDS,
            "max_ack_pending": 2 * AT_ONCE,
            "max_deliver": -1,
            "deliver_policy": "new",
        }
        if self.since is not None:
            begin = (self.since - EARLIER).astimezone(UTC).isoformat()
            configuration |= {"deliver_policy": "by_start_time", "opt_start_time": begin}
        body = {"stream_name": source.stream, "config": configuration}
        if await self._ask(client, f"CONSUMER.CREATE.{source.stream}.{source.consumer}.{source.subject}", body) is None:
            raise Refused(f"there is no stream {source.stream}")

    async def _ask(self, client: Client, subject: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """JetStream's answer; None where it is about something that is not there."""
        answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=ANSWER_SECONDS)
        content: dict[str, Any] = json.loads(answer.data)
        error = content.get("error")
        if error is None:
            return content
        if error.get("err_code") in _ABSENT:
            return None
        raise Refused(f"{subject}: {error.get('description')}")


def _ends(status: str, text: str) -> bool:
    """Whether a request is over; a heartbeat says that it is not. Raises when the consumer is of no use any more."""
    if status == "100":
        return False
    if status == "503" or (status == "409" and not any(one in text for one in _DONE)):
        raise Refused(f"a pull was refused: {status} {text}".strip())
    return True
