"""The schema check: the rules of the loader, schemas that every reader understands, and test inputs that fit."""

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

from blockyard import values
from blockyard.block.block import Block
from blockyard.block.checks.results import Finding
from blockyard.block.complaints import shown
from blockyard.block.dynamic_pins import base_pin
from blockyard.block.errors import BlockInputError
from blockyard.block.json_schemas import leftovers
from blockyard.block.preparation import prepare
from blockyard.block.rules import block_complaints, class_complaints
from blockyard.block.schema import BlockSchema
from blockyard.block.testing import cases_of


async def check_schema(block: Block) -> Finding:
    """Looks at what the block declares; nothing runs."""
    rules = [*class_complaints(type(block)), *block_complaints(block)]
    complaints = [complaint.removeprefix(f"{block.name}: ") for complaint in rules]
    # What breaks a rule may have no schema to look at.
    if not complaints:
        complaints += _words(block)
        for side, schema in (("input", block.input_schema), ("output", block.output_schema)):
            complaints += _json_schema_complaints(side, schema.jsonschema())
        complaints += _case_complaints(block)
    return Finding(tuple(complaints))


def _words(block: Block) -> Iterator[str]:
    if not block.description.strip():
        yield "description: is missing; say in a sentence what the block does"
    if not block.categories:
        yield "categories: are missing; name at least one"
    credentials = block.input_schema.get_credentials_fields()
    for side, schema in (("input", block.input_schema), ("output", block.output_schema)):
        for name, field in schema.model_fields.items():
            if not field.description and name not in credentials:
                yield f"{side} {name}: has no description"


def _json_schema_complaints(side: str, schema: dict[str, Any]) -> Iterator[str]:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        yield f"{side} schema{place}: is no JSON schema (draft 2020-12): {error.message[:200]}"
    for place, what in leftovers(schema):
        yield f"{side} schema{place}: {what}"


def _case_complaints(block: Block) -> Iterator[str]:
    schema: type[BlockSchema] = block.input_schema
    known = _known_names(schema)
    for number, case in enumerate(cases_of(block)):
        try:
            values.encode(dict(case))
            complaints = schema.validate_data(prepare(block, case))
        except (BlockInputError, ValueError) as error:
            complaints = [str(error)]
        for complaint in complaints:
            yield f"test_input[{number}]: {complaint}"
        for name in case:
            # Parts of a pin (values_#_key) are folded into it.
            if known is not None and base_pin(name) not in known:
                yield f"test_input[{number}]: there is no input {shown(name)}"


def _known_names(schema: type[BlockSchema]) -> set[str] | None:
    """What inputs may be called; None if a schema takes whatever comes."""
    if schema.model_config.get("extra") == "allow":
        return None
    aliases = {field.validation_alias for field in schema.model_fields.values()}
    return {*schema.model_fields, *(alias for alias in aliases if isinstance(alias, str))}
