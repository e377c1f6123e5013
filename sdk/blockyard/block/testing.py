"""Runs the tests that a block carries: `test_input` through the block, compared with `test_output`."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from blockyard import values
from blockyard.block.block import Block, Item
from blockyard.block.complaints import shown
from blockyard.block.context import Context
from blockyard.block.preparation import prepare

_ABSENT = object()


async def check_block(block: Block) -> None:
    """Raises an AssertionError that says which output differed.

    All inputs of `test_input` run one after the other, and what they give is compared with `test_output`, in order.
    An expected value is a value, a type, or a predicate. `test_mock` replaces attributes of the block meanwhile, and
    `test_credentials` are given to it.
    """
    inputs = [block.test_input] if isinstance(block.test_input, Mapping) else list(block.test_input)
    if not inputs:
        raise AssertionError(f"{block.name}: has no test_input")
    with _replaced(block, block.test_mock):
        outputs = [item for raw in inputs for item in await _outputs(block, raw)]
    _compare(block, outputs)


async def _outputs(block: Block, raw: Mapping[str, Any]) -> list[Item]:
    outputs = []
    async for pin, value in block.execute(prepare(block, raw), Context(task_id="test"), block.test_credentials):
        values.encode(value)
        outputs.append((pin, value))
    return outputs


def _compare(block: Block, outputs: list[Item]) -> None:
    expected = _expected_items(block)
    for number, (wanted, (pin, value)) in enumerate(zip(expected, outputs, strict=False)):
        if pin != wanted[0]:
            raise AssertionError(
                f"{block.name}: output {number}: expected pin {wanted[0]!r}, got {pin!r} = {shown(value)}"
            )
        if not _meets(value, wanted[1]):
            raise AssertionError(
                f"{block.name}: output {number}: {pin}: expected {shown(wanted[1])}, got {shown(value)}"
            )
    if len(outputs) < len(expected):
        raise AssertionError(f"{block.name}: no output for {shown(expected[len(outputs)])}")
    if len(outputs) > len(expected):
        raise AssertionError(f"{block.name}: one output more than expected: {shown(outputs[len(expected)])}")


def _expected_items(block: Block) -> list[Item]:
    expected = block.test_output
    if isinstance(expected, tuple) and len(expected) == 2 and isinstance(expected[0], str):
        return [(expected[0], expected[1])]
    return [(pin, value) for pin, value in expected]


def _meets(value: Any, expected: Any) -> bool:
    if isinstance(expected, type):
        return isinstance(value, expected)
    if callable(expected):
        return bool(expected(value))
    if isinstance(expected, float) and math.isnan(expected):
        return isinstance(value, float) and math.isnan(value)
    # True equals 1 in Python, and is another value in JSON.
    return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)


@contextmanager
def _replaced(block: Block, replacements: Mapping[str, Any]) -> Iterator[None]:
    for name in replacements:
        if not hasattr(block, name):
            raise AssertionError(f"{block.name}: test_mock names {name!r}, which the block does not have")
    before = {name: vars(block).get(name, _ABSENT) for name in replacements}
    for name, replacement in replacements.items():
        setattr(block, name, replacement)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is _ABSENT:
                delattr(block, name)
            else:
                setattr(block, name, value)
