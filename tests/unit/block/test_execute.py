"""How one run of a block goes."""

import asyncio
from typing import Any

import pytest
from blockyard.block import (
    Block,
    BlockDefinitionError,
    BlockError,
    BlockExecutionError,
    BlockInputError,
    BlockOutputError,
    BlockType,
    Context,
    RunStyle,
)

from tests.unit.block.sample_blocks import AnyInput, AnyOutput, BlockingBlock, RepeatBlock, SecretBlock, YieldBlock


def run(block: Block, inputs: dict[str, Any], *arguments: Any) -> list[tuple[str, Any]]:
    async def gather() -> list[tuple[str, Any]]:
        return [item async for item in block.execute(inputs, *arguments)]

    return asyncio.run(gather())


def test_outputs_come_in_order() -> None:
    assert run(RepeatBlock(), {"text": "a", "times": 2}) == [("part", "a"), ("part", "a"), ("count", 2)]


def test_none_means_no_value_where_there_is_a_default() -> None:
    assert run(RepeatBlock(), {"text": "a", "times": None}) == [("part", "a"), ("count", 1)]


def test_none_is_a_value_of_a_required_pin_that_takes_any() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        run(YieldBlock(), {"value": None})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "inputs.text: is required"),
        ({"text": None}, "inputs.text: is required"),
        ({"text": 7}, "inputs.text: expected a valid string, got 7"),
        ({"text": "a", "times": -1}, "inputs.times: expected greater than or equal to 0, got -1"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(BlockInputError) as caught:
        run(RepeatBlock(), inputs)

    assert str(caught.value) == message
    assert caught.value.reason == "INPUT_INVALID"


def test_secret_values_are_not_in_messages() -> None:
    with pytest.raises(BlockInputError) as caught:
        SecretBlock().parse_input(
            {"credentials": {"id": "1", "provider": "mail", "type": "api_key"}, "password": "hidden"}
        )

    assert "password" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_error_output_fails_the_run_with_its_message() -> None:
    with pytest.raises(BlockExecutionError, match=r"^no luck$") as caught:
        run(YieldBlock(), {"value": [("error", "no luck"), ("number", 1)]})

    assert caught.value.reason == "BLOCK_ERROR"


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([("number", "1")], "outputs.number: expected a valid integer, got '1'"),
        ([("texts", ["a", 1])], r"outputs.texts\[1\]: expected a valid string, got 1"),
        ([("number", object())], "outputs.number: a value has no JSON form"),
        ([("nothing", 1)], "'nothing', which is not declared; there are value, number, texts, error"),
        ([("number", 1), ("number", 2)], "yielded twice on 'number', which is not declared with many=True"),
        (["number"], "expected a pair of pin and value, got 'number'"),
        ([7], "expected a pair of pin and value, got 7"),
        ([(["number"], 1)], "expected a pair of pin and value"),
    ],
)
def test_outputs_that_the_schema_does_not_allow_fail_the_run(items: list[Any], message: str) -> None:
    with pytest.raises(BlockOutputError, match=message) as caught:
        run(YieldBlock(), {"value": items})

    assert caught.value.reason == "OUTPUT_INVALID"


def test_output_fits_if_its_json_form_does() -> None:
    assert run(YieldBlock(), {"value": [("texts", ("a", "b"))]}) == [("texts", ("a", "b"))]


def test_blocks_of_other_types_may_have_pins_of_their_own_making() -> None:
    items = [("tool_a", 1), ("number", "free")]

    assert run(YieldBlock(BlockType.AI), {"value": items}) == items


def test_generator_is_closed_when_the_run_is_left_early() -> None:
    block = YieldBlock()

    async def leave() -> Any:
        return await block.run_once({"value": [("number", 1), ("value", 2), ("texts", [])]}, "value")

    assert asyncio.run(leave()) == 2
    assert block.closed == 1


def test_run_once_without_a_value_says_so() -> None:
    with pytest.raises(BlockOutputError, match="ended without a value on 'count'"):
        asyncio.run(YieldBlock().run_once({"value": []}, "count"))


def test_plain_generator_runs_in_a_thread_and_reports_to_its_context() -> None:
    context = Context()

    outputs = run(BlockingBlock(), {"value": 1}, context)

    assert outputs == [("value", False), ("number", 1)]
    assert context.stats == {"runs": 1}


def test_what_a_thread_raises_arrives() -> None:
    with pytest.raises(ArithmeticError, match="failed in the thread"):
        run(BlockingBlock(), {"value": "fail"})


def test_blocking_run_is_there_for_threads_and_processes_of_the_caller() -> None:
    assert list(BlockingBlock().execute_blocking({"value": 1})) == [("value", True), ("number", 1)]


def test_runs_of_one_instance_do_not_mix() -> None:
    async def together() -> list[list[tuple[str, Any]]]:
        block = BlockingBlock()

        async def one() -> list[tuple[str, Any]]:
            return [item async for item in block.execute({"value": 1})]

        return await asyncio.gather(*(one() for _ in range(20)))

    assert asyncio.run(together()) == [[("value", False), ("number", 1)]] * 20


def test_credentials_and_context_go_to_the_parameters_of_their_names() -> None:
    inputs = {"credentials": {"id": "1", "provider": "mail", "type": "api_key"}}

    outputs = run(SecretBlock(), inputs, Context(task_id="t-1"), {"credentials": "key", "other_credentials": "unused"})

    assert outputs == [("value", ["key", "t-1"])]


def test_style_is_read_from_run() -> None:
    class HeavyBlock(BlockingBlock):
        cpu_bound = True

    assert RepeatBlock().style is RunStyle.ASYNC
    assert BlockingBlock().style is RunStyle.THREAD
    assert HeavyBlock().style is RunStyle.PROCESS


def test_run_that_is_no_generator_is_a_definition_error() -> None:
    class ReturningBlock(Block[AnyInput, AnyOutput]):
        def __init__(self) -> None:
            super().__init__(id="", input_schema=AnyInput, output_schema=AnyOutput)

        def run(self, input_data: AnyInput) -> Any:
            return []

    with pytest.raises(BlockDefinitionError, match="ReturningBlock: run must be"):
        run(ReturningBlock(), {"value": 1})


def test_all_errors_of_blocks_have_one_base() -> None:
    assert issubclass(BlockInputError, BlockError)
    assert issubclass(BlockOutputError, BlockError)
    assert issubclass(BlockExecutionError, BlockError)


def test_numbers_in_stats_add_up_and_lists_join() -> None:
    block, context = RepeatBlock(), Context()

    block.merge_stats(context, {"tokens": 1, "models": ["a"], "by": {"a": 1}, "last": "x", "exact": True})
    block.merge_stats(context, {"tokens": 2, "models": ["b"], "by": {"a": 2, "b": 1}, "last": "y", "exact": False})

    assert context.stats == {"tokens": 3, "models": ["a", "b"], "by": {"a": 3, "b": 1}, "last": "y", "exact": False}
