"""What a block needs before it can run on its own: which credentials its pins want, and which of them are missing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blockyard.block.requirements import HOST_SCOPED, requirements_of
from blockyard.graph.v1.block_pb2 import Block
from blockyard.graph.v1.graph_pb2 import CredentialsField, CredentialsPin

from services.common.structs import from_struct
from services.execution.block_plans import BLOCK_NODE
from services.execution.pin_marks import PROVIDERS


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


def taken_apart(block: Block, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The inputs without those of pins that take credentials, and the ids of credentials that those name, by pin."""
    pins = credentials_pins(block)
    named = {pin: inputs[pin] for pin in pins if isinstance(inputs.get(pin), Mapping)}
    ids = {pin: reference["id"] for pin, reference in named.items() if isinstance(reference.get("id"), str)}
    # What is null there is not given.
    return {pin: value for pin, value in inputs.items() if pin not in ids and not (pin in pins and value is None)}, ids


def fields_of(block: Block, inputs: Mapping[str, Any]) -> list[CredentialsField]:
    """What the block's pins want of credentials, each in a field of the pin's name."""
    schema = from_struct(block.input_schema)
    required = set(schema.get("required", ()))
    given = {**_defaults(schema), **{pin: value for pin, value in inputs.items() if value is not None}}
    fields = []
    for pin, wanted in sorted(requirements_of(schema).items()):
        picked = wanted.picked_value(given)
        by_host = HOST_SCOPED in wanted.types and not wanted.discriminator_mapping
        fields.append(
            CredentialsField(
                name=pin,
                providers=wanted.providers_for(picked),
                types=wanted.types,
                scopes=wanted.scopes,
                url=picked if by_host and isinstance(picked, str) else "",
                required=pin in required,
                pins=[CredentialsPin(node_id=BLOCK_NODE, pin=pin)],
                named_only=wanted.named_only,
            )
        )
    return fields


def _defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    pins = schema.get("properties", {})
    return {pin: rule["default"] for pin, rule in pins.items() if isinstance(rule, Mapping) and rule.get("default")}


def setup_of(block: Block, lacking: Collection[str], missing_inputs: Sequence[str]) -> Setup:
    """What is to be given before the block can run: credentials for these pins, and these inputs."""
    schema = from_struct(block.input_schema)
    credentials = credentials_pins(block)
    others = {
        **schema,
        "properties": {pin: rule for pin, rule in schema.get("properties", {}).items() if pin not in credentials},
        "required": [pin for pin in schema.get("required", ()) if pin not in credentials],
    }
    missing = {pin: _missing(rule) for pin, rule in credentials.items() if pin in lacking}
    return Setup(block.id, block.name, missing, tuple(missing_inputs), others)


def credentials_pins(block: Block) -> dict[str, Mapping[str, Any]]:
    """What its pins that take credentials say, by name."""
    pins = from_struct(block.input_schema).get("properties", {})
    # A Struct has its fields in any order; what is told of them should always read the same.
    return {pin: rule for pin, rule in sorted(pins.items()) if isinstance(rule, Mapping) and PROVIDERS in rule}


def _missing(rule: Mapping[str, Any]) -> MissingCredentials:
    return MissingCredentials(
        providers=tuple(rule[PROVIDERS]),
        types=tuple(rule.get("credentials_types", ())),
        scopes=tuple(rule.get("credentials_scopes", ())),
        description=rule.get("description", ""),
    )
