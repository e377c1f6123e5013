"""Reads durations as people write them."""

import re

from blockyard.block import Block, BlockCategory, BlockExecutionError, BlockOutput, BlockSchema, Effect, SchemaField

SECONDS = {"d": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(d|h|min|ms|s)\b")


def seconds_in(text: str) -> float:
    """The duration in seconds; a BlockExecutionError says where the text is none."""
    total, position = 0.0, 0
    while part := _PART.match(text, position):
        total += float(part[1]) * SECONDS[part[2]]
        position = part.end()
    if position == 0 or text[position:].strip():
        rest = text[position:].strip()
        raise BlockExecutionError(f"text: expected a duration such as 1 h 30 min, got {rest!r}")
    return total


class ReadDurationBlock(Block):
    class Input(BlockSchema):
        text: str = SchemaField(description="Duration in d, h, min, s and ms.", placeholder="1 h 30 min")

    class Output(BlockSchema):
        seconds: float = SchemaField(description="The duration in seconds.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="5b2f0f57-8a53-4a57-b6f9-1c4c38c6f0aa",
            description="Reads a duration such as 1 h 30 min.",
            categories={BlockCategory.TEXT, BlockCategory.DATA},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.PURE,
            test_input=[{"text": "1 h 30 min"}, {"text": "0.5s"}, {"text": "1 h and a bit"}, {"text": ""}],
            test_output=[
                ("seconds", 5400.0),
                ("seconds", 0.5),
                ("error", "text: expected a duration such as 1 h 30 min, got 'and a bit'"),
                ("error", "text: expected a duration such as 1 h 30 min, got ''"),
            ],
        )

    async def run(self, input_data: Input) -> BlockOutput:
        yield "seconds", seconds_in(input_data.text)
