"""Runs a block as a runner does: inputs fitted to its pins, then executed."""

import asyncio
from typing import Any

from blockyard.block import Block
from blockyard.block.preparation import prepare


def outputs(block: Block, **inputs: Any) -> list[tuple[str, Any]]:
    """Everything the block yields, in order; raises what makes it fail."""

    async def run() -> list[tuple[str, Any]]:
        return [output async for output in block.execute(prepare(block.input_schema, inputs))]

    return asyncio.run(run())
