"""The quick look at a block's schemas says what the slow one says."""

from typing import Any

import pytest
from blockyard.block.loader import load_blocks
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from services.graph import block_schemas
from services.graph.block_schemas import schema_problem

DEEP: dict[str, Any] = {"type": "string"}
for _ in range(100):
    DEEP = {"type": "array", "items": DEEP}

PINS: list[Any] = [
    {},
    {"type": "string"},
    {"type": "string", "title": "Text", "description": "Any.", "default": 7, "examples": [1]},
    {"type": "strin"},
    {"type": "string", "title": 7},
    {"type": "string", "description": None},
    {"type": "string", "examples": "one"},
    {"type": ["string", "null"]},
    {"type": ["string", "string"]},
    {"type": "string", "pattern": "[a-z]"},
    {"type": "string", "pattern": "[a-z"},
    {"type": "integer", "minimum": 10**30},
    {"type": "integer", "minimum": "1"},
    {"type": "array", "items": {"type": "strin"}},
    {"type": "array", "items": True},
    {"type": "object", "required": "a"},
    {"anyOf": []},
    {"anyOf": [{"type": "string"}, 7]},
    {"enum": "a"},
    {"advanced": 7, "credentials_provider": ["github"]},
    True,
    7,
    None,
    DEEP,
]


def problem_by_the_slow_way(schema: dict[str, Any]) -> str:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON schema: {error.json_path}: {error.message[:200]}"
    return ""


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: str(pin)[:40])
def test_a_pin_is_refused_or_taken_as_by_the_schema_of_schemas(pin: Any) -> None:
    schema = {"type": "object", "properties": {"fine": {"type": "string"}, "pin": pin}}
    expected = problem_by_the_slow_way(schema)

    assert schema_problem(schema) == expected
    # And again, now that its shape is known.
    assert schema_problem(schema) == expected


@pytest.mark.parametrize(
    "own",
    [{"properties": []}, {"type": 7}, {"required": [1]}, {"required": ["a", "a"]}, {"title": 7}, {"type": "object"}],
)
def test_what_stands_beside_the_pins_is_looked_at_too(own: dict[str, Any]) -> None:
    schema = {"properties": {"pin": {"type": "string"}}, **own}

    assert schema_problem(schema) == problem_by_the_slow_way(schema)


def test_the_pins_of_all_built_in_blocks_have_few_shapes_and_are_taken() -> None:
    block_schemas._is_schema.cache_clear()
    blocks = load_blocks().blocks.values()
    schemas = [
        schema for block in blocks for schema in (block.input_schema.jsonschema(), block.output_schema.jsonschema())
    ]

    assert [schema_problem(schema) for schema in schemas] == [""] * len(schemas)
    looked_at = block_schemas._is_schema.cache_info()
    assert looked_at.misses * 3 < looked_at.hits
