"""Makes the input of a run out of what constants and links gave: dynamic pins folded, types fitted.

`Block.execute` validates what comes out of here; the values that it is given are never changed.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from blockyard.block.block import Block
from blockyard.block.coercion import Converter, converter_for
from blockyard.block.dynamic_pins import fold
from blockyard.block.errors import BlockInputError
from blockyard.block.schema import BlockSchema


def prepare(block: Block | type[BlockSchema], raw: Mapping[str, Any]) -> dict[str, Any]:
    """The input for `block.execute`. A BlockInputError names the pin that cannot be folded."""
    schema: type[BlockSchema] = block.input_schema if isinstance(block, Block) else block
    try:
        inputs = fold(raw)
    except ValueError as error:
        raise BlockInputError(f"inputs.{error}") from error
    for pin, convert in _converters(schema):
        value = inputs.get(pin)
        # None is the absence of a value, and has no type to fit.
        if value is not None:
            inputs[pin] = convert(value)
    return inputs


@cache
def _converters(schema: type[BlockSchema]) -> tuple[tuple[str, Converter], ...]:
    """The pins that may need work, and what does it."""
    found = []
    for pin, field in schema.model_fields.items():
        converter = converter_for(field.annotation)
        if converter is not None:
            found.append((pin, converter))
    return tuple(found)
