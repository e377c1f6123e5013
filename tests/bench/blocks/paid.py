"""A block that does nothing and costs something."""

from typing import Any

from blockyard.block import Block, BlockCategory, BlockCost, BlockOutput, BlockSchema, Effect, SchemaField


class BenchPaidBlock(Block):
    class Input(BlockSchema):
        value: Any = SchemaField(description="Any value.")

    class Output(BlockSchema):
        value: Any = SchemaField(description="The same value.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="0d7c1f5e-6a0e-4c35-9d35-6f1a3b1b7e01",
            description="Passes a value on unchanged, for a credit.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.PURE,
            costs=[BlockCost(1)],
        )

    async def run(self, input_data: Input) -> BlockOutput:
        yield "value", input_data.value
