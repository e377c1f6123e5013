"""Ids in the order of their time."""

import os
import time
from datetime import datetime
from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds since 1970, then random bits."""
    value = int.from_bytes(os.urandom(16), "big")
    value = value & ~(0xFFFFFFFFFFFF << 80) | (time.time_ns() // 1_000_000) << 80
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def first_id(moment: datetime) -> UUID:
    """The least UUIDv7 of a moment; of one before 1970, the least of all."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
