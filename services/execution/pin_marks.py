"""What the schema of a block marks its input pins with, such as `secret` or `fed_back`."""

from blockyard.graph.v1.block_pb2 import Block

PROVIDERS = "credentials_provider"
"""What marks a pin that takes credentials, with the providers of which it takes them."""


def marked_pins(block: Block, mark: str) -> frozenset[str]:
    """The input pins that carry the mark."""
    # Not by way of dicts: of most blocks nothing else of their schema is looked at here. To ask a map of protobuf for a
    # key that is not there would add it.
    if "properties" not in block.input_schema.fields:
        return frozenset()
    pins = block.input_schema.fields["properties"].struct_value.fields.items()
    return frozenset(
        pin for pin, schema in pins if mark in (words := schema.struct_value.fields) and words[mark].bool_value
    )
