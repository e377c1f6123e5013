"""The table by which values are fitted to types, and the preparation of a run's input."""

import math
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from blockyard.block import BlockInputError, BlockSchema, SchemaField
from blockyard.block.coercion import coerce
from blockyard.block.preparation import prepare
from pydantic import WithJsonSchema

from tests.unit.block.sample_blocks import RepeatBlock


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        # To a list.
        ([1], list, [1]),
        ((1,), list, (1,)),
        ({"a": 1}, list, [("a", 1)]),
        ("[1, 2]", list, [1, 2]),
        ("[1, 2", list, ["[1, 2"]),
        ("text", list, ["text"]),
        (5, list, [5]),
        ([1, "2"], list[int], [1, 2]),
        ("text", list[str], ["text"]),
        ([[1], 2], list[list[str]], [["1"], ["2"]]),
        # To a dictionary.
        ({"a": 1}, dict, {"a": 1}),
        ('{"a": 1}', dict, {"a": 1}),
        ("text", dict, {"value": "text"}),
        (5, dict, {"value": 5}),
        (["a"], dict, {0: "a"}),
        (["a"], dict[str, Any], {"0": "a"}),
        ({"a": "1"}, dict[str, int], {"a": 1}),
        # To text.
        ("a", str, "a"),
        (5, str, "5"),
        (True, str, "true"),
        ({"a": [1, None]}, str, '{"a": [1, null]}'),
        (["ä"], str, '["ä"]'),
        # To numbers.
        ("12", int, 12),
        ("12.7", int, 12),
        (3.9, int, 3),
        (True, int, 1),
        ([1, 2], int, 2),
        ({"a": 1}, int, 1),
        ("none", int, 0),
        (math.inf, int, 0),
        ("9007199254740993", int, 9007199254740993),
        ("1.5", float, 1.5),
        (2, float, 2.0),
        ("x", float, 0.0),
        ([1, 2], float, 2.0),
        ("Infinity", float, math.inf),
        # To a boolean.
        ("True", bool, True),
        ("1", bool, True),
        ("yes", bool, False),
        ("", bool, False),
        (2, bool, True),
        ([], bool, False),
        # Unions: what fits stays, else the first member.
        ("a", int | str, "a"),
        ([1], int | str, 1),
        (5, str | None, "5"),
        (None, str | None, None),
        (1, float | None, 1),
        ({"a": 1}, dict[str, Any] | list[Any], {"a": 1}),
        ("a", Literal["a"] | int, "a"),
        ("7", Literal["a"] | int, 7),
        ("x", date | int, "x"),
        # Left as they are.
        ([1], Any, [1]),
        (5, Colour, 5),
        ("2026-01-01", date, "2026-01-01"),
        (5, Any | None, 5),
        # Through Annotated.
        (5, Annotated[str, WithJsonSchema({"type": "string"})], "5"),
    ],
)
def test_value_is_fitted_to_the_type(value: Any, annotation: Any, expected: Any) -> None:
    fitted = coerce(value, annotation)

    assert fitted == expected
    assert type(fitted) is type(expected)


def test_unions_of_the_same_types_in_another_order_are_two_types() -> None:
    # For Python they are equal, and have one hash.
    assert [coerce([1], one) for one in (str | int, int | str, str | int)] == ["[1]", 1, "[1]"]
    assert [coerce([[1]], one) for one in (list[str | int], list[int | str])] == [["[1]"], [1]]


def test_value_that_fits_is_not_copied() -> None:
    value = ["a", "b"]

    assert coerce(value, list[str]) is value


class PreparedInput(BlockSchema):
    texts: list[str] = SchemaField()
    values: dict[str, int] = SchemaField(default_factory=dict)
    anything: Any = SchemaField(default=None)


def test_preparation_folds_then_fits() -> None:
    raw = {"texts_$_0": 5, "values_#_a": "7", "values": {"b": 1}, "anything": 5, "unknown": 1}

    assert prepare(PreparedInput, raw) == {"texts": ["5"], "values": {"a": 7, "b": 1}, "anything": 5, "unknown": 1}
    assert raw["values"] == {"b": 1}


def test_preparation_leaves_none_to_validation() -> None:
    assert prepare(RepeatBlock(), {"text": None}) == {"text": None}


def test_preparation_names_the_pin_that_cannot_be_folded() -> None:
    with pytest.raises(BlockInputError, match=r"^inputs\.values_#_a: expected an object"):
        prepare(PreparedInput, {"values": [1], "values_#_a": 1})
