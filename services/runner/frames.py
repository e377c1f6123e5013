"""What a runner and its block processes say to each other: frames of a kind, a run, a header in JSON, and a body."""

import struct
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

PREFIX = struct.Struct("<BQII")
"""Kind, the run it is about, size of the header, size of the body."""
NO_RUN = 0
"""What is said before the first run is about none."""


class Kind(IntEnum):
    """What a frame says."""

    RUN = 1
    """To the process: run this. Header: block, context, selectors; body: the inputs as JSON."""
    READY = 2
    """From the process: its blocks are loaded."""
    BEGUN = 3
    """From the process: it has the run. Until then nothing of the block has happened."""
    OUTPUT = 4
    """Header: pin and index; body: the value as JSON."""
    COMPLETED = 5
    """Header: the block's stats."""
    FAILED = 6
    """Header: reason, error, the block's stats."""


class Frame(NamedTuple):
    """One of them."""

    kind: Kind
    run: int
    header: Any
    body: bytes


def pack(kind: Kind, run: int, header: Any, body: bytes = b"") -> bytes:
    """The frame's bytes."""
    # Stats may hold anything: what has no JSON form goes as text.
    encoded = orjson.dumps(header, default=repr, option=orjson.OPT_NON_STR_KEYS)
    return PREFIX.pack(kind, run, len(encoded), len(body)) + encoded + body


def unpack(kind: int, run: int, header: bytes, body: bytes) -> Frame:
    """The frame of these parts."""
    return Frame(Kind(kind), run, orjson.loads(header), body)
