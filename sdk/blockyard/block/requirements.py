"""What a pin for credentials asks for, as its author declares it and as the JSON schema of a block says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

CREDENTIAL_TYPES = ("api_key", "oauth2", "user_password", "host_scoped")
HOST_SCOPED = "host_scoped"

# What marks the pin in a JSON schema. The first one is there whenever it is a pin for credentials.
PROVIDERS = "credentials_provider"
TYPES = "credentials_types"
SCOPES = "credentials_scopes"
DISCRIMINATOR = "credentials_discriminator"
MAPPING = "credentials_discriminator_mapping"
NAMED_ONLY = "credentials_named_only"

ANY_REST = "*"
"""At the end of a value of a mapping it stands for whatever follows."""


@dataclass(frozen=True, slots=True)
class CredentialsRequirement:
    """What a credentials field asks for: any of the providers, any of the types, all of the scopes."""

    providers: tuple[str, ...]
    types: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    discriminator: str = ""
    """Input that picks the provider, or the host: `model`, `config.server`. Empty if none does."""
    discriminator_mapping: Mapping[str, str] = field(default_factory=dict)
    """The provider by the value of that input; without a mapping the value is a URL, and its host picks."""
    named_only: bool = False
    """Whether it has to be named: other inputs decide where the secret is sent."""

    @classmethod
    def of_schema(cls, schema: Any) -> Self | None:  # Any: a JSON schema, which may be a boolean
        """What the JSON schema of a pin asks for; None if the pin is not for credentials."""
        if not isinstance(schema, Mapping) or PROVIDERS not in schema:
            return None
        mapping = schema.get(MAPPING)
        return cls(
            providers=_texts(schema[PROVIDERS]),
            types=_texts(schema.get(TYPES)),
            scopes=_texts(schema.get(SCOPES)),
            discriminator=_text(schema.get(DISCRIMINATOR)),
            discriminator_mapping=(
                {value: name for value, name in mapping.items() if isinstance(name, str)}
                if isinstance(mapping, Mapping)
                else {}
            ),
            named_only=schema.get(NAMED_ONLY) is True,
        )

    def marks(self) -> dict[str, Any]:
        """What the JSON schema of the pin says of it."""
        marks: dict[str, Any] = {
            PROVIDERS: list(self.providers),
            TYPES: list(self.types),
            SCOPES: list(self.scopes),
        }
        if self.discriminator:
            marks[DISCRIMINATOR] = self.discriminator
        if self.discriminator_mapping:
            marks[MAPPING] = dict(self.discriminator_mapping)
        if self.named_only:
            marks[NAMED_ONLY] = True
        return marks

    def picked_value(self, inputs: Mapping[str, Any]) -> Any:
        """What the inputs have in the place of the discriminator; None if there is nothing."""
        value: Any = inputs
        for name in self.discriminator.split(".") if self.discriminator else ():
            value = value.get(name) if isinstance(value, Mapping) else None
        return None if value is inputs else value

    def providers_for(self, value: Any) -> tuple[str, ...]:
        """The providers where the discriminator has this value: the one that is picked, or all if none is."""
        picked = self._picked(value) if isinstance(value, str) else None
        return (picked,) if picked else self.providers

    def _picked(self, value: str) -> str | None:
        """The exact value goes before beginnings, and a longer beginning before a shorter one."""
        if (exact := self.discriminator_mapping.get(value)) is not None:
            return exact
        beginnings = [
            key for key in self.discriminator_mapping if key.endswith(ANY_REST) and value.startswith(key[:-1])
        ]
        return self.discriminator_mapping[max(beginnings, key=len)] if beginnings else None


def requirements_of(schema: Mapping[str, Any]) -> dict[str, CredentialsRequirement]:
    """What the pins for credentials of a block's input ask for, from its JSON schema."""
    pins = schema.get("properties")
    if not isinstance(pins, Mapping):
        return {}
    found = {pin: CredentialsRequirement.of_schema(one) for pin, one in pins.items()}
    return {pin: one for pin, one in found.items() if one is not None}


def _texts(value: Any) -> tuple[str, ...]:
    """A schema of another author's may say anything."""
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list | tuple) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
