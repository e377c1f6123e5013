"""The rules of inputs for credentials, and of the parameters of `run` that take what they unlock."""

import re
from collections.abc import Iterator
from types import UnionType
from typing import TYPE_CHECKING, Union, get_origin

from blockyard.block.fields import extra_of
from blockyard.block.requirements import ANY_REST, CREDENTIAL_TYPES, HOST_SCOPED, CredentialsRequirement

if TYPE_CHECKING:
    from blockyard.block.block import Block

# As the vault takes names of providers.
_PROVIDER = re.compile(r"[a-z0-9_-]{1,100}")


def credentials_complaints(block: "Block") -> Iterator[str]:
    """What is wrong with the block's inputs for credentials."""
    fields = block.input_schema.get_credentials_fields()
    for name, requirement in fields.items():
        place = f"{block.name}: input {name}"
        yield from _wanted_complaints(requirement, place)
        yield from _discriminator_complaints(block, name, requirement, place)
        field = block.input_schema.model_fields[name]
        if not field.is_required() and field.get_default(call_default_factory=True) is not None:
            yield f"{place}: a credential belongs to a user, so its only default is None"
        if get_origin(field.annotation) not in (None, Union, UnionType):
            yield f"{place}: takes one credential: its type is CredentialsReference, or that or None"
    for name in block.output_schema.get_credentials_fields():
        yield f"{block.name}: output {name}: a credential is an input alone"
    for parameter in block.run_signature.credentials:
        place = f"{block.name}: run: {parameter.pin}"
        if parameter.pin not in fields:
            yield f"{place}: there is no credentials field of that name; name the parameter after its field"
            continue
        allowed = fields[parameter.pin].types
        for one in parameter.classes:
            if one.type not in allowed and len(parameter.classes) < len(CREDENTIAL_TYPES):
                yield f"{place}: is annotated for {one.type}, and the field takes {' or '.join(allowed)}"


def _wanted_complaints(requirement: CredentialsRequirement, place: str) -> Iterator[str]:
    if not requirement.providers:
        yield f"{place}: provider: name at least one"
    for provider in requirement.providers:
        if not _PROVIDER.fullmatch(provider):
            yield f"{place}: provider: expected 1 to 100 characters of a-z 0-9 _ -, got {provider!r}"
    if not requirement.types:
        yield f"{place}: types: name at least one of {', '.join(CREDENTIAL_TYPES)}"
    for one in requirement.types:
        if one not in CREDENTIAL_TYPES:
            yield f"{place}: types: there is no type {one!r}; there are {', '.join(CREDENTIAL_TYPES)}"
    if requirement.scopes and "oauth2" not in requirement.types:
        yield f"{place}: scopes: only credentials of the type oauth2 have some"


def _discriminator_complaints(
    block: "Block", name: str, requirement: CredentialsRequirement, place: str
) -> Iterator[str]:
    mapping = requirement.discriminator_mapping
    if not requirement.discriminator:
        if mapping:
            yield f"{place}: discriminator_mapping: name in `discriminator` the input whose values it has"
        return
    base, _, inside = requirement.discriminator.partition(".")
    picker = block.input_schema.model_fields.get(base)
    if picker is None or base == name:
        yield f"{place}: discriminator: there is no other input {base!r}"
        return
    if extra_of(picker).get("secret"):
        yield f"{place}: discriminator: {base} is secret, and what picks a credential is shown"
    if not mapping and requirement.types != (HOST_SCOPED,):
        yield f"{place}: discriminator: without discriminator_mapping it is for the type {HOST_SCOPED} alone"
    for value, provider in mapping.items():
        if provider not in requirement.providers:
            there = ", ".join(requirement.providers)
            yield f"{place}: discriminator_mapping: {value!r}: there is no provider {provider!r}; there are {there}"
        if ANY_REST in value.removesuffix(ANY_REST):
            yield f"{place}: discriminator_mapping: {value!r}: a {ANY_REST} may stand at the end alone"
        elif not inside and not value.endswith(ANY_REST) and block.input_schema.validate_field(base, value):
            yield f"{place}: discriminator_mapping: {value!r}: is no value that {base} takes"
