"""Whether the schemas that a block registers with are schemas of pins.

The JSON schema of JSON schemas is slow to check, and a runner brings hundreds at its start, on the event loop. The pins
of all blocks have few shapes among them, so each shape is checked once, without its words.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

KEPT_SHAPES = 4_096
LARGEST_KEPT_SHAPE = 4_096
# Their values are data of the author's, and no schemas.
_DATA = frozenset({"default", "const", "enum", "examples"})


def schema_problem(schema: Mapping[str, Any]) -> str:
    """Why this is no schema of pins; empty if it is one."""
    if not _is_known_to_be_one(schema):
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            return f"is no JSON schema: {error.json_path}: {error.message[:200]}"
    if schema.get("type", "object") != "object" or not isinstance(schema.get("properties", {}), dict):
        return "must be the schema of an object, with a property for each pin"
    if _has_reference(schema):
        return "holds a reference ($ref); references must be resolved"
    return ""


def _is_known_to_be_one(schema: Mapping[str, Any]) -> bool:
    """Whether it is made of parts that are schemas. If not, it may be one still."""
    pins = schema.get("properties", {})
    if not isinstance(pins, dict):
        return False
    own = {name: value for name, value in schema.items() if name != "properties"}
    return all(_is_of_known_shape(part) for part in (own, *pins.values()))


def _is_of_known_shape(schema: Any) -> bool:  # Any: whatever stands where a schema should
    if not isinstance(schema, dict):
        return False
    words = {"default"}  # any value will do
    words.update(name for name in ("title", "description") if isinstance(schema.get(name), str))
    if _are_names(schema.get("required")):
        words.add("required")
    try:
        shape = orjson.dumps({name: value for name, value in schema.items() if name not in words})
    except orjson.JSONEncodeError:
        return False  # too deep, or a number too large, for a quick look
    return len(shape) <= LARGEST_KEPT_SHAPE and _is_schema(shape)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and len(set(value)) == len(value)


@lru_cache(KEPT_SHAPES)
def _is_schema(shape: bytes) -> bool:
    try:
        Draft202012Validator.check_schema(orjson.loads(shape))
    except SchemaError:
        return False
    return True


def _has_reference(schema: Any) -> bool:  # Any: a part of a JSON schema
    if isinstance(schema, list):
        return any(_has_reference(item) for item in schema)
    if not isinstance(schema, dict):
        return False
    if isinstance(schema.get("$ref"), str) or isinstance(schema.get("$dynamicRef"), str):
        return True
    return any(_has_reference(value) for key, value in schema.items() if key not in _DATA)
