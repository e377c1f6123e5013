"""The values of the bus: what is sent, what comes of it, what arrives, and what the server says of streams.

Nothing here does I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

_STATUS_LINE_START = b"NATS/1.0 "


@dataclass(frozen=True, slots=True)
class Message:
    """One message for a stream. With a message id the stream drops repetitions within its window of two minutes."""

    subject: str
    payload: bytes
    message_id: str | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The stream has stored the message, or had stored one of this id before (`duplicate`)."""

    stream: str
    sequence: int
    duplicate: bool = False


class Refusal(Enum):
    """Why a message was not acknowledged."""

    STREAM_FULL = "stream full"
    NO_STREAM = "no stream"
    TOO_LARGE = "too large"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class PublishRefused:
    """The message was not acknowledged; publish it again with the same id, later."""

    refusal: Refusal
    description: str = ""

    @property
    def unknown(self) -> bool:
        """Whether the message may have been stored all the same: its answer was not seen."""
        return self.refusal in (Refusal.TIMEOUT, Refusal.DISCONNECTED)

    @property
    def reason(self) -> str:
        """For a log: what it was, and the server's own words if it said any."""
        return f"{self.refusal.value}: {self.description}" if self.description else self.refusal.value


class Delivery:
    """A message that arrived. Headers and positions are read when they are asked for."""

    __slots__ = ("_raw_headers", "data", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, raw_headers: bytes = b"") -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self._raw_headers = raw_headers

    @property
    def headers(self) -> dict[str, str]:
        """The headers; a status line of the server is not one of them."""
        lines = self._raw_headers.decode("utf-8", "replace").split("\r\n")[1:]
        pairs = (line.partition(":") for line in lines if line)
        return {name: value.strip() for name, _, value in pairs}

    def header(self, name: str) -> str:
        """One header, without a look at the others; empty if it is not there."""
        _, _, rest = self._raw_headers.partition(b"\r\n%b:" % name.encode())
        return rest.partition(b"\r\n")[0].decode("utf-8", "replace").strip()

    @property
    def status(self) -> int:
        """The server's own status (100 heartbeat, 404, 408, 409, 503); 0 for what somebody published."""
        if not self._raw_headers.startswith(_STATUS_LINE_START):
            return 0
        code = self._raw_headers[9:12]
        return int(code) if code.isdigit() else 0

    @property
    def status_text(self) -> str:
        """The words beside the status."""
        return self._raw_headers.split(b"\r\n", 1)[0][13:].decode("utf-8", "replace") if self.status else ""

    @property
    def sequence(self) -> int:
        """Position in its stream; 0 for a message that came from no stream."""
        return self._position(5, 7)

    @property
    def delivered(self) -> int:
        """How many times the consumer has delivered it, this time included; 0 without a stream."""
        return self._position(4, 6)

    def _position(self, short: int, long: int) -> int:
        # $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>, or with
        # <domain>.<account> before the stream.
        if not self.reply.startswith("$JS.ACK."):
            return 0
        tokens = self.reply.split(".")
        return int(tokens[short] if len(tokens) == 9 else tokens[long])

    def __repr__(self) -> str:
        return f"Delivery(subject={self.subject!r}, reply={self.reply!r}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream's state. `created` changes when the stream was lost and made anew."""

    created: datetime
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    limit: int
    """Bytes that it may grow to; below 0 where nothing limits it."""


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """How far a consumer is in its stream."""

    delivered_stream_sequence: int
    ack_floor_stream_sequence: int
    num_pending: int
    num_ack_pending: int
    num_waiting: int = 0
    """Requests for messages, of those who pull, that wait for some."""
