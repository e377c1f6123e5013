"""What a block needs before it can run on its own: the credentials that its pins must have and were not given.

There is no vault yet: a pin has credentials if its input is given, and who checks them is the block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockyard.graph.v1.block_pb2 import Block

from services.common.structs import from_struct

PROVIDERS = "credentials_provider"
"""What marks a pin that takes credentials in the schema of a block."""


@dataclass(frozen=True, slots=True)
class MissingCredentials:
    """Credentials that a pin takes: of any of these providers and types, with all of these scopes."""

    providers: tuple[str, ...]
    types: tuple[str, ...]
    scopes: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What is to be given before the block can run."""

    block_id: str
    block_name: str
    missing: Mapping[str, MissingCredentials]
    """By pin."""
    missing_inputs: tuple[str, ...]
    """Other required pins that were not given."""
    input_schema: Mapping[str, Any]
    """JSON schema of the inputs, without the pins that take credentials."""

    @property
    def message(self) -> str:
        """What to do."""
        wanted = "; ".join(
            f"{pin} ({' or '.join(one.providers)}: {' or '.join(one.types)})" for pin, one in self.missing.items()
        )
        return f"{self.block_name} needs credentials that were not given: {wanted}."


def setup_of(block: Block, inputs: Mapping[str, Any], missing: Sequence[str]) -> Setup | None:
    """What is to be given beside these inputs; None if no credentials are missing. `missing` are all the required pins
    that the inputs lack."""
    schema = from_struct(block.input_schema)
    pins: Mapping[str, Any] = schema.get("properties", {})
    credentials = {pin for pin, rule in pins.items() if isinstance(rule, Mapping) and PROVIDERS in rule}
    lacking = {pin: _missing(pins[pin]) for pin in missing if pin in credentials}
    if not lacking:
        return None
    others = {
        **schema,
        "properties": {pin: rule for pin, rule in pins.items() if pin not in credentials},
        "required": [pin for pin in schema.get("required", ()) if pin not in credentials],
    }
    unset = tuple(pin for pin in missing if pin not in credentials)
    return Setup(block.id, block.name, lacking, unset, others)


def _missing(rule: Mapping[str, Any]) -> MissingCredentials:
    return MissingCredentials(
        providers=tuple(rule[PROVIDERS]),
        types=tuple(rule.get("credentials_types", ())),
        scopes=tuple(rule.get("credentials_scopes", ())),
        description=rule.get("description", ""),
    )
