"""JetStream's own requests: streams are made and looked at, consumers made, looked at and deleted."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.common.bus.errors import ConsumerMissing, JetStreamRefused, NoResponders, StreamMissing
from services.common.bus.messages import ConsumerInfo, Delivery, StreamInfo

REQUEST_SECONDS = 5.0
EVENTS_SECONDS = 24 * 3600
"""How long an event stays: rows have it for longer."""
NANOSECONDS = 1_000_000_000

_CONSUMER_NOT_FOUND = 10014
_STREAM_NOT_FOUND = 10059
_STREAM_NAME_IN_USE = 10058
_DELETE_FAILED = 10057

_NO_ROOM = ("no space left on device", "disk quota exceeded")
"""How the operating system says that a disk is full."""
_NO_SEQUENCE = 2**63
"""A place in a stream that holds no message, ever."""

TASKS = "TASKS"
RESULTS = "RESULTS"
EVENTS = "EVENTS"
NOTICES = "NOTICES"


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How large each stream may grow. Sizes of their own: none chokes another."""

    tasks_bytes: int = 1 << 30
    results_bytes: int = 2 << 30
    events_bytes: int = 1 << 30

    def configurations(self) -> list[dict[str, Any]]:
        """What JetStream is told, RESULTS first: room for what was done matters more than room for what is to do."""
        queue = {"retention": "workqueue", "discard": "new"}
        log = {"retention": "limits", "discard": "old", "max_age": EVENTS_SECONDS * NANOSECONDS}
        return [
            self._stream(RESULTS, "blockyard.result.>", self.results_bytes, queue),
            self._stream(TASKS, "blockyard.task.>", self.tasks_bytes, queue),
            self._stream(EVENTS, "blockyard.event.>", self.events_bytes, log),
        ]

    def _stream(self, name: str, subject: str, max_bytes: int, policy: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": name,
            "subjects": [subject],
            "storage": "file",
            "max_bytes": max_bytes,
            "duplicate_window": 120 * NANOSECONDS,
            **policy,
        }


NOTICES_CONFIGURATION: Mapping[str, Any] = {
    "name": NOTICES,
    "subjects": ["blockyard.notice.>"],
    "storage": "file",
    "max_bytes": 64 << 20,
    "max_age": 7 * 24 * 3600 * NANOSECONDS,
    "duplicate_window": 120 * NANOSECONDS,
    "retention": "limits",
    "discard": "old",
}
"""Few and small, for whoever sends them on to users. Several services make it, all of them alike."""


class Requester(Protocol):
    """What these requests need of the bus."""

    async def request(self, subject: str, payload: bytes, timeout: float) -> Delivery:
        """The answer to a request."""


