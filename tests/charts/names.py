"""A server of names as a cluster has one: what it has answered once, it may answer for a while.

Envoy and gRPC ask it, through c-ares, which takes a server with a port of its own from /etc/resolv.conf; Envoy's reads
a file of hosts again after a minute only. Everything else asks glibc, which reads that file each time.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

CACHED_SECONDS = 30.0
"""CoreDNS as kubeadm installs it (`ttl 30`, `cache 30`). A cache on each node keeps an answer for the rest of that."""
_ADDRESS, _INTERNET = 1, 1
_ANSWER, _UNKNOWN = 0x8580, 0x8583
_NAME_OF_THE_QUESTION = 0xC00C


class Names(asyncio.DatagramProtocol):
    """Answers questions for the IPv4 addresses of a name."""

    def __init__(self, cached_seconds: float) -> None:
        self._cached_seconds = cached_seconds
        self._addresses: Mapping[str, Sequence[str]] = {}
        self._answers: dict[str, tuple[float, Sequence[str] | None]] = {}
        """Until when (time.monotonic()) an answer is repeated."""
        self._transport: asyncio.DatagramTransport | None = None

    @asynccontextmanager
    async def served(self, address: str) -> AsyncIterator[None]:
        """Answers on a free port of this address."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, (address, 0))
        try:
            yield
        finally:
            transport.close()

    def configuration(self) -> str:
        """A resolv.conf that leads here, before any file of hosts."""
        assert self._transport is not None
        address, port = self._transport.get_extra_info("sockname")
        return f"nameserver {address}:{port}\nlookup bind file\n"

    def are(self, addresses: Mapping[str, Sequence[str]]) -> None:
        """What the names stand for from now on, for those whose last answer has run out."""
        self._addresses = addresses

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what answers are sent by."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # the type of an endpoint's transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answers one question: with no address to one for IPv6."""
        assert self._transport is not None
        end = data.index(0, 12) + 5
        (kind,) = struct.unpack_from("!H", data, end - 4)
        found = self._look_up(_name(data))
        told = found if found and kind == _ADDRESS else ()
        header = struct.pack("!HHHHH", _UNKNOWN if found is None else _ANSWER, 1, len(told), 0, 0)
        records = [
            struct.pack("!HHHIH", _NAME_OF_THE_QUESTION, _ADDRESS, _INTERNET, int(self._cached_seconds), 4)
            + socket.inet_aton(address)
            for address in told
        ]
        self._transport.sendto(data[:2] + header + data[12:end] + b"".join(records), addr)

    def _look_up(self, name: str) -> Sequence[str] | None:
        now = time.monotonic()
        until, found = self._answers.get(name, (0.0, None))
        if now >= until:
            found = self._addresses.get(name)
            self._answers[name] = (now + self._cached_seconds, found)
        return found


def _name(question: bytes) -> str:
    labels = []
    at = 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels)
