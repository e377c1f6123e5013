"""Converts lengths."""

import math
from enum import StrEnum

from blockyard.block import Block, BlockCategory, BlockExecutionError, BlockOutput, BlockSchema, Effect, SchemaField


class LengthUnit(StrEnum):
    """A unit of length, by its symbol."""

    MILLIMETRE = "mm"
    CENTIMETRE = "cm"
    METRE = "m"
    KILOMETRE = "km"
    INCH = "in"
    FOOT = "ft"
    MILE = "mi"
    NAUTICAL_MILE = "nmi"


METRES: dict[LengthUnit, float] = {
    LengthUnit.MILLIMETRE: 0.001,
    LengthUnit.CENTIMETRE: 0.01,
    LengthUnit.METRE: 1.0,
    LengthUnit.KILOMETRE: 1000.0,
    LengthUnit.INCH: 0.0254,
    LengthUnit.FOOT: 0.3048,
    LengthUnit.MILE: 1609.344,
    LengthUnit.NAUTICAL_MILE: 1852.0,
}


class ConvertLengthBlock(Block):
    class Input(BlockSchema):
        length: float = SchemaField(description="Length to convert.")
        unit: LengthUnit = SchemaField(description="Its unit.", default=LengthUnit.METRE, advanced=False)
        target_unit: LengthUnit = SchemaField(description="Unit to convert it to.")

    class Output(BlockSchema):
        length: float = SchemaField(description="The length in the target unit.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="0b1f6a34-4f0e-4c57-8d9c-6f6d3c1b7a20",
            description="Converts a length from one unit to another.",
            categories={BlockCategory.DATA},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.PURE,
            test_input=[
                {"length": 1, "unit": "mi", "target_unit": "km"},
                {"length": "2.5", "target_unit": "cm"},
                {"length": "Infinity", "target_unit": "cm"},
            ],
            test_output=[
                ("length", 1.609344),
                ("length", 250.0),
                ("error", "length: expected a finite number, got inf"),
            ],
        )

    async def run(self, input_data: Input) -> BlockOutput:
        if not math.isfinite(input_data.length):
            raise BlockExecutionError(f"length: expected a finite number, got {input_data.length}")
        yield "length", input_data.length * METRES[input_data.unit] / METRES[input_data.target_unit]
