"""google.protobuf.Struct to plain values and back. Numbers of a Struct are doubles: integral ones become integers."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import ListValue, NullValue, Struct, Value

from services.common.errors import InvalidArgument

EXACT = 2.0**53
"""Doubles up to here hold every integer."""


LEVELS = 25
"""Nesting that a Struct may have: protobuf reads messages nested up to 100 deep, and each level takes three."""


class TooDeep(InvalidArgument):
    """A value is nested too deeply for the form google.protobuf.Struct. Ask for VALUE_FORMAT_JSON."""


def from_struct(struct: Struct) -> dict[str, Any]:
    """The object that a Struct stands for."""
    return {name: from_value(value) for name, value in struct.fields.items()}


def from_value(value: Value) -> Any:  # Any: a JSON value
    """The JSON value that a Value stands for; one that is not set is null."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= EXACT else number
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    return None


def to_struct(values: Mapping[str, Any], levels: int = LEVELS) -> Struct:
    """The Struct of an object. Integers above 2^53 are rounded; who needs them exact asks for JSON."""
    return Struct(fields={name: to_value(value, levels - 1) for name, value in values.items()})


def to_value(value: Any, levels: int = LEVELS) -> Value:
    """The Value of a JSON value that is nested no deeper than `levels`; TooDeep if it is."""
    if levels < 0:
        raise TooDeep
    match value:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=float(value))
        case str():
            return Value(string_value=value)
        case Mapping():
            return Value(struct_value=to_struct(value, levels))
        case list() | tuple():
            return Value(list_value=ListValue(values=[to_value(item, levels - 1) for item in value]))
    raise TypeError(f"no JSON value: {type(value).__name__}")
