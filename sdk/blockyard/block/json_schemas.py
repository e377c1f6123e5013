"""Makes a model's JSON schema plain enough for forms: references resolved, choices of one folded."""

from collections.abc import Iterator
from typing import Any

from blockyard.block.requirements import MAPPING

_CHOICES = ("allOf", "anyOf", "oneOf")
# Their values are data, or are named by the author, and no schemas.
_DATA = frozenset({"default", "const", "enum", "examples", MAPPING})
# Under these, keys are names that an author chose, and each value is a schema.
_NAMED = ("properties", "patternProperties")
# What only people and forms look at.
_WORDS = frozenset({"title", "description", "placeholder", "examples", "advanced", "hidden"})


def plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy without `$defs` and `$ref`, and without choices (allOf, anyOf, oneOf) of a single schema."""
    plain: dict[str, Any] = _resolve({k: v for k, v in schema.items() if k != "$defs"}, schema.get("$defs", {}), ())
    return plain


def _resolve(node: Any, definitions: dict[str, Any], inside: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_resolve(item, definitions, inside) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        return _resolve_reference(node, definitions, inside)
    resolved: dict[str, Any] = {}
    for key, value in node.items():
        if key in _DATA:
            resolved[key] = value
        elif key in _NAMED:
            # Names of pins stand here, which may be called "default" or "$ref" themselves.
            resolved[key] = {name: _resolve(item, definitions, inside) for name, item in value.items()}
        elif key == "discriminator":
            # Its mapping names definitions that no longer exist.
            resolved[key] = {"propertyName": value["propertyName"]}
        else:
            resolved[key] = _resolve(value, definitions, inside)
    return _fold_single_choice(resolved)


def _resolve_reference(node: dict[str, Any], definitions: dict[str, Any], inside: tuple[str, ...]) -> Any:
    name = node["$ref"].rsplit("/", 1)[-1]
    beside = {key: value for key, value in node.items() if key != "$ref"}
    if name in inside:
        # A schema that contains itself ends at its second turn: there it takes anything of its type.
        kind = definitions[name].get("type")
        return {**({"type": kind} if kind else {}), **_resolve(beside, definitions, inside)}
    # What stands beside a reference is more particular than what it refers to.
    return {**_resolve(definitions[name], definitions, (*inside, name)), **_resolve(beside, definitions, inside)}


def _fold_single_choice(node: dict[str, Any]) -> dict[str, Any]:
    for choice in _CHOICES:
        members = node.get(choice)
        if isinstance(members, list) and len(members) == 1 and isinstance(members[0], dict):
            node = {**members[0], **{key: value for key, value in node.items() if key != choice}}
    return node


def without_words(schema: Any) -> Any:
    """A copy without what is only there to be read, so that a better description is not another schema."""
    if isinstance(schema, list):
        return [without_words(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _WORDS:
            continue
        if key in _DATA:
            kept[key] = value
        elif key in _NAMED:
            kept[key] = {name: without_words(item) for name, item in value.items()}
        else:
            kept[key] = without_words(value)
    return kept


def leftovers(schema: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(place, what) of each thing that `plain_schema` leaves in no schema of its making."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from leftovers(item, f"{place}[{index}]")
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        if key in ("$ref", "$defs"):
            yield place, f"has {key}; references must be resolved"
        elif key in _CHOICES and isinstance(value, list) and len(value) == 1:
            yield place, f"has {key} with a single schema, which must be folded"
        if key in _NAMED:
            for name, item in value.items():
                yield from leftovers(item, f"{place}[{key!r}][{name!r}]")
        elif key not in _DATA:
            yield from leftovers(value, f"{place}[{key!r}]")
