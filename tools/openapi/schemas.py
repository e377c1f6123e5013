"""How JSON of each message looks (the JSON mapping of proto3), as JSON schemas.

A message that is sent and answered has two: what is sent must fit it to the letter, and what is answered may get fields
in later releases.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from itertools import combinations
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tools.openapi.contract import Contract
from tools.openapi.limits import REQUIRED, Schema, of_field

_32 = 2**31
EXACT = 2**53 - 1
"""Every integer up to here is a number that JavaScript can hold."""


class Direction(Enum):
    """Which way a message goes."""

    REQUEST = auto()
    ANSWER = auto()


def _integer(lowest: int, highest: int) -> Callable[[Direction], Schema]:
    return lambda _: {"type": "integer", "format": "int32", "minimum": lowest, "maximum": highest}


def _long(format_: str, pattern: str) -> Callable[[Direction], Schema]:
    """A text in answers, since JavaScript has no such numbers; requests may have a number too, as far as it has."""

    def schema(direction: Direction) -> Schema:
        form: Schema = {"format": format_, "pattern": pattern}
        if direction is Direction.ANSWER:
            return {"type": "string"} | form
        lowest = 0 if format_ == "uint64" else -EXACT
        return {"type": ["string", "integer"]} | form | {"minimum": lowest, "maximum": EXACT}

    return schema


def _number(_: Direction) -> Schema:
    return {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}


_INT32, _UINT32 = _integer(-_32, _32 - 1), _integer(0, 2 * _32 - 1)
_INT64, _UINT64 = _long("int64", "^-?[0-9]{1,19}$"), _long("uint64", "^[0-9]{1,20}$")

SCALARS: Mapping[int, Callable[[Direction], Schema]] = {
    FieldDescriptor.TYPE_STRING: lambda _: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: lambda _: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: lambda _: {
        "type": "string",
        "contentEncoding": "base64",
        "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    },
    FieldDescriptor.TYPE_DOUBLE: _number,
    FieldDescriptor.TYPE_FLOAT: _number,
    **dict.fromkeys((FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32), _INT32),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32), _UINT32),
    **dict.fromkeys((FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64), _INT64),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64), _UINT64),
}

WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$",
        "examples": ["3.5s"],
    },
    "google.protobuf.FieldMask": {"type": "string", "examples": ["name"]},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object"},
    "google.api.HttpBody": {},
}
"""Messages that JSON has a form of its own for."""

IN_A_QUERY = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"})
"""Those of them that are one text, so that they can stand in an address."""


class Schemas:
    """The schemas of all messages that operations name, as components of the document."""

    def __init__(self, contract: Contract) -> None:
        self._comments = contract.comments
        methods = [method for service in contract.services for method in service.methods]
        self._sent = reachable(method.request for method in methods)
        self._answered = reachable(method.answer for method in methods)
        self._names = _short_names(_with_enums({**self._sent, **self._answered}))
        self.components: dict[str, Schema] = {}

    def comment(self, full_name: str) -> str:
        """What stands above something in the proto."""
        return self._comments.get(full_name, "")

    def reference(self, message: Descriptor, direction: Direction) -> Schema:
        """A reference to the schema of a message."""
        if message.full_name in WELL_KNOWN:
            return dict(WELL_KNOWN[message.full_name])
        name = self._names[message.full_name]
        if direction is Direction.REQUEST and message.full_name in self._answered:
            name += "Input"
        if name not in self.components:
            self.components[name] = {}  # messages may hold themselves
            self.components[name] = self.of_message(message, direction)
        return {"$ref": f"#/components/schemas/{name}"}

    def of_message(self, message: Descriptor, direction: Direction, without: Iterable[str] = ()) -> Schema:
        """The schema of a message, without the fields that stand elsewhere."""
        left_out = set(without)
        fields = [field for field in message.fields if field.name not in left_out]
        schema: Schema = {"type": "object"}
        if comment := self.comment(message.full_name):
            schema["description"] = comment
        schema["properties"] = {field.json_name: self.of_field(field, direction) for field in fields}
        if direction is Direction.REQUEST:
            schema["additionalProperties"] = False
            required = [name for name in REQUIRED.get(message.full_name, ()) if name not in left_out]
            if required:
                schema["required"] = [message.fields_by_name[name].json_name for name in required]
        return schema | _one_of_each(message, {field.name for field in fields})

    def of_field(self, field: FieldDescriptor, direction: Direction) -> Schema:
        """The schema of a field, with what its comment says."""
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = self._of_value(kind.fields_by_name["value"], direction)
            schema: Schema = {"type": "object", "additionalProperties": value}
        else:
            schema = self._of_value(field, direction)
            if field.is_repeated:
                schema = {"type": "array", "items": schema}
        if direction is Direction.REQUEST:
            is_text = field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
            schema |= of_field(field.full_name, is_text=is_text)
        comment = self.comment(field.full_name)
        return schema | {"description": comment} if comment else schema

    def _of_value(self, field: FieldDescriptor, direction: Direction) -> Schema:
        """The schema of one value of a field."""
        if field.message_type is not None:
            return self.reference(field.message_type, direction)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        return SCALARS[field.type](direction)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        if enum.full_name == "google.protobuf.NullValue":
            return {"type": "null"}
        name = self._names[enum.full_name]
        if name not in self.components:
            values = [value.name for value in enum.values]
            told = (f"- `{value}`: {self.comment(f'{enum.full_name}.{value}')}" for value in values)
            description = "\n".join([self.comment(enum.full_name), "", *told]).strip()
            self.components[name] = {"type": "string", "enum": values, "description": description}
        return {"$ref": f"#/components/schemas/{name}"}


def reachable(messages: Iterable[Descriptor]) -> Mapping[str, Descriptor]:
    """These messages, and all that their fields are made of, by full name."""
    found: dict[str, Descriptor] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.full_name in found or message.full_name in WELL_KNOWN:
            continue
        found[message.full_name] = message
        waiting.extend(field.message_type for field in message.fields if field.message_type is not None)
    return found


def _with_enums(messages: Mapping[str, Descriptor]) -> Iterable[str]:
    """Their names and those of the enums of their fields."""
    fields = (field for message in messages.values() for field in message.fields)
    return {*messages, *(field.enum_type.full_name for field in fields if field.enum_type is not None)}


def _short_names(full_names: Iterable[str]) -> Mapping[str, str]:
    """Names of components; where two packages have a message of one name, with the package before it."""
    names = sorted(full_names)
    last = [name.rpartition(".")[2] for name in names]
    return {
        name: short if last.count(short) == 1 else name.split(".")[1].capitalize() + short
        for name, short in zip(names, last, strict=True)
    }


def _one_of_each(message: Descriptor, present: set[str]) -> dict[str, Any]:
    """That of the fields of a oneof at most one is there."""
    pairs = [
        {"required": [one.json_name, other.json_name]}
        for group in message.oneofs
        for one, other in combinations([field for field in group.fields if field.name in present], 2)
    ]
    return {"not": {"anyOf": pairs}} if pairs else {}
