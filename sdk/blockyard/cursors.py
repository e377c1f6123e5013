"""Cursors: places in the feeds of all partitions, as one text. What an answer of Subscribe gives is one of these.

Everything that executions did stands in feeds, one for each partition of executions, each numbered from 1 without gaps.
So one number for each partition says exactly what a subscriber has seen, whatever it filters.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping

VERSION = 1
CHECK_BYTES = 4
MOST_PARTITIONS = 4096
LARGEST = 2**63 - 1


def encode_cursor(positions: Mapping[int, int]) -> str:
    """The text for these places: feed sequence by partition. Partitions that are at 0 need none."""
    body = bytearray((VERSION,))
    last = -1
    for partition, sequence in sorted(positions.items()):
        if sequence:
            _write(body, partition - last)
            _write(body, sequence)
            last = partition
    check = zlib.crc32(body).to_bytes(CHECK_BYTES, "big")
    return base64.urlsafe_b64encode(check + body).decode().rstrip("=")


def decode_cursor(text: str) -> dict[int, int]:
    """Feed sequence by partition; raises ValueError for what is no cursor."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise _invalid() from error
    check, body = raw[:CHECK_BYTES], raw[CHECK_BYTES:]
    if not body or zlib.crc32(body).to_bytes(CHECK_BYTES, "big") != check or body[0] != VERSION:
        raise _invalid()
    numbers = list(_numbers(body[1:]))
    positions: dict[int, int] = {}
    partition = -1
    for step, sequence in zip(numbers[::2], numbers[1::2], strict=False):
        if step < 1:
            raise _invalid()
        partition += step
        positions[partition] = sequence
    if len(numbers) % 2 or partition >= MOST_PARTITIONS or any(one > LARGEST for one in positions.values()):
        raise _invalid()
    return positions


def _invalid() -> ValueError:
    return ValueError("not a cursor of this version, or a part of one")


def _write(body: bytearray, number: int) -> None:
    """A base-128 varint, as protobuf has them."""
    while number > 127:
        body.append(number & 127 | 128)
        number >>= 7
    body.append(number)


def _numbers(body: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in body:
        if shift > LARGEST.bit_length():
            raise _invalid()
        number |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("the last number is cut off")
