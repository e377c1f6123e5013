"""Cursors: what is put in comes out again, and what is no cursor is refused."""

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.cursors import CursorInvalid, decode_cursor, encode_cursor

POSITIONS = st.dictionaries(st.integers(0, 4095), st.integers(1, 2**63 - 1), max_size=100)


@given(positions=POSITIONS)
def test_a_cursor_has_all_places(positions: dict[int, int]) -> None:
    assert decode_cursor(encode_cursor(positions)) == positions


def test_a_place_at_the_beginning_needs_no_room() -> None:
    assert encode_cursor({3: 0}) == encode_cursor({})


@given(text=st.text(max_size=100))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(text)


@given(positions=POSITIONS, data=st.data())
def test_a_cursor_that_was_changed_is_refused(positions: dict[int, int], data: st.DataObject) -> None:
    text = encode_cursor(positions)
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(CursorInvalid):
        decode_cursor(text[:cut])


def crafted(*numbers: bytes) -> str:
    """A cursor with a checksum that is right, whatever is in it."""
    body = bytes((1,)) + b"".join(numbers)
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


@pytest.mark.parametrize(
    "numbers",
    [
        [b"\x00", b"\x05"],  # partition -1
        [b"\x01", b"\x05", b"\x00", b"\x06"],  # a partition that repeats
        [b"\x01", b"\x80" * 9 + b"\x01"],  # a place beyond the largest one
        [b"\x80" * 60_000 + b"\x01", b"\x05"],  # a number without end
        [b"\x81\x20", b"\x05"],  # partition 4096
    ],
)
def test_a_cursor_that_somebody_made_up_is_refused(numbers: list[bytes]) -> None:
    assert decode_cursor(crafted(b"\x01", b"\x05")) == {0: 5}
    with pytest.raises(CursorInvalid):
        decode_cursor(crafted(*numbers))
