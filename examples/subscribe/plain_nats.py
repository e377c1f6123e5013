"""Prints the events of your executions with the protocol of NATS alone, as the `nats` command line speaks it.

    python examples/subscribe/plain_nats.py

No package but the stubs of the contract: lines over a socket. It shows what `nats consumer add` and `nats consumer
next` send, for whoever writes a subscriber in a language without a client of NATS. BLOCKYARD_NATS_URL and
BLOCKYARD_USER as in subscribe.py.
"""

import json
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from blockyard.connection import find_nats_url
from blockyard.event.v1.event_pb2 import EventBatch, EventKind

STREAM, CONSUMER, INBOX = "SUBSCRIBED", "example-plain", "_INBOX.plain"
AT_ONCE = 100
EXPIRES = 20_000_000_000
"""Nanoseconds that a request for messages stays open."""


class Refused(Exception):
    """What JetStream did not do."""


class Connection:
    """One connection: `CONNECT`, `SUB`, `PUB` go out; `MSG`, `HMSG`, `PING` come in."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port or 4222))
        self._lines: BinaryIO = self._socket.makefile("rb")
        assert self._lines.readline().startswith(b"INFO ")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        # Not pedantic: the subject that makes a consumer holds the wildcards of its filter.
        options: dict[str, bool | str] = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        options |= {"user": user, "pass": password}
        self.send(f"CONNECT {json.dumps(options)}\r\nSUB {INBOX} 1\r\n".encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def publish(self, subject: str, body: bytes, reply: str = "") -> None:
        self.send(f"PUB {subject} {reply} {len(body)}\r\n".encode() + body + b"\r\n")

    def messages(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Reply subject, headers and body of each message."""
        while line := self._lines.readline():
            verb, _, rest = line.strip().partition(b" ")
            if verb == b"PING":
                self.send(b"PONG\r\n")
            elif verb == b"-ERR":
                raise ConnectionError(rest.decode())
            elif verb in (b"MSG", b"HMSG"):
                # <subject> <sid> [reply] [size of headers] <size>
                words = rest.split()
                of_headers = int(words.pop(-2)) if verb == b"HMSG" else 0
                data = self._lines.read(int(words[-1]) + 2)[:-2]
                yield words[2].decode() if len(words) == 4 else "", data[:of_headers], data[of_headers:]
        raise ConnectionError("the server ended the connection")

    def ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        """JetStream's answer to a request; raises Refused."""
        self.publish(f"$JS.API.{subject}", json.dumps(body).encode(), INBOX)
        _, _, answer = next(self.messages())
        content: dict[str, Any] = json.loads(answer) if answer else {"error": {"description": "it does not answer"}}
        if "error" in content:
            raise Refused(f"{subject}: {content['error']['description']}")
        return content


def main() -> None:
    """Runs until Ctrl-C."""
    user = os.environ.get("BLOCKYARD_USER", "developer")
    subject = f"blockyard.event.{user.replace('.', '%2E')}.*.*"
    nats = Connection(find_nats_url())
    try:
        nats.ask(f"STREAM.INFO.{STREAM}", {})
    except Refused:  # most often it is not there yet
        nats.ask(f"STREAM.CREATE.{STREAM}", {"name": STREAM, "subjects": [subject], "max_bytes": 512 << 20})
    config = {"durable_name": CONSUMER, "filter_subject": subject, "ack_policy": "explicit", "deliver_policy": "new"}
    nats.ask(f"CONSUMER.CREATE.{STREAM}.{CONSUMER}.{subject}", {"stream_name": STREAM, "config": config})
    last: dict[str, int] = {}  # by execution; keep it where your effects are
    while True:
        request = json.dumps({"batch": AT_ONCE, "expires": EXPIRES}).encode()
        nats.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", request, INBOX)
        wanted = AT_ONCE
        for reply, headers, body in nats.messages():
            if headers.startswith((b"NATS/1.0 408", b"NATS/1.0 404")):
                break  # the request is over: its time is, or nothing was there
            if not body:
                raise Refused(f"messages: {headers.decode().strip()}")  # the stream or the consumer is gone
            batch = EventBatch.FromString(body)
            for event in batch.events:
                # At least once: what is not above the last sequence was here before. ListEvents has what is missing.
                seen = last.get(batch.execution_id, 0)
                if event.sequence <= seen:
                    continue
                if event.sequence > seen + 1:
                    print(f"{batch.execution_id}: {seen + 1} to {event.sequence - 1} are missing", file=sys.stderr)
                last[batch.execution_id] = event.sequence
                kind = EventKind.Name(event.kind).removeprefix("EVENT_KIND_")
                print(batch.execution_id, event.sequence, kind, flush=True)
            nats.publish(reply, b"+ACK")
            wanted -= 1
            if not wanted:
                break


if __name__ == "__main__":
    main()
