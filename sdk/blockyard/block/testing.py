"""Runs the tests that a block carries: `test_input` through the block, compared with `test_output`."""

import copy
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from blockyard import values
from blockyard.block.block import ERROR_PIN, Block, Item
from blockyard.block.complaints import shown
from blockyard.block.context import Context
from blockyard.block.errors import BlockDefinitionError, BlockError, BlockInputError, BlockOutputError
from blockyard.block.preparation import prepare

_ABSENT = object()


async def check_block(block: Block) -> None:
    """Raises an AssertionError that says which output differed.

    All inputs of `test_input` run one after the other, and what they give is compared with `test_output`, in order.
    An expected value is a value, a type, or a predicate. Where a run shall fail, its message is expected on the pin
    `error`. `test_mock` replaces attributes of the block meanwhile, and `test_credentials` are given to it.
    """
    cases = cases_of(block)
    if not cases:
        raise AssertionError(f"{block.name}: has no test_input")
    with mocked(block):
        outputs = [item for case in cases for item in await outputs_of(block, case)]
    if what := difference(expected_items(block), outputs):
        raise AssertionError(f"{block.name}: {what}")


def cases_of(block: Block) -> list[dict[str, Any]]:
    """The inputs of the block's tests; `test_input` may be a single one. They are copies: a run may change them."""
    cases = [block.test_input] if isinstance(block.test_input, Mapping) else block.test_input
    return [copy.deepcopy(dict(case)) for case in cases]


async def outputs_of(
    block: Block,
    case: Mapping[str, Any],
    context: Context | None = None,
    after_each: Callable[[], Awaitable[None]] | None = None,
) -> list[Item]:
    """What the block gives for these inputs; if its run fails, the message comes last, on the error pin.

    `after_each` is awaited after each output, for a caller that wants other runs to have their turn.

    What the schemas do not allow, as input or as output, is raised: it is no outcome that an author can have meant.
    """
    given = context or Context(task_id="test")
    outputs: list[Item] = []
    try:
        async with aclosing(block.execute(prepare(block, case), given, block.test_credentials)) as items:
            async for pin, value in items:
                values.encode(value)
                outputs.append((pin, value))
                if after_each is not None:
                    await after_each()
    except (BlockInputError, BlockOutputError, BlockDefinitionError):
        raise
    except BlockError as error:
        outputs.append((ERROR_PIN, str(error)))
    except Exception as error:  # noqa: BLE001 - an author may fail by any exception; runners tell it in these words
        outputs.append((ERROR_PIN, f"{type(error).__name__}: {error}"))
    return outputs


def expected_items(block: Block) -> list[Item]:
    """What all test inputs together shall give, in order; `test_output` may be a single pair."""
    expected = block.test_output
    if isinstance(expected, tuple) and len(expected) == 2 and isinstance(expected[0], str):
        return [(expected[0], expected[1])]
    return [(pin, value) for pin, value in expected]


def difference(expected: Sequence[Item], outputs: Sequence[Item]) -> str:
    """The first thing in which the outputs are not the expected ones; empty if there is none."""
    for number, (wanted, (pin, value)) in enumerate(zip(expected, outputs, strict=False)):
        if pin != wanted[0]:
            return f"output {number}: expected pin {wanted[0]!r}, got {pin!r} = {shown(value)}"
        try:
            meets = _meets(value, wanted[1])
        except Exception as error:  # noqa: BLE001 - an author's predicate may raise anything; it is told
            raised = f"{type(error).__name__}: {error}"
            return f"output {number}: {pin}: {shown(wanted[1])} raised {raised}, given {shown(value)}"
        if not meets:
            return f"output {number}: {pin}: expected {shown(wanted[1])}, got {shown(value)}"
    if len(outputs) < len(expected):
        return f"no output for {shown(expected[len(outputs)])}"
    if len(outputs) > len(expected):
        return f"one output more than expected: {shown(outputs[len(expected)])}"
    return ""


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
def mocked(block: Block) -> Iterator[None]:
    """Puts what `test_mock` says in the place of the block's attributes, and takes it back."""
    replacements = block.test_mock
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
