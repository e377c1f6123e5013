"""Messages between a runner and the first process of a container, over the container's standard streams.

A frame is its length (4 bytes, big-endian) and a JSON object, packed. What a container writes stands in its log on the
node as well. So its frames are masked with a key that came in to it, which no log has.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

LENGTH = 4
# Of a frame as it travels, and of what is packed in it: above all the files that code leaves, 10 MB as base64.
MOST_BYTES = 64 << 20


class NotAFrame(ValueError):
    """What has come cannot be a message."""


class Mask:
    """Hides the frames of one direction, in their order."""

    def __init__(self, key: bytes) -> None:
        """`key` is never used for a second Mask in the same direction."""
        self._key = key
        self._frames = 0

    def applied(self, content: bytes) -> bytes:
        """The next frame's content, masked, or what it was before."""
        stream = hashlib.shake_256(self._key + self._frames.to_bytes(8, "big")).digest(len(content))
        self._frames += 1
        return (int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(content), "big")


def framed(message: dict[str, Any], mask: Mask | None = None) -> bytes:
    """The message as it travels."""
    content = zlib.compress(json.dumps(message).encode(), 1)
    if mask is not None:
        content = mask.applied(content)
    return len(content).to_bytes(LENGTH, "big") + content


def message_in(content: bytes, mask: Mask | None = None) -> dict[str, Any]:
    """The message of a frame's content. Raises NotAFrame."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(content if mask is None else mask.applied(content), MOST_BYTES)
        message = json.loads(text)
    # RecursionError: brackets without end.
    except (zlib.error, ValueError, RecursionError) as error:
        raise NotAFrame(str(error)) from error
    if not isinstance(message, dict):
        raise NotAFrame("no object")
    return message


class Frames:
    """Takes bytes as they come, and gives the contents of the frames that are whole."""

    def __init__(self) -> None:
        self._left = bytearray()

    def add(self, data: bytes) -> Iterator[bytes]:
        """Raises NotAFrame."""
        self._left += data
        while len(self._left) >= LENGTH:
            size = int.from_bytes(self._left[:LENGTH], "big")
            if size > MOST_BYTES:
                raise NotAFrame(f"a frame of {size} bytes")
            if len(self._left) < LENGTH + size:
                return
            content = bytes(self._left[LENGTH : LENGTH + size])
            del self._left[: LENGTH + size]
            yield content
