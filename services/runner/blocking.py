"""One run of a block with a plain `run`, in the thread or process of the caller, up to its encoded outputs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from blockyard.block import Block, Context
from blockyard.block.preparation import prepare

from services.runner.outputs import Encoded, Yielded


def encoded_outputs(
    block: Block,
    inputs: dict[str, Any],
    context: Context | None,
    selectors: Iterable[str],
    credentials: Mapping[str, Any] | None = None,
) -> Iterator[Encoded]:
    """What the block yields, as it yields it."""
    yielded = Yielded(selectors)
    items = block.execute_blocking(prepare(block, inputs), context, credentials)
    try:
        for pin, value in items:
            yield from yielded.encode(pin, value)
    finally:
        items.close()
