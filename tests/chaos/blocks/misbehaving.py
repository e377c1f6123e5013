"""Blocks whose runs differ from attempt to attempt, take their time, or leave a trace of every run."""

import asyncio
import json
import os
import random
from typing import Any

from blockyard.block import (
    Block,
    BlockCategory,
    BlockCost,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    Effect,
    SchemaField,
)


class ChaosFlakyBlock(Block):
    class Input(BlockSchema):
        value: Any = SchemaField(description="Value to pass on.")
        failures: int = SchemaField(description="How many attempts fail before one succeeds.", ge=0)
        seconds: float = SchemaField(description="How long an attempt takes.", default=0.0)

    class Output(BlockSchema):
        value: Any = SchemaField(description="The value.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="7c7a3d3e-58a5-4d0a-9a4c-51d6a83e4b01",
            description="Fails on its first attempts, then passes a value on.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            costs=[BlockCost(3)],
        )

    async def run(self, input_data: Input, context: Context) -> BlockOutput:
        await asyncio.sleep(input_data.seconds)
        if context.attempt <= input_data.failures:
            raise BlockExecutionError(f"refused {input_data.value}")
        yield "value", input_data.value


class ChaosDrawBlock(Block):
    """Another run draws another number, so items of two runs that were mixed can be told apart."""

    class Input(BlockSchema):
        count: int = SchemaField(description="How many items to give.", ge=0)
        seconds: float = SchemaField(description="Pause before each item.", default=0.0)

    class Output(BlockSchema):
        item: int = SchemaField(description="The number that this run has drawn.", many=True)
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="7c7a3d3e-58a5-4d0a-9a4c-51d6a83e4b02",
            description="Draws a number and gives it again and again.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            costs=[BlockCost(2)],
        )

    async def run(self, input_data: Input) -> BlockOutput:
        drawn = random.SystemRandom().getrandbits(48)
        for _ in range(input_data.count):
            await asyncio.sleep(input_data.seconds)
            yield "item", drawn


class ChaosCountDistinctBlock(Block):
    class Input(BlockSchema):
        items: list[Any] = SchemaField(description="Items to compare.")

    class Output(BlockSchema):
        count: int = SchemaField(description="How many different items there are.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="7c7a3d3e-58a5-4d0a-9a4c-51d6a83e4b03",
            description="Counts the different items of a list.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.PURE,
        )

    async def run(self, input_data: Input) -> BlockOutput:
        yield "count", len({json.dumps(item) for item in input_data.items})


class ChaosRecordBlock(Block):
    """Stands for what must not be repeated, a payment for instance: each run is a line in the ledger."""

    class Input(BlockSchema):
        ledger: str = SchemaField(description="File that every run adds a line to.")
        value: Any = SchemaField(description="Value to pass on.")
        seconds: float = SchemaField(description="How long a run takes after its line.", default=0.0)

    class Output(BlockSchema):
        value: Any = SchemaField(description="The value.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="7c7a3d3e-58a5-4d0a-9a4c-51d6a83e4b04",
            description="Writes its task's id into a ledger, once and no more, and passes a value on.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.ONCE,
            costs=[BlockCost(5)],
        )

    async def run(self, input_data: Input, context: Context) -> BlockOutput:
        append_line(input_data.ledger, context.task_id)
        await asyncio.sleep(input_data.seconds)
        yield "value", input_data.value


def append_line(path: str, line: str) -> None:
    """Adds a line in one write, so that lines of several processes never mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)