class JetStream:
    """Requests to the JetStream of one connection."""

    def __init__(self, bus: Requester, stream_replicas: int = 1) -> None:
        self._bus = bus
        self._stream_replicas = stream_replicas

    async def ask(self, operation: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to one request of the JetStream API; its refusals become errors."""
        payload = json.dumps(body).encode() if body is not None else b""
        delivery = await self._bus.request(f"$JS.API.{operation}", payload, REQUEST_SECONDS)
        answer: dict[str, Any] = json.loads(delivery.data)
        error = answer.get("error")
        if error is None:
            return answer
        code, description = int(error.get("err_code", 0)), str(error.get("description", ""))
        if code == _STREAM_NOT_FOUND:
            raise StreamMissing(description)
        if code == _CONSUMER_NOT_FOUND:
            raise ConsumerMissing(description)
        raise JetStreamRefused(code, description)

    async def ensure_stream(self, configuration: Mapping[str, Any]) -> StreamInfo:
        """Make the stream, or bring the one that is there to this configuration."""
        name, configuration = configuration["name"], self.wanted(configuration)
        try:
            answer = await self.ask(f"STREAM.CREATE.{name}", configuration)
        except JetStreamRefused as error:
            if error.code != _STREAM_NAME_IN_USE:
                raise
            answer = await self.ask(f"STREAM.UPDATE.{name}", configuration)
        return _stream_info(answer)

    def wanted(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration as it is asked for here, with the servers that keep the stream."""
        return {**configuration, "num_replicas": self._stream_replicas}

    async def configuration(self, name: str) -> dict[str, Any]:
        """The configuration that a stream has. Raises StreamMissing."""
        there: dict[str, Any] = (await self.ask(f"STREAM.INFO.{name}"))["config"]
        return there

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream's state; None when it is not there."""
        try:
            return _stream_info(await self.ask(f"STREAM.INFO.{name}"))
        except StreamMissing:
            return None

    async def kept_error(self, name: str) -> str:
        """The error of a full disk that the stream's store keeps; empty when it has none.

        (seen, nats-server 2.15) A store that has met a full disk leaves every publish unanswered, and goes on so when
        there is room again, until the server is started anew or the stream is deleted. It tells the reason to whoever
        deletes a message. Here that is one that does not exist, so nothing is deleted; and only words that are known
        count, so that no other answer is taken for a broken store.
        """
        try:
            await self.ask(f"STREAM.MSG.DELETE.{name}", {"seq": _NO_SEQUENCE})
        except StreamMissing:
            return ""
        except JetStreamRefused as error:
            full = error.code == _DELETE_FAILED and any(words in error.description for words in _NO_ROOM)
            return error.description if full else ""
        return ""

    async def delete_stream(self, name: str) -> None:
        """Delete the stream with all that is in it, and its consumers."""
        with suppress(StreamMissing):
            await self.ask(f"STREAM.DELETE.{name}")

    async def subjects(self, name: str, pattern: str) -> set[str]:
        """The subjects of all messages in a stream; none when it is not there."""
        found: set[str] = set()
        while True:
            body = {"subjects_filter": pattern, "offset": len(found)}
            try:
                answer = await self.ask(f"STREAM.INFO.{name}", body)
            except StreamMissing:
                return set()
            page = answer["state"].get("subjects") or {}
            found |= page.keys()
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def create_consumer(self, stream: str, name: str, configuration: Mapping[str, Any]) -> None:
        """Make a durable consumer; one that is there with this configuration stays as it is."""
        body = {
            "stream_name": stream,
            "config": {"name": name, "durable_name": name, "max_deliver": -1, "deliver_policy": "all", **configuration},
        }
        subject = configuration["filter_subject"]
        await self.ask(f"CONSUMER.CREATE.{stream}.{name}.{subject}", body)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """How far the consumer is; None when it, or its stream, is not there."""
        try:
            answer = await self.ask(f"CONSUMER.INFO.{stream}.{name}")
        except (ConsumerMissing, StreamMissing):
            return None
        return ConsumerInfo(
            delivered_stream_sequence=answer["delivered"]["stream_seq"],
            ack_floor_stream_sequence=answer["ack_floor"]["stream_seq"],
            num_pending=answer["num_pending"],
            num_ack_pending=answer["num_ack_pending"],
            num_waiting=answer.get("num_waiting", 0),
        )

    async def consumer_names(self, stream: str) -> list[str]:
        """The names of all consumers of a stream; none when the stream is not there."""
        names: list[str] = []
        while True:
            try:
                answer = await self.ask(f"CONSUMER.NAMES.{stream}", {"offset": len(names)})
            except StreamMissing:
                return []
            page = answer.get("consumers") or []
            names += page
            if not page or len(names) >= answer.get("total", 0):
                return names

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete a consumer; False when it was not there. What it had not acked goes to the next one at once."""
        try:
            await self.ask(f"CONSUMER.DELETE.{stream}.{name}")
        except (ConsumerMissing, StreamMissing, NoResponders):
            return False
        return True


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In what a stream is another than it should be."""
    return [f"{key} is {there.get(key)} and not {value}" for key, value in wanted.items() if there.get(key) != value]


def _stream_info(answer: Mapping[str, Any]) -> StreamInfo:
    state = answer["state"]
    return StreamInfo(
        created=datetime.fromisoformat(answer["created"]),
        messages=state["messages"],
        bytes=state["bytes"],
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        limit=answer["config"]["max_bytes"],
    )
