"""A block as the rules of graphs look at it: its pins, what they take, and whether it can be placed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from blockyard.block.requirements import CredentialsRequirement
from blockyard.graph.v1.block_pb2 import Block, BlockAvailability, BlockType
from jsonschema import Draft202012Validator
from referencing import Registry

from services.common.structs import from_struct
from services.graph.search import BlockWords, words_of

NO_REFERENCES: "Registry[Any]" = Registry()
"""Nothing is ever fetched for a schema, whatever it refers to."""


@dataclass(frozen=True, eq=False)
class BlockDefinition:
    """A registered block, and whether it can be placed and run now."""

    message: Block
    inputs: Mapping[str, Any]
    """JSON schemas of the input pins."""
    outputs: Mapping[str, Any]
    """JSON schemas of the output pins."""
    required: frozenset[str]
    many_pins: frozenset[str]
    barred: str = ""
    """Why it may not be placed or started: it is disabled, or no runner is configured for it. Empty if it may."""
    absence: str = ""
    """Why no runner has it now. That keeps nobody from placing it: executions wait. Empty if one has it."""
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
    def unavailable(self) -> str:
        """Why it cannot run now; empty if it can."""
        return self.barred or self.absence

    @property
    def availability(self) -> "BlockAvailability.ValueType":
        """The same in a word."""
        if self.message.disabled:
            return BlockAvailability.BLOCK_AVAILABILITY_DISABLED
        if self.barred:
            return BlockAvailability.BLOCK_AVAILABILITY_NOT_CONFIGURED
        if self.absence:
            return BlockAvailability.BLOCK_AVAILABILITY_NO_RUNNER
        return BlockAvailability.BLOCK_AVAILABILITY_AVAILABLE

    @cached_property
    def words(self) -> BlockWords:
        """What a search looks through."""
        return words_of(self.message)

    @cached_property
    def credentials(self) -> Mapping[str, CredentialsRequirement]:
        """What the input pins for credentials ask for."""
        found = {pin: CredentialsRequirement.of_schema(schema) for pin, schema in self.inputs.items()}
        return {pin: wanted for pin, wanted in found.items() if wanted is not None}

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

    def with_state(self, not_configured: str, absence: str) -> "BlockDefinition":
        """The same block as its runners have it: why they cannot run it, or why there is none; empty for neither."""
        return replace(self, barred=_barred(self.message, not_configured), absence=absence)

    def shown(self) -> Block:
        """The block as the catalogue answers with it."""
        message = Block()
        message.CopyFrom(self.message)
        message.unavailable_reason = self.unavailable
        message.availability = self.availability
        return message


def definition_of(message: Block) -> BlockDefinition:
    """The definition that a runner registered."""
    inputs, outputs = from_struct(message.input_schema), from_struct(message.output_schema)
    return BlockDefinition(
        message=message,
        inputs=inputs.get("properties", {}),
        outputs=outputs.get("properties", {}),
        required=frozenset(inputs.get("required", ())),
        many_pins=frozenset(message.many_pins),
        barred=_barred(message, message.unavailable_reason),
    )


def _barred(message: Block, not_configured: str) -> str:
    if message.disabled:
        return message.unavailable_reason or "it is disabled"
    return not_configured
