"""The schemas of a graph: of its inputs, from the INPUT nodes, and of its results, from the OUTPUT nodes."""

from collections.abc import Iterator, Mapping
from typing import Any

from blockyard.graph.v1.block_pb2 import BlockType
from google.protobuf.struct_pb2 import Struct

from services.common.structs import to_struct
from services.graph.layout import Layout, PlacedNode

# What a block says of its own pin is about the block; the graph's author says it anew.
_OF_THE_BLOCK = frozenset({"title", "description", "default", "advanced", "placeholder", "hidden", "examples"})
# The second is what older files call the first.
_OPTIONS = ("options", "placeholder_values")


def input_schema(layout: Layout) -> Struct:
    """A property for each INPUT node; required are those without a default."""
    properties: dict[str, Any] = {}
    required = []
    for node in _nodes_of(layout, BlockType.BLOCK_TYPE_INPUT):
        name = node.constants["name"]
        properties[name] = _input(node)
        if "default" not in properties[name] and not _is_fed(layout, node):
            required.append(name)
    return to_struct({"type": "object", "properties": properties, "required": sorted(required)})


def output_schema(layout: Layout) -> Struct:
    """A property for each OUTPUT node: the list of the values that arrive there."""
    properties = {
        node.constants["name"]: {"type": "array", "items": {}, **_words(node)}
        for node in _nodes_of(layout, BlockType.BLOCK_TYPE_OUTPUT)
    }
    return to_struct({"type": "object", "properties": properties})


def _nodes_of(layout: Layout, kind: "BlockType.ValueType") -> Iterator[PlacedNode]:
    return (node for node in layout.nodes if node.is_a(kind))


def _input(node: PlacedNode) -> dict[str, Any]:
    of_block = node.block.inputs.get("value", {}) if node.block else {}
    declared = dict(of_block) if isinstance(of_block, Mapping) else {}
    schema = {key: value for key, value in declared.items() if key not in _OF_THE_BLOCK}
    schema = {**_without_null(schema), **_words(node)}
    options = next((node.constants[pin] for pin in _OPTIONS if node.constants.get(pin)), None)
    if options and node.block and _OPTIONS[0] in node.block.inputs:
        schema["enum"] = options
    default = node.constants.get("value")
    if default is None:
        default = declared.get("default")
    if default is not None:
        schema["default"] = default
    return schema


def _words(node: PlacedNode) -> dict[str, Any]:
    constants = node.constants
    words: dict[str, Any] = {"title": constants.get("title") or constants["name"]}
    if constants.get("description"):
        words["description"] = constants["description"]
    if constants.get("advanced"):
        words["advanced"] = True
    return words


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Null means that no value is given; it is not among the values."""
    choices = schema.get("anyOf")
    if not isinstance(choices, list):
        return schema
    kept = [choice for choice in choices if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(kept) == 1 and isinstance(kept[0], Mapping):
        return {**kept[0], **rest}
    return {**rest, "anyOf": kept}


def _is_fed(layout: Layout, node: PlacedNode) -> bool:
    """Whether a link gives the value, so that whoever starts the graph need not."""
    return any(link.base_sink_pin == "value" for link in layout.into(node))
