"""Which values of a node are secrets or credentials: by its block's schema, and by their names where it is unknown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from blockyard.block.dynamic_pins import base_pin, parse

from services.graph.blocks import BlockDefinition

_SECRET_NAME = re.compile(
    r"(^|_)(secrets?|passwords?|passwd|passphrase|credentials?|api_?keys?|private_?key)($|_)"
    r"|(^|_)(access|auth|bearer|refresh|secret|session|bot|api)_token$|^(api)?token$|(^|_)(authorization|cookie)$",
    re.IGNORECASE,
)
_CREDENTIALS = frozenset({"id", "provider", "type"})
"""What a reference to credentials has."""


def is_credentials(pin: str, schema: Any, value: Any) -> bool:  # Any: JSON
    """Whether a pin takes credentials, or a value is a reference to some."""
    if pin == "credentials" or pin.endswith("_credentials"):
        return True
    if isinstance(schema, Mapping) and "credentials_provider" in schema:
        return True
    return isinstance(value, Mapping) and value.keys() >= _CREDENTIALS


def without_secrets(constants: Mapping[str, Any], block: BlockDefinition | None) -> tuple[dict[str, Any], list[str]]:
    """The constants of a node that anyone may see, and the places (`config.password`) that were left out."""
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for pin, value in constants.items():
        schemas = _way_to(pin, block)
        name, schema = schemas[-1]
        if is_credentials(name, schema, value) or any(_is_hidden(*step) for step in schemas):
            left_out.append(pin)
        else:
            kept[pin] = _stripped(value, schema, pin, left_out)
    return kept, left_out


def _way_to(pin: str, block: BlockDefinition | None) -> list[tuple[str, Any]]:
    """Names and schemas from the base pin to the part that a dynamic pin names; items of lists have no name."""
    try:
        base, steps = parse(pin)
    except ValueError:
        base, steps = base_pin(pin), ()
    schema = block.inputs.get(base) if block else None
    way: list[tuple[str, Any]] = [(base, schema)]
    for step in steps:
        if isinstance(step.key, int):
            schema = schema.get("items") if isinstance(schema, Mapping) else None
            way.append(("", schema))
        else:
            schema = _properties(schema).get(step.key)
            way.append((step.key, schema))
    return way


def _is_hidden(name: str, schema: Any) -> bool:
    """Whether nothing of what has the name and the schema may be seen; without a schema the name has to tell."""
    if not isinstance(schema, Mapping):
        return _SECRET_NAME.search(name.replace("-", "_")) is not None
    return is_credentials(name, schema, None) or any(
        one.get("secret") or one.get("writeOnly") or one.get("format") == "password"
        for one in (schema, *_alternatives(schema))
    )


def _alternatives(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for keyword in ("anyOf", "oneOf", "allOf"):
        alternatives = schema.get(keyword)
        for alternative in alternatives if isinstance(alternatives, list) else ():
            if isinstance(alternative, Mapping):
                yield alternative


def _stripped(value: Any, schema: Any, path: str, left_out: list[str]) -> Any:
    """The value without the secret parts of objects in it. As deep as constants may be, which is not deep."""
    if isinstance(value, list):
        items = schema.get("items") if isinstance(schema, Mapping) else None
        return [_stripped(item, items, f"{path}[{index}]", left_out) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = _properties(schema)
    kept = {}
    for name, item in value.items():
        place = f"{path}.{name}"
        inner = properties.get(name)
        if is_credentials(name, inner, item) or _is_hidden(name, inner):
            left_out.append(place)
        else:
            kept[name] = _stripped(item, inner, place, left_out)
    return kept


def _properties(schema: Any) -> dict[str, Any]:
    """The properties of an object's schema, those of its alternatives included."""
    if not isinstance(schema, Mapping):
        return {}
    found: dict[str, Any] = {}
    for alternative in _alternatives(schema):
        found.update(_properties(alternative))
    own = schema.get("properties")
    return {**found, **own} if isinstance(own, Mapping) else found
