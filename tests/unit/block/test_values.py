"""JSON values survive the way there and back, or are refused in a sentence."""

import dataclasses
import datetime
import math
from typing import Any

import pytest
from blockyard import values
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel


class Point(BaseModel):
    x: float


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_values_come_back_exactly(value: Any) -> None:
    assert values.decode(values.encode(value)) == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (math.nan, b'"NaN"'),
        ([None, math.inf, -math.inf], b'[null,"Infinity","-Infinity"]'),
        (Point(x=math.inf), b'{"x":"Infinity"}'),
        (Pair(1, [math.nan]), b'{"left":1,"right":["NaN"]}'),
        ({1: "a"}, b'{"1":"a"}'),
        ((1, 2), b"[1,2]"),
        ({"b", "a"}, b'["a","b"]'),
        (datetime.date(2026, 1, 2), b'"2026-01-02"'),
        (2**63 - 1, b"9223372036854775807"),
        ("blockyard:blob", b'"blockyard:blob"'),
    ],
)
def test_uncommon_values_have_a_json_form(value: Any, encoded: bytes) -> None:
    assert values.encode(value) == encoded


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**70, "64-bit"),
        ([object()], "object cannot be turned into JSON"),
        (b"bytes", "bytes cannot be turned into JSON"),
        ("\ud800", "surrogates"),
        ([{"a": {"blockyard:blob": 1}}], "reserved"),
    ],
)
def test_what_cannot_travel_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values.encode(value)


def test_reference_to_a_blob_is_the_reserved_object() -> None:
    reference = values.decode(values.encode_reference("a/b", 3, "00"))

    assert reference == {"blockyard:blob": {"key": "a/b", "size": 3, "sha256": "00"}}


def test_bytes_that_are_no_json_are_a_value_error() -> None:
    with pytest.raises(ValueError):
        values.decode(b"{")


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_integers_beyond_64_bits_from_outside_are_refused_not_rounded(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        values.parse(f'{{"a": [{number}]}}')


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**53 + 1])
def test_64_bit_integers_from_outside_stay_exact(number: int) -> None:
    assert values.parse(f'{{"a": [{number}]}}') == {"a": [number]}
