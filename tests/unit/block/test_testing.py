"""A block's own tests: what passes, and what is said of what does not."""

from typing import Any

import pytest
from blockyard.block import BlockOutputError
from blockyard.block.testing import check_block

from tests.unit.block.sample_blocks import RepeatBlock, SecretBlock, YieldBlock


async def test_values_types_and_predicates_are_compared() -> None:
    await check_block(RepeatBlock())


async def test_credentials_are_given_to_the_block() -> None:
    await check_block(SecretBlock())


async def test_mocks_stand_in_for_attributes_and_are_taken_back() -> None:
    block = RepeatBlock()
    block.test_mock = {"count": lambda times: 70 + times}
    block.test_output = [("part", "a"), ("part", "a"), ("count", 72)]

    await check_block(block)

    assert block.count(1) == 1
    assert "count" not in vars(block)


@pytest.mark.parametrize(
    ("test_output", "message"),
    [
        ([("part", "a"), ("part", "b"), ("count", 2)], "output 1: part: expected 'b', got 'a'"),
        ([("part", "a"), ("count", 2)], "output 1: expected pin 'count', got 'part' = 'a'"),
        ([("part", "a"), ("part", "a")], "one output more than expected: \\('count', 2\\)"),
        ([("part", "a"), ("part", "a"), ("count", 2), ("count", 3)], "no output for \\('count', 3\\)"),
        ([("part", int)], "output 0: part: expected <class 'int'>, got 'a'"),
        ([("part", lambda part: part == "b")], "output 0: part: expected <function"),
        ([("part", lambda part: int(part) > 0)], "output 0: part: <function .* raised ValueError: .*, given 'a'"),
    ],
)
async def test_what_differs_is_said(test_output: Any, message: str) -> None:
    block = RepeatBlock()
    block.test_output = test_output

    with pytest.raises(AssertionError, match=f"RepeatBlock: {message}"):
        await check_block(block)


async def test_true_is_not_one() -> None:
    block = RepeatBlock()
    block.test_input, block.test_output = {"text": "a", "times": 1}, [("part", "a"), ("count", True)]

    with pytest.raises(AssertionError, match="count: expected True, got 1"):
        await check_block(block)


async def test_mock_of_nothing_is_refused() -> None:
    block = RepeatBlock()
    block.test_mock = {"missing": None}

    with pytest.raises(AssertionError, match="test_mock names 'missing'"):
        await check_block(block)


async def test_block_without_test_input_is_refused() -> None:
    block = RepeatBlock()
    block.test_input = ()

    with pytest.raises(AssertionError, match="has no test_input"):
        await check_block(block)


async def test_failures_are_expected_on_the_error_pin() -> None:
    block = YieldBlock()
    block.test_input = [{"value": [("number", 1), ("error", "no luck")]}, {"value": 7}]
    block.test_output = [("number", 1), ("error", "no luck"), ("error", "TypeError: 'int' object is not iterable")]

    await check_block(block)


async def test_an_output_that_breaks_the_schema_is_no_failure_to_expect() -> None:
    block = YieldBlock()
    block.test_input, block.test_output = {"value": [("number", "x")]}, ("error", str)

    with pytest.raises(BlockOutputError):
        await check_block(block)
