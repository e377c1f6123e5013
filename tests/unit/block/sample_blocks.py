"""Blocks for the tests of the SDK, each with one trait."""

import threading
from typing import Any

from blockyard.block import (
    Block,
    BlockOutput,
    BlockSchema,
    BlockType,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    SchemaField,
    SyncBlockOutput,
)


class TextInput(BlockSchema):
    text: str = SchemaField(description="A text.", min_length=1)
    times: int = SchemaField(description="How often.", default=1, ge=0)
    note: str | None = SchemaField(description="A remark.", default="none")


class TextOutput(BlockSchema):
    part: str = SchemaField(description="A part.", many=True)
    count: int = SchemaField(description="How many.")
    error: str = SchemaField(description="Why the block failed.")


class RepeatBlock(Block[TextInput, TextOutput]):
    def __init__(self) -> None:
        super().__init__(
            id="5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c01",
            description="Repeats a text.",
            input_schema=TextInput,
            output_schema=TextOutput,
            effect=Effect.PURE,
            test_input={"text": "a", "times": 2},
            test_output=[("part", "a"), ("part", str), ("count", lambda count: count == 2)],
        )

    async def run(self, input_data: TextInput) -> BlockOutput:
        for _ in range(input_data.times):
            yield "part", input_data.text
        yield "count", self.count(input_data.times)

    def count(self, times: int) -> int:
        return times


class AnyInput(BlockSchema):
    value: Any = SchemaField(description="A value.")


class AnyOutput(BlockSchema):
    value: Any = SchemaField(description="A value.")
    number: int = SchemaField(description="A number.")
    texts: list[str] = SchemaField(description="Texts.")
    error: str = SchemaField(description="Why the block failed.")


class YieldBlock(Block[AnyInput, AnyOutput]):
    """Yields what it is given: a list of whatever a `run` may yield, right or wrong."""

    closed = 0

    def __init__(self, block_type: BlockType = BlockType.STANDARD) -> None:
        super().__init__(
            id="5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c02",
            input_schema=AnyInput,
            output_schema=AnyOutput,
            block_type=block_type,
        )

    async def run(self, input_data: AnyInput) -> BlockOutput:
        try:
            for item in input_data.value:
                yield item
        finally:
            self.closed += 1


class BlockingBlock(Block[AnyInput, AnyOutput]):
    def __init__(self) -> None:
        super().__init__(id="5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c03", input_schema=AnyInput, output_schema=AnyOutput)

    def run(self, input_data: AnyInput, context: Context) -> SyncBlockOutput:
        self.merge_stats(context, {"runs": 1})
        yield "value", threading.current_thread() is threading.main_thread()
        if input_data.value == "fail":
            raise ArithmeticError("failed in the thread")
        yield "number", 1


class SecretInput(BlockSchema):
    credentials: CredentialsReference = CredentialsField(
        provider="mail", types=["api_key", "oauth2"], scopes=["send", "read"]
    )
    password: str = SchemaField(description="A secret.", default="", secret=True, max_length=3)


class SecretBlock(Block[SecretInput, AnyOutput]):
    def __init__(self) -> None:
        super().__init__(
            id="5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c04",
            input_schema=SecretInput,
            output_schema=AnyOutput,
            test_input={"credentials": {"id": "1", "provider": "mail", "type": "api_key"}},
            test_output=("value", ["key", "test"]),
            test_credentials={"credentials": "key"},
        )

    async def run(self, input_data: SecretInput, *, credentials: str, context: Context) -> BlockOutput:
        yield "value", [credentials, context.task_id]
