"""Messages of any kind with every field set, at the edges of what protobuf can hold."""

import random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tools.openapi.contract import Contract

_LONG, _SHORT = 2**63, 2**31
INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-_SHORT, _SHORT - 1, 1),
    FieldDescriptor.TYPE_UINT32: (0, 2 * _SHORT - 1, 1),
    FieldDescriptor.TYPE_INT64: (-_LONG, _LONG - 1, 1),
    FieldDescriptor.TYPE_UINT64: (0, 2 * _LONG - 1, 1),
}
NUMBERS = (0.0, -1.5, 1e308, float("nan"), float("inf"), float("-inf"))
TEXTS = ("", "x", 'a "quoted" line\n', "Grüße \U0001f680")


class Filler:
    """Fills messages; the same seed gives the same ones. What requests may not hold, it does not put there."""

    def __init__(self, contract: Contract, seed: int, *, modest: bool = False) -> None:
        self.pool = contract.pool
        self.dice = random.Random(seed)
        self.modest = modest

    def message(self, descriptor: Descriptor, depth: int = 0) -> Message:
        """A message with every field set, as deep as it goes."""
        message: Message = GetMessageClass(descriptor)()
        self._fill(message, descriptor, depth)
        return message

    def _fill(self, message: Any, descriptor: Descriptor, depth: int) -> None:  # Any: fields by name
        if descriptor.full_name == "google.protobuf.Timestamp":
            message.FromJsonString(self.dice.choice(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z"]))
        elif descriptor.full_name == "google.protobuf.Duration":
            message.FromJsonString(self.dice.choice(["-315576000000s", "315576000000s", "0.000000001s"]))
        elif descriptor.full_name == "google.protobuf.FieldMask":
            message.FromJsonString("name,lowBalance")
        elif descriptor.full_name == "google.protobuf.Struct":
            message.update({"a": [1, None, {"b": True}], "": "x"})
        else:
            for field in descriptor.fields:
                self._set(message, field, depth)

    def _set(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = kind.fields_by_name["value"]
            into = getattr(message, field.name)
            if value.message_type is not None:
                self._fill(into["key"], value.message_type, depth + 1)
            else:
                into["key"] = self._scalar(value)
        elif kind is not None:
            if depth < 6:
                at = getattr(message, field.name)
                self._fill(at.add() if field.is_repeated else at, kind, depth + 1)
                if not field.is_repeated:
                    at.SetInParent()
        elif field.is_repeated:
            getattr(message, field.name).extend([self._scalar(field), self._scalar(field)])
        else:
            setattr(message, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        if field.enum_type is not None:
            return self.dice.choice(field.enum_type.values).number
        if field.type in INTEGERS:
            return 1 if self.modest else self.dice.choice(INTEGERS[field.type])
        if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            return self.dice.choice(NUMBERS)
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self.dice.random() < 0.5
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.dice.randbytes(self.dice.randrange(8))
        assert field.type == FieldDescriptor.TYPE_STRING, f"the tests do not know fields like {field.full_name}"
        return "x" if self.modest else self.dice.choice(TEXTS)
