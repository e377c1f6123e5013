"""A block as the rules of graphs look at it: its pins, what they take, and whether it can be placed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from blockyard.graph.v1.block_pb2 import Block, BlockType
from jsonschema import Draft202012Validator
from referencing import Registry

from services.common.structs import from_struct

NO_REFERENCES: "Registry[Any]" = Registry()
"""Nothing is ever fetched for a schema, whatever it refers to."""


@dataclass(frozen=True, eq=False)
class BlockDefinition:
    """A registered block. `unavailable` says why it cannot run now; empty if it can."""

    message: Block
    inputs: Mapping[str, Any]
    """JSON schemas of the input pins."""
    outputs: Mapping[str, Any]
    """JSON schemas of the output pins."""
    required: frozenset[str]
    many_pins: frozenset[str]
    unavailable: str = ""
    _validators: dict[str, Draft202012Validator] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """UUID."""
        return self.message.id

    @property
    def name(self) -> str:
        """Name of its class."""
        return self.message.name

    @property
    def type(self) -> "BlockType.ValueType":
        """How the engine treats it."""
        return self.message.type

    @property
    def barred(self) -> str:
        """Why the block may not be placed or started. That no runner has it now is no reason: executions wait."""
        return _unavailable(self.message)

    @cached_property
    def search_text(self) -> str:
        """What a search looks through."""
        return " ".join([self.name, self.message.description, *self.message.categories]).lower()

    def validator(self, pin: str) -> Draft202012Validator:
        """Checks values of an input pin; made when it is first needed."""
        found = self._validators.get(pin)
        if found is None:
            found = self._validators[pin] = Draft202012Validator(self.inputs[pin], registry=NO_REFERENCES)
        return found

    def is_secret(self, pin: str) -> bool:
        """Whether values of the pin are never shown."""
        schema = self.inputs.get(pin)
        return isinstance(schema, Mapping) and bool(schema.get("secret"))

    def with_reason(self, reason: str) -> "BlockDefinition":
        """The same block, unavailable for a reason (or, with an empty one, for its own reason alone)."""
        return replace(self, unavailable=_unavailable(self.message) or reason)


def definition_of(message: Block) -> BlockDefinition:
    """The definition that a runner registered."""
    inputs, outputs = from_struct(message.input_schema), from_struct(message.output_schema)
    return BlockDefinition(
        message=message,
        inputs=inputs.get("properties", {}),
        outputs=outputs.get("properties", {}),
        required=frozenset(inputs.get("required", ())),
        many_pins=frozenset(message.many_pins),
        unavailable=_unavailable(message),
    )


def _unavailable(message: Block) -> str:
    if message.disabled:
        return message.unavailable_reason or "it is disabled"
    return message.unavailable_reason
