"""The error check: what breaks the input's schema is refused with the pin's name, before anything runs."""

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from typing import Any

from blockyard.block.block import ERROR_PIN, Block
from blockyard.block.checks.results import Finding
from blockyard.block.complaints import shown
from blockyard.block.errors import BlockInputError
from blockyard.block.preparation import prepare
from blockyard.block.schema import BlockSchema
from blockyard.block.testing import cases_of, expected_items, mocked

# One of these is wrong for nearly every type. All are JSON values, as inputs always are.
_WRONG: tuple[Any, ...] = ({"no such": ["value"]}, ["no", {"such": "value"}], "no such value", -(10**15), "")


async def check_errors(block: Block) -> Finding:
    """Leaves out each required input, and gives each input a value that does not fit; both must name the pin.

    The block's own errors are among its test cases, with the message expected on the pin `error`; the remark says if
    there is none.
    """
    cases = cases_of(block)
    if not cases:
        return Finding(("test_input has no case to break",))
    good = prepare(block, cases[0])
    with mocked(block):
        found = [await _refusal(block, pin, broken, what) for pin, broken, what in _broken_inputs(block, good)]
    own = sum(pin == ERROR_PIN for pin, _ in expected_items(block))
    remark = f"{len(found)} inputs refused, {own} error{'s' * (own != 1)} of its own" if own else "no error of its own"
    return Finding(tuple(complaint for complaint in found if complaint), remark)


def _broken_inputs(block: Block, good: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(pin, inputs, what is wrong with them)"""
    schema: type[BlockSchema] = block.input_schema
    for pin in schema.model_fields:
        if pin in schema.get_required_fields():
            yield pin, {name: value for name, value in good.items() if name != pin}, "is left out"
        wrong = [value for value in _WRONG if schema.validate_field(pin, value) is not None]
        if wrong:
            yield pin, {**good, pin: wrong[0]}, f"is {shown(wrong[0])}"


async def _refusal(block: Block, pin: str, inputs: Mapping[str, Any], what: str) -> str:
    """What is wrong with the block's answer to broken inputs; empty if nothing."""
    try:
        async with aclosing(block.execute(inputs, None, block.test_credentials)) as items:
            async for output, _ in items:
                return f"input {pin}: runs and yields on {output!r} although the input {what}"
    except BlockInputError as error:
        named = f"inputs.{pin}" in str(error)
        return "" if named else f"input {pin}: {what}, but the error does not name it: {shown(str(error))}"
    return f"input {pin}: runs although the input {what}"
