"""How a block's author declares a pin: its description, limits, and how a form shows it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from blockyard.block.requirements import CredentialsRequirement

# In the extra of every field made here, so that the loader can tell one that was not.
MARK = "advanced"


def SchemaField(
    default: Any = PydanticUndefined,
    *,
    description: str | None = None,
    title: str | None = None,
    placeholder: str | None = None,
    default_factory: Callable[[], Any] | None = None,
    advanced: bool | None = None,
    secret: bool = False,
    hidden: bool = False,
    depends_on: Sequence[str] = (),
    many: bool = False,
    fed_back: bool = False,
    **options: Any,
) -> Any:
    """A pin of a block.

    `advanced` fields are folded away in forms; by default those that have a default. `many` marks an output pin that
    may yield more than once in a run. `fed_back` marks an input pin that gets values over a loop, from what the node
    itself has caused: its first run does not wait for them, each further one waits for all such pins that are linked.
    `depends_on` names the fields that must be filled in before this one. `options` go to pydantic's Field: limits
    (`ge`, `le`, `gt`, `lt`, `min_length`, `max_length`, `pattern`, `multiple_of`), `examples`, `discriminator`,
    `validation_alias`.
    """
    required = default is PydanticUndefined and default_factory is None
    extra: dict[str, Any] = {MARK: not required if advanced is None else advanced}
    if placeholder is not None:
        extra["placeholder"] = placeholder
    if depends_on:
        extra["depends_on"] = list(depends_on)
    for name, is_set in (("secret", secret), ("hidden", hidden), ("many", many), ("fed_back", fed_back)):
        if is_set:
            extra[name] = True
    extra |= options.pop("json_schema_extra", {})
    if default_factory is not None:
        options["default_factory"] = default_factory
    else:
        options["default"] = default
    return Field(description=description, title=title, json_schema_extra=extra, **options)


def is_schema_field(field: FieldInfo) -> bool:
    """Whether it was made by `SchemaField` or `CredentialsField`."""
    return MARK in extra_of(field)


def extra_of(field: FieldInfo) -> dict[str, Any]:
    """What the field's author added to its JSON schema."""
    extra = field.json_schema_extra
    return extra if isinstance(extra, dict) else {}


class CredentialsReference(BaseModel):
    """Names a credential in the vault. What it unlocks is given to `run` as the parameter of the field's name."""

    model_config = ConfigDict(frozen=True)

    id: str
    provider: str
    type: str
    title: str | None = None


def CredentialsField(
    *,
    provider: str | Sequence[str],
    types: Sequence[str],
    scopes: Sequence[str] = (),
    discriminator: str = "",
    discriminator_mapping: Mapping[str, str] | None = None,
    named_only: bool = False,
    description: str | None = None,
    title: str | None = None,
    default: Any = PydanticUndefined,
) -> Any:
    """An input for a credential: from which providers, of which types ("api_key", "oauth2", ...), with which scopes.

    The field is called `credentials` or `<what>_credentials`, and its type is `CredentialsReference`.

    `discriminator` names another input that picks: with `discriminator_mapping` the provider by that input's value
    (`{"gpt-4o": "openai", "claude*": "anthropic"}`; a `*` at the end stands for whatever follows), and without one, for
    the type "host_scoped", the host by that input's URL. Dots lead into objects: "config.model".

    Set `named_only` where other inputs decide to which server the secret is sent: its owner has to name the credential
    then. Others are found among the owner's, if one alone fits.
    """
    requirement = CredentialsRequirement(
        providers=(provider,) if isinstance(provider, str) else tuple(provider),
        types=tuple(types),
        scopes=tuple(sorted(scopes)),
        discriminator=discriminator,
        discriminator_mapping=dict(discriminator_mapping or {}),
        named_only=named_only,
    )
    return SchemaField(
        default, description=description, title=title, advanced=False, json_schema_extra=requirement.marks()
    )
